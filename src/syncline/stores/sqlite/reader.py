"""Reads of a read store by anyone: rows, the vector they belong to and the state of everything, from one snapshot.

Never writes, never waits for the relay, and is never waited for by it.
"""

import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from types import TracebackType

from syncline.errors import StoreError, Unavailable
from syncline.messages import Key, Relation, Row, Scalar
from syncline.read.maintain.asked import Asked
from syncline.stores.paging import Condition, Sort, is_plain, select_after
from syncline.stores.protocols import Changes, QueryResult
from syncline.stores.read_definitions import changes_table
from syncline.stores.sqlite.connection import FORMAT, in_words, open_reader_file, translated
from syncline.stores.sqlite.mirror import rows_between
from syncline.stores.sqlite.own_tables import runner
from syncline.stores.sqlite.queries import run_query, time_limit
from syncline.stores.sqlite.tables import quoted
from syncline.stores.stored_reader import StoredReader

MADE_POLL_S = 0.01


class _Snapshot:
    """A transaction that is undone; entered for every read, so without a generator's cost."""

    def __init__(self, connection: sqlite3.Connection, path: str) -> None:
        self._connection, self._path = connection, path

    def __enter__(self) -> None:
        try:
            self._connection.execute("BEGIN")
        except sqlite3.Error as error:
            raise in_words(self._path, error) from error

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self._connection.execute("ROLLBACK")
        except sqlite3.Error as failed:
            raise in_words(self._path, failed) from failed
        if isinstance(error, sqlite3.Error):
            raise in_words(self._path, error) from error


