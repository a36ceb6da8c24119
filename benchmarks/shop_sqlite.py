"""The shop on SQLite: a file a service, in WAL mode."""

import shutil
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import shop
from handwritten import HandwrittenRelay

from syncline import SQLite

_SCHEMAS = {
    "orders": """
        CREATE TABLE customers (customer_id INTEGER PRIMARY KEY, name TEXT NOT NULL, city TEXT NOT NULL);
        CREATE TABLE orders (
          order_id INTEGER PRIMARY KEY,
          customer_id INTEGER NOT NULL REFERENCES customers,
          status TEXT NOT NULL,
          placed_on TEXT NOT NULL
        );
        CREATE TABLE order_lines (
          order_id INTEGER NOT NULL REFERENCES orders,
          line INTEGER NOT NULL,
          sku TEXT NOT NULL,
          quantity INTEGER NOT NULL,
          price_cents INTEGER NOT NULL,
          PRIMARY KEY (order_id, line)
        ) WITHOUT ROWID;
    """,
    "inventory": """
        CREATE TABLE reservations (order_id INTEGER PRIMARY KEY, status TEXT NOT NULL, warehouse TEXT NOT NULL);
    """,
    "payments": """
        CREATE TABLE payments (order_id INTEGER PRIMARY KEY, status TEXT NOT NULL, method TEXT NOT NULL);
    """,
}

_NUMBERS = "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :count) "
_FILL = {
    "orders": (
        "INSERT INTO customers SELECT n, printf('Customer %06d', n), printf('City %03d', n % 500) FROM numbers "
        "WHERE n <= :customers",
        "INSERT INTO orders SELECT n, 1 + ((n - 1) / 10000 * 1000 + n * 7919 % min(1000, :customers)) % :customers, 'placed', "
        "date('2024-01-01', printf('+%d days', n % 365)) FROM numbers",
        "INSERT INTO order_lines SELECT n, line.column1, printf('SKU-%05d', (n * 31 + line.column1) % 20000), "
        "1 + (n + line.column1) % 4, 100 + (n * 17 + line.column1 * 331) % 9900 FROM numbers, "
        f"(VALUES {', '.join(f'({n})' for n in range(1, shop.LINES_AN_ORDER + 1))}) AS line",
    ),
    "inventory": ("INSERT INTO reservations SELECT n, 'reserved', printf('W%02d', n % 20) FROM numbers",),
    "payments": ("INSERT INTO payments SELECT n, 'open', 'card' FROM numbers",),
}

_CHANGES = {
    "orders": "UPDATE orders SET status = CASE status WHEN 'placed' THEN 'packed' WHEN 'packed' THEN 'shipped' "
    "WHEN 'shipped' THEN 'delivered' ELSE 'placed' END WHERE order_id = ?",
    "payments": "UPDATE payments SET status = CASE status WHEN 'open' THEN 'authorised' WHEN 'authorised' THEN 'paid' "
    "WHEN 'paid' THEN 'refunded' ELSE 'open' END WHERE order_id = ?",
}


class SQLiteShop:
    """Files in `folder`."""

    def __init__(self, folder: Path, orders: int) -> None:
        self.folder, self.orders = folder, orders
        self.read_store = "sqlite:///read.db"

    @contextmanager
    def copy(self) -> Iterator["SQLiteShop"]:
        with TemporaryDirectory(prefix="syncline-bench-", ignore_cleanup_errors=True) as root:
            yield SQLiteShop(Path(shutil.copytree(self.folder, Path(root) / "shop")), self.orders)

    def source(self, service: str) -> str:
        return f"sqlite:///{service}.db"

    def open_owner(self, service: str, level: str = "synchronous=NORMAL") -> sqlite3.Connection:
        connection = sqlite3.connect(self._path(service), timeout=10, isolation_level=None)
        connection.execute(f"PRAGMA {level}")
        connection.execute("PRAGMA cache_size = -65536")
        return connection

    def change(self, owner: sqlite3.Connection, service: str, keys: Sequence[int]) -> None:
        owner.execute("BEGIN IMMEDIATE")
        owner.executemany(_CHANGES[service], [(key,) for key in keys])
        owner.execute("COMMIT")

    def by_hand(self, *, with_difference: bool = True) -> HandwrittenRelay:
        return HandwrittenRelay(self.folder, with_difference=with_difference)

    def command_by_hand(self) -> Sequence[str]:
        return (sys.executable, str(Path(__file__).with_name("handwritten.py")), str(self.folder))

    def open_view(self, side: str) -> shop.View:
        path = self.folder / ("read.db" if side == shop.SYNCLINE else "hand.db")
        return shop.View(sqlite3.connect(path, isolation_level=None), shop.VIEW_NAME)

    def _make(self) -> None:
        """Makes the three databases, in WAL mode."""
        for service in shop.SERVICES:
            connection = sqlite3.connect(self._path(service), isolation_level=None)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = OFF")
            connection.executescript(_SCHEMAS[service])
            connection.execute("BEGIN")
            for statement in _FILL[service]:
                numbers = {"count": self.orders, "customers": shop.customers_of(self.orders)}
                connection.execute(_with_numbers(statement), numbers)
            connection.execute("COMMIT")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.close()

    def _path(self, service: str) -> Path:
        return self.folder / f"{service}.db"


class SQLiteGround:
    name = "SQLite"
    version = sqlite3.sqlite_version
    durability = (
        "Read store: WAL, synchronous=NORMAL, checkpoint at 20,000 pages; every 0.25 s a commit with synchronous=FULL, after\n"
        "which applied marks are deleted. Sources: WAL, synchronous=NORMAL."
    )
    owner_levels: Sequence[str] = ("synchronous=NORMAL", "synchronous=FULL")
    captures: Sequence[str] = ("triggers",)
    peers: Sequence[str] = ()

    @contextmanager
    def shop(self, orders: int) -> Iterator[SQLiteShop]:
        with TemporaryDirectory(prefix="syncline-bench-", ignore_cleanup_errors=True) as folder:
            made = SQLiteShop(Path(folder), orders)
            made._make()
            yield made

    @contextmanager
    def place(self) -> Iterator[SQLite]:
        with TemporaryDirectory(prefix="syncline-bench-", ignore_cleanup_errors=True) as folder:
            yield SQLite(str(Path(folder) / "log.db"))

    def processor_clock(self) -> Callable[[], float]:
        return time.process_time

    def sql(self, statement: str) -> str:
        return statement


def _with_numbers(statement: str) -> str:
    into, select = statement.split(" SELECT ", 1)
    return f"{into} {_NUMBERS} SELECT {select}"
