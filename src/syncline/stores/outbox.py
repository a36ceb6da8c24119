"""From a connection of any driver to the event log behind it, without knowing the driver. Stores are reached by name.

Connections are told apart by what they can do and where their classes come from, so that no driver, SQLAlchemy or Django need
be installed. Errors of the caller's driver pass through as they are: the transaction is the caller's, and so is what is done
about it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final, Protocol, cast

from syncline.errors import StoreError


@dataclass(frozen=True, slots=True)
class OutboxEvent:
    """An event as it is stored. `id` is random, `at` seconds since 1970, `metadata` a JSON object as text or None."""

    stream: str
    name: str
    shape: int
    data: str
    id: int
    at: float
    command_id: str | None = None
    metadata: str | None = None


class OutboxLog(Protocol):
    """An event log within the transaction of somebody else's connection. Never commits."""

    def install(self) -> None:
        """Makes the log's tables where they are not."""
        ...

    def append(self, events: Sequence[OutboxEvent]) -> None:
        """Appends the events, to be seen together or not at all, when and if the caller's transaction commits.

        Raises StoreError when no transaction is open or the log's tables are missing.
        """
        ...


@dataclass(frozen=True, slots=True)
class Caller:
    """How a statement is run on somebody's connection: `run` gives the first row, None where there is none.

    `mark` is how a value's place is written in its SQL. `driver` gives the driver's connection beneath, once a statement has run.
    """

    run: Callable[[str, Sequence[object]], Any]
    mark: str
    driver: Callable[[], Any]


NO_TRANSACTION: Final = (
    "no transaction is open on this connection, so that the event would be stored whatever becomes of the change "
    "that it tells of; begin one (BEGIN, `with session.begin():`, `with transaction.atomic():`), and record within it"
)
NO_LOG: Final = (
    "this database has no event log yet; make it once with `outbox.install(connection)`, or start the App that the "
    "outbox is placed in"
)
_KNOWN: Final = (
    "a sqlite3 connection, a psycopg connection, a SQLAlchemy Session or Connection, Django's connection, "
    "or the tx of a table service"
)
_STORES: Final = {"sqlite": "sqlite", "postgresql": "postgres"}
_OF_DRIVERS: Final = {
    "sqlite3": "sqlite",
    "syncline.stores.sqlite": "sqlite",
    "psycopg": "postgres",
    "syncline.stores.postgres": "postgres",
}


def other_format(found: object, expected: int) -> StoreError:
    """What is said of a log that another version made."""
    return StoreError(
        f"this database holds an event log of format {found}, this version writes format {expected}; "
        "use the version of Syncline that made it, or a newer one"
    )


def outbox_for(connection: Any) -> OutboxLog:
    """The event log in the database that `connection` leads to. Raises StoreError for what is no connection that is known."""
    if hasattr(connection, "sync_session") or hasattr(connection, "sync_connection"):
        raise StoreError(
            f"{type(connection).__name__} is async; record within `await session.run_sync(lambda it: outbox.record(it, event))`"
        )
    if hasattr(connection, "get_bind"):
        return outbox_for(connection.connection())
    if hasattr(connection, "exec_driver_sql"):
        store = _store(connection.dialect.name)
        return _open(store, "outbox_by", _on_sqlalchemy(connection, "?" if store == "sqlite" else "%s"))
    if hasattr(connection, "vendor") and hasattr(connection, "in_atomic_block"):
        return _open(_store(connection.vendor), "outbox_by", _on_django(connection))
    for kind in type(connection).__mro__:
        for module, store in _OF_DRIVERS.items():
            if f"{kind.__module__}.".startswith(f"{module}."):
                return _open(store, "outbox_on", connection)
    raise StoreError(f"{type(connection).__name__} is no connection that an outbox knows; give it {_KNOWN}")


def _open(store: str, function: str, connection: object) -> OutboxLog:
    return cast(OutboxLog, getattr(import_module(f"syncline.stores.{store}.outbox"), function)(connection))


def _store(database: str) -> str:
    if database not in _STORES:
        raise StoreError(f"the connection is one to {database}, and this version records events in SQLite and PostgreSQL only")
    return _STORES[database]


def _on_sqlalchemy(connection: Any, mark: str) -> Caller:
    def run(sql: str, values: Sequence[object]) -> Any:
        result = connection.exec_driver_sql(sql, tuple(values))
        return result.first() if result.returns_rows else None

    return Caller(run, mark, lambda: connection.connection.driver_connection)


def _on_django(connection: Any) -> Caller:
    def run(sql: str, values: Sequence[object]) -> Any:
        with connection.cursor() as cursor:
            cursor.execute(sql, tuple(values))
            return cursor.fetchone() if cursor.description else None

    return Caller(run, "%s", lambda: connection.connection)
