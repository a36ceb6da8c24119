"""rebuild: from a service's events to rows to a view, first and again, beside a loop that is written by hand for this one view.

The log holds orders: each is placed with two or three lines, paid and shipped, a thousand of them being under way at any time.
First: into an empty read store, from the relay's first round until the view is live. Again: what `syncline rebuild` does, beside
the rows that are shown: the relations are replayed from the first event and compared with the mirrors, then the view is built.
Again after a change: the same where the service's function gives other rows than before for every order.

By hand: one loop over the events that decodes each with the same codec, puts rows into dictionaries, loads them into an empty
database (`executemany`, COPY) and fills the view's table with one SELECT, in one transaction, nobody reading. On PostgreSQL the
library `eventsourcing`, too: its ProjectionRunner makes a row of each of fewer orders of three events, on the same server.
"""

import random
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from statistics import median
from typing import Any

from figures import Cell, Table, say, share, spread
from peer import run_peer
from shop import BY_HAND, Ground

from syncline.codec import EventCodec
from syncline.config import ServiceConfig
from syncline.defining import definer
from syncline.events import Append, NewEvent
from syncline.move.relay import Relay
from syncline.read.view import parse_view
from syncline.rows import Patch, Published, Relation, RowOperation, Upsert, published_relation
from syncline.services import FollowedService
from syncline.stores.event_feed import EventFeed
from syncline.stores.protocols import ReadStore
from syncline.stores.roles import dialect_of, log_role, read_role

UNDER_WAY = 1_000
QUERY = """
    SELECT h.order_id, h.customer, h.status, h.changed_at, COUNT(*) AS lines, SUM(l.quantity * l.price_cents) AS total_cents
      FROM {header} h JOIN {line} l ON l.order_id = h.order_id
     GROUP BY h.order_id, h.customer, h.status, h.changed_at
"""


@dataclass(frozen=True)
class Item:
    sku: str
    quantity: int
    price_cents: int


@dataclass(frozen=True)
class OrderPlaced:
    order_id: str
    customer: str
    at: str
    items: tuple[Item, ...]


@dataclass(frozen=True)
class OrderPaid:
    order_id: str
    at: str


@dataclass(frozen=True)
class OrderShipped:
    order_id: str
    at: str


@dataclass(frozen=True)
class Header:
    order_id: str
    customer: str
    status: str
    placed_at: str
    changed_at: str


@dataclass(frozen=True)
class Line:
    order_id: str
    sku: str
    quantity: int
    price_cents: int


Event = OrderPlaced | OrderPaid | OrderShipped
CODEC = EventCodec((OrderPlaced, OrderPaid, OrderShipped))
RELATIONS = {
    "header": published_relation("orders", "header", Relation(Header, "order_id")),
    "line": published_relation("orders", "line", Relation(Line, ("order_id", "sku"))),
}
shipped = "shipped"


def rows(event: Event) -> Iterator[RowOperation]:
    match event:
        case OrderPlaced(order_id, customer, at, items):
            yield Upsert("header", order_id=order_id, customer=customer, status="placed", placed_at=at, changed_at=at)
            for item in items:
                yield Upsert("line", order_id=order_id, sku=item.sku, quantity=item.quantity, price_cents=item.price_cents)
        case OrderPaid(order_id, at):
            yield Patch("header", order_id=order_id, status="paid", changed_at=at)
        case OrderShipped(order_id, at):
            yield Patch("header", order_id=order_id, status=shipped, changed_at=at)


LIBRARY = "library eventsourcing"
ASKED = {"SQLite": "100,000 events/s", "PostgreSQL": "80,000 events/s"}


