"""latency: from a commit at a source until the view shows it, under light load, with the relay in another process.

A service's program changes one payment or order, then waits 20 to 50 ms, at random, so that commits meet every phase of the
relay's pause. It reads the view in a tight loop until the change is there. Included: the commit itself (the clock starts just
before it), the relay's pause until its next probe, its round, and the reader's look at the read store. Not included: the
service's own work before its commit. Syncline is `syncline run`; by hand is a process that probes as often (every 4 ms) and
does the same work.
"""

import random
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import followed
import shop
from figures import DURABILITY, Cell, Table, percentile, say
from race import BY_HAND, SYNCLINE
from running import hand_run, syncline_run

PAUSE_S = (0.02, 0.05)
GIVE_UP_S = 10.0


def measure(*, quick: bool) -> list[Table]:
    orders, samples, blocks = (2_000, 40, 1) if quick else (200_000, 250, 4)
    found: dict[str, list[float]] = {SYNCLINE: [], BY_HAND: []}
    with TemporaryDirectory(prefix="syncline-bench-", ignore_cleanup_errors=True) as root:
        ours, theirs = _folders(Path(root), orders)
        with syncline_run(ours), hand_run(theirs):
            for block in range(blocks):
                for name, folder, store in ((SYNCLINE, ours, "read.db"), (BY_HAND, theirs, "hand.db")):
                    say(f"{name}: {block * samples} of {blocks * samples} commits")
                    found[name] += _sample(folder, folder / store, orders, samples, block)
    return [_table(found)]


def _folders(root: Path, orders: int) -> tuple[Path, Path]:
    """The same shop twice, for one relay each."""
    ours, theirs = root / "syncline", root / "hand"
    ours.mkdir()
    shop.make_services(ours, orders)
    shutil.copytree(ours, theirs)
    followed.write_project(ours)
    return ours, theirs


def _sample(folder: Path, store: Path, orders: int, samples: int, block: int) -> list[float]:
    """Milliseconds from commit to sight, one a commit."""
    draw = random.Random(block)
    found: list[float] = []
    writers = {service: shop.open_as_owner(shop.database(folder, service)) for service in ("orders", "payments")}
    with closing(sqlite3.connect(store, isolation_level=None)) as reader:
        for number in range(samples):
            time.sleep(draw.uniform(*PAUSE_S))
            service = tuple(writers)[number % 2]
            found.append(1e3 * _seen_after_s(writers[service], reader, service, draw.randint(1, orders), f"{block}-{number}"))
    for writer in writers.values():
        writer.close()
    return found


def _seen_after_s(writer: sqlite3.Connection, reader: sqlite3.Connection, table: str, order: int, status: str) -> float:
    column = {"orders": "status", "payments": "payment"}[table]
    look = f"SELECT {column} FROM {shop.VIEW_NAME} WHERE order_id = ?"
    writer.execute("BEGIN IMMEDIATE")
    writer.execute(f"UPDATE {table} SET status = ? WHERE order_id = ?", (status, order))
    began = time.monotonic()
    writer.execute("COMMIT")
    while reader.execute(look, (order,)).fetchone() != (status,):
        if time.monotonic() - began > GIVE_UP_S:
            raise SystemExit(f"a change of {table} was not seen in {GIVE_UP_S} s")
    return time.monotonic() - began


def _table(found: dict[str, list[float]]) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (name, *(percentile(values, percent) for percent in (50, 90, 99)), max(values), len(values))
        for name, values in found.items()
    ]
    return Table(
        "From commit at the source to visible in the view, relay in another process, light load",
        ("ms", "p50", "p90", "p99", "highest", "commits"),
        rows,
        "p50 at most 5 ms, p99 at most 20 ms",
        (
            "Blocks of both by turns.",
            DURABILITY,
        ),
    )
