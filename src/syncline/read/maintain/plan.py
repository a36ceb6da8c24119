"""A view's plan: the SQL that keeps it exact, generated once, when the view is defined.

Pure values. All SQL holds placeholders `"syncline:ID"` for tables; `render` fills them in. `#keys` stands for the view's table
of affected partition keys, `#delta` for the delta of the relation that changed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from syncline.messages import Column
from syncline.read.maintain.parse import placeholder
from syncline.read.maintain.schema import Source

KEYS = placeholder("#keys")
DELTA = placeholder("#delta")


@dataclass(frozen=True, slots=True)
class Walk:
    """How a change of `source` finds the partition keys it affects. `before` runs on the old state, `after` on the new."""

    source: str
    before: str | None
    after: str
    text: str


@dataclass(frozen=True, slots=True)
class Index:
    """An index that a plan needs on one of the tables it reads; `expressions` are column names or SQL over them."""

    source: str
    expressions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ViewPlan:
    """How one table of view rows is kept equal to its query.

    `columns` are those stored: the visible ones, then hidden ones that hold parts of the partition key. `partition` names the
    stored columns that hold P; empty means one piece, recomputed whole. `definition` is the query as the user wrote it (the
    oracle); for a hidden view, which holds an inner SELECT of a view, the query it stands for.
    """

    name: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    visible: tuple[str, ...]
    partition: tuple[Column, ...]
    partition_columns: tuple[str, ...]
    reads: tuple[str, ...]
    columns_read: tuple[tuple[str, tuple[str, ...]], ...]
    walks: tuple[Walk, ...]
    recompute: str
    all_keys: str
    definition: str
    indexes: tuple[Index, ...]
    own_indexes: tuple[tuple[str, ...], ...]
    unique: tuple[tuple[str, ...], ...] = ()
    values: tuple[tuple[str, tuple[str, ...]], ...] = ()
    is_rowid_key: bool = False
    is_hidden: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def cost_class(self) -> str:
        """ "keys": work follows the change; "whole": every change recomputes the view."""
        return "keys" if self.partition else "whole"

    @property
    def key_is_not_null(self) -> bool:
        return all(column.not_null for column in self.columns if column.name in self.key)

    @property
    def visible_types(self) -> tuple[str, ...]:
        """The declared types of the visible columns."""
        types = {column.name: column.declared_type for column in self.columns}
        return tuple(types[name] for name in self.visible)

    def as_source(self) -> Source:
        """The view as something that other views read."""
        return Source(self.name, self.columns, (self.key, *self.unique), self.is_rowid_key, True, self.values)


def without_prefixes(indexes: Sequence[Index], keys: dict[str, tuple[str, ...]]) -> tuple[Index, ...]:
    """The indexes that neither the primary key of their table nor a longer one among them already serves."""
    wanted: list[Index] = []
    for index in sorted(set(indexes), key=lambda index: (-len(index.expressions), index.source, index.expressions)):
        served = [keys.get(index.source, ()), *(other.expressions for other in wanted if other.source == index.source)]
        if not any(_is_prefix(index.expressions, columns) for columns in served):
            wanted.append(index)
    return tuple(sorted(wanted, key=lambda index: (index.source, index.expressions)))


def _is_prefix(columns: Sequence[str], of: Sequence[str]) -> bool:
    """All columns are compared for equality, so their order among themselves does not matter."""
    return len(columns) <= len(of) and {c.lower() for c in columns} == {c.lower() for c in of[: len(columns)]}
