"""What a read store tells of itself in one snapshot, and what follows of it for each view that can be read.

Knows the read store only through `StoreReader`. Everything is worked out once for each commit of the relay, however many read.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import Protocol

from syncline.errors import NotReady
from syncline.messages import Column, DeadLetter, Key, Position, Relation, Row, Scalar, Token
from syncline.move.freshness import Checkpoint
from syncline.read.definition import Definition
from syncline.read.maintain.asked import Asked
from syncline.stores.paging import Condition, Sort


class Mirror(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def relation(self) -> Relation: ...
    @property
    def state(self) -> str: ...
    @property
    def rows(self) -> int: ...


class StoredView(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def live(self) -> Definition | None: ...
    @property
    def next(self) -> Definition | None: ...
    @property
    def generation(self) -> int | None: ...
    @property
    def built(self) -> tuple[int, int] | None: ...
    @property
    def error(self) -> str | None: ...


class StoredFeed(Protocol):
    @property
    def service(self) -> str: ...
    @property
    def capture(self) -> str: ...
    @property
    def checkpoint(self) -> Checkpoint: ...
    @property
    def state(self) -> str: ...
    @property
    def activity(self) -> str: ...
    @property
    def error(self) -> str | None: ...


class ParkedKey(Protocol):
    @property
    def view(self) -> str: ...
    @property
    def key(self) -> Key: ...
    @property
    def error(self) -> str: ...


class QueryRows(Protocol):
    @property
    def columns(self) -> Sequence[tuple[str, str]]: ...
    @property
    def rows(self) -> list[Row]: ...
    @property
    def is_cut_short(self) -> bool: ...


class StoreReader(Protocol):
    """A reading connection to a read store."""

    def snapshot(self) -> AbstractContextManager[None]: ...

    def data_version(self) -> int: ...

    def feeds(self) -> Sequence[StoredFeed]: ...

    def views(self) -> Mapping[str, StoredView]: ...

    def mirrors(self) -> Sequence[Mirror]: ...

    def parked(self) -> Sequence[ParkedKey]: ...

    def held_streams(self) -> Sequence[DeadLetter]: ...

    def marked(self, view: str, pieces: Sequence[Key]) -> tuple[list[bool], bool]: ...

    def query(self, asked: Asked, values: Mapping[str, object], limit: int, timeout_s: float) -> QueryRows: ...

    def rows(
        self,
        table: str,
        columns: Sequence[str],
        where: Sequence[Condition] = (),
        order_by: Sequence[Sort] = (),
        limit: int | None = None,
        after: Sequence[Scalar] | None = None,
    ) -> list[Row]: ...


@dataclass(frozen=True, slots=True)
class Live:
    """A view that can be read: the services that it depends on, the vector that its rows belong to, and what is known of them.

    `columns` are its visible columns by their names in lower case, `types` their types in order, `by_key` the order of its key,
    `letters` the streams of its services that are held back.
    """

    definition: Definition
    services: frozenset[str]
    feeds: Sequence[StoredFeed]
    vector: Mapping[str, Checkpoint]
    token: Token
    is_exact: bool
    notes: tuple[str, ...]
    letters: Sequence[DeadLetter]
    columns: Mapping[str, Column]
    types: tuple[str, ...]
    by_key: tuple[Sort, ...]


class Snapshot:
    """What a read store tells of itself, each part read when it is first needed, within the snapshot that is open then."""

    def __init__(self, reader: StoreReader) -> None:
        self.reader = reader
        self._live: dict[str, Live] = {}

    @cached_property
    def feeds(self) -> Sequence[StoredFeed]:
        return self.reader.feeds()

    @cached_property
    def views(self) -> Mapping[str, StoredView]:
        return self.reader.views()

    @cached_property
    def mirrors(self) -> Sequence[Mirror]:
        return self.reader.mirrors()

    @cached_property
    def parked(self) -> Sequence[ParkedKey]:
        return self.reader.parked()

    @cached_property
    def held_streams(self) -> Sequence[DeadLetter]:
        return self.reader.held_streams()

    def live(self, name: str) -> Live | NotReady:
        """What there is to be read of a view, or why there is nothing yet."""
        found = self._live.get(name)
        if found is not None:
            return found
        view = self.views.get(name)
        if view is None:
            return NotReady(
                f"view '{name}' is configured, but the read store does not know it yet; start `syncline run` again (one that "
                "runs reads its configuration only once), or run `syncline sync --once`"
            )
        if view.live is None:
            return NotReady(f"view '{name}' cannot be read yet: {why_not_ready(view, self.mirrors, self.feeds)}")
        self._live[name] = _live(self, name, view.live)
        return self._live[name]

    def parked_for(self, name: str) -> list[ParkedKey]:
        """The pieces set aside that matter to a view."""
        return [each for each in self.parked if _concerns(each.view, name, self)]


class Snapshots:
    """The snapshots of one reader, one after the other: what one has told is told again while nothing was committed between.

    `with` opens one: everything read inside belongs to one state, one vector. So does what is read between `begin` and `end`.
    """

    def __init__(self, reader: StoreReader) -> None:
        self._reader = reader
        self._version: int | None = None
        self._last = Snapshot(reader)
        self._open: AbstractContextManager[None] | None = None

    def begin(self) -> Snapshot:
        """Opens the next snapshot."""
        self._open = self._reader.snapshot()
        self._open.__enter__()
        try:
            version = self._reader.data_version()  # the first read of a snapshot makes it: the number is that of its state
        except BaseException as error:
            self._end(error)
            raise
        if version != self._version:
            self._version, self._last = version, Snapshot(self._reader)
        return self._last

    def end(self) -> None:
        """Closes the snapshot that is open, if there is one."""
        self._end(None)

    def __enter__(self) -> Snapshot:
        return self.begin()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end(error)

    def _end(self, error: BaseException | None) -> None:
        opened, self._open = self._open, None
        if opened is not None:
            opened.__exit__(type(error) if error is not None else None, error, error.__traceback__ if error is not None else None)


def services_of(definition: Definition, views: Mapping[str, StoredView], mirrors: Iterable[Mirror]) -> frozenset[str]:
    """The services whose rows a view depends on, directly or through other views."""
    service_of = {mirror.id: mirror.relation.service for mirror in mirrors}
    found: set[str] = set()
    waiting, seen = [definition], {definition.view.name}
    while waiting:
        for source in waiting.pop().reads:
            if source in service_of:
                found.add(service_of[source])
            elif source not in seen and source in views:
                seen.add(source)
                parent = views[source].live or views[source].next
                waiting += [parent] if parent is not None else []
    return frozenset(found)


def why_not_ready(view: StoredView, mirrors: Iterable[Mirror], feeds: Iterable[StoredFeed]) -> str:
    """What a view that has no rows yet waits for."""
    if view.error:
        return view.error
    if view.built is not None:
        done, total = view.built
        return f"it is being built: {done:,} of {total:,} keys are done"
    reads = view.next.reads if view.next is not None else frozenset()
    waiting = [mirror for mirror in mirrors if mirror.id in reads and mirror.state != "live"]
    if not waiting:
        return "it waits for the views that it reads"
    services = {mirror.relation.service for mirror in waiting}
    failed = [f"service '{feed.service}' failed: {feed.error}" for feed in feeds if feed.service in services and feed.error]
    loading = ", ".join(f"{mirror.relation.name} ({mirror.state}, {mirror.rows:,} rows)" for mirror in waiting)
    return "; ".join([f"it waits for the first copy of {loading}", *failed])


def position_of(feeds: Iterable[StoredFeed], service: str) -> Position | None:
    """How far a service is applied."""
    return next((feed.checkpoint.position for feed in feeds if feed.service == service), None)


def pieces(count: int) -> str:
    """So many of them, in words."""
    return f"{count} piece{'' if count == 1 else 's'}"


def _live(snapshot: Snapshot, name: str, definition: Definition) -> Live:
    feeds = snapshot.feeds
    services = services_of(definition, snapshot.views, snapshot.mirrors)
    vector = {feed.service: feed.checkpoint for feed in feeds if feed.service in services}
    plan = definition.own_plan
    visible = {column.name.lower(): column for column in plan.columns if column.name in plan.visible}
    return Live(
        definition,
        services,
        feeds,
        vector,
        Token({name: at.position for name, at in vector.items() if at.position is not None}),
        all(at.is_exact for at in vector.values()),
        tuple(notes_of(snapshot, name, feeds, services)),
        [letter for letter in snapshot.held_streams if letter.service in services],
        visible,
        plan.visible_types,
        tuple(Sort(each.name, may_be_null=not each.not_null) for each in (visible[key.lower()] for key in definition.view.key)),
    )


def notes_of(
    snapshot: Snapshot, view: str, feeds: Sequence[StoredFeed], services: frozenset[str], *, is_discreet: bool = False
) -> Iterator[str]:
    """What a reader of a view should know: services whose feed fails, and pieces that are not up to date; without reasons and
    keys, which may be those of others, for one that sees some rows alone."""
    for feed in feeds:
        if feed.service in services and feed.error:
            yield f"service '{feed.service}': {'its feed fails' if is_discreet else feed.error}"
    parked = snapshot.parked_for(view)
    if parked and is_discreet:
        yield f"set aside and not up to date: {pieces(len(parked))} of it"
    elif parked:
        shown = ", ".join(str(each.key) for each in parked[:3])
        yield f"set aside and not up to date: {pieces(len(parked))} of it ({shown}): {parked[0].error}"


def _concerns(parked_in: str, name: str, snapshot: Snapshot) -> bool:
    """Whether a piece of one view matters to another: its own, of its inner SELECTs, or of what it reads."""
    views = snapshot.views
    waiting, seen = [name], {name}
    while waiting:
        at = waiting.pop()
        if parked_in == at or parked_in.startswith(f"{at}__"):
            return True
        live = views[at].live if at in views else None
        for source in live.reads if live is not None else ():
            if source in views and source not in seen:
                seen.add(source)
                waiting.append(source)
    return False
