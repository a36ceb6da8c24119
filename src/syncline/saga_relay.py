"""The relay of sagas: the one loop that reads events, lets sagas react, and sends what they want.

Theory of operation. One thread runs all sagas of one store. A step is one transaction there: the events that came since, numbered
for each saga; what it makes of them; the checkpoint. Only then are commands sent, each by its own id, so that one that is sent
again after a crash takes effect once. What became of a command is stored with a later step, for nothing is lost if it is not.
What cannot go on for a reason of its own (a reaction that fails, a command that cannot be delivered, an endless loop) parks its
saga: events go on coming for it and wait. Everything else goes on.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from syncline.codec import EventCodec, from_json, to_json
from syncline.errors import (
    CommandReused,
    InvalidCommand,
    InvalidDefinition,
    InvalidEvent,
    NotFound,
    Rejected,
    SourceChanged,
    StoreError,
    SynclineError,
    in_words,
    text_of,
)
from syncline.messages import Position, Receipt
from syncline.saga_keeping import Kept, KeptSagas, command_id
from syncline.saga_sending import Outcome, Sending, Submit
from syncline.stores.history import Cause, History, Place
from syncline.stores.saga_store import SagaRequest, SagaStore, StoredCommand, StoredDeadline, StoredInput, StoredSaga, Work
from syncline.write.saga import CommandRejected, Saga, reaction_to

READ_EVENTS: Final = 1_000
"""How many events of one service a step takes, at most."""
DUE_MAX: Final = 1_000
HOPS_MAX: Final = 100
"""How many commands of sagas may lead to one another before that is taken for an endless loop."""
EVENTS_MAX: Final = 10_000
"""How many events may come for one saga before that is taken for one, too."""
PROBE_INTERVAL_S: Final = 0.004
IDLE_INTERVAL_S, LIVELY_S = 0.02, 1.0
"""How long a rest is where nothing happened for a while, and how long that is."""
FLUSH_INTERVAL_S: Final = 0.25
"""How long checkpoints and outcomes wait that no saga waits for."""
REQUESTS_INTERVAL_S: Final = 0.1
RETRY_S: Final = 1.0

_OF_THE_COMMAND = (InvalidCommand, NotFound, CommandReused, InvalidEvent, InvalidDefinition)
"""Faults that are there again however often a command is sent."""


@dataclass(frozen=True, slots=True)
class SagaFeed:
    """A service whose events sagas read: its classes, and how its log is opened that was read up to a position."""

    service: str
    codec: EventCodec
    open_history: Callable[[int], History]

    def names_of(self, kind: type) -> list[str]:
        """The names that events of a class are, or were, stored under."""
        return [name for name in self.codec.names if self.codec.class_of(name) is kind]


@dataclass(slots=True)
class _Reading:
    """One service as one saga reads it. `wanted` are the stored names of events that it reads, `starts` those that begin one."""

    saga: Saga
    feed: SagaFeed
    wanted: frozenset[str]
    starts: frozenset[str]
    position: Position | None = None
    history: History | None = None
    is_drained: bool = False
    retry_at: float = 0.0
    error: str = ""

    def close(self) -> None:
        if self.history is not None:
            self.history.close()
            self.history = None


@dataclass(frozen=True, slots=True)
class _Arrived:
    """An event on its way to a saga. `event` is None where it could not be decoded."""

    service: str
    name: str
    shape: int
    data: str
    event: Any
    cause: Cause
    metadata: Mapping[str, Any] = field(default_factory=dict)


class SagaRelay:
    """Runs the sagas of one store. One thread owns it and the store. After an exception it is made anew from what is stored."""

    def __init__(
        self,
        store: SagaStore,
        sagas: Sequence[Saga],
        feeds: Mapping[type, SagaFeed],
        services: Mapping[str, str],
        submit: Submit,
        *,
        wake: threading.Event,
        clock: Callable[[], float] = time.time,
        on_event: Callable[[str], None] = lambda line: None,
    ) -> None:
        """`feeds` gives for each class of events where they come from, `services` for each command who handles it.
        `wake` is set when something may have come: by who wrote to a service in this process, and by outcomes."""
        self._store, self._services = store, services
        self._sagas = {saga.name: saga for saga in sagas}
        self._wake, self._clock, self._on_event = wake, clock, on_event
        self._kept = KeptSagas(store, sagas, {feed.service: feed.codec for feed in feeds.values()})
        self._sending = Sending(submit, self._kept.command, wake)
        self._work, self._is_whole = Work(), True
        self._touched: dict[tuple[str, str], Kept] = {}
        self._requests_at = self._flushed_at = self._lively_at = 0.0
        self._reading = [reading for saga in sagas for reading in _readings(saga, feeds)]
        checkpoints = store.feeds()
        for reading in self._reading:
            reading.position = checkpoints.get((reading.saga.name, reading.feed.service))
        self._next_due = store.next_due(self._sagas)
        self._sending.send(command for command in store.waiting() if command.saga in self._sagas)

    def run(self, stop: threading.Event) -> None:
        """Runs sagas until `stop` is set, which is noticed within milliseconds. Raises Fenced, StoreError."""
        try:
            while not stop.is_set():
                self._wake.clear()
                if not self.step():
                    self._wake.wait(self._rest_s())
        finally:
            self.close()

    def step(self) -> bool:
        """Takes what came and is due, and stores and sends what sagas make of it. Says whether there was anything."""
        self._is_whole = False
        worked = self._take_requests()
        worked |= self._take_outcomes()
        for reading in self._reading if not self._sending.is_full else ():
            worked |= self._take_events(reading)
        now = self._clock()
        for kept in self._touched.values():
            self._react(kept, now)
        self._keep_up()
        worked |= self._take_due(now)
        self._sending.send_rested()
        self._is_whole = True
        if worked:
            self._lively_at = time.monotonic()
        return worked

    def flush(self) -> None:
        """Stores what nothing waits for."""
        if not self._work.is_nothing:
            self._commit()

    @property
    def is_settled(self) -> bool:
        """Whether, as far as the last step saw, nothing is left to read or to send. Deadlines to come do not count."""
        return self._sending.is_idle and all(reading.is_drained or reading.error for reading in self._reading)

    @property
    def complaints(self) -> list[str]:
        """Which services cannot be read now, with the reason."""
        return sorted({f"{reading.feed.service}: {reading.error}" for reading in self._reading if reading.error})

    def close(self) -> None:
        """Stores what waited, and closes every log. What is on its way is sent again by whoever runs the sagas next.

        Of a step that an exception ended nothing is stored: how far it read, without what came, would be events lost.
        """
        if not self._is_whole:
            self._work = Work()
        try:
            for command, outcome in self._sending.outcomes():
                if isinstance(outcome, Receipt):
                    self._note(command, "done", None)
            self.flush()
        finally:
            for reading in self._reading:
                reading.close()

    # -- events --------------------------------------------------------------------------------------------------------

    def _take_events(self, reading: _Reading) -> bool:
        """The next events of one service for one saga. One that cannot be read is tried again after a while."""
        if reading.error and time.monotonic() < reading.retry_at:
            return False
        try:
            arrived, is_read = self._read(reading)
        except (StoreError, InvalidDefinition) as error:
            reading.close()
            if str(error) != reading.error:
                self._on_event(f"saga {reading.saga.name} cannot read {reading.feed.service}: {error}")
            reading.error, reading.retry_at = str(error), time.monotonic() + RETRY_S
            return False
        reading.error = ""
        if arrived:
            self._distribute(reading, arrived)
        return is_read

    def _read(self, reading: _Reading) -> tuple[list[tuple[str, _Arrived]], bool]:
        """Events, each with the key of its saga; and whether any were read, though none may be for a saga."""
        service, history = reading.feed.service, reading.history
        if history is None:
            history = reading.history = reading.feed.open_history(reading.position.n if reading.position is not None else 0)
            if reading.position is None:
                newest = history.newest()
                reading.position = newest if reading.saga.new_events_only else Position(newest.incarnation, 0)
                self._work.feeds[reading.saga.name, service] = reading.position
        elif reading.is_drained and not history.changed():
            return [], False
        after = reading.position
        assert after is not None
        place, end, events = history.batch(after.n, READ_EVENTS)
        refuse_other_log(place, after)
        reading.is_drained = end is None or end.position >= place.head
        if end is None:
            return [], False
        chosen = [event for event in events if event[2] in reading.wanted]
        found: list[tuple[str, _Arrived]] = []
        if chosen:
            causes = {cause.position: cause for cause in history.causes(chosen[0][0] - 1, chosen[-1][0])}
            found = [_arrived(reading, event, causes[event[0]]) for event in chosen]
        reading.position = self._work.feeds[reading.saga.name, service] = Position(place.incarnation, end.position, end.id)
        return found, True

    def _distribute(self, reading: _Reading, arrived: Sequence[tuple[str, _Arrived]]) -> None:
        """Gives the events to the sagas that there are, or that they begin."""
        saga = reading.saga
        there = self._kept.find(saga, (key for key, _ in arrived))
        for key, each in arrived:
            kept = there.get(key)
            if kept is None:
                if each.name not in reading.starts:
                    continue
                now = self._clock()
                correlation = each.metadata.get("correlation_id") or each.cause.command_id
                kept = there[key] = self._kept.begin(
                    saga, StoredSaga(saga.name, key, correlation_id=correlation, begun_at=now, changed_at=now)
                )
            self._receive(kept, each)

    def _receive(self, kept: Kept, arrived: _Arrived) -> None:
        """Numbers an event for a saga. One that is parked, or given up, does not react to it."""
        stored, cause = kept.stored, arrived.cause
        stored.received += 1
        kind, data, hops = arrived.name, arrived.data, _hops(arrived.metadata)
        number, service, at = stored.received, arrived.service, cause.at
        received = StoredInput(stored.key, number, service, cause.position, kind, arrived.shape, data, at, cause.command_id, hops)
        self._work.inputs.append((stored.saga, received))
        if kept.goes_on:
            kept.pending.append((received, arrived.event))
        self._touch(kept)

    # -- outcomes ------------------------------------------------------------------------------------------------------

    def _take_outcomes(self) -> bool:
        """What became of commands that were sent."""
        worked = False
        for command, outcome in self._sending.outcomes():
            worked = True
            self._settle(command, outcome)
        return worked

    def _settle(self, command: StoredCommand, outcome: Outcome) -> None:
        command.attempts += 1
        if isinstance(outcome, Receipt):
            self._note(command, "done", None)
            self._sending.finish(command)
            return
        reason = text_of(outcome) or type(outcome).__name__
        kept = self._kept.find(self._sagas[command.saga], [command.key])[command.key]
        if isinstance(outcome, Rejected):
            self._note(command, "rejected", reason)
            self._rejected(kept, command, reason)
            self._sending.finish(command)
        elif kept.stored.status == "given up":
            self._note(command, "dropped", reason)
        elif isinstance(outcome, _OF_THE_COMMAND) or command.attempts >= kept.saga.attempts:
            self._note(command, "stuck", reason)
            self._park(kept, f"{command.name} cannot be delivered to {command.service}: {reason}")
        else:
            self._note(command, "waiting", reason)
            self._sending.send_again(command)

    def _rejected(self, kept: Kept, command: StoredCommand, reason: str) -> None:
        """A rejection is an answer; where the saga does not expect one, a person has to see it."""
        saga = kept.saga
        if CommandRejected not in saga.event_classes:
            self._park(kept, f"{command.service} rejected {command.name}: {reason}; let it read CommandRejected to answer that")
            return
        data = {"command": command.name, "payload": from_json(command.payload), "reason": reason}
        cause = Cause(0, self._clock(), command.id, None)
        event = CommandRejected(self._kept.command(command), reason)
        metadata = {"saga": saga.name, "hops": command.hops}
        self._receive(kept, _Arrived(saga.name, CommandRejected.__name__, 1, to_json(data).decode(), event, cause, metadata))

    def _note(self, command: StoredCommand, state: str, error: str | None) -> None:
        command.state, command.error = state, error
        self._work.outcomes[command.id] = command

    # -- deadlines and requests ----------------------------------------------------------------------------------------

    def _take_due(self, now: float) -> bool:
        """Deadlines whose time has come are commands from now on."""
        if self._next_due is None or self._next_due > now:
            return False
        due = self._store.due(self._sagas, now, DUE_MAX)
        for each in due:
            self._work.deadlines[each.saga, each.key, each.label] = None
            kept = self._kept.find(self._sagas[each.saga], [each.key])[each.key]
            self._want(kept, each.name, each.payload, each.id, each.causation_id, each.hops, now)
        self._keep_up()
        later = self._store.next_due(self._sagas)
        self._next_due = later if due or later is None else max(later, now + RETRY_S)
        return bool(due)

    def _take_requests(self) -> bool:
        """What people asked for since."""
        now = time.monotonic()
        if now - self._requests_at < REQUESTS_INTERVAL_S:
            return False
        self._requests_at = now
        requests = self._store.requests() if self._store.changed() else []
        for request in requests:
            self._do(request)
            self._work.requests.append(request.id)
        return bool(requests)

    def _do(self, request: SagaRequest) -> None:
        saga = self._sagas.get(request.saga)
        kept = self._kept.find(saga, [request.key]).get(request.key) if saga is not None else None
        if saga is None or kept is None:
            return
        stored = kept.stored
        if request.verb == "retry" and stored.status == "parked":
            stored.status, stored.error = stored.before, None
            kept = self._kept.fold_anew(kept)
            self._work.reopened.append((saga.name, request.key))
            self._sending.reopen(saga.name, request.key)
            self._next_due = self._clock()
        elif request.verb == "give up" and stored.status in ("parked", "open"):
            stored.status = "given up"
            kept.pending.clear()
            self._work.dropped.append((saga.name, request.key))
            self._sending.drop(saga.name, request.key)
        else:
            return
        self._on_event(f"saga {saga.name} of '{request.key}': {'retried' if request.verb == 'retry' else 'given up'}")
        self._touch(kept)

    # -- what sagas make of it -----------------------------------------------------------------------------------------

    def _react(self, kept: Kept, now: float) -> None:
        """Lets a saga react to all that came for it, one after the other, up to one that fails."""
        while kept.pending and kept.goes_on:
            received, event = kept.pending[0]
            try:
                if kept.fault is not None:
                    raise kept.fault
                self._react_to(kept, received, event, now)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # of a user's function, whatever it raises, SystemExit too: it is this saga's alone
                reason = text_of(error) if isinstance(error, SynclineError) else in_words(error)
                self._park(kept, f"{received.name}, event {received.number}, could not be reacted to: {reason}")
                return
            kept.pending.popleft()
            kept.stored.handled = received.number

    def _react_to(self, kept: Kept, received: StoredInput, event: Any, now: float) -> None:
        """All of what a saga wants after an event, or an exception."""
        saga, stored, work = kept.saga, kept.stored, self._work
        reaction = reaction_to(saga, kept.state, self._kept.event(saga, received) if event is None else event)
        deadlines = reaction.deadlines
        texts = [self._kept.text(saga, command) for command in (*reaction.commands, *(each.send for each in deadlines))]
        if texts:
            _refuse_loop(received)
        ids = [command_id(saga.name, received, number) for number in range(len(texts))]
        cause, hops, count = received.cause, received.hops + 1, len(reaction.commands)
        for command, text, id_ in zip(reaction.commands, texts, ids, strict=False):
            self._want(kept, type(command).__name__, text, id_, cause, hops, now)
        for label in reaction.withdrawn:
            work.deadlines[saga.name, stored.key, label] = None
        for each, text, id_ in zip(deadlines, texts[count:], ids[count:], strict=True):
            name, due_at = type(each.send).__name__, now + each.seconds
            deadline = StoredDeadline(saga.name, stored.key, each.label, due_at, id_, name, text, cause, hops)
            work.deadlines[saga.name, stored.key, each.label] = deadline
            self._next_due = due_at if self._next_due is None else min(self._next_due, due_at)
        if reaction.is_end:
            stored.status = "ended"
            work.ended.append((saga.name, stored.key))
            for of in [of for of in work.deadlines if of[:2] == (saga.name, stored.key)]:
                del work.deadlines[of]
        kept.state = reaction.state

    def _want(self, kept: Kept, name: str, text: str, id_: str, cause: str | None, hops: int, now: float) -> None:
        stored = kept.stored
        service = self._services[name]
        command = StoredCommand(id_, stored.saga, stored.key, service, name, text, stored.correlation_id, cause, hops, now)
        self._work.commands.append(command)

    def _park(self, kept: Kept, why: str) -> None:
        stored = kept.stored
        if kept.goes_on:
            stored.before = stored.status
        if stored.status != "given up":
            stored.status, stored.error = "parked", why
            self._on_event(f"saga {stored.saga} of '{stored.key}' is parked: {why}")
        kept.pending.clear()
        self._touch(kept)

    def _touch(self, kept: Kept) -> None:
        of = kept.stored.saga, kept.stored.key
        kept.stored.changed_at = self._clock()
        self._touched[of] = kept
        self._work.sagas[of] = kept.stored

    # -- storing -------------------------------------------------------------------------------------------------------

    def _keep_up(self) -> None:
        """Stores the step, and sends what it wants; what nothing waits for is stored from time to time."""
        is_flush_due = time.monotonic() - self._flushed_at >= FLUSH_INTERVAL_S
        if self._work.is_urgent or (is_flush_due and not self._work.is_nothing):
            commands = self._work.commands
            self._commit()
            self._touched.clear()
            self._kept.forget_oldest()
            self._sending.send(commands)

    def _commit(self) -> None:
        work, self._work = self._work, Work()
        self._store.commit(work)
        self._flushed_at = time.monotonic()

    def _rest_s(self) -> float:
        """How long to rest where nothing was found."""
        rests = [PROBE_INTERVAL_S if time.monotonic() - self._lively_at < LIVELY_S else IDLE_INTERVAL_S]
        if self._next_due is not None:
            rests.append(max(0.0, self._next_due - self._clock()))
        if (rest_s := self._sending.rest_s()) is not None:
            rests.append(rest_s)
        return min(rests)


def refuse_other_log(place: Place, after: Position) -> None:
    """Raises SourceChanged where a log is not the one that sagas have read up to a position."""
    if not place.continues(after):
        raise SourceChanged(
            f"its log is not the one that sagas were begun by (that was {after.incarnation} at {after.n:,}): restore that, "
            "or give up the sagas that are open and remove their store"
        )


def _readings(saga: Saga, feeds: Mapping[type, SagaFeed]) -> list[_Reading]:
    """The services that a saga reads."""
    kinds: dict[str, list[type]] = {}
    for kind in saga.event_classes:
        if kind is not CommandRejected:
            kinds.setdefault(feeds[kind].service, []).append(kind)
    found: list[_Reading] = []
    for its in kinds.values():
        feed = feeds[its[0]]
        starts = feed.names_of(saga.starts_on) if saga.starts_on in its else []
        wanted = frozenset(name for kind in its for name in feed.names_of(kind))
        found.append(_Reading(saga, feed, wanted, frozenset(starts)))
    return found


def _arrived(reading: _Reading, event: tuple[int, str, str, int, str], cause: Cause) -> tuple[str, _Arrived]:
    """An event with the key of its saga. One that cannot be decoded parks the saga that its data, or else its stream, names."""
    position, stream, name, shape, data = event
    try:
        decoded = reading.feed.codec.decode(name, shape, data, stream, position)
        key = str(getattr(decoded, reading.saga.key))
    except SynclineError:
        decoded, plain = None, from_json(data)
        named = plain.get(reading.saga.key) if isinstance(plain, dict) else None
        key = str(named) if named is not None else stream.partition("-")[2]
    metadata = from_json(cause.metadata) if cause.metadata is not None else {}
    return key, _Arrived(reading.feed.service, name, shape, data, decoded, cause, metadata)


def _hops(metadata: Mapping[str, Any]) -> int:
    """How many commands of sagas led to an event. What another sender wrote under that name says nothing."""
    hops = metadata.get("hops")
    return min(max(hops, 0), HOPS_MAX) if "saga" in metadata and isinstance(hops, int) else 0


def _refuse_loop(received: StoredInput) -> None:
    """Raises SynclineError where sagas lead to one another without end."""
    if received.hops >= HOPS_MAX:
        message = f"{HOPS_MAX} commands of sagas led to this event, one after the other"
    elif received.number > EVENTS_MAX:
        message = f"more than {EVENTS_MAX:,} events came for it"
    else:
        return
    raise SynclineError(f"{message}, and it would send more: an endless loop; let one of the sagas end it, then retry")
