"""Reads of a read store by anyone: rows, the vector they belong to and the state of everything, from one snapshot.

Never writes, never waits for the relay, and is never waited for by it.
"""

import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from syncline.errors import StoreError, Unavailable
from syncline.messages import DeadLetter, Key, Position, Relation, Row
from syncline.move.freshness import Checkpoint
from syncline.read.definition import loads
from syncline.stores.protocols import FeedRow, MirrorRow, Parked, ViewRow, load_key
from syncline.stores.sqlite.connection import FORMAT, open_reader_file, translated
from syncline.stores.sqlite.dead_letters import read_dead_letters, read_dropped, read_marked
from syncline.stores.sqlite.definitions import load_relation
from syncline.stores.sqlite.mirror import rows_between
from syncline.stores.sqlite.parked import parked_keys
from syncline.stores.sqlite.tables import quoted
from syncline.stores.statements import load_statements

MADE_POLL_S = 0.01

_SQL = load_statements("syncline.stores.sqlite", "read.sql")


class SQLiteReader:
    """A reading connection. One thread owns it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._connection = open_reader_file(path)
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

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Everything read inside belongs to one state: one vector."""
        with translated(self.path):
            self._connection.execute("BEGIN")
            try:
                yield
            finally:
                self._connection.execute("ROLLBACK")

    def data_version(self) -> int:
        """A number that changes when the relay commits."""
        with translated(self.path):
            return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    def holder(self) -> str:
        """The relay that last took the store over."""
        return str(self._run("select_holder").fetchone()[0])

    def feeds(self) -> list[FeedRow]:
        """Every service's checkpoint and state, by name."""
        return [_feed(row) for row in self._run("select_feeds")]

    def mirrors(self) -> list[MirrorRow]:
        return [MirrorRow(row[0], load_relation(row[2]), row[3], row[6]) for row in self._run("select_relations")]

    def views(self) -> dict[str, ViewRow]:
        builds = {stored: (done, total) for stored, _, total, done in self._run("select_builds")}
        found: dict[str, ViewRow] = {}
        for name, live, generation, following, next_generation, _, error in self._run("select_views"):
            built = builds.get(f"{name}__g{next_generation}")
            found[name] = ViewRow(
                name, loads(live) if live else None, generation, loads(following) if following else None, built, error
            )
        return found

    def parked(self) -> list[Parked]:
        """Pieces of views that could not be computed, by view."""
        found = parked_keys(self._connection)
        return [Parked(each.view, load_key(each.key) or (), each.error, each.since) for each in found]

    def dead_letters(self) -> list[DeadLetter]:
        """Every stream that is held back, those longest held first."""
        return read_dead_letters(self._connection)

    def held_streams(self) -> list[DeadLetter]:
        """The same without the keys that depend on them."""
        return read_dead_letters(self._connection, with_keys=False)

    def held_back(self, service: str) -> tuple[list[DeadLetter], frozenset[int]]:
        """The service's streams that are held back, and the positions of its events that were dropped."""
        found = [letter for letter in read_dead_letters(self._connection) if letter.service == service]
        return found, read_dropped(self._connection, service)

    def marked(self, view: str, pieces: Sequence[Key]) -> tuple[list[bool], bool]:
        """Which of these pieces of a view depend on what is held back, and whether any of its rows may."""
        return read_marked(self._connection, view, pieces)

    def count(self, table: str) -> int:
        return int(self._connection.execute(f"SELECT count(*) FROM {quoted(table)}").fetchone()[0])

    def rows(
        self,
        table: str,
        columns: Sequence[str],
        where: Sequence[tuple[str, Sequence[object]]] = (),
        order_by: Sequence[tuple[str, bool]] = (),
        limit: int | None = None,
    ) -> list[Row]:
        """Rows in which each named column is one of the given values, in this order (column, whether downwards)."""
        conditions = (f"({' OR '.join([f'{quoted(name)} IS ?'] * len(values))})" for name, values in where)
        order = ", ".join(f"{quoted(name)}{' DESC' if down else ''}" for name, down in order_by)
        sql = f"SELECT {', '.join(map(quoted, columns))} FROM {quoted(table)}"
        sql += f" WHERE {' AND '.join(conditions)}" if where else ""
        sql += f" ORDER BY {order}" if order_by else ""
        sql += f" LIMIT {int(limit)}" if limit is not None else ""
        return self._connection.execute(sql, tuple(value for _, values in where for value in values)).fetchall()

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

    def _run(self, statement: str, /, **values: object) -> sqlite3.Cursor:
        return self._connection.execute(_SQL[statement], values)


def open_reader(path: str, until: float) -> SQLiteReader:
    """A reading connection to a store that may only be made now: waited for until a time of the monotonic clock."""
    while True:
        try:
            return SQLiteReader(path)
        except Unavailable:
            if time.monotonic() >= until:
                raise
        time.sleep(MADE_POLL_S)


def _feed(row: tuple[Any, ...]) -> FeedRow:
    service, capture, incarnation, n, proof, read_at, exact, begun, past, superseded, state, activity, error = row
    position = Position(incarnation, n, proof) if incarnation is not None else None
    checkpoint = Checkpoint(position, read_at, bool(exact), begun, tuple(json.loads(past)), tuple(json.loads(superseded)))
    return FeedRow(service, capture, checkpoint, state, activity, error)
