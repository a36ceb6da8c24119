"""Capture by events: a feed over a service's event log, whose events the service's own `rows` function makes into rows.

Theory of operation. A batch is consecutive events, ended where an append ended, folded for each key; rows that change in part are
taken from the mirrors as they are. A position is one of the log, with the id of its event.

What is not in the mirrors is replayed: a `Replay` makes the rows of all events up to the applied position in a database of its
own, in steps of some milliseconds, while batches go on. From one such, `scan` copies mirrors that are loading. A `Redo` compares
another with the mirrors and chooses the keys that differ; keys to be mended are chosen without, and so are those of streams that
are to be tried again. When it stands at the applied position, the chosen keys are one batch that moves nothing else. (Keys that
were alike when they were compared stay alike: batches and replay fold the same events.) A position that is not one of the log
belongs to another history: a redo of everything is then the first batch of the new one.

A stream of which an event cannot be made rows is held back from there on, in batches and replays alike, and told with the next
batch. Making relations anew tries again what is held back.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from syncline.messages import Batch, Chunk, DeadLetter, Key, Position, Relation, Row
from syncline.move.feed import key_of
from syncline.read.maintain.schema import mirror_id
from syncline.read.projection import Failure, Net, Projection, StoredEvent
from syncline.rows import Published
from syncline.stores.history import End, History, Hurried, Place
from syncline.stores.protocols import ReadStore
from syncline.stores.redo import Redo, Wanted
from syncline.stores.replay import Replay

BATCH_EVENTS = 2_000
"""How many events a batch holds, or more where one append has more."""
BATCH_BUDGET_S = 0.05
"""After which it ends with the append that it has come to: other services of the read store wait for it."""
SCAN_ROWS = 4_000
REPLAY_BUDGET_S = 0.01
SHOWN_S = 0.25
"""How often it is shown how far a replay came, and that nothing new came during one."""


class EventFeed:
    """The feed of one event-sourced service, for one read store. One thread owns it and the store.

    `open_history` opens the log, which the store has followed up to the position that it is given.
    """

    def __init__(self, published: Published, store: ReadStore, open_history: Callable[[int], History]) -> None:
        self.service = published.service
        self.activity = ""
        self._published, self._store = published, store
        at = store.checkpoint(self.service) if store.is_continued(self.service) else None
        self._history = open_history(at.n if at is not None else 0)
        self._relations: dict[str, Relation] = {}
        self._letters: dict[str, DeadLetter] = {}
        self._untold: dict[str, DeadLetter] = {}
        self._projection = Projection(published, ())
        self._copy: Replay | None = None
        self._redo: Redo | None = None
        self._renewed: Position | None = None
        self._wanted = Wanted()
        self._missing: dict[str, tuple[int, Key | None]] = {}
        self._is_behind = True
        self._replayed_to = 0
        self._shown_at = 0.0

    # -- Feed ----------------------------------------------------------------------------------------------------------

    def follow(self, relations: Sequence[Relation]) -> None:
        self._drop_copy()
        self._drop_redo()
        self._relations = {relation.table: relation for relation in relations}
        self._letters = {letter.stream: letter for letter in self._store.dead_letters(self.service)}
        held = {stream: letter.position for stream, letter in self._letters.items()}
        self._projection = Projection(self._published, relations, held=held, dropped=self._store.dropped(self.service))
        if not all(letter.is_settled for letter in self._letters.values()):
            self._wanted.relations |= set(self._relations)  # whoever followed before did not come to it
        self._is_behind = True

    def start(self) -> Position:
        return self.head()

    def read(self, after: Position) -> Batch | None:
        if self._history.is_locked:
            return None
        place, end, events = self._history.batch(after.n, BATCH_EVENTS)
        if not place.continues(after):
            return self._renew(after, place)
        if self._redo is None and self._wanted:
            self._begin()
        if self._redo is not None and self._advance(self._redo, after.n):
            return self._redone(self._redo, after, after)
        is_idle = not events and not self._untold
        if self._redo is not None and is_idle and not self._is_to_be_shown(self._redo.replay, after.n, self._redo.comparing):
            return None
        self._is_behind = False
        return self._batch(after, place, end, events)

    @property
    def complaint(self) -> str:
        found = [(self._relations[table], *told) for table, told in self._missing.items() if table in self._relations]
        return "; ".join(
            f"{relation.name}: {count:,} Patch or Delete named rows that were not there, the last of them {key}, and changed "
            "nothing; look at 'rows', or at the order of the events"
            for relation, count, key in found
        )

    @property
    def is_incremental(self) -> bool:
        return True

    def acknowledge(self, position: Position) -> bool:
        """A log forgets nothing."""
        return False

    def head(self) -> Position:
        return self._history.newest()

    def changed(self) -> bool:
        is_waiting = self._is_behind or self._redo is not None or bool(self._wanted) or bool(self._untold)
        return self._history.changed() or is_waiting

    def total(self, relation: Relation) -> int | None:
        return self._copy.count(relation) if self._copy is not None and relation.table in self._copy.relations else None

    def scan(self, relation: Relation, after: Key | None, budget_s: float) -> tuple[list[Row], bool]:
        at = self._store.checkpoint(self.service)
        if at is None or self._renewed is not None or not self._history.place(at.n).continues(at):
            return [], False
        if self._copy is None:
            loading = [each for table, each in self._relations.items() if table in self._loading()]
            projection = Projection(
                self._published, loading, held=self._projection.held, dropped=self._store.dropped(self.service)
            )
            self._copy = Replay(self._history, projection, loading)
        is_there = self._advance(self._copy, at.n)
        self._hold_back(self._copy, at.n)
        if not is_there:
            self._is_to_be_shown(self._copy, at.n, None)
            return [], False
        if self._untold:  # what waits is stored before rows without it are: nobody may ever take them for whole
            return [], False
        self.activity = ""
        return self._copy.scan(relation, after, SCAN_ROWS)

    def mark(self, relation: Relation, keys: Sequence[Key]) -> None:
        if keys:
            self._wanted.keys.setdefault(relation.table, set()).update(keys)
        self._is_behind = True

    def close(self) -> None:
        self._drop_copy()
        self._drop_redo()
        self._history.close()

    # -- HoldsBack, Replays --------------------------------------------------------------------------------------------

    def release(self, stream: str, *, skip: bool) -> None:
        self._wanted.streams[stream] = skip

    def replay(self, relations: Sequence[Relation]) -> None:
        self._wanted.relations |= {relation.table for relation in relations}

    @property
    def is_replaying(self) -> bool:
        return self._redo is not None or bool(self._wanted)

    @property
    def replayed(self) -> tuple[int, int] | None:
        found = self._redo.replay if self._redo is not None else self._copy
        return (found.position, self._replayed_to) if found is not None and found.position < self._replayed_to else None

    # -- one batch -----------------------------------------------------------------------------------------------------

    def _batch(self, before: Position, place: Place, end: End | None, events: list[StoredEvent]) -> Batch:
        if self._copy is not None and not self._loading():
            self._drop_copy()
        now = time.time()
        if end is None:  # what was read is as new as now, though a redo goes on
            batch = Batch(self.service, before, iter(()) if self._redo is not None else (), before, now)
        else:
            chunks, end = self._folded(events, end)
            after = Position(place.incarnation, end.position, end.id)
            batch = Batch(self.service, before, chunks, after, now if end.position == place.head else _told_by(end, now))
            self._is_behind = end.position < place.head
        batch.parked += self._untold.values()
        self._untold = {}
        return batch

    def _folded(self, events: list[StoredEvent], end: End) -> tuple[list[Chunk], End]:
        """What events up to `end` come to; where `rows` is slow, only those of the first appends, with the end of these."""
        nets = {table: Net() for table in self._relations}
        first = Hurried(events, BATCH_BUDGET_S)
        failures, passed = self._projection.fold(first, nets)
        if first.taken < len(events):
            begins = events[0][0]
            end = self._history.end(begins + first.taken - 1, end)
            more = self._projection.fold(events[first.taken : end.position - begins + 1], nets)
            failures, passed = failures + more[0], passed + more[1]
        up_to = end.position
        for failure in failures:
            self._tell(self._letter(failure, up_to))
        waiting: dict[str, list[StoredEvent]] = {}
        for event in passed:
            waiting.setdefault(event[1], []).append(event)
        for stream, of_it in waiting.items():
            letter = self._letters[stream]
            keys = letter.keys | self._named(self._projection.keys(of_it))
            if keys != letter.keys:
                self._tell(replace(letter, keys=keys))
        loading = self._loading()
        chunks: list[Chunk] = []
        for table, net in nets.items():
            relation = self._relations[table]
            key = key_of(relation)
            if net.unproven:
                net.prove({key(row): row for row in self._store.rows_of(relation, list(net.unproven))})
            rows, gone = net.rows, net.gone
            if rows or gone:
                chunks.append(Chunk(relation, rows, gone))
            if net.missing and table not in loading:  # what is not copied yet is not missing
                self._missing[table] = self._missing.get(table, (0, None))[0] + net.missing, net.example
        return chunks, end

    # -- streams that are held back ------------------------------------------------------------------------------------

    def _letter(self, failure: Failure, up_to: int) -> DeadLetter:
        """With the rows that the stream's events made, and would make, as far as they can be told."""
        keys = self._named(self._projection.keys(self._history.stream(failure.stream, 0, up_to)))
        return DeadLetter(self.service, failure.stream, failure.position, failure.event, failure.error, time.time(), keys)

    def _named(self, keys: set[tuple[str, Key]]) -> frozenset[tuple[str, Key]]:
        return frozenset((self._relations[table].name, key) for table, key in keys)

    def _tell(self, letter: DeadLetter) -> None:
        self._letters[letter.stream] = self._untold[letter.stream] = letter
        self._projection.held[letter.stream] = letter.position

    def _hold_back(self, found: Replay, up_to: int, redone: Collection[str] = ()) -> None:
        """What a replay could not make rows of is held back in batches too, from now on.

        Batches may have brought rows of it, or of what waits behind it: of relations that are not `redone` these are undone.
        """
        is_settled = set(self._relations) <= set(redone)
        for failure in found.failures:
            self._tell(replace(self._letter(failure, up_to), is_settled=is_settled))
        if found.failures and not is_settled:
            self._wanted.relations |= set(self._relations)
        found.failures.clear()

    # -- making rows anew ----------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        wanted, self._wanted = self._wanted, Wanted()
        wanted.streams = {stream: skip for stream, skip in wanted.streams.items() if stream in self._letters}
        if wanted.relations:
            wanted.streams = {**dict.fromkeys(self._letters, False), **wanted.streams}
        dropped = self._store.dropped(self.service)
        self._redo = self._redo_of(wanted, self._letters, dropped)

    def _redo_of(self, wanted: Wanted, letters: Mapping[str, DeadLetter], dropped: frozenset[int]) -> Redo:
        return Redo(self._history, self._published, self._relations, wanted, dict(letters), dropped, self._store.held)

    def _renew(self, after: Position, place: Place) -> Batch | None:
        """Makes everything anew from another history, which gets a name of its own first where it has none."""
        if place.incarnation == after.incarnation:
            self._history.renew(after.incarnation)
            self._is_behind = True  # a feed does not see its own commits
            return None
        target = self._renewed
        if self._redo is None or target is None or not self._history.place(target.n).continues(target):
            self._drop_copy()
            self._drop_redo()
            self._letters, self._untold, self._projection.held = {}, {}, {}
            target = self._renewed = place.newest
            self._redo = self._redo_of(Wanted(relations=set(self._relations)), {}, frozenset())
        if self._advance(self._redo, target.n):
            return self._redone(self._redo, after, target)
        self._is_to_be_shown(self._redo.replay, target.n, self._redo.comparing)
        return None

    def _redone(self, redo: Redo, before: Position, after: Position) -> Batch:
        """The batch that brings what a redo chose, at exactly the position of both."""
        failed = {failure.stream: failure.position for failure in redo.replay.failures}
        tried = {stream: redo.letters[stream].position for stream in redo.wanted.streams}
        # What a batch held back meanwhile and the replay did not: it was tried, too, and its rows are among those made anew.
        since = {stream: each.position for stream, each in self._letters.items() if stream not in {**redo.letters, **failed}}
        if set(self._relations) <= redo.wanted.relations:
            tried.update(since)
        elif since:
            self._wanted.relations |= set(self._relations)
        redo.choose_streams({**failed, **tried})
        if failed or tried:
            self._drop_copy()  # it was made with other streams held back
        for stream in tried.keys() - failed.keys():
            self._letters.pop(stream, None)
            self._untold.pop(stream, None)
            self._projection.held.pop(stream, None)
        self._hold_back(redo.replay, after.n, redo.wanted.relations)
        self._missing.update((table, redo.replay.missing.get(table, (0, None))) for table in redo.wanted.relations)
        self._missing = {table: told for table, told in self._missing.items() if told[0]}
        batch = Batch(self.service, before, redo.chunks(), after, time.time())
        batch.released += sorted(tried.keys() - failed.keys())
        batch.parked += self._untold.values()
        self._redo, self._renewed, self._untold, self.activity, self._is_behind = None, None, {}, "", True
        return batch

    def _advance(self, replaying: Replay | Redo, up_to: int) -> bool:
        self._replayed_to = up_to
        return replaying.advance(up_to, REPLAY_BUDGET_S)

    def _loading(self) -> set[str]:
        """The relations whose mirrors are being copied."""
        tables = {table for table, _ in self._store.loading(self.service)}
        return {name for name, relation in self._relations.items() if mirror_id(relation.service, relation.table) in tables}

    def _is_to_be_shown(self, found: Replay, up_to: int, comparing: Relation | None) -> bool:
        """Shows, from time to time, how far a replay came; says whether it did."""
        now = time.monotonic()
        if now - self._shown_at < SHOWN_S:
            return False
        self._shown_at = now
        is_compared = found.position >= up_to and comparing is not None
        self.activity = (
            f"comparing {comparing.name}" if is_compared and comparing else f"replaying: {found.position:,} of {up_to:,} events"
        )
        return True

    def _drop_copy(self) -> None:
        if self._copy is not None:
            for table, told in self._copy.missing.items():
                self._missing[table] = told
            self._copy.close()
            self._copy = None

    def _drop_redo(self) -> None:
        if self._redo is not None:
            self._redo.close()
            self._redo, self._renewed = None, None


def _told_by(end: End, now: float) -> float | None:
    """How new a batch is that ends before the log does: as its last event; a time to come is one of a clock that is wrong."""
    return end.at if end.at <= now else None
