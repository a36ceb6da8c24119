"""Event-sourced services: commands are decided into events by pure functions. The one load–decide–append–retry loop.

Theory of operation. One thread owns a decider and hands it groups of commands. A round takes the commands that are not answered
yet: it loads the states that are not held, decides one command after the other, each upon what those before it decided, and
appends all of it in one transaction. The log accepts an append only if what it was decided upon still holds: `decided_at` is the
position up to which this decider knows the log, `knows` the decisions of the same round. Where another process came first, the
append is refused, the states that it concerns are read on, and the command is decided again in the next round, a bounded number
of times. A state held in memory is therefore never trusted: it is proven by the append; a rejection by an append of nothing. So
is the guess that a stream is new, which saves a read.
"""

import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple

from syncline.codec import StateCodec
from syncline.errors import (
    CommandReused,
    Conflict,
    Fault,
    InvalidCommand,
    InvalidDefinition,
    InvalidEvent,
    StoreError,
    SynclineError,
)
from syncline.events import ANY, Append, AppendCondition, Appended, Handled, NewEvent, Query, Repeated
from syncline.messages import Position, Receipt, Token
from syncline.stores.event_log import EventLog, StoredRow
from syncline.write.commit import Answer, Request
from syncline.write.event_service import EventService, decided, fold

ATTEMPTS: Final = 50
"""How often a command is decided before it is answered with a conflict: three busy processes lose most of their rounds."""
NOWHERE: Final = -1
"""Where a command was decided that was taken for the first of its stream: at no position of the log."""
STATES_KEPT: Final = 10_000
"""How many states are held in memory, the least recently used being dropped first."""


@dataclass(slots=True)
class _Held:
    """A state in memory: of a stream at `version`, of a query at the position `version`.

    It is up to date, as far as this decider knows, if `epoch` is that of the decider.
    """

    state: Any
    version: int
    epoch: int


class _Decision(NamedTuple):
    """A command decided in this round: events to append or, where it was refused, an empty append that proves upon what."""

    request: Request
    events: tuple[Any, ...]
    append: Append
    refusal: BaseException | None = None


class _Pending:
    """The events that a round has decided and not yet appended, found by their tags."""

    def __init__(self) -> None:
        self._all: list[tuple[NewEvent, Any]] = []
        self._by_tag: defaultdict[str, list[tuple[NewEvent, Any]]] = defaultdict(list)

    def clear(self) -> None:
        self._all.clear()
        self._by_tag.clear()

    def add(self, stored: Sequence[NewEvent], events: Sequence[Any]) -> None:
        for each in zip(stored, events, strict=True):
            self._all.append(each)
            for tag in each[0].tags:
                self._by_tag[tag].append(each)

    def matching(self, query: Query) -> list[Any]:
        """Those that match, in order."""
        tag = query.items[0].tags[0] if len(query.items) == 1 and query.items[0].tags else None
        candidates = self._all if tag is None else self._by_tag.get(tag, ())
        return [event for stored, event in candidates if query.matches(stored.name, stored.tags)]


