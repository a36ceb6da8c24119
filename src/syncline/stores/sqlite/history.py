"""An event log in an SQLite file as those read it who follow it (see `syncline.stores.history`)."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager

from syncline.errors import SourceChanged
from syncline.messages import Position
from syncline.read.projection import StoredEvent
from syncline.stores.history import Cause, End, Place, gap, no_log, not_followed_any_more, replaced
from syncline.stores.sqlite.events import SQLiteEventLog, create_log, has_log
from syncline.stores.sqlite.reach import Reach, in_write
from syncline.stores.sqlite.source import READ_TIMEOUT_S, source_errors
from syncline.stores.statements import load_statements

CREATE_BUSY_S = 0.5

SQL = load_statements("syncline.stores.sqlite", "history.sql")


class SQLiteHistory:
    """See `History`. One thread owns it."""

    def __init__(self, path: str, *, read_only: bool, timeout_s: float = READ_TIMEOUT_S) -> None:
        self.path = path
        self._reach = Reach(path, read_only=read_only, timeout_s=timeout_s)

    def close(self) -> None:
        self._reach.close()

    def exists(self) -> bool:
        """Whether the database holds a log. Raises StoreError for one of a newer format."""
        with self._reach.snapshot():
            return has_log(self._reach.connection, self.path)

    def create(self) -> None:
        """Makes the log's tables where they are not."""
        with in_write(self._reach, CREATE_BUSY_S) as connection:
            create_log(connection, self.path)

    def changed(self) -> bool:
        return self._reach.changed()

    @property
    def is_locked(self) -> bool:
        return self._reach.is_locked

    def place(self, after: int) -> Place:
        with self._reach.snapshot():
            return self._place(after)

    def newest(self) -> Position:
        return self.place(0).newest

    def batch(self, after: int, limit: int) -> tuple[Place, End | None, list[StoredEvent]]:
        with self._reach.snapshot():
            place = self._place(after)
            self._reach.seen()
            if place.head <= after:
                return place, None, []
            end = self._end(min(after + limit, place.head), after)
            return place, end, self._events(after, end.position)

    def end(self, position: int, within: End) -> End:
        with self._reach.snapshot():
            if self._place(within.position).proof != within.id:
                raise replaced(f"'{self.path}'")
            return self._end(position, position - 1)

    def events(self, after: int, up_to: int) -> list[StoredEvent]:
        self._reach.refuse_other_file()
        with source_errors(self.path):
            return self._events(after, up_to)

    def causes(self, after: int, up_to: int) -> list[Cause]:
        self._reach.refuse_other_file()
        with source_errors(self.path):
            found = self._reach.connection.execute(SQL["select_causes"], {"after": after, "up_to": up_to})
            return list(map(Cause._make, found))

    def stream(self, stream: str, since: int, up_to: int) -> list[StoredEvent]:
        self._reach.refuse_other_file()
        with source_errors(self.path):
            found = self._reach.connection.execute(SQL["select_stream"], {"stream": stream, "since": since, "up_to": up_to})
            return found.fetchall()

    def renew(self, incarnation: str, *, busy_s: float = CREATE_BUSY_S) -> None:
        with in_write(self._reach, busy_s) as connection:
            connection.execute(SQL["renew_incarnation"], {"incarnation": incarnation})

    def _place(self, after: int) -> Place:
        found = self._reach.connection.execute(SQL["select_place"], {"after": after}).fetchone()
        if found is None:
            raise SourceChanged(f"event log '{self.path}' has no row in syncline_event_log any more; restore the file")
        return Place(*found)

    def _end(self, position: int, after: int) -> End:
        found = self._reach.connection.execute(SQL["select_end"], {"position": position}).fetchone()
        if found is None:
            raise gap(f"'{self.path}'", after, position)
        return End(*found)

    def _events(self, after: int, up_to: int) -> list[StoredEvent]:
        found = self._reach.connection.execute(SQL["select_events"], {"after": after, "up_to": up_to}).fetchall()
        if len(found) != up_to - after:
            raise gap(f"'{self.path}'", after, up_to)
        return found


def open_log(path: str) -> SQLiteHistory:
    """The log that there is in the file `path`, to be read. Raises Unavailable, or StoreError for a log of a newer format."""
    with _closed_on_error(SQLiteHistory(path, read_only=True)) as history:
        if not history.exists():
            raise no_log(f"'{path}'", "there is nothing to compare with")
    return history


def open_history(path: str, *, timeout_s: float, followed_up_to: int = 0) -> SQLiteHistory:
    """The log in the file `path`, made if there is none.

    Raises Unavailable, also for a log that was followed up to some position and is not there any more; StoreError for one of a
    newer format.
    """
    if not os.path.exists(path) and not followed_up_to:
        with closing(SQLiteEventLog(path)):
            pass
    with _closed_on_error(SQLiteHistory(path, read_only=False, timeout_s=timeout_s)) as history:
        if not history.exists():
            if followed_up_to:
                raise not_followed_any_more(f"'{path}'", followed_up_to)
            history.create()
    return history


@contextmanager
def _closed_on_error(history: SQLiteHistory) -> Iterator[SQLiteHistory]:
    try:
        yield history
    except BaseException:
        history.close()
        raise
