"""Events recorded on PostgreSQL within the caller's own transaction, and how they get their places in the log.

Theory of operation. A caller's transaction may last, so it must not hold the log's lock: it writes to `syncline.outbox`, and
whoever follows the log, or needs its head, first *sequences*: one statement, under the lock, moves all that is visible to it into
the log. A statement sees of every transaction all or nothing, whatever the order in which they began, got their numbers or
committed, so that nothing numbered below what was seen can be missed. See docs/decisions/0022-the-outbox-is-sequenced.md.
"""

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from syncline.errors import StoreError
from syncline.stores.outbox import NO_LOG, NO_TRANSACTION, Caller, OutboxEvent, other_format
from syncline.stores.postgres.connection import Connection, load
from syncline.stores.postgres.log_tables import FORMAT, create_tables, roll_back
from syncline.stores.postgres.log_tables import SQL as LOG_SQL
from syncline.stores.postgres.texts import number_array, text_array
from syncline.stores.postgres.transaction import PostgresTransaction
from syncline.stores.statements import load_statements

SQL = load("outbox.sql")
_RECORD = load_statements("syncline.stores.postgres", "outbox.sql")["record"]
_IDLE = 0
"""The status of a connection without a transaction, as libpq numbers it."""


class PostgresOutbox:
    """See `OutboxLog`. The caller's driver is a psycopg connection, or what knows as much."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def install(self) -> None:
        create_tables(self._caller.run)

    def append(self, events: Sequence[OutboxEvent]) -> None:
        run, driver = self._caller.run, self._caller.driver
        (is_created,) = run(SQL["is_created"], ())
        if not is_created:
            raise StoreError(NO_LOG)
        if _commits_by_itself(driver()):
            raise StoreError(NO_TRANSACTION)
        if events and run(_RECORD, (*_columns(events), FORMAT)) is None:
            raise other_format(run(LOG_SQL["select_log"], ())[0], FORMAT)


def outbox_on(connection: Any) -> PostgresOutbox:
    """The outbox in the database behind this connection. Raises StoreError for one that is async."""
    if isinstance(connection, PostgresTransaction):
        return outbox_by(Caller(connection.run_of_outbox, "%s", lambda: connection.driver))
    if not isinstance(connection, psycopg.Connection):
        raise StoreError(
            f"{type(connection).__name__} of psycopg is no connection that an outbox knows; give it a psycopg.Connection"
        )

    def run(sql: str, values: Sequence[object]) -> Any:
        with psycopg.Cursor(connection, row_factory=tuple_row) as cursor:  # cursors are the caller's to shape, but not this
            cursor.execute(sql, values)
            return cursor.fetchone() if cursor.description else None

    return outbox_by(Caller(run, "%s", lambda: connection))


def outbox_by(caller: Caller) -> PostgresOutbox:
    """The outbox in the database that this caller's statements run on."""
    return PostgresOutbox(caller)


def sequence_outbox(connection: Connection) -> int:
    """Gives every event that is recorded by a committed transaction its place in the log; how many it were.

    A transaction of its own on a connection in autocommit, durable when this returns. Costs one question where nothing waits.
    """
    if connection.execute(SQL["is_waiting"], prepare=True).fetchone() != (True,):
        return 0
    try:
        with connection.pipeline():
            connection.execute(LOG_SQL["begin"])
            connection.execute(SQL["make_durable_here"])
            connection.execute(LOG_SQL["lock"])
            moved = connection.execute(SQL["sequence"], prepare=True)
            connection.execute("COMMIT")
    except BaseException:
        roll_back(connection)
        raise
    return moved.rowcount


def _commits_by_itself(driver: Any) -> bool:
    return bool(driver.autocommit) and int(driver.info.transaction_status) == _IDLE


def _columns(events: Sequence[OutboxEvent]) -> list[str]:
    def texts(field: str) -> str:
        return text_array([getattr(event, field) for event in events])

    def numbers(field: str) -> str:
        return number_array([getattr(event, field) for event in events])

    first = [texts("stream"), texts("name"), numbers("shape"), texts("data"), numbers("id"), numbers("at")]
    return [*first, texts("command_id"), texts("metadata")]
