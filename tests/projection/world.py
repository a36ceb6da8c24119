"""An event-sourced service whose events hold the row operations that they become, and read models that follow it.

What is right is a plain dictionary that all operations are applied to one by one.
"""

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.projection.logs import Log, all_of
from tests.projection.stores import Store

from syncline import messages
from syncline.codec import EventCodec
from syncline.config import ServiceConfig
from syncline.defining import definer
from syncline.errors import StoreError
from syncline.events import Append, NewEvent
from syncline.move import subscription
from syncline.move.relay import Relay
from syncline.read.view import View, parse_view
from syncline.rows import Delete, Patch, Published, Relation, RowOperation, Upsert, published_relation
from syncline.services import FollowedService
from syncline.stores import event_feed, event_look, redo, replay
from syncline.stores.event_feed import EventFeed
from syncline.stores.sqlite import scratch

TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Did:
    """An event: operations as they are written in it. `fails` makes the service's function raise."""

    operations: list[tuple[str, str, dict[str, Any]]]
    fails: bool = False


@dataclass(frozen=True)
class Item:
    id: str
    part: int
    name: str | None
    amount: int | None
    price: float | None


@dataclass(frozen=True)
class Owner:
    id: int
    name: str
    rank: int | None


KINDS: Mapping[str, type[Upsert] | type[Patch] | type[Delete]] = {"upsert": Upsert, "patch": Patch, "delete": Delete}
RELATIONS = {"item": Relation(Item, ("id", "part")), "owner": Relation(Owner, "id")}

Operation = tuple[str, str, dict[str, Any]]


@dataclass
class Rules:
    """How today's `rows` function behaves: it fails for events marked so until it is mended, and may scale amounts."""

    is_mended: bool = False
    factor: int = 1

    def rows(self, event: Did) -> Iterable[RowOperation]:
        for operation in event.operations:
            kind, relation, values = self.scaled(operation)
            yield KINDS[kind](relation, **values)
        if event.fails and not self.is_mended:
            raise RuntimeError("not yet understood")

    def scaled(self, operation: Operation) -> Operation:
        kind, relation, values = operation
        amount = values.get("amount")
        return (kind, relation, {**values, "amount": amount * self.factor}) if amount is not None else operation


class Service:
    """One event-sourced service and its log."""

    def __init__(self, log: Log, name: str = "shop") -> None:
        self.name, self.log = name, log
        self.rules = Rules()
        self.codec = EventCodec((Did,))
        relations = {each: published_relation(name, each, relation) for each, relation in RELATIONS.items()}
        self.published = Published(name, self.codec, relations, lambda event: self.rules.rows(event))

    @property
    def config(self) -> ServiceConfig:
        return ServiceConfig(self.name, self.log.database, "events", ("item", "owner"))

    @property
    def followed(self) -> FollowedService:
        return FollowedService(self.config, self.published)

    def append(self, *events: Did, stream: str = "one", at: float | None = None) -> int:
        """Stores events together, as of now or of a time; returns the position of the last."""
        with closing(self.log.open()) as log:
            (outcome,) = log.append(
                [Append(stream, tuple(self.stored(event) for event in events), at=time.time() if at is None else at)]
            )
        return outcome.position  # type: ignore[union-attr]

    def stored(self, event: Did) -> NewEvent:
        name, data, shape, _ = self.codec.encode(event)
        return NewEvent(name, data, (), shape)

    def is_of_this_history(self, at: messages.Position) -> bool:
        proofs = all_of(self.log, "SELECT id FROM {}event WHERE position = ?", at.n)
        return self.incarnation() == at.incarnation and (at.n == 0 or proofs == [at.proof])

    def incarnation(self) -> str:
        return str(*all_of(self.log, "SELECT incarnation FROM {}event_log"))

    def ends(self) -> set[int]:
        """Where appends ended."""
        return {0, *all_of(self.log, "SELECT append_end FROM {}event")}

    def events(self) -> list[tuple[int, str, Did]]:
        with closing(self.log.open()) as log:
            return [(each.position, each.stream, self.codec.decode_recorded(each)) for each in log.read(limit=1_000_000)]


