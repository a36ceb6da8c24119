"""Deciding commands, whoever else writes: the log is always that of some serial order, and every answer is true of it."""

import random
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.write import campus
from tests.write.campus import Bill, Join, Leave, Offer, Register, Release
from tests.write.ledger import Close, Counting, Deposit, Withdraw, appends_of, assert_is_serial, ledger, recorded
from tests.write.sender import in_processes

from syncline import App, Conflict, EventService, Receipt, Rejected, SQLite
from syncline.events import Append, Recorded
from syncline.stores.event_log import Outcome
from syncline.stores.sqlite.events import SQLiteEventLog
from syncline.testing.memory import memory_folder
from syncline.write.commit import Answer, Request
from syncline.write.decider import ATTEMPTS, Decider
from syncline.write.event_service import decided, fold

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


# -- threads and processes ---------------------------------------------------------------------------------------------


@each_service
@pytest.mark.parametrize("apps", [1, 2], ids=["one App", "two Apps"])
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_threads_that_send_at_the_same_time_give_a_serial_history(
    service: EventService, commands: st.SearchStrategy[Any], apps: int, data: st.DataObject
) -> None:
    clients = data.draw(st.lists(st.lists(commands, min_size=1, max_size=8), min_size=2, max_size=4))
    with TemporaryDirectory(dir=memory_folder()) as folder, ExitStack() as stack:
        path = f"{folder}/events.db"
        opened = [stack.enter_context(App(service.on(SQLite(path)))) for _ in range(apps)]
        sent = {f"c-{client}-{n}": command for client, its in enumerate(clients) for n, command in enumerate(its)}
        barrier = threading.Barrier(len(clients))

        def run(client: int) -> list[Receipt]:
            barrier.wait()
            app = opened[client % apps]
            futures = [app.submit(command, command_id=f"c-{client}-{n}") for n, command in enumerate(clients[client])]
            return [future.result() for future in futures if not isinstance(future.exception(), Rejected)]

        with ThreadPoolExecutor(len(clients)) as pool:
            receipts = [receipt for its in pool.map(run, range(len(clients))) for receipt in its]
        events = recorded(path)
        assert_is_serial(service, events, sent)
        assert_receipts_are_true(service, events, receipts)


def assert_receipts_are_true(service: EventService, events: list[Recorded], receipts: list[Receipt]) -> None:
    """Each receipt names just the events that are in the log for it, and every event has a receipt."""
    by_command = {group[0].metadata["command_id"]: group for group in appends_of(events)}
    assert {receipt.command_id for receipt in receipts if receipt.events} == set(by_command)
    for receipt in receipts:
        group = by_command.get(receipt.command_id)
        if group is not None:
            assert receipt.events == tuple(map(service.event_codec.decode_recorded, group))
            assert (receipt.stream, receipt.version) == (group[-1].stream, group[-1].version)
            assert receipt.token.positions[service.name].n == group[-1].position


@each_service
def test_processes_that_send_at_the_same_time_give_a_serial_history(
    service: EventService, commands: st.SearchStrategy[Any], tmp_path: Path
) -> None:
    path, rng = str(tmp_path / "events.db"), random.Random(3)
    sent = {f"c-{number}": random_command(service.name, rng) for number in range(450)}
    batches = [list(sent.items())[number::3] for number in range(3)]
    outcomes = in_processes(path, service.name, batches)
    events = recorded(path)
    assert_is_serial(service, events, sent)
    accepted = {each.metadata["command_id"] for each in events}
    assert accepted == {command_id for command_id, found in outcomes.items() if found[0] == "receipt" and found[2]}
    assert {found[0] for found in outcomes.values()} <= {"receipt", "Rejected"}
    assert len(outcomes) == 450


def random_command(service: str, rng: random.Random) -> Any:
    account, cents = rng.choice("abc"), rng.randint(1, 12)
    course, student = f"c{rng.randint(1, 6)}", f"s{rng.randint(1, 4)}"
    name = rng.choice(["ada", "bob", "eve"])
    of_service: dict[str, list[Any]] = {
        "ledger": [Deposit(account, cents), Withdraw(account, cents), *([Close(account)] if rng.random() < 0.01 else [])],
        "names": [Register(name, f"{cents}@x"), Release(name)],
        "seats": [Offer(course, rng.randint(0, 3)), Join(course, student), Join(course, student), Leave(course, student)],
        "invoices": [Bill(f"o-{cents}", cents)],
    }
    return rng.choice(of_service[service])


# -- one decider -------------------------------------------------------------------------------------------------------


def test_commands_of_one_stream_in_one_group_build_upon_each_other(tmp_path: Path) -> None:
    path = str(tmp_path / "events.db")
    commands = [Deposit("a", 1), Withdraw("a", 1), Withdraw("a", 1), Deposit("a", 2), Withdraw("a", 2), Close("a"), Close("a")]
    with closing(SQLiteEventLog(path)) as log:
        answers = Decider(ledger, log, lambda: 1.0).handle([Request(command, f"c-{n}") for n, command in enumerate(commands)])
    found = [repr(each) if isinstance(each, Exception) else each.version for each in answers]
    assert found == [1, 2, "Rejected('there are 0, not 1')", 3, 4, 5, 5]
    assert len({each.append_end for each in recorded(path)}) == 5


