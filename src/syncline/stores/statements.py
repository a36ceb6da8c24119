"""Loads named SQL from a file beside a store's code.

A statement is written as a line `-- name --`, at least one `-- sentence` saying what it is for, and the SQL. A missing
sentence or a repeated name is an error when the file is loaded.
"""

import re
from importlib.resources import files

_NAME = re.compile(r"^-- (\w+) --$")


def load_statements(package: str, file: str) -> dict[str, str]:
    """The statements of `file` in `package`, by name, without their comments' first block."""
    return parse_statements(files(package).joinpath(file).read_text("utf-8"), file)


def parse_statements(text: str, file: str) -> dict[str, str]:
    """Statement by name. Raises ValueError naming the file and the statement that breaks the format."""
    statements: dict[str, str] = {}
    name, described, body = "", False, list[str]()

    def finish() -> None:
        if not name:
            return
        if not described:
            raise ValueError(f"{file}: statement '{name}' has no sentence saying what it is for; add `-- ...` above it")
        statements[name] = "\n".join(body).strip().rstrip(";")

    for line in text.splitlines():
        if found := _NAME.match(line):
            finish()
            name, described, body = found[1], False, []
            if name in statements:
                raise ValueError(f"{file}: statement '{name}' is defined twice; rename one")
        elif line.startswith("--") and not body:
            described = True
        elif line.strip() or body:
            body.append(line)
    finish()
    return statements
