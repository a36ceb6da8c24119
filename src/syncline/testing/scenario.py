"""Rules told as examples: given events, when a command, then events; of a saga: given events, when an event, then commands.

Pure: no database is opened. Every event of a service, and every command of a saga, also goes through its codec: one that would
not come back as it is from where it is stored fails the example.
"""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pprint import pformat
from typing import Any, overload

from syncline.errors import InvalidEvent, Rejected
from syncline.write.event_service import EventService, decided, fold
from syncline.write.saga import Saga, evolved, reacted


@overload
def given(service: EventService, *events: Any) -> "Scenario": ...


@overload
def given(service: Saga, *events: Any) -> "SagaScenario": ...


def given(service: EventService | Saga, *events: Any) -> "Scenario | SagaScenario":
    """What happened before: the events that the service has stored, or that came for the saga, in order.

    For a service that decides over a query these are all its events; a command sees those that its query matches.
    Raises InvalidEvent for an event that cannot be stored.
    """
    if isinstance(service, Saga):
        return SagaScenario(service, events)
    if not isinstance(service, EventService):
        raise TypeError(f"{service!r} is no EventService or Saga; services on tables of their own are tested with in_memory(app)")
    return Scenario(service, events, tuple(_stored(service, event) for event in events))


@dataclass(frozen=True)
class Scenario:
    """A service and what happened before. `stored` are the events as they come back from the log."""

    service: EventService
    events: tuple[Any, ...]
    stored: tuple[Any, ...]

    def when(self, command: Any) -> "Verdict":
        """Decides the command upon these events.

        Raises InvalidCommand for a command that no JSON can spell, InvalidEvent for a decided event that cannot be stored, and
        whatever else than Rejected `decide` and `evolve` raise.
        """
        service = self.service
        service.command_codec.digest(command)
        service.stream_of(command)
        state = fold(service, service.initial, self._seen_by(command))
        try:
            events = decided(service, state, command)
        except Rejected as error:
            return Verdict(self, command, (), error)
        stored = tuple(_stored(service, event) for event in events)
        fold(service, state, stored)
        return Verdict(self, command, stored, None)

    def _seen_by(self, command: Any) -> Iterable[Any]:
        service = self.service
        if service.query is None or service.tags is None:
            return self.stored
        query, tags = service.query(command), service.tags
        return [event for event in self.stored if query.matches(type(event).__name__, tuple(tags(event)))]


@dataclass(frozen=True)
class Verdict:
    """What the service made of the command: events, or a rejection."""

    scenario: Scenario
    command: Any
    events: tuple[Any, ...]
    rejection: Rejected | None

    def then(self, *events: Any) -> None:
        """Fails unless just these events were decided, in this order."""
        __tracebackhide__ = True
        expected = tuple(_stored(self.scenario.service, event) for event in events)
        if self.rejection is not None:
            raise AssertionError(self._told(f"was rejected: {self.rejection}", "expected", *_block(expected)))
        if not _are_alike(self.events, expected):
            what = "gave other events than expected (+ is one too many, - is missing)"
            raise AssertionError(self._told(what, *_indented(_difference(expected, self.events))))

    def nothing_happens(self) -> None:
        """Fails unless the command was accepted and decided no event."""
        __tracebackhide__ = True
        if self.rejection is not None:
            raise AssertionError(self._told(f"was rejected: {self.rejection}", "expected that nothing happens"))
        if self.events:
            raise AssertionError(self._told("was expected to do nothing, and gave", *_block(self.events)))

    def rejected(self, reason: str = "") -> None:
        """Fails unless the command was rejected, with a message that contains `reason`."""
        __tracebackhide__ = True
        wanted = f" with {reason!r}" if reason else ""
        if self.rejection is None:
            raise AssertionError(self._told(f"was expected to be rejected{wanted}, and gave", *_block(self.events)))
        if reason not in str(self.rejection):
            raise AssertionError(self._told(f"was expected to be rejected{wanted}, and was with {str(self.rejection)!r}"))

    def _told(self, *what: str) -> str:
        """The whole example, so that a failure can be read without the test's source."""
        return "\n".join(["given", *_block(self.scenario.events), "when", *_block([self.command]), *what])


@dataclass(frozen=True)
class SagaScenario:
    """A saga and the events that came for it before."""

    saga: Saga
    events: tuple[Any, ...]

    def when(self, event: Any) -> "SagaVerdict":
        """Lets the saga react to an event after these. Raises what `react` and `evolve` raise, TypeError for an event that is not
        the saga's, InvalidDefinition for a command that is not, InvalidCommand for one that no JSON can spell."""
        saga, state = self.saga, self.saga.initial
        for each in (*self.events, event):
            if not isinstance(each, saga.event_classes):
                raise TypeError(f"{each!r} is no event that saga '{saga.name}' reads; add its class to 'events'")
        for each in self.events:
            state = evolved(saga, state, each)
        wanted = reacted(saga, state, event)
        for each in wanted:
            command = getattr(each, "send", each)
            if isinstance(command, tuple(saga.command_codec.classes.values())):
                saga.command_codec.digest(command)
        evolved(saga, state, event)
        return SagaVerdict(self, event, wanted)


@dataclass(frozen=True)
class SagaVerdict:
    """What the saga wants: commands, deadlines (`After`), deadlines withdrawn (`Withdraw`)."""

    scenario: SagaScenario
    event: Any
    wanted: tuple[Any, ...]

    def then(self, *wanted: Any) -> None:
        """Fails unless just this is wanted, in this order."""
        __tracebackhide__ = True
        if not _are_alike(self.wanted, wanted):
            what = "wants other things than expected (+ is one too many, - is missing)"
            raise AssertionError(self._told(what, *_indented(_difference(wanted, self.wanted))))

    def nothing_happens(self) -> None:
        """Fails unless nothing is wanted."""
        __tracebackhide__ = True
        if self.wanted:
            raise AssertionError(self._told("was expected to want nothing, and wants", *_block(self.wanted)))

    def _told(self, *what: str) -> str:
        """The whole example, so that a failure can be read without the test's source."""
        return "\n".join(["given", *_block(self.scenario.events), "when", *_block([self.event]), *what])


def _stored(service: EventService, event: Any) -> Any:
    """The event as it is read back from a log, which must be as it was."""
    name, _, _, read_back = service.event_codec.encode(event)
    if read_back != event:
        raise InvalidEvent(name, "$", f"{event!r} would be read back as {read_back!r}")
    return read_back


def _are_alike(found: Sequence[Any], expected: Sequence[Any]) -> bool:
    return [type(each) for each in found] == [type(each) for each in expected] and list(found) == list(expected)


def _difference(expected: Sequence[Any], found: Sequence[Any]) -> list[str]:
    return [line for line in difflib.ndiff(_lines(expected), _lines(found)) if not line.startswith("?")]


def _block(values: Sequence[Any]) -> list[str]:
    return _indented(_lines(values) or ["nothing"])


def _lines(values: Iterable[Any]) -> list[str]:
    return [line for value in values for line in pformat(value, width=100, sort_dicts=False).splitlines()]


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"    {line}" for line in lines]
