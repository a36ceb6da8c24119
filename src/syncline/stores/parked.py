"""Keeps one poisonous row from stopping the rest: pieces of a view whose rows cannot be computed are parked, with the error.

A view's query may fail for the data of one partition key (a sum beyond 64 bits, malformed JSON). Then the keys are halved until
the failing ones are known; those keep the rows they had, all others are computed. A parked key whose data changes is tried again,
and leaves the list when it succeeds. Must run inside the transaction that applies the batch.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from syncline.messages import Key
from syncline.stores.machine import DataFault, Machine, ViewNode
from syncline.stores.own_tables import Run
from syncline.stores.protocols import Parked, dump_key, load_key


@dataclass(frozen=True, slots=True)
class ParkedKey:
    """A partition key of a stored view that could not be computed, and since when (seconds since 1970)."""

    view: str
    key: str
    error: str
    since: float


def parked_keys(run: Run) -> list[ParkedKey]:
    """Everything that is parked in a read store."""
    return [ParkedKey(*row) for row in run("select_parked").fetchall()]


def as_shown(keys: Iterable[ParkedKey]) -> list[Parked]:
    return [Parked(each.view, load_key(each.key) or (), each.error, each.since) for each in keys]


class Parking:
    """The parked keys of one read store."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._found: set[str] | None = None

    def doubt(self) -> None:
        """Something was undone: what is stored is read again when it is needed."""
        self._found = None

    def recover(self, machine: Machine, node: ViewNode, attempt: Callable[[ViewNode], int]) -> int:
        """Attempts the view's affected keys in parts. Keys that fail are parked, and no longer affected; returns the rows
        written for the others. What is not the fault of the data is raised by `attempt`."""
        good: list[Key] = []
        count, parts = 0, [machine.keys(node)]
        while parts:
            part = parts.pop()
            self._set_keys(machine, node, part)
            try:
                count += attempt(node)
            except DataFault as failure:
                if len(part) == 1:
                    self._park(node, part[0], str(failure))
                else:
                    middle = len(part) // 2
                    parts += [part[middle:], part[:middle]]
            else:
                good += part
        self._set_keys(machine, node, good)
        return count

    def unpark(self, machine: Machine, node: ViewNode) -> None:
        """The affected keys of a view were computed: those of them that were parked no longer are."""
        if node.table not in self._views:
            return
        parked = self._run("select_parked_of", view=node.table).fetchall()
        done = [key for (key,) in parked if machine.has_key(node, load_key(key) or (1,))]
        for key in done:
            self._run("unpark", view=node.table, key=key)
        if len(done) == len(parked):
            self._views.discard(node.table)

    def rename(self, stored: str, view: str) -> None:
        """A build takes the place of the live table `view`."""
        self._run("forget_parked", view=view)
        self._run("rename_parked", stored=stored, view=view)
        self.doubt()

    def forget(self, view: str) -> None:
        if view in self._views:
            self._run("forget_parked", view=view)
            self._views.discard(view)

    @property
    def views(self) -> frozenset[str]:
        """The stored tables of views that have parked keys."""
        return frozenset(self._views)

    @property
    def _views(self) -> set[str]:
        if self._found is None:
            self._found = {key.view for key in parked_keys(self._run)}
        return self._found

    def _set_keys(self, machine: Machine, node: ViewNode, keys: list[Key]) -> None:
        machine.clear_keys(node)
        machine.add_keys(node, keys)

    def _park(self, node: ViewNode, key: Key, error: str) -> None:
        """A view that is one piece has no key."""
        self._views.add(node.table)
        stored = dump_key(key if node.plan.partition else ()) or "[]"
        self._run("park", view=node.table, key=stored, error=error, since=time.time())
