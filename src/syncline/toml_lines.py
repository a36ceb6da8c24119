"""On which line a TOML file says something: tomllib gives values without places, and every fault must name its line.

Takes only text that tomllib has accepted; finds tables and keys, and passes over strings, arrays and comments.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_PART = r"""(?:[A-Za-z0-9_-]+|"(?:\\.|[^"\\])*"|'[^']*')"""
_DOTTED = rf"{_PART}(?:\s*\.\s*{_PART})*"
_TABLE = re.compile(rf"\s*\[\[?\s*({_DOTTED})\s*\]")
_KEY = re.compile(rf"\s*({_DOTTED})\s*=")
_STEP = re.compile(r"""\"{3}|'{3}|"(?:\\.|[^"\\])*"|'[^']*'|\#.*|[\[{]|[\]}]""")


@dataclass(frozen=True, slots=True)
class TomlLines:
    """The line of every table and key of a TOML text, by path."""

    lines: Mapping[tuple[str, ...], int]

    def line_of(self, path: tuple[str, ...]) -> int:
        """The line (from 1) where `path` is written, or that of the nearest table around it; 0 when none is."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 0)


def find_lines(text: str) -> TomlLines:
    """Where each table and key of `text` stands; of those written in several places, the first."""
    lines: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    depth, quote = 0, ""
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), start=1):
        value_from = 0
        if depth == 0 and not quote:
            if found := _TABLE.match(line):
                table = _parts(found[1])
                _enter(lines, table, number)
                continue
            if found := _KEY.match(line):
                _enter(lines, table + _parts(found[1]), number)
                value_from = found.end()
        depth, quote = _after(line, value_from, depth, quote)
    return TomlLines(lines)


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in re.findall(_PART, dotted))


def _enter(lines: dict[tuple[str, ...], int], path: tuple[str, ...], number: int) -> None:
    for length in range(1, len(path) + 1):
        lines.setdefault(path[:length], number)


def _after(line: str, at: int, depth: int, quote: str) -> tuple[int, str]:
    """How deep in brackets, and in which multi-line string, the text stands at the end of `line`."""
    while True:
        if quote:
            end = line.find(quote, at)
            while quote == '"""' and end > 0 and _is_escaped(line, end):
                end = line.find(quote, end + 1)
            if end < 0:
                return depth, quote
            at, quote = end + 3, ""
        found = _STEP.search(line, at)
        if not found:
            return depth, ""
        at = found.end()
        if found[0] in ('"""', "'''"):
            quote = found[0]
        elif found[0] in "[{":
            depth += 1
        elif found[0] in "]}":
            depth -= 1


def _is_escaped(line: str, place: int) -> bool:
    before = line[:place]
    return (len(before) - len(before.rstrip("\\"))) % 2 == 1
