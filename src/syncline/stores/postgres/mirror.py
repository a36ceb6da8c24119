"""Rows of a mirror on PostgreSQL by ranges of its key, for the relay, which compares and loads, and for readers, who verify."""

from collections.abc import Sequence

from syncline.messages import Key, Relation, Row
from syncline.move.feed import in_pages
from syncline.stores.postgres.connection import Connection, quoted
from syncline.stores.postgres.program import listed
from syncline.stores.postgres.values import as_parameter, escaped, is_text
from syncline.stores.translation import travelling

KEYS_A_QUERY = 500


def rows_between(
    connection: Connection, mirror: str, relation: Relation, after: Key | None, up_to: Key | None, *, by_bytes: bool
) -> list[Row]:
    """The rows with `after < key <= up_to`, in key order, text by its bytes, with the relation's columns; None is no bound.

    `by_bytes`: whether the database orders so by itself.
    """
    key = escaped(", ".join(key_terms(relation, by_bytes=by_bytes)))
    marks = ", ".join(["%s"] * len(relation.key))
    bounds = [f"({key}) {operator} ({marks})" for operator, bound in ((">", after), ("<=", up_to)) if bound is not None]
    where = f" WHERE {' AND '.join(bounds)}" if bounds else ""
    sql = f"SELECT {escaped(listed(relation.column_names))} FROM {escaped(mirror)}{where} ORDER BY {key}"
    values = list(map(as_parameter, (*(after or ()), *(up_to or ()))))
    return _travelled(relation, connection.execute(sql, values).fetchall())


def rows_of(connection: Connection, mirror: str, relation: Relation, keys: Sequence[Key]) -> list[Row]:
    """The rows of these keys that there are, with the relation's columns."""
    types = {column.name: column.declared_type for column in relation.columns}
    names = [f"k{position}" for position in range(1, len(relation.key) + 1)]
    same = " AND ".join(f"t.{escaped(quoted(column))} = k.{name}" for column, name in zip(relation.key, names, strict=True))
    one = f"({', '.join(f'%s::{types[column]}' for column in relation.key)})"
    found: list[Row] = []
    for page in in_pages(keys, KEYS_A_QUERY // len(names)):
        found += connection.execute(
            f"WITH k ({', '.join(names)}) AS (VALUES {', '.join([one] * len(page))}) "
            f"SELECT {escaped(listed(relation.column_names, 't.'))} FROM k CROSS JOIN {escaped(mirror)} AS t WHERE {same}",
            [as_parameter(value) for key in page for value in key],
        )
    return _travelled(relation, found)


def key_terms(relation: Relation, *, by_bytes: bool) -> list[str]:
    """The columns of a mirror's key as an index that serves ranges has them: text in the order of its bytes, everywhere.

    Where the database orders so by itself, that is the index of the primary key.
    """
    types = {column.name: column.declared_type for column in relation.columns}
    return [f'{quoted(name)} COLLATE "C"' if is_text(types[name]) and not by_bytes else quoted(name) for name in relation.key]


def orders_by_bytes(connection: Connection) -> bool:
    """Whether the database's own collation is the order of bytes."""
    found = connection.execute(
        "SELECT datlocprovider = 'b' OR datlocprovider = 'c' AND datcollate IN ('C', 'POSIX') FROM pg_database "
        "WHERE datname = current_database()"
    ).fetchone()
    return found is not None and bool(found[0])


def _travelled(relation: Relation, rows: list[Row]) -> list[Row]:
    travels = travelling(relation)
    return rows if travels is None else list(map(travels, rows))
