"""Replaying: a service's rows folded anew from the first event, in a database of their own that nobody else sees.

The rows are always those of one position, which only rises. What is kept is gone when it is closed; a replay that was cut
short begins again.
"""

import time
from collections.abc import Iterable, Iterator, Sequence

from syncline.messages import Key, Relation, Row
from syncline.move.feed import key_of
from syncline.read.projection import Failure, Net, Projection
from syncline.stores.history import History, Hurried
from syncline.stores.scratch import ScratchTable, open_scratch

SLICE_EVENTS = 1_000
LAST_STEP_EVENTS = 4_000
LAST_STEP_S = 0.1
"""So few events may take so long at once: who falls behind by a batch each step would never arrive."""
SLICE_S = 0.05
"""After which a slice ends where it is: `rows` may be slow."""
CACHED_ROWS = 10_000
"""How many rows that changed lately wait to be written, twice: what is changed again soon is written once."""


class Replay:
    """The rows of some relations of a service, as its events up to `position` make them. One thread owns it.

    `failures` are the events that could not be made rows, each of which holds its stream back from there on.
    """

    def __init__(self, history: History, projection: Projection, relations: Iterable[Relation]) -> None:
        self.position = 0
        self.failures: list[Failure] = []
        self.projection, self._history = projection, history
        self._scratch = open_scratch()
        self._made = {relation.table: _Made(self._scratch.table(relation), relation) for relation in relations}

    @property
    def relations(self) -> dict[str, Relation]:
        """By their names in the service."""
        return {table: made.relation for table, made in self._made.items()}

    @property
    def missing(self) -> dict[str, tuple[int, Key | None]]:
        """By relation, how many operations named rows that were not there, and the key of one."""
        return {table: (made.net.missing, made.net.example) for table, made in self._made.items() if made.net.missing}

    def close(self) -> None:
        self._scratch.close()

    def advance(self, up_to: int, budget_s: float) -> bool:
        """Replays on for about `budget_s`, or LAST_STEP_S where little is left; says whether `up_to` is reached."""
        is_near = up_to - self.position <= LAST_STEP_EVENTS
        until = time.monotonic() + (max(budget_s, LAST_STEP_S) if is_near else budget_s)
        while self.position < up_to:
            self._slice(min(self.position + SLICE_EVENTS, up_to))
            if time.monotonic() >= until:
                break
        return self.position >= up_to

    def count(self, relation: Relation) -> int:
        """How many rows there are."""
        return self._made[relation.table].count()

    def scan(self, relation: Relation, after: Key | None, limit: int) -> tuple[list[Row], bool]:
        """At most `limit` rows with `key > after` in key order, and whether these were the last."""
        rows = self._made[relation.table].rows_after(after, limit)
        return rows, len(rows) < limit

    def rows_of(self, relation: Relation, keys: Sequence[Key]) -> list[Row]:
        """The rows of these keys that there are."""
        return self._made[relation.table].rows_of(keys)

    def choose(self, relation: Relation, keys: Iterable[Key]) -> None:
        """Remembers keys of rows that are to be brought to where the replay is."""
        self._made[relation.table].choose(keys)

    def chosen(self, relation: Relation) -> Iterator[tuple[list[Row], list[Key]]]:
        """The chosen keys in order, some at a time: the rows of those that have one, and the others."""
        return self._made[relation.table].chosen()

    def _slice(self, end: int) -> None:
        nets = {table: made.net for table, made in self._made.items()}
        events = Hurried(self._history.events(self.position, end), SLICE_S)
        failures, _ = self.projection.fold(events, nets)
        self.failures += failures
        for made in self._made.values():
            made.prove()
        self.position += events.taken


class _Made:
    """The rows of one relation: those that changed lately in memory, the newest in `net`, the others written."""

    def __init__(self, written: ScratchTable, relation: Relation) -> None:
        self.relation = relation
        self.net = Net()
        self._written = written
        self._older = Net()
        self._key = key_of(relation)

    def prove(self) -> None:
        """Settles what was folded into the net."""
        net = self.net
        if net.unproven:
            net.prove(self._before(net.unproven))
        if len(net.changes) >= CACHED_ROWS:
            self._write(self._older)
            self._older, self.net = net, Net(missing=net.missing, example=net.example)

    def rows_of(self, keys: Sequence[Key]) -> list[Row]:
        self._write_all()
        return self._written.rows_of(keys)

    def count(self) -> int:
        self._write_all()
        return self._written.count()

    def rows_after(self, after: Key | None, limit: int) -> list[Row]:
        self._write_all()
        return self._written.rows_after(after, limit)

    def choose(self, keys: Iterable[Key]) -> None:
        self._written.choose(keys)

    def chosen(self) -> Iterator[tuple[list[Row], list[Key]]]:
        self._write_all()
        return self._written.chosen()

    def _before(self, keys: Iterable[Key]) -> dict[Key, Row]:
        """The rows of these keys, of which the net knows nothing, that there are."""
        older = self._older.changes
        found: dict[Key, Row] = {}
        asked: list[Key] = []
        for key in keys:
            row = older.get(key, ())
            if row:
                found[key] = row  # type: ignore[assignment]
            elif row is not None:
                asked.append(key)
        if asked:
            found.update((self._key(row), row) for row in self._written.rows_of(asked))
        return found

    def _write_all(self) -> None:
        self._write(self._older)
        self._write(self.net)
        self._older, self.net = Net(), Net(missing=self.net.missing, example=self.net.example)

    def _write(self, net: Net) -> None:
        self._written.write(net.rows, net.gone)
