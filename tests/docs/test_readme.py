"""Pages do what they say: ```sh and ```python blocks are run as a stranger would, and print what the next ```text block says.

Each ```sh block is run by its own bash in one folder, with `python3` and `syncline` those of the running interpreter. A ```python
block that begins with `# NAME.py` is that file, and is written there; any other is run by `python3`. What a block prints, stdout
and stderr together, is compared with the next ```text block; a block without one must print nothing.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from syncline.testing.postgres import PostgresServer, find_binaries

ROOT = Path(__file__).parents[2]
SET_UP_BLOCKS = 1
"""How many blocks of the README make the services, the configuration and the first copy."""

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# On a terminal these are bars that are gone when the work is done, so the pages do not show them.
_PROGRESS = re.compile(r"^(?:loading|building|comparing) [\w.]+: .*\n", re.MULTILINE)
_VERSION_WARNING = re.compile(r"^warning: this Python has SQLite .*\n", re.MULTILINE)
_MASKS = (
    (re.compile(r"(no|\d+) warnings?$", re.MULTILINE), "N warnings"),
    (re.compile(r"sl1\.[\w-]+"), "TOKEN"),
    (re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "UUID"),
    (re.compile(r"\b[0-9a-f]{12,16}\b"), "ID"),
    (re.compile(r"pid \d+"), "pid N"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"), "TIME"),
    (re.compile(r"\d+(\.\d+)? s\b"), "N s"),
    (re.compile(r"^(\S+ +\S+ +live +\d+) +\d+ ", re.MULTILINE), r"\1 GENERATION "),
    (re.compile(r"-{2,}"), "--"),
    (re.compile(r"[ \t]+"), " "),
    (re.compile(r" *\n"), "\n"),
)

_FILE = re.compile(r"# ([\w/]+\.py)\n")

_REFERENCE = ROOT / "docs" / "reference"
ON_POSTGRES = ROOT / "docs" / "how-to" / "run-on-postgresql.md"
"""It makes roles, so it has a server of its own."""
RUN = [*sorted((ROOT / "docs" / "how-to").glob("*.md")), _REFERENCE / "read-store.md", _REFERENCE / "python.md"]
RUN.remove(ON_POSTGRES)


def test_the_readme_does_what_it_says_in_an_empty_folder(tmp_path: Path) -> None:
    check_page(ROOT / "README.md", _folder(tmp_path), tmp_path)


def test_the_quickstart_does_what_it_says_in_an_empty_folder(tmp_path: Path) -> None:
    check_page(ROOT / "docs" / "quickstart.md", _folder(tmp_path), tmp_path)


@pytest.mark.parametrize("page", RUN, ids=[page.stem for page in RUN])
def test_a_page_does_what_it_says(page: Path, tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    if goes_on_from_the_readme(page):
        for block in blocks_of(ROOT / "README.md")[:SET_UP_BLOCKS]:
            run_commands(block.commands, folder, tmp_path)
    check_page(page, folder, tmp_path)


def test_the_page_about_the_pattern_does_what_it_says_beside_the_shop(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    shutil.copytree(ROOT / "examples" / "shop", folder / "shop", ignore=shutil.ignore_patterns("__pycache__"))
    check_page(ROOT / "docs" / "pattern.md", folder, tmp_path)


def test_the_page_about_postgres_does_what_it_says_on_a_new_server(tmp_path: Path) -> None:
    server = PostgresServer()
    place = {"PGHOST": "127.0.0.1", "PGPORT": str(server.port), "PGUSER": "postgres"}
    try:
        check_page(ON_POSTGRES, _folder(tmp_path), tmp_path, place)
    finally:
        server.stop()


@dataclass(frozen=True)
class Block:
    """Commands, and what the page says that they print."""

    line: int
    commands: str
    output: str


def goes_on_from_the_readme(page: Path) -> bool:
    """Whether the page's blocks are run in the folder that the README's first example made, or in an empty one."""
    return "README.md#first-use" in page.read_text("utf-8")


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page that are run, in order, each with the ```text block that follows it before any other."""
    text = page.read_text("utf-8")
    found: list[Block] = []
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        if match[1] in ("sh", "python"):
            found.append(Block(line, match[2] if match[1] == "sh" else _as_commands(match[2]), ""))
        elif match[1] == "text" and found and not found[-1].output:
            found[-1] = Block(found[-1].line, found[-1].commands, match[2])
    return found


def _as_commands(python: str) -> str:
    """What a reader does with a block of Python: saves it under the name in its first line, or runs it."""
    file = _FILE.match(python)
    if file is None:
        return f"python3 - <<'END OF PYTHON'\n{python}END OF PYTHON\n"
    return f"mkdir -p \"$(dirname {file[1]})\"\ncat > {file[1]} <<'END OF PYTHON'\n{python}END OF PYTHON\n"


def run_commands(commands: str, folder: Path, home: Path, server: Mapping[str, str] | None = None) -> str:
    """What the commands print, stdout and stderr as they come. Nothing that they started is left running."""
    process = subprocess.Popen(
        ["bash", "-c", commands],
        cwd=folder,
        env=_environment(home, server or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        return process.communicate(timeout=60)[0]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def masked(output: str) -> str:
    """Output without what differs from run to run: tokens, identities, times, the width of a column of times, progress."""
    text = _VERSION_WARNING.sub("", _PROGRESS.sub("", output))
    for pattern, shown in _MASKS:
        text = pattern.sub(shown, text)
    return text.strip("\n")


def check_page(page: Path, folder: Path, home: Path, server: Mapping[str, str] | None = None) -> None:
    """Runs the page's blocks one after the other, and compares what each prints."""
    blocks = blocks_of(page)
    assert blocks, f"{page} shows nothing to run"
    for block in blocks:
        printed = run_commands(block.commands, folder, home, server)
        assert masked(printed) == masked(block.output), f"{page.name}, line {block.line}: printed\n{printed}"


def _environment(home: Path, server: Mapping[str, str]) -> dict[str, str]:
    """A stranger's environment: the programs of this interpreter first on the path, and the source if it is not installed.

    `server` says where PostgreSQL is; its programs are then on the path as well.
    """
    programs = home / "bin"
    programs.mkdir(exist_ok=True)
    for name, arguments in (("syncline", "-m syncline"), ("python3", "")):
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n')
        program.chmod(0o755)
    source = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
    path = [str(programs), *([str(find_binaries().bin)] if server else []), os.environ.get("PATH", os.defpath)]
    return {
        **server,
        "PATH": os.pathsep.join(path),
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "PYTHONPATH": source,
    }


def _folder(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    return folder
