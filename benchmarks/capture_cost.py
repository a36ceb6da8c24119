"""capture_cost: what capture by triggers adds to a service's own writes.

The same transactions on three copies of the payments database: without triggers, with the triggers that Syncline installs, and
with a bare log of keys (AFTER triggers that insert table and key, nothing else) as the yardstick. One UPDATE of 1,000 rows
spread over all 200,000 is the figure asked for; 1,000 neighbouring rows on a few pages are the worst case, since they cost the
owner least; and one row a transaction. The owner's connection checkpoints its own write-ahead log, as SQLite does by default;
that is included. Not included: the relay, which does not run meanwhile (its reading does not hold up a writer; its deletion of
marks is one short transaction every 0.25 s).
"""

import json
import random
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import followed
import shop
from figures import Cell, Table, say
from handwritten import HandwrittenRelay

ROWS = 1_000
WITHOUT, CAPTURED, BARE = "no triggers", "Syncline", "bare key log"

Write = Callable[[sqlite3.Connection, random.Random, int], None]


def measure(*, quick: bool) -> list[Table]:
    orders, rounds = (5_000, 10) if quick else (200_000, 400)
    with _databases(orders) as paths:
        return [_table(paths, orders, rounds, synchronous) for synchronous in ("NORMAL", "FULL")]


@contextmanager
def _databases(orders: int) -> Iterator[dict[str, str]]:
    with TemporaryDirectory(prefix="syncline-bench-", ignore_cleanup_errors=True) as root:
        folders = {name: Path(root) / name.replace(" ", "-") for name in (WITHOUT, CAPTURED, BARE)}
        folders[WITHOUT].mkdir()
        shop.make_services(folders[WITHOUT], orders)
        for name in (CAPTURED, BARE):
            shutil.copytree(folders[WITHOUT], folders[name])
        followed.write_project(folders[CAPTURED])
        with followed.opened_relay(folders[CAPTURED]) as relay:
            followed.catch_up(relay)
        HandwrittenRelay(folders[BARE]).close()
        yield {name: shop.database(folder, "payments") for name, folder in folders.items()}


def _table(paths: dict[str, str], orders: int, rounds: int, synchronous: str) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for what, write in _WRITES.items():
        say(f"synchronous={synchronous}: {what}")
        costs = _costs(paths, orders, rounds, synchronous, write)
        added = {name: 100 * (costs[name] / costs[WITHOUT] - 1) for name in (CAPTURED, BARE)}
        rows.append((what, *costs.values(), *added.values()))
    return Table(
        f"Trigger capture: what a transaction of the writer costs, WAL, synchronous={synchronous}",
        ("µs a transaction", WITHOUT, CAPTURED, BARE, "% added by Syncline", "% added by bare log"),
        rows,
        "at most 25 % added to a bulk update of 1,000 rows (changes spread over all orders)",
        (f"Medians of {rounds} transactions each, the three by turns; {orders:,} payments.",),
    )


def _costs(paths: dict[str, str], orders: int, rounds: int, synchronous: str, write: Write) -> dict[str, float]:
    spent: dict[str, list[float]] = {name: [] for name in paths}
    with ExitStack() as stack:
        owners = {name: shop.open_as_owner(path, synchronous=synchronous) for name, path in paths.items()}
        for owner in owners.values():
            stack.enter_context(closing(owner))
        draws = {name: random.Random(1) for name in paths}
        for number in range(rounds + rounds // 10 + 1):
            for name, owner in owners.items():
                began = time.perf_counter()
                owner.execute("BEGIN IMMEDIATE")
                write(owner, draws[name], orders)
                owner.execute("COMMIT")
                if number > rounds // 10:
                    spent[name].append(1e6 * (time.perf_counter() - began))
    return {name: median(values) for name, values in spent.items()}


_CHANGE = "UPDATE payments SET status = CASE status WHEN 'open' THEN 'paid' ELSE 'open' END WHERE"


def _neighbours(owner: sqlite3.Connection, draw: random.Random, orders: int) -> None:
    first = draw.randint(1, orders - ROWS + 1)
    owner.execute(f"{_CHANGE} order_id BETWEEN ? AND ?", (first, first + ROWS - 1))


def _scattered(owner: sqlite3.Connection, draw: random.Random, orders: int) -> None:
    keys = json.dumps(draw.sample(range(1, orders + 1), ROWS))
    owner.execute(f"{_CHANGE} order_id IN (SELECT value FROM json_each(?))", (keys,))


def _single(owner: sqlite3.Connection, draw: random.Random, orders: int) -> None:
    owner.execute(f"{_CHANGE} order_id = ?", (draw.randint(1, orders),))


_WRITES: dict[str, Write] = {
    "UPDATE of 1,000 rows, spread over all": _scattered,
    "UPDATE of 1,000 neighbouring rows": _neighbours,
    "UPDATE of one row": _single,
}