def test_commands_of_one_thread_are_handled_in_the_order_of_submission(tmp_path: Path) -> None:
    with App(ledger.on(SQLite(str(tmp_path / "events.db")))) as app:
        futures = [app.submit(Deposit("a", 1)) for _ in range(500)]
        assert [future.result().version for future in futures] == list(range(1, 501))


def test_a_command_that_others_are_always_before_is_answered_with_a_conflict_after_some_attempts(tmp_path: Path) -> None:
    path = str(tmp_path / "events.db")
    rival = Decider(ledger, SQLiteEventLog(path), lambda: 1.0)
    log = Interrupted(path)
    tried: list[int] = []

    def come_first() -> None:
        tried.append(1)
        rival.handle([Request(Deposit("a", 1), f"r-{len(tried)}")])
        log.let_in = come_first

    log.let_in = come_first
    (answer,) = Decider(ledger, log, lambda: 1.0).handle([Request(Withdraw("a", 1), "c-1")])
    assert isinstance(answer, Conflict)
    assert len(tried) == ATTEMPTS
    assert f"decided {ATTEMPTS} times, and others were first each time; send it again" in str(answer)
    assert {each.name for each in recorded(path)} == {"Deposited"}
    log.close()
    rival.close()


def test_a_state_is_not_read_again_while_nobody_else_writes(tmp_path: Path) -> None:
    with closing(Counting(str(tmp_path / "events.db"))) as log:
        decider = Decider(ledger, log, lambda: 1.0)
        for number in range(20):
            decider.handle([Request(Deposit("a", 1), f"c-{number}", is_fresh=True)])
        assert log.read_rows == 0


def test_a_state_that_others_wrote_to_is_read_on_from_where_it_was(tmp_path: Path) -> None:
    path = str(tmp_path / "events.db")
    with closing(Counting(path)) as log, closing(SQLiteEventLog(path)) as others:
        mine, theirs = Decider(ledger, log, lambda: 1.0), Decider(ledger, others, lambda: 1.0)
        for number in range(20):
            mine.handle([Request(Deposit("a", 1), f"m-{number}", is_fresh=True)])
        theirs.handle([Request(Deposit("a", 1), "t-1"), Request(Deposit("a", 1), "t-2")])
        (answer,) = mine.handle([Request(Deposit("a", 1), "m-20")])
    assert not isinstance(answer, Exception) and answer.version == 23
    assert log.read_rows == 2


def test_kinds_of_commands_that_were_about_new_streams_are_decided_without_a_read(tmp_path: Path) -> None:
    path = str(tmp_path / "events.db")
    with closing(Counting(path)) as log, closing(SQLiteEventLog(path)) as others:
        decider, rival = Decider(ledger, log, lambda: 1.0), Decider(ledger, others, lambda: 1.0)
        sent: dict[str, Any] = {}

        def handle(by: Decider, *commands: Any) -> list[str]:
            requests = [Request(each, f"c-{len(sent) + n}", is_fresh=True) for n, each in enumerate(commands)]
            sent.update({each.command_id: each.command for each in requests})
            answers = by.handle(requests)
            return [str(each) if isinstance(each, Exception) else repr(each.events[0]) for each in answers]

        handle(decider, Deposit("a", 1))
        for number in range(20):
            handle(decider, Deposit(f"new-{number}", 1), Deposit(f"more-{number}", 1))
        assert log.reads == 1
        handle(rival, Deposit("old", 6), Close("closed"))
        found = handle(decider, Deposit("b", 1), Deposit("old", 2), Deposit("closed", 1), Deposit("old", 4), Deposit("c", 1))
        assert found == [
            "Deposited(cents=1, balance=1)",
            "Deposited(cents=2, balance=8)",
            "the account is closed",
            "Deposited(cents=4, balance=12)",
            "Deposited(cents=1, balance=1)",
        ]
        reads = log.reads
        handle(decider, Deposit("d", 1))
        assert log.reads == reads + 1  # it was wrong lately, and is not taken for granted
    assert_is_serial(ledger, recorded(path), sent)


def test_a_state_in_memory_is_the_one_that_the_stored_events_give(tmp_path: Path) -> None:
    # The event says tuple, decide gives a list that it keeps: what is folded must be what will be read after a restart.
    kept: list[int] = [1]

    def decide(state: tuple[Any, ...], command: Bill) -> list[Any]:
        kept.append(command.cents)
        return [Numbers(kept)]  # type: ignore[arg-type]

    service = EventService(
        "numbers",
        key="order",
        commands=Bill,
        events=Numbers,
        initial=(),
        decide=decide,
        evolve=lambda state, event: (*state, event.numbers),
    )
    path = str(tmp_path / "events.db")
    with closing(SQLiteEventLog(path)) as log:
        decider = Decider(service, log, lambda: 1.0)
        for number in range(3):
            decider.handle([Request(Bill("a", number), f"c-{number}")])
        held = decider._states["numbers-a"].state
    read = fold(service, (), map(service.event_codec.decode_recorded, recorded(path)))
    assert held == read == ((1, 0), (1, 0, 1), (1, 0, 1, 2))


@dataclass(frozen=True)
class Numbers:
    numbers: tuple[int, ...]
