"""Finds the pieces of views that depend on rows of streams that are held back.

Theory of operation. The walks by which a batch finds the pieces that a changed row affects are run once more, from the rows of
the streams held back as they are now, through every view and the views that read it. They may find too many, never too few of the
pieces that those rows belong to. What the streams would make of the rows, nobody knows: where a walk needs more of a row than its
key, the row may come to belong to any piece of the view, and that is told instead. Uses the engine's temporary tables while no
batch does, and leaves them empty. Must run inside a transaction of the store.
"""

from collections.abc import Collection, Mapping

from syncline.messages import DeadLetter, Key, Relation
from syncline.read.maintain.plan import ViewPlan
from syncline.stores.dead_letters import Marked
from syncline.stores.engine import Engine
from syncline.stores.machine import Node, ViewNode, WalkStep
from syncline.stores.protocols import dump_key


def find_marked(engine: Engine, relations: Mapping[str, Relation], letters: Collection[DeadLetter]) -> Marked:
    """The pieces of every view, live or being built, that depend on these; the empty key for views where it cannot be told.

    `relations` are the mirrors, by the names of their tables.
    """
    return _Marking(engine, relations, letters).find()


class _Marking:
    def __init__(self, engine: Engine, relations: Mapping[str, Relation], letters: Collection[DeadLetter]) -> None:
        self._machine = engine.machine
        self._nodes, self._relations = engine.nodes, relations
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
                self._machine.clear_keys(node)
        return frozenset(marked)

    def _leave_mirror(self, node: Node, relation: Relation) -> None:
        """Stages the keys of the rows that are held back, as if they were to be deleted, and walks."""
        keys = self._keys.get((relation.service, relation.name), ())
        if not keys and relation.service not in self._without_keys:
            return
        self._machine.stage(node, (), tuple(keys))
        self._walk(node)
        self._machine.clear(node)
        self._untold |= {walk.view for walk in node.walks if self._needs_more(walk)}

    def _leave_view(self, node: ViewNode) -> None:
        if not node.walks:
            return
        key = _key_in_partition(node.plan)
        self._machine.leave(node, key)
        self._walk(node)
        self._machine.clear(node)
        is_told = key is not None and node.table not in self._untold
        self._untold |= {walk.view for walk in node.walks if not is_told or self._needs_more(walk)}

    def _walk(self, node: Node) -> None:
        for walk in node.walks:
            if self._machine.execute(walk.before or walk.after):
                self._reached.add(walk.view)

    def _needs_more(self, walk: WalkStep) -> bool:
        """Whether what a row will be cannot be walked from by its key alone."""
        view = self._nodes[walk.view]
        is_whole = isinstance(view, ViewNode) and not view.plan.partition
        return is_whole or walk.before not in (None, walk.after)

    def _pieces(self, node: ViewNode) -> list[str]:
        """The view's partition keys that were reached, as its rows spell them; all of a view that is one piece."""
        if not node.plan.partition:
            self._machine.add_keys(node, [(1,)])
            self._untold.discard(node.table)
            return ["[]"]
        told = [dump_key(piece) or "" for piece in self._machine.pieces(node)]
        return [*told, ""] if node.table in self._untold else told


def _key_in_partition(plan: ViewPlan) -> list[str] | None:
    """The view's key in terms of its partition key, where that determines it: then rows that are not there can be walked from."""
    by_name = {name.lower(): column.name for name, column in zip(plan.partition_columns, plan.partition, strict=True)}
    found = [by_name.get(name.lower(), "") for name in plan.key]
    return found if found and all(found) else None
