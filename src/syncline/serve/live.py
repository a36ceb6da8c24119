"""Live changes of views: who follows what, and one thread for each read store that tells all of them.

**Theory of operation.** The thread looks whether the relay has committed; if so it opens one snapshot, reads what is new in the
change feed of every view that somebody follows, looks the changed rows up by their keys, and gives each stream what is its own.
So every event belongs to one state of the store, whose token it carries; nothing is read twice however many follow; and while
nobody does, nothing runs. A new stream is given its beginning in such a snapshot too, after what was new went to the others: so
nothing falls between its beginning and its first change.

A stream without conditions gets every change of its view, and goes on where its last one ended. A stream with conditions (of a
row filter, a key, or its own) knows which keys it has shown: a row that comes to match is an `upsert`, one that no longer does, a
`delete`, and of a row that it never showed it says nothing. What it has shown is not known after it was cut, so it begins anew.

A stream that is not read is bounded: what does not fit is not kept, and the stream ends.
"""

import asyncio
import base64
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from syncline.codec import to_json
from syncline.errors import ImpossibleValue, NotReady, StoreError, SynclineError, Unavailable, UnknownColumn
from syncline.messages import Key, Row, Token
from syncline.read.definition import Definition
from syncline.read.meaning import meant_by
from syncline.read.reader import column_of
from syncline.read.snapshot import Snapshot, services_of
from syncline.serve.shapes import writers
from syncline.stores.paging import Condition
from syncline.stores.protocols import Changes, Reader
from syncline.stores.roles import dialect_of, read_role

POLL_S = 0.004
REOPEN_S = 0.25
LOOK_S = 0.5
MOST_PENDING = 2_000
"""Events that a stream may not have sent yet before it is cut."""
MOST_SHOWN = 20_000
"""Rows that a stream with conditions, or with its rows first, may show."""
MOST_CAUGHT_UP = 20_000
"""Changes that a stream which goes on may have missed; after more it begins anew."""


@dataclass(frozen=True, slots=True)
class Followed:
    """What a stream is about: a view, and columns with the values that a row of it must have; and whether rows come first.

    `after` is where the stream was before, as the identity of the store and the number of the change.
    """

    view: str
    conditions: Sequence[tuple[str, object]] = ()
    after: tuple[str, int] | None = None
    with_rows: bool = False


@dataclass(eq=False, slots=True)
class Stream:
    """One that follows. Events wait here until its loop sends them; all fields but `pending` are the telling thread's."""

    followed: Followed
    loop: asyncio.AbstractEventLoop
    news: asyncio.Event
    pending: deque[bytes] = field(default_factory=deque)
    is_over: bool = False
    failure: Exception | None = None
    shown: set[Key] = field(default_factory=set)
    conditions: tuple[tuple[int, str], ...] = ()
    """The places of columns in a row, and the text of the value that each must have."""


@dataclass(slots=True)
class _View:
    """A view that is followed: where in which store's change feed the thread is, and the streams, found by what concerns them."""

    at: int = -1
    consumer: str = ""
    streams: dict[Stream, None] = field(default_factory=dict)
    whole: dict[Stream, None] = field(default_factory=dict)
    by_value: dict[int, dict[str, dict[Stream, None]]] = field(default_factory=dict)
    by_key: dict[Key, dict[Stream, None]] = field(default_factory=dict)

    def add(self, stream: Stream) -> None:
        self.streams[stream] = None
        if stream.conditions:
            place, value = stream.conditions[0]
            self.by_value.setdefault(place, {}).setdefault(value, {})[stream] = None
        else:
            self.whole[stream] = None

    def remove(self, stream: Stream) -> None:
        for key in list(stream.shown):
            self.hide(stream, key)
        self.streams.pop(stream, None)
        self.whole.pop(stream, None)
        if stream.conditions:
            place, value = stream.conditions[0]
            of_value = self.by_value.get(place, {}).get(value, {})
            of_value.pop(stream, None)
            if not of_value:
                self.by_value.get(place, {}).pop(value, None)

    def show(self, stream: Stream, key: Key) -> None:
        if stream.conditions:
            stream.shown.add(key)
            self.by_key.setdefault(key, {})[stream] = None

    def hide(self, stream: Stream, key: Key) -> None:
        stream.shown.discard(key)
        holding = self.by_key.get(key, {})
        holding.pop(stream, None)
        if not holding:
            self.by_key.pop(key, None)

    def concerned(self, key: Key, row: Row | None) -> dict[Stream, None]:
        """The streams with conditions that show this row already, and those that may show it now."""
        found = dict(self.by_key.get(key, {}))
        for place, by_value in self.by_value.items() if row is not None else ():
            found |= by_value.get(as_text(row[place]), {})  # type: ignore[index]
        return found


