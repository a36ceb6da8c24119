"""Reading views: rows of one snapshot with the vector they belong to, as new as a token asks, or refused.

Knows the read store only through `StoreReader`; which services a view depends on is told by its live definition.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn, TypeVar

from syncline.errors import NotFound, NotReady, StaleRead, UnknownColumn
from syncline.messages import Key, Row, Scalar, Token
from syncline.move.freshness import staleness, unreached
from syncline.read.definition import Definition
from syncline.read.held import Held
from syncline.read.maintain.asked import Asked
from syncline.read.meaning import meant_by
from syncline.read.snapshot import Live, Snapshot, StoredFeed, StoreReader, notes_of, pieces, position_of
from syncline.read.sql_file import suggestion
from syncline.stores.paging import OPERATORS, Condition, Sort

POLL_S = 0.002
OWN_COLUMNS = "syncline_"
HELD_ADVICE = (
    "Mend what makes rows of its events, then `syncline dead-letters retry`; or leave the event out for good: "
    "`syncline dead-letters drop`; or read without a token"
)

_Found = TypeVar("_Found")
_NOTHING_HELD = Held()


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
    in the columns of `ReadResult.order`: those after it are read. `as_base64` says that texts for columns of bytes are base64.
    `is_discreet`: whoever asks sees some rows alone, and is told nothing of others, in notes and refusals neither.
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
    as_base64: bool = False
    is_discreet: bool = False

    def __post_init__(self) -> None:
        for name, seconds in (("timeout_s", self.timeout_s), ("max_staleness_s", self.max_staleness_s)):
            if seconds is not None and math.isnan(seconds):
                raise ValueError(f"{name} is {seconds}, expected a number of seconds")

    @property
    def is_waiting(self) -> bool:
        """Whether it is worth waiting for: rows of any age are there at once or not."""
        return self.at_least is not None or self.max_staleness_s is not None


COMPARISONS = {"=": "in", "!=": "not in", **{each: each for each in OPERATORS}}
"""How a person writes what a column must be, and the condition that it is."""


def conditions_of(where: Iterable[tuple[str, object] | tuple[str, str, object]]) -> tuple[Condition, ...]:
    """From (column, value), which asks for equality, or (column, comparison, value). Raises ValueError for what is none."""
    found: list[Condition] = []
    for column, *comparison, value in where:
        written = str(comparison[0]) if comparison else "="
        if written not in COMPARISONS:
            raise ValueError(f"'{column}' is compared by {written!r}, expected one of {', '.join(COMPARISONS)}")
        found.append(Condition(str(column), [value], COMPARISONS[written]))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class WantedQuery:
    """A named query to be asked: values for its parameters and claims, how new it is to be, how long it may wait and take.

    `limit` is how many rows are wanted, within what the query gives at most. `is_discreet` is as of `Wanted`.
    """

    asked: Asked
    values: Mapping[str, object]
    at_least: Token | None = None
    timeout_s: float = 5.0
    max_staleness_s: float | None = None
    limit_s: float = 5.0
    limit: int | None = None
    is_discreet: bool = False


@dataclass(frozen=True, slots=True)
class QueryAnswer:
    """What a named query gives, and what is known of it, as of a ReadResult. Cut short: there are more rows than its limit.

    Columns of the program's own, which `SELECT *` finds, are left out.
    """

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: list[Row]
    is_cut_short: bool
    token: Token
    staleness_s: float | None
    exact: bool
    notes: tuple[str, ...]


def read_in(snapshot: Snapshot, wanted: Wanted, is_followed: Callable[[], bool]) -> ReadResult | StaleRead | NotReady:
    """Rows of a view in this snapshot, or why they are not as new as asked: that may pass, and is worth waiting for where
    `wanted.is_waiting`. Raises what `read_view` raises and waiting does not mend."""
    live = snapshot.live(wanted.view)
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
    of_views = [
        Wanted(
            view,
            at_least=wanted.at_least,
            timeout_s=wanted.timeout_s,
            max_staleness_s=wanted.max_staleness_s,
            is_discreet=wanted.is_discreet,
        )
        for view in asked.reads
    ]

    def ask(snapshot: Snapshot) -> QueryAnswer | StaleRead | NotReady:
        services: set[str] = set()
        notes: dict[str, None] = {}
        for each in of_views:
            live = snapshot.live(each.view)
            if isinstance(live, NotReady):
                return live
            if (late := _too_old(snapshot, each, live, is_followed)) is not None:
                return late
            services |= live.services
            held = Held(live.letters, None, is_discreet=wanted.is_discreet)
            _refuse_held(held, each, live)
            notes |= dict.fromkeys((*_notes(snapshot, each, live), *held.note()))
        limit = asked.query.limit if wanted.limit is None else min(wanted.limit, asked.query.limit)
        found = reader.query(asked, wanted.values, limit, wanted.limit_s)
        places = [place for place, (name, _) in enumerate(found.columns) if not name.startswith(OWN_COLUMNS)]
        vector = {feed.service: feed.checkpoint for feed in snapshot.feeds if feed.service in services}
        return QueryAnswer(
            tuple(found.columns[place][0] for place in places),
            tuple(found.columns[place][1] for place in places),
            found.rows if len(places) == len(found.columns) else [tuple(row[place] for place in places) for row in found.rows],
            found.is_cut_short,
            Token({name: at.position for name, at in vector.items() if at.position is not None}),
            staleness(vector, services, time.time()),
            all(at.is_exact for at in vector.values()),
            tuple(notes),
        )

    is_waiting = wanted.at_least is not None or wanted.max_staleness_s is not None
    return _first(reader, ask, is_waiting=is_waiting, until=time.monotonic() + wanted.timeout_s)


def _too_old(snapshot: Snapshot, wanted: Wanted, live: Live, is_followed: Callable[[], bool]) -> StaleRead | None:
    if wanted.at_least is not None:
        _refuse_parked(snapshot, wanted, live.definition)
        behind = unreached(wanted.at_least, live.vector, live.services)
        if behind is not None:
            at, aim = position_of(live.feeds, behind), wanted.at_least.positions[behind]
            reached = at.n if at is not None and at.incarnation == aim.incarnation else None
            return StaleRead(behind, reached, aim.n, wanted.timeout_s, _why(behind, live.feeds, is_followed))
    if wanted.max_staleness_s is not None:
        now = time.time()
        age = staleness(live.vector, live.services, now)
        if age is None or age > wanted.max_staleness_s:
            ages = {name: staleness(live.vector, [name], now) for name in live.services}
            oldest = max(ages, key=lambda name: math.inf if (of := ages[name]) is None else of)
            return StaleRead(
                oldest, None, 0, wanted.timeout_s, _why(oldest, live.feeds, is_followed), age, wanted.max_staleness_s
            )
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


def _rows(snapshot: Snapshot, wanted: Wanted, live: Live) -> ReadResult:
    plan, key = live.definition.own_plan, live.definition.view.key
    conditions = [*wanted.where]
    if wanted.key is not None:
        if len(wanted.key) != len(key):
            columns = ", ".join(key) or "(one row)"
            raise NotFound(f"the key of '{wanted.view}' is {columns}: expected {len(key)} values, found {len(wanted.key)}")
        conditions += zip(key, wanted.key, strict=True)
    where = [_condition(live, Condition(name, (value,)), wanted) for name, value in conditions]
    where += [_condition(live, each, wanted) for each in wanted.conditions]
    order = _order(live, wanted.order_by)
    rows, held = _with_marks(snapshot, live, where, order, wanted)
    _refuse_held(held, wanted, live)
    return ReadResult(
        plan.visible,
        rows,
        live.token,
        staleness(live.vector, live.services, time.time()),
        live.is_exact,
        (*_notes(snapshot, wanted, live), *held.note()),
        tuple(held.marked or ()),
        live.types,
        order,
    )


def _with_marks(
    snapshot: Snapshot, live: Live, where: Sequence[Condition], order: Sequence[Sort], wanted: Wanted
) -> tuple[list[Row], Held]:
    """The rows that are asked for, and what of them depends on streams that are held back."""
    plan = live.definition.own_plan
    if not live.letters:
        return snapshot.reader.rows(plan.name, plan.visible, where, order, wanted.limit, wanted.after), _NOTHING_HELD
    width, size = len(plan.visible), len(plan.partition_columns)
    columns = (*plan.visible, *plan.partition_columns, *live.definition.view.key)
    found = snapshot.reader.rows(plan.name, columns, where, order, wanted.limit, wanted.after)
    marks, is_untold = snapshot.reader.marked(plan.name, [row[width : width + size] for row in found])
    marked = [row[width + size :] for row, is_marked in zip(found, marks, strict=True) if is_marked]
    return [row[:width] for row in found], Held(live.letters, marked, is_untold, wanted.is_discreet)


def _notes(snapshot: Snapshot, wanted: Wanted, live: Live) -> tuple[str, ...]:
    if not live.notes or not wanted.is_discreet:
        return live.notes
    return tuple(notes_of(snapshot, wanted.view, live.feeds, live.services, is_discreet=True))


def _refuse_held(held: Held, wanted: Wanted, live: Live) -> None:
    """Raises NotReady where a token is not reached because of what is held back."""
    if wanted.at_least is not None:
        reason = held.refusal(wanted.at_least, live.token)
        if reason is not None:
            raise NotReady(f"no token is reached in view '{wanted.view}': {reason}. {HELD_ADVICE}")


def _refuse_parked(snapshot: Snapshot, wanted: Wanted, definition: Definition) -> None:
    parked = snapshot.parked_for(wanted.view)
    plan = definition.own_plan
    if parked and wanted.key is not None and set(plan.partition_columns) <= set(plan.key):
        by_name = dict(zip(definition.view.key, wanted.key, strict=False))
        columns = {column.name: column for column in plan.columns}
        mine = tuple(
            str(meant_by(columns[name], by_name.get(name), as_base64=wanted.as_base64)[-1]) for name in plan.partition_columns
        )
        parked = [each for each in parked if each.view != plan.name or tuple(map(str, each.key)) == mine]
    if parked:
        first = "" if wanted.is_discreet else f": key {parked[0].key}: {parked[0].error}"
        raise NotReady(
            f"no token is reached: {pieces(len(parked))} of view '{wanted.view}' set aside and not up to date{first}. "
            "Mend the row at its service; the piece is then computed again."
        )


def column_of(definition: Definition, name: str) -> str:
    """A visible column of a view, as the view spells it. Raises UnknownColumn."""
    visible = definition.own_plan.visible
    return next((column for column in visible if column.lower() == name.lower()), None) or _unknown(definition, name)


def _unknown(definition: Definition, name: str) -> NoReturn:
    visible = definition.own_plan.visible
    near = suggestion(name, list(visible))
    hint = f"did you mean '{near}'?" if near else f"it has: {', '.join(visible)}"
    raise UnknownColumn(f"view '{definition.view.name}' has no column '{name}'; {hint}")


def _condition(live: Live, condition: Condition, wanted: Wanted) -> Condition:
    """A condition as the view spells its column, with values that the column can be compared with."""
    column = live.columns.get(condition.column.lower()) or _unknown(live.definition, condition.column)
    meant = [meant_by(column, value, as_base64=wanted.as_base64) for value in condition.values]
    if condition.operator in OPERATORS:
        return Condition(column.name, [meant[0][-1]], condition.operator)
    return Condition(column.name, [value for values in meant for value in values], condition.operator)


def _order(live: Live, wanted: Sequence[str]) -> tuple[Sort, ...]:
    """By these columns, downwards after a dash; rows that are equal in them by their key."""
    if not wanted:
        return live.by_key
    order: dict[str, Sort] = {}
    for name in wanted:
        column = live.columns.get(name.removeprefix("-").lower()) or _unknown(live.definition, name.removeprefix("-"))
        order.setdefault(column.name, Sort(column.name, name.startswith("-"), not column.not_null))
    for sort in live.by_key:
        order.setdefault(sort.column, sort)
    return tuple(order.values())
