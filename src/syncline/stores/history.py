"""An event log as its followers read it, whatever database holds it: where it stands, and events up to the end of an append.

What was once read of a log never changes, so that short reads, one after the other, are as good as one.
"""

import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from syncline.errors import SourceChanged, StoreError, Unavailable
from syncline.messages import Position
from syncline.read.projection import StoredEvent


class Place(NamedTuple):
    """Which history a log is, the id of the event at the position asked for, and the newest position with the id of its event."""

    incarnation: str
    proof: int | None
    head: int
    head_proof: int

    def continues(self, after: Position) -> bool:
        """Whether the position asked for is one of this history."""
        return self.incarnation == after.incarnation and (after.n == 0 or self.proof == after.proof)

    @property
    def newest(self) -> Position:
        return Position(self.incarnation, self.head, self.head_proof)


class End(NamedTuple):
    """The event that a batch ends with: its position, its id, and when it was stored."""

    position: int
    id: int
    at: float


class Cause(NamedTuple):
    """Where an event comes from: when it was stored, the id of the command that decided it, and its metadata as JSON."""

    position: int
    at: float
    command_id: str | None
    metadata: str | None


class History(Protocol):
    """One service's event log, never written to but for the name of its history. One thread owns it.

    Raises Unavailable or StoreError when the database fails.
    """

    def changed(self) -> bool:
        """Whether there may be something that `batch` has not shown yet. Cheap; may say yes wrongly, never no wrongly."""
        ...

    @property
    def is_locked(self) -> bool:
        """Whether the last `changed` found that another program holds the database now."""
        ...

    def place(self, after: int) -> Place:
        """Where the log stands now."""
        ...

    def newest(self) -> Position:
        """The newest position, below which is all that was committed before this was called."""
        ...

    def batch(self, after: int, limit: int) -> tuple[Place, End | None, list[StoredEvent]]:
        """Where the log stands, and about `limit` events after a position, up to the end of an append.

        What is committed up to there counts as seen.
        """
        ...

    def end(self, position: int, within: End) -> End:
        """Where the append ended that the event at a position belongs to, in the history that `within` was read from.

        Raises SourceChanged where another one is there by now.
        """
        ...

    def events(self, after: int, up_to: int) -> list[StoredEvent]:
        """The events with `after < position <= up_to`. Raises StoreError if one is gone."""
        ...

    def causes(self, after: int, up_to: int) -> list["Cause"]:
        """Where the events with `after < position <= up_to` come from, in their order."""
        ...

    def stream(self, stream: str, since: int, up_to: int) -> list[StoredEvent]:
        """The events of a stream with `since <= position <= up_to`."""
        ...

    def renew(self, incarnation: str) -> None:
        """Gives the log's history a name of its own, if it still has this one."""
        ...

    def close(self) -> None: ...


class Hurried:
    """Events one after the other, until a time is over; at least one. `taken` counts those that were."""

    def __init__(self, events: Sequence[StoredEvent], budget_s: float) -> None:
        self.taken = 0
        self._events, self._budget_s = events, budget_s

    def __iter__(self) -> Iterator[StoredEvent]:
        clock = time.monotonic
        until = clock() + self._budget_s
        for event in self._events:
            yield event
            self.taken += 1
            if clock() >= until:
                return


def no_log(database: str, why: str) -> Unavailable:
    """`database` as messages name it."""
    return Unavailable(
        f"there is no event log in {database}, and {why}: it was emptied or replaced. Restore it from a backup, then say "
        "`syncline restored SERVICE`; that alone begins a new log, without the events of before"
    )


def not_followed_any_more(database: str, up_to: int) -> Unavailable:
    """There is no log where one was followed up to a position."""
    return no_log(database, f"it was followed up to position {up_to:,}")


def gap(database: str, after: int, up_to: int) -> StoreError:
    return StoreError(
        f"event log {database} does not hold every event between positions {after} and {up_to}: some were removed; "
        "restore the log from a backup"
    )


def replaced(database: str) -> SourceChanged:
    return SourceChanged(f"event log {database} was replaced while a batch was read; it is compared anew")