@dataclass
class Folded:
    """What the operations of a log make, one by one: rows by relation and key, and how many changed nothing."""

    rows: dict[str, dict[Any, dict[str, Any]]] = field(default_factory=lambda: {name: {} for name in RELATIONS})
    missing: dict[str, int] = field(default_factory=lambda: dict.fromkeys(RELATIONS, 0))

    def apply(self, operations: Iterable[Operation]) -> None:
        for kind, relation, values in operations:
            rows, columns = self.rows[relation], RELATIONS[relation].key_columns
            key = tuple(values[name] for name in columns)
            if kind == "upsert":
                rows[key] = {name: values.get(name) for name in RELATIONS[relation].row.__dataclass_fields__}
            elif key not in rows:
                self.missing[relation] += 1
            elif kind == "patch":
                rows[key] = {**rows[key], **values}
            else:
                del rows[key]

    def as_rows(self, relation: messages.Relation) -> list[tuple[Any, ...]]:
        rows = [tuple(row[name] for name in relation.column_names) for row in self.rows[relation.table].values()]
        return sorted(rows, key=repr)


def folded(
    service: Service, *, up_to: int | None = None, held: Mapping[str, int] | None = None, dropped: Iterable[int] = ()
) -> Folded:
    """What is right: what the log's operations make, without what waits behind the positions from which streams are held back."""
    found = Folded()
    stopped, left_out = dict(held or {}), set(dropped)
    for position, stream, event in service.events():
        if up_to is not None and position > up_to:
            break
        if position < stopped.get(stream, position + 1) and position not in left_out:
            found.apply(service.rules.scaled(each) for each in event.operations)
    return found


VIEWS = {
    "items": "-- key: id, part\nSELECT i.id, i.part, i.name, i.amount, i.price, o.name AS owner FROM {0}.item i "
    "LEFT JOIN {0}.owner o ON o.id = i.part",
    "totals": "-- key: part\nSELECT i.part, COUNT(*) AS items, SUM(i.amount) AS amount FROM {0}.item i GROUP BY i.part",
    "owners": "-- key: id\nSELECT o.id, o.rank, o.name FROM {0}.owner o",
}


def views_of(service: str, *names: str) -> list[View]:
    return [parse_view(name, VIEWS[name].format(service), f"{name}.sql") for name in names or VIEWS]


