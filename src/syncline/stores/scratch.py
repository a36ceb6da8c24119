"""A database of its own that rows are made in beside those that are held, and that is gone when it is closed.

It is SQLite's, wherever the log and the read store are: in this process, nothing is sent to make it, and it may outgrow memory.
"""

from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from typing import Protocol, cast

from syncline.messages import Key, Relation, Row


class ScratchTable(Protocol):
    """The rows of one relation, and keys that were chosen. Raises Unavailable where there is no room for them."""

    def write(self, rows: Sequence[Row], gone: Sequence[Key]) -> None:
        """Puts rows in the place of those with their keys, and removes others."""
        ...

    def count(self) -> int: ...

    def rows_of(self, keys: Sequence[Key]) -> list[Row]:
        """The rows of these keys that there are."""
        ...

    def rows_after(self, after: Key | None, limit: int) -> list[Row]:
        """At most `limit` rows with `key > after`, in key order."""
        ...

    def choose(self, keys: Iterable[Key]) -> None:
        """Remembers keys."""
        ...

    def chosen(self) -> Iterator[tuple[list[Row], list[Key]]]:
        """The chosen keys in order, some at a time: the rows of those that have one, and the others."""
        ...


class Scratch(Protocol):
    """One thread owns it."""

    def table(self, relation: Relation) -> ScratchTable:
        """Makes the table of a relation."""
        ...

    def close(self) -> None: ...


def open_scratch() -> Scratch:
    """An empty one."""
    return cast(Scratch, import_module("syncline.stores.sqlite.scratch").SQLiteScratch())
