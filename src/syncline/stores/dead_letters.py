"""The streams that a read store holds back, the events that were dropped, and the rows that are marked for it.

They change with the rows, in the transaction that applies a batch. `HeldBack` must be used inside it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from syncline.messages import Batch, DeadLetter, Key, Position
from syncline.stores.own_tables import Run
from syncline.stores.protocols import dump_key, load_key

Marked = frozenset[tuple[str, str]]
"""Stored views with partition keys as JSON; an empty text where it cannot be told which."""


def read_dead_letters(run: Run, *, with_keys: bool = True) -> list[DeadLetter]:
    """Every stream that is held back, those longest held first; none in a store that no version with dead letters opened."""
    if not _is_there(run):
        return []
    rows = run("select_dead_letters")
    return [
        DeadLetter(service, stream, position, event, error, since, _load_keys(keys) if with_keys else frozenset(), bool(settled))
        for service, stream, position, event, error, since, keys, settled in rows
    ]


def read_dropped(run: Run, service: str) -> frozenset[int]:
    """The positions of a service's log whose events were dropped."""
    if not _is_there(run):
        return frozenset()
    return frozenset(position for (position,) in run("select_dropped", service=service))


def read_marked(run: Run, view: str, pieces: Sequence[Key]) -> tuple[list[bool], bool]:
    """For each of these pieces of a stored view whether it is marked, and whether any of its rows may be concerned."""
    if not _is_there(run):
        return [False] * len(pieces), False
    keys = [dump_key(piece) or "" for piece in pieces]
    found = run("select_marked_of", view=view, keys=json.dumps(["", *dict.fromkeys(keys)]))
    marked = {key for (key,) in found}
    return [key in marked for key in keys], "" in marked


class HeldBack:
    """What one read store holds back. The thread that writes to the store owns it."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._dropping: dict[tuple[str, str], int] = {}
        self._letters: dict[tuple[str, str], DeadLetter] | None = None
        self._marked: Marked = frozenset()

    def doubt(self) -> None:
        """A transaction was undone: what is stored is read again when it is needed."""
        self._letters = None

    @property
    def letters(self) -> dict[tuple[str, str], DeadLetter]:
        """Every stream that is held back, by service and name."""
        if self._letters is None:
            self._letters = {(each.service, each.stream): each for each in read_dead_letters(self._run)}
            self._marked = frozenset(self._run("select_marked"))
        return self._letters

    def of(self, service: str) -> list[DeadLetter]:
        """The service's streams that are held back."""
        return [letter for letter in self.letters.values() if letter.service == service]

    def dropped(self, service: str) -> frozenset[int]:
        """The positions of the service's log whose events were dropped, in the history that its checkpoint belongs to."""
        return frozenset(position for (position,) in self._run("select_dropped", service=service))

    def releasing(self, service: str, stream: str, *, skip: bool) -> None:
        """The stream is to be tried again; with `skip`, the batch that does so drops the event that it is held back by."""
        self._dropping.pop((service, stream), None)
        if skip:
            self._dropping[service, stream] = self.letters[service, stream].position

    def record(self, batch: Batch, after: Position) -> bool:
        """Stores what a batch up to `after` holds back and lets go; says whether that changes anything.

        What was held back of another history of the log is forgotten: the batch says what is of this one.
        """
        is_other = batch.before.incarnation != after.incarnation and self.forget(batch.service)
        for stream in batch.released:
            self._drop(batch.service, stream, None)
            if self.letters.pop((batch.service, stream), None) is not None:
                self._run("delete_dead_letter", service=batch.service, stream=stream)
        for letter in batch.parked:
            self._drop(letter.service, letter.stream, letter.position)
            self._park(letter)
        return bool(is_other or batch.released or batch.parked)

    def forget(self, service: str) -> bool:
        """Forgets what is held back and what was dropped of a service; says whether anything was held back."""
        streams = [letter.stream for letter in self.of(service)]
        for stream in streams:
            del self.letters[service, stream]
            self._dropping.pop((service, stream), None)
        self._run("forget_dead_letters", service=service)
        self._run("forget_dropped", service=service)
        return bool(streams)

    def mark(self, marked: Marked) -> None:
        """Makes these the marked pieces; writes only what differs."""
        if marked == self._marked:
            return
        for view, key in marked - self._marked:
            self._run("insert_marked", view=view, key=key)
        for view, key in self._marked - marked:
            self._run("delete_marked", view=view, key=key)
        self._marked = marked

    def rename_marked(self, stored: Mapping[str, str]) -> None:
        """Builds take the places of live tables."""
        for build, view in stored.items():
            self._run("forget_marked", view=view)
            self._run("rename_marked", stored=build, view=view)
        self._marked = frozenset(self._run("select_marked"))

    def _park(self, letter: DeadLetter) -> None:
        """What was known to depend on the stream still does; since when it is held back stays where it stays at its event."""
        before = self.letters.get((letter.service, letter.stream))
        if before is not None:
            since = before.since if before.position == letter.position else letter.since
            letter = replace(letter, since=since, keys=before.keys | letter.keys)
        self.letters[letter.service, letter.stream] = letter
        self._run(
            "upsert_dead_letter",
            service=letter.service,
            stream=letter.stream,
            position=letter.position,
            event=letter.event,
            error=letter.error,
            since=letter.since,
            keys=_dump_keys(letter.keys),
            settled=letter.is_settled,
        )

    def _drop(self, service: str, stream: str, held_at: int | None) -> None:
        """Remembers that an event was dropped once its stream is beyond it."""
        position = self._dropping.get((service, stream))
        if position is not None and held_at != position:
            del self._dropping[service, stream]
            self._run("insert_dropped", service=service, position=position)


def _is_there(run: Run) -> bool:
    return bool(run("has_dead_letters").fetchone()[0])


def _dump_keys(keys: frozenset[tuple[str, Key]]) -> str:
    found: dict[str, list[str]] = {}
    for relation, key in keys:
        found.setdefault(relation, []).append(dump_key(key) or "")
    return json.dumps({relation: sorted(found[relation]) for relation in sorted(found)})


def _load_keys(text: str) -> frozenset[tuple[str, Key]]:
    return frozenset((relation, load_key(key) or ()) for relation, keys in json.loads(text).items() for key in keys)
