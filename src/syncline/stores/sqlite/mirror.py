"""Rows of a mirror by ranges of its key, for the relay, which compares and loads, and for readers, who verify."""

import sqlite3

from syncline.messages import Key, Relation, Row
from syncline.stores.sqlite.tables import bound, listed, quoted


def rows_between(
    connection: sqlite3.Connection, mirror: str, relation: Relation, after: Key | None, up_to: Key | None
) -> list[Row]:
    """The rows with `after < key <= up_to`, in key order, with the relation's columns; None is no bound."""
    bounds = [bound(relation.key, operator) for operator, key in ((">", after), ("<=", up_to)) if key is not None]
    where = f" WHERE {' AND '.join(bounds)}" if bounds else ""
    sql = f"SELECT {listed(relation.column_names)} FROM {quoted(mirror)}{where} ORDER BY {listed(relation.key)}"
    return connection.execute(sql, (*(after or ()), *(up_to or ()))).fetchall()
