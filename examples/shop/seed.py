"""What the shop begins with: its products, their stock, and its customers. `python -m shop.seed [FOLDER]`."""

import csv
import sys
from pathlib import Path

from syncline import App

from .app import build
from .customers import register
from .inventory import AddProduct, Restock

HERE = Path(__file__).resolve().parent


def _rows(name: str) -> tuple[dict[str, str], ...]:
    with (HERE / name).open(encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(file))


CATALOGUE = _rows("catalogue.csv")
CUSTOMERS = _rows("customers.csv")
PRICES = {product["sku"]: int(product["price_cents"]) for product in CATALOGUE}
SOLD_OUT = next(product["sku"] for product in CATALOGUE if product["stock"] == "0")


def seed(app: App, folder: Path) -> None:
    """Fills the databases in `folder`, before anything is followed. Done again, it changes nothing."""
    register(folder / "customers.db", CUSTOMERS)
    commands: list[AddProduct | Restock] = []
    for product in CATALOGUE:
        sku, quantity = product["sku"], int(product["stock"])
        commands.append(AddProduct(sku, product["title"], product["category"], PRICES[sku], int(product["reorder_at"])))
        commands += [Restock(f"first-{sku}", sku, quantity)] if quantity else []
    for sent in [app.submit(command) for command in commands]:
        sent.result()


if __name__ == "__main__":
    place = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    place.mkdir(parents=True, exist_ok=True)
    with build(place) as shop:
        seed(shop, place)
    print(f"{len(CATALOGUE)} products and {len(CUSTOMERS)} customers are in {place}")
