"""The transaction that a handler of a table service gets on PostgreSQL. It cannot end it, nor use it once it has returned.

Each statement runs within a savepoint of its own, sent together with it, so that a handler may go on after one that failed.
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import psycopg
from psycopg import errors
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from syncline.errors import Rejected, StoreError
from syncline.stores.handler_sql import shown_sql, values_of
from syncline.stores.postgres.connection import TRANSIENT, Connection
from syncline.stores.postgres.statement_text import as_driver_takes, refuse_transactions
from syncline.stores.service_tables import Carried

_COUNTED = ("INSERT", "UPDATE", "DELETE", "MERGE")
_SETS = re.compile(r"^\s*(RE)?SET\b|\bset_config\s*\(", re.IGNORECASE)
_KEY = re.compile(r"^Key \((.*?)\)=")
_OF_THE_DATA = (errors.ProgramLimitExceeded, errors.StatementTooComplex)
"""Errors that the driver counts among those of the database, and that the statement is to blame for."""


class PostgresTransaction:
    """See `Transaction` and `HandlerTransaction`."""

    is_undone = False
    """PostgreSQL undoes a whole transaction for no other reason than a failure of its own."""

    def __init__(self, connection: Connection) -> None:
        self.driver = connection
        self.carried: Carried | None = None
        self.failure: psycopg.Error | None = None
        self._is_over = False
        self.has_set = False
        """Whether a statement may have left settings of the session behind."""

    def execute(self, sql: str, parameters: object = None) -> int:
        cursor = self._run(sql, parameters)
        return cursor.rowcount if (cursor.statusmessage or "").startswith(_COUNTED) else 0

    def query(self, sql: str, parameters: object = None) -> list[dict[str, Any]]:
        cursor = self._run(sql, parameters)
        names = [column.name for column in cursor.description or ()]
        rows = cursor.fetchall() if cursor.description else []
        return [dict(zip(names, row, strict=True)) for row in rows]

    def run_of_outbox(self, sql: str, values: Sequence[object]) -> Any:
        """Runs a statement of the program's own, in the driver's spelling; its first row, if it gives any."""
        cursor = self._sent(sql, tuple(values), sql)
        return cursor.fetchone() if cursor.description else None

    def end(self) -> None:
        """Nothing can be done through it from now on."""
        self._is_over = True

    def _run(self, sql: str, parameters: object) -> psycopg.Cursor[tuple[Any, ...]]:
        refuse_transactions(sql)
        self.has_set |= _SETS.search(sql) is not None
        values = values_of(parameters, lambda value: value)
        by_name = isinstance(values, dict) if parameters is not None else None
        return self._sent(as_driver_takes(sql, by_name), values, sql)

    def _sent(self, statement: str, values: Any, sql: str) -> psycopg.Cursor[tuple[Any, ...]]:
        self._refuse_if_over()
        connection = self.driver
        cursor = connection.cursor(row_factory=tuple_row)
        try:
            with connection.pipeline():
                connection.execute("SAVEPOINT syncline_statement")
                cursor.execute(statement, values)
                connection.execute("RELEASE SAVEPOINT syncline_statement")
        except BaseException as error:
            with suppress(psycopg.Error):  # where the connection is gone, the error itself says so
                connection.execute("ROLLBACK TO SAVEPOINT syncline_statement")
            if isinstance(error, TRANSIENT) and not isinstance(error, _OF_THE_DATA):
                self.failure = error
            if isinstance(error, psycopg.Error):
                raise command_error(error, sql) from error
            if isinstance(error, UnicodeEncodeError):
                raise Rejected(f"a value cannot be stored: {error}") from error
            raise
        return cursor

    def _refuse_if_over(self) -> None:
        if self._is_over:
            raise StoreError("this transaction is over; use `tx` only while the handler that got it runs, and in its thread")
        if self.driver.info.transaction_status != TransactionStatus.INTRANS:
            raise StoreError("this transaction was ended; let the error pass on")


def command_error(error: psycopg.Error, sql: str = "") -> Rejected | StoreError:
    """The driver's error of one statement in words: Rejected for a constraint or a value that does not fit, StoreError for the
    rest."""
    said = " ".join((error.diag.message_primary or str(error)).split())
    table = error.diag.table_name or "the table"
    match error:
        case errors.UniqueViolation():
            key = _KEY.match(error.diag.message_detail or "")
            columns = " and ".join(key[1].split(", ")) if key else error.diag.constraint_name
            return Rejected(f"another row has the same {columns} of {table} ({said})")
        case errors.NotNullViolation():
            return Rejected(f"{error.diag.column_name} of {table} must have a value ({said})")
        case errors.CheckViolation():
            return Rejected(f"it breaks the rule {error.diag.constraint_name} ({said})")
        case errors.ForeignKeyViolation() | errors.RestrictViolation():
            return Rejected(f"it names a row that is not there, or removes one that others name ({said})")
        case errors.ExclusionViolation():
            return Rejected(f"it overlaps another row, which {error.diag.constraint_name} forbids ({said})")
        case psycopg.IntegrityError() | errors.RaiseException():
            return Rejected(said)
        case psycopg.DataError():
            return Rejected(said)
    return StoreError(f"{said}; in: {shown_sql(sql)}" if sql else said)