class Model:
    """A read model that follows services, driven round by round in the test's own thread."""

    def __init__(self, place: Store, services: Sequence[FollowedService], views: Sequence[View]) -> None:
        self.place, self.services, self.views = place, services, views
        self.lines: list[str] = []
        self.open()

    def open(self) -> None:
        self.store = self.place.open()
        self.store.take_over("test")
        captures = {service.name: service.capture for service in self.services}
        self.relay = Relay(self.store, self.services, definer(self.views, captures), on_event=self.lines.append)

    def close(self) -> None:
        self.relay.close()
        self.store.close()

    def crash(self) -> None:
        """The process ends without a word; another begins."""
        for following in self.relay.following.values():
            if following.feed is not None:
                following.feed.close()
        self.store.close()
        self.open()

    def step_until(self, is_over: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while not is_over():
            self.relay.step()
            assert time.monotonic() < deadline, f"{what}: {self.lines[-10:]}"

    def settle(self) -> None:
        """Until there is nothing left to do, and nothing fails."""
        deadline = time.monotonic() + TIMEOUT_S
        while self.relay.step() or not self.relay.is_settled() or self.failures():
            assert time.monotonic() < deadline, (self.failures(), self.lines[-10:])

    def failures(self) -> list[str | None]:
        return [each.subscription.error for each in self.relay.following.values() if each.subscription.state == "failed"]

    def stumble(self) -> None:
        """The transaction that applies the next batch is undone at its end."""
        move = self.store._vector.move

        def fail(*values: Any, **more: Any) -> None:
            self.store._vector.move = move  # type: ignore[method-assign]
            raise StoreError("the disk is full for once")

        self.store._vector.move = fail  # type: ignore[method-assign]

    def feed(self, service: str = "shop") -> EventFeed:
        feed = self.relay.following[service].feed
        assert isinstance(feed, EventFeed)
        return feed

    def held(self, service: str, table: str) -> list[tuple[Any, ...]]:
        relation = self.relation(service, table)
        return sorted(self.store.held(relation, None, None), key=repr)

    def relation(self, service: str, table: str) -> messages.Relation:
        return self.store.relations[f"{service}__{table}"]

    def held_back(self, service: Service) -> dict[str, int]:
        """The streams that are held back, and from where."""
        return {letter.stream: letter.position for letter in self.store.dead_letters(service.name)}

    def right(self, service: Service) -> Folded:
        """What is right at the checkpoint."""
        at = self.store.checkpoint(service.name)
        assert at is not None
        return folded(service, up_to=at.n, held=self.held_back(service), dropped=self.store.dropped(service.name))

    def assert_right(self, service: Service) -> None:
        """Every mirror holds what the log's operations make one by one, and every view is its query."""
        right = self.right(service)
        for relation in self.store.relations.values():
            if relation.service == service.name:
                assert self.held(service.name, relation.table) == right.as_rows(relation), relation.name
        self.assert_views()

    def assert_views(self) -> None:
        for name, definition in self.store.definitions.live.items():
            rows = self.place.run(self.place.query(definition.view.sql, self.store.relations))
            shown = self.place.run(f"SELECT * FROM {self.place.view(name)}")
            assert sorted(shown, key=repr) == sorted(rows, key=repr), name


def random_operation(rng: random.Random) -> Operation:
    if rng.random() < 0.25:
        values: dict[str, Any] = {"id": rng.randrange(4)}
        kind = rng.choice(("upsert", "upsert", "patch", "delete"))
        if kind == "upsert":
            values |= {"name": rng.choice("abc"), "rank": rng.choice((None, 1, 2))}
        elif kind == "patch":
            values |= rng.choice(({"name": "z"}, {"rank": rng.randrange(9)}))
        return kind, "owner", values
    values = {"id": rng.choice("pqrst"), "part": rng.randrange(3)}
    kind = rng.choice(("upsert", "upsert", "patch", "patch", "delete"))
    if kind != "delete":
        more = {"name": rng.choice((None, "é", "x")), "amount": rng.randrange(100), "price": rng.choice((None, 1.5, 2.25))}
        chosen = rng.sample(sorted(more), rng.randrange(4) if kind == "upsert" else rng.randrange(1, 3))
        values |= {name: more[name] for name in chosen}
    return kind, "item", values


def random_event(rng: random.Random, *, may_fail: bool = False) -> Did:
    operations = [random_operation(rng) for _ in range(rng.randrange(4))]
    return Did(operations, fails=may_fail and rng.random() < 0.05)


@contextmanager
def small_steps() -> Iterator[None]:
    """Everything that goes in steps goes in steps of a row or two, so that there is something between them."""
    sizes = {
        event_feed: {"BATCH_EVENTS": 3, "SCAN_ROWS": 2, "REPLAY_BUDGET_S": 0.0},
        replay: {"SLICE_EVENTS": 2, "LAST_STEP_EVENTS": 4, "CACHED_ROWS": 2},
        scratch: {"FETCH_ROWS": 1},
        redo: {"COMPARE_ROWS": 2},
        event_look: {"SCAN_ROWS": 2},
        subscription: {"FIRST_PAUSE_S": 0.0},
    }
    before = {module: {name: getattr(module, name) for name in its} for module, its in sizes.items()}
    try:
        _set(sizes)
        yield
    finally:
        _set(before)


def _set(values: Mapping[Any, Mapping[str, Any]]) -> None:
    for module, its in values.items():
        for name, value in its.items():
            setattr(module, name, value)
