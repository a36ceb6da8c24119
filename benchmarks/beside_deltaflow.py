"""The program deltaflow-pg keeping the same order view, in an environment of its own (see `peer.py`).

It follows the log of one database into a table of the same database, so the five tables of the shop lie together there. It
accepts the whole view, LEFT JOINs and sums; with plain joins and without the lines of the orders it has less to do, so that is
measured as well. Its
first copy counts from its start until the view holds every order and it says that it is live. Its changes count from the first
commit of a writer that changes 1,000 rows a transaction, as quickly as it can, until it says that its view holds them all.
"""

import random
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import psycopg
from figures import say
from peer import NoPython, peer_program
from running import ended
from shop import rows_held
from shop_postgres import CHANGES, PostgresGround

WHOLE, WITHOUT_LINES = "deltaflow-pg 0.1.1, the whole view", "deltaflow-pg 0.1.1, without order lines"
_VIEWS = {
    WHOLE: "SELECT o.order_id, c.name AS customer, o.status, SUM(l.quantity * l.price_cents) AS total_cents, "
    "COUNT(l.line) AS lines, r.status AS reservation, p.status AS payment FROM orders o "
    "LEFT JOIN customers c ON c.customer_id = o.customer_id LEFT JOIN order_lines l ON l.order_id = o.order_id "
    "LEFT JOIN reservations r ON r.order_id = o.order_id LEFT JOIN payments p ON p.order_id = o.order_id "
    "GROUP BY o.order_id, c.name, o.status, r.status, p.status",
    WITHOUT_LINES: "SELECT o.order_id, c.customer_id, r.order_id AS reserved, p.order_id AS paid, c.name AS customer, o.status, "
    "r.status AS reservation, p.status AS payment FROM orders o JOIN customers c ON c.customer_id = o.customer_id "
    "JOIN reservations r ON r.order_id = o.order_id JOIN payments p ON p.order_id = o.order_id",
}
_WAIT = "SELECT _deltaflow.wait_for(pg_current_wal_lsn(), ARRAY['order_summary'], '300 seconds')"
_START_TIMEOUT_S = 600.0
_BATCH = 1_000


class Rates(NamedTuple):
    """Of one view: rows of the tables copied a second, until the view was live; then changes a second."""

    name: str
    copied_s: float
    changes_s: float


@cache
def deltaflow_rates(ground: PostgresGround, *, quick: bool) -> tuple[list[Rates], tuple[str, ...]]:
    """How quick it is with each view, and what there is to say about it. Measured once a run."""
    orders, batches = (500, 2) if quick else (10_000, 20)
    try:
        program = peer_program("deltaflow", "deltaflow")
    except NoPython as reason:
        return [], (f"deltaflow-pg 0.1.1 was not measured: {reason}.",)
    found = [_rates(ground, program, name, orders, batches) for name in _VIEWS]
    return found, (
        f"deltaflow-pg on the same server, once each: {rows_held(orders):,} rows copied (without order lines "
        f"{_copied(WITHOUT_LINES, orders):,}),",
        f"then {batches * min(_BATCH, orders):,} changes, the writer's time included.",
    )


def _rates(ground: PostgresGround, program: str, name: str, orders: int, batches: int) -> Rates:
    say(f"{name}: {orders:,} orders")
    with ground.shop_in_one(orders) as url, TemporaryDirectory(prefix="syncline-bench-", ignore_cleanup_errors=True) as folder:
        views = Path(folder) / "views.sql"
        views.write_text(f"CREATE VIEW bench.order_summary AS {_VIEWS[name]};\n")
        began = time.perf_counter()
        with _running(program, views, url) as process, closing(psycopg.connect(url, autocommit=True)) as connection:
            _wait_until_live(connection, process, orders, Path(folder) / "log")
            copied_s = _copied(name, orders) / (time.perf_counter() - began)
            changes_s = _changes_s(connection, orders, batches)
    return Rates(name, copied_s, changes_s)


def _copied(name: str, orders: int) -> int:
    return rows_held(orders) - (3 * orders if name == WITHOUT_LINES else 0)


def _changes_s(connection: psycopg.Connection[Any], orders: int, batches: int) -> float:
    draw = random.Random(1)
    began = time.perf_counter()
    for number in range(batches):
        statement = tuple(CHANGES.values())[number % len(CHANGES)]
        connection.execute(statement, (draw.sample(range(1, orders + 1), min(_BATCH, orders)),))
    if connection.execute(_WAIT).fetchone() != (True,):
        raise SystemExit("deltaflow-pg did not catch up within 300 s")
    return batches * min(_BATCH, orders) / (time.perf_counter() - began)


@contextmanager
def _running(program: str, views: Path, url: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [program, "run", str(views), "--slot", "syncline_bench", "--dsn", url, "--http-port", "-1"]
    state = ["--state-dir", str(views.parent / "state")]
    with ended([*command, *state], views.parent / "log") as process:
        yield process


def _wait_until_live(connection: psycopg.Connection[Any], process: subprocess.Popen[bytes], orders: int, log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            found = connection.execute("SELECT count(*) FROM bench.order_summary").fetchone()
        except psycopg.errors.UndefinedTable:
            found = None
        if found == (orders,) and connection.execute(_WAIT).fetchone() == (True,):
            return
        time.sleep(0.1)
    raise SystemExit(f"deltaflow-pg did not become live:\n{log.read_text()[-2000:]}")
