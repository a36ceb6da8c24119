"""The shop on PostgreSQL: a database a service, all on one server; a read store for each side beside them."""

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
import shop
from handwritten_postgres import HandwrittenRelay

from syncline import PostgreSQL
from syncline.testing.postgres import Databases, postgres_databases

SERVER = {"shared_buffers": "1GB", "max_wal_size": "8GB", "checkpoint_timeout": "15min", "wal_buffers": "16MB"}
"""A server that is set up with care, as both sides' would be."""

_SCHEMAS = {
    "orders": """
        CREATE TABLE customers (customer_id integer PRIMARY KEY, name text NOT NULL, city text NOT NULL);
        CREATE TABLE orders (
          order_id integer PRIMARY KEY,
          customer_id integer NOT NULL REFERENCES customers,
          status text NOT NULL,
          placed_on date NOT NULL
        );
        CREATE TABLE order_lines (
          order_id integer NOT NULL REFERENCES orders,
          line integer NOT NULL,
          sku text NOT NULL,
          quantity integer NOT NULL,
          price_cents integer NOT NULL,
          PRIMARY KEY (order_id, line)
        );
    """,
    "inventory": "CREATE TABLE reservations (order_id integer PRIMARY KEY, status text NOT NULL, warehouse text NOT NULL);",
    "payments": "CREATE TABLE payments (order_id integer PRIMARY KEY, status text NOT NULL, method text NOT NULL);",
}

_FILL = {
    "orders": (
        "INSERT INTO customers SELECT n, format('Customer %%s', lpad(n::text, 6, '0')), format('City %%s', n %% 500) "
        "FROM generate_series(1, %(customers)s) n",
        "INSERT INTO orders SELECT n, 1 + ((n - 1) / 10000 * 1000 + n::bigint * 7919 %% least(1000, %(customers)s)) "
        "%% %(customers)s, 'placed', date '2024-01-01' + n %% 365 FROM generate_series(1, %(count)s) n",
        "INSERT INTO order_lines SELECT n, line, format('SKU-%%s', (n * 31 + line) %% 20000), 1 + (n + line) %% 4, "
        "100 + (n * 17 + line * 331) %% 9900 FROM generate_series(1, %(count)s) n, "
        f"generate_series(1, {shop.LINES_AN_ORDER}) line",
    ),
    "inventory": ("INSERT INTO reservations SELECT n, 'reserved', format('W%%s', n %% 20) FROM generate_series(1, %(count)s) n",),
    "payments": ("INSERT INTO payments SELECT n, 'open', 'card' FROM generate_series(1, %(count)s) n",),
}

CHANGES = {
    "orders": "UPDATE orders SET status = CASE status WHEN 'placed' THEN 'packed' WHEN 'packed' THEN 'shipped' "
    "WHEN 'shipped' THEN 'delivered' ELSE 'placed' END WHERE order_id = ANY (%s)",
    "payments": "UPDATE payments SET status = CASE status WHEN 'open' THEN 'authorised' WHEN 'authorised' THEN 'paid' "
    "WHEN 'paid' THEN 'refunded' ELSE 'open' END WHERE order_id = ANY (%s)",
}


