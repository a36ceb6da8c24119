"""Inventory: tables of its own. An order's stock is reserved as a whole or not at all, and never for an order that was let go.

One row of `reservation` for each order says what became of it, also where it was released before it was ever reserved: so that
commands may come twice, late, and in any order. What other services must know is recorded in an outbox in the same transaction.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from syncline import Outbox, Rejected, TableService

SCHEMA = """
CREATE TABLE product (
    sku         TEXT NOT NULL PRIMARY KEY,
    title       TEXT NOT NULL,
    category    TEXT NOT NULL,
    price_cents INTEGER NOT NULL CHECK (price_cents >= 0)
);
CREATE TABLE stock (
    sku        TEXT NOT NULL PRIMARY KEY REFERENCES product (sku),
    on_hand    INTEGER NOT NULL CHECK (on_hand >= 0),
    reserved   INTEGER NOT NULL CHECK (reserved BETWEEN 0 AND on_hand),
    reorder_at INTEGER NOT NULL
);
CREATE TABLE delivery (
    delivery_id TEXT NOT NULL PRIMARY KEY,
    sku         TEXT NOT NULL REFERENCES stock (sku),
    quantity    INTEGER NOT NULL CHECK (quantity > 0)
);
CREATE TABLE reservation (
    order_id TEXT NOT NULL PRIMARY KEY,
    state    TEXT NOT NULL CHECK (state IN ('reserved', 'refused', 'released')), -- reserved → released; the others stay
    reason   TEXT
);
CREATE TABLE reserved_line (
    order_id TEXT NOT NULL REFERENCES reservation (order_id),
    sku      TEXT NOT NULL REFERENCES stock (sku),
    quantity INTEGER NOT NULL CHECK (quantity > 0),
    PRIMARY KEY (order_id, sku)
);
"""


@dataclass(frozen=True)
class AddProduct:
    sku: str
    title: str
    category: str
    price_cents: int
    reorder_at: int


@dataclass(frozen=True)
class Restock:
    """Goods that came in. The same delivery counts once."""

    delivery_id: str
    sku: str
    quantity: int


@dataclass(frozen=True)
class Wanted:
    """So much of a product, at the price that was promised for it."""

    sku: str
    quantity: int
    price_cents: int


@dataclass(frozen=True)
class ReserveStock:
    order_id: str
    lines: tuple[Wanted, ...]


@dataclass(frozen=True)
class ReleaseStock:
    order_id: str


@dataclass(frozen=True)
class StockReserved:
    order_id: str


@dataclass(frozen=True)
class OutOfStock:
    order_id: str
    reason: str


@dataclass(frozen=True)
class StockReleased:
    order_id: str


stock_told = Outbox(
    "stock_told",
    key="order_id",
    events=StockReserved | OutOfStock | StockReleased,
)


def add_product(tx, command: AddProduct) -> None:
    added = tx.execute("INSERT INTO product VALUES (:sku, :title, :category, :price_cents) ON CONFLICT (sku) DO NOTHING", command)
    if added:
        tx.execute("INSERT INTO stock VALUES (:sku, 0, 0, :reorder_at)", command)


def restock(tx, command: Restock) -> None:
    """A product that is unknown breaks a foreign key, which is a rejection."""
    if tx.execute("INSERT INTO delivery VALUES (:delivery_id, :sku, :quantity) ON CONFLICT (delivery_id) DO NOTHING", command):
        tx.execute("UPDATE stock SET on_hand = on_hand + :quantity WHERE sku = :sku", command)


def reserve_stock(tx, command: ReserveStock) -> None:
    order_id = command.order_id
    if tx.query("SELECT state FROM reservation WHERE order_id = ?", [order_id]):
        return  # answered before, or released before it came
    short = list(_lacking(tx, command.lines))
    if short:
        reason = "; ".join(short)
        tx.execute("INSERT INTO reservation VALUES (?, 'refused', ?)", [order_id, reason])
        stock_told.record(tx, OutOfStock(order_id, reason))
        return
    tx.execute("INSERT INTO reservation VALUES (?, 'reserved', NULL)", [order_id])
    for line in command.lines:
        tx.execute("INSERT INTO reserved_line VALUES (?, ?, ?)", [order_id, line.sku, line.quantity])
        tx.execute("UPDATE stock SET reserved = reserved + ? WHERE sku = ?", [line.quantity, line.sku])
    stock_told.record(tx, StockReserved(order_id))


def _lacking(tx, lines: Iterable[Wanted]) -> Iterable[str]:
    """What there is too little of, in words. Raises Rejected for a product or a price that is not the shop's."""
    for line in lines:
        found = tx.query(
            "SELECT p.title, p.price_cents, s.on_hand - s.reserved AS left_over"
            "  FROM product p JOIN stock s ON s.sku = p.sku WHERE p.sku = ?",
            [line.sku],
        )
        if not found:
            raise Rejected(f"there is no product {line.sku}")
        (product,) = found
        if product["price_cents"] != line.price_cents:
            raise Rejected(f"{product['title']} costs {product['price_cents']} cents now, not {line.price_cents}")
        if product["left_over"] < line.quantity:
            yield f"{product['title']}: {line.quantity} asked for, {product['left_over']} left"


def release_stock(tx, command: ReleaseStock) -> None:
    first = tx.execute("INSERT INTO reservation VALUES (:order_id, 'released', NULL) ON CONFLICT (order_id) DO NOTHING", command)
    held = tx.execute("UPDATE reservation SET state = 'released' WHERE order_id = :order_id AND state = 'reserved'", command)
    for line in tx.query("SELECT sku, quantity FROM reserved_line WHERE order_id = :order_id", command) if held else ():
        tx.execute("UPDATE stock SET reserved = reserved - :quantity WHERE sku = :sku", line)
    if first or held:
        stock_told.record(tx, StockReleased(command.order_id))


inventory = TableService(
    "inventory",
    schema=SCHEMA,
    handles={
        AddProduct: add_product,
        Restock: restock,
        ReserveStock: reserve_stock,
        ReleaseStock: release_stock,
    },
    publishes=["product", "stock", "reservation"],
)
