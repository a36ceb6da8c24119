"""Proves read models equal to their sources: mirrors with tables range by range, views with their queries, at a common cut.

Theory of operation. The read store is looked at first, the source a moment later. A key that has changed at the source since the
store's position is known from the source's log and is left for later; every other key must be equal. What differs at first sight
is looked at again, key by key, until it is either equal or proven different. A view is compared with its own query on the mirrors
in one snapshot of the store, so that there is nothing to wait for.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from syncline.errors import NotFound, StoreError, Unavailable
from syncline.messages import DeadLetter, Key, Position, Progress, Relation, Row, Scalar, Token
from syncline.move.feed import Held, key_of
from syncline.read.definition import Definition
from syncline.read.maintain.parse import render
from syncline.read.maintain.plan import ViewPlan
from syncline.read.snapshot import Mirror, StoredFeed, StoredView, position_of, services_of

RANGE_BUDGET_S = 0.004
SETTLE_TIMEOUT_S = 30.0
SUSPECTS_AT_ONCE = 200
DIFFERENCES_SHOWN = 1_000


@dataclass(frozen=True, slots=True)
class Difference:
    """One row that is not as it should be. `where` is a relation or a view; `kind` is missing, extra or different."""

    where: str
    key: Key
    kind: str
    detail: str


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What was compared, with how many rows each, and every difference found (the first 1,000 of each table).

    `token` is the vector of the store when its views were compared. `held_back` are the streams that are held back: what
    waits in them is missing on both sides, which is no difference.
    """

    differences: tuple[Difference, ...]
    checked: tuple[tuple[str, int], ...]
    is_cut_short: bool
    token: Token
    held_back: tuple[DeadLetter, ...] = ()


@dataclass(frozen=True, slots=True)
class Repair:
    """What must be mended: keys of a relation to be marked, or pieces of a stored view to be computed again (None: all)."""

    relation: Relation | None
    view: str
    keys: tuple[Key, ...] | None


class Source(Protocol):
    """A service's database as verification looks at it."""

    def scan(self, relation: Relation, after: Key | None, budget_s: float) -> tuple[list[Row], bool]: ...

    def settle(self, relation: Relation, keys: Sequence[Key], at: Position) -> tuple[list[Key], dict[Key, Row]] | None:
        """Those of the keys that have not changed since position `at`, and their rows; None: `at` cannot be compared with."""
        ...

    def refresh(self) -> None:
        """Asks for a newer state to compare with, where that does not come by itself."""
        ...


class Store(Protocol):
    """The read store as verification looks at it."""

    def snapshot(self) -> AbstractContextManager[None]: ...

    def feeds(self) -> Sequence[StoredFeed]: ...

    def views(self) -> Mapping[str, StoredView]: ...

    def mirrors(self) -> Sequence[Mirror]: ...

    def dead_letters(self) -> Sequence[DeadLetter]: ...

    def held(self, relation: Relation, mirror: str, after: Key | None, up_to: Key | None) -> list[Row]: ...

    def table(self, name: str) -> str: ...

    def lookup(self, table: str, columns: Sequence[str], names: Sequence[str], keys: Sequence[Key]) -> list[Row]: ...

    def differences(self, stored: str, columns: Sequence[str], query: str, limit: int) -> tuple[int, list[Row], list[Row]]: ...


