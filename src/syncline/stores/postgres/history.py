"""An event log on PostgreSQL as those read it who follow it (see `syncline.stores.history`).

What a service's own transactions recorded in the outbox gets its positions here, before the log is read and before its head is
told, so that a position covers what was committed before it was asked for. Positions are seen in their order: whoever gives them
out holds the log's lock until the commit is seen by all. No transaction is left open between two reads.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from psycopg import Cursor, errors

from syncline.errors import SourceChanged, StoreError
from syncline.messages import Position
from syncline.read.projection import StoredEvent
from syncline.stores.history import Cause, End, Place, gap, no_log, not_followed_any_more, replaced
from syncline.stores.postgres.connection import load, quoted, shown, translated
from syncline.stores.postgres.log_tables import SQL as LOG_SQL
from syncline.stores.postgres.log_tables import connect_writer, create_log, has_log
from syncline.stores.postgres.outbox import sequence_outbox
from syncline.stores.postgres.texts import all_original, are_ordinary, original, storable

PATIENCE_MS = 50
"""How long a follower waits for whoever is appending: it has other services to follow meanwhile."""

SQL = load("history.sql")


class PostgresHistory:
    """See `History`. One thread owns it."""

    is_locked = False

    def __init__(self, database: str, *, patience_ms: int | None = None) -> None:
        """`patience_ms`: how long the log's lock is waited for, if not as long as any writer waits."""
        self.database = database
        self._connection = connect_writer(database, is_log=True)
        self._seen = ("", 0, 0)
        self._is_waiting = True
        if patience_ms is not None:
            self._connection.execute("SELECT set_config('lock_timeout', %s, false)", (f"{patience_ms}ms",))

    def close(self) -> None:
        self._connection.close()

    def exists(self) -> bool:
        """Whether the database holds a log. Raises StoreError for one of another format, or that the role may not follow."""
        with translated(self.database):
            self._refuse_missing_rights()
            return has_log(self._connection, self.database)

    def create(self) -> None:
        """Makes the log's tables where they are not."""
        with translated(self.database):
            create_log(self._connection, self.database)

    def changed(self) -> bool:
        with translated(self.database):
            place, self._is_waiting = self._place(0)
        return self._is_waiting or _state(place) != self._seen

    def place(self, after: int) -> Place:
        with translated(self.database):
            return self._place(after)[0]

    def newest(self) -> Position:
        with translated(self.database):
            with self._writing():
                sequence_outbox(self._connection)
            return self._place(0)[0].newest

    def batch(self, after: int, limit: int) -> tuple[Place, End | None, list[StoredEvent]]:
        with translated(self.database):
            if self._is_waiting:
                self._sequence()
            found = self._run("select_batch", after=after, limit=limit).fetchone()
            if found is None:
                raise self._no_row()
            place = Place(*found[:4])
            self._seen = _state(place)
            if place.head <= after:
                return place, None, []
            if found[4] is None:
                raise gap(shown(self.database), after, place.head)
            end = End(*found[4:])
            return place, end, self._events(after, end.position)

    def end(self, position: int, within: End) -> End:
        with translated(self.database):
            found = self._run("select_end", position=position, known=within.position, id=within.id).fetchone()
        if found is None:
            raise replaced(shown(self.database))
        return End(*found)

    def events(self, after: int, up_to: int) -> list[StoredEvent]:
        with translated(self.database):
            return self._events(after, up_to)

    def causes(self, after: int, up_to: int) -> list[Cause]:
        with translated(self.database):
            found = self._run("select_causes", after=after, up_to=up_to).fetchall()
        return [Cause(position, at, original(command_id), original(metadata)) for position, at, command_id, metadata in found]

    def stream(self, stream: str, since: int, up_to: int) -> list[StoredEvent]:
        with translated(self.database):
            return _original(self._run("select_stream", stream=storable(stream), since=since, up_to=up_to).fetchall())

    def renew(self, incarnation: str) -> None:
        with translated(self.database), self._writing(), self._connection.transaction():
            self._connection.execute(LOG_SQL["lock"])
            self._run("renew_incarnation", incarnation=incarnation)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """What only some logs ask of a follower. Raises StoreError where its role may not, with the GRANT."""
        try:
            yield
        except errors.InsufficientPrivilege:
            self._refuse_missing_rights(is_writing=True)
            raise

    def _refuse_missing_rights(self, *, is_writing: bool = False) -> None:
        missing = self._run("select_missing_rights", is_writing=is_writing).fetchall()
        if missing:
            role = quoted(self._connection.info.user)
            grants = "; ".join(f"GRANT {what} TO {role}" for (what,) in missing)
            why = ": something waits in the outbox, or the history was restored" if is_writing else ""
            what = "write to" if is_writing else "follow"
            raise StoreError(
                f"{shown(self.database)}: the role lacks rights to {what} the event log{why}; let its owner run: {grants}"
            )

    def _sequence(self) -> None:
        """Another time where somebody is appending just now: what is in the log already can be read."""
        try:
            with self._writing():
                sequence_outbox(self._connection)
        except errors.LockNotAvailable:
            return
        self._is_waiting = False

    def _place(self, after: int) -> tuple[Place, bool]:
        """And whether something waits in the outbox."""
        found = self._run("select_place", after=after).fetchone()
        if found is None:
            raise self._no_row()
        return Place(*found[:4]), found[4]

    def _no_row(self) -> SourceChanged:
        return SourceChanged(f"event log {shown(self.database)} has no row in syncline.event_log any more; restore the database")

    def _events(self, after: int, up_to: int) -> list[StoredEvent]:
        found = self._run("select_events", after=after, up_to=up_to).fetchall()
        if len(found) != up_to - after:
            raise gap(shown(self.database), after, up_to)
        return _original(found)

    def _run(self, statement: str, **values: object) -> Cursor[tuple[Any, ...]]:
        return self._connection.execute(SQL[statement], values, prepare=True, binary=True)