def measure(ground: Ground, *, quick: bool) -> list[Table]:
    orders, of_library, repetitions = (3_000, 300, 1) if quick else (200_000, 3_000, 3)
    names = ("Syncline, first", "Syncline, again", "Syncline, again after a change", BY_HAND)
    took: dict[str, list[float]] = {name: [] for name in names}
    by_library: list[float] = []
    with ground.place() as log:
        say(f"writing the events of {orders:,} orders")
        events = _write_log(log.database, orders)
        for repetition in range(repetitions):
            say(f"{events:,} events: {repetition} of {repetitions}")
            with ground.place() as read, ground.place() as hand, ground.place() as other:
                found = (*_syncline(read.database, log.database), _by_hand(hand.database, log.database))
                if ground.name == "PostgreSQL":
                    by_library.append(run_peer("eventsourcing", "project", other.database, str(of_library)))
            for name, each in zip(names, found, strict=True):
                took[name].append(each)
    held = orders + orders * 5 // 2
    rates = {name: [events / each for each in its] for name, its in took.items()}
    rows: list[tuple[Cell, ...]] = [
        (name, median(each), median(each) * (held + orders) / events, spread(each), share(each, rates[BY_HAND]))
        for name, each in rates.items()
    ]
    if by_library:
        rows.append((LIBRARY, median(by_library), median(by_library) / 3, spread(by_library), share(by_library, rates[BY_HAND])))
    return [
        Table(
            f"{events:,} events to {held:,} rows of two relations and {orders:,} of a view",
            ("", "events/s", "rows/s", "lowest to highest", "% of hand-written"),
            rows,
            ASKED[ground.name],
            (f"Medians of {repetitions} repetitions, by turns. Rows are those of relations and view.", ground.durability),
        )
    ]


def _write_log(database: str, orders: int) -> int:
    rng = random.Random(1)
    written = 0
    with closing(log_role(database).open_log(database, by_type=False)) as log:
        appends: list[Append] = []
        for stream, event in _history(rng, orders):
            name, data, shape, _ = CODEC.encode(event)
            appends.append(Append(stream, (NewEvent(name, data, (), shape),)))
            if len(appends) == 5_000:
                log.append(appends)
                written += len(appends)
                appends = []
        log.append(appends)
    return written + len(appends)


def _history(rng: random.Random, orders: int) -> Iterator[tuple[str, Event]]:
    """Orders that are placed one after the other, and paid and shipped some time later."""
    under_way: list[tuple[int, int]] = []
    number = 0
    while number < orders or under_way:
        if number < orders and len(under_way) < UNDER_WAY:
            items = tuple(Item(f"sku-{rng.randrange(10_000):05}-{n}", rng.randrange(1, 9), 995) for n in range(2 + number % 2))
            yield _stream(number), OrderPlaced(_id(number), f"customer-{rng.randrange(20_000)}", _at(number), items)
            under_way.append((number, 0))
            number += 1
            continue
        at = rng.randrange(len(under_way))
        order, done = under_way[at]
        yield _stream(order), (OrderShipped if done else OrderPaid)(_id(order), _at(number))
        if done:
            under_way[at] = under_way[-1]
            under_way.pop()
        else:
            under_way[at] = (order, 1)


def _id(order: int) -> str:
    return f"order-{order:08}"


def _stream(order: int) -> str:
    return f"orders-{_id(order)}"


def _at(number: int) -> str:
    return f"2026-01-01T00:00:{number % 60:02}"


def _syncline(database: str, log: str) -> tuple[float, float, float]:
    global shipped
    shipped = "shipped"
    service = FollowedService(
        ServiceConfig("orders", log, "events", tuple(RELATIONS)), Published("orders", CODEC, RELATIONS, rows)
    )
    view = parse_view("order_summary", "-- key: order_id\n" + QUERY.format(header="orders.header", line="orders.line"), "")
    store = read_role(database).open_store(database, "bench")
    store.take_over("benchmark")
    relay = Relay(store, [service], definer([view], {"orders": "events"}))
    try:
        began = time.perf_counter()
        _settle(relay)
        first = time.perf_counter()
        _rebuild(relay, store)
        again = time.perf_counter()
        shipped = "sent"
        _rebuild(relay, store)
        changed = time.perf_counter()
    finally:
        relay.close()
        store.close()
    return first - began, again - first, changed - again


