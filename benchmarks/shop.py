"""The data that most figures are measured on: a shop of three services, each with an SQLite database of its own.

Ten orders a customer, three lines an order, one reservation and one payment an order; 10,000 orders in a row are those of 1,000
customers, so that the newest 10,000 are as much to touch in a big shop as in a small one. `Writer` stands for the services' own
programs: every change of it is real (no row is written as it was), and two writers of the same seed make the same changes.
"""

import random
import sqlite3
from collections.abc import Sequence
from pathlib import Path

SERVICES = {"orders": ("customers", "orders", "order_lines"), "inventory": ("reservations",), "payments": ("payments",)}
LINES_AN_ORDER = 3
ORDERS_A_CUSTOMER = 10

VIEW_NAME = "order_summary"
VIEW = """\
-- What the shop shows of an order: five relations of three services, one row.
-- key: order_id
SELECT o.order_id, c.name AS customer, o.status,
       SUM(l.quantity * l.price_cents) AS total_cents, COUNT(l.line) AS lines,
       r.status AS reservation, p.status AS payment
  FROM orders.orders o
  LEFT JOIN orders.customers c ON c.customer_id = o.customer_id
  LEFT JOIN orders.order_lines l ON l.order_id = o.order_id
  LEFT JOIN inventory.reservations r ON r.order_id = o.order_id
  LEFT JOIN payments.payments p ON p.order_id = o.order_id
 GROUP BY o.order_id, c.name, o.status, r.status, p.status
"""

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
        f"(VALUES {', '.join(f'({n})' for n in range(1, LINES_AN_ORDER + 1))}) AS line",
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


def make_services(folder: Path, orders: int) -> None:
    """Makes the three databases in `folder`, in WAL mode, without anything of a relay in them."""
    for service in SERVICES:
        connection = sqlite3.connect(database(folder, service), isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")
        connection.executescript(_SCHEMAS[service])
        connection.execute("BEGIN")
        for statement in _FILL[service]:
            connection.execute(_with_numbers(statement), {"count": orders, "customers": customers_of(orders)})
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()


def database(folder: Path, service: str) -> str:
    return str(folder / f"{service}.db")


def customers_of(orders: int) -> int:
    return max(orders // ORDERS_A_CUSTOMER, 1)


def rows_held(orders: int) -> int:
    """How many rows the five tables hold together."""
    return customers_of(orders) + orders * (3 + LINES_AN_ORDER)


class Writer:
    """The services' own programs: changes payments and orders at random, one transaction a batch.

    `hot` limits the changes to that many orders, the newest.
    """

    def __init__(self, folder: Path, orders: int, *, seed: int = 1, hot: int | None = None) -> None:
        self._random = random.Random(seed)
        self._orders: Sequence[int] = range(1, orders + 1)[-(hot or orders) :]
        self._connections = {service: open_as_owner(database(folder, service)) for service in _CHANGES}
        self._next = 0

    def change(self, rows: int) -> str:
        """Changes this many orders, or payments, in one transaction; the two take turns. Returns the service changed."""
        service = tuple(_CHANGES)[self._next % len(_CHANGES)]
        self._next += 1
        keys = [(key,) for key in self._random.sample(self._orders, rows)]
        connection = self._connections[service]
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(_CHANGES[service], keys)
        connection.execute("COMMIT")
        return service

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()


def open_as_owner(path: str, *, synchronous: str = "NORMAL") -> sqlite3.Connection:
    """A connection as a service's own program would open it."""
    connection = sqlite3.connect(path, timeout=10, isolation_level=None)
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute("PRAGMA cache_size = -65536")
    return connection


def _with_numbers(statement: str) -> str:
    into, select = statement.split(" SELECT ", 1)
    return f"{into} {_NUMBERS} SELECT {select}"
