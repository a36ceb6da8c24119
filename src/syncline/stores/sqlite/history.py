"""An event log as those read it who follow it. Never written to, but for the name of its history.

What was once read of a log never changes, so that reads of a few milliseconds each, one after the other, are as good as one.
"""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import NamedTuple

from syncline.errors import SourceChanged, StoreError, Unavailable
from syncline.messages import Position
from syncline.read.projection import StoredEvent
from syncline.stores.sqlite.events import SQLiteEventLog, create_log, has_log
from syncline.stores.sqlite.reach import Reach, in_write
from syncline.stores.sqlite.source import READ_TIMEOUT_S, source_errors
from syncline.stores.statements import load_statements

CREATE_BUSY_S = 0.5

SQL = load_statements("syncline.stores.sqlite", "event_feed.sql")


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


class History:
    """One service's event log. One thread owns it."""

    def __init__(self, path: str, *, read_only: bool, timeout_s: float = READ_TIMEOUT_S) -> None:
        self.path = path
        self.reach = Reach(path, read_only=read_only, timeout_s=timeout_s)

    def close(self) -> None:
        self.reach.close()

    def exists(self) -> bool:
        """Whether the database holds a log. Raises StoreError for one of a newer format."""
        with self.reach.snapshot():
            return has_log(self.reach.connection, self.path)

    def create(self) -> None:
        """Makes the log's tables where they are not."""
        with in_write(self.reach, CREATE_BUSY_S) as connection:
            create_log(connection, self.path)

    def place(self, after: int) -> Place:
        """Where the log stands now."""
        with self.reach.snapshot():
            return self._place(after)

    def batch(self, after: int, limit: int) -> tuple[Place, End | None, list[StoredEvent]]:
        """Where the log stands, and about `limit` events after a position, up to the end of an append; in one snapshot.

        What is committed up to there counts as seen.
        """
        with self.reach.snapshot():
            place = self._place(after)
            self.reach.seen()
            if place.head <= after:
                return place, None, []
            end = self._end(min(after + limit, place.head), after)
            return place, end, self._events(after, end.position)

    def end(self, position: int, within: End) -> End:
        """Where the append ended that the event at a position belongs to, in the history that `within` was read from.

        Raises SourceChanged where another one is there by now.
        """
        with self.reach.snapshot():
            if self._place(within.position).proof != within.id:
                raise SourceChanged(f"event log '{self.path}' was replaced while a batch was read; it is compared anew")
            return self._end(position, position - 1)

    def events(self, after: int, up_to: int) -> list[StoredEvent]:
        """The events with `after < position <= up_to`. Raises StoreError if one is gone."""
        self.reach.refuse_other_file()
        with source_errors(self.path):
            return self._events(after, up_to)

    def stream(self, stream: str, since: int, up_to: int) -> list[StoredEvent]:
        """The events of a stream with `since <= position <= up_to`."""
        self.reach.refuse_other_file()
        with source_errors(self.path):
            found = self.reach.connection.execute(SQL["select_stream"], {"stream": stream, "since": since, "up_to": up_to})
            return found.fetchall()

    def renew(self, incarnation: str, *, busy_s: float = CREATE_BUSY_S) -> None:
        """Gives the log's history a name of its own, if it still has this one."""
        with in_write(self.reach, busy_s) as connection:
            connection.execute(SQL["renew_incarnation"], {"incarnation": incarnation})

    def _place(self, after: int) -> Place:
        found = self.reach.connection.execute(SQL["select_place"], {"after": after}).fetchone()
        if found is None:
            raise SourceChanged(f"event log '{self.path}' has no row in syncline_event_log any more; restore the file")
        return Place(*found)

    def _end(self, position: int, after: int) -> End:
        found = self.reach.connection.execute(SQL["select_end"], {"position": position}).fetchone()
        if found is None:
            raise self._gap(after, position)
        return End(*found)

    def _events(self, after: int, up_to: int) -> list[StoredEvent]:
        found = self.reach.connection.execute(SQL["select_events"], {"after": after, "up_to": up_to}).fetchall()
        if len(found) != up_to - after:
            raise self._gap(after, up_to)
        return found

    def _gap(self, after: int, up_to: int) -> StoreError:
        return StoreError(
            f"event log '{self.path}' does not hold every event between positions {after} and {up_to}: some were removed; "
            "restore the log from a backup"
        )


def open_log(path: str) -> History:
    """The log that there is in the file `path`, to be read. Raises Unavailable, or StoreError for a log of a newer format."""
    with _closed_on_error(History(path, read_only=True)) as history:
        if not history.exists():
            raise _no_log(path, "there is nothing to compare with")
    return history


def open_history(path: str, *, timeout_s: float, followed_up_to: int = 0) -> History:
    """The log in the file `path`, made if there is none.

    Raises Unavailable, also for a log that was followed up to some position and is not there any more; StoreError for one of a
    newer format.
    """
    if not os.path.exists(path) and not followed_up_to:
        with closing(SQLiteEventLog(path)):
            pass
    with _closed_on_error(History(path, read_only=False, timeout_s=timeout_s)) as history:
        if not history.exists():
            if followed_up_to:
                raise _no_log(path, f"it was followed up to position {followed_up_to:,}")
            history.create()
    return history


def _no_log(path: str, why: str) -> Unavailable:
    return Unavailable(
        f"there is no event log in '{path}', and {why}: the file was emptied or replaced. Restore it from a backup, then say "
        "`syncline restored SERVICE`; that alone begins a new log, without the events of before"
    )


@contextmanager
def _closed_on_error(history: History) -> Iterator[History]:
    try:
        yield history
    except BaseException:
        history.close()
        raise
