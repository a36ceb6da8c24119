"""The same changes maintained by Syncline and by hand-written SQL, by turns, in one run.

Each side has databases of its own with the same rows, and a writer that makes the same changes. Timed is the relay's round
only: probing the sources, reading marks and current rows, applying them to mirrors and view with the checkpoint, and what the
relay does from time to time (sync, deletion of marks, heartbeat). The writer's transaction before it is not timed. At the end
all sides must hold the same view.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import zip_longest

import followed
from figures import say
from shop import BY_HAND, SYNCLINE, Ground, Shop, Writer

Label = tuple[str, int]
"""The name of a side, and how many orders its shop has."""


@dataclass(frozen=True, slots=True)
class Side:
    """One way to keep the view of a shop of so many orders: `step` is one round of its relay."""

    name: str
    shop: Shop
    step: Callable[[], bool]
    processor_clock: Callable[[], Callable[[], float]]

    @property
    def label(self) -> Label:
        return self.name, self.shop.orders


@dataclass(frozen=True, slots=True)
class Pace:
    """One repetition: changes a second by the clock, and processor time a change, which other programs disturb less."""

    changes_s: float
    processor_us: float


@contextmanager
def opened_sides(ground: Ground, orders: int, *names: str) -> Iterator[list[Side]]:
    """The named sides, each loaded and built."""
    with ExitStack() as stack:
        say(f"making a shop of {orders:,} orders")
        original = stack.enter_context(ground.shop(orders))
        sides: list[Side] = []
        for name in names:
            say(f"{name}: loading {orders:,} orders")
            shop = stack.enter_context(original.copy())
            step = _syncline(shop, stack) if name == SYNCLINE else _by_hand(name, shop, stack)
            sides.append(Side(name, shop, step, ground.processor_clock))
        yield sides
        for side in sides:
            while side.step():
                pass
        _refuse_differences(sides)


def race(sides: Sequence[Side], rows: int, batches: int, repetitions: int, *, hot: int | None = None) -> dict[Label, list[Pace]]:
    """How quick each side was, by its label, for each repetition; one more before them warms up and is not counted.

    A batch is one transaction that changes `rows` payments or orders. `hot` limits the changes to that many orders, the newest.
    """
    found: dict[Label, list[Pace]] = {side.label: [] for side in sides}
    with ExitStack() as stack:
        writers = [stack.enter_context(closing(Writer(side.shop, hot=hot))) for side in sides]
        for repetition in range(repetitions + 1):
            for side, writer in zip(sides, writers, strict=True):
                say(f"{side.name}, {side.shop.orders:,} orders, batches of {rows:,}: {repetition} of {repetitions}")
                pace = _pace(side, writer, rows, batches)
                if repetition:
                    found[side.label].append(pace)
    return found


def _pace(side: Side, writer: Writer, rows: int, batches: int) -> Pace:
    clock = side.processor_clock()
    spent = processor = 0.0
    for _ in range(batches):
        writer.change(rows)
        processor_began, began = clock(), time.perf_counter()
        worked = side.step()
        spent += time.perf_counter() - began
        processor += clock() - processor_began
        assert worked, f"{side.name} did not notice a change"
    return Pace(rows * batches / spent, 1e6 * processor / (rows * batches))


def _syncline(shop: Shop, stack: ExitStack) -> Callable[[], bool]:
    followed.write_project(shop)
    relay = stack.enter_context(followed.opened_relay(shop.folder))
    followed.catch_up(relay)
    return relay.step


def _by_hand(name: str, shop: Shop, stack: ExitStack) -> Callable[[], bool]:
    relay = stack.enter_context(closing(shop.by_hand(with_difference=name == BY_HAND)))
    relay.load()
    relay.build()
    return relay.step


def _refuse_differences(sides: Sequence[Side]) -> None:
    """A rate counts only where the view is right: all sides made the same changes, so all hold the same rows."""
    with ExitStack() as stack:
        views = [side.shop.open_view(side.name) for side in sides]
        for view in views:
            stack.enter_context(closing(view.connection))
        found = [view.connection.execute(f"SELECT * FROM {view.name} ORDER BY order_id") for view in views]
        for rows in zip_longest(*found):
            assert len(set(rows)) == 1, f"the sides hold different rows: {rows}"
