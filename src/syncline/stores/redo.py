"""Rows made anew beside those that are held: a replay, compared with the mirrors range by range, and the keys that are to change.

Changes nothing. What is chosen is applied by the feed, as one batch at the position where the replay stands.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from syncline.messages import Chunk, DeadLetter, Key, Relation, Row
from syncline.move.feed import Held, key_of
from syncline.read.projection import Projection
from syncline.rows import Published
from syncline.stores.history import History
from syncline.stores.replay import Replay

COMPARE_ROWS = 2_000


@dataclass(slots=True)
class Wanted:
    """What is to be made anew: relations, some of their keys, and streams that are held back, with or without their event."""

    relations: set[str] = field(default_factory=set)
    keys: dict[str, set[Key]] = field(default_factory=dict)
    streams: dict[str, bool] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.relations or self.keys or self.streams)


class Redo:
    """One replay and what is to be brought from it. The feed's thread owns it.

    `letters` are the streams held back so far: those that `wanted` names are tried, the others stay held back.
    """

    def __init__(
        self,
        history: History,
        published: Published,
        relations: Mapping[str, Relation],
        wanted: Wanted,
        letters: Mapping[str, DeadLetter],
        dropped: frozenset[int],
        held: Held,
    ) -> None:
        self.wanted, self.letters = wanted, letters
        self._history, self._held = history, held
        skipped = {letters[stream].position for stream, skip in wanted.streams.items() if skip}
        names = set(relations) if wanted.streams else wanted.relations | set(wanted.keys)
        replayed = [relation for table, relation in relations.items() if table in names]
        still_held = {stream: letter.position for stream, letter in letters.items() if stream not in wanted.streams}
        self.replay = Replay(history, Projection(published, replayed, held=still_held, dropped=dropped | skipped), replayed)
        self._waiting = [relation for relation in replayed if relation.table in wanted.relations]
        self._after: Key | None = None
        for table, keys in wanted.keys.items():
            self.replay.choose(relations[table], keys)

    def close(self) -> None:
        self.replay.close()

    @property
    def comparing(self) -> Relation | None:
        return self._waiting[0] if self._waiting else None

    def advance(self, up_to: int, budget_s: float) -> bool:
        """Goes on for about `budget_s`; says whether the replay stands at `up_to` and everything is compared."""
        until = time.monotonic() + budget_s
        if not self.replay.advance(up_to, budget_s):
            return False
        while self._waiting:
            self._compare(self._waiting[0])
            if time.monotonic() >= until:
                break
        return not self._waiting

    def choose_streams(self, streams: Mapping[str, int]) -> None:
        """Chooses the rows that these streams touch, each from its position on."""
        for stream, since in streams.items():
            events = self._history.stream(stream, since, self.replay.position)
            for table, key in self.replay.projection.keys(events):
                self.replay.choose(self.replay.relations[table], [key])

    def chunks(self) -> Iterator[Chunk]:
        """The chosen keys, with their rows as they are in the replay, which is closed at the end."""
        for relation in self.replay.relations.values():
            for rows, gone in self.replay.chosen(relation):
                yield Chunk(relation, rows, gone)
        self.close()

    def _compare(self, relation: Relation) -> None:
        rows, is_done = self.replay.scan(relation, self._after, COMPARE_ROWS)
        key = key_of(relation)
        last = key(rows[-1]) if rows else self._after
        there = self._held(relation, self._after, None if is_done else last)
        if rows != there:
            self.replay.choose(relation, _differing(relation, rows, there))
        self._after = last
        if is_done:
            self._waiting.pop(0)
            self._after = None


def _differing(relation: Relation, rows: Sequence[Row], there: Sequence[Row]) -> list[Key]:
    key = key_of(relation)
    current, known = {key(row): row for row in rows}, {key(row): row for row in there}
    return [each for each in {**current, **known} if current.get(each) != known.get(each)]
