"""A shop whose projection fails for some events until it is mended: a file beside its databases says so.

Orders are event-sourced; customers are a service of their own with tables and triggers, so that views depend on both.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from syncline import App, Delete, EventService, ForeignService, Patch, Relation, SQLite, Triggers, Upsert, View

POISON = "poison"


@dataclass(frozen=True)
class PlaceOrder:
    order_id: int
    customer: str
    lines: dict[str, int]


@dataclass(frozen=True)
class ShipOrder:
    order_id: int
    carrier: str


@dataclass(frozen=True)
class RemoveLine:
    order_id: int
    sku: str


@dataclass(frozen=True)
class OrderPlaced:
    order_id: int
    customer: str
    lines: dict[str, int]


@dataclass(frozen=True)
class OrderShipped:
    order_id: int
    carrier: str


@dataclass(frozen=True)
class LineRemoved:
    order_id: int
    sku: str


@dataclass(frozen=True)
class Header:
    order_id: int
    customer: str
    carrier: str | None = None


@dataclass(frozen=True)
class Line:
    order_id: int
    sku: str
    quantity: int


def decide(_: None, command: Any) -> Iterator[Any]:
    match command:
        case PlaceOrder(order_id, customer, lines):
            yield OrderPlaced(order_id, customer, lines)
        case ShipOrder(order_id, carrier):
            yield OrderShipped(order_id, carrier)
        case RemoveLine(order_id, sku):
            yield LineRemoved(order_id, sku)


def rows(event: Any, mended: Path) -> Iterator[Upsert | Patch | Delete]:
    match event:
        case OrderPlaced(order_id, customer, lines):
            _fail_for(customer, mended)
            yield Upsert("header", order_id=order_id, customer=customer)
            for sku, quantity in lines.items():
                yield Upsert("line", order_id=order_id, sku=sku, quantity=quantity)
        case OrderShipped(order_id, carrier):
            _fail_for(carrier, mended)
            yield Patch("header", order_id=order_id, carrier=carrier)
        case LineRemoved(order_id, sku):
            _fail_for(sku, mended)
            yield Delete("line", order_id=order_id, sku=sku)


def _fail_for(value: str, mended: Path) -> None:
    if value.startswith(POISON) and value not in (mended.read_text().split() if mended.exists() else ()):
        raise LookupError(f"no rate for {value}")


BOARD = """
SELECT h.order_id, h.customer, h.carrier, c.city, sum(l.quantity) AS pieces
  FROM orders.header h
  LEFT JOIN orders.line l ON l.order_id = h.order_id
  LEFT JOIN customers.customer c ON c.name = h.customer
 GROUP BY h.order_id, h.customer, h.carrier, c.city
"""
BY_CUSTOMER = "SELECT customer, count(*) AS orders, sum(pieces) AS pieces FROM board GROUP BY customer"
CITIES = "SELECT name, city FROM customers.customer"


def build(folder: Path) -> App:
    """The application over the files of `folder`."""
    mended = folder / "mended"
    orders = EventService(
        "orders",
        key="order_id",
        commands=PlaceOrder | ShipOrder | RemoveLine,
        events=OrderPlaced | OrderShipped | LineRemoved,
        initial=None,
        decide=decide,
        evolve=lambda state, _: state,
        relations={"header": Relation(Header, "order_id"), "line": Relation(Line, ("order_id", "sku"))},
        rows=lambda event: rows(event, mended),
    )
    read_store = SQLite(str(folder / "read.db"))
    return App(
        orders.on(SQLite(str(folder / "orders.db"))),
        ForeignService("customers", ("customer",)).on(SQLite(str(folder / "customers.db")), Triggers()),
        View("board", "order_id", BOARD).on(read_store),
        View("by_customer", "customer", BY_CUSTOMER, recompute_whole=False).on(read_store),
        View("cities", "name", CITIES).on(read_store),
    )


def make(folder: Path) -> None:
    """The other service's database."""
    with closing(sqlite3.connect(folder / "customers.db")) as connection:
        connection.execute("CREATE TABLE customer (name TEXT PRIMARY KEY, city TEXT)")
        connection.execute("INSERT INTO customer VALUES ('ann', 'Ulm'), ('bob', 'Bern')")
        connection.commit()


def mend(folder: Path, *values: str) -> None:
    """From now on the projection does not fail for these."""
    (folder / "mended").write_text(" ".join(values))
