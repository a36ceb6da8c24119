"""A named query: one SELECT over views, asked with values for its parameters, read from one SQL file.

The leading comments of the file are its options, its parameters and its description. Knows what a value of each type is and
how it is spelled, but nothing of what the SELECT means. Touches no file and no database.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from syncline.errors import Fault, InvalidDefinition, InvalidQueryValues
from syncline.read.sql_file import OPTION, one_statement, split_header, suggestion
from syncline.read.view import name_fault

OPTIONS = ("param", "limit", "timeout_s", "unfiltered")
DEFAULT_LIMIT = 1_000
CLAIM_PREFIX = "claim_"

Scalar = None | bool | int | float | str

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_PARAMETER = re.compile(r"(?P<name>\S+)\s+(?P<type>[a-z]+)(?P<optional>\s*\?)?(?:\s*=\s*(?P<default>.*))?")
_INTEGER = re.compile(r"[+-]?\d{1,19}", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)", re.ASCII)
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)?", re.ASCII)
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_PLACEHOLDER = re.compile(
    r"""--[^\n]*|/\*.*?(?:\*/|\Z)|'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`
      |::                                    # a cast of PostgreSQL
      |(?<![\w\])]):(?P<name>[a-z][a-z0-9_]*)  # not the upper bound of a slice
    """,
    re.VERBOSE | re.DOTALL,
)
_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


@dataclass(frozen=True, slots=True)
class Parameter:
    """What a query is asked with. One with neither a default nor `is_optional` must be given; one left out is NULL else."""

    name: str
    type: str
    is_optional: bool = False
    default: str | None = None


@dataclass(frozen=True)
class NamedQuery:
    """A SELECT with parameters, written `:name`, and claims of the caller, written `:claim_NAME`.

    `sql` is one SELECT without a trailing semicolon and begins on line `first_line` of `file`. `limit` is the number of rows that
    it gives at most; `timeout_s` how long it may take, None for as long as any read. `unfiltered` says that the author accepts
    that it shows rows of views that a row filter would hide: only operators may ask it.
    """

    name: str
    sql: str
    parameters: tuple[Parameter, ...] = ()
    claims: tuple[str, ...] = ()
    limit: int = DEFAULT_LIMIT
    timeout_s: float | None = None
    unfiltered: bool = False
    file: str = ""
    first_line: int = 1
    description: str = ""


def parse_query(name: str, text: str, file: str) -> NamedQuery:
    """The named query that `text` defines. Raises InvalidDefinition with every fault found, each with its line."""
    header = _Header(file)
    if message := name_fault(name):
        header.fault(0, f"a query is named after its file: {message}; rename the file")
    comments, below = split_header(text)
    for line, comment in enumerate(comments, 1):
        header.take(line, comment)
    first_line = len(comments) + 1
    sql = one_statement(below, first_line, "query", OPTIONS, header.fault)
    used = _placeholders(sql)
    for placeholder, place in used.items():
        if placeholder not in header.parameters and not placeholder.startswith(CLAIM_PREFIX):
            line = first_line + sql.count("\n", 0, place)
            near = suggestion(placeholder, list(header.parameters))
            hint = f"did you mean ':{near}'?" if near else f"declare it above: `-- param: {placeholder} text`"
            header.fault(line, f"':{placeholder}' is no parameter; {hint}")
    for parameter, line in header.lines.items():
        if parameter not in used and sql:
            header.fault(line, f"parameter '{parameter}' is not used; write :{parameter} in the SELECT, or remove the line")
    if header.faults:
        raise InvalidDefinition(sorted(header.faults, key=lambda fault: fault.line))
    claims = tuple(placeholder.removeprefix(CLAIM_PREFIX) for placeholder in used if placeholder.startswith(CLAIM_PREFIX))
    return NamedQuery(
        name,
        sql,
        tuple(header.parameters.values()),
        claims,
        header.limit,
        header.timeout_s,
        header.unfiltered,
        file,
        first_line,
        "\n".join(header.description).strip(),
    )


def query_values(query: NamedQuery, given: Mapping[str, str]) -> dict[str, Scalar]:
    """The value of each parameter, from texts. Raises InvalidQueryValues with every fault."""
    faults: list[tuple[str, str]] = []
    values: dict[str, Scalar] = {}
    known = [parameter.name for parameter in query.parameters]
    for name in given:
        if name not in known:
            near = suggestion(name, known)
            hint = f"did you mean '{near}'?" if near else f"it has: {', '.join(known) or 'none'}"
            faults.append((name, f"the query has no such parameter; {hint}"))
    for parameter in query.parameters:
        text = given.get(parameter.name, parameter.default)
        if text is None and not parameter.is_optional:
            faults.append((parameter.name, f"it is missing, expected {TYPES[parameter.type].shown}"))
            continue
        try:
            values[parameter.name] = None if text is None else TYPES[parameter.type].read(text)
        except ValueError:
            shown = text if text is None or len(text) <= 60 else text[:57] + "…"
            faults.append((parameter.name, f"it is {shown!r}, expected {TYPES[parameter.type].shown}"))
    if faults:
        raise InvalidQueryValues(query.name, faults)
    return values


def bound(sql: str, spell: Callable[[str], str]) -> str:
    """The SELECT with each parameter and claim spelled as a driver wants it: `spell` gives that from its name."""
    parts: list[str] = []
    end = 0
    for name, place in _each_placeholder(sql):
        parts += [sql[end:place], spell(name)]
        end = place + 1 + len(name)
    return "".join([*parts, sql[end:]])


@dataclass(frozen=True, slots=True)
class Type:
    """A type of parameters: how a text is read as its value (ValueError where it is none), and what is expected, for messages."""

    read: Callable[[str], Scalar]
    shown: str


def _integer(text: str) -> int:
    if not _INTEGER.fullmatch(text) or not -(2**63) <= int(text) < 2**63:
        raise ValueError(text)
    return int(text)


def _number(text: str) -> float:
    value = float(text) if _NUMBER.fullmatch(text) else math.inf
    if math.isinf(value):
        raise ValueError(text)
    return value


def _text(text: str) -> str:
    if "\0" in text:
        raise ValueError(text)
    text.encode()  # a lone surrogate is no text
    return text


def _boolean(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(text)
    return text == "true"


def _date(text: str) -> str:
    found = _DATE.fullmatch(text)
    if found is None or not _is_day(*map(int, found.groups())):
        raise ValueError(text)
    return text


def _is_day(year: int, month: int, day: int) -> bool:
    is_leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return year > 0 and 1 <= month <= 12 and 1 <= day <= _DAYS[month - 1] and (month != 2 or day < 29 or is_leap)


def _timestamp(text: str) -> str:
    if not _TIMESTAMP.fullmatch(text):
        raise ValueError(text)
    _date(text[:10])
    if not (int(text[11:13]) < 24 and int(text[14:16]) < 60 and (text[16:17] != ":" or int(text[17:19]) < 60)):
        raise ValueError(text)
    return text


def _uuid(text: str) -> str:
    if not _UUID.fullmatch(text):
        raise ValueError(text)
    return text.lower()


TYPES: Mapping[str, Type] = {
    "integer": Type(_integer, "a whole number of 64 bits"),
    "number": Type(_number, "a number, such as 2.5"),
    "text": Type(_text, "a text without the character NUL"),
    "boolean": Type(_boolean, "true or false"),
    "date": Type(_date, "a date as YYYY-MM-DD"),
    "timestamp": Type(_timestamp, "a time as YYYY-MM-DDTHH:MM:SS, with an offset such as Z or +02:00 if it has one"),
    "uuid": Type(_uuid, "a UUID as 8-4-4-4-12 hexadecimal digits"),
}
"""The types that a parameter may have. A boolean is 1 or 0 where the database has no such type; dates stay texts."""


class _Header:
    """What the leading comments said so far, and every fault found in them."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.faults: list[Fault] = []
        self.parameters: dict[str, Parameter] = {}
        self.lines: dict[str, int] = {}
        self.limit = DEFAULT_LIMIT
        self.timeout_s: float | None = None
        self.unfiltered = False
        self.description: list[str] = []

    def fault(self, line: int, message: str) -> None:
        self.faults.append(Fault(self.file, line, message))

    def take(self, line: int, comment: str) -> None:
        found = OPTION.fullmatch(comment)
        if found and found[1] in OPTIONS:
            takes = {"param": self._take_parameter, "limit": self._take_limit}
            takes |= {"timeout_s": self._take_timeout, "unfiltered": self._take_unfiltered}
            takes[found[1]](line, found[2].strip())
        elif found and (meant := suggestion(found[1], OPTIONS)):
            self.fault(line, f"unknown option '{found[1]}:'; did you mean '{meant}:'?")
        else:
            self.description.append(comment.removeprefix("--").strip())

    def _take_parameter(self, line: int, value: str) -> None:
        found = _PARAMETER.fullmatch(value)
        if found is None:
            advice = "write a name and a type, for example `-- param: since date = '2026-01-01'`, or `-- param: city text?`"
            self.fault(line, f"'param: {value}' cannot be read; {advice}")
            return
        name, type_ = found["name"], found["type"]
        self.lines[name] = line
        default = found["default"]
        if default is not None and len(default) > 1 and default[0] == default[-1] == "'":
            default = default[1:-1].replace("''", "'")
        if not _NAME.fullmatch(name) or name.startswith(CLAIM_PREFIX):
            rule = f"use lower-case letters, digits and '_', and not '{CLAIM_PREFIX}' at the beginning"
            self.fault(line, f"'{name}' is not a parameter's name: {rule}")
        elif name in self.parameters:
            self.fault(line, f"parameter '{name}' is declared twice; remove one of the lines")
        elif type_ not in TYPES:
            near = suggestion(type_, list(TYPES))
            hint = f"did you mean '{near}'?" if near else f"there are: {', '.join(TYPES)}"
            self.fault(line, f"parameter '{name}' has the unknown type '{type_}'; {hint}")
        elif found["optional"] and default is not None:
            self.fault(line, f"parameter '{name}' has a default, so it is never NULL; remove '?' or the default")
        elif default is not None and not _is_value(type_, default):
            self.fault(line, f"the default of '{name}' is {default!r}, expected {TYPES[type_].shown}")
        self.parameters.setdefault(name, Parameter(name, type_, bool(found["optional"]), default))

    def _take_limit(self, line: int, value: str) -> None:
        if not value.isascii() or not value.isdigit() or not 1 <= int(value) <= 1_000_000:
            self.fault(line, f"'limit: {value}' is not a number of rows from 1 to 1000000")
        else:
            self.limit = int(value)

    def _take_timeout(self, line: int, value: str) -> None:
        if not _NUMBER.fullmatch(value) or not 0 < float(value) <= 3600:
            self.fault(line, f"'timeout_s: {value}' is not a number of seconds above 0, and at most 3600")
        else:
            self.timeout_s = float(value)

    def _take_unfiltered(self, line: int, value: str) -> None:
        self.unfiltered = value == "yes"
        if value != "yes":
            self.fault(line, f"'unfiltered: {value}' is unknown; write 'yes', or remove the line")


def _is_value(type_: str, text: str) -> bool:
    try:
        TYPES[type_].read(text)
    except ValueError:
        return False
    return True


def _placeholders(sql: str) -> dict[str, int]:
    """The names after a colon, with the place of the first use of each."""
    found: dict[str, int] = {}
    for name, place in _each_placeholder(sql):
        found.setdefault(name, place)
    return found


def _each_placeholder(sql: str) -> list[tuple[str, int]]:
    """Names right after a single colon, outside of texts and comments, with the place of the colon."""
    return [(found["name"], found.start()) for found in _PLACEHOLDER.finditer(sql) if found["name"]]