class Live:
    """The streams of one read store. Its thread runs while there is one, and ends with `close`."""

    def __init__(self, database: str) -> None:
        self._database, self._dialect = database, dialect_of(database)
        self._role = read_role(database)
        self._lock = threading.Lock()
        self._new: list[Stream] = []
        self._left: list[Stream] = []
        self._thread: threading.Thread | None = None
        self._woken = threading.Event()
        self._is_closed = False
        self._views: dict[str, _View] = {}

    def follow(self, followed: Followed) -> Stream:
        """A stream, told of from now on in the loop that runs here. To be left with `leave`."""
        stream = Stream(followed, asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            if self._is_closed:
                raise Unavailable("the service is stopping; ask again later")
            self._new.append(stream)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="live-changes", daemon=True)
                self._thread.start()
        self._woken.set()
        return stream

    def leave(self, stream: Stream) -> None:
        """Nothing more is told to the stream."""
        with self._lock:
            self._left.append(stream)

    def close(self) -> None:
        """Ends all streams."""
        with self._lock:
            self._is_closed, thread = True, self._thread
        self._woken.set()
        if thread is not None:
            thread.join()

    # -- the thread ----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        reader: Reader | None = None
        version, look_at = -1, 0.0
        while True:
            new = self._arrivals()
            if new is None:
                break
            try:
                reader = reader or self._role.open_reader(self._database)
                if time.monotonic() >= look_at:  # whether the store is still the one at its place
                    look_at = time.monotonic() + LOOK_S
                    if not reader.is_there():
                        raise Unavailable("the read store was put away, or made anew; it is opened again")
                found = reader.data_version()
                if found != version or new:
                    version = found
                    self._tell(reader, new)
            except SynclineError as error:
                self._fail(new, error)
                if reader is not None:
                    with suppress(StoreError):
                        reader.close()
                reader, version = None, -1
                self._woken.wait(REOPEN_S)
            self._woken.wait(POLL_S)
            self._woken.clear()
        if reader is not None:
            reader.close()

    def _arrivals(self) -> list[Stream] | None:
        """The streams that came, those that left being forgotten; None when none is left, or all are ended."""
        with self._lock:
            new, left, self._new, self._left = self._new, set(self._left), [], []
            for name, view in list(self._views.items()):
                for stream in [each for each in view.streams if each in left or each.is_over]:
                    view.remove(stream)
                if not view.streams:
                    del self._views[name]
            new = [stream for stream in new if stream not in left]
            if self._is_closed or not (new or self._views):
                self._thread = None
                streams = [*new, *(stream for view in self._views.values() for stream in view.streams)]
                self._views.clear()
                for stream in streams:
                    stream.is_over = True
                _wake(streams)
                return None
            return new

    def _fail(self, new: Sequence[Stream], error: Exception) -> None:
        """New streams are refused with the reason; those that follow wait until the store is back, and miss nothing."""
        for stream in new:
            stream.failure, stream.is_over = error, True
        _wake(new)

    def _tell(self, reader: Reader, new: Sequence[Stream]) -> None:
        told: dict[Stream, None] = {}
        try:
            with reader.snapshot():
                snapshot = Snapshot(reader)
                for name in {*self._views, *(stream.followed.view for stream in new)}:
                    self._tell_view(reader, snapshot, name, [each for each in new if each.followed.view == name], told)
        finally:
            _wake(told)

    def _tell_view(
        self, reader: Reader, snapshot: Snapshot, name: str, beginning: Sequence[Stream], told: dict[Stream, None]
    ) -> None:
        definition = snapshot.views[name].live if name in snapshot.views else None
        if definition is None:
            self._fail(beginning, NotReady(f"view '{name}' cannot be followed yet: it has no rows; ask again later"))
            return
        teller = _Teller(reader, snapshot, definition, self._dialect, told)
        view = self._views.setdefault(name, _View())
        teller.tell_changes(view)
        for stream in beginning:
            teller.begin(view, stream)