class SQLiteReader(StoredReader):
    """A reading connection. One thread owns it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._connection = open_reader_file(path)
        self._identity = _identity(path)
        self._snapshot = _Snapshot(self._connection, path)
        super().__init__(runner(self._connection))
        with translated(path):
            names = {name for (name,) in self._connection.execute("SELECT name FROM sqlite_master")}
        if not names:
            self._connection.close()
            raise Unavailable(f"the read store '{path}' is only being made; start `syncline run`, or ask again if it runs")
        if "syncline_meta" not in names:
            self._connection.close()
            raise StoreError(f"'{path}' is not a read store of Syncline; name another file in syncline.toml, or move it away")
        with translated(path):
            found = self._run("select_meta").fetchone()
        if found is None or found[0] != FORMAT:
            self._connection.close()
            raise StoreError(f"'{path}' is a read store of another format; use the version of Syncline that made it")
        with translated(path):
            if "open" not in {name for (name,) in self._run("select_feed_columns")}:
                self._connection.close()
                raise Unavailable(
                    f"an older version made the read store '{path}'; start `syncline run`, which brings it up to date"
                )

    def close(self) -> None:
        self._connection.close()

    def snapshot(self) -> AbstractContextManager[None]:
        """Everything read inside belongs to one state: one vector."""
        return self._snapshot

    @contextmanager
    def limited(self, limit_s: float) -> Iterator[None]:
        """What is read inside ends after so long. Raises TookTooLong."""
        with time_limit(self._connection, "the read", limit_s):
            yield

    def data_version(self) -> int:
        """A number that changes when the relay commits."""
        try:
            return int(self._connection.execute("PRAGMA data_version").fetchone()[0])
        except sqlite3.Error as error:
            raise in_words(self.path, error) from error

    def is_there(self) -> bool:
        """Whether the file at the path is the one that is open."""
        try:
            return _identity(self.path) == self._identity
        except OSError:
            return False

    def hurry(self) -> bool:
        """What is locked is an error at once; all else is in this process's reach."""
        with translated(self.path):
            self._connection.execute("PRAGMA busy_timeout = 0")
        return True

    def table(self, name: str) -> str:
        """How SQL names the table of a mirror or a live view."""
        return quoted(name)

    def count(self, table: str) -> int:
        return int(self._connection.execute(f"SELECT count(*) FROM {quoted(table)}").fetchone()[0])

    def rows(
        self,
        table: str,
        columns: Sequence[str],
        where: Sequence[Condition] = (),
        order_by: Sequence[Sort] = (),
        limit: int | None = None,
        after: Sequence[Scalar] | None = None,
    ) -> list[Row]:
        """Rows that meet all conditions, in this order, from after the one in which the sorted columns have these values."""
        if after is None and all(is_plain(each) for each in where):  # such as a row by its key, which is asked most
            sql = _plain_select(table, tuple(columns), tuple(each.column for each in where), tuple(order_by), limit)
            return self._connection.execute(sql, [each.values[0] for each in where]).fetchall()
        found = select_after(where, order_by, after, limit, quoted=quoted, parameter="?", orders_nulls=False)
        return self._connection.execute(_select(tuple(columns), table) + found.sql, found.values).fetchall()

    def held(self, relation: Relation, mirror: str, after: Key | None, up_to: Key | None) -> list[Row]:
        """A mirror's rows with `after < key <= up_to`, in key order."""
        return rows_between(self._connection, mirror, relation, after, up_to)

    def differences(self, stored: str, columns: Sequence[str], query: str, limit: int) -> tuple[int, list[Row], list[Row]]:
        """Compares a table with a query as sets of rows, values with their types and spelling.

        Returns how many rows the table has, and up to `limit` rows that only the query gives, and that only the table holds.
        """
        each = ", ".join(f"{quoted(name)} COLLATE BINARY" for name in columns)
        typed = ", ".join(f"typeof({quoted(name)})" for name in columns)
        there = f"SELECT {each}, {typed} FROM {quoted(stored)}"
        wanted = f"SELECT {each}, {typed} FROM ({query})"
        width, run = len(columns), self._connection.execute
        missing = run(f"{wanted} EXCEPT {there} LIMIT ?", (limit,)).fetchall()
        extra = run(f"{there} EXCEPT {wanted} LIMIT ?", (limit,)).fetchall()
        return self.count(stored), [row[:width] for row in missing], [row[:width] for row in extra]

    def lookup(self, table: str, columns: Sequence[str], names: Sequence[str], keys: Sequence[Key]) -> list[Row]:
        """The rows in which the named columns have these values."""
        condition = " AND ".join(f"{quoted(name)} IS ?" for name in names) or "1"
        sql = f"SELECT {', '.join(map(quoted, columns))} FROM {quoted(table)} WHERE {condition}"
        return [row for key in keys for row in self._connection.execute(sql, key)]

    def changes(self, view: str, key: Sequence[str], after: int, limit: int) -> Changes:
        """The changes of a view numbered above `after`, at most `limit`."""
        feed = quoted(changes_table(view))
        with translated(self.path):
            oldest, newest = self._connection.execute(f"SELECT min(seq), max(seq) FROM {feed}").fetchone()
            sql = f"SELECT {', '.join(map(quoted, ('seq', 'op', *key)))} FROM {feed} WHERE seq > ? ORDER BY seq LIMIT ?"
            return Changes(oldest or 0, newest or 0, self._connection.execute(sql, (after, limit)).fetchall())

    def changes_of(self, view: str, where: Sequence[Condition], limit: int) -> list[tuple[int, str]]:
        """The newest changes of the row whose key is so, the newest first, as number and operation."""
        return self.rows(changes_table(view), ("seq", "op"), where, [Sort("seq", is_down=True)], limit)  # type: ignore[return-value]

    def query(self, asked: Asked, values: Mapping[str, object], limit: int, timeout_s: float) -> QueryResult:
        """At most `limit` rows of a named query."""
        sql = asked.sql({view: self.table(view) for view in asked.reads})
        return run_query(self._connection, self.path, asked, sql, values, limit, timeout_s)


@lru_cache(maxsize=256)
def _select(columns: tuple[str, ...], table: str) -> str:
    return f"SELECT {', '.join(map(quoted, columns))} FROM {quoted(table)}"


def _identity(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


@lru_cache(maxsize=1024)
def _plain_select(
    table: str, columns: tuple[str, ...], equal: tuple[str, ...], order_by: tuple[Sort, ...], limit: int | None
) -> str:
    """The text of a SELECT in which each of some columns has one value: put together once."""
    where = [Condition(column, ("?",)) for column in equal]
    found = select_after(where, order_by, None, limit, quoted=quoted, parameter="?", orders_nulls=False)
    return _select(columns, table) + found.sql


def open_reader(path: str, until: float) -> SQLiteReader:
    """A reading connection to a store that may only be made now: waited for until a time of the monotonic clock."""
    while True:
        try:
            return SQLiteReader(path)
        except Unavailable:
            if time.monotonic() >= until:
                raise
        time.sleep(MADE_POLL_S)
