"""A view: its name, its key, its SELECT and its indexes, read from one SQL file.

The leading comments of the file are its options and its description. Knows nothing of what the SELECT means: only
where it begins and ends. Touches no file and no database.
"""

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from syncline.errors import Fault, InvalidDefinition

OPTIONS = ("key", "index", "recompute")

_NAME = re.compile(r"[a-z_][a-z0-9_]*")
_OPTION = re.compile(r"--\s*([A-Za-z][\w -]*?)\s*:(.*)")
_COLUMN = re.compile(r'\s*(?:"((?:[^"]|"")+)"|([A-Za-z_\u0080-\U0010ffff][\w$]*))\s*')
_ALIASES = {"primary key": "key", "pk": "key", "unique": "key", "indices": "index", "recalculate": "recompute"}
_TOKEN = re.compile(
    r"""(?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))
      | (?P<quoted>'(?:[^']|'')*(?:'|\Z)|"(?:[^"]|"")*(?:"|\Z)|`(?:[^`]|``)*(?:`|\Z)|\[[^\]]*(?:\]|\Z))
      | (?P<end>;)
      | (?P<word>\w+)
      | (?P<other>[^\s])""",
    re.VERBOSE | re.DOTALL,
)


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
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    header = _Header(file)
    first = 0
    while first < len(lines) and (not lines[first].strip() or lines[first].lstrip().startswith("--")):
        header.take(first + 1, lines[first].strip())
        first += 1
    sql = _one_statement("\n".join(lines[first:]), first + 1, header)
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


def suggestion(word: str, known: tuple[str, ...] | list[str]) -> str | None:
    """The one of `known` that `word` was probably meant to be."""
    same_letters = [option for option in known if sorted(option) == sorted(word.lower())]
    near = same_letters or difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.7)
    return near[0] if near else None


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
        found = _OPTION.fullmatch(comment)
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


def _one_statement(text: str, first_line: int, header: _Header) -> str:
    """`text` without its trailing semicolon and what follows it. Faults what is not one SELECT."""

    def line_at(place: int) -> int:
        return first_line + text.count("\n", 0, place)

    end: int | None = None
    words: list[str] = []
    for kind, value, place in _tokens(text):
        if kind == "comment":
            found = _OPTION.fullmatch(value.strip())
            if found and found[1] in OPTIONS:
                header.fault(line_at(place), f"'{found[1]}:' stands below the beginning of the SELECT; move it above")
        elif kind == "end" and end is None:
            end = place
        elif end is not None and kind != "end":
            message = f"'{value}' after ';': a view is one SELECT; put each view into a file of its own"
            header.fault(line_at(place), message)
            break
        else:
            words.append(value)
    if not words:
        header.fault(first_line, "the file holds no query; write one SELECT below the comments")
    elif words[0].upper() not in ("SELECT", "WITH", "("):
        header.fault(first_line, f"a view is one SELECT (or WITH … SELECT), found '{words[0]}'; write only the query")
    return text[:end].rstrip()


def _tokens(text: str) -> Iterator[tuple[str, str, int]]:
    for found in _TOKEN.finditer(text):
        yield str(found.lastgroup), found[0], found.start()