class _Teller:
    """Tells of one view in one snapshot."""

    def __init__(
        self, reader: Reader, snapshot: Snapshot, definition: Definition, dialect: str, told: dict[Stream, None]
    ) -> None:
        """`told` gathers the streams that are told something."""
        self._reader, self._told = reader, told
        self._definition, self._plan = definition, definition.own_plan
        self._key = definition.view.key
        self._columns = self._plan.visible
        self._key_at = tuple(self._columns.index(name) for name in self._key)
        self._write = writers(self._plan.visible_types, dialect)
        self._consumer = reader.consumer()
        services = services_of(definition, snapshot.views, snapshot.mirrors)
        vector = {feed.service: feed.checkpoint.position for feed in snapshot.feeds if feed.service in services}
        self._token = str(Token({name: at for name, at in vector.items() if at is not None}))

    def tell_changes(self, view: _View) -> None:
        """What is new in the view's change feed, to each stream what is its own."""
        if view.at < 0:
            view.at, view.consumer = self._changes(2**62).newest, self._consumer
            return
        changes = self._changes(view.at)
        is_other = view.consumer != self._consumer
        if not changes.rows and not is_other:
            return
        if is_other or self._is_broken(changes, view.at):
            view.consumer = self._consumer
            for stream in view.streams:
                self._begin_anew(view, stream, changes.newest)
            view.at = changes.newest
        else:
            self._tell_rows(view, changes.rows, view.whole)
            view.at = changes.rows[-1][0]  # type: ignore[assignment]

    def begin(self, view: _View, stream: Stream) -> None:
        """The beginning of a stream: what it missed since it was cut, or its rows, or nothing but where it is."""
        followed = stream.followed
        try:
            meant = self._meant(followed)
        except (UnknownColumn, ImpossibleValue) as error:
            stream.failure, stream.is_over = error, True
            self._told[stream] = None
            return
        stream.conditions = tuple(
            (self._columns.index(each.column), _text_of(each, value))
            for each, (_, value) in zip(meant, followed.conditions, strict=True)
        )
        missed = None
        if followed.after is not None and not followed.conditions and followed.after[0] == self._consumer:
            missed = self._changes(followed.after[1])
        if missed is not None and followed.after is not None and not self._is_broken(missed, followed.after[1]):
            self._put(stream, self._event("begin", followed.after[1], None, None))
            self._tell_rows(_View(), missed.rows, [stream])
        elif followed.after is None and not followed.conditions and not followed.with_rows:
            self._put(stream, self._event("begin", view.at, None, None))
        else:
            self._begin_anew(view, stream, view.at)
        view.add(stream)

    def _changes(self, after: int) -> Changes:
        return self._reader.changes(self._plan.name, self._key, after, MOST_CAUGHT_UP)

    def _is_broken(self, changes: Changes, after: int) -> bool:
        """Whether the feed no longer leads from there to now: forgotten, another feed, the view built anew, or too far."""
        is_gone = changes.oldest > after + 1 or after > changes.newest or len(changes.rows) == MOST_CAUGHT_UP
        return is_gone or any(row[1] == "reset" for row in changes.rows)

    def _begin_anew(self, view: _View, stream: Stream, at: int) -> None:
        """A `reset`; then, where the stream has conditions or wants them, all rows that it is about."""
        rows: list[Row] = []
        if stream.conditions or stream.followed.with_rows:
            rows = self._reader.rows(self._plan.name, self._columns, self._meant(stream.followed), (), MOST_SHOWN + 1)
        if len(rows) > MOST_SHOWN:
            reason = f"more than {MOST_SHOWN:,} rows match; follow fewer of them, or the view without its rows first"
            stream.failure, stream.is_over = NotReady(reason), True
            self._told[stream] = None
            return
        for key in list(stream.shown):
            view.hide(stream, key)
        self._put(stream, self._event("reset", at, None, None), is_bounded=False)
        for row in rows:
            if _is_about(stream, row):
                key = self._key_of(row)
                view.show(stream, key)
                self._put(stream, self._event("upsert", at, key, row), is_bounded=False)

    def _meant(self, followed: Followed) -> list[Condition]:
        """The conditions of a stream, with the values that they mean. Raises UnknownColumn and ImpossibleValue."""
        columns = {column.name: column for column in self._plan.columns}
        conditions = [(columns[column_of(self._definition, name)], value) for name, value in followed.conditions]
        return [Condition(column.name, meant_by(column, value, as_base64=True)) for column, value in conditions]

    def _tell_rows(self, view: _View, changes: Sequence[Row], whole: Iterable[Stream]) -> None:
        """Each key once, with the number of its last change and the row as it is in this snapshot."""
        last: dict[Key, int] = {row[2:]: row[0] for row in changes}  # type: ignore[misc]
        rows = self._rows_of(list(last))
        for key, number in sorted(last.items(), key=lambda item: item[1]):
            row = rows.get(key)
            event = self._event("upsert" if row is not None else "delete", number, key, row)
            for stream in whole:
                self._put(stream, event)
            for stream in view.concerned(key, row):
                if row is not None and _is_about(stream, row):
                    view.show(stream, key)
                    self._put(stream, event)
                elif key in stream.shown:
                    view.hide(stream, key)
                    self._put(stream, self._event("delete", number, key, None))

    def _rows_of(self, keys: list[Key]) -> dict[Key, Row]:
        """The rows with these keys, by the key as the change feed spells it."""
        found = self._reader.lookup(self._plan.name, self._columns, self._key, keys)
        rows = {self._key_of(row): row for row in found}
        for key in keys if len(rows) < len(keys) and self._has_spellings else ():
            if key not in rows and (other := self._reader.lookup(self._plan.name, self._columns, self._key, [key])):
                rows[key] = other[0]
        return rows

    @property
    def _has_spellings(self) -> bool:
        """Whether equal keys may be written differently: in capitals and not, or as 1 and 1.0."""
        columns = [column for column in self._plan.columns if column.name in self._key]
        return any(column.collation.upper() != "BINARY" or not column.declared_type for column in columns)

    def _key_of(self, row: Row) -> Key:
        return tuple(row[place] for place in self._key_at)

    def _event(self, kind: str, number: int, key: Key | None, row: Row | None) -> bytes:
        data: dict[str, object] = {"token": self._token}
        if key is not None:
            write = [self._write[place] for place in self._key_at]
            data["key"] = {name: one(value) for name, one, value in zip(self._key, write, key, strict=True)}
            data["row"] = None
        if row is not None:
            data["row"] = {name: one(value) for name, one, value in zip(self._columns, self._write, row, strict=True)}
        return f"id: {self._consumer}.{number}\nevent: {kind}\ndata: ".encode() + to_json(data) + b"\n\n"

    def _put(self, stream: Stream, event: bytes, *, is_bounded: bool = True) -> None:
        if is_bounded and len(stream.pending) >= MOST_PENDING:
            stream.is_over = True
        elif not stream.is_over:
            stream.pending.append(event)
        self._told[stream] = None


def _is_about(stream: Stream, row: Row) -> bool:
    return all(as_text(row[place]) == value for place, value in stream.conditions)


def _text_of(condition: Condition, given: object) -> str:
    """What `as_text` makes of a row's value where the condition holds: bytes may have been given in another spelling."""
    return as_text(condition.values[-1] if isinstance(condition.values[-1], bytes) else given)


def as_text(value: object) -> str:
    """A value as conditions of streams compare it: stored and asked for alike."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def _wake(streams: Iterable[Stream]) -> None:
    """Wakes each loop once."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Stream]] = {}
    for stream in streams:
        by_loop.setdefault(stream.loop, []).append(stream)
    for loop, its in by_loop.items():
        with suppress(RuntimeError):  # the loop is closed: nobody reads any more
            loop.call_soon_threadsafe(_set_all, its)


def _set_all(streams: Sequence[Stream]) -> None:
    for stream in streams:
        stream.news.set()
