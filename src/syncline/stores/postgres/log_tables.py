"""The event log's tables on PostgreSQL: made where they are not, by whoever may, and refused in a format that is not known."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import psycopg
from psycopg import errors
from psycopg.pq import TransactionStatus

from syncline.errors import StoreError
from syncline.stores.postgres.connection import Connection, connect, load, quoted, shown, translated

FORMAT = 1
LOCK_TIMEOUT_S = 5
IDLE_TIMEOUT_S = 30
SQL = load("events.sql")
_TABLES = ("event_log", "event", "tag", "command", "snapshot", "outbox")
_RIGHTS = {
    "event_log": ("SELECT", "UPDATE"),
    "event": ("SELECT", "INSERT"),
    "tag": ("SELECT", "INSERT"),
    "command": ("SELECT", "INSERT"),
    "snapshot": ("SELECT", "INSERT", "UPDATE"),
    "outbox": ("SELECT", "INSERT", "DELETE"),
}
_SETTINGS = {
    "lock_timeout": f"{LOCK_TIMEOUT_S}s",
    # A writer that stands still would hold up all others; its transaction is ended for it.
    "idle_in_transaction_session_timeout": f"{IDLE_TIMEOUT_S}s",
    "jit": "off",
}
_SETTINGS_OF_LOG = {
    **_SETTINGS,
    # Whatever the role's default is: what is found under the lock must be newer than the lock.
    "default_transaction_isolation": r"read\ committed",
    # Every statement about the log is meant for an index; a plan made while the log was small would be kept for a long one.
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}


def connect_writer(database: str, *, is_log: bool) -> Connection:
    """A connection whose commits are on disk; `is_log`: for the statements of the log alone, else for those of handlers."""
    connection = connect(database, is_travel=is_log, settings=_SETTINGS_OF_LOG if is_log else _SETTINGS)
    try:
        with translated(database):
            connection.execute(SQL["make_durable"])
    except BaseException:
        connection.close()
        raise
    return connection


def create_log(connection: Connection, database: str, *, by_type: bool = False) -> None:
    """Makes the log's tables where they are not; in the transaction that is open, or in one of its own.

    Raises StoreError for a log of another format, and where a right is missing, with the GRANT that gives it.
    """
    if not has_log(connection, database):
        with making_tables(connection, database):
            create_tables(lambda sql, values: connection.execute(sql, values))
    if by_type and not _has_name_index(connection):
        with making_tables(connection, database):
            connection.execute(SQL["create_name_index"])
    _refuse_missing_rights(connection, database)


def create_tables(run: Callable[[str, Sequence[object]], object]) -> None:
    """Makes the log's tables, through whatever runs a statement, in the transaction that it is in."""
    run(SQL["lock_preparing"], ())
    run("CREATE SCHEMA IF NOT EXISTS syncline", ())
    for name in _TABLES:
        run(SQL[f"create_{name}"], ())
    run(SQL["insert_log"].replace("%(format)s", str(FORMAT)), ())


def roll_back(connection: Connection) -> None:
    """Undoes the transaction that is open, if one is. An error that led here is told, not what the rollback says."""
    if not connection.closed and connection.info.transaction_status != TransactionStatus.IDLE:
        with suppress(psycopg.Error):
            connection.execute("ROLLBACK")


def has_log(connection: Connection, database: str) -> bool:
    """Whether there is a log. Raises StoreError for one of another format, or that the role may not read."""
    try:
        ((is_created, _),) = connection.execute(SQL["is_created"]).fetchall()
        found = connection.execute(SQL["select_log"]).fetchone() if is_created else None
    except errors.InsufficientPrivilege as error:
        raise _may_not(connection, database, error) from error
    if found is not None and found[0] != FORMAT:
        raise StoreError(
            f"{shown(database)} holds an event log of format {found[0]}, this version reads format {FORMAT}; "
            "use the version of Syncline that made it, or a newer one"
        )
    return found is not None


@contextmanager
def making_tables(connection: Connection, database: str) -> Iterator[None]:
    """A transaction in which the program's own tables are made in their schema, by one program at a time."""
    try:
        with connection.transaction():
            connection.execute(SQL["lock_preparing"])
            (found,) = connection.execute(SQL["select_role"]).fetchall()
            _, _, is_there, may_make, _ = found
            if not is_there and may_make:
                connection.execute("CREATE SCHEMA IF NOT EXISTS syncline")
            yield
    except (errors.InsufficientPrivilege, errors.InvalidSchemaName) as error:
        raise _may_not(connection, database, error) from error


def _has_name_index(connection: Connection) -> bool:
    ((_, is_indexed),) = connection.execute(SQL["is_created"]).fetchall()
    return bool(is_indexed)


def _refuse_missing_rights(connection: Connection, database: str) -> None:
    pairs = [(table, right) for table, rights in _RIGHTS.items() for right in rights]
    values = {"tables": [table for table, _ in pairs], "privileges": [right for _, right in pairs]}
    missing = connection.execute(SQL["select_missing_rights"], values).fetchall()
    if missing:
        role = quoted(connection.info.user)
        grants = "; ".join(f"GRANT {rights} ON syncline.{table} TO {role}" for table, rights in missing)
        raise StoreError(f"{shown(database)}: the role lacks rights on the event log; let its owner run: {grants}")


def _may_not(connection: Connection, database: str, error: Exception) -> StoreError:
    (found,) = connection.execute(SQL["select_role"]).fetchall()
    role, name, is_there, may_make, may_use = found
    if not is_there:
        grant = f"GRANT CREATE ON DATABASE {quoted(name)} TO {quoted(role)}"
    elif not may_make:
        grant = f"GRANT USAGE, CREATE ON SCHEMA syncline TO {quoted(role)}"
    else:
        grant = f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA syncline TO {quoted(role)}"
    what = "may not use the schema syncline" if is_there and not may_use else "may not make or use the program's tables"
    return StoreError(f"{shown(database)}: the role {what} ({str(error).splitlines()[0]}); let its owner run: {grant}")
