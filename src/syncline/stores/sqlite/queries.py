"""Runs a named query on a read store: reading only, of the tables it may read and nothing else, for so long and no longer.

SQLite itself is asked to refuse everything else, whatever the query's text says: an authorizer
(https://sqlite.org/c3ref/set_authorizer.html) sees every table, function and setting that a statement would touch before it runs.
"""

import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager

from syncline.errors import InvalidQueryValues, StoreError, TookTooLong
from syncline.read.maintain.asked import Asked
from syncline.stores.protocols import QueryResult
from syncline.stores.sqlite.connection import translated

STEPS = 2_000
"""Steps of SQLite's machine between two looks at the clock: some tens of microseconds."""

_FORBIDDEN_FUNCTIONS = ("load_extension", "fts3_tokenizer", "readfile", "writefile", "edit")
_OWN = ("sqlite_", "syncline_")


def run_query(
    connection: sqlite3.Connection,
    path: str,
    asked: Asked,
    sql: str,
    values: Mapping[str, object],
    limit: int,
    timeout_s: float,
) -> QueryResult:
    """At most `limit` rows of `sql`, whose parameters are written `:name`. Raises TookTooLong, InvalidQueryValues, StoreError."""
    connection.set_authorizer(_authorizer(connection, asked.reads))
    try:
        with translated(path), time_limit(connection, f"query '{asked.query.name}'", timeout_s):
            try:
                cursor = connection.execute(sql, dict(values))
                found = cursor.fetchmany(limit + 1)
            except sqlite3.OperationalError as error:
                if getattr(error, "sqlite_errorname", "") == "SQLITE_ERROR" and _is_about_values(error):
                    raise InvalidQueryValues(asked.query.name, [("", f"with these values it fails: {error}")]) from error
                raise
            except (sqlite3.DataError, sqlite3.IntegrityError) as error:
                raise InvalidQueryValues(asked.query.name, [("", f"with these values it fails: {error}")]) from error
    finally:
        connection.set_authorizer(None)
    columns = tuple((each[0], "") for each in cursor.description)
    return QueryResult(columns, found[:limit], is_cut_short=len(found) > limit)


@contextmanager
def time_limit(connection: sqlite3.Connection, what: str, limit_s: float) -> Iterator[None]:
    """Statements inside end after so long altogether. Raises TookTooLong."""
    until = time.monotonic() + limit_s
    connection.set_progress_handler(lambda: time.monotonic() > until, STEPS)
    try:
        yield
    except (sqlite3.Error, StoreError) as error:
        cause = error.__cause__ if isinstance(error, StoreError) else error
        if getattr(cause, "sqlite_errorname", "") == "SQLITE_INTERRUPT":
            raise TookTooLong(what, limit_s) from error
        raise
    finally:
        connection.set_progress_handler(None, 0)


def _is_about_values(error: sqlite3.Error) -> bool:
    """Whether it is a function that did not like its argument; else the query's text is at fault, or the store."""
    return not any(word in str(error) for word in ("no such", "syntax", "prohibited", "not authorized", "ambiguous", "misuse"))


def _authorizer(connection: sqlite3.Connection, tables: Collection[str]) -> Callable[..., int]:
    """Allows to read these tables, and what is no table: a WITH's name, or a function whose rows are read."""
    stored = connection.execute("SELECT name FROM sqlite_master").fetchall()
    forbidden = {str(name).lower() for (name,) in stored} - {table.lower() for table in tables}

    def answer(action: int, one: str | None, other: str | None, *_: object) -> int:
        name = (one or "").lower()
        is_read = action == sqlite3.SQLITE_READ and name not in forbidden and not name.startswith(_OWN)
        is_function = action == sqlite3.SQLITE_FUNCTION and (other or "").lower() not in _FORBIDDEN_FUNCTIONS
        # How json_each and its like come to be: a table is declared as if it were made. The connection cannot write.
        is_declaration = name == "sqlite_master" and (action == sqlite3.SQLITE_UPDATE or other == "ROWID")
        is_allowed = is_read or is_function or is_declaration or action in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_RECURSIVE)
        return sqlite3.SQLITE_OK if is_allowed else sqlite3.SQLITE_DENY

    return answer
