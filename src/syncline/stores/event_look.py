"""An event log as verification looks at it: its rows are replayed, up to the position that the read store is at. Only reads."""

from collections.abc import Callable, Mapping, Sequence

from syncline.messages import DeadLetter, Key, Position, Relation, Row
from syncline.move.feed import key_of
from syncline.read.projection import Projection
from syncline.rows import Published
from syncline.stores.history import History
from syncline.stores.replay import Replay

SCAN_ROWS = 4_000


class EventLook:
    """Of an event-sourced service: what its events make of the relations that a read store holds.

    `held_back` tells the streams that the store holds back and the events that were dropped; what waits behind them is left out
    here too. `relations` are the mirrors, with their columns. The log is closed with it.
    """

    def __init__(
        self,
        history: History,
        published: Published,
        relations: Sequence[Relation],
        held_back: Callable[[], tuple[Sequence[DeadLetter], frozenset[int]]],
    ) -> None:
        self._history = history
        self._published, self._relations, self._held_back = published, relations, held_back
        self._state: tuple[Mapping[str, int], frozenset[int]] | None = None
        self._replay: Replay | None = None

    def scan(self, relation: Relation, after: Key | None, budget_s: float) -> tuple[list[Row], bool]:
        """The first call replays the whole log, however long that takes."""
        replay = self._replayed()
        if replay.position == 0:
            replay.advance(self._history.place(0).head, float("inf"))
        return replay.scan(relation, after, SCAN_ROWS)

    def settle(self, relation: Relation, keys: Sequence[Key], at: Position) -> tuple[list[Key], dict[Key, Row]] | None:
        """All of the keys once the store has come to where the replay stands; the replay goes on to where the store is."""
        if not self._history.place(at.n).continues(at):
            return None
        replay = self._replayed()
        if at.n < replay.position:
            return None
        replay.advance(at.n, float("inf"))
        key = key_of(relation)
        return list(keys), {key(row): row for row in replay.rows_of(relation, keys)}

    def refresh(self) -> None:
        """The relay sees appends by itself."""

    def close(self) -> None:
        if self._replay is not None:
            self._replay.close()
        self._history.close()

    def _replayed(self) -> Replay:
        """The replay, begun anew when other streams are held back than before."""
        letters, dropped = self._held_back()
        state = ({letter.stream: letter.position for letter in letters}, dropped)
        if self._replay is None or state != self._state:
            if self._replay is not None:
                self._replay.close()
            self._state = state
            self._replay = Replay(
                self._history, Projection(self._published, self._relations, held=dict(state[0]), dropped=dropped), self._relations
            )
        return self._replay
