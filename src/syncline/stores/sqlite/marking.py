"""Finds the pieces of views that depend on rows of streams that are held back.

Theory of operation. The walks by which a batch finds the pieces that a changed row affects are run once more, from the rows of
the streams held back as they are now, through every view and the views that read it. They may find too many, never too few of the
pieces that those rows belong to. What the streams would make of the rows, nobody knows: where a walk needs more of a row than its
key, the row may come to belong to any piece of the view, and that is told instead. Uses the engine's temporary tables while no
batch does, and leaves them empty. Must run inside a transaction of the store.
"""

import sqlite3
from collections.abc import Collection, Mapping

from syncline.messages import DeadLetter, Key, Relation
from syncline.read.maintain.plan import ViewPlan
from syncline.stores.protocols import dump_key
from syncline.stores.sqlite.dead_letters import Marked
from syncline.stores.sqlite.engine import Engine
from syncline.stores.sqlite.program import Node, ViewNode, WalkStep, delta_table, in_piece, keys_table
from syncline.stores.sqlite.tables import listed, quoted


def find_marked(
    connection: sqlite3.Connection, engine: Engine, relations: Mapping[str, Relation], letters: Collection[DeadLetter]
) -> Marked:
    """The pieces of every view, live or being built, that depend on these; the empty key for views where it cannot be told.

    `relations` are the mirrors, by the names of their tables.
    """
    return _Marking(connection, engine.nodes, relations, letters).find()


class _Marking:
    def __init__(
        self,
        connection: sqlite3.Connection,
        nodes: Mapping[str, Node],
        relations: Mapping[str, Relation],
        letters: Collection[DeadLetter],
    ) -> None:
        self._run, self._stage = connection.execute, connection.executemany
        self._nodes, self._relations = nodes, relations
        self._keys: dict[tuple[str, str], set[Key]] = {}
        for letter in letters:
            for name, key in letter.keys:
                self._keys.setdefault((letter.service, name), set()).add(key)
        self._services = {letter.service for letter in letters}
        self._without_keys = {letter.service for letter in letters if not letter.keys}
        self._reached: set[str] = set()
        self._untold: set[str] = set()

    def find(self) -> Marked:
        marked: set[tuple[str, str]] = set()
        for node in self._nodes.values():
            if not isinstance(node, ViewNode):
                relation = self._relations[node.table]
                if relation.service in self._services:
                    self._leave_mirror(node, relation)
            elif node.table in self._reached or node.table in self._untold:
                pieces = self._pieces(node)
                if not node.plan.is_hidden:
                    marked |= {(node.table, piece) for piece in pieces}
                self._leave_view(node)
                self._run(node.clear_keys)
        return frozenset(marked)

    def _leave_mirror(self, node: Node, relation: Relation) -> None:
        """Stages the keys of the rows that are held back, as if they were to be deleted, and walks."""
        keys = self._keys.get((relation.service, relation.name), ())
        if not keys and relation.service not in self._without_keys:
            return
        self._stage(node.stage_gone, keys)
        self._walk(node)
        self._run(node.clear)
        self._untold |= {walk.view for walk in node.walks if self._needs_more(walk)}

    def _leave_view(self, node: ViewNode) -> None:
        if not node.walks:
            return
        plan = node.plan
        key = _key_in_partition(plan)
        if key is not None:
            into = f"INSERT OR IGNORE INTO temp.{quoted(delta_table(node.table))} (syncline_present, {listed(plan.key)})"
            where = f" WHERE typeof({listed(key)}) = 'integer'" if plan.is_rowid_key else ""
            self._run(f"{into} SELECT 0, {listed(key)} FROM temp.{quoted(keys_table(node.table))}{where}")
        else:
            self._run(node.find_gone)
        self._walk(node)
        self._run(node.clear)
        is_told = key is not None and node.table not in self._untold
        self._untold |= {walk.view for walk in node.walks if not is_told or self._needs_more(walk)}

    def _walk(self, node: Node) -> None:
        for walk in node.walks:
            if self._run(walk.before or walk.after).rowcount:
                self._reached.add(walk.view)

    def _needs_more(self, walk: WalkStep) -> bool:
        """Whether what a row will be cannot be walked from by its key alone."""
        view = self._nodes[walk.view]
        is_whole = isinstance(view, ViewNode) and not view.plan.partition
        return is_whole or walk.before not in (None, walk.after)

    def _pieces(self, node: ViewNode) -> list[str]:
        """The view's partition keys that were reached, as its rows spell them; all of a view that is one piece."""
        plan = node.plan
        if not plan.partition:
            self._run(node.add_key, (1,))
            self._untold.discard(node.table)
            return ["[]"]
        columns = ", ".join(f"v.{quoted(name)} COLLATE BINARY" for name in plan.partition_columns)
        keys = f"temp.{quoted(keys_table(node.table))}"
        rows = self._run(f"SELECT DISTINCT {columns} FROM {keys} AS k CROSS JOIN {quoted(node.table)} AS v ON {in_piece(plan)}")
        told = [dump_key(row) or "" for row in rows]
        return [*told, ""] if node.table in self._untold else told


def _key_in_partition(plan: ViewPlan) -> list[str] | None:
    """The view's key in terms of its partition key, where that determines it: then rows that are not there can be walked from."""
    by_name = {name.lower(): column.name for name, column in zip(plan.partition_columns, plan.partition, strict=True)}
    found = [by_name.get(name.lower(), "") for name in plan.key]
    return found if found and all(found) else None
