"""Rows of a mirror by ranges of its key, for the relay, which compares and loads, and for readers, who verify."""

import sqlite3
from collections.abc import Sequence

from syncline.messages import Key, Relation, Row
from syncline.move.feed import in_pages
from syncline.stores.sqlite.tables import bound, listed, quoted

KEYS_A_QUERY = 500
"""How many values of keys one query names: few enough for every SQLite."""


def rows_between(
    connection: sqlite3.Connection, mirror: str, relation: Relation, after: Key | None, up_to: Key | None
) -> list[Row]:
    """The rows with `after < key <= up_to`, in key order, with the relation's columns; None is no bound."""
    bounds = [bound(relation.key, operator) for operator, key in ((">", after), ("<=", up_to)) if key is not None]
    where = f" WHERE {' AND '.join(bounds)}" if bounds else ""
    sql = f"SELECT {listed(relation.column_names)} FROM {quoted(mirror)}{where} ORDER BY {listed(relation.key)}"
    return connection.execute(sql, (*(after or ()), *(up_to or ()))).fetchall()


def some_rows(connection: sqlite3.Connection, mirror: str, relation: Relation, after: Key | None, limit: int) -> list[Row]:
    """At most `limit` rows with `key > after`, in key order, with the relation's columns."""
    where = f" WHERE {bound(relation.key, '>')}" if after is not None else ""
    sql = f"SELECT {listed(relation.column_names)} FROM {quoted(mirror)}{where} ORDER BY {listed(relation.key)} LIMIT {limit}"
    return connection.execute(sql, after or ()).fetchall()


def rows_of(connection: sqlite3.Connection, mirror: str, relation: Relation, keys: Sequence[Key]) -> list[Row]:
    """The rows of these keys that there are, with the relation's columns."""
    names = [f"k{position}" for position in range(1, len(relation.key) + 1)]
    same = " AND ".join(f"t.{quoted(column)} = k.{name}" for column, name in zip(relation.key, names, strict=True))
    one = f"({', '.join('?' * len(names))})"
    found: list[Row] = []
    for page in in_pages(keys, KEYS_A_QUERY // len(names)):
        values = [value for key in page for value in key]
        found += connection.execute(
            f"WITH k ({', '.join(names)}) AS (VALUES {', '.join([one] * len(page))}) "
            f"SELECT {listed(relation.column_names, 't.')} FROM k CROSS JOIN {quoted(mirror)} AS t ON {same}",
            values,
        )
    return found
