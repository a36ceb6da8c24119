"""A shop of three services: orders and payments decide commands into events, the catalog keeps tables; one view joins them."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from syncline import App, Delete, EventService, ForeignService, Patch, Relation, SQLite, Triggers, Upsert, View
from syncline.places import Store

currency = "EUR"
"""What the projection of today writes as a payment's currency."""


@dataclass(frozen=True)
class Placed:
    order_id: int
    customer: str
    lines: dict[str, int]


@dataclass(frozen=True)
class Changed:
    order_id: int
    sku: str
    quantity: int


@dataclass(frozen=True)
class Cancelled:
    order_id: int


@dataclass(frozen=True)
class Charged:
    order_id: int
    cents: int


@dataclass(frozen=True)
class Refunded:
    order_id: int


@dataclass(frozen=True)
class Happen:
    """A command that decides whatever it is told."""

    order_id: int
    placed: Placed | None = None
    changed: Changed | None = None
    cancelled: Cancelled | None = None


@dataclass(frozen=True)
class Pay:
    order_id: int
    charged: Charged | None = None
    refunded: Refunded | None = None


@dataclass(frozen=True)
class Header:
    order_id: int
    customer: str
    is_cancelled: bool


@dataclass(frozen=True)
class Line:
    order_id: int
    sku: str
    quantity: int


@dataclass(frozen=True)
class Payment:
    order_id: int
    cents: int
    currency: str


def order_rows(event: Placed | Changed | Cancelled) -> Iterator[Upsert | Patch | Delete]:
    match event:
        case Placed(order_id, customer, lines):
            yield Upsert("header", order_id=order_id, customer=customer, is_cancelled=False)
            for sku, quantity in lines.items():
                yield Upsert("line", order_id=order_id, sku=sku, quantity=quantity)
        case Changed(order_id, sku, 0):
            yield Delete("line", order_id=order_id, sku=sku)
        case Changed(order_id, sku, quantity):
            yield Patch("line", order_id=order_id, sku=sku, quantity=quantity)
        case Cancelled(order_id):
            yield Patch("header", order_id=order_id, is_cancelled=True)


def payment_rows(event: Charged | Refunded) -> Iterator[Upsert | Delete]:
    match event:
        case Charged(order_id, cents):
            yield Upsert("payment", order_id=order_id, cents=cents, currency=currency)
        case Refunded(order_id):
            yield Delete("payment", order_id=order_id)


orders = EventService(
    "orders",
    key="order_id",
    commands=Happen,
    events=Placed | Changed | Cancelled,
    initial=Header(0, "", False),
    decide=lambda state, command: [each for each in (command.placed, command.changed, command.cancelled) if each],
    evolve=lambda state, event: state,
    relations={"header": Relation(Header, "order_id"), "line": Relation(Line, ("order_id", "sku"))},
    rows=order_rows,
)
payments = EventService(
    "payments",
    key="order_id",
    commands=Pay,
    events=Charged | Refunded,
    initial=Payment(0, 0, ""),
    decide=lambda state, command: [each for each in (command.charged, command.refunded) if each],
    evolve=lambda state, event: state,
    relations={"payment": Relation(Payment, "order_id")},
    rows=payment_rows,
)
catalog = ForeignService("catalog", ("product",))
board = View(
    "board",
    "order_id",
    """
    SELECT h.order_id, h.customer, h.is_cancelled, count(l.sku) AS lines, CAST(sum(l.quantity * p.cents) AS bigint) AS cents,
           pay.cents AS paid, pay.currency
      FROM orders.header h
      LEFT JOIN orders.line l ON l.order_id = h.order_id
      LEFT JOIN catalog.product p ON p.sku = l.sku
      LEFT JOIN payments.payment pay ON pay.order_id = h.order_id
     GROUP BY h.order_id, h.customer, h.is_cancelled, pay.cents, pay.currency
    """,
)


CATALOG = "CREATE TABLE product (sku TEXT PRIMARY KEY NOT NULL, cents INTEGER NOT NULL)"
PRODUCTS = "INSERT INTO product VALUES ('pen', 100), ('ink', 250), ('cap', 1000)"


def make_catalog(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "catalog.db")) as db, db:
        db.execute(CATALOG)
        db.execute(PRODUCTS)


def build(folder: Path) -> App:
    return build_on(*(SQLite(str(folder / f"{name}.db")) for name in ("orders", "payments", "catalog", "read")))


def build_on(of_orders: Store, of_payments: Store, of_catalog: Store, read: Store) -> App:
    return App(
        orders.on(of_orders),
        payments.on(of_payments),
        catalog.on(of_catalog, Triggers()),
        board.on(read),
    )
