"""The event log that is tested: how it is opened again and again, and what can be done to it from outside."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import pytest

from syncline.events import ANY, Append, AppendCondition, Appended, NewEvent
from syncline.stores.event_log import EventLog


@dataclass(frozen=True)
class Subject:
    """An empty event log, and what its store offers.

    `open` opens the same log each time that it is called, from any thread; to be offered to other processes it can be pickled
    (`functools.partial` of a class does). Within `full(log)` no more can be stored through that log for want of room; within
    `newer()` the log is marked as made by a version that this one does not know.
    """

    open: Callable[[], EventLog]
    has_processes: bool = True
    full: Callable[[EventLog], AbstractContextManager[None]] | None = None
    newer: Callable[[], AbstractContextManager[None]] | None = None

    @property
    def capabilities(self) -> frozenset[str]:
        offered = {"processes": self.has_processes, "full": self.full is not None, "newer": self.newer is not None}
        return frozenset(name for name, is_offered in offered.items() if is_offered)


@pytest.fixture(autouse=True)
def offers_what_is_required(request: pytest.FixtureRequest, subject: Subject) -> None:
    """Skips a test that asks for more than the store offers, and says what is missing."""
    for mark in request.node.iter_markers("requires"):
        missing = sorted(set(mark.args) - subject.capabilities)
        if missing:
            pytest.skip(f"this store does not offer: {', '.join(missing)}")


@pytest.fixture
def open_log(subject: Subject) -> Iterator[Callable[[], EventLog]]:
    """Opens the log under test once more: a restart, or a second writer."""
    opened: list[EventLog] = []

    def open_again() -> EventLog:
        opened.append(subject.open())
        return opened[-1]

    yield open_again
    for each in opened:
        each.close()


@pytest.fixture
def log(open_log: Callable[[], EventLog]) -> EventLog:
    """The log under test, open."""
    return open_log()


def event(name: str = "Noted", *tags: str, data: str = "{}") -> NewEvent:
    return NewEvent(name, data, tags)


def append(
    stream: str,
    *events: NewEvent | str,
    expected: int = ANY,
    command_id: str | None = None,
    digest: int = 0,
    decided_at: int = -1,
) -> Append:
    """An append of these events; a text is an event of that name."""
    made = tuple(each if isinstance(each, NewEvent) else NewEvent(each, "{}") for each in events)
    condition = AppendCondition(expected)
    return Append(stream, made, condition, command_id, digest, "Note", decided_at=decided_at, is_fresh=False, at=1_700_000_000.0)


def stored(log: EventLog, *appends: Append) -> list[Appended]:
    """Appends all of these in one call; each must be accepted."""
    outcomes = log.append(appends)
    accepted = [outcome for outcome in outcomes if isinstance(outcome, Appended)]
    assert len(accepted) == len(appends), outcomes
    return accepted


def names(log: EventLog) -> list[str]:
    """The names of all events, in order of position."""
    return [each.name for each in log.read(limit=1_000_000)]
