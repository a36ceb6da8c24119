"""The tables of a read store as SQL text: mirrors, views, and the temporary tables a batch passes through.

Text only, no connection. Columns keep the declared type and collation of the source, so that values compare in the read
store as they do at home; columns of expressions have no type, so that SQLite stores what the query gave.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from syncline.messages import Column, Relation
from syncline.read.maintain.schema import affinity


def quoted(name: str) -> str:
    """An identifier, safe in SQL whatever characters it holds."""
    return '"' + name.replace('"', '""') + '"'


def listed(names: Iterable[str], prefix: str = "") -> str:
    """Identifiers in a list, each with the prefix (`t.`) before it."""
    return ", ".join(prefix + quoted(name) for name in names)


def bound(key: Sequence[str], operator: str) -> str:
    """A condition that a key compares so with parameters, one for each of its columns."""
    if len(key) == 1:
        return f"{quoted(key[0])} {operator} ?"
    return f"({listed(key)}) {operator} ({', '.join('?' * len(key))})"


@dataclass(frozen=True, slots=True)
class Shape:
    """What decides a stored table: its columns, its key, and whether the key is the row's number.

    A key of which a column may be NULL is unique by an index over expressions, in which NULL equals NULL.
    """

    columns: tuple[Column, ...]
    key: tuple[str, ...]
    is_rowid_key: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @property
    def key_columns(self) -> tuple[Column, ...]:
        by_name = {column.name.lower(): column for column in self.columns}
        return tuple(by_name[name.lower()] for name in self.key)

    @property
    def has_null_safe_key(self) -> bool:
        return not all(column.not_null for column in self.key_columns)

    def same_key(self, left: str, right: str) -> str:
        """A condition that two rows have the same key."""
        return " AND ".join(
            f"{left}.{quoted(c.name)} {'=' if c.not_null else 'IS'} {right}.{quoted(c.name)}" for c in self.key_columns
        )

    def same_row(self, left: str, right: str) -> str:
        """A condition that two rows of the same key hold the same values, of the same types and spelling."""
        conditions = ["1"]
        for column in self.columns:
            one, other = f"{left}.{quoted(column.name)}", f"{right}.{quoted(column.name)}"
            exact = "" if column.collation.upper() == "BINARY" else " COLLATE BINARY"
            if column.name not in self.key or exact or affinity(column.declared_type) == "BLOB":
                conditions.append(f"{one} IS {other}{exact}")
            if affinity(column.declared_type) == "BLOB":
                conditions.append(f"typeof({one}) = typeof({other})")
        return " AND ".join(conditions)


def mirror_shape(relation: Relation) -> Shape:
    """How the rows of a mirror are stored: a row without a whole key is refused, so its key may be the primary key."""
    columns = tuple(Column(c.name, c.declared_type, c.collation, c.not_null or c.name in relation.key) for c in relation.columns)
    return Shape(columns, relation.key, relation.is_rowid_key)


def column_sql(column: Column) -> str:
    """One column of a CREATE TABLE, without constraints."""
    declared = f" {column.declared_type}" if column.declared_type else ""
    collation = "" if column.collation.upper() == "BINARY" else f" COLLATE {column.collation}"
    return f"{quoted(column.name)}{declared}{collation}"


def create_stored(table: str, shape: Shape) -> list[str]:
    """CREATE statements for a mirror's or a view's table."""
    return [_create(f"CREATE TABLE {quoted(table)}", shape, ""), *_unique_index("", table, f"{table}__key", shape)]


def create_delta(table: str, shape: Shape) -> list[str]:
    """CREATE statements for the temporary table of a relation's net changes: current rows, and keys that are gone."""
    create = _create(f"CREATE TEMP TABLE {quoted(table)}", shape, "syncline_present INTEGER NOT NULL, ")
    return [create, *_unique_index("temp.", table, f"{table}__key", shape)]


def create_keys(table: str, partition: Sequence[Column]) -> list[str]:
    """CREATE statements for the temporary table of a view's affected partition keys, each once, NULL being a key too."""
    if not partition:
        return [f"CREATE TEMP TABLE {quoted(table)} (p1 INTEGER PRIMARY KEY)"]
    shape = Shape(tuple(partition), tuple(column.name for column in partition))
    return [_create(f"CREATE TEMP TABLE {quoted(table)}", shape, ""), *_unique_index("temp.", table, f"{table}__key", shape)]


def create_index(name: str, table: str, expressions: Sequence[str]) -> str:
    """CREATE INDEX over columns, or over expressions written in parentheses."""
    terms = ", ".join(term if term.startswith("(") else quoted(term) for term in expressions)
    return f"CREATE INDEX {quoted(name)} ON {quoted(table)} ({terms})"


def _create(head: str, shape: Shape, first: str) -> str:
    if shape.is_rowid_key:
        key = shape.key[0].lower()
        columns = ", ".join(
            f"{quoted(c.name)} INTEGER PRIMARY KEY" if c.name.lower() == key else column_sql(c) for c in shape.columns
        )
        return f"{head} ({first}{columns})"
    columns = ", ".join(column_sql(column) for column in shape.columns)
    if shape.has_null_safe_key:
        return f"{head} ({first}{columns})"
    return f"{head} ({first}{columns}, PRIMARY KEY ({listed(shape.key)})) WITHOUT ROWID"


def _unique_index(schema: str, table: str, name: str, shape: Shape) -> list[str]:
    if not shape.has_null_safe_key or shape.is_rowid_key:
        return []
    terms: list[str] = []
    for column in shape.key_columns:
        terms.append(quoted(column.name))
        if not column.not_null:
            terms[-1:] = [f"ifnull({quoted(column.name)}, 0) COLLATE {column.collation}", f"{quoted(column.name)} IS NULL"]
    plain = listed(shape.key)
    unique = f"CREATE UNIQUE INDEX {schema}{quoted(name)} ON {quoted(table)} ({', '.join(terms)})"
    return [unique, f"CREATE INDEX {schema}{quoted(name + '_lookup')} ON {quoted(table)} ({plain})"]
