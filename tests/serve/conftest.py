"""A shop that is followed and served as it would be in earnest: relays in threads, a real server on a free port."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from tests.shop.catalog import AddProduct, catalog
from tests.shop.orders import orders
from tests.shop.payments import payments
from tests.shop.summary import order_summary

from syncline import App, NamedQuery, SQLite, Triggers
from syncline.places import Placed
from syncline.serve import HttpConfig, asgi
from syncline.serve.caller import Authenticate
from syncline.serve.server import Server

LARGE_ORDERS = NamedQuery(
    "large_orders",
    """-- Orders of a customer that cost more than so much.
-- param: above_cents integer = 0
-- param: customer text?
SELECT order_id, customer, total_cents FROM order_summary
 WHERE total_cents > :above_cents AND (:customer IS NULL OR customer = :customer)
 ORDER BY total_cents DESC, order_id
""",
)


@dataclass(frozen=True, slots=True)
class Shop:
    """The application, and a client of the service over it."""

    app: App
    http: httpx.Client
    url: str


@contextmanager
def followed(app: App) -> Iterator[App]:
    """The application with its relays running, and caught up."""
    stop = threading.Event()
    thread = threading.Thread(target=app.run, args=(stop,))
    app.sync()
    thread.start()
    try:
        yield app
    finally:
        stop.set()
        thread.join()
        app.close()


@contextmanager
def served(app: App, config: HttpConfig | None = None, authenticate: Authenticate | None = None) -> Iterator[Shop]:
    """The application behind a real server on a free port."""
    with (
        Server(asgi(app, config, authenticate=authenticate), "127.0.0.1", 0) as server,
        httpx.Client(base_url=server.url, timeout=10) as client,
    ):
        yield Shop(app, client, server.url)


def shop_in(folder: Path, *others: Placed) -> App:
    """The shop of three services and one view over them, in this folder."""
    store = SQLite(str(folder / "read.db"))
    app = App(
        orders.on(SQLite(str(folder / "orders.db"))),
        payments.on(SQLite(str(folder / "payments.db"))),
        catalog.on(SQLite(str(folder / "catalog.db")), capture=Triggers()),
        order_summary.on(store),
        LARGE_ORDERS.on(store),
        *others,
    )
    app.send(AddProduct("tea", "Tea", 450))
    app.send(AddProduct("cup", "Cup", 900))
    return app


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """One shop for a module's tests, which do not mind each other's orders; whoever may reach it may do everything."""
    with followed(shop_in(tmp_path_factory.mktemp("shop"))) as app, served(app) as found:
        yield found
