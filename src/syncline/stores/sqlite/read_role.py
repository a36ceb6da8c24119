"""An SQLite file as a read store (see `syncline.stores.roles`)."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from syncline.stores.protocols import Reader, ReadStore
from syncline.stores.roles import Lease, Requests
from syncline.stores.sqlite import reader
from syncline.stores.sqlite.control import SQLiteLease, SQLiteRequests, is_leased
from syncline.stores.sqlite.reach import file_identity
from syncline.stores.sqlite.read import SQLiteReadStore

__all__ = ["identity", "is_leased", "is_made", "lease", "open_reader", "open_store", "requests", "trial_store", "warnings"]

SAFE_SQLITE = (3, 51, 3)
"""The first SQLite in which two connections that write or checkpoint at the same moment cannot damage a WAL database."""


def open_store(database: str, name: str) -> ReadStore:
    return SQLiteReadStore(database)


def open_reader(database: str, until: float = 0.0) -> Reader:
    return reader.open_reader(database, until)


def lease(database: str) -> Lease:
    return SQLiteLease(database)


def requests(database: str) -> Requests:
    return SQLiteRequests(database)


def is_made(database: str) -> bool:
    return Path(database).is_file()


def identity(database: str) -> object:
    return file_identity(database)


def warnings(database: str) -> list[str]:
    if sqlite3.sqlite_version_info >= SAFE_SQLITE:
        return []
    return [
        f"this Python has SQLite {sqlite3.sqlite_version}; before 3.51.3 two connections "
        "that write or checkpoint at the same moment can damage a WAL database. Syncline never does that to a file, but see "
        "that no other program writes to a read store, or use a Python with a newer SQLite"
    ]


@contextmanager
def trial_store(database: str, name: str) -> Iterator[ReadStore]:
    with closing(SQLiteReadStore(":memory:")) as store:
        yield store