def verify_store(
    store: Store,
    sources: Mapping[str, Source],
    view: str | None,
    *,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> tuple[VerifyReport, list[Repair]]:
    """Compares all mirrors and views, or one view and what it depends on; returns what differs and how to mend it.

    Raises NotFound for an unknown view. Changes nothing. Goes on correctly while the store is being written to.
    """
    views, mirrors = store.views(), store.mirrors()
    chosen = _chosen(views, view)
    services = frozenset().union(*(services_of(d, views, mirrors) for d in chosen.values())) if view else None
    differences: list[Difference] = []
    repairs: list[Repair] = []
    checked: list[tuple[str, int]] = []
    cut_short = False
    for mirror in mirrors:
        relation = mirror.relation
        if (
            mirror.state != "live"
            or relation.service not in sources
            or (services is not None and relation.service not in services)
        ):
            continue
        found, count = _compare_mirror(store, sources[relation.service], mirror, on_progress)
        checked.append((relation.name, count))
        differences += found[:DIFFERENCES_SHOWN]
        cut_short |= len(found) > DIFFERENCES_SHOWN
        if found:
            repairs.append(Repair(relation, "", tuple(each.key for each in found)))
    for name in chosen:
        on_progress(Progress(f"comparing {name}", 0, 1, "view"))
        try:
            compared = _compare_view(store, name)
        except Unavailable:
            raise
        except StoreError as error:
            why = f"its query cannot be computed, so it cannot be compared: {error}; mend the row at its service"
            differences.append(Difference(name, (), "different", why))
            continue
        for plan, found, count, keys in compared:
            differences += found
            cut_short |= len(found) >= DIFFERENCES_SHOWN
            if not plan.is_hidden:
                checked.append((name, count))
            if found:
                repairs.append(Repair(None, plan.name, keys))
        on_progress(Progress(f"comparing {name}", 1, 1, "view"))
    with store.snapshot():
        positions = {f.service: f.checkpoint.position for f in store.feeds()}
        held_back = tuple(letter for letter in store.dead_letters() if services is None or letter.service in services)
    token = Token({service: at for service, at in positions.items() if at is not None})
    return VerifyReport(tuple(differences), tuple(checked), cut_short, token, held_back), repairs


def _chosen(views: Mapping[str, StoredView], name: str | None) -> dict[str, Definition]:
    if name is not None and name not in views:
        raise NotFound(f"there is no view '{name}'; there are: {', '.join(sorted(views)) or 'none'}")
    live = {each.name: each.live for each in views.values() if each.live is not None}
    return {each: definition for each, definition in sorted(live.items()) if name in (None, each)}


# -- mirrors -----------------------------------------------------------------------------------------------------------


def _compare_mirror(
    store: Store, source: Source, mirror: Mirror, on_progress: Callable[[Progress], None]
) -> tuple[list[Difference], int]:
    relation, key = mirror.relation, key_of(mirror.relation)
    held: Held = lambda relation, after, up_to: store.held(relation, mirror.id, after, up_to)  # noqa: E731
    found: list[Difference] = []
    after: Key | None = None
    count, is_done = 0, False
    while not is_done:
        with store.snapshot():
            rows, is_done = source.scan(relation, after, RANGE_BUDGET_S)
            last = key(rows[-1]) if rows else after
            there = held(relation, after, None if is_done else last)
        if not _is_same(rows, there):
            found += _settled(store, source, mirror, _suspects(relation, rows, there))
        count, after = count + len(rows), last
        on_progress(Progress(f"comparing {relation.name}", count, count if is_done else None, "rows"))
        if len(found) > DIFFERENCES_SHOWN * 100:
            break
    return found, count


def _is_same(rows: list[Row], there: list[Row]) -> bool:
    return rows == there and [*map(_typed, rows)] == [*map(_typed, there)]


def _typed(row: Row) -> tuple[object, ...]:
    return tuple(map(type, row))


def _suspects(relation: Relation, rows: list[Row], there: list[Row]) -> list[Key]:
    key = key_of(relation)
    current = {key(row): (row, _typed(row)) for row in rows}
    known = {key(row): (row, _typed(row)) for row in there}
    return [each for each in {**current, **known} if current.get(each) != known.get(each)]


def _settled(store: Store, source: Source, mirror: Mirror, suspects: list[Key]) -> list[Difference]:
    """Which of the suspects differ at a common cut."""
    found: list[Difference] = []
    deadline = time.monotonic() + SETTLE_TIMEOUT_S
    waiting = list(suspects)
    while waiting:
        page, rest = waiting[:SUSPECTS_AT_ONCE], waiting[SUSPECTS_AT_ONCE:]
        relation = mirror.relation
        key = key_of(relation)
        with store.snapshot():
            at = position_of(store.feeds(), relation.service)
            settled = source.settle(relation, page, at) if at is not None else None
            names = relation.column_names
            held = {key(row): row for row in store.lookup(mirror.id, names, relation.key, page)}
        clean, rows = settled if settled is not None else ([], {})
        found += [d for each in clean if (d := _difference(relation, each, rows.get(each), held.get(each))) is not None]
        unsettled = [each for each in page if each not in set(clean)]
        if unsettled and time.monotonic() >= deadline:
            found += [Difference(relation.name, each, "different", "it never stood still to be compared") for each in unsettled]
            unsettled = []
        if len(unsettled) == len(page):
            source.refresh()
            time.sleep(RANGE_BUDGET_S)
        waiting = rest + unsettled
    return found


def _difference(relation: Relation, key: Key, row: Row | None, held: Row | None) -> Difference | None:
    if row is None and held is None:
        return None
    if row is None:
        return Difference(relation.name, key, "extra", "the mirror holds a row that the source does not have")
    if held is None:
        return Difference(relation.name, key, "missing", "the source has a row that the mirror does not hold")
    differing = [
        f"{name}: source {one!r}, mirror {other!r}"
        for name, one, other in zip(relation.column_names, row, held, strict=True)
        if one != other or type(one) is not type(other)
    ]
    return Difference(relation.name, key, "different", "; ".join(differing)) if differing else None


# -- views -------------------------------------------------------------------------------------------------------------


def _compare_view(store: Store, name: str) -> list[tuple[ViewPlan, list[Difference], int, tuple[Key, ...] | None]]:
    """Each table of a view with its query, in one snapshot: a view that was switched since is compared by what is live now.

    A plan's query may name what only another plan of the view reads: the whole of it stands over the mirrors.
    """
    with store.snapshot():
        view = store.views().get(name)
        definition = view.live if view is not None else None
        if definition is None:
            return []
        tables = {source: store.table(source) for plan in definition.plans for source in (*plan.reads, plan.name)}
        return [(plan, *_compare_plan(store, name, plan, render(plan.definition, tables))) for plan in definition.plans]


def _compare_plan(store: Store, name: str, plan: ViewPlan, query: str) -> tuple[list[Difference], int, tuple[Key, ...] | None]:
    count, missing, extra = store.differences(plan.name, plan.visible, query, DIFFERENCES_SHOWN)
    keys = _pieces(store, plan, missing, extra)
    indexes = [plan.visible.index(column) for column in plan.key if column in plan.visible]

    def key(row: Row) -> Key:
        return tuple(row[index] for index in indexes)

    wanted, there = {key(row): row for row in missing}, {key(row): row for row in extra}
    inner = f"an inner SELECT ({plan.name}): " if plan.is_hidden else ""
    found = [Difference(name, each, *_kind(plan, wanted.get(each), there.get(each), inner)) for each in {**wanted, **there}]
    return found, count, keys


def _kind(plan: ViewPlan, wanted: Row | None, there: Row | None, inner: str) -> tuple[str, str]:
    if wanted is None:
        return "extra", f"{inner}the view holds a row that its query does not give"
    if there is None:
        return "missing", f"{inner}the query gives a row that the view does not hold"
    columns = [
        f"{name}: query {one!r}, view {other!r}"
        for name, one, other in zip(plan.visible, wanted, there, strict=True)
        if one != other or type(one) is not type(other)
    ]
    return "different", inner + "; ".join(columns)


def _pieces(store: Store, plan: ViewPlan, missing: Sequence[Row], extra: Sequence[Row]) -> tuple[Key, ...] | None:
    """The partition keys of rows that differ; None when those of missing rows cannot be told, so that all are needed."""
    if not plan.partition_columns:
        return ((1,),) if missing or extra else ()
    visible = {name.lower(): index for index, name in enumerate(plan.visible)}
    places = [visible.get(name.lower()) for name in plan.partition_columns]
    if all(place is not None for place in places):
        return tuple({tuple(row[place] for place in places if place is not None) for row in (*missing, *extra)})
    if missing:
        return None
    key_places = [visible[name.lower()] for name in plan.key if name.lower() in visible]
    keys: list[tuple[Scalar, ...]] = [tuple(row[place] for place in key_places) for row in extra]
    return tuple(set(store.lookup(plan.name, plan.partition_columns, plan.key, keys)))
