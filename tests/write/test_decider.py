"""Deciding commands, whoever else writes: the log is always that of some serial order, and every answer is true of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.write import campus
from tests.write.campus import Bill, Join, Leave, Offer, Register, Release
from tests.write.ledger import Close, Deposit, Withdraw, assert_is_serial, ledger, recorded

from syncline import EventService, Rejected
from syncline.events import Append, Recorded
from syncline.stores.event_log import Outcome
from syncline.stores.sqlite.events import SQLiteEventLog
from syncline.testing.memory import memory_folder
from syncline.write.commit import Answer, Request
from syncline.write.decider import Decider, decided, fold

ACCOUNTS = st.sampled_from(["a", "b"])
LEDGER_COMMANDS = st.one_of(
    st.builds(Deposit, ACCOUNTS, st.integers(1, 12)),
    st.builds(Withdraw, ACCOUNTS, st.integers(1, 12)),
    st.builds(Close, ACCOUNTS),
)
COURSES = st.sampled_from(["c1", "c2", "c3", "c4"])
STUDENTS = st.sampled_from(["s1", "s2"])
SEAT_COMMANDS = st.one_of(
    st.builds(Offer, COURSES, st.integers(0, 2)),
    st.builds(Join, COURSES, STUDENTS),
    st.builds(Join, COURSES, STUDENTS),
    st.builds(Leave, COURSES, STUDENTS),
)
NAME_COMMANDS = st.one_of(
    st.builds(Register, st.sampled_from(["ada", "bob"]), st.sampled_from(["x", "y"])),
    st.builds(Release, st.sampled_from(["ada", "bob"])),
)
BILL_COMMANDS = st.builds(Bill, st.sampled_from(["o1", "o2"]), st.integers(1, 9))

SERVICES = {
    "ledger": (ledger, LEDGER_COMMANDS),
    "names": (campus.names, NAME_COMMANDS),
    "seats": (campus.seats, SEAT_COMMANDS),
    "invoices": (campus.invoices, BILL_COMMANDS),
}
each_service = pytest.mark.parametrize(("service", "commands"), SERVICES.values(), ids=SERVICES)


# -- two deciders over one file, one let in at the worst moment --------------------------------------------------------


@dataclass
class Group:
    """Commands that one decider handles together; `meanwhile` the other handles its own, just before these are appended."""

    who: int
    commands: list[Any]
    meanwhile: list[Any] = field(default_factory=list)


class Interrupted(SQLiteEventLog):
    """A log of which someone may be let in before an append reaches it."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.let_in: Callable[[], None] | None = None

    def append(self, appends: Sequence[Append]) -> list[Outcome]:
        let_in, self.let_in = self.let_in, None
        if let_in is not None:
            let_in()
        return super().append(appends)


class Rivals:
    """Two deciders over one log, and all that they were sent. Every answer is checked against the log when it is given."""

    def __init__(self, service: EventService, path: str) -> None:
        self.service, self.path = service, path
        self.logs = [Interrupted(path) for _ in range(2)]
        self.deciders = [Decider(service, log, lambda: 1.0) for log in self.logs]
        self.sent: dict[str, Any] = {}

    def play(self, group: Group) -> None:
        if group.meanwhile:
            self.logs[group.who].let_in = lambda: self._handle(1 - group.who, group.meanwhile)
        self._handle(group.who, group.commands)
        self.logs[group.who].let_in = None

    def _handle(self, who: int, commands: Sequence[Any]) -> None:
        requests = []
        for command in commands:
            requests.append(Request(command, f"c-{len(self.sent)}", is_fresh=True))
            self.sent[requests[-1].command_id] = command
        begun = self.logs[who].head().n
        for command, answer in zip(commands, self.deciders[who].handle(requests), strict=True):
            if isinstance(answer, Exception) or not answer.events:
                assert_is_true(self.service, command, answer, recorded(self.path), begun)


def assert_is_true(service: EventService, command: Any, answer: Answer, events: list[Recorded], begun: int) -> None:
    """At some moment since the position `begun` the command was rejected, or decided nothing, as the answer says."""
    moments = [begun, *sorted({each.append_end for each in events if each.append_end > begun})]
    expected = f"rejected: {answer}" if isinstance(answer, Rejected) else "()"
    assert expected in [verdict(service, command, [each for each in events if each.position <= at]) for at in moments]


def verdict(service: EventService, command: Any, events: list[Recorded]) -> str:
    """What the command decides upon these events, or why it is rejected."""
    stream = service.stream_of(command)
    query = service.query(command) if service.query is not None else None
    seen = [each for each in events if (query.matches(each.name, each.tags) if query is not None else each.stream == stream)]
    try:
        return repr(decided(service, fold(service, service.initial, map(service.event_codec.decode_recorded, seen)), command))
    except Rejected as error:
        return f"rejected: {error}"


def groups_of(commands: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Group]]:
    several = st.lists(commands, min_size=1, max_size=3)
    return st.lists(st.builds(Group, st.integers(0, 1), several, st.one_of(st.just([]), several)), min_size=1, max_size=10)


@each_service
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_two_deciders_over_one_log_give_a_serial_history(
    service: EventService, commands: st.SearchStrategy[Any], data: st.DataObject
) -> None:
    with TemporaryDirectory(dir=memory_folder()) as folder:
        path = f"{folder}/events.db"
        rivals = Rivals(service, path)
        for group in data.draw(groups_of(commands)):
            rivals.play(group)
        assert_is_serial(service, recorded(path), rivals.sent)
        for log in rivals.logs:
            log.close()
