"""One service's database as both captures reach it: noticed changes, keyset scans and comparisons, each a few milliseconds long.

Every read ends its transaction before it returns, so that a database with a rollback journal is never held for long.
"""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from syncline.errors import StoreError, Unavailable
from syncline.messages import Key, Relation, Row
from syncline.move.feed import Held, key_of
from syncline.read.maintain.schema import affinity
from syncline.stores.sqlite.source import READ_TIMEOUT_S, no_database, open_source, source_errors
from syncline.stores.sqlite.tables import bound, listed, quoted

FETCH_ROWS = 512
PROBE_BUSY_S = 0.01
LOCK_GRACE_S = 1.0
"""How long the owner may hold the database exclusively before that is told as a failure."""


@dataclass(frozen=True, slots=True)
class Compared:
    """What differed in one range of keys: current rows, keys that are gone; where the next range begins; how much was read."""

    rows: list[Row]
    gone: list[Key]
    last: Key | None
    is_done: bool
    count: int
    held: int


class Reach:
    """A connection to one service's database. One thread owns it."""

    def __init__(self, path: str, *, read_only: bool, timeout_s: float = READ_TIMEOUT_S) -> None:
        self.path = path
        self._file = file_identity(path)
        self.connection = open_source(path, read_only=read_only, timeout_s=timeout_s)
        with source_errors(path):
            self.is_wal = self.connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        self._seen_version = -1
        self._timeout_s = READ_TIMEOUT_S
        self._locked_since: float | None = None

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
        self.refuse_other_file()
        try:
            with source_errors(self.path):
                self._be_patient(PROBE_BUSY_S)
                version = self.data_version()
        except Unavailable as error:
            if not is_locked(error) or now - (self._locked_since or now) > LOCK_GRACE_S:
                raise
            self._locked_since = self._locked_since or now
            return True
        self._locked_since = None
        return version != self._seen_version

    def refuse_other_file(self) -> None:
        """Raises Unavailable when the file at the path is not the one opened.

        Called before every read: SQLite would take the journal of the file in its place for this one's, left behind by a crash,
        and would roll it back and delete it under its owner's hands.
        """
        found = file_identity(self.path)
        if found is None:
            raise no_database(self.path)
        if found != self._file:
            raise Unavailable(f"the file '{self.path}' was replaced; the one in its place is opened")

    @property
    def is_locked(self) -> bool:
        """Whether `changed` last found the owner holding the database exclusively: nothing can be read for the moment."""
        return self._locked_since is not None

    def seen(self) -> None:
        """What is committed up to the current read transaction counts as seen. Call inside that transaction."""
        self._seen_version = self.data_version()

    def forget(self) -> None:
        """Makes `changed` say yes until the next `seen`."""
        self._seen_version = -1

    @contextmanager
    def patience(self, timeout_s: float) -> Iterator[None]:
        """Waits for the owner so long, not READ_TIMEOUT_S."""
        self._be_patient(timeout_s)
        try:
            yield
        finally:
            self._be_patient(READ_TIMEOUT_S)

    def _be_patient(self, timeout_s: float) -> None:
        """Says how long to wait for the owner from now on; costs nothing where that is said already, as between two probes."""
        if timeout_s != self._timeout_s:
            self.connection.execute(f"PRAGMA busy_timeout = {int(timeout_s * 1000)}")
            self._timeout_s = timeout_s

    @contextmanager
    def readable(self, relation: Relation, sql: str, values: object, skip: int = 0) -> Iterator[None]:
        """Raises StoreError, which names the row, where `sql` gives a text that is not UTF-8. `skip` columns precede the row."""
        try:
            yield
        except (sqlite3.OperationalError, UnicodeDecodeError) as error:
            if "decode" not in str(error):
                raise
            raise self._not_text(relation, sql, values, skip) from error

    def _not_text(self, relation: Relation, sql: str, values: object, skip: int) -> StoreError:
        self.connection.text_factory = _text_or_not
        try:
            for found in self.connection.execute(sql, values):  # type: ignore[arg-type]
                row = found[skip:]
                for name, value in zip(relation.column_names, row, strict=True):
                    if isinstance(value, _NotText):
                        key = ", ".join(
                            f"{each} = {row[i]!r}" for each, i in zip(relation.key, relation.key_indexes, strict=True)
                        )
                        return StoreError(
                            f"{relation.name}: column '{name}' of the row with {key} is the text {value!r}, which is not UTF-8, "
                            "so it cannot be followed exactly; correct it at the service (or store it as a BLOB), and it goes on"
                        )
        finally:
            self.connection.text_factory = str
        return StoreError(f"{relation.name}: a text is not UTF-8, so it cannot be followed exactly; correct it at the service")

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """One transaction-consistent state; nothing is written."""
        self.refuse_other_file()
        with source_errors(self.path):
            self._be_patient(READ_TIMEOUT_S)
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
        sql = _rows_sql(relation, has_bound=after is not None)
        self.refuse_other_file()
        with source_errors(self.path), self.readable(relation, sql, after or ()):
            self._be_patient(READ_TIMEOUT_S)
            cursor = self.connection.execute(sql, after or ())
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
            return Compared([], [], last, is_done, len(rows), len(there))
        exact, same = _exactly(relation), _same_key(relation)
        known = {same(key(row)): exact(row) for row in there}
        changed = [row for row in rows if known.get(same(key(row))) != exact(row)]
        current = {same(key(row)) for row in rows}
        gone = [key(row) for row in there if same(key(row)) not in current]
        return Compared(changed, gone, last, is_done, len(rows), len(there))

    def lookup(self, relation: Relation, keys: Sequence[Key]) -> list[Row]:
        """The current rows of these keys. Call inside a snapshot."""
        condition = " AND ".join(f"{quoted(name)} = ?" for name in relation.key)
        sql = f"SELECT {listed(relation.column_names)} FROM {quoted(relation.table)} WHERE {condition}"
        found: list[Row] = []
        for key in keys:
            with self.readable(relation, sql, key):
                found += self.connection.execute(sql, key)
        return found

    def count(self, relation: Relation) -> int:
        """About how many rows there are; exact, and slow for millions, so ask once."""
        with source_errors(self.path):
            return int(self.connection.execute(f"SELECT count(*) FROM {quoted(relation.table)}").fetchone()[0])


