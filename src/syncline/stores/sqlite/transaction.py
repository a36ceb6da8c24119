"""The transaction that a handler of a table service gets. The handler cannot end it, and cannot use it once it has returned.

Who runs handlers installs `Guard` on the connection: SQLite asks it about each statement that is prepared, however it is spelled
and whoever prepares it. One that was prepared before (the store's own) is not asked about again, but is known by its first word.
"""

import re
import sqlite3
from datetime import date, time
from functools import lru_cache
from typing import Any, Final

from syncline.errors import InvalidDefinition, Rejected, StoreError
from syncline.stores.handler_sql import not_for_a_handler, shown_sql, values_of
from syncline.stores.service_tables import Carried
from syncline.stores.statements import load_statements

SQL = load_statements("syncline.stores.sqlite", "table_commands.sql")

_ENDS_IT: Final = {"BEGIN", "COMMIT", "END", "ROLLBACK", "SAVEPOINT", "RELEASE"}
_FIRST_WORD = re.compile(r"(?:\s|--[^\n]*(?:\n|\Z)|/\*.*?(?:\*/|\Z)|;)*(\w*)", re.DOTALL)
_OF_THE_DATABASE = (
    "SQLITE_FULL",
    "SQLITE_IOERR",
    "SQLITE_BUSY",
    "SQLITE_LOCKED",
    "SQLITE_READONLY",
    "SQLITE_CANTOPEN",
    "SQLITE_CORRUPT",
    "SQLITE_NOTADB",
    "SQLITE_NOMEM",
    "SQLITE_PROTOCOL",
    "SQLITE_INTERRUPT",
)


class Guard:
    """Says no to every statement that begins or ends a transaction or savepoint while `is_closed`. An authorizer of SQLite."""

    def __init__(self) -> None:
        self.is_closed = False

    def __call__(self, action: int, *_: object) -> int:
        is_refused = self.is_closed and action in (sqlite3.SQLITE_TRANSACTION, sqlite3.SQLITE_SAVEPOINT)
        return sqlite3.SQLITE_DENY if is_refused else sqlite3.SQLITE_OK


class SQLiteTransaction:
    """See `Transaction`. `failure` is an error of the database itself, which no command is to blame for; `is_undone` says that a
    statement made the database undo the whole transaction. `recorded_before` is the newest position that the log of the outbox in
    the same database had before the group; None where there is none."""

    def __init__(self, connection: sqlite3.Connection, guard: Guard, recorded_before: int | None = None) -> None:
        self._connection, self._guard = connection, guard
        self.recorded_before = recorded_before
        self._is_over = False
        self.carried: Carried | None = None
        self.failure: sqlite3.Error | None = None
        self.is_undone = False

    def execute(self, sql: str, parameters: object = None) -> int:
        self._refuse_if_over()
        before = self._connection.total_changes
        cursor, _ = self.run(sql, parameters)
        if cursor.rowcount >= 0:
            return cursor.rowcount
        if self._connection.total_changes == before:
            return 0
        return int(self._connection.execute(SQL["select_changes"]).fetchone()[0])

    def query(self, sql: str, parameters: object = None) -> list[dict[str, Any]]:
        cursor, rows = self.run(sql, parameters)
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in rows]

    def run(self, sql: str, parameters: object = None) -> tuple[sqlite3.Cursor, list[Any]]:
        """Runs one statement to its end; the cursor and all its rows."""
        self._refuse_if_over()
        refuse_transactions(sql)
        try:
            cursor = self._connection.execute(sql, values_of(parameters, _stored))
            return cursor, cursor.fetchall()
        except sqlite3.Error as error:
            self.is_undone = not self._connection.in_transaction
            if (getattr(error, "sqlite_errorname", "") or "").startswith(_OF_THE_DATABASE):
                self.failure = error
            raise command_error(error, sql) from error
        except (UnicodeEncodeError, OverflowError) as error:
            raise Rejected(f"a value cannot be stored: {error}") from error

    @property
    def in_transaction(self) -> bool:
        """As a sqlite3 connection says it."""
        return self._connection.in_transaction

    def end(self) -> None:
        """Nothing can be done through it from now on, and the connection's owner may end the transaction."""
        self._is_over = True
        self._guard.is_closed = False

    def _refuse_if_over(self) -> None:
        if self._is_over:
            raise StoreError("this transaction is over; use `tx` only while the handler that got it runs, and in its thread")
        if not self._connection.in_transaction:
            raise StoreError("the database has undone this transaction (ON CONFLICT ROLLBACK); let the error pass on")


@lru_cache(maxsize=1024)
def refuse_transactions(sql: str) -> None:
    """Raises InvalidDefinition for a statement that begins or ends a transaction."""
    match = _FIRST_WORD.match(sql)
    word = match[1].upper() if match else ""
    if word in _ENDS_IT:
        raise not_for_a_handler(word)


def command_error(error: sqlite3.Error, sql: str = "") -> Rejected | StoreError | InvalidDefinition:
    """The driver's error of one statement in words: Rejected for a constraint, InvalidDefinition for what a `Guard` refused,
    StoreError for anything else."""
    name = getattr(error, "sqlite_errorname", "") or ""
    if name == "SQLITE_AUTH":
        return not_for_a_handler(shown_sql(sql).lstrip("\ufeff"))
    if not name.startswith("SQLITE_CONSTRAINT"):
        return StoreError(f"{error}; in: {shown_sql(sql)}" if sql else str(error))
    subject = str(error).partition("constraint failed: ")[2]
    match name.removeprefix("SQLITE_CONSTRAINT_"):
        case "UNIQUE" | "PRIMARYKEY" | "ROWID" if subject:
            return Rejected(f"another row has the same {_columns(subject)} ({error})")
        case "NOTNULL":
            return Rejected(f"{_columns(subject)} must have a value ({error})")
        case "CHECK":
            return Rejected(f"it breaks the rule {subject} ({error})")
        case "FOREIGNKEY":
            return Rejected(f"it names a row that is not there, or removes one that others name ({error})")
    return Rejected(str(error))


def _columns(subject: str) -> str:
    """`product.a, product.b` as `a and b of product`; an index over an expression as it is."""
    places = [each.strip().rpartition(".") for each in subject.split(",")]
    tables = {table for table, _, _ in places}
    if len(tables) != 1 or not all(dot for _, dot, _ in places):
        return subject
    return f"{' and '.join(column for *_, column in places)} of {tables.pop()}"


def _stored(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date | time) else value
