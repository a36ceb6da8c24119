"""What is held of a table compared with the table, within the snapshot of a transaction that the caller has begun.

Pages of both sides are compared one after the other, in an order of the key that both databases have: numbers and bytes are
ordered alike everywhere, text by its bytes, and so is what an SQLite read store keeps as text.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from syncline.errors import StoreError
from syncline.messages import Chunk, Key, Row
from syncline.move.feed import Held, key_of
from syncline.stores.postgres.connection import Connection, quoted
from syncline.stores.postgres.source import Table, columns_of, printed
from syncline.stores.postgres.values import is_text

FETCH_ROWS = 2_000
_FLOATS = ("real", "double precision")
_ORDERED_ALIKE = ("smallint", "integer", "bigint", "oid", "boolean", "bytea", *_FLOATS)


def differences(connection: Connection, table: Table, held: Held, dialect: str) -> Iterator[Chunk]:
    """Rows of the table that are not held as they are, and keys that are held and not there. Nothing where both are alike.

    `dialect` is that of the read store, whose `held` gives rows in the order of their keys.
    """
    relation, key, exactly = table.relation, key_of(table.relation), _exactly(table)
    after: Key | None = None
    order = ", ".join(key_order(table, dialect))
    for rows, is_last in _with_end(pages(connection, f"SELECT {columns_of(table)} FROM {table.name} ORDER BY {order}")):
        refuse_not_a_number(table, rows, dialect)
        up_to = None if is_last else key(rows[-1])
        there = {key(row): exactly(row) for row in held(relation, after, up_to)}
        differing = [row for row in rows if there.pop(key(row), None) != exactly(row)]
        if differing or there:
            yield Chunk(relation, differing, list(there))
        after = up_to


def key_order(table: Table, dialect: str) -> list[str]:
    """The key's columns, in SQL, as a read store of this dialect orders them."""
    return [_ordered(quoted(name), table.types[name], dialect) for name in table.relation.key]


def pages(connection: Connection, sql: str, values: Mapping[str, object] | None = None) -> Iterator[list[Row]]:
    """The rows of a query, some thousands at a time, without holding all of them."""
    with connection.cursor(name="syncline_rows") as cursor:
        cursor.execute(sql, values)
        while rows := cursor.fetchmany(FETCH_ROWS):
            yield rows


def refuse_not_a_number(table: Table, rows: Sequence[Row], dialect: str) -> None:
    """Raises StoreError for a NaN that an SQLite read store would keep as NULL."""
    if dialect != "sqlite":
        return
    relation = table.relation
    for at in _floats(table):
        for row in rows:
            value = row[at]
            if isinstance(value, float) and math.isnan(value):
                key = ", ".join(f"{name} = {row[i]!r}" for name, i in zip(relation.key, relation.key_indexes, strict=True))
                raise StoreError(
                    f"{relation.name}: column '{relation.column_names[at]}' of the row with {key} is NaN, which SQLite does not "
                    "keep; correct it at the service, leave the column out of the views, or keep the read model in PostgreSQL"
                )


def _with_end(found: Iterator[list[Row]]) -> Iterator[tuple[list[Row], bool]]:
    """Each page, and whether it is the last; one without rows where there are none."""
    page = next(found, [])
    for following in found:
        yield page, False
        page = following
    yield page, True


def _ordered(column: str, declared: str, dialect: str) -> str:
    if declared in _ORDERED_ALIKE:
        return column
    if dialect == "sqlite":
        return f'{printed(column)} COLLATE "C"'
    if declared.startswith("character("):
        return f'{column} COLLATE "C"'
    return f'{printed(column)} COLLATE "C"' if is_text(declared) else column


def _exactly(table: Table) -> Callable[[Row], object]:
    """What two rows must agree on to be the same: values, and of floating point numbers how they are written (-0, NaN)."""
    floats = _floats(table)
    if not floats:
        return lambda row: row
    return lambda row: tuple(repr(value) if at in floats else value for at, value in enumerate(row))


def _floats(table: Table) -> list[int]:
    return [at for at, name in enumerate(table.relation.column_names) if table.types[name] in _FLOATS]