class _NotText(bytes):
    """A text of a source that is not UTF-8."""


def _text_or_not(text: bytes) -> str | _NotText:
    try:
        return text.decode()
    except UnicodeDecodeError:
        return _NotText(text)


def is_locked(error: StoreError) -> bool:
    """Whether the reason is that the owner, or another program, holds the database."""
    name = getattr(error.__cause__, "sqlite_errorname", "") or ""
    return name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))


def _rows_sql(relation: Relation, *, has_bound: bool) -> str:
    key = listed(relation.key)
    conditions = [f"{quoted(name)} IS NOT NULL" for name in relation.key if not relation.is_rowid_key]
    if has_bound:
        conditions.append(bound(relation.key, ">"))
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"SELECT {listed(relation.column_names)} FROM {quoted(relation.table)}{where} ORDER BY {key}"


def _exactly(relation: Relation) -> Callable[[Row], object]:
    """What two rows must agree on to be the same: values, and where a column keeps any type, types too."""
    loose = [at for at, column in enumerate(relation.columns) if affinity(column.declared_type) == "BLOB"]
    if not loose:
        return lambda row: row
    return lambda row: (row, *(type(row[at]) for at in loose))


def _same_key(relation: Relation) -> Callable[[Key], Key]:
    """What two keys have in common that SQLite takes for one: NOCASE folds the letters of ASCII, RTRIM cuts spaces."""
    by_name = {column.name: column.collation.upper() for column in relation.columns}
    collations = [by_name[name] for name in relation.key]
    if set(collations) == {"BINARY"}:
        return lambda key: key
    return lambda key: tuple(
        value if not isinstance(value, str) else _FOLDS[collation](value)
        for value, collation in zip(key, collations, strict=True)
    )


_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}
_FOLDS: dict[str, Callable[[str], str]] = {
    "BINARY": lambda text: text,
    "NOCASE": lambda text: text.translate(_LOWER),
    "RTRIM": lambda text: text.rstrip(" "),
}


def _same(relation: Relation, rows: list[Row], there: list[Row]) -> bool:
    if rows != there:
        return False
    exact = _exactly(relation)
    return all(exact(one) == exact(other) for one, other in zip(rows, there, strict=True)) if _is_loose(relation) else True


def _is_loose(relation: Relation) -> bool:
    return any(affinity(column.declared_type) == "BLOB" for column in relation.columns)


def file_identity(path: str) -> tuple[int, int] | None:
    """What tells the file at a path from another one put in its place; None when there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


@contextmanager
def in_write(reach: Reach, busy_s: float) -> Iterator[sqlite3.Connection]:
    """A write transaction at the source that waits at most `busy_s` for its owner."""
    connection = reach.connection
    reach.refuse_other_file()
    with source_errors(reach.path), reach.patience(busy_s):
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
