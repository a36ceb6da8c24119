"""What a query may read: the names, columns and keys of mirrors and views, as the read store holds them.

Pure values. A source is known by its id, which is also the logical name of its table: `service__table` for a mirror,
the view's own name for a view.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

from syncline.messages import Column, Relation

Affinity = str
Classes = frozenset[str]
"""What the values of a column or expression may be, NULL aside: "int", "real", "numeric" (whole numbers are stored as
integers), "text", "blob", or "any" when nothing is known."""

_CLASSES = {
    "INTEGER": frozenset({"int"}),
    "REAL": frozenset({"real"}),
    "NUMERIC": frozenset({"numeric"}),
    "TEXT": frozenset({"text", "blob"}),
    "BLOB": frozenset({"any"}),
}


@dataclass(frozen=True, slots=True)
class Source:
    """A table of the read store that a query reads. `keys[0]` is its primary key; all keys are unique.

    `is_rowid_key`: the one key column is a 64-bit integer, so the store may use it as the row's number. `values` gives the
    classes of columns where more is known than their types say (a view's expressions), as pairs of name and classes.
    """

    id: str
    columns: tuple[Column, ...]
    keys: tuple[tuple[str, ...], ...]
    is_rowid_key: bool = False
    is_view: bool = False
    values: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def key(self) -> tuple[str, ...]:
        return self.keys[0]

    def column(self, name: str) -> Column | None:
        lowered = name.lower()
        return next((column for column in self.columns if column.name.lower() == lowered), None)

    def classes(self, name: str) -> Classes:
        """What values the column may hold."""
        known = next((classes for column, classes in self.values if column.lower() == name.lower()), None)
        column = self.column(name)
        assert column is not None, name
        return frozenset(known) if known is not None else classes_of(column.declared_type)


@dataclass(frozen=True, slots=True)
class Catalog:
    """The sources that a view may read, by the name written in SQL: `service.table`, or a view's name. `dialect` is the read
    store's kind of database, in whose SQL views are written."""

    sources: Mapping[str, Source] = field(default_factory=dict)
    dialect: str = "sqlite"

    def find(self, name: str) -> Source | None:
        return self.sources.get(name.lower())

    def with_source(self, name: str, source: Source) -> "Catalog":
        return replace(self, sources={**self.sources, name.lower(): source})


def mirror_id(service: str, table: str) -> str:
    """The name of the mirror of `service.table` in the read store."""
    return f"{service}__{table}".lower()


def mirror_source(relation: Relation) -> Source:
    """The source that a relation becomes in the read store. Unique columns count as a key only if none may be NULL."""
    columns = tuple(Column(c.name, c.declared_type, c.collation, c.not_null or c.name in relation.key) for c in relation.columns)
    may_be_null = {column.name for column in columns if not column.not_null}
    keys = (relation.key, *(unique for unique in relation.unique if not may_be_null & set(unique)))
    return Source(mirror_id(relation.service, relation.table), columns, keys, relation.is_rowid_key)


def catalog_of(relations: Iterable[Relation], dialect: str = "sqlite") -> Catalog:
    """All relations under the names that views use."""
    return Catalog({relation.name.lower(): mirror_source(relation) for relation in relations}, dialect)


@lru_cache(maxsize=1024)
def affinity(declared_type: str) -> Affinity:
    """SQLite's column affinity, by the five rules of https://sqlite.org/datatype3.html#determination_of_column_affinity."""
    upper = declared_type.upper()
    if "INT" in upper:
        return "INTEGER"
    if any(word in upper for word in ("CHAR", "CLOB", "TEXT")):
        return "TEXT"
    if not upper or "BLOB" in upper:
        return "BLOB"
    if any(word in upper for word in ("REAL", "FLOA", "DOUB")):
        return "REAL"
    return "NUMERIC"


def classes_of(declared_type: str) -> Classes:
    """What values a column of this type may hold, as far as they are of the type: an INTEGER column is taken to hold integers."""
    return _CLASSES[affinity(declared_type)]
