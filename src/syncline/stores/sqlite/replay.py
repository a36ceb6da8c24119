"""Replaying: a service's rows folded anew from the first event, in a database of their own that nobody else sees.

The rows are always those of one position, which only rises. What is kept is deleted with the connection; a replay that was cut
short begins again.
"""

import sqlite3
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final

from syncline.messages import Key, Relation, Row
from syncline.move.feed import key_of
from syncline.read.projection import Failure, Net, Projection
from syncline.stores.sqlite.connection import CACHE_KIB, translated
from syncline.stores.sqlite.definitions import mirror_shape
from syncline.stores.sqlite.history import History
from syncline.stores.sqlite.mirror import rows_of, some_rows
from syncline.stores.sqlite.tables import Shape, bound, create_stored, listed, quoted

SLICE_EVENTS = 1_000
LAST_STEP_EVENTS = 4_000
"""So few events are replayed at once whatever the time: who falls behind by a batch each step would never arrive."""
CACHED_ROWS = 10_000
"""How many rows that changed lately wait to be written, twice: what is changed again soon is written once."""


class Replay:
    """The rows of some relations of a service, as its events up to `position` make them. One thread owns it.

    `failures` are the events that could not be made rows, each of which holds its stream back from there on. `missing` counts, by
    relation, operations on rows that were not there, with the key of one.
    """

    def __init__(self, history: History, projection: Projection, relations: Iterable[Relation]) -> None:
        self.position = 0
        self.failures: list[Failure] = []
        self.missing: dict[str, tuple[int, Key | None]] = {}
        self.projection, self._history = projection, history
        self._connection = _scratch()
        self._made = {relation.table: _Made(self._connection, relation) for relation in relations}

    @property
    def relations(self) -> dict[str, Relation]:
        """By their names in the service."""
        return {table: made.relation for table, made in self._made.items()}

    def close(self) -> None:
        self._connection.close()

    def advance(self, up_to: int, budget_s: float) -> bool:
        """Replays on for about `budget_s`; says whether `up_to` is reached."""
        is_near = up_to - self.position <= LAST_STEP_EVENTS
        until = time.monotonic() + budget_s
        while self.position < up_to:
            self._slice(min(self.position + SLICE_EVENTS, up_to))
            if time.monotonic() >= until and not is_near:
                break
        return self.position >= up_to

    def count(self, relation: Relation) -> int:
        """How many rows there are."""
        return self._made[relation.table].count()

    def scan(self, relation: Relation, after: Key | None, limit: int) -> tuple[list[Row], bool]:
        """At most `limit` rows with `key > after` in key order, and whether these were the last."""
        rows = self._made[relation.table].rows_after(after, limit)
        return rows, len(rows) < limit

    def rows_of(self, relation: Relation, keys: Sequence[Key]) -> list[Row]:
        """The rows of these keys that there are."""
        return list(self._made[relation.table].rows_of(keys).values())

    def choose(self, relation: Relation, keys: Iterable[Key]) -> None:
        """Remembers keys of rows that are to be brought to where the replay is."""
        self._made[relation.table].choose(keys)

    def chosen(self, relation: Relation, after: Key | None, limit: int) -> list[Key]:
        """At most `limit` of the chosen keys, in order, after one of them."""
        return self._made[relation.table].chosen(after, limit)

    def _slice(self, end: int) -> None:
        nets = {table: Net() for table in self._made}
        failures, _ = self.projection.fold(self._history.events(self.position, end), nets)
        self.failures += failures
        for table, net in nets.items():
            self._made[table].take(net)
            if net.missing:
                count, _ = self.missing.get(table, (0, None))
                self.missing[table] = count + net.missing, net.example
        self.position = end


class _Made:
    """The rows of one relation: those that changed lately in memory, the newest first, the others written."""

    def __init__(self, connection: sqlite3.Connection, relation: Relation) -> None:
        self.relation = relation
        self._connection = connection
        self._recent: dict[Key, Row | None] = {}
        self._older: dict[Key, Row | None] = {}
        self._key = key_of(relation)
        self._chosen = f"{relation.table}__chosen"
        shape = mirror_shape(relation)
        key = Shape(shape.key_columns, shape.key, shape.is_rowid_key)
        for statement in (*create_stored(relation.table, shape), *create_stored(self._chosen, key)):
            connection.execute(statement)

    def take(self, net: Net) -> None:
        """What a net comes to."""
        self._recent.update(net.settle(self.rows_of(list(net.unproven)) if net.unproven else {}))
        if len(self._recent) >= CACHED_ROWS:
            self._write(self._older)
            self._older, self._recent = self._recent, {}

    def rows_of(self, keys: Sequence[Key]) -> dict[Key, Row]:
        recent, older = self._recent, self._older
        found: dict[Key, Row] = {}
        asked: list[Key] = []
        for key in keys:
            cached = recent.get(key, _NOT_CACHED)
            if cached is _NOT_CACHED:
                cached = older.get(key, _NOT_CACHED)
            if cached is _NOT_CACHED:
                asked.append(key)
            elif cached is not None:
                found[key] = cached
        if asked:
            with translated("a replay"):
                rows = rows_of(self._connection, self.relation.table, self.relation, asked)
            found.update((self._key(row), row) for row in rows)
        return found

    def count(self) -> int:
        self._write_all()
        return int(self._connection.execute(f"SELECT count(*) FROM {quoted(self.relation.table)}").fetchone()[0])

    def rows_after(self, after: Key | None, limit: int) -> list[Row]:
        self._write_all()
        with translated("a replay"):
            return some_rows(self._connection, self.relation.table, self.relation, after, limit)

    def choose(self, keys: Iterable[Key]) -> None:
        marks = ", ".join("?" * len(self.relation.key))
        with translated("a replay"):
            self._connection.executemany(f"INSERT OR IGNORE INTO {quoted(self._chosen)} VALUES ({marks})", keys)

    def chosen(self, after: Key | None, limit: int) -> list[Key]:
        where = f" WHERE {bound(self.relation.key, '>')}" if after is not None else ""
        names = listed(self.relation.key)
        sql = f"SELECT {names} FROM {quoted(self._chosen)}{where} ORDER BY {names} LIMIT {limit}"
        return self._connection.execute(sql, after or ()).fetchall()

    def _write_all(self) -> None:
        self._write(self._older)
        self._write(self._recent)
        self._older, self._recent = {}, {}

    def _write(self, changed: dict[Key, Row | None]) -> None:
        relation = self.relation
        rows = [row for row in changed.values() if row is not None]
        gone = [key for key, row in changed.items() if row is None]
        with translated("a replay"):
            if rows:
                marks = ", ".join("?" * len(relation.columns))
                self._connection.executemany(f"INSERT OR REPLACE INTO {quoted(relation.table)} VALUES ({marks})", rows)
            if gone:
                self._connection.executemany(f"DELETE FROM {quoted(relation.table)} WHERE {bound(relation.key, '=')}", gone)


_NOT_CACHED: Final[Any] = object()


def _scratch() -> sqlite3.Connection:
    """An empty database that may grow beyond memory, in a file that SQLite deletes."""
    connection = sqlite3.connect("", isolation_level=None, cached_statements=256, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = OFF")
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    connection.execute("BEGIN")
    return connection
