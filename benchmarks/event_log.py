"""event_log: appending to the log itself, beside plain `executemany` into the same table; and conditions by tag as the log grows.

Batches: 1,000 events, an append each, in one transaction, against `executemany` of the same rows into a table of the same columns
and indexes, in a transaction as well; both on disk before the next. Conditions: `ClaimName` through `App.submit`, 64 in flight,
each decided over the events with its tag and appended only if none was added meanwhile, in logs of 10^4 and of 10^6 events. Names
are random, so that every claim meets another page of the index of tags.
"""

import json
import random
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from commands import IN_FLIGHT, rate
from figures import Table, say, share, spread
from orders import ClaimName, names

from syncline import App, SQLite
from syncline.events import Append, AppendCondition, NewEvent
from syncline.stores.sqlite.events import SQL, SQLiteEventLog

BATCH = 1_000
DATA = json.dumps({"order_id": "order-123456", "customer": "Ada Lovelace", "amount_cents": 12_345})


def measure(*, quick: bool) -> list[Table]:
    with TemporaryDirectory(prefix="syncline-bench-", ignore_cleanup_errors=True) as folder:
        return [_raw(Path(folder), 5 if quick else 60), _by_tag(Path(folder), quick=quick)]


def _raw(folder: Path, batches: int) -> Table:
    log = SQLiteEventLog(str(folder / "log.db"))
    ours: list[float] = []
    theirs: list[float] = []
    with closing(log), closing(_plain(folder / "plain.db")) as plain:
        for number in range(batches):
            appends = [
                Append(f"orders-{number}-{each}", (NewEvent("OrderPlaced", DATA),), AppendCondition(0), at=1.0)
                for each in range(BATCH)
            ]
            began = time.perf_counter()
            log.append(appends)
            ours.append(BATCH / (time.perf_counter() - began))
            rows = [
                (
                    number * BATCH + each + 1, f"orders-{number}-{each}", 1, "OrderPlaced", 1, DATA,
                    random.getrandbits(63), number * BATCH + each + 1, 1.0, None, None, None,
                )
                for each in range(BATCH)
            ]  # fmt: skip
            began = time.perf_counter()
            plain.execute("BEGIN IMMEDIATE")
            plain.executemany(SQL["insert_event"], rows)
            plain.execute("COMMIT")
            theirs.append(BATCH / (time.perf_counter() - began))
    return Table(
        "Events a second, in batches of 1,000 appends of one event",
        ("", "events/s", "lowest to highest", "% of executemany"),
        [
            ("log.append", median(ours), spread(ours), share(ours, theirs)),
            ("executemany into the same table", median(theirs), spread(theirs), 100.0),
        ],
        asked="50 % of executemany.",
    )


def _plain(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(SQL["create_event"])
    return connection


def _by_tag(folder: Path, *, quick: bool) -> Table:
    sizes, count = ((1_000, 5_000), 1_000) if quick else ((10_000, 1_000_000), 40_000)
    found: dict[int, list[float]] = {}
    for size in sizes:
        path = str(folder / f"names-{size}.db")
        _fill(path, size)
    for number in range(1 if quick else 5):
        for size in sizes:
            with App(names.on(SQLite(str(folder / f"names-{size}.db")))) as app:
                app.send(ClaimName(f"first-{number}", "a-1"))
                claims = (ClaimName(f"{random.getrandbits(60):x}", "a-1") for _ in range(count))
                found.setdefault(size, []).append(rate(app, claims, IN_FLIGHT))
                say(f"{size:,} events: {found[size][-1]:,.0f}/s")
    small, big = found[sizes[0]], found[sizes[1]]
    return Table(
        "Commands a second, each appended only if no other event has its tag; 64 in flight",
        ("stored events", "commands/s", "lowest to highest", "% of the small log"),
        [
            (f"{sizes[0]:,}", median(small), spread(small), 100.0),
            (f"{sizes[1]:,}", median(big), spread(big), share(big, small)),
        ],
        asked="20,000/s, and at 1,000,000 stored events at least 67 % of that at 10,000.",
    )


def _claimed(name: str) -> NewEvent:
    return NewEvent("NameClaimed", json.dumps({"name": name, "account": "a-1"}), (f"name:{name}",))


def _fill(path: str, size: int) -> None:
    """A log of so many events, each with a tag of its own."""
    with closing(SQLiteEventLog(path, by_type=True)) as log:
        for start in range(0, size, 10_000):
            count = min(10_000, size - start)
            log.append([Append("names", (_claimed(f"{random.getrandbits(60):x}"),)) for _ in range(count)])
