"""What the engine of a read store works on: nodes, which are stored tables, and the machine that runs their statements."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from syncline.messages import Key, Row
from syncline.read.maintain.plan import ViewPlan


class DataFault(Exception):
    """A statement failed for the data that it read; what it wrote is undone."""


class Outgrown(Exception):
    """A value is too long for an index of a table, or of a list of affected keys; its cause is the driver's error."""

    def __init__(self, table: str) -> None:
        self.table = table
        super().__init__(table)


@dataclass(frozen=True, slots=True)
class WalkStep:
    """Adds the keys of view node `view` that a change of another node affects: statements for the old and the new state."""

    view: str
    before: str | None
    after: str


@dataclass(slots=True)
class Node:
    """One stored table, and which views its changes reach."""

    table: str
    walks: list[WalkStep] = field(default_factory=list)


@dataclass(slots=True)
class ViewNode(Node):
    """A node whose delta is computed: the query for the affected keys, compared with what is stored for them."""

    plan: ViewPlan = field(kw_only=True)


@dataclass(slots=True)
class Delta:
    """How many rows a node's delta table holds, or more: current rows, and keys that are gone."""

    present: int = 0
    gone: int = 0


class Machine(Protocol):
    """What a store does with a node's tables: the stored one, its delta and, of a view, its affected keys. All within the
    transaction that applies a batch."""

    def begin(self) -> None:
        """Rows are staged; what is done from here on may have to be done again."""
        ...

    def finish(self) -> None:
        """Returns when all that was asked for since `begin` is done. Raises Outgrown."""
        ...

    def make_room(self, failure: Outgrown) -> None:
        """Undoes what was done since `begin`, and has indexes of the table take values of any length. Raises the failure's cause
        where they do already."""
        ...

    def execute(self, statement: str) -> int:
        """Runs the statement of one walk; returns how many keys were new. Raises Outgrown."""
        ...

    def stage(self, node: Node, rows: Sequence[Row], deleted: Sequence[Key]) -> Delta:
        """Puts rows and keys that are gone into a mirror's delta, in the place of what it had for these keys."""
        ...

    def net(self, node: Node, delta: Delta) -> Delta:
        """Takes out of a mirror's delta what changes nothing."""
        ...

    def compute(self, node: ViewNode) -> Delta:
        """Forms a view's delta from its affected keys. Raises DataFault, with the delta empty, where it cannot be."""
        ...

    def recompute(self, node: ViewNode) -> int:
        """The first half of that: what the query gives for the affected keys is added to the delta, all of it or nothing.
        Raises DataFault."""
        ...

    def compare(self, node: ViewNode, present: int) -> Delta:
        """The second half: what is stored for the affected keys and no longer there, less what is stored as it is."""
        ...

    def fill(self, node: ViewNode) -> int:
        """Writes what the query gives for the affected keys to the table itself. Raises DataFault, with nothing written."""
        ...

    def write(self, node: Node, delta: Delta) -> Iterable[str]:
        """Runs the node's walks over the old state, writes the delta to the stored table, and to the change feed of a view that
        has one, runs the walks over the new state, and empties the delta. Returns the views for which a walk found keys. Raises
        Outgrown."""
        ...

    def clear(self, node: Node) -> None:
        """Empties the delta."""
        ...

    def add_keys(self, node: ViewNode, keys: Iterable[Sequence[object]]) -> None:
        """Makes keys affected that are not; any one key for a view of one piece. Raises Outgrown."""
        ...

    def keys(self, node: ViewNode) -> list[Key]: ...

    def has_key(self, node: ViewNode, key: Key) -> bool:
        """Whether a key is affected."""
        ...

    def clear_keys(self, node: ViewNode) -> None: ...

    def leave(self, node: ViewNode, columns: Sequence[str] | None) -> None:
        """Puts all rows of the affected pieces into the delta, as keys that are gone. `columns` give the view's key in terms of
        its affected keys, where they do: then rows that are not there are put in as well."""
        ...

    def pieces(self, node: ViewNode) -> list[Key]:
        """The affected keys that the view has rows of, as these spell them."""
        ...
