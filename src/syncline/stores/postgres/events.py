"""The event log on PostgreSQL: appends, each with its condition, many in one durable transaction; and reading.

Positions are dense and in commit order because only who holds the log's advisory lock gives them out, and keeps it until the
commit is seen by all. A commit is on disk before `append` returns. Several processes may append to one log.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import psycopg

from syncline.errors import StoreError, Unavailable
from syncline.events import NO_STREAM, Append, Handled, Query, QueryItem, Recorded
from syncline.messages import Position
from syncline.stores.appending import Asked, Found, Group, asked_about, decide, decide_upon, recorded, taken_for_new
from syncline.stores.event_log import Outcome, StoredRow
from syncline.stores.postgres.connection import shown, translated
from syncline.stores.postgres.log_tables import SQL, connect_writer, create_log, roll_back
from syncline.stores.postgres.round_trip import RoundTrip
from syncline.stores.postgres.texts import all_original, number_array, original, storable, text_array

MAX_POSITION: Final = 2**63 - 1

_EVENT = (
    *("event_position", "event_stream", "event_version", "event_name", "event_shape", "event_data"),
    *("event_id", "event_append_end", "event_at", "event_command_id", "event_metadata", "event_tags"),
)
_TAG = ("tag_tag", "tag_position")
_COMMAND = (
    *("command_id", "command_name", "command_digest", "command_stream"),
    *("command_version", "command_position", "command_count"),
)
_SNAPSHOT = ("snapshot_stream", "snapshot_version", "snapshot_fingerprint", "snapshot_state")
_TEXTS = frozenset(
    name
    for name in (*_EVENT, *_TAG, *_COMMAND, *_SNAPSHOT)
    if any(f"%({name})s::text[]" in SQL[statement] for statement in ("store", "upsert_snapshots"))
)
_QUERIES = {
    name: SQL[name].replace("{items}", SQL["items"]).replace("{matching}", SQL["matching"])
    for name in ("select_matching", "select_of_queries", "select_broken")
}


class PostgresEventLog:
    """One service's event log. One thread at a time may use it."""

    def __init__(self, database: str, *, by_type: bool = False) -> None:
        """Opens the log in a database, where it is made if there is none. `by_type`: queries over types alone are to be quick.

        Raises Unavailable when the database cannot be used, StoreError when it holds no log that this version can use, or a
        right is missing.
        """
        self.database = database
        self._connection = connect_writer(database, is_log=True)
        try:
            with translated(database):
                create_log(self._connection, database, by_type=by_type)
                self.incarnation, self._newest = "", (0, 0)
                self._place()
                self._round_trip = RoundTrip(self._connection, syncline_lock=SQL["lock"], syncline_store=SQL["store"])
        except BaseException:
            self.close()
            raise

    def append(self, appends: Sequence[Append]) -> list[Outcome]:
        """Stores each append whose condition holds, in order, in one transaction that is on disk when this returns.

        Each is accepted or refused on its own. Raises Unavailable or StoreError when the database fails: then nothing is stored,
        or, where the connection was lost during the commit, it cannot be told; a command that is sent again takes effect once.
        """
        with self._errors():
            group = self._append_at_once(appends) or self._append(appends)
        if group.events:
            self._newest = group.head, group.newest_id
        return group.outcomes

    def read(
        self, after: int = 0, *, up_to: int = MAX_POSITION, limit: int = 1_000, query: Query | None = None
    ) -> list[Recorded]:
        """At most `limit` events with `after < position <= up_to` that match the query, in order of position."""
        with self._errors():
            if query is None or not query.items:
                found = self._run("select_events", after=after, up_to=up_to, limit=limit if limit >= 0 else None)
            else:
                found = self._ask("select_matching", [(0, query, after)], up_to, limit=limit if limit >= 0 else None)
            rows: list[Any] = found.fetchall()
        return [recorded(*all_original(row)) for row in rows]  # type: ignore[arg-type]

    def read_streams(self, after: Mapping[str, int]) -> dict[str, list[StoredRow]]:
        """The events of several streams: of each those whose version is above the one given, in order."""
        found: dict[str, list[StoredRow]] = {}
        with self._errors():
            streams = [storable(stream) for stream in after]
            for row in self._run("select_streams", streams=streams, versions=list(after.values())):
                stored = _stored(row)
                found.setdefault(stored.stream, []).append(stored)
        return found

    def read_queries(self, after: Mapping[Query, int], up_to: int) -> dict[Query, list[StoredRow]]:
        """The events of several queries: of each those with a position above the one given and at most `up_to`, in order."""
        queries = list(after)
        found: dict[Query, list[StoredRow]] = {}
        with self._errors():
            asked = [(index, query, after[query]) for index, query in enumerate(queries)]
            for index, *row in self._ask("select_of_queries", asked, up_to):
                found.setdefault(queries[index], []).append(_stored(row))
        return found

    def handled(self, command_ids: Iterable[str]) -> dict[str, Handled]:
        """The outcomes of those of these commands that took effect."""
        with self._errors():
            return _handled(self._run("select_commands", ids=[storable(each) for each in command_ids]))

    def events_of(self, handled: Handled) -> list[StoredRow]:
        """The events that a command decided."""
        if not handled.count:
            return []
        with self._errors():
            found = self._run("select_range", after=handled.position - handled.count, up_to=handled.position)
            return [_stored(row) for row in found]

    def head(self) -> Position:
        """The newest position."""
        with self._errors():
            n = self._place()
        return Position(self.incarnation, n)

    def snapshots(self, streams: Iterable[str]) -> dict[str, tuple[int, str, str]]:
        """The stored states of these streams: version, fingerprint and the state as JSON."""
        with self._errors():
            found = self._run("select_snapshots", streams=[storable(each) for each in streams]).fetchall()
        return {original(stream): (version, fingerprint, original(state)) for stream, version, fingerprint, state in found}

    def save_snapshots(self, snapshots: Sequence[tuple[str, int, str, str]]) -> None:
        """Stores states, each as stream, version, fingerprint and JSON, in place of older ones."""
        newest = {stream: (stream, *rest) for stream, *rest in snapshots}  # one statement takes each stream once
        with self._errors():
            self._run("upsert_snapshots", **_columns([value for row in newest.values() for value in row], _SNAPSHOT))

    def close(self) -> None:
        self._connection.close()

    def _place(self) -> int:
        """The newest position. Raises Unavailable if the log does not hold what this connection saw before: it was restored."""
        known, known_id = self._newest
        found = self._run("select_head", known=known).fetchone()
        if found is None:
            raise StoreError(f"{shown(self.database)} has no row in syncline.event_log any more; restore the database")
        head, head_id, self.incarnation, found_id = found
        if found_id != known_id:
            raise Unavailable(
                f"the event log in {shown(self.database)} has another history than it had (a backup was put back, or another "
                "server took over); nothing was stored, send again"
            )
        self._newest = head, head_id
        return int(head)

    def _append_at_once(self, appends: Sequence[Append]) -> Group | None:
        """Stores what needs nothing to be looked up, in one round trip. None, and nothing is stored, where something is needed,
        the head is not the one that this connection knows, or a stream that an append takes for new is not."""
        head = self._newest[0]
        new = taken_for_new(appends, head)
        if not asked_about(appends, head, new).is_nothing:
            return None
        group = decide_upon(appends, head, Found(versions=dict.fromkeys(new, NO_STREAM)))
        if not (group.events or group.commands):
            return None
        found = self._round_trip.run(self._values(group, new)).get_value(0, 0)
        if found is None:
            return None
        self.incarnation = found.decode()
        return group

    def _append(self, appends: Sequence[Append]) -> Group:
        with self._locked():
            group = decide(appends, self._place(), self._look_up)
            if group.events or group.commands:
                self._run("store", **self._values(group))
        return group

    def _look_up(self, asked: Asked) -> Found:
        """Sends all that is asked at once, and only then waits for the answers."""
        commands = self._run("select_commands", ids=[storable(each) for each in asked.commands]) if asked.commands else None
        versions = self._run("select_versions", streams=[storable(each) for each in asked.streams]) if asked.streams else None
        broken = self._ask("select_broken", asked.conditions, asked.head) if asked.conditions else None
        return Found(
            _handled(commands) if commands is not None else {},
            {original(stream): version for stream, version in versions} if versions is not None else {},
            frozenset(index for (index,) in broken) if broken is not None else frozenset(),
        )

    def _values(self, group: Group, new: Collection[str] = ()) -> dict[str, Any]:
        """What the statement that stores the group is told: the head that this connection knows, and what must be new."""
        head, head_id = self._newest
        columns = {**_columns(group.events, _EVENT), **_columns(group.tags, _TAG), **_columns(group.commands, _COMMAND)}
        count = len(group.commands) // len(_COMMAND)
        return {**columns, "count": count, "head": head, "head_id": head_id, "new_streams": text_array(list(new))}

    def _ask(self, statement: str, asked: Sequence[tuple[int, Query, int]], up_to: int, **more: object) -> Any:
        items = [_item(index, after, item) for index, query, after in asked for item in (query.items or (QueryItem(),))]
        values = {"items": json.dumps(items, ensure_ascii=False), "up_to": up_to, **more}
        return self._connection.execute(_QUERIES[statement], values, prepare=True)

    def _run(self, statement: str, /, **values: object) -> psycopg.Cursor[tuple[Any, ...]]:
        return self._connection.execute(SQL[statement], values, prepare=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """A transaction that alone gives out positions. What is run in it and not asked for is sent together."""
        connection = self._connection
        try:
            with connection.pipeline():
                connection.execute(SQL["begin"])
                self._run("lock")
                yield
                connection.execute("COMMIT")
        except BaseException:
            roll_back(connection)
            raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        with translated(self.database):
            try:
                yield
            except UnicodeEncodeError as error:
                raise StoreError(
                    f"{shown(self.database)}: a name or tag is no Unicode text: {error}; nothing was stored"
                ) from error


def _columns(values: list[Any], names: tuple[str, ...]) -> dict[str, str]:
    """Rows that follow one another in one list, as an array for each column."""
    width = len(names)
    found = {name: values[place::width] for place, name in enumerate(names)}
    return {name: text_array(column) if name in _TEXTS else number_array(column) for name, column in found.items()}


def _item(index: int, after: int, item: QueryItem) -> dict[str, object]:
    tags = [storable(tag) for tag in item.tags]
    types = [storable(str(name)) for name in item.types]
    return {"i": index, "after": after, "tag": tags[0] if tags else None, "others": tags[1:], "types": types or None}


def _handled(rows: Iterable[Sequence[Any]]) -> dict[str, Handled]:
    found = (Handled(*all_original(row)) for row in rows)  # type: ignore[arg-type]
    return {each.command_id: each for each in found}


def _stored(row: Sequence[Any]) -> StoredRow:
    stream, version, position, name, shape, data = row
    return StoredRow(original(stream), version, position, original(name), shape, original(data))
