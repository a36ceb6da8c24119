"""Views, queries, and services that are not written with Syncline, as an application's Python code defines them. Values only."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from syncline.places import Capture, Placed, Store
from syncline.read import named_query
from syncline.read import view as view_files


@dataclass(frozen=True, slots=True)
class View:
    """A named query over relations that is kept exact: `query` is one SELECT over relations `service.table` and other views.

    `key` names the columns that identify a row, `()` for a view of exactly one row. `indexes` are further columns that reads ask
    for. `recompute_whole` accepts that the whole view is computed anew when something that it reads changes.
    """

    name: str
    key: str | tuple[str, ...]
    query: str
    indexes: tuple[tuple[str, ...], ...] = ()
    recompute_whole: bool = False

    @classmethod
    def from_file(cls, path: str | Path) -> Self:
        """The view that a file defines, named after it. Raises InvalidDefinition with every fault, or OSError."""
        file = Path(path)
        found = view_files.parse_view(file.stem, file.read_text("utf-8"), str(path))
        description = [f"-- {line}" for line in found.description.splitlines()]
        return cls(found.name, found.key, "\n".join([*description, found.sql]), found.indexes, found.whole)

    def on(self, store: Store) -> Placed:
        """This view in the read store `store`, together with all other views placed there."""
        return Placed(self, store)

    def parsed(self) -> view_files.View:
        """The view as its file would define it. Raises InvalidDefinition with every fault."""
        key = (self.key,) if isinstance(self.key, str) else self.key
        header = [f"-- key: {_listed(key)}", *(f"-- index: {_listed(columns)}" for columns in self.indexes)]
        header += ["-- recompute: whole"] if self.recompute_whole else []
        parsed = view_files.parse_view(self.name, "\n".join([*header, self.query]), f"view {self.name}")
        return replace(parsed, first_line=1)


@dataclass(frozen=True, slots=True)
class NamedQuery:
    """A query that is asked by its name, over HTTP or by `App.query`: `text` is what its file would hold.

    That is one SELECT over views, below comments that declare its parameters: `-- param: since date = '2026-01-01'`.
    """

    name: str
    text: str

    def on(self, store: Store) -> Placed:
        """This query of the views in the read store `store`."""
        return Placed(self, store)

    def parsed(self) -> named_query.NamedQuery:
        """The query as its file would define it. Raises InvalidDefinition with every fault."""
        return named_query.parse_query(self.name, self.text, f"query {self.name}")


@dataclass(frozen=True, slots=True)
class ForeignService:
    """A service that owns a database of which some tables are followed: written by anyone, in any language.

    `tables` are those that it publishes, `("*",)` all that have a primary key.
    """

    name: str
    tables: tuple[str, ...] = ("*",)

    def on(self, store: Store, capture: Capture) -> Placed:
        """This service with its database `store`; `capture` says how changes leave it."""
        return Placed(self, store, capture)


def _listed(columns: tuple[str, ...]) -> str:
    return ", ".join('"' + column.replace('"', '""') + '"' for column in columns)