class Decider:
    """Handles the commands of one service over its log. One thread owns it."""

    def __init__(self, service: EventService, log: EventLog, clock: Callable[[], float]) -> None:
        self._service, self._log, self._clock = service, log, clock
        self._codec = service.event_codec
        self._decode, self._encode = self._codec.decode, self._codec.encode
        self._names = frozenset(self._codec.names)
        self._initial = _copy_of(service.initial)
        self._tags = service.tags
        self._states: OrderedDict[str | Query, _Held] = OrderedDict()
        self._head = log.head().n
        self._epoch = 0
        self._pending = _Pending()
        self._before: dict[str, _Held] = {}
        self._taken_for_new: set[str] = set()
        self._openers: set[type] = set()
        self._nothing = _Held(service.initial, 0, 0)
        self._snapshots = StateCodec(service.initial, service.evolve, service.state_version) if service.snapshot_every else None
        self._unsaved: dict[str, _Held] = {}
        self._unreadable: dict[str | Query, Exception] = {}

    def handle(self, requests: Sequence[Request]) -> list[Answer]:
        """Decides and stores each command, accepted or refused alone. See `Handler`."""
        waiting = requests
        try:
            for _ in range(ATTEMPTS):
                waiting = self._round(waiting)
                if not waiting:
                    break
            self._save_snapshots()
        except BaseException:
            self._states.clear()
            self._head = -1
            raise
        for request in waiting:
            request.answer = self._given_up(request)
        return [request.answer for request in requests if request.answer is not None]

    def close(self) -> None:
        self._log.close()

    # -- one round -----------------------------------------------------------------------------------------------------

    def _round(self, waiting: Sequence[Request]) -> Sequence[Request]:
        """Answers what can be answered, and returns the rest, which others came before."""
        if self._head < 0:
            self._head = self._log.head().n
        self._pending.clear()
        self._before.clear()
        self._unreadable.clear()
        now, later = self._answer_repeated(waiting)
        self._load_states(now)
        decisions: list[_Decision] = []
        at = self._clock()
        for request in now:
            try:
                decisions.append(self._decide(request, len(decisions), at))
            except BaseException as error:  # of a user's function, whatever it raises: it is this command's alone
                request.answer = self._noted(error, request)
        if self._initial is not None and self._initial != self._service.initial:
            message = f"service '{self._service.name}': evolve or decide changed the initial state in place; return another value"
            raise InvalidDefinition([Fault("", 0, message)])
        return [*later, *self._append(decisions)] if decisions else later

    def _answer_repeated(self, waiting: Sequence[Request]) -> tuple[Sequence[Request], Sequence[Request]]:
        """Answers commands that were handled before; those whose id is twice in this group wait for the first of them."""
        asked = [request.command_id for request in waiting if not request.is_fresh]
        if not asked:
            return waiting, ()
        known = self._log.handled(asked)
        now: dict[str, Request] = {}
        later: list[Request] = []
        for request in waiting:
            if request.command_id in known:
                request.answer = self._answer_of(request, known[request.command_id])
            elif request.command_id in now:
                later.append(request)
            else:
                now[request.command_id] = request
        return list(now.values()), later

    def _answer_of(self, request: Request, handled: Handled) -> Answer:
        name = type(request.command).__name__
        if (handled.name, handled.digest) != (name, request.digest):
            return CommandReused(request.command_id, name, handled.name)
        try:
            events = tuple(self._event(row) for row in self._log.events_of(handled))
        except InvalidDefinition as error:
            return error
        return self._receipt(request.command_id, handled.position, events, handled.stream, handled.version)

    def _decide(self, request: Request, knows: int, at: float) -> _Decision:
        """Decides one command. Raises what is wrong whatever its state is; what may be due to an old state is a refusal."""
        service, command = self._service, request.command
        stream = request.stream or service.stream_of(command)
        query = request.query
        if query is None and service.query is not None:  # what was wrong with it when states were loaded is told here
            query = self._understood(service.query(command))
        fault = self._unreadable.get(query if query is not None else stream)
        if fault is not None:
            raise fault
        held = self._state_of(query) if query is not None else self._states.get(stream, self._nothing)
        decided_at = self._head if held is not self._nothing or stream not in self._taken_for_new else NOWHERE
        expected = held.version if query is None else ANY
        condition = _at_version(expected) if query is None else AppendCondition(none_match=query, after=self._head)
        try:
            if request.expected_version is not None:
                self._expect(request, stream, expected)
            encoded = [self._encode(event) for event in decided(service, held.state, command)]
            events = tuple([each[3] for each in encoded])  # as they will be read back, so that memory is as the log
            stored = tuple([self._new_event(*each) for each in encoded])
            state = fold(service, held.state, events)
        except BaseException as error:
            proof = Append(stream, (), condition, decided_at=decided_at, knows=knows)
            return _Decision(request, (), proof, self._noted(error, request))
        append = Append(
            stream,
            stored,
            condition,
            request.command_id,
            request.digest,
            type(command).__name__,
            request.is_fresh,
            decided_at,
            knows,
            at,
            request.metadata,
        )
        if events:
            # Decisions of this round build upon each other; where the log refuses one, `_append` goes back to the state before.
            if query is None:
                self._before.setdefault(stream, held)
                self._states[stream] = _Held(state, held.version + len(events), self._epoch)
            else:
                self._pending.add(stored, events)
        return _Decision(request, events, append)

    def _understood(self, query: Query) -> Query:
        """The query, if it asks for events that there can be: one that never matches would let everything pass."""
        if not isinstance(query, Query):
            message = f"service '{self._service.name}': query returned {query!r}, expected a Query"
            raise InvalidDefinition([Fault("", 0, message)])
        unknown = [name for item in query.items for name in item.types if name not in self._names]
        if unknown:
            asked = f"a query asks for events of type {', '.join(map(str, unknown))}, which it has not"
            message = f"service '{self._service.name}': {asked}"
            raise InvalidDefinition([Fault("", 0, f"{message}; it has: {', '.join(self._codec.names)}")])
        return query

    def _noted(self, error: BaseException, request: Request) -> BaseException:
        if not isinstance(error, SynclineError):
            error.add_note(f"raised while service '{self._service.name}' decided {type(request.command).__name__}")
        return error

    def _expect(self, request: Request, stream: str, version: int) -> None:
        if version == ANY:
            message = "is decided upon a query, so that it has no expected version; leave it out"
            raise InvalidCommand(type(request.command).__name__, [("expected_version", message)])
        if request.expected_version != version:
            raise Conflict(
                stream, request.expected_version, version, "read it again and decide whether the command still makes sense"
            )

    def _new_event(self, name: str, data: str, shape: int, event: Any) -> NewEvent:
        return NewEvent(name, data, self._tags_of(event), shape) if self._tags is not None else NewEvent(name, data, (), shape)

    def _tags_of(self, event: Any) -> tuple[str, ...]:
        assert self._tags is not None
        found = self._tags(event)
        if isinstance(found, str):
            raise InvalidEvent(type(event).__name__, "tags", f"they are the text {found!r}; give several texts: ({found!r},)")
        tags = tuple(dict.fromkeys(found))
        if not all(isinstance(tag, str) and tag for tag in tags):
            raise InvalidEvent(type(event).__name__, "tags", f"they are {tags!r}, expected texts that are not empty")
        return tags

    # -- appending -----------------------------------------------------------------------------------------------------

    def _append(self, decisions: list[_Decision]) -> list[Request]:
        """Appends what was decided, and answers what was accepted. Returns the rest."""
        outcomes = self._log.append([decision.append for decision in decisions])
        refused: list[Request] = []
        head, is_up_to_date = self._head, True
        for (request, events, append, refusal), outcome in zip(decisions, outcomes, strict=True):
            if isinstance(outcome, Appended):
                head += len(events)
                if outcome.position != head:
                    head = outcome.position
                    self._others_wrote()
                request.answer = refusal or self._receipt(
                    request.command_id, outcome.position, events, append.stream, outcome.version
                )
                if self._snapshots is not None and events:
                    self._note_snapshot(append.stream, outcome.version)
                continue
            self._go_back(append.stream)
            if isinstance(outcome, Repeated):
                request.answer = self._answer_of(request, outcome.handled)
            else:
                refused.append(request)
                self._openers.discard(type(request.command))
            is_up_to_date = is_up_to_date and append.decided_at == NOWHERE
        self._head = head
        if not is_up_to_date:
            self._others_wrote()
            self._head = -1
        self._forget_oldest()
        return refused

    def _go_back(self, stream: str) -> None:
        """What is held of the stream is what it was before this round."""
        before = self._before.get(stream)
        if before is self._nothing:
            self._states.pop(stream, None)
        elif before is not None:
            self._states[stream] = before

    def _others_wrote(self) -> None:
        """Another process appended: what is held may be old, and is read on from where it is before it is used again."""
        self._epoch += 1

    def _receipt(self, command_id: str, position: int, events: tuple[Any, ...], stream: str, version: int) -> Receipt:
        token = Token({self._service.name: Position(self._log.incarnation, position)})
        return Receipt(command_id, token, events, stream, version)

    def _given_up(self, request: Request) -> Conflict:
        stream = self._service.stream_of(request.command)
        found = self._log.read_streams({stream: 0}).get(stream, [])
        advice = f"it was decided {ATTEMPTS} times, and others were first each time; send it again"
        return Conflict(stream, None, found[-1].version if found else 0, advice)

    # -- states --------------------------------------------------------------------------------------------------------

    def _load_states(self, requests: Sequence[Request]) -> None:
        """Brings the states that these commands are decided upon up to date, with one read for all of them."""
        if self._service.query is None:
            self._load_streams(requests)
        else:
            self._load_queries(requests, self._service.query)

    def _load_streams(self, requests: Sequence[Request]) -> None:
        """Reads what is not held. But where a kind of command was about new streams when they were last read, they are taken for
        new without being read: it is proven by the append."""
        wanted: dict[str, int] = {}
        kinds: dict[str, type] = {}
        self._taken_for_new.clear()
        for request in requests:
            try:
                stream = request.stream = self._service.stream_of(request.command)
            except InvalidCommand:
                continue  # told when it is decided
            held = self._held(stream)
            if held is None:
                kinds[stream] = kind = type(request.command)
                if kind in self._openers:
                    self._taken_for_new.add(stream)
                else:
                    wanted[stream] = 0
            elif held.epoch != self._epoch:
                wanted[stream] = held.version
        if not wanted:
            return
        self._take_snapshots([stream for stream, version in wanted.items() if version == 0], wanted)
        found = self._log.read_streams(wanted)
        for stream in wanted:
            rows = found.get(stream, ())
            if rows or stream in self._states:  # of what has no events nothing need be held
                self._read_on(stream, rows, rows[-1].version if rows else None)
        self._openers |= {kinds[stream] for stream in wanted if stream in kinds and stream not in found}
        self._openers -= {kinds[stream] for stream in found if stream in kinds}

    def _load_queries(self, requests: Sequence[Request], query_of: Callable[[Any], Query]) -> None:
        wanted: dict[Query, int] = {}
        for request in requests:
            try:
                query = request.query = request.query or self._understood(query_of(request.command))
            except Exception:
                continue  # told when it is decided
            held = self._held(query)
            if held is None or held.version < self._head:
                wanted[query] = held.version if held is not None else 0
        found = self._log.read_queries(wanted, self._head) if wanted else {}
        for query in wanted:
            self._read_on(query, found.get(query, ()), self._head)

    def _read_on(self, about: str | Query, rows: Iterable[StoredRow], version: int | None) -> None:
        """Folds these events into what is held. What cannot be read is told to the commands about it, and to no others."""
        held = self._states.get(about) or _Held(self._service.initial, 0, 0)
        try:
            state = fold(self._service, held.state, map(self._event, rows))
        except Exception as error:
            self._unreadable[about] = error
            self._states.pop(about, None)
        else:
            self._states[about] = _Held(state, held.version if version is None else version, self._epoch)

    def _state_of(self, query: Query) -> _Held:
        """The state over all events that match, up to the head this decider knows, and those that this round decided."""
        held = self._states[query]
        mine = self._pending.matching(query)
        return _Held(fold(self._service, held.state, mine), held.version, held.epoch) if mine else held

    def _held(self, about: "str | Query") -> _Held | None:
        """What is held, as the most recently used."""
        held = self._states.get(about)
        if held is not None:
            self._states.move_to_end(about)
        return held

    def _event(self, row: StoredRow) -> Any:
        return self._decode(row.name, row.shape, row.data, row.stream, row.position)

    def _forget_oldest(self) -> None:
        while len(self._states) > STATES_KEPT:
            self._states.popitem(last=False)

    # -- snapshots -----------------------------------------------------------------------------------------------------

    def _take_snapshots(self, streams: list[str], wanted: dict[str, int]) -> None:
        if self._snapshots is None or not streams:
            return
        for stream, (version, fingerprint, data) in self._log.snapshots(streams).items():
            state = self._snapshots.decode(data) if fingerprint == self._snapshots.fingerprint else None
            if state is not None:
                self._states[stream] = _Held(state, version, -1)
                wanted[stream] = version

    def _note_snapshot(self, stream: str, version: int) -> None:
        every = self._service.snapshot_every
        held = self._states.get(stream)
        if every is None or held is None or held.version != version or stream not in self._before:
            return
        if version // every > self._before[stream].version // every:
            self._unsaved[stream] = held

    def _save_snapshots(self) -> None:
        """Stores the states that are due. One that cannot be stored is only slower to load; its stream is told once."""
        if not self._unsaved:
            return
        assert self._snapshots is not None
        due: list[tuple[str, int, str, str]] = []
        for stream, held in self._unsaved.items():
            try:
                due.append((stream, held.version, self._snapshots.fingerprint, self._snapshots.encode(held.state)))
            except ValueError as error:
                warnings.warn(f"no snapshot of stream '{stream}': {error}", stacklevel=2)
        self._unsaved.clear()
        try:
            if due:
                self._log.save_snapshots(due)
        except StoreError as error:  # what the commands did is stored, and must be answered as such
            warnings.warn(f"no snapshots: {error}", stacklevel=2)


def _copy_of(initial: Any) -> Any:
    """A copy that tells later whether the original was changed; None where no copy equals its original."""
    try:
        copied = deepcopy(initial)
        return copied if copied == initial else None
    except Exception:
        return None


@lru_cache(maxsize=4096)
def _at_version(version: int) -> AppendCondition:
    return AppendCondition(version)