class PostgresShop:
    """Databases of one server: `urls` by service, and an empty one for each side's read store, made when first asked for."""

    def __init__(self, databases: Databases, folder: Path, orders: int, urls: dict[str, str]) -> None:
        self.folder, self.orders = folder, orders
        self._databases, self._urls = databases, urls
        self._stores: dict[str, str] = {}

    @property
    def read_store(self) -> str:
        return self._store(shop.SYNCLINE)

    @contextmanager
    def copy(self) -> Iterator["PostgresShop"]:
        with _databases_and_folder(self._databases.url) as (databases, folder):
            urls = {name: databases.create(f"bench_{name}", like=url) for name, url in self._urls.items()}
            yield PostgresShop(databases, folder, self.orders, urls)

    def source(self, service: str) -> str:
        return self._urls[service]

    def open_owner(self, service: str, level: str = "synchronous_commit=on") -> psycopg.Connection[Any]:
        return psycopg.connect(self._urls[service], autocommit=True, options=f"-c {level}")

    def change(self, owner: psycopg.Connection[Any], service: str, keys: Sequence[int]) -> None:
        owner.execute(CHANGES[service], (list(keys),))

    def by_hand(self, *, with_difference: bool = True) -> HandwrittenRelay:
        return HandwrittenRelay(self._store(shop.BY_HAND), self._urls, with_difference=with_difference)

    def command_by_hand(self) -> Sequence[str]:
        program = str(Path(__file__).with_name("handwritten_postgres.py"))
        return (sys.executable, program, self._store(shop.BY_HAND), *(self._urls[name] for name in shop.SERVICES))

    def open_view(self, side: str) -> shop.View:
        connection = psycopg.connect(self._store(side), autocommit=True)
        return shop.View(connection, f"{shop.READ_MODEL}.{shop.VIEW_NAME}" if side == shop.SYNCLINE else shop.VIEW_NAME)

    def _store(self, side: str) -> str:
        """All that is by hand has one database: a shop has one such side."""
        kind = "ours" if side == shop.SYNCLINE else "hand"
        if kind not in self._stores:
            self._stores[kind] = self._databases.create(f"bench_{kind}")
        return self._stores[kind]

    def _make(self) -> None:
        for service, url in self._urls.items():
            with psycopg.connect(url) as connection:
                connection.execute(_SCHEMAS[service])
                for statement in _FILL[service]:
                    connection.execute(statement, {"count": self.orders, "customers": shop.customers_of(self.orders)})
        _settled(self._urls.values())


class PostgresGround:
    name = "PostgreSQL"
    durability = (
        "One server for all, fsync on. Read store: synchronous_commit=off; every 0.25 s a commit that waits for the disk,\n"
        "after which applied marks are deleted. Sources: synchronous_commit=on."
    )
    owner_levels: Sequence[str] = ("synchronous_commit=off", "synchronous_commit=on")
    captures: Sequence[str] = ("triggers", "wal")
    peers: Sequence[str] = ("deltaflow",)

    def __init__(self, url: str) -> None:
        self.url = url
        with psycopg.connect(url) as connection:
            found = connection.execute("SELECT pg_backend_pid(), current_setting('server_version')").fetchone()
        assert found is not None
        self.version = found[1]
        self._postmaster = _parent(found[0])

    @contextmanager
    def shop(self, orders: int) -> Iterator[PostgresShop]:
        with _databases_and_folder(self.url) as (databases, folder):
            urls = {name: databases.create(f"bench_{name}") for name in shop.SERVICES}
            made = PostgresShop(databases, folder, orders, urls)
            made._make()
            yield made

    @contextmanager
    def shop_in_one(self, orders: int) -> Iterator[str]:
        """The URL of a database that holds the tables of all three services."""
        with _databases_and_folder(self.url) as (databases, folder):
            url = databases.create("bench_one")
            PostgresShop(databases, folder, orders, dict.fromkeys(shop.SERVICES, url))._make()
            yield url

    @contextmanager
    def place(self) -> Iterator[PostgreSQL]:
        with _databases_and_folder(self.url) as (databases, _):
            yield PostgreSQL(databases.create("bench_log"))

    def processor_clock(self) -> Callable[[], float]:
        """Of the server, the processes that run when the clock is made; none where the server runs elsewhere."""
        if self._postmaster is None:
            return time.process_time
        pids = [int(each.name) for each in Path("/proc").glob("[0-9]*") if _parent(int(each.name)) == self._postmaster]
        return lambda: time.process_time() + sum(map(_processor_s, pids))

    def sql(self, statement: str) -> str:
        return statement.replace("?", "%s")


@contextmanager
def postgres_ground() -> Iterator[PostgresGround]:
    """A throw-away server with fsync on, or the one that SYNCLINE_PG_DSN names."""
    with postgres_databases(is_durable=True, settings=SERVER) as databases:
        yield PostgresGround(databases.url)


@contextmanager
def _databases_and_folder(url: str) -> Iterator[tuple[Databases, Path]]:
    databases = Databases(url)
    with TemporaryDirectory(prefix="syncline-bench-", ignore_cleanup_errors=True) as folder:
        try:
            yield databases, Path(folder)
        finally:
            databases.drop_all()


def _settled(urls: Iterable[str]) -> None:
    """Statistics, and hint bits set: what a database that has been in use for a while has."""
    for url in urls:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("VACUUM (ANALYZE, FREEZE)")
            connection.execute("CHECKPOINT")


def _parent(pid: int) -> int | None:
    fields = _stat(pid)
    return int(fields[1]) if fields else None


def _processor_s(pid: int) -> float:
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
