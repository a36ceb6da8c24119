"""How rows of one kind of database are kept in a read store of the other: the types of their columns, and what travels. Pure.

From PostgreSQL to SQLite: whole numbers and booleans (1 and 0) as INTEGER, `real` and `double precision` as REAL, `bytea` as
BLOB, everything else as TEXT, just as PostgreSQL prints it with ISO dates, UTC, ISO intervals: nothing is rounded, but text does
not calculate: `numeric` is best turned into whole cents by the service or by CAST in the view.

From SQLite to PostgreSQL: by affinity INTEGER as bigint, REAL as double precision, TEXT, and types named after a date or time, as
text, NUMERIC as numeric, BLOB as bytea. Text there is compared as the read store's database compares it: of SQLite's collations
NOCASE and RTRIM nothing is left, and a view that needs them says lower(…) or rtrim(…). A column without a type may hold anything,
and is refused; a value that is not of its column's type is refused when it comes.
"""

from collections.abc import Callable
from dataclasses import replace

from syncline.errors import Fault, InvalidDefinition
from syncline.messages import Column, Relation, Row, Scalar
from syncline.read.maintain.schema import affinity

_TO_SQLITE = {
    "smallint": "INTEGER",
    "integer": "INTEGER",
    "bigint": "INTEGER",
    "oid": "INTEGER",
    "boolean": "INTEGER",
    "real": "REAL",
    "double precision": "REAL",
    "bytea": "BLOB",
}
_TO_POSTGRES = {"INTEGER": "bigint", "REAL": "double precision", "TEXT": "text", "NUMERIC": "numeric"}


def adapted(relation: Relation, dialect: str) -> Relation:
    """The relation as a read store of this dialect keeps it: with types that it knows. Where rows come from stays told."""
    if relation.dialect == dialect:
        return relation
    to = _to_sqlite if dialect == "sqlite" else _to_postgres
    return replace(relation, columns=tuple(to(column) for column in relation.columns), is_rowid_key=False)


def refuse_untyped(relation: Relation, dialect: str) -> None:
    """Raises InvalidDefinition where the store of this dialect needs the type of a column that has none."""
    untyped = [column.name for column in relation.columns if not column.declared_type]
    if dialect == "postgres" and untyped:
        message = (
            f"{relation.name}: {', '.join(untyped)} has no declared type, so it may hold anything, and a column of PostgreSQL "
            "may not; give it a type in the service's database, leave it out of the views, or keep this read model in SQLite"
        )
        raise InvalidDefinition([Fault("", 0, message)])


def travelling(relation: Relation) -> Callable[[Row], Row] | None:
    """From a row as PostgreSQL gives it to the row as its source gives it; None where these are the same.

    SQLite gives what it stores as NUMERIC as int or float, PostgreSQL gives `numeric` as text.
    """
    numeric = {place for place, column in enumerate(relation.columns) if column.declared_type == "numeric"}
    if relation.dialect != "sqlite" or not numeric:
        return None
    return lambda row: tuple(_number(value) if place in numeric else value for place, value in enumerate(row))


def _to_sqlite(column: Column) -> Column:
    return replace(column, declared_type=_TO_SQLITE.get(column.declared_type, "TEXT"), collation="BINARY")


def _to_postgres(column: Column) -> Column:
    declared = column.declared_type.upper()
    if not declared:
        return column
    if affinity(declared) == "NUMERIC" and ("DATE" in declared or "TIME" in declared):
        return replace(column, declared_type="text", collation="BINARY")
    return replace(column, declared_type=_TO_POSTGRES.get(affinity(declared), "bytea"), collation="BINARY")


def _number(value: Scalar) -> Scalar:
    if not isinstance(value, str):
        return value
    return int(value) if value.lstrip("-").isdigit() else float(value)
