"""Keeps one poisonous row from stopping the rest: pieces of a view whose rows cannot be computed are parked, with the error.

A view's query may fail for the data of one partition key (a sum beyond 64 bits, malformed JSON). Then the keys are halved until
the failing ones are known; those keep the rows they had, all others are computed. A parked key whose data changes is tried again,
and leaves the list when it succeeds. Must run inside the transaction that applies the batch.
"""

import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass

from syncline.stores.protocols import dump_key, load_key
from syncline.stores.sqlite.program import ViewNode
from syncline.stores.statements import load_statements

_SQL = load_statements("syncline.stores.sqlite", "parked.sql")
_OF_THE_DATA = ("SQLITE_ERROR", "SQLITE_MISMATCH", "SQLITE_TOOBIG", "SQLITE_CONSTRAINT")


@dataclass(frozen=True, slots=True)
class ParkedKey:
    """A partition key of a stored view that could not be computed, and since when (seconds since 1970)."""

    view: str
    key: str
    error: str
    since: float


def parked_keys(connection: sqlite3.Connection) -> list[ParkedKey]:
    """Everything that is parked in a read store."""
    return [ParkedKey(*row) for row in connection.execute(_SQL["select_parked"])]


class Parking:
    """The parked keys of one read store."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._views = {key.view for key in parked_keys(connection)}

    def compute(self, node: ViewNode, statement: str) -> None:
        """Runs a statement that computes the view's rows for its affected keys. Keys for which it fails are parked, and taken
        out of the affected keys; what it wrote for them is undone. Raises what is not the fault of the data."""
        try:
            self._attempt(statement)
        except sqlite3.Error as error:
            self.recover(node, statement, error)
        self.unpark(node)

    def recover(self, node: ViewNode, statement: str, error: sqlite3.Error) -> int:
        """As `compute`, after the statement failed with this error and what it wrote was undone; returns the rows written."""
        if not self._is_of_the_data(error, statement):
            raise error
        keys = self._connection.execute(node.select_keys).fetchall()
        good: list[tuple[object, ...]] = []
        count, parts = 0, [keys]
        while parts:
            part = parts.pop()
            self._set_keys(node, part)
            try:
                count += self._attempt(statement)
            except sqlite3.Error as failure:
                if not self._is_of_the_data(failure, statement):
                    raise
                if len(part) == 1:
                    self._park(node, part[0], str(failure))
                else:
                    middle = len(part) // 2
                    parts += [part[middle:], part[:middle]]
            else:
                good += part
        self._set_keys(node, good)
        return count

    def unpark(self, node: ViewNode) -> None:
        """The affected keys of a view were computed: those of them that were parked no longer are."""
        if node.table not in self._views:
            return
        parked = self._run("select_parked_of", view=node.table).fetchall()
        done = [key for (key,) in parked if self._connection.execute(node.has_key, load_key(key) or (1,)).fetchone()]
        for key in done:
            self._run("unpark", view=node.table, key=key)
        if len(done) == len(parked):
            self._views.discard(node.table)

    def rename(self, stored: str, view: str) -> None:
        """A build takes the place of the live table `view`."""
        self._run("forget_parked", view=view)
        self._run("rename_parked", stored=stored, view=view)
        self._views = {key.view for key in parked_keys(self._connection)}

    def forget(self, view: str) -> None:
        if view in self._views:
            self._run("forget_parked", view=view)
            self._views.discard(view)

    @property
    def views(self) -> frozenset[str]:
        """The stored tables of views that have parked keys."""
        return frozenset(self._views)

    def _attempt(self, statement: str) -> int:
        """All of a statement or nothing: SQLite itself undoes a failed INSERT only if it expects one to fail."""
        self._connection.execute("SAVEPOINT syncline_attempt")
        try:
            return self._connection.execute(statement).rowcount
        except sqlite3.Error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK TO syncline_attempt")
            raise
        finally:
            if self._connection.in_transaction:
                self._connection.execute("RELEASE syncline_attempt")

    def _is_of_the_data(self, error: sqlite3.Error, statement: str) -> bool:
        if not (getattr(error, "sqlite_errorname", "") or "").startswith(_OF_THE_DATA):
            return False
        try:
            self._connection.execute(f"EXPLAIN {statement}")
        except sqlite3.Error:
            return False  # it cannot even be prepared: the program's fault, not that of a row
        return True

    def _set_keys(self, node: ViewNode, keys: Sequence[tuple[object, ...]]) -> None:
        self._connection.execute(node.clear_keys)
        self._connection.executemany(node.add_key, keys)

    def _park(self, node: ViewNode, key: tuple[object, ...], error: str) -> None:
        self._views.add(node.table)
        self._run("park", view=node.table, key=_as_json(node, key), error=error, since=time.time())

    def _run(self, statement: str, /, **values: object) -> sqlite3.Cursor:
        return self._connection.execute(_SQL[statement], values)


def _as_json(node: ViewNode, key: tuple[object, ...]) -> str:
    """The key's values; none for a view that is one piece."""
    return dump_key(key if node.plan.partition else ()) or "[]"  # type: ignore[arg-type]
