"""An outbox of a shop's orders for tests, and a process that records in it while others do."""

import sqlite3
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from syncline.rows import Patch, Relation, Upsert
from syncline.write.outbox import Outbox


@dataclass(frozen=True)
class OrderPlaced:
    order_id: str
    cents: int


@dataclass(frozen=True)
class OrderShipped:
    order_id: str


@dataclass(frozen=True)
class Order:
    order_id: str
    cents: int
    status: str


def rows(event: OrderPlaced | OrderShipped) -> Iterator[Upsert | Patch]:
    match event:
        case OrderPlaced(order_id, cents):
            yield Upsert("order", order_id=order_id, cents=cents, status="placed")
        case OrderShipped(order_id):
            yield Patch("order", order_id=order_id, status="shipped")


shop = Outbox(
    "shop",
    key="order_id",
    events=OrderPlaced | OrderShipped,
    relations={"order": Relation(Order, key="order_id")},
    rows=rows,
)


def record_many(path: str, name: str, transactions: int) -> None:
    """Transactions of two events each; every third is rolled back."""
    connection = sqlite3.connect(path, timeout=60)
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(transactions):
        connection.execute("INSERT INTO orders VALUES (?, 1)", [f"{name}{number}"])
        shop.record(connection, OrderPlaced(f"{name}{number}", 1))
        shop.record(connection, OrderShipped("shared"))
        if number % 3 == 2:
            connection.rollback()
        else:
            connection.commit()
    connection.close()


if __name__ == "__main__":
    record_many(sys.argv[1], sys.argv[2], int(sys.argv[3]))
