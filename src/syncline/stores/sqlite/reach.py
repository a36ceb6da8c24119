"""One service's database as both captures reach it: noticed changes, keyset scans and comparisons, each a few milliseconds long.

Every read ends its transaction before it returns, so that a database with a rollback journal is never held for long.
"""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from syncline.errors import SourceChanged, Unavailable
from syncline.messages import Key, Relation, Row
from syncline.move.feed import Held, key_of
from syncline.read.maintain.schema import affinity
from syncline.stores.sqlite.source import open_source, source_errors
from syncline.stores.sqlite.tables import listed, quoted

FETCH_ROWS = 512
STAT_INTERVAL_S = 0.1


@dataclass(frozen=True, slots=True)
class Compared:
    """What differed in one range of keys: current rows, keys that are gone, and where the next range begins."""

    rows: list[Row]
    gone: list[Key]
    last: Key | None
    is_done: bool
    count: int


class Reach:
    """A connection to one service's database. One thread owns it."""

    def __init__(self, path: str, *, read_only: bool) -> None:
        self.path = path
        self.connection = open_source(path, read_only=read_only)
        with source_errors(path):
            self.is_wal = self.connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        self._file = _file_identity(path)
        self._stat_at = time.monotonic()
        self._seen_version = -1

    def close(self) -> None:
        self.connection.close()

    def data_version(self) -> int:
        """A number that changes when another connection commits."""
        return int(self.connection.execute("PRAGMA data_version").fetchone()[0])

    def schema_version(self) -> int:
        return int(self.connection.execute("PRAGMA schema_version").fetchone()[0])

    def changed(self) -> bool:
        """Whether another connection committed since `seen`. Raises Unavailable when the file is not the one opened."""
        now = time.monotonic()
        if now - self._stat_at >= STAT_INTERVAL_S:
            self._stat_at = now
            if _file_identity(self.path) != self._file:
                raise Unavailable(f"the file '{self.path}' was removed or replaced; the one in its place is opened")
        with source_errors(self.path):
            return self.data_version() != self._seen_version

    def seen(self) -> None:
        """What is committed up to the current read transaction counts as seen. Call inside that transaction."""
        self._seen_version = self.data_version()

    def forget(self) -> None:
        """Makes `changed` say yes until the next `seen`."""
        self._seen_version = -1

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """One transaction-consistent state; nothing is written."""
        with source_errors(self.path):
            self.connection.execute("BEGIN")
            try:
                self.connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
                yield
            finally:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")

    def scan(self, relation: Relation, after: Key | None, budget_s: float) -> tuple[list[Row], bool]:
        """Rows with `key > after` in key order, read for about `budget_s`; and whether these were the last."""
        until = time.monotonic() + budget_s
        rows: list[Row] = []
        with source_errors(self.path):
            cursor = self.connection.execute(_rows_sql(relation, has_bound=after is not None), after or ())
            try:
                while chunk := cursor.fetchmany(FETCH_ROWS):
                    rows += chunk
                    if len(chunk) < FETCH_ROWS:
                        return rows, True
                    if time.monotonic() >= until:
                        return rows, False
            finally:
                cursor.close()
        return rows, True

    def compare(self, relation: Relation, held: Held, after: Key | None, budget_s: float) -> Compared:
        """Compares the rows after `after`, as many as can be read in about `budget_s`, with those that are held."""
        rows, is_done = self.scan(relation, after, budget_s)
        key = key_of(relation)
        last = key(rows[-1]) if rows else after
        there = held(relation, after, None if is_done else last)
        if _same(relation, rows, there):
            return Compared([], [], last, is_done, len(rows))
        exact = _exactly(relation)
        known = {key(row): exact(row) for row in there}
        changed = [row for row in rows if known.get(key(row)) != exact(row)]
        current = {key(row) for row in rows}
        gone = [each for each in known if each not in current]
        return Compared(changed, gone, last, is_done, len(rows))

    def lookup(self, relation: Relation, keys: Sequence[Key]) -> list[Row]:
        """The current rows of these keys. Call inside a snapshot."""
        condition = " AND ".join(f"{quoted(name)} = ?" for name in relation.key)
        sql = f"SELECT {listed(relation.column_names)} FROM {quoted(relation.table)} WHERE {condition}"
        return [row for key in keys for row in self.connection.execute(sql, key)]

    def count(self, relation: Relation) -> int:
        """About how many rows there are; exact, and slow for millions, so ask once."""
        with source_errors(self.path):
            return int(self.connection.execute(f"SELECT count(*) FROM {quoted(relation.table)}").fetchone()[0])

    def refuse_other_file(self) -> None:
        if _file_identity(self.path) != self._file:
            raise SourceChanged(f"the file '{self.path}' was replaced; it is opened again")


def _rows_sql(relation: Relation, *, has_bound: bool) -> str:
    key = listed(relation.key)
    conditions = [f"{quoted(name)} IS NOT NULL" for name in relation.key if not relation.is_rowid_key]
    if has_bound and len(relation.key) > 1:
        conditions.append(f"({key}) > ({', '.join('?' * len(relation.key))})")
    elif has_bound:
        conditions.append(f"{key} > ?")
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"SELECT {listed(relation.column_names)} FROM {quoted(relation.table)}{where} ORDER BY {key}"


def _exactly(relation: Relation) -> Callable[[Row], object]:
    """What two rows must agree on to be the same: values, and where a column keeps any type, types too."""
    loose = [at for at, column in enumerate(relation.columns) if affinity(column.declared_type) == "BLOB"]
    if not loose:
        return lambda row: row
    return lambda row: (row, *(type(row[at]) for at in loose))


def _same(relation: Relation, rows: list[Row], there: list[Row]) -> bool:
    if rows != there:
        return False
    exact = _exactly(relation)
    return all(exact(one) == exact(other) for one, other in zip(rows, there, strict=True)) if _is_loose(relation) else True


def _is_loose(relation: Relation) -> bool:
    return any(affinity(column.declared_type) == "BLOB" for column in relation.columns)


def _file_identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def in_write(reach: Reach, busy_s: float) -> "_Write":
    """A write transaction at the source that waits at most `busy_s` for its owner."""
    return _Write(reach, busy_s)


class _Write:
    def __init__(self, reach: Reach, busy_s: float) -> None:
        self._reach, self._busy_ms = reach, int(busy_s * 1000)

    def __enter__(self) -> sqlite3.Connection:
        connection = self._reach.connection
        with source_errors(self._reach.path):
            connection.execute(f"PRAGMA busy_timeout = {self._busy_ms}")
            connection.execute("BEGIN IMMEDIATE")
        return connection

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        connection = self._reach.connection
        with source_errors(self._reach.path):
            try:
                if kind is None:
                    connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                connection.execute("PRAGMA busy_timeout = 1000")
