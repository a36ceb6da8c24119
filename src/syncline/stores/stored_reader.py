"""What every reader of a read store tells of it, whichever its database: the vector, states, what is held back."""

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from syncline.messages import DeadLetter, Key
from syncline.move.freshness import Checkpoint
from syncline.read.definition import Definition, loads
from syncline.stores.dead_letters import read_dead_letters, read_dropped, read_marked
from syncline.stores.own_tables import Run
from syncline.stores.parked import as_shown, parked_keys
from syncline.stores.protocols import FeedRow, MirrorRow, Parked, ViewRow
from syncline.stores.read_definitions import generation_table, load_relation
from syncline.stores.vector import stored_position


class StoredReader:
    """The state of a read store, read through its own tables. One thread owns it."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def holder(self) -> str:
        """The relay that last took the store over."""
        return str(self._run("select_holder").fetchone()[0])

    def consumer(self) -> str:
        """The identity of the store: another one, made in its place, has another."""
        return str(self._run("select_meta").fetchone()[1])

    def feeds(self) -> list[FeedRow]:
        """Every service's checkpoint and state, by name."""
        return [_feed(row) for row in self._run("select_feeds")]

    def mirrors(self) -> list[MirrorRow]:
        return [MirrorRow(row[0], load_relation(row[2]), row[3], row[6]) for row in self._run("select_relations")]

    def views(self) -> dict[str, ViewRow]:
        builds = {stored: (done, total) for stored, _, total, done in self._run("select_builds")}
        found: dict[str, ViewRow] = {}
        for name, live, generation, following, next_generation, _, error in self._run("select_views"):
            built = builds.get(generation_table(name, next_generation))
            found[name] = ViewRow(name, _definition(live), generation, _definition(following), built, error)
        return found

    def parked(self) -> list[Parked]:
        """Pieces of views that could not be computed, by view."""
        return as_shown(parked_keys(self._run))

    def dead_letters(self) -> list[DeadLetter]:
        """Every stream that is held back, those longest held first."""
        return read_dead_letters(self._run)

    def held_streams(self) -> list[DeadLetter]:
        """The same without the keys that depend on them."""
        return read_dead_letters(self._run, with_keys=False)

    def held_back(self, service: str) -> tuple[list[DeadLetter], frozenset[int]]:
        """The service's streams that are held back, and the positions of its events that were dropped."""
        found = [letter for letter in read_dead_letters(self._run) if letter.service == service]
        return found, read_dropped(self._run, service)

    def marked(self, view: str, pieces: Sequence[Key]) -> tuple[list[bool], bool]:
        """Which of these pieces of a view depend on what is held back, and whether any of its rows may."""
        return read_marked(self._run, view, pieces)


@lru_cache(maxsize=256)
def _loads(text: str) -> Definition:
    return loads(text)


def _definition(text: str | None) -> Definition | None:
    """The definition in a text, which is the same text in nearly every read."""
    return _loads(text) if text else None


def _feed(row: tuple[Any, ...]) -> FeedRow:
    service, capture, incarnation, n, proof, open_, read_at, exact, begun, past, superseded, state, activity, error = row
    position = stored_position(incarnation, n, proof, open_)
    checkpoint = Checkpoint(position, read_at, bool(exact), begun, tuple(json.loads(past)), tuple(json.loads(superseded)))
    return FeedRow(service, capture, checkpoint, state, activity, error)
