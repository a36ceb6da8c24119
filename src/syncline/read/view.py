"""A view: its name, its key, its SELECT and its indexes, read from one SQL file.

The leading comments of the file are its options and its description. Knows nothing of what the SELECT means: only
where it begins and ends. Touches no file and no database.
"""

import re
from dataclasses import dataclass

from syncline.errors import Fault, InvalidDefinition
from syncline.read.sql_file import OPTION, one_statement, split_header, suggestion

OPTIONS = ("key", "index", "recompute")

_NAME = re.compile(r"[a-z_][a-z0-9_]*")
_COLUMN = re.compile(r'\s*(?:"((?:[^"]|"")+)"|([A-Za-z_\u0080-\U0010ffff][\w$]*))\s*')
_ALIASES = {"primary key": "key", "pk": "key", "unique": "key", "indices": "index", "recalculate": "recompute"}


@dataclass(frozen=True)
class View:
    """A named query over relations that is kept up to date.

    `sql` is one SELECT (or WITH … SELECT) without a trailing semicolon and begins on line `first_line` of `file`.
    `key` names the columns that identify a row; an empty key means that the view has exactly one row. `whole` says
    that the author accepts that the whole view is recomputed when something it reads changes.
    """

    name: str
    sql: str
    key: tuple[str, ...]
    indexes: tuple[tuple[str, ...], ...] = ()
    file: str = ""
    first_line: int = 1
    whole: bool = False
    description: str = ""


def parse_view(name: str, text: str, file: str) -> View:
    """The view that `text` defines. Raises InvalidDefinition with every fault found, each with its line."""
    header = _Header(file)
    comments, below = split_header(text)
    first = len(comments)
    for line, comment in enumerate(comments, 1):
        header.take(line, comment)
    sql = one_statement(below, first + 1, "view", OPTIONS, header.fault)
    header.check_name(name)
    if not header.has_key:
        header.fault(
            first + 1 if sql else 1,
            "the view has no key; write the columns that identify one of its rows in a comment above the SELECT, "
            "for example `-- key: order_id` (a view of exactly one row has an empty one: `-- key:`)",
        )
    if header.faults:
        raise InvalidDefinition(sorted(header.faults, key=lambda fault: fault.line))
    return View(
        name=name,
        sql=sql,
        key=header.key,
        indexes=tuple(header.indexes),
        file=file,
        first_line=first + 1,
        whole=header.whole,
        description="\n".join(header.description).strip(),
    )


def name_fault(name: str) -> str | None:
    """What is wrong with `name` as the name of a service, read model or view; None when nothing is."""
    if not _NAME.fullmatch(name):
        return f"'{name}' is not a name: use lower-case letters, digits and '_', beginning with a letter or '_'"
    if name.startswith(("syncline_", "sqlite_")):
        return f"'{name}' begins with '{name.partition('_')[0]}_', which is kept for own tables; choose another name"
    if "__" in name:
        return f"'{name}' contains '__', which separates service and table in the read store; use a single '_'"
    return None


class _Header:
    """What the leading comments said so far, and every fault found in them."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.faults: list[Fault] = []
        self.key: tuple[str, ...] = ()
        self.has_key = False
        self.indexes: list[tuple[str, ...]] = []
        self.whole = False
        self.description: list[str] = []

    def fault(self, line: int, message: str) -> None:
        self.faults.append(Fault(self.file, line, message))

    def take(self, line: int, comment: str) -> None:
        found = OPTION.fullmatch(comment)
        if found and found[1] in OPTIONS:
            takes = {"key": self._take_key, "index": self._take_index, "recompute": self._take_recompute}
            takes[found[1]](line, found[2].strip())
        elif found and (meant := _ALIASES.get(found[1].lower()) or suggestion(found[1], OPTIONS)):
            self.fault(line, f"unknown option '{found[1]}:'; did you mean '{meant}:'?")
        else:
            self.description.append(comment.removeprefix("--").strip())

    def check_name(self, name: str) -> None:
        if message := name_fault(name):
            self.fault(0, f"a view is named after its file: {message}; rename the file")

    def _take_key(self, line: int, value: str) -> None:
        if self.has_key:
            self.fault(line, "a second 'key:'; a view has one key: write all its columns in one line")
        self.has_key = True
        self.key = self._columns(line, "key", value)

    def _take_index(self, line: int, value: str) -> None:
        columns = self._columns(line, "index", value)
        if not value:
            self.fault(line, "'index:' names no column; write those of the index, for example `-- index: placed_at`")
        elif columns and columns in self.indexes:
            self.fault(line, f"index on {', '.join(columns)} is asked for twice; remove one of the lines")
        elif columns:
            self.indexes.append(columns)

    def _take_recompute(self, line: int, value: str) -> None:
        self.whole = True
        if value != "whole":
            self.fault(line, f"'recompute: {value}' is unknown; the only choice is 'recompute: whole'")

    def _columns(self, line: int, option: str, value: str) -> tuple[str, ...]:
        columns: list[str] = []
        at = 0
        while value and at <= len(value):
            found = _COLUMN.match(value, at)
            if not found or (found.end() < len(value) and value[found.end()] != ","):
                part = value[at:].partition(",")[0].strip()
                self.fault(
                    line,
                    f"'{option}: {value}': '{part}' is not a column name; write column names separated by commas "
                    '(one with other characters in "double quotes")',
                )
                return ()
            columns.append(found[1].replace('""', '"') if found[1] else found[2])
            at = found.end() + 1
        for column in {column for column in columns if columns.count(column) > 1}:
            self.fault(line, f"'{option}:' names column '{column}' twice; remove one")
        return tuple(columns)
