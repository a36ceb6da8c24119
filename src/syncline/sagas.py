"""The sagas of an App: run, shown, and mended by people."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from syncline.codec import from_json
from syncline.composing import PlacedSagas
from syncline.errors import Fenced, NotFound, StoreError, Unavailable
from syncline.messages import Position
from syncline.move.freshness import SagaStatus
from syncline.places import without_password
from syncline.saga_relay import SagaFeed, SagaRelay, refuse_other_log
from syncline.saga_sending import Submit
from syncline.stores.history import History
from syncline.stores.roles import log_role
from syncline.stores.saga_store import SagaStore, StoredSaga

RETRY_S = 1.0
STATUSES = ("open", "parked", "ended", "given up")
STAND_BY_S = 0.1
SETTLING_S = 0.001

OnEvent = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class BegunSaga:
    """One saga. `status` is open, ended, parked or given up; times are seconds since 1970; `error` is why it is parked."""

    saga: str
    key: str
    status: str
    events: int
    correlation_id: str | None
    begun_at: float
    changed_at: float
    error: str | None


@dataclass(frozen=True, slots=True)
class SagaStep:
    """Something in a saga's history: an event that came, a command, or a deadline that is to come.

    `kind` is "event", "command" or "deadline". `state` says of an event whether it was reacted to ("handled", "waiting"), of a
    command what became of it ("waiting", "done", "rejected", "stuck", "dropped").
    """

    kind: str
    at: float
    service: str
    name: str
    data: Any
    state: str
    error: str | None = None


class Sagas:
    """What runs, shows and mends the sagas of one App. Any thread may use it but `run`, which blocks."""

    def __init__(self, placed: Sequence[PlacedSagas], submit: Submit, clock: Callable[[], float]) -> None:
        self._placed, self._submit, self._clock = placed, submit, clock
        self.wakes = [threading.Event() for _ in placed]

    @property
    def names(self) -> tuple[str, ...]:
        """The sagas that there are."""
        return tuple(saga.name for placed in self._placed for saga in placed.sagas)

    def reading(self, service: str) -> tuple[str, ...]:
        """The sagas that read events of a service."""
        return tuple(
            saga.name
            for placed in self._placed
            for saga in placed.sagas
            if any(placed.sources[kind][0] == service for kind in saga.event_classes if kind in placed.sources)
        )

    def runs(self, on_event: OnEvent) -> list[Callable[[threading.Event], None]]:
        """For each store a function that runs its sagas until it is told to stop."""
        return [partial(self._run, placed, wake, on_event) for placed, wake in zip(self._placed, self.wakes, strict=True)]

    def status(self) -> list[SagaStatus]:
        """How many there are of each saga, and whether they run."""
        found: list[SagaStatus] = []
        for placed in self._placed:
            role, shown = log_role(placed.database), without_password(placed.database)
            counts: Mapping[str, Mapping[str, int]] = {}
            unread: Mapping[str, str] = {}
            outgoing: Mapping[str, tuple[int, float]] = {}
            state, error = "stopped", None
            try:
                if role.is_keeping_sagas(placed.database):
                    state = "running" if role.are_sagas_running(placed.database) else "stopped"
                    with self._opened(placed) as store:
                        counts, outgoing = store.counts(), store.outgoing()
                        unread = _unread(placed, store.feeds())
            except StoreError as fault:
                state, error = "failed", str(fault)
            for saga in placed.sagas:
                of = counts.get(saga.name, {})
                numbers = {status.replace(" ", "_"): of.get(status, 0) for status in STATUSES}
                waiting, since = outgoing.get(saga.name, (0, None))
                why = error or unread.get(saga.name)
                found.append(SagaStatus(saga.name, shown, state, **numbers, waiting=waiting, waiting_since=since, error=why))
            found += [_undefined(name, shown, of) for name, of in counts.items() if name not in self.names]
        return found

    def listed(self, *, status: str | None = None, saga: str | None = None, limit: int = 100) -> list[BegunSaga]:
        """The sagas that changed last, the newest first, of one status or of any. Raises NotFound where there is no such saga."""
        if saga is not None:
            self._of(saga)
        found: list[BegunSaga] = []
        for placed in self._placed:
            if log_role(placed.database).is_keeping_sagas(placed.database):
                with self._opened(placed) as store:
                    found += [_begun(each) for each in store.listed(status, saga, limit)]
        return sorted(found, key=lambda each: -each.changed_at)[:limit]

    def history(self, saga: str, key: str) -> tuple[BegunSaga, list[SagaStep]]:
        """A saga, and what happened to it, events in the order in which they came. Raises NotFound where it was not begun."""
        with self._opened_for(saga, key) as store:
            stored = self._stored(store, saga, key)
            events = store.inputs(saga, [key]).get(key, [])
            commands, deadlines = store.commands(saga, key), store.deadlines(saga, key)
        steps: list[tuple[int, SagaStep]] = []
        for each in events:
            state = "handled" if each.number <= stored.handled else "waiting"
            steps.append((each.number, SagaStep("event", each.at, each.service, each.name, from_json(each.data), state)))
        for sent in commands:
            number = max([each.number for each in events if each.at <= sent.at], default=0)
            payload = from_json(sent.payload)
            steps.append((number, SagaStep("command", sent.at, sent.service, sent.name, payload, sent.state, sent.error)))
        steps.sort(key=lambda step: step[0])  # stable: what an event led to comes after it
        to_come = [SagaStep("deadline", each.due_at, "", each.name, from_json(each.payload), "to come") for each in deadlines]
        return _begun(stored), [*(step for _, step in steps), *to_come]

    def retry(self, saga: str, key: str) -> None:
        """Lets a parked saga go on: what it could not react to, or could not deliver, is tried again.

        Whoever runs the sagas does so within a tenth of a second; where nobody does, when they are next run.
        """
        self._ask(saga, key, "retry", ("parked",))

    def give_up(self, saga: str, key: str) -> None:
        """Ends a saga as it is: what it wanted to send is dropped, its deadlines withdrawn, and what comes only noted."""
        self._ask(saga, key, "give up", ("parked", "open"))

    @contextmanager
    def settling(self) -> Iterator[Callable[[], bool]]:
        """For tests: sagas without threads. Gives a function that runs steps until nothing is left but deadlines, and says
        whether there was anything. Raises Unavailable where a service cannot be read, or where they run elsewhere."""
        with ExitStack() as open_:
            relays: list[SagaRelay] = []
            for placed, wake in zip(self._placed, self.wakes, strict=True):
                lease = log_role(placed.database).sagas_lease(placed.database)
                if not lease.acquire():
                    raise Unavailable(f"the sagas in '{without_password(placed.database)}' run elsewhere; stop that first")
                open_.callback(lease.release)
                store = open_.enter_context(self._opened(placed))
                store.take_over(f"pid {os.getpid()}")
                relays.append(open_.enter_context(closing(self._relay(placed, store, wake, lambda line: None))))
            yield partial(self._settle, relays)

    def _settle(self, relays: Sequence[SagaRelay]) -> bool:
        has_worked = False
        while relays:
            has_stepped = sum(relay.step() for relay in relays) > 0
            has_worked |= has_stepped
            if complaints := [each for relay in relays for each in relay.complaints]:
                raise Unavailable(f"sagas cannot read {'; '.join(complaints)}")
            if not has_stepped:
                if all(relay.is_settled for relay in relays):
                    for relay in relays:
                        relay.flush()
                    break
                time.sleep(SETTLING_S)  # until what is on its way has an outcome
        return has_worked

    def _run(self, placed: PlacedSagas, wake: threading.Event, on_event: OnEvent, stop: threading.Event) -> None:
        """Runs the sagas of a store, again and again until `stop`: after a fault of the store it is opened anew."""
        role, shown = log_role(placed.database), without_password(placed.database)
        lease, has_run, last_error = role.sagas_lease(placed.database), False, ""
        try:
            while not stop.is_set():
                try:
                    is_told = False
                    while not lease.acquire():
                        if not is_told:
                            on_event(f"sagas: another process runs those in '{shown}'; standing by, to take over when it ends")
                            is_told = has_run = True
                        if stop.wait(STAND_BY_S):
                            return
                    with self._opened(placed) as store:
                        store.take_over(f"pid {os.getpid()}")
                        relay = self._relay(placed, store, wake, on_event)
                        has_run = True
                        relay.run(stop)
                except Fenced as error:
                    on_event(f"sagas: {error}")
                    lease.release()
                    stop.wait(RETRY_S)
                except StoreError as error:
                    if not has_run:
                        raise
                    if str(error) != last_error:
                        on_event(f"sagas: {error}; trying again")
                    last_error = str(error)
                    lease.release()
                    stop.wait(RETRY_S)
        finally:
            lease.release()

    def _relay(self, placed: PlacedSagas, store: SagaStore, wake: threading.Event, on_event: OnEvent) -> SagaRelay:
        feeds = {
            kind: SagaFeed(name, codec, partial(_history, database)) for kind, (name, codec, database) in placed.sources.items()
        }
        return SagaRelay(
            store, placed.sagas, feeds, placed.services, self._submit, wake=wake, clock=self._clock, on_event=on_event
        )

    @contextmanager
    def _opened(self, placed: PlacedSagas) -> Iterator[SagaStore]:
        with closing(SagaStore(log_role(placed.database).open_sagas(placed.database))) as store:
            yield store

    def _of(self, saga: str) -> PlacedSagas:
        found = next((placed for placed in self._placed if any(each.name == saga for each in placed.sagas)), None)
        if found is None:
            raise NotFound(f"there is no saga '{saga}'; there are: {', '.join(self.names) or 'none'}")
        return found

    @contextmanager
    def _opened_for(self, saga: str, key: str) -> Iterator[SagaStore]:
        """The store of a saga, to look at one of it. Makes none where sagas have never run. Raises NotFound."""
        placed = self._of(saga)
        if not log_role(placed.database).is_keeping_sagas(placed.database):
            raise _not_begun(saga, key)
        with self._opened(placed) as store:
            yield store

    def _stored(self, store: SagaStore, saga: str, key: str) -> StoredSaga:
        found = store.sagas(saga, [key]).get(key)
        if found is None:
            raise _not_begun(saga, key)
        return found

    def _ask(self, saga: str, key: str, verb: str, statuses: tuple[str, ...]) -> None:
        with self._opened_for(saga, key) as store:
            status = self._stored(store, saga, key).status
            if status not in statuses:
                raise NotFound(
                    f"saga '{saga}' of '{key}' is {status}; only what is {' or '.join(statuses)} can be asked to {verb}"
                )
            store.ask(saga, key, verb)


def _not_begun(saga: str, key: str) -> NotFound:
    return NotFound(f"saga '{saga}' was not begun for '{key}'")


def _history(database: str, followed_up_to: int) -> History:
    return log_role(database).open_history(database, followed_up_to=followed_up_to)


def _unread(placed: PlacedSagas, feeds: Mapping[tuple[str, str], Position]) -> dict[str, str]:
    """Which services sagas cannot read as things are, with the reason, by saga."""
    databases = {name: database for name, _, database in placed.sources.values()}
    found: dict[str, list[str]] = {}
    for (saga, service), at in feeds.items():
        if at.n and service in databases:
            try:
                with closing(_history(databases[service], at.n)) as history:
                    refuse_other_log(history.place(at.n), at)
            except StoreError as error:
                found.setdefault(saga, []).append(f"cannot read {service}: {error}")
    return {saga: "; ".join(reasons) for saga, reasons in found.items()}


def _undefined(saga: str, shown: str, counts: Mapping[str, int]) -> SagaStatus:
    """A saga that there is in a store, though no definition names it any more."""
    numbers = {status.replace(" ", "_"): counts.get(status, 0) for status in STATUSES}
    why = "no saga of this name is defined: what is open waits, with its deadlines; give it back its name to go on"
    return SagaStatus(saga, shown, "failed" if counts.get("open") or counts.get("parked") else "stopped", **numbers, error=why)


def _begun(stored: StoredSaga) -> BegunSaga:
    return BegunSaga(
        stored.saga,
        stored.key,
        stored.status,
        stored.received,
        stored.correlation_id,
        stored.begun_at,
        stored.changed_at,
        stored.error,
    )
