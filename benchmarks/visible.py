"""visible: from a command's receipt until the view shows it, with the relay in the same process, beside one written by hand.

A customer's order is placed every 5 to 25 ms, at random. The clock starts when `App.send` returns, so when the event is on disk;
it stops when a reader with a connection of its own, looking in a tight loop, sees the row with plain SQL. Read with the token is
the same with `App.read(view, key, at_least=receipt.token)` in place of the loop. By hand is a thread that is woken by the writer,
reads the new events, and brings the same two tables up to date in one transaction.
"""

import json
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from figures import Cell, Table, percentile, say
from orders import OrderPlaced, PlaceOrder, orders

from syncline import App, Relation, SQLite, Upsert, View

PAUSE_S = (0.005, 0.025)
GIVE_UP_S = 10.0
BY_HAND = "by hand: a thread that the writer wakes"
SEEN, READ = "Syncline, seen with plain SQL", "Syncline, read with the token"


@dataclass(frozen=True)
class Header:
    order_id: str
    customer: str
    amount_cents: int


def rows(event: object) -> Iterator[Upsert]:
    if isinstance(event, OrderPlaced):
        yield Upsert("header", order_id=event.order_id, customer=event.customer, amount_cents=event.amount_cents)


published = replace(orders, relations={"header": Relation(Header, key="order_id")}, rows=rows)
customers = View(
    "customers",
    key="customer",
    query="SELECT customer, COUNT(*) AS orders, SUM(amount_cents) AS total_cents FROM orders.header GROUP BY customer",
)


def measure(*, quick: bool) -> list[Table]:
    samples, blocks = (30, 1) if quick else (500, 4)
    found: dict[str, list[float]] = {SEEN: [], READ: [], BY_HAND: []}
    with TemporaryDirectory(prefix="syncline-bench-", ignore_cleanup_errors=True) as root:
        folder = Path(root)
        app = App(published.on(SQLite(str(folder / "orders.db"))), customers.on(SQLite(str(folder / "read.db"))))
        app.send(PlaceOrder("first", "nobody", 1))
        with app, _running(app.run), _hand_running(folder / "hand.db") as place_by_hand:
            app.read(customers, "nobody", at_least=app.token("orders"), timeout_s=GIVE_UP_S)
            for block in range(blocks):
                say(f"block {block + 1} of {blocks}")

                def seen(key: str) -> Callable[[], None]:
                    app.send(PlaceOrder(key, key, 100))
                    return lambda: _wait_for(folder / "read.db", key)

                def read(key: str) -> Callable[[], None]:
                    receipt = app.send(PlaceOrder(key, key, 100))
                    return lambda: _expect(app.read(customers, key, at_least=receipt.token)["orders"])

                def by_hand(key: str) -> Callable[[], None]:
                    place_by_hand(key)
                    return lambda: _wait_for(folder / "hand.db", key)

                for name, place in ((SEEN, seen), (READ, read), (BY_HAND, by_hand)):
                    found[name] += _samples(place, f"{name[:12]}-{block}", samples)
    return [_table(found)]


def _samples(place: Callable[[str], Callable[[], None]], name: str, samples: int) -> list[float]:
    """Milliseconds from the receipt to the sight, one a command."""
    draw, found = random.Random(name), list[float]()
    for number in range(samples):
        time.sleep(draw.uniform(*PAUSE_S))
        wait = place(f"{name}-{number}")
        began = time.perf_counter()
        wait()
        found.append(1e3 * (time.perf_counter() - began))
    return found


def _wait_for(store: Path, customer: str) -> None:
    with closing(sqlite3.connect(store, isolation_level=None)) as reader:
        deadline = time.monotonic() + GIVE_UP_S
        while reader.execute("SELECT orders FROM customers WHERE customer = ?", (customer,)).fetchone() is None:
            if time.monotonic() > deadline:
                raise SystemExit(f"{customer} was not seen in {GIVE_UP_S:g} s")


def _expect(orders_of_customer: int) -> None:
    assert orders_of_customer == 1


@contextmanager
def _running(run: Callable[[threading.Event], None]) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextmanager
def _hand_running(store: Path) -> Iterator[Callable[[str], None]]:
    """The same by hand. Gives what places an order; it returns when that is on disk."""
    log, wake, stop = store.with_name("hand-log.db"), threading.Event(), threading.Event()
    with closing(_opened(log)) as db:
        db.execute("CREATE TABLE event (position INTEGER PRIMARY KEY, stream TEXT, data TEXT)")
    with closing(_opened(store)) as db:
        db.execute("CREATE TABLE header (order_id TEXT PRIMARY KEY, customer TEXT, amount_cents INTEGER)")
        db.execute("CREATE TABLE customers (customer TEXT PRIMARY KEY, orders INTEGER, total_cents INTEGER)")

    def follow() -> None:
        with closing(_opened(log)) as source, closing(_opened(store, "NORMAL")) as target:
            after = 0
            while not stop.is_set():
                wake.wait(0.004)
                wake.clear()
                new = source.execute("SELECT position, data FROM event WHERE position > ? ORDER BY position", (after,)).fetchall()
                if not new:
                    continue
                target.execute("BEGIN IMMEDIATE")
                for position, data in new:
                    event = json.loads(data)
                    target.execute("INSERT INTO header VALUES (:order_id, :customer, :amount_cents)", event)
                    target.execute(
                        "INSERT INTO customers SELECT customer, COUNT(*), SUM(amount_cents) FROM header "
                        "WHERE customer = :customer GROUP BY customer ON CONFLICT (customer) DO UPDATE "
                        "SET orders = excluded.orders, total_cents = excluded.total_cents",
                        event,
                    )
                    after = position
                target.execute("COMMIT")

    def place(key: str) -> None:
        event = json.dumps({"order_id": key, "customer": key, "amount_cents": 100})
        writer.execute("INSERT INTO event (stream, data) VALUES (?, ?)", (f"orders-{key}", event))
        wake.set()

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        with closing(_opened(log)) as writer:
            yield place
    finally:
        stop.set()
        thread.join()


def _opened(path: Path, synchronous: str = "FULL") -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=10)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    return connection


def _table(found: dict[str, list[float]]) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (name, percentile(its, 50), percentile(its, 90), percentile(its, 99), max(its), len(its)) for name, its in found.items()
    ]
    return Table(
        "Milliseconds from a command's receipt until the view shows it, in one process",
        ("", "p50", "p90", "p99", "highest", "commands"),
        rows,
        asked="p50 at most 2 ms, p99 at most 10 ms.",
    )
