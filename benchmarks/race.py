"""The same changes maintained by Syncline and by hand-written SQL, by turns, in one run.

Each side has databases of its own with the same rows, and a writer that makes the same changes. Timed is the relay's round
only: probing the sources, reading marks and current rows, applying them to mirrors and view with the checkpoint, and what the
relay does from time to time (sync, deletion of marks, heartbeat). The writer's transaction before it is not timed. At the end
all sides must hold the same view.
"""

import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory

import followed
import shop
from figures import say
from handwritten import HandwrittenRelay

Label = tuple[str, int]

SYNCLINE, BY_HAND, WITHOUT_DIFFERENCE = "Syncline", "hand-written SQL", "hand-written, no difference"


@dataclass(frozen=True, slots=True)
class Side:
    """One way to keep the view of a shop of so many orders: `step` is one round of its relay."""

    name: str
    orders: int
    folder: Path
    store: Path
    step: Callable[[], bool]

    @property
    def label(self) -> Label:
        return self.name, self.orders


@dataclass(frozen=True, slots=True)
class Pace:
    """One repetition: changes a second by the clock, and processor time a change, which other programs disturb less."""

    changes_s: float
    processor_us: float


@contextmanager
def opened_sides(orders: int, *names: str) -> Iterator[list[Side]]:
    """The named sides, each loaded and built."""
    with TemporaryDirectory(prefix="syncline-bench-", ignore_cleanup_errors=True) as root, ExitStack() as stack:
        say(f"making a shop of {orders:,} orders")
        original = Path(root) / "original"
        original.mkdir()
        shop.make_services(original, orders)
        sides: list[Side] = []
        for name in names:
            folder = Path(shutil.copytree(original, Path(root) / name.replace(" ", "-")))
            say(f"{name}: loading {orders:,} orders")
            sides.append(_syncline(orders, folder, stack) if name == SYNCLINE else _by_hand(name, orders, folder, stack))
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
        writers = [stack.enter_context(closing(shop.Writer(side.folder, side.orders, hot=hot))) for side in sides]
        for repetition in range(repetitions + 1):
            for side, writer in zip(sides, writers, strict=True):
                say(f"{side.name}, {side.orders:,} orders, batches of {rows:,}: {repetition} of {repetitions}")
                pace = _pace(side, writer, rows, batches)
                if repetition:
                    found[side.label].append(pace)
    return found


def _pace(side: Side, writer: shop.Writer, rows: int, batches: int) -> Pace:
    spent = processor = 0.0
    for _ in range(batches):
        writer.change(rows)
        processor_began, began = time.process_time(), time.perf_counter()
        worked = side.step()
        spent += time.perf_counter() - began
        processor += time.process_time() - processor_began
        assert worked, f"{side.name} did not notice a change"
    return Pace(rows * batches / spent, 1e6 * processor / (rows * batches))


def _syncline(orders: int, folder: Path, stack: ExitStack) -> Side:
    followed.write_project(folder)
    relay = stack.enter_context(followed.opened_relay(folder))
    followed.catch_up(relay)
    return Side(SYNCLINE, orders, folder, folder / "read.db", relay.step)


def _by_hand(name: str, orders: int, folder: Path, stack: ExitStack) -> Side:
    relay = stack.enter_context(closing(HandwrittenRelay(folder, with_difference=name == BY_HAND)))
    relay.load()
    relay.build()
    return Side(name, orders, folder, folder / "hand.db", relay.step)


def _refuse_differences(sides: Sequence[Side]) -> None:
    """A rate counts only where the view is right: all sides made the same changes, so all hold the same rows."""
    with ExitStack() as stack:
        stores = [stack.enter_context(closing(sqlite3.connect(side.store))) for side in sides]
        views = [store.execute(f"SELECT * FROM {shop.VIEW_NAME} ORDER BY order_id") for store in stores]
        for rows in zip_longest(*views):
            assert len(set(rows)) == 1, f"the sides hold different rows: {rows}"
