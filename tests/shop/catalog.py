"""Catalog: ordinary tables and ordinary SQL. What it publishes is replicated as it is."""

from dataclasses import dataclass

from syncline import Rejected, TableService


@dataclass(frozen=True)
class AddProduct:
    sku: str
    title: str
    price_cents: int


@dataclass(frozen=True)
class Reprice:
    sku: str
    price_cents: int


def add_product(tx, command: AddProduct) -> None:
    tx.execute("INSERT INTO product VALUES (:sku, :title, :price_cents)", command)


def reprice(tx, command: Reprice) -> None:
    changed = tx.execute("UPDATE product SET price_cents = :price_cents WHERE sku = :sku", command)
    if not changed:
        raise Rejected(f"no product has the sku {command.sku!r}")


catalog = TableService(
    "catalog",
    schema="""CREATE TABLE product (
        sku         TEXT PRIMARY KEY,
        title       TEXT NOT NULL,
        price_cents INTEGER NOT NULL CHECK (price_cents >= 0)
    )""",
    handles={AddProduct: add_product, Reprice: reprice},
    publishes=["product"],
)
