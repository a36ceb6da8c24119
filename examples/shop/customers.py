"""Customers: a service that exists already. Its own programs change its one table by plain SQL, and know nothing of Syncline."""

import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

from syncline import ForeignService

customers = ForeignService("customers", tables=("customer",))

SCHEMA = """
CREATE TABLE IF NOT EXISTS customer (
    customer_id TEXT NOT NULL PRIMARY KEY,
    name        TEXT NOT NULL,
    city        TEXT NOT NULL,
    email       TEXT NOT NULL UNIQUE
)
"""


def register(database: Path, people: Iterable[Mapping[str, str]]) -> None:
    """Makes the database where it is not, and adds those customers who are not there yet."""
    with closing(sqlite3.connect(database, timeout=30)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        with connection:
            connection.execute(SCHEMA)
            connection.executemany(
                "INSERT INTO customer VALUES (:customer_id, :name, :city, :email) ON CONFLICT (customer_id) DO NOTHING", people
            )


def move(database: Path, customer_id: str, city: str) -> None:
    """A customer moves house."""
    with closing(sqlite3.connect(database, timeout=30)) as connection, connection:
        connection.execute("UPDATE customer SET city = ? WHERE customer_id = ?", (city, customer_id))
