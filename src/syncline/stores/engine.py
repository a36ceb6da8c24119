"""Applies batches: one transaction that brings mirrors and every view that depends on them to the next vector.

Theory of operation. A node is a stored table. Nodes are kept in an order in which every view comes after what it reads. For each
node that has a delta, in that order: (1) each view that reads it collects the partition keys its changed rows reach in the
*old* state; (2) the delta is written; (3) the views collect again in the *new* state. When the turn of a view comes, its query is
run for the collected keys only, the result is compared with what is stored for them, and the difference is the view's own delta.
Tables switch one after the other, so a row whose keys change through two tables at once is found through the state in between.
Everything happens in SQL on temporary tables, which a store's `Machine` runs; the only loop is over nodes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from syncline.messages import Chunk, Key, Row
from syncline.read.maintain.plan import ViewPlan
from syncline.read.maintain.schema import mirror_id
from syncline.stores.parked import DataFault, Parking


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

    def execute(self, statement: str) -> int:
        """Runs a statement of a walk; returns how many keys were new."""
        ...

    def stage(self, node: Node, rows: Sequence[Row], deleted: Sequence[Key]) -> Delta:
        """Puts rows and keys that are gone into a mirror's delta, in the place of what it had for these keys."""
        ...

    def net(self, node: Node, delta: Delta) -> Delta:
        """Takes out of a mirror's delta what changes nothing."""
        ...

    def compute(self, node: ViewNode) -> Delta:
        """Forms a view's delta from its affected keys. Raises DataFault, with the delta empty, where the data does not allow it."""
        ...

    def recompute(self, node: ViewNode) -> int:
        """The first half of that: what the query gives for the affected keys is added to the delta, all of it or nothing.
        Raises DataFault."""
        ...

    def compare(self, node: ViewNode, present: int) -> Delta:
        """The second half: what is stored for the affected keys and no longer there, less what is stored as it is."""
        ...

    def fill(self, node: ViewNode) -> int:
        """Writes what the query gives for the affected keys to the stored table itself. Raises DataFault, with nothing written."""
        ...

    def write(self, node: Node, delta: Delta) -> None:
        """Writes the delta to the stored table, and to the change feed of a view that has one."""
        ...

    def clear(self, node: Node) -> None:
        """Empties the delta."""
        ...

    def add_keys(self, node: ViewNode, keys: Iterable[Sequence[object]]) -> None:
        """Makes keys affected that are not; any one key for a view of one piece."""
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


class Engine:
    """The nodes of one read store, over the machine that writes to it."""

    def __init__(self, machine: Machine, parking: Parking, nodes: Iterable[Node]) -> None:
        """`nodes` are in order, each after those that it reads."""
        self.machine = machine
        self.parking = parking
        self.nodes = {node.table: node for node in nodes}

    def stage(self, chunks: Iterable[Chunk]) -> dict[str, Delta]:
        """Puts a batch's rows into the delta tables; must run inside the transaction that applies them."""
        staged: dict[str, Delta] = {}
        for chunk in chunks:
            node = self.nodes.get(mirror_id(chunk.relation.service, chunk.relation.table))
            if node is None:
                continue
            delta = staged.setdefault(node.table, Delta())
            more = self.machine.stage(node, chunk.rows, chunk.deleted)
            delta.present += more.present
            delta.gone += more.gone
        return staged

    def switch(self, staged: Mapping[str, Delta]) -> None:
        """Applies what is staged, and everything that follows from it, in the order of the nodes."""
        touched: set[str] = set()
        for node in self.nodes.values():
            if isinstance(node, ViewNode):
                if node.table in touched:
                    self._write(node, self._compute(node), touched)
            elif node.table in staged:
                self._write(node, self.machine.net(node, staged[node.table]), touched)

    def recompute(self, table: str, keys: Iterable[Sequence[object]]) -> None:
        """Recomputes a view for these partition keys (any one key for a view of one piece), and what follows from it."""
        node = self.view(table)
        self.machine.add_keys(node, keys if node.plan.partition else [(1,)])
        touched = {table}
        for each in self.nodes.values():
            if isinstance(each, ViewNode) and each.table in touched:
                self._write(each, self._compute(each), touched)

    def fill(self, table: str) -> None:
        """Computes the rows of a table that is being built for its affected keys, which are none afterwards."""
        node = self.view(table)
        try:
            self.machine.fill(node)
        except DataFault:
            self.parking.recover(self.machine, node, self.machine.fill)
        self.parking.unpark(self.machine, node)
        self.machine.clear_keys(node)

    def view(self, table: str) -> ViewNode:
        node = self.nodes[table]
        assert isinstance(node, ViewNode)
        return node

    def _compute(self, node: ViewNode) -> Delta:
        """Forms a view's delta from its affected keys; those whose rows cannot be computed are parked."""
        machine = self.machine
        try:
            delta = machine.compute(node)
        except DataFault:
            delta = machine.compare(node, self.parking.recover(machine, node, machine.recompute))
        self.parking.unpark(machine, node)
        machine.clear_keys(node)
        return delta

    def _write(self, node: Node, delta: Delta, touched: set[str]) -> None:
        """Writes a node's delta to its table, and finds the keys of the views that it affects."""
        if not delta.present and not delta.gone:
            return
        execute = self.machine.execute
        for walk in node.walks:
            if walk.before is not None and execute(walk.before):
                touched.add(walk.view)
        self.machine.write(node, delta)
        for walk in node.walks:
            if execute(walk.after):
                touched.add(walk.view)
        self.machine.clear(node)
