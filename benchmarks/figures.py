"""What a benchmark found, as tables: printed for people, or as JSON."""

import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median

Cell = str | int | float | None


@dataclass(frozen=True, slots=True)
class Table:
    """One table of figures. `asked` is what the figures should reach."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[Cell, ...]]
    asked: str = ""
    notes: tuple[str, ...] = ()

    def as_text(self) -> str:
        texts = [self.columns, *(tuple(_text(cell) for cell in row) for row in self.rows)]
        widths = [max(len(row[at]) for row in texts) for at in range(len(self.columns))]
        lines = ["  ".join(map(_aligned, row, widths, range(len(widths)))) for row in texts]
        lines.insert(1, "  ".join("-" * width for width in widths))
        notes = [f"Asked: {self.asked}"] if self.asked else []
        return "\n".join([self.title, "", *(line.rstrip() for line in lines), "", *notes, *self.notes])

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def spread(values: Sequence[float]) -> str:
    """The lowest and the highest value."""
    return f"{_text(min(values))} to {_text(max(values))}"


def share(values: Sequence[float], of: Sequence[float]) -> float:
    """How many percent one is of the other: the median over repetitions made side by side, since a machine's speed drifts."""
    return median(100 * one / other for one, other in zip(values, of, strict=True))


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` of all values do not exceed."""
    ordered = sorted(values)
    return ordered[max(math.ceil(len(ordered) * percent / 100), 1) - 1]


def say(text: str) -> None:
    """Tells a person who waits what is being done; nothing where nobody looks."""
    if sys.stderr.isatty():
        print(f"\r\x1b[2K{text}", end="", file=sys.stderr, flush=True)


def _text(cell: Cell) -> str:
    match cell:
        case None:
            return ""
        case float() if abs(cell) < 100:
            return f"{cell:.2f}" if abs(cell) < 10 else f"{cell:.1f}"
        case int() | float():
            return f"{cell:,.0f}"
    return cell


def _aligned(text: str, width: int, at: int) -> str:
    return text.ljust(width) if at == 0 else text.rjust(width)
