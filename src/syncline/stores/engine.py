"""Applies batches: one transaction that brings mirrors and every view that depends on them to the next vector.

Theory of operation. A node is a stored table. Nodes are kept in an order in which every view comes after what it reads. For each
node that has a delta, in that order: (1) each view that reads it collects the partition keys its changed rows reach in the
*old* state; (2) the delta is written; (3) the views collect again in the *new* state. When the turn of a view comes, its query is
run for the collected keys only, the result is compared with what is stored for them, and the difference is the view's own delta.
Tables switch one after the other, so a row whose keys change through two tables at once is found through the state in between.
Everything happens in SQL on temporary tables, which a store's `Machine` runs; the only loop is over nodes. A value that is too
long for an index has all of this done again, from the staged rows on, once the machine has made room for it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from syncline.messages import Chunk
from syncline.read.maintain.schema import mirror_id
from syncline.stores.machine import DataFault, Delta, Machine, Node, Outgrown, ViewNode
from syncline.stores.parked import Parking

T = TypeVar("T")


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
        self.with_room(lambda: self._switch(staged))

    def _switch(self, staged: Mapping[str, Delta]) -> None:
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
        affected = list(keys) if node.plan.partition else [(1,)]
        self.with_room(lambda: self._recompute(node, affected))

    def _recompute(self, node: ViewNode, keys: Sequence[Sequence[object]]) -> None:
        self.machine.add_keys(node, keys)
        touched = {node.table}
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

    def with_room(self, work: Callable[[], T]) -> T:
        """Does it again whenever a value was too long for an index, until all have room."""
        self.machine.begin()
        while True:
            try:
                done = work()
                self.machine.finish()
            except Outgrown as failure:
                self.machine.make_room(failure)
                self.parking.doubt()
            else:
                return done

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
        if delta.present or delta.gone:
            touched.update(self.machine.write(node, delta))
