"""The event log within the caller's own transaction, on whatever connection the caller has. Never begins or ends a transaction.

Connections are told apart by what they can do, so that SQLAlchemy and Django need not be installed. Errors of the caller's driver
pass through as they are: the transaction is the caller's, and so is what is done about it.
"""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, Final, TypeAlias

from syncline.errors import StoreError
from syncline.stores.outbox import OutboxEvent
from syncline.stores.sqlite.events import FORMAT
from syncline.stores.sqlite.events import SQL as LOG_SQL
from syncline.stores.sqlite.transaction import SQLiteTransaction
from syncline.stores.statements import load_statements

SQL = load_statements("syncline.stores.sqlite", "outbox.sql")

Run: TypeAlias = Callable[[str, Sequence[object]], Any]
"""Runs one statement with `?` for its values; the first row where it is a SELECT."""

_KNOWN: Final = "a sqlite3 connection, a SQLAlchemy Session or Connection, Django's connection, or the tx of a table service"


class SQLiteOutbox:
    """See `OutboxLog`. `driver` is the sqlite3 connection beneath, or what knows as much; asked once a statement has run."""

    def __init__(self, run: Run, driver: Callable[[], Any]) -> None:
        self._run, self._driver = run, driver

    def install(self) -> None:
        if self._is_created():
            self._refuse_other_format()
        for name in ("log", "event", "tag", "command", "snapshot"):
            self._run(LOG_SQL[f"create_{name}"], ())
        self._run(SQL["insert_log"], (FORMAT,))

    def append(self, events: Sequence[OutboxEvent]) -> None:
        if not self._is_created():
            raise StoreError(
                "this database has no event log yet; make it once with `outbox.install(connection)`, or start the App that the "
                "outbox is placed in"
            )
        self._refuse_other_format()
        driver = self._driver()
        was_open = driver.in_transaction
        if not was_open and not _begins(driver):
            raise StoreError(
                "no transaction is open on this connection, so that the event would be stored whatever becomes of the change "
                "that it tells of; begin one (BEGIN, `with session.begin():`, `with transaction.atomic():`), and record within it"
            )
        for index, event in enumerate(events, 1):
            values = (event.stream, event.name, event.shape, event.data, event.id, len(events) - index, event.at)
            self._run(SQL["append"], (*values, event.command_id, event.metadata, event.stream))
        if was_open and events:
            self._join(len(events))

    def _join(self, count: int) -> None:
        """What was recorded earlier in the same transaction is made one append with what was recorded now.

        Nothing tells a connection whether it has committed since. Another one tells: it does not see yet what is of this
        transaction.
        """
        first = self._run(SQL["select_newest"], ())[0] - count + 1
        if first > 1 and _is_hidden(self._run(SQL["select_file"], ())[0], first - 1):
            self._run(SQL["extend"], (first - 1,))

    def _is_created(self) -> bool:
        return bool(self._run(LOG_SQL["is_created"], ())[0])

    def _refuse_other_format(self) -> None:
        found, _ = self._run(LOG_SQL["select_log"], ())
        if found != FORMAT:
            raise StoreError(
                f"this database holds an event log of format {found}, this version writes format {FORMAT}; "
                "use the version of Syncline that made it, or a newer one"
            )


def outbox_on(connection: Any) -> SQLiteOutbox:
    """The log in the database behind this connection. Raises StoreError for what is no connection that is known."""
    if isinstance(connection, SQLiteTransaction):
        return SQLiteOutbox(lambda sql, values: _first(connection.run(sql, values)[1]), lambda: connection)
    if isinstance(connection, sqlite3.Connection):
        return _on_sqlite3(connection)
    if hasattr(connection, "get_bind") and not hasattr(connection, "sync_session"):
        return _on_sqlalchemy(connection.connection())
    if hasattr(connection, "exec_driver_sql") and not hasattr(connection, "sync_connection"):
        return _on_sqlalchemy(connection)
    if hasattr(connection, "vendor") and hasattr(connection, "in_atomic_block"):
        return _on_django(connection)
    if hasattr(connection, "sync_session") or hasattr(connection, "sync_connection"):
        raise StoreError(
            f"{type(connection).__name__} is async; record within `await session.run_sync(lambda it: outbox.record(it, event))`"
        )
    raise StoreError(f"{type(connection).__name__} is no connection that an outbox knows; give it {_KNOWN}")


def _on_sqlite3(connection: sqlite3.Connection) -> SQLiteOutbox:
    def run(sql: str, values: Sequence[object]) -> Any:
        cursor = connection.cursor()
        cursor.row_factory = None  # rows are the caller's to shape, but not these
        return cursor.execute(sql, values).fetchone()

    return SQLiteOutbox(run, lambda: connection)


def _on_sqlalchemy(connection: Any) -> SQLiteOutbox:
    _refuse_other_database(connection.dialect.name)

    def run(sql: str, values: Sequence[object]) -> Any:
        result = connection.exec_driver_sql(sql, tuple(values))
        return result.first() if result.returns_rows else None

    return SQLiteOutbox(run, lambda: connection.connection.driver_connection)


def _on_django(connection: Any) -> SQLiteOutbox:
    _refuse_other_database(connection.vendor)

    def run(sql: str, values: Sequence[object]) -> Any:
        with connection.cursor() as cursor:
            cursor.execute(sql.replace("?", "%s"), tuple(values))
            return cursor.fetchone() if cursor.description else None

    return SQLiteOutbox(run, lambda: connection.connection)


def _refuse_other_database(name: str) -> None:
    if name != "sqlite":
        raise StoreError(f"the connection is one to {name}, and this version records events in SQLite only")


def _begins(driver: Any) -> bool:
    """Whether the driver begins a transaction by itself before it writes."""
    return getattr(driver, "autocommit", -1) is not True and driver.isolation_level is not None


def _is_hidden(file: str | None, position: int) -> bool:
    """Whether others do not see this event: who holds the write lock, and asks, has not committed it yet."""
    if not file:
        return False
    try:
        with closing(sqlite3.connect(file, timeout=0, isolation_level=None)) as other:
            return bool(other.execute(SQL["select_newest"]).fetchone()[0] < position)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorname != "SQLITE_BUSY":
            raise
        return True  # a rollback journal, about to be written: to be seen together with one more event does no harm


def _first(rows: Sequence[Any]) -> Any:
    return rows[0] if rows else None
