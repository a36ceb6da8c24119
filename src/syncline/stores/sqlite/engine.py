"""Applies batches: one transaction that brings mirrors and every view that depends on them to the next vector.

Theory of operation. A node is a stored table. Nodes are kept in an order in which every view comes after what it reads. For each
node that has a delta, in that order: (1) each view that reads it collects the partition keys its changed rows reach in the
*old* state; (2) the delta is written; (3) the views collect again in the *new* state. When the turn of a view comes, its query is
run for the collected keys only, the result is compared with what is stored for them, and the difference is the view's own delta.
Tables switch one after the other, so a row whose keys change through two tables at once is found through the state in between.
Everything happens in SQL on temporary tables; the only loop is over nodes.
"""

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from syncline.messages import Chunk
from syncline.read.maintain.schema import mirror_id
from syncline.stores.sqlite.parked import Parking
from syncline.stores.sqlite.program import Node, ViewNode
from syncline.stores.sqlite.tables import quoted


@dataclass(slots=True)
class Delta:
    """How many rows a node's delta table holds, or more: current rows, and keys that are gone."""

    present: int = 0
    gone: int = 0


class Engine:
    """The nodes of one read store, over the one connection that writes to it."""

    def __init__(self, connection: sqlite3.Connection, nodes: Iterable[Node]) -> None:
        self._connection = connection
        self.parking = Parking(connection)
        self.nodes: dict[str, Node] = {}
        for node in nodes:
            self.add(node)

    def add(self, node: Node) -> None:
        """Takes a node in, after those that it reads."""
        self.nodes[node.table] = node
        for statement in node.temporary:
            self._connection.execute(statement)

    def close(self) -> None:
        """Drops the temporary tables, so that another engine may be made over the same connection."""
        names = self._connection.execute("SELECT name FROM temp.sqlite_master WHERE type = 'table'").fetchall()
        for (name,) in names:
            if name.startswith(("syncline_delta_", "syncline_keys_")):
                self._connection.execute(f"DROP TABLE temp.{quoted(name)}")

    def stage(self, chunks: Iterable[Chunk]) -> dict[str, Delta]:
        """Puts a batch's rows into the delta tables; must run inside the transaction that applies them."""
        staged: dict[str, Delta] = {}
        for chunk in chunks:
            node = self.nodes.get(mirror_id(chunk.relation.service, chunk.relation.table))
            if node is None:
                continue
            delta = staged.setdefault(node.table, Delta())
            if chunk.rows:
                delta.present += self._connection.executemany(node.stage, chunk.rows).rowcount
            if chunk.deleted:
                delta.gone += self._connection.executemany(node.stage_gone, chunk.deleted).rowcount
        return staged

    def switch(self, staged: Mapping[str, Delta]) -> None:
        """Applies what is staged, and everything that follows from it, in the order of the nodes."""
        touched: set[str] = set()
        for node in self.nodes.values():
            if isinstance(node, ViewNode):
                if node.table in touched:
                    self._write(node, self._compute(node), touched)
            elif node.table in staged:
                self._write(node, self._net(node, staged[node.table]), touched)

    def recompute(self, table: str, keys: Iterable[tuple[object, ...]]) -> None:
        """Recomputes a view for these partition keys (any one key for a view of one piece), and what follows from it."""
        node = self.nodes[table]
        assert isinstance(node, ViewNode)
        self._connection.executemany(node.add_key, keys if node.plan.partition else [(1,)])
        touched = {table}
        for node in self.nodes.values():
            if isinstance(node, ViewNode) and node.table in touched:
                self._write(node, self._compute(node), touched)

    def _net(self, node: Node, delta: Delta) -> Delta:
        """Takes out of a mirror's delta what changes nothing."""
        run = self._connection.execute
        equal = run(node.drop_equal).rowcount if delta.present else 0
        absent = run(node.drop_absent).rowcount if delta.gone else 0
        return Delta(delta.present - equal, delta.gone - absent)

    def _compute(self, node: ViewNode) -> Delta:
        """Forms a view's delta from its affected keys."""
        run = self._connection.execute
        try:
            present = run(node.recompute).rowcount
        except sqlite3.Error as error:
            if not self._connection.in_transaction:
                raise
            run(node.clear)
            present = self.parking.recover(node, node.recompute, error)
        gone = run(node.find_gone).rowcount
        equal = run(node.drop_equal).rowcount if present else 0
        self.parking.unpark(node)
        run(node.clear_keys)
        return Delta(present - equal, gone)

    def _write(self, node: Node, delta: Delta, touched: set[str]) -> None:
        """Writes a node's delta to its table, and finds the keys of the views that it affects."""
        run = self._connection.execute
        if not delta.present and not delta.gone:
            return
        for walk in node.walks:
            if walk.before is not None and run(walk.before).rowcount:
                touched.add(walk.view)
        if delta.gone:
            run(node.remove)
        if delta.present:
            for statement in node.write:
                run(statement)
        for walk in node.walks:
            if run(walk.after).rowcount:
                touched.add(walk.view)
        if isinstance(node, ViewNode) and node.record is not None:
            run(node.record)
        run(node.clear)
