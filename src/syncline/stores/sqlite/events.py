"""The event log on SQLite: appends, each with its condition, many in one durable transaction; and reading.

Positions are dense and in commit order because only who holds the database's write lock gives them out. A commit is on disk
before `append` returns. Several processes may append to one log.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from syncline.errors import StoreError, Unavailable
from syncline.events import Append, Handled, Query, QueryItem, Recorded
from syncline.messages import Position
from syncline.stores.appending import Asked, Found, Group, decide, only_tag, recorded
from syncline.stores.event_log import Outcome, StoredRow
from syncline.stores.sqlite.service_file import open_service_file, service_errors
from syncline.stores.sqlite.write_lock import WriteLock
from syncline.stores.statements import load_statements

FORMAT = 1
MAX_POSITION = 2**63 - 1
ITEMS_MAX = 200
"""How many alternatives of a query one statement asks for."""

SQL = load_statements("syncline.stores.sqlite", "events.sql")


class SQLiteEventLog:
    """One service's event log. One thread at a time may use it."""

    def __init__(self, path: str, *, by_type: bool = False) -> None:
        """Opens the log in the file `path`, which is made if there is none. `by_type`: queries over types alone are to be quick.

        Raises Unavailable when the file cannot be used, StoreError when it is no log that this version can use.
        """
        self.path = path
        self._connection = open_service_file(path)
        self._lock = WriteLock(path)
        try:
            with service_errors(path), self._lock.held():
                create_log(self._connection, path, by_type=by_type)
                self.incarnation, self._newest = "", (0, 0)
                self._place()
        except BaseException:
            self.close()
            raise

    def append(self, appends: Sequence[Append]) -> list[Outcome]:
        """Stores each append whose condition holds, in order, in one transaction that is on disk when this returns.

        Each is accepted or refused on its own. Raises Unavailable or StoreError when the database fails: then nothing is stored.
        """
        with service_errors(self.path), self._transaction():
            head = self._place()
            group = decide(appends, head, self._look_up)
            self._write(group)
        if group.head > head:
            self._newest = group.head, group.newest_id
        return group.outcomes

    def read(
        self, after: int = 0, *, up_to: int = MAX_POSITION, limit: int = 1_000, query: Query | None = None
    ) -> list[Recorded]:
        """At most `limit` events with `after < position <= up_to` that match the query, in order of position."""
        with service_errors(self.path):
            if query is None or not query.items:
                rows = self._run("select_events", {"after": after, "up_to": up_to, "limit": limit}).fetchall()
            else:
                rows = self._matching(query, after, up_to, limit)
        return [recorded(*row) for row in rows]

    def read_streams(self, after: Mapping[str, int]) -> dict[str, list[StoredRow]]:
        """The events of several streams: of each those whose version is above the one given, in order."""
        found: dict[str, list[StoredRow]] = {}
        with service_errors(self.path):
            rows = self._of_streams(after)
        for stream, *rest in rows:
            found.setdefault(stream, []).append(StoredRow(stream, *rest))
        return found

    def read_queries(self, after: Mapping[Query, int], up_to: int) -> dict[Query, list[StoredRow]]:
        """The events of several queries: of each those with a position above the one given and at most `up_to`, in order."""
        found: dict[Query, list[StoredRow]] = {}
        by_tag = {tag: query for query in after if (tag := _only_tag(query)) is not None}
        with service_errors(self.path):
            if by_tag:
                wanted = json.dumps({tag: after[query] for tag, query in by_tag.items()})
                for tag, *rest in self._run("select_tagged", (wanted, up_to)):
                    found.setdefault(by_tag[tag], []).append(StoredRow(*rest))
            for query in after:
                if _only_tag(query) is None:
                    rows = self._matching(query, after[query], up_to, -1)
                    found[query] = [StoredRow(row[1], row[2], row[0], *row[3:6]) for row in rows]
        return found

    def handled(self, command_ids: Iterable[str]) -> dict[str, Handled]:
        """The outcomes of those of these commands that took effect."""
        self._lock.refuse_other_file()
        with service_errors(self.path):
            rows = self._of_texts("select_commands", list(command_ids))
        return {row[0]: Handled(*row) for row in rows}

    def events_of(self, handled: Handled) -> list[StoredRow]:
        """The events that a command decided."""
        with service_errors(self.path):
            bounds = {"after": handled.position - handled.count, "up_to": handled.position}
            rows = self._run("select_range", bounds).fetchall() if handled.count else []
        return [StoredRow(stream, version, position, name, shape, data) for position, stream, version, name, shape, data in rows]

    def head(self) -> Position:
        """The newest position."""
        with service_errors(self.path):
            n = self._place()
        return Position(self.incarnation, n)

    def snapshots(self, streams: Iterable[str]) -> dict[str, tuple[int, str, str]]:
        """The stored states of these streams: version, fingerprint and the state as JSON."""
        with service_errors(self.path):
            rows = self._of_texts("select_snapshots", list(streams))
        return {stream: (version, fingerprint, state) for stream, version, fingerprint, state in rows}

    def save_snapshots(self, snapshots: Sequence[tuple[str, int, str, str]]) -> None:
        """Stores states, each as stream, version, fingerprint and JSON, in place of older ones."""
        with service_errors(self.path), self._transaction():
            self._connection.executemany(SQL["upsert_snapshot"], snapshots)

    def close(self) -> None:
        self._connection.close()
        self._lock.close()

    def _place(self) -> int:
        """The newest position. Raises Unavailable if the log does not hold what this connection saw before: it was restored."""
        known, known_id = self._newest
        head, head_id, self.incarnation, found_id = self._run("select_head", (known,)).fetchone()
        if found_id != known_id:
            raise Unavailable(
                f"event log '{self.path}' has another history than it had (a backup was put back); nothing was stored, send again"
            )
        self._newest = head, head_id
        return int(head)

    # -- deciding about appends ----------------------------------------------------------------------------------------

    def _look_up(self, asked: Asked) -> Found:
        return Found(
            self.handled(asked.commands) if asked.commands else {},
            dict(self._of_texts("select_versions", asked.streams)) if asked.streams else {},
            frozenset(index for index, query, after in asked.conditions if self._matching(query, after, asked.head, 1)),
        )

    def _matching(self, query: Query, after: int, up_to: int, limit: int) -> list[Any]:
        """Rows of the events that match, in order of position."""
        items = query.items or (QueryItem(),)
        if len(items) > ITEMS_MAX:
            parted = [Query(items[start : start + ITEMS_MAX]) for start in range(0, len(items), ITEMS_MAX)]
            found = {row[0]: row for part in parted for row in self._matching(part, after, up_to, limit)}
            return [found[position] for position in sorted(found)][: limit if limit >= 0 else None]
        parts = [_select_item(item) for item in items]
        sql = " UNION ".join(text for text, _ in parts)
        values = [value for _, its in parts for value in its]
        bounds = [after, up_to]
        filled: list[object] = []
        for value in values:
            filled += bounds if value is _BOUNDS else [value]
        return self._connection.execute(f"{_OF_POSITIONS.format(positions=sql)} LIMIT ?", [*filled, limit]).fetchall()

    # -- writing -------------------------------------------------------------------------------------------------------

    def _write(self, group: Group) -> None:
        self._insert("insert_event", group.events)
        self._insert("insert_tag", group.tags)
        if group.commands:
            self._insert("insert_command", group.commands)
            self._run("count_commands", (len(group.commands) // _WIDTHS["insert_command"],))

    def _insert(self, statement: str, values: list[object]) -> None:
        """Many rows in few statements: each lets go of the interpreter once, not once a row."""
        width, start = _WIDTHS[statement], 0
        for rows in _ROWS_A_STATEMENT:
            size = rows * width
            while len(values) - start >= size:
                self._connection.execute(_INSERTS[statement, rows], values[start : start + size])
                start += size

    def _of_texts(self, statement: str, texts: list[str]) -> list[Any]:
        """The rows of a statement about a list of ids or streams."""
        listed = json.dumps(texts)
        if _NUL not in listed:
            return self._run(statement, (listed,)).fetchall()
        one = SQL[statement].replace("SELECT value FROM json_each(?)", "SELECT ? AS value")
        return [row for text in texts for row in self._connection.execute(one, (text,))]

    def _of_streams(self, after: Mapping[str, int]) -> list[Any]:
        listed = json.dumps(after)
        if _NUL not in listed:
            return self._run("select_streams", (listed,)).fetchall()
        one = SQL["select_streams"].replace("json_each(?)", "(SELECT ? AS key, ? AS value)")
        return [row for pair in after.items() for row in self._connection.execute(one, pair)]

    def _run(self, statement: str, values: Sequence[object] | Mapping[str, object] = ()) -> sqlite3.Cursor:
        return self._connection.execute(SQL[statement], values)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock.held():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")


_ROWS_A_STATEMENT = (64, 8, 1)
_INSERTS = {
    (name, rows): SQL[name] + f", {SQL[name].rpartition('VALUES')[2]}" * (rows - 1)
    for name in ("insert_event", "insert_tag", "insert_command")
    for rows in _ROWS_A_STATEMENT
}
_WIDTHS = {name: SQL[name].count("?") for name in ("insert_event", "insert_tag", "insert_command")}

_NUL = "\\u0000"
"""SQLite's JSON functions before 3.45 end a text at this character: a list that holds it is asked for one by one."""
_BOUNDS = object()
_OF_POSITIONS = (
    "SELECT position, stream, version, name, shape, data, id, append_end, at, command_id, metadata, tags FROM syncline_event "
    "WHERE position IN ({positions}) ORDER BY position"
)


def _select_item(item: QueryItem) -> tuple[str, list[object]]:
    """SELECT of the positions of the events that match one alternative, and its values; the bounds where `_BOUNDS` stands."""
    values: list[object] = []
    if not item.tags:
        values += [*item.types, _BOUNDS]
        types = f"name IN ({', '.join('?' * len(item.types))}) AND " if item.types else ""
        return f"SELECT position FROM syncline_event WHERE {types}position > ? AND position <= ?", values
    first, *others = item.tags
    conditions = ["t.tag = ?", "t.position > ?", "t.position <= ?"]
    values += [first, _BOUNDS]
    for tag in others:
        conditions.append("EXISTS (SELECT 1 FROM syncline_tag AS o WHERE o.tag = ? AND o.position = t.position)")
        values.append(tag)
    if item.types:
        names = ", ".join("?" * len(item.types))
        conditions.append(f"(SELECT name FROM syncline_event AS e WHERE e.position = t.position) IN ({names})")
        values += item.types
    return f"SELECT t.position FROM syncline_tag AS t WHERE {' AND '.join(conditions)}", values


def create_log(connection: sqlite3.Connection, path: str, *, by_type: bool = False) -> None:
    """Makes the log's tables where they are not. Raises StoreError for a log of a newer format."""
    is_there = has_log(connection, path)
    for name in ("log", "event", "tag", "command", "snapshot", *(("name_index",) if by_type else ())):
        connection.execute(SQL[f"create_{name}"])
    if not is_there:  # a log that is there is opened without its write lock, which an outbox's caller may hold for long
        connection.execute(SQL["insert_log"], {"format": FORMAT})


def has_log(connection: sqlite3.Connection, path: str) -> bool:
    """Whether there is a log. Raises StoreError for one of a newer format."""
    is_created = connection.execute(SQL["is_created"]).fetchone()[0]
    found = connection.execute(SQL["select_log"]).fetchone() if is_created else None
    if found is not None and found[0] != FORMAT:
        raise StoreError(
            f"'{path}' holds an event log of format {found[0]}, this version reads format {FORMAT}; "
            "use the version of Syncline that made it, or a newer one"
        )
    return found is not None


def _only_tag(query: Query) -> str | None:
    """The only tag that the query is about, where JSON can carry it to SQLite."""
    tag = only_tag(query)
    return tag if tag is not None and "\0" not in tag else None
