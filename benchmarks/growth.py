"""growth: cost of a change as the shop grows from 10,000 to 1,000,000 orders, beside hand-written SQL.

The same work as `maintain` in batches of 1,000: once with the changes over the newest 10,000 orders only (a fixed hot set: what
is touched stays the same, whatever lies beside it), once over all orders (what is touched spreads over ever more pages, whoever
keeps the view: so the growth is compared with that of hand-written SQL). All sizes take turns in one run.

Included and not included: as in `maintain`.
"""

from contextlib import ExitStack
from statistics import median

from figures import Cell, Table
from race import Label, Pace, opened_sides, race
from shop import BY_HAND, SYNCLINE, Ground

HOT = 10_000
ROWS = 1_000


def measure(ground: Ground, *, quick: bool) -> list[Table]:
    sizes = (1_000, 4_000) if quick else (10_000, 100_000, 1_000_000)
    hot, batches, repetitions = (1_000, 4, 2) if quick else (HOT, 40, 5 if ground.name == "SQLite" else 3)
    with ExitStack() as stack:
        sides = [side for orders in sizes for side in stack.enter_context(opened_sides(ground, orders, SYNCLINE, BY_HAND))]
        over_hot = race(sides, ROWS, batches, repetitions, hot=hot)
        over_all = race(sides, ROWS, batches, repetitions)
    return [
        _table(ground, f"changes over the newest {hot:,} orders", over_hot, "Syncline's cost grows by less than a third"),
        _table(ground, "changes over all orders", over_all, "Syncline's growth is at most 1.2 times that of hand-written SQL"),
    ]


def _table(ground: Ground, which: str, paces: dict[Label, list[Pace]], asked: str) -> Table:
    clock = {label: median(1e6 / pace.changes_s for pace in found) for label, found in paces.items()}
    processor = {label: median(pace.processor_us for pace in found) for label, found in paces.items()}
    sizes = sorted({orders for _, orders in clock})
    rows: list[tuple[Cell, ...]] = [(f"{size:,} orders", *_compared(clock, size), *_compared(processor, size)) for size in sizes]
    rows.append(("growth, times", *_growths(clock, sizes), *_growths(processor, sizes)))
    return Table(
        f"Cost of a change as the shop grows, {which}, batches of {ROWS:,}",
        ("µs a change", SYNCLINE, BY_HAND, "times", "processor: " + SYNCLINE, BY_HAND, "times"),
        rows,
        asked,
        (f"Medians of {len(next(iter(paces.values())))} repetitions, sizes and sides by turns.", ground.durability),
    )


def _compared(costs: dict[Label, float], size: int) -> tuple[float, float, float]:
    ours, theirs = costs[SYNCLINE, size], costs[BY_HAND, size]
    return ours, theirs, ours / theirs


def _growths(costs: dict[Label, float], sizes: list[int]) -> tuple[float, float, float]:
    """Costs in the biggest shop by costs in the smallest, and how the two growths compare."""
    ours, theirs = (costs[name, sizes[-1]] / costs[name, sizes[0]] for name in (SYNCLINE, BY_HAND))
    return ours, theirs, ours / theirs
