"""Values as text for people and as JSON for programs. Knows shapes, not what a view or a feed is."""

import dataclasses
import json
import math
import re
import shutil
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import click

from syncline.errors import InvalidCommand, InvalidDefinition, InvalidQueryValues
from syncline.messages import Token

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def print_json(value: Any, *, compact: bool = False) -> None:
    """One JSON text on stdout; in one line when `compact`."""
    click.echo(json.dumps(as_json(value), ensure_ascii=False, indent=None if compact else 2, allow_nan=False))


def as_json(value: Any) -> Any:
    """`value` in types that JSON has: bytes become hexadecimal text, a token the word that `--at-least` takes."""
    if isinstance(value, Token):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: as_json(getattr(value, each.name)) for each in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): as_json(each) for name, each in value.items()}
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, list | tuple | set | frozenset):
        return [as_json(each) for each in value]
    return value if value is None or isinstance(value, str | int | float) else str(value)


def error_as_json(error: Exception) -> dict[str, Any]:
    """What kind of error, its message, and its fields."""
    if isinstance(error, click.ClickException):
        return {"type": "WrongUse", "message": error.format_message()}
    shown: dict[str, Any] = {"type": type(error).__name__, "message": str(error)}
    if isinstance(error, InvalidDefinition):
        shown["faults"] = as_json(error.faults)
    if isinstance(error, InvalidCommand | InvalidQueryValues):
        shown["faults"] = [{"place": place, "message": message} for place, message in error.faults]
    return shown | {name: value for name, value in vars(error).items() if _is_field(name, value)}


def _is_field(name: str, value: object) -> bool:
    return not name.startswith("_") and (value is None or isinstance(value, str | int | float))


def as_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, null: str = "NULL", width: int | None = None) -> str:
    """Aligned columns under their names, numbers to the right; one line per value where `width` would be exceeded."""
    cells = [[null if value is None else as_cell(value) for value in row] for row in rows]
    widths = [max([display_width(name), *(display_width(row[at]) for row in cells)]) for at, name in enumerate(columns)]
    if width is not None and rows and sum(widths) + 2 * (len(widths) - 1) > width:
        return _as_records(columns, cells)
    right = [
        all(isinstance(row[at], int | float | None) for row in rows) and any(row[at] is not None for row in rows)
        for at in range(len(columns))
    ]

    def line(texts: Sequence[str]) -> str:
        padded = [
            " " * (size - display_width(text)) + text if to_right else text + " " * (size - display_width(text))
            for text, size, to_right in zip(texts, widths, right, strict=True)
        ]
        return "  ".join(padded).rstrip()

    return "\n".join([line(columns), line(["-" * size for size in widths]), *map(line, cells)])


def as_cell(value: object) -> str:
    """One value in one line: NULL, a blob as x'…', line ends and other control characters escaped."""
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return f"x'{value.hex()}'"
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), str(value))


def display_width(text: str) -> int:
    """How many places of a terminal `text` takes."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(each) else 1 + (unicodedata.east_asian_width(each) in "WF") for each in text)


def as_age(staleness_s: float | None) -> str:
    """How old something may be, for people."""
    if staleness_s is None:
        return "of unknown age"
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if staleness_s >= 2 * size:
            return f"{staleness_s / size:.1f} {unit} old"
    return f"{staleness_s:.3f} s old" if staleness_s < 1 else f"{staleness_s:.1f} s old"


def as_rate(per_s: float) -> str:
    """How often something happens, for people."""
    return f"{per_s:,.1f}/s" if per_s < 100 else f"{per_s:,.0f}/s"


def stdout_width() -> int | None:
    """The terminal's width; None when stdout is none, so that nothing is folded for programs."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _as_records(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    longest = max(display_width(name) for name in columns)
    blocks = [
        "\n".join(f"{name}{' ' * (longest - display_width(name))}  {cell}" for name, cell in zip(columns, row, strict=True))
        for row in cells
    ]
    return "\n\n".join(blocks)