def _original(found: list[Any]) -> list[StoredEvent]:
    """Rows of events with their texts as they are, whatever characters these hold."""
    if are_ordinary([text for _, stream, name, _, data in found for text in (stream, name, data)]):
        return found
    return [all_original(row) for row in found]  # type: ignore[misc]


def _state(place: Place) -> tuple[str, int, int]:
    return place.incarnation, place.head, place.head_proof


def open_log(database: str) -> PostgresHistory:
    """The log that there is in a database, to be read. Raises Unavailable, or StoreError for a log of another format."""
    with _closed_on_error(PostgresHistory(database)) as history:
        if not history.exists():
            raise no_log(shown(database), "there is nothing to compare with")
    return history


def open_history(database: str, *, followed_up_to: int = 0) -> PostgresHistory:
    """The log in a database, made if there is none.

    Raises Unavailable, also for a log that was followed up to some position and is not there any more; StoreError for one of
    another format, or where the role lacks a right.
    """
    with _closed_on_error(PostgresHistory(database, patience_ms=PATIENCE_MS)) as history:
        if not history.exists():
            if followed_up_to:
                raise not_followed_any_more(shown(database), followed_up_to)
            history.create()
    return history


def head(database: str) -> Position | None:
    """The newest position of the log in a database; None where there is none."""
    with _closed_on_error(PostgresHistory(database)) as history:
        found = history.newest() if history.exists() else None
    history.close()
    return found


def renew_log(database: str) -> str:
    """The new name of the event log, which is made if there is none. Whoever follows it makes everything anew and compares."""
    with _closed_on_error(PostgresHistory(database)) as history:
        if history.exists():
            history.renew(history.place(0).incarnation)
        else:
            history.create()
        found = history.place(0).incarnation
    history.close()
    return found


@contextmanager
def _closed_on_error(history: PostgresHistory) -> Iterator[PostgresHistory]:
    try:
        yield history
    except BaseException:
        history.close()
        raise
