"""A PostgreSQL database as a read store (see `syncline.stores.roles`)."""

import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager

from syncline.errors import StoreError, Unavailable
from syncline.stores.postgres import reader
from syncline.stores.postgres.connection import connect, translated
from syncline.stores.postgres.control import PostgresLease, PostgresRequests, is_leased
from syncline.stores.postgres.layout import OWN, Layout
from syncline.stores.postgres.read import PostgresDatabase, PostgresReadStore
from syncline.stores.protocols import Reader, ReadStore
from syncline.stores.read_store import StoredReadModel
from syncline.stores.roles import Lease, Requests

__all__ = ["identity", "is_leased", "is_made", "lease", "open_reader", "open_store", "requests", "trial_store", "warnings"]


def open_store(database: str, name: str) -> ReadStore:
    return PostgresReadStore(database, name)


def open_reader(database: str, until: float = 0.0) -> Reader:
    return reader.open_reader(database, until)


def lease(database: str) -> Lease:
    return PostgresLease(database)


def requests(database: str) -> Requests:
    return PostgresRequests(database)


def is_made(database: str) -> bool:
    """A server that cannot be asked may have one: whoever opens it then is told why it cannot."""
    try:
        with closing(connect(database)) as connection, translated(database):
            return connection.execute("SELECT to_regclass(%s)", (f"{OWN}.meta",)).fetchone() != (None,)
    except Unavailable:
        return True
    except StoreError:
        return False


def identity(database: str) -> object:
    """A database is not replaced under those who are connected to it: a server lets nobody drop it."""
    return database


def warnings(database: str) -> list[str]:
    return []


@contextmanager
def trial_store(database: str, name: str) -> Iterator[ReadStore]:
    """In the read store's own database, in schemas of its own, within one transaction, which is rolled back."""
    layout = Layout(name, prefix=f"syncline_trial_{secrets.token_hex(4)}_")
    trial = PostgresDatabase(database, layout, is_trial=True)
    with closing(trial):
        yield StoredReadModel(trial)
