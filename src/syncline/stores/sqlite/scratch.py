"""Rows in a file that SQLite makes for one connection and deletes with it (see `syncline.stores.scratch`)."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from syncline.errors import Unavailable
from syncline.messages import Key, Relation, Row
from syncline.stores.sqlite.connection import CACHE_KIB
from syncline.stores.sqlite.mirror import rows_of, some_rows
from syncline.stores.sqlite.tables import Shape, bound, create_stored, listed, mirror_shape, quoted

FETCH_ROWS = 1_000


class SQLiteScratch:
    """An empty database that may grow beyond memory. One thread owns it."""

    def __init__(self) -> None:
        self._connection = sqlite3.connect("", isolation_level=None, cached_statements=256, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = OFF")
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        self._connection.execute("BEGIN")

    def table(self, relation: Relation) -> "SQLiteScratchTable":
        return SQLiteScratchTable(self._connection, relation)

    def close(self) -> None:
        self._connection.close()


class SQLiteScratchTable:
    """See `ScratchTable`."""

    def __init__(self, connection: sqlite3.Connection, relation: Relation) -> None:
        self._connection, self._relation = connection, relation
        self._chosen = f"{relation.table}__chosen"
        shape = mirror_shape(relation)
        key = Shape(shape.key_columns, shape.key, shape.is_rowid_key)
        for statement in (*create_stored(relation.table, shape), *create_stored(self._chosen, key)):
            connection.execute(statement)

    def write(self, rows: Sequence[Row], gone: Sequence[Key]) -> None:
        table, key = quoted(self._relation.table), self._relation.key
        with _in_words():
            if rows:
                marks = ", ".join("?" * len(self._relation.columns))
                self._connection.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", rows)
            if gone:
                self._connection.executemany(f"DELETE FROM {table} WHERE {bound(key, '=')}", gone)

    def count(self) -> int:
        with _in_words():
            return int(self._connection.execute(f"SELECT count(*) FROM {quoted(self._relation.table)}").fetchone()[0])

    def rows_of(self, keys: Sequence[Key]) -> list[Row]:
        with _in_words():
            return rows_of(self._connection, self._relation.table, self._relation, keys)

    def rows_after(self, after: Key | None, limit: int) -> list[Row]:
        with _in_words():
            return some_rows(self._connection, self._relation.table, self._relation, after, limit)

    def choose(self, keys: Iterable[Key]) -> None:
        marks = ", ".join("?" * len(self._relation.key))
        with _in_words():
            self._connection.executemany(f"INSERT OR IGNORE INTO {quoted(self._chosen)} VALUES ({marks})", keys)

    def chosen(self) -> Iterator[tuple[list[Row], list[Key]]]:
        relation, width = self._relation, len(self._relation.key)
        same = " AND ".join(f"t.{quoted(name)} = c.{quoted(name)}" for name in relation.key)
        sql = (
            f"SELECT {listed(relation.key, 'c.')}, {listed(relation.column_names, 't.')} FROM {quoted(self._chosen)} AS c "
            f"LEFT JOIN {quoted(relation.table)} AS t ON {same} ORDER BY {listed(relation.key, 'c.')}"
        )
        there = width + relation.key_indexes[0]
        with _in_words():
            cursor = self._connection.execute(sql)
            while found := cursor.fetchmany(FETCH_ROWS):
                yield (
                    [row[width:] for row in found if row[there] is not None],
                    [row[:width] for row in found if row[there] is None],
                )


@contextmanager
def _in_words() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise Unavailable(
            f"events cannot be replayed now: {error}; the rows that they make need room in the folder for temporary files, which "
            "the environment's SQLITE_TMPDIR or TMPDIR names"
        ) from error
