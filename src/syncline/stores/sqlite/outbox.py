"""The event log on SQLite within the caller's own transaction. Never begins or ends a transaction."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from syncline.errors import StoreError
from syncline.stores.outbox import NO_LOG, NO_TRANSACTION, Caller, OutboxEvent, other_format
from syncline.stores.sqlite.events import FORMAT
from syncline.stores.sqlite.events import SQL as LOG_SQL
from syncline.stores.sqlite.transaction import SQLiteTransaction
from syncline.stores.statements import load_statements

SQL = load_statements("syncline.stores.sqlite", "outbox.sql")


class SQLiteOutbox:
    """See `OutboxLog`. The caller's driver is a sqlite3 connection, or what knows as much."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def install(self) -> None:
        if self._is_created():
            self._refuse_other_format()
        for name in ("log", "event", "tag", "command", "snapshot"):
            self._run(LOG_SQL[f"create_{name}"], ())
        self._run(SQL["insert_log"], (FORMAT,))

    def append(self, events: Sequence[OutboxEvent]) -> None:
        if not self._is_created():
            raise StoreError(NO_LOG)
        self._refuse_other_format()
        driver = self._caller.driver()
        was_open = driver.in_transaction
        if not was_open and not _begins(driver):
            raise StoreError(NO_TRANSACTION)
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
            raise other_format(found, FORMAT)

    def _run(self, sql: str, values: Sequence[object]) -> Any:
        return self._caller.run(sql.replace("?", self._caller.mark), values)


class _GroupOutbox(SQLiteOutbox):
    """The same within a group of commands: its log is there, and `head` is where that stood before the group."""

    def __init__(self, transaction: SQLiteTransaction, head: int) -> None:
        super().__init__(_caller_of(transaction))
        self._transaction, self._head = transaction, head

    def append(self, events: Sequence[OutboxEvent]) -> None:
        newest = self._head
        for index, event in enumerate(events, 1):
            values = (event.stream, event.name, event.shape, event.data, event.id, len(events) - index, event.at)
            cursor, _ = self._transaction.run(SQL["append"], (*values, event.command_id, event.metadata, event.stream))
            newest = cursor.lastrowid or 0
        before = newest - len(events)
        if before > self._head:
            self._transaction.run(SQL["extend"], (before,))


def outbox_on(connection: sqlite3.Connection | SQLiteTransaction) -> SQLiteOutbox:
    """The log in the database behind this connection."""
    if isinstance(connection, SQLiteTransaction):
        head = connection.recorded_before
        return outbox_by(_caller_of(connection)) if head is None else _GroupOutbox(connection, head)

    def run(sql: str, values: Sequence[object]) -> Any:
        cursor = connection.cursor()
        cursor.row_factory = None  # rows are the caller's to shape, but not these
        return cursor.execute(sql, values).fetchone()

    return outbox_by(Caller(run, "?", lambda: connection))


def outbox_by(caller: Caller) -> SQLiteOutbox:
    """The log in the database that this caller's statements run on."""
    return SQLiteOutbox(caller)


def _caller_of(transaction: SQLiteTransaction) -> Caller:
    return Caller(lambda sql, values: _first(transaction.run(sql, values)[1]), "?", lambda: transaction)


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
