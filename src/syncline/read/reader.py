"""Reading views: rows of one snapshot with the vector they belong to, as new as a token asks, or refused.

Knows the read store only through `StoreReader`; which services a view depends on is told by its live definition.
"""

import math
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, TypeVar

from syncline.errors import ImpossibleValue, NotFound, NotReady, StaleRead, UnknownColumn
from syncline.messages import DeadLetter, Key, Position, Relation, Row, Scalar, Token
from syncline.move.freshness import Checkpoint, staleness, unreached
from syncline.read.definition import Definition
from syncline.read.held import Held
from syncline.read.maintain.asked import Asked
from syncline.read.maintain.schema import affinity
from syncline.read.sql_file import suggestion
from syncline.rows import stored_value
from syncline.stores.paging import OPERATORS, Condition, Sort

POLL_S = 0.002
HELD_ADVICE = (
    "Mend what makes rows of its events, then `syncline dead-letters retry`; or leave the event out for good: "
    "`syncline dead-letters drop`; or read without a token"
)

_Found = TypeVar("_Found")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


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
class ReadResult:
    """Rows of one view and what is known of them: the vector they were made at, their greatest age, whether it is exact.

    `types` are the columns' types as the store declares them, "" where a column has none. `order` is what the rows are sorted by,
    and tells them apart. `marked` are the keys of those rows that depend on a stream held back: they are as before the event that
    failed.
    """

    columns: tuple[str, ...]
    rows: list[Row]
    token: Token
    staleness_s: float | None
    exact: bool
    notes: tuple[str, ...]
    marked: tuple[Key, ...] = ()
    types: tuple[str, ...] = ()
    order: tuple[Sort, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a read asks for. `key` holds a value for each key column; `order_by` names columns, downwards after a dash.

    `where` are columns with the value that each has, `conditions` what else they must be. `after` holds the values that a row has
    in the columns of `ReadResult.order`: those after it are read.
    """

    view: str
    key: Sequence[object] | None = None
    where: Sequence[tuple[str, object]] = ()
    at_least: Token | None = None
    timeout_s: float = 5.0
    max_staleness_s: float | None = None
    limit: int | None = None
    order_by: Sequence[str] = ()
    conditions: Sequence[Condition] = ()
    after: Sequence[Scalar] | None = None

    def __post_init__(self) -> None:
        for name, seconds in (("timeout_s", self.timeout_s), ("max_staleness_s", self.max_staleness_s)):
            if seconds is not None and math.isnan(seconds):
                raise ValueError(f"{name} is {seconds}, expected a number of seconds")

    @property
    def is_waiting(self) -> bool:
        """Whether it is worth waiting for: rows of any age are there at once or not."""
        return self.at_least is not None or self.max_staleness_s is not None


@dataclass(frozen=True, slots=True)
class WantedQuery:
    """A named query to be asked: values for its parameters and claims, how new it is to be, how long it may wait and take."""

    asked: Asked
    values: Mapping[str, object]
    at_least: Token | None = None
    timeout_s: float = 5.0
    max_staleness_s: float | None = None
    limit_s: float = 5.0


@dataclass(frozen=True, slots=True)
class QueryAnswer:
    """What a named query gives, and what is known of it, as of a ReadResult. Cut short: there are more rows than its limit."""

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: list[Row]
    is_cut_short: bool
    token: Token
    staleness_s: float | None
    exact: bool
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Live:
    """A view that can be read, in one snapshot: its definition, the services that it depends on, and all feeds."""

    definition: Definition
    services: frozenset[str]
    feeds: Sequence[StoredFeed]


class Snapshot:
    """What a read store tells of itself within one snapshot, each part read when it is first needed. Not to be used after it."""

    def __init__(self, reader: StoreReader) -> None:
        self.reader = reader

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


def read_in(snapshot: Snapshot, wanted: Wanted, is_followed: Callable[[], bool]) -> ReadResult | StaleRead | NotReady:
    """Rows of a view in this snapshot, or why they are not as new as asked: that may pass, and is worth waiting for where
    `wanted.is_waiting`. Raises what `read_view` raises and waiting does not mend."""
    live = _live(snapshot, wanted.view)
    if isinstance(live, NotReady):
        return live
    return _too_old(snapshot, wanted, live, is_followed) or _rows(snapshot, wanted, live)


def read_view(reader: StoreReader, wanted: Wanted, *, is_followed: Callable[[], bool], until: float | None = None) -> ReadResult:
    """Rows of a view from one snapshot that is at least as new as asked.

    Waits for that up to `timeout_s`, or `until` a time of the monotonic clock. Raises StaleRead when it is not reached in time,
    NotReady for a view that the store does not know yet or has no rows of (that too is waited for, where an age is asked for),
    and for a token that something set aside or held back keeps from being reached; DeadToken for a token that never will be,
    NotFound for an unknown column, or a value that none can hold. `is_followed` tells whether a relay runs.
    """
    until = time.monotonic() + wanted.timeout_s if until is None else until
    return _first(reader, lambda snapshot: read_in(snapshot, wanted, is_followed), is_waiting=wanted.is_waiting, until=until)


def _first(
    reader: StoreReader, ask: Callable[[Snapshot], _Found | StaleRead | NotReady], *, is_waiting: bool, until: float
) -> _Found:
    """The first answer that a snapshot gives; each time the relay has committed, another is asked."""
    while True:
        version = reader.data_version()
        with reader.snapshot():
            found = ask(Snapshot(reader))
        if not isinstance(found, StaleRead | NotReady):
            return found
        if not is_waiting:
            raise found
        while reader.data_version() == version:
            if time.monotonic() >= until:
                raise found
            time.sleep(POLL_S)
        if time.monotonic() >= until:
            raise found


def read_query(reader: StoreReader, wanted: WantedQuery, *, is_followed: Callable[[], bool]) -> QueryAnswer:
    """What a named query gives, from one snapshot in which every view that it reads is at least as new as asked.

    Waits for that as `read_view` does, and raises what that raises; besides TookTooLong and InvalidQueryValues.
    """
    asked = wanted.asked
    of_views = [Wanted(view, None, (), wanted.at_least, wanted.timeout_s, wanted.max_staleness_s) for view in asked.reads]

    def ask(snapshot: Snapshot) -> QueryAnswer | StaleRead | NotReady:
        services: set[str] = set()
        notes: dict[str, None] = {}
        for each in of_views:
            live = _live(snapshot, each.view)
            if isinstance(live, NotReady):
                return live
            if (late := _too_old(snapshot, each, live, is_followed)) is not None:
                return late
            services |= live.services
            notes |= dict.fromkeys(_notes(snapshot, each.view, live))
        found = reader.query(asked, wanted.values, asked.query.limit, wanted.limit_s)
        vector = {feed.service: feed.checkpoint for feed in snapshot.feeds if feed.service in services}
        return QueryAnswer(
            tuple(name for name, _ in found.columns),
            tuple(type_ for _, type_ in found.columns),
            found.rows,
            found.is_cut_short,
            Token({name: at.position for name, at in vector.items() if at.position is not None}),
            staleness(vector, services, time.time()),
            all(at.is_exact for at in vector.values()),
            tuple(notes),
        )

    is_waiting = wanted.at_least is not None or wanted.max_staleness_s is not None
    return _first(reader, ask, is_waiting=is_waiting, until=time.monotonic() + wanted.timeout_s)


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


def _too_old(snapshot: Snapshot, wanted: Wanted, live: _Live, is_followed: Callable[[], bool]) -> StaleRead | None:
    definition, services, feeds = live.definition, live.services, live.feeds
    vector = {feed.service: feed.checkpoint for feed in feeds}
    if wanted.at_least is not None:
        _refuse_parked(snapshot, wanted, definition)
        behind = unreached(wanted.at_least, vector, services)
        if behind is not None:
            at, aim = position_of(feeds, behind), wanted.at_least.positions[behind]
            reached = at.n if at is not None and at.incarnation == aim.incarnation else None
            return StaleRead(behind, reached, aim.n, wanted.timeout_s, _why(behind, feeds, is_followed))
    if wanted.max_staleness_s is not None:
        now = time.time()
        age = staleness(vector, services, now)
        if age is None or age > wanted.max_staleness_s:
            ages = {name: staleness(vector, [name], now) for name in services}
            oldest = max(ages, key=lambda name: math.inf if (of := ages[name]) is None else of)
            return StaleRead(oldest, None, 0, wanted.timeout_s, _why(oldest, feeds, is_followed), age, wanted.max_staleness_s)
    return None


def _why(service: str, feeds: Iterable[StoredFeed], is_followed: Callable[[], bool]) -> str:
    feed = next((feed for feed in feeds if feed.service == service), None)
    if feed is not None and feed.error:
        return f"Its feed {feed.state if feed.state == 'failed' else 'has failed'}: {feed.error}"
    if not is_followed():
        return "Nothing follows it now: start `syncline run`, or catch up with `syncline sync --once`."
    if feed is None:
        return "It is not followed yet."
    if feed.capture == "polling":
        return "It waits for the next sweep of it."
    return f"Its feed is {feed.state}{': ' + feed.activity if feed.activity else ''}; ask again, or with a longer --timeout-s."


def _live(snapshot: Snapshot, name: str) -> _Live | NotReady:
    """What there is to be read of a view, or why there is nothing yet."""
    views = snapshot.views
    view = views.get(name)
    if view is None:
        return NotReady(
            f"view '{name}' is configured, but the read store does not know it yet; start `syncline run` again (one that "
            "runs reads its configuration only once), or run `syncline sync --once`"
        )
    mirrors, feeds = snapshot.mirrors, snapshot.feeds
    if view.live is None:
        return NotReady(f"view '{name}' cannot be read yet: {why_not_ready(view, mirrors, feeds)}")
    return _Live(view.live, services_of(view.live, views, mirrors), feeds)


def _rows(snapshot: Snapshot, wanted: Wanted, live: _Live) -> ReadResult:
    definition, services, feeds = live.definition, live.services, live.feeds
    plan = definition.own_plan
    conditions = [(column_of(definition, name), value) for name, value in wanted.where]
    if wanted.key is not None:
        if len(wanted.key) != len(definition.view.key):
            raise NotFound(
                f"the key of '{wanted.view}' is {', '.join(definition.view.key) or '(one row)'}: "
                f"expected {len(definition.view.key)} values, found {len(wanted.key)}"
            )
        conditions += list(zip(definition.view.key, wanted.key, strict=True))
    where = [Condition(column_of(definition, name), _meant(definition, name, value)) for name, value in conditions]
    where += [_condition(definition, each) for each in wanted.conditions]
    order = _order(definition, wanted.order_by)
    rows, held = _with_marks(snapshot, definition, services, where, order, wanted)
    vector = {feed.service: feed.checkpoint for feed in feeds if feed.service in services}
    token = Token({name: at.position for name, at in vector.items() if at.position is not None})
    notes = _notes(snapshot, wanted.view, live)
    if wanted.at_least is not None:
        reason = held.refusal(wanted.at_least, token)
        if reason is not None:
            raise NotReady(f"no token is reached in view '{wanted.view}': {reason}. {HELD_ADVICE}")
    return ReadResult(
        plan.visible,
        rows,
        token,
        staleness(vector, services, time.time()),
        all(at.is_exact for at in vector.values()),
        (*notes, *held.note()),
        tuple(held.marked),
        plan.visible_types,
        tuple(order),
    )


def _notes(snapshot: Snapshot, view: str, live: _Live) -> list[str]:
    """What a reader of a view should know: services whose feed fails, and pieces that are not up to date."""
    notes = [f"service '{feed.service}': {feed.error}" for feed in live.feeds if feed.service in live.services and feed.error]
    parked = [each for each in snapshot.parked if _concerns(each.view, view, snapshot)]
    if parked:
        shown = ", ".join(str(each.key) for each in parked[:3])
        notes.append(f"set aside and not up to date: {_pieces(len(parked))} of it ({shown}): {parked[0].error}")
    return notes


def _with_marks(
    snapshot: Snapshot,
    definition: Definition,
    services: frozenset[str],
    where: Sequence[Condition],
    order: Sequence[Sort],
    wanted: Wanted,
) -> tuple[list[Row], Held]:
    """The rows that are asked for, and what of them depends on streams that are held back."""
    plan = definition.own_plan
    letters = [letter for letter in snapshot.held_streams if letter.service in services]
    if not letters:
        return snapshot.reader.rows(plan.name, plan.visible, where, order, wanted.limit, wanted.after), Held()
    width, size = len(plan.visible), len(plan.partition_columns)
    columns = (*plan.visible, *plan.partition_columns, *definition.view.key)
    found = snapshot.reader.rows(plan.name, columns, where, order, wanted.limit, wanted.after)
    marks, is_untold = snapshot.reader.marked(plan.name, [row[width : width + size] for row in found])
    marked = [row[width + size :] for row, is_marked in zip(found, marks, strict=True) if is_marked]
    return [row[:width] for row in found], Held(letters, marked, is_untold)


def _refuse_parked(snapshot: Snapshot, wanted: Wanted, definition: Definition) -> None:
    parked = [each for each in snapshot.parked if _concerns(each.view, wanted.view, snapshot)]
    plan = definition.own_plan
    if parked and wanted.key is not None and set(plan.partition_columns) <= set(plan.key):
        by_name = dict(zip(definition.view.key, wanted.key, strict=False))
        mine = tuple(str(by_name.get(name)) for name in plan.partition_columns)
        parked = [each for each in parked if each.view != plan.name or tuple(map(str, each.key)) == mine]
    if parked:
        raise NotReady(
            f"no token is reached: {_pieces(len(parked))} of view '{wanted.view}' set aside and not up to date: "
            f"key {parked[0].key}: {parked[0].error}. Mend the row at its service; the piece is then computed again."
        )


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


def column_of(definition: Definition, name: str) -> str:
    """A visible column of a view, as the view spells it. Raises UnknownColumn."""
    visible = definition.own_plan.visible
    found = next((column for column in visible if column.lower() == name.lower()), None)
    if found is None:
        near = suggestion(name, list(visible))
        hint = f"did you mean '{near}'?" if near else f"it has: {', '.join(visible)}"
        raise UnknownColumn(f"view '{definition.view.name}' has no column '{name}'; {hint}")
    return found


def _condition(definition: Definition, condition: Condition) -> Condition:
    """A condition as the view spells its column, with values that the column can be compared with."""
    column = column_of(definition, condition.column)
    meant = [_meant(definition, column, value) for value in condition.values]
    if condition.operator in OPERATORS:
        return Condition(column, [meant[0][-1]], condition.operator)
    return Condition(column, [value for values in meant for value in values], condition.operator)


def _order(definition: Definition, wanted: Sequence[str]) -> list[Sort]:
    """By these columns, downwards after a dash; rows that are equal in them by their key."""
    columns = {column.name: column for column in definition.own_plan.columns}
    order: dict[str, Sort] = {}
    for name in wanted:
        column = column_of(definition, name.removeprefix("-"))
        order.setdefault(column, Sort(column, name.startswith("-"), not columns[column].not_null))
    for name in definition.view.key:
        column = column_of(definition, name)
        order.setdefault(column, Sort(column, may_be_null=not columns[column].not_null))
    return list(order.values())


def _meant(definition: Definition, name: str, value: object) -> list[object]:
    """What a column holds where it has this value; what a person typed may, in a column without a type, be a number too."""
    try:
        value = stored_value(value)
    except ValueError as error:
        raise ImpossibleValue(f"view '{definition.view.name}' has no row whose '{name}' is {value!r}: {error}") from None
    column = next(each for each in definition.own_plan.columns if each.name.lower() == name.lower())
    if isinstance(value, str) and affinity(column.declared_type) == "BLOB" and _NUMBER.fullmatch(value):
        return [value, float(value) if re.search(r"[.eE]", value) else int(value)]
    return [value]


def _pieces(count: int) -> str:
    return f"{count} piece{'' if count == 1 else 's'}"


def position_of(feeds: Iterable[StoredFeed], service: str) -> Position | None:
    """How far a service is applied."""
    return next((feed.checkpoint.position for feed in feeds if feed.service == service), None)
