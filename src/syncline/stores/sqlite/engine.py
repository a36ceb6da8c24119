"""Applies batches: one transaction that brings mirrors and every view that depends on them to the next vector.

Theory of operation. A node is a stored table. Nodes are kept in an order in which every view comes after what it reads. For each
node that has a delta, in that order: (1) each view that reads it collects the partition keys its changed rows reach in the
*old* state; (2) the delta is written; (3) the views collect again in the *new* state. When the turn of a view comes, its query is
run for the collected keys only, the result is compared with what is stored for them, and the difference is the view's own delta.
Tables switch one after the other, so a row whose keys change through two tables at once is found through the state in between.
Everything happens in SQL on temporary tables; the only loop is over nodes.
"""

import sqlite3
from collections.abc import Iterable, Iterator

from syncline.messages import Chunk
from syncline.read.maintain.schema import mirror_id
from syncline.stores.sqlite.program import Node, ViewNode, rows_to_stage
from syncline.stores.sqlite.tables import quoted


class Engine:
    """The nodes of one read store, over the one connection that writes to it."""

    def __init__(self, connection: sqlite3.Connection, nodes: Iterable[Node]) -> None:
        self._connection = connection
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
            if name.endswith(("__delta", "__keys")):
                self._connection.execute(f"DROP TABLE temp.{quoted(name)}")

    def stage(self, chunks: Iterable[Chunk]) -> set[str]:
        """Puts a batch's rows into the delta tables; must run inside the transaction that applies them."""
        staged: set[str] = set()
        padding: dict[str, tuple[int, ...]] = {}
        for chunk in chunks:
            table = mirror_id(chunk.relation.service, chunk.relation.table)
            node = self.nodes.get(table)
            if node is None:
                continue
            staged.add(table)
            if chunk.rows:
                self._connection.executemany(node.stage, rows_to_stage(chunk.rows))
            if chunk.deleted:
                indexes = padding.setdefault(table, chunk.relation.key_indexes)
                self._connection.executemany(node.stage, _gone(chunk, indexes))
        return staged

    def switch(self, staged: set[str]) -> None:
        """Applies what is staged, and everything that follows from it, in the order of the nodes."""
        run = self._connection.execute
        touched: set[str] = set()
        for node in self.nodes.values():
            if isinstance(node, ViewNode):
                if node.table not in touched or not self._compute(node):
                    continue
            elif node.table not in staged:
                continue
            else:
                run(node.drop_equal)
                run(node.drop_absent)
            self._write(node, touched)

    def recompute(self, table: str, keys: Iterable[tuple[object, ...]]) -> None:
        """Recomputes a view for these partition keys (no keys for a view of one piece), and what follows from it."""
        node = self.nodes[table]
        assert isinstance(node, ViewNode)
        width = max(len(node.plan.partition), 1)
        columns = ", ".join(f"p{position}" for position in range(1, width + 1))
        marks = ", ".join("?" * width)
        self._connection.executemany(
            f"INSERT OR IGNORE INTO temp.{quoted(table + '__keys')} ({columns}) VALUES ({marks})", keys
        )
        touched = {table}
        for node in self.nodes.values():
            if isinstance(node, ViewNode) and node.table in touched and self._compute(node):
                self._write(node, touched)

    def _compute(self, node: ViewNode) -> bool:
        """Forms a view's delta from its affected keys; says whether there were any."""
        run = self._connection.execute
        if not run(node.has_keys).fetchone()[0]:
            return False
        run(node.recompute)
        run(node.find_gone)
        run(node.drop_equal)
        run(node.clear_keys)
        return True

    def _write(self, node: Node, touched: set[str]) -> None:
        run = self._connection.execute
        if not run(node.has_delta).fetchone()[0]:
            return
        for walk in node.walks:
            if walk.before is not None:
                run(walk.before)
        run(node.remove)
        for statement in node.write:
            run(statement)
        for walk in node.walks:
            run(walk.after)
            touched.add(walk.view)
        if isinstance(node, ViewNode) and node.record is not None:
            run(node.record)
        run(node.clear)


def _gone(chunk: Chunk, indexes: tuple[int, ...]) -> Iterator[tuple[object, ...]]:
    width = len(chunk.relation.columns)
    for key in chunk.deleted:
        row: list[object] = [None] * width
        for index, value in zip(indexes, key, strict=True):
            row[index] = value
        yield (0, *row)