def _settle(relay: Relay) -> None:
    while relay.step() or not relay.is_settled():
        for following in relay.following.values():
            if following.subscription.state == "failed":
                raise SystemExit(str(following.subscription.error))


def _rebuild(relay: Relay, store: ReadStore) -> None:
    """As the relay does when `syncline rebuild` asks for it."""
    feed = relay.following["orders"].feed
    assert isinstance(feed, EventFeed)
    feed.replay(store.mirrors_of("order_summary"))
    while feed.is_replaying:
        relay.step()
    store.rebuild("order_summary")
    _settle(relay)


Headers = dict[str, list[str]]
Lines = dict[tuple[str, str], tuple[str, str, int, int]]
EVENTS = "SELECT name, shape, data, stream, position FROM {} ORDER BY position"


def _by_hand(database: str, log: str) -> float:
    run: Callable[[str, str], None] = _by_hand_on_postgres if dialect_of(database) == "postgres" else _by_hand_on_sqlite
    began = time.perf_counter()
    run(database, log)
    return time.perf_counter() - began


def _folded(events: Iterable[tuple[Any, ...]]) -> tuple[Headers, Lines]:
    headers: Headers = {}
    lines: Lines = {}
    for event in events:
        match CODEC.decode(*event):
            case OrderPlaced(order_id, customer, at, items):
                headers[order_id] = [order_id, customer, "placed", at, at]
                for item in items:
                    lines[order_id, item.sku] = (order_id, item.sku, item.quantity, item.price_cents)
            case OrderPaid(order_id, at):
                headers[order_id][2], headers[order_id][4] = "paid", at
            case OrderShipped(order_id, at):
                headers[order_id][2], headers[order_id][4] = "shipped", at
    return headers, lines


def _by_hand_on_sqlite(database: str, log: str) -> None:
    with closing(sqlite3.connect(log)) as source, closing(sqlite3.connect(database, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        headers, lines = _folded(source.execute(EVENTS.format("syncline_event")))
        db.execute("CREATE TABLE header (order_id TEXT PRIMARY KEY, customer, status, placed_at, changed_at) WITHOUT ROWID")
        db.execute(
            "CREATE TABLE line (order_id TEXT, sku TEXT, quantity, price_cents, PRIMARY KEY (order_id, sku)) WITHOUT ROWID"
        )
        db.execute(
            "CREATE TABLE order_summary (order_id TEXT PRIMARY KEY, customer, status, changed_at, lines, total) WITHOUT ROWID"
        )
        db.execute("BEGIN")
        db.executemany("INSERT INTO header VALUES (?, ?, ?, ?, ?)", headers.values())
        db.executemany("INSERT INTO line VALUES (?, ?, ?, ?)", lines.values())
        db.execute(f"INSERT INTO order_summary {QUERY.format(header='header', line='line')}")
        db.execute("COMMIT")


def _by_hand_on_postgres(database: str, log: str) -> None:
    import psycopg  # the other ground needs no driver

    with psycopg.connect(log) as source, source.cursor("events", binary=True) as events:
        events.itersize = 5_000
        events.execute(EVENTS.format("syncline.event"))
        headers, lines = _folded(events)
    with psycopg.connect(database) as db, db.cursor() as cursor:
        cursor.execute("SET synchronous_commit = off")
        cursor.execute("CREATE TABLE header (order_id text, customer text, status text, placed_at text, changed_at text)")
        cursor.execute("CREATE TABLE line (order_id text, sku text, quantity bigint, price_cents bigint)")
        for table, rows_of_it in (("header", headers.values()), ("line", lines.values())):
            with cursor.copy(f"COPY {table} FROM STDIN") as copy:
                for row in rows_of_it:
                    copy.write_row(row)
        cursor.execute("ALTER TABLE header ADD PRIMARY KEY (order_id)")
        cursor.execute("ALTER TABLE line ADD PRIMARY KEY (order_id, sku)")
        cursor.execute(f"CREATE TABLE order_summary AS {QUERY.format(header='header', line='line')}")
        cursor.execute("ALTER TABLE order_summary ADD PRIMARY KEY (order_id)")
