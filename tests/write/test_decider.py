"""Deciding commands, whoever else writes: the log is always that of some serial order, and every answer is true of it."""

import json
import random
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, make_dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.write import campus
from tests.write.campus import Bill, Join, Leave, Offer, Register, Release
from tests.write.ledger import Close, Deposit, Deposited, Withdraw, appends_of, assert_is_serial, evolve, ledger, recorded
from tests.write.sender import Sender

from syncline import App, Conflict, EventService, Receipt, Rejected, SQLite
from syncline.errors import Unavailable
from syncline.events import Append, Recorded
from syncline.stores.event_log import Outcome, StoredRow
from syncline.stores.sqlite.events import SQLiteEventLog
from syncline.testing.memory import memory_folder
from syncline.write.commit import Answer, Request
from syncline.write.decider import ATTEMPTS, Decider, decided, fold

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


def in_processes(path: str, service: str, batches: Sequence[Sequence[tuple[str, Any]]]) -> dict[str, list[Any]]:
    """The outcomes of these commands, each batch sent by a process of its own at the same time."""
    module = "ledger" if service == "ledger" else "campus"
    with ExitStack() as stack:
        senders = [stack.enter_context(Sender(path, f"tests.write.{module}.{service}")) for _ in batches]
        for sender in senders:
            sender.wait_ready()
        for sender, batch in zip(senders, batches, strict=True):
            sender.send(batch)
        return {command_id: outcome for sender in senders for command_id, outcome in sender.end().items()}


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


# -- what dynamic consistency boundaries are for -----------------------------------------------------------------------


def test_a_name_is_given_to_one_of_all_who_ask_for_it_in_several_processes(tmp_path: Path) -> None:
    path = str(tmp_path / "events.db")
    batches = [[(f"p{p}-{n}", Register(f"name-{n}", f"p{p}")) for n in range(120)] for p in range(3)]
    outcomes = in_processes(path, "names", batches)
    owners = {each.tags: json.loads(each.data)["email"] for each in recorded(path)}
    assert len(recorded(path)) == len(owners) == 120
    for n in range(120):
        told = [f"p{p}" for p in range(3) if outcomes[f"p{p}-{n}"][0] == "receipt"]
        assert told == [owners[(f"name:name-{n}",)]]
        assert sum(outcomes[f"p{p}-{n}"] == ["Rejected", f"the name 'name-{n}' is taken"] for p in range(3)) == 2


def test_a_course_never_has_more_students_than_seats_nor_a_student_too_many_courses(tmp_path: Path) -> None:
    path, rng = str(tmp_path / "events.db"), random.Random(8)
    with App(campus.seats.on(SQLite(path))) as app:
        for number in range(10):
            app.send(Offer(f"c{number}", 4))
    asked = [Join(f"c{course}", f"s{student}") for course in range(10) for student in range(20)]
    rng.shuffle(asked)
    commands = [(f"{command.course}-{command.student}", command) for command in asked]
    outcomes = in_processes(path, "seats", [commands[number::3] for number in range(3)])
    joined = [json.loads(each.data) for each in recorded(path) if each.name == "Joined"]
    of_course = Counter(each["course"] for each in joined)
    of_student = Counter(each["student"] for each in joined)
    assert max(of_course.values()) == 4
    assert max(of_student.values()) <= campus.MOST_COURSES
    assert len(joined) == sum(outcome[0] == "receipt" for outcome in outcomes.values())
    turned_away = [command for command_id, command in commands if outcomes[command_id][0] == "Rejected"]
    for command in turned_away:
        assert of_course[command.course] == 4 or of_student[command.student] == campus.MOST_COURSES


def test_invoice_numbers_have_no_gap_and_none_is_given_twice(tmp_path: Path) -> None:
    path = str(tmp_path / "events.db")
    batches = [[(f"p{p}-{n}", Bill(f"o-{p}-{n}", n)) for n in range(100)] for p in range(3)]
    outcomes = in_processes(path, "invoices", batches)
    assert {outcome[0] for outcome in outcomes.values()} == {"receipt"}
    assert [json.loads(each.data)["number"] for each in recorded(path)] == list(range(1, 301))
    assert {each.version for each in recorded(path)} == {1}, "each invoice is in the stream of its order"


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
    assert "decided 10 times, and others were first each time; send it again" in str(answer)
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


class Counting(SQLiteEventLog):
    """Counts the events that it gives to be folded."""

    read_rows = 0

    def read_streams(self, after: Mapping[str, int]) -> dict[str, list[StoredRow]]:
        found = super().read_streams(after)
        self.read_rows += sum(map(len, found.values()))
        return found


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


# -- snapshots ---------------------------------------------------------------------------------------------------------

snapped = replace(ledger, snapshot_every=10)


def deposit(path: str, service: EventService, count: int) -> int:
    """Sends deposits by a decider of its own. Returns how many events it had to read."""
    with closing(Counting(path)) as log:
        decider = Decider(service, log, lambda: 1.0)
        for _ in range(count):
            (answer,) = decider.handle([Request(Deposit("a", 1), f"c-{log.head().n}", is_fresh=True)])
            assert isinstance(answer, Receipt)
            assert answer.events == (Deposited(1, answer.version),)
        return log.read_rows


def snapshots(path: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT stream, version, fingerprint, state FROM syncline_snapshot").fetchall()


def test_a_snapshot_spares_reading_the_events_before_it(tmp_path: Path) -> None:
    path = str(tmp_path / "events.db")
    assert deposit(path, snapped, 25) == 0
    ((stream, version, _, state),) = snapshots(path)
    assert (stream, version, json.loads(state)) == ("ledger-a", 20, {"balance": 20, "entries": 20, "is_open": True})
    assert deposit(path, snapped, 1) == 5


def test_a_snapshot_that_was_deleted_changes_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "events.db")
    deposit(path, snapped, 25)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM syncline_snapshot")
    assert deposit(path, snapped, 1) == 25


OTHERS = {
    "a state_version that was raised": replace(snapped, state_version=2),
    "an evolve that does something else": replace(
        snapped, evolve=lambda account, event: replace(evolve(account, event), entries=0)
    ),
    "a state of another shape": replace(
        snapped,
        initial=make_dataclass("Account", [("balance", int, 0), ("note", str, "")], frozen=True)(),
        decide=lambda account, command: [Deposited(command.cents, account.balance + command.cents)],
        evolve=lambda account, event: replace(account, balance=event.balance),
    ),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_a_snapshot_of_another_definition_is_not_used_and_gives_way(tmp_path: Path, other: EventService) -> None:
    path = str(tmp_path / "events.db")
    deposit(path, snapped, 25)
    ((_, _, fingerprint, _),) = snapshots(path)
    assert deposit(path, other, 5) == 25
    ((_, version, now, _),) = snapshots(path)
    assert version == 30 and now != fingerprint
    assert deposit(path, other, 1) == 0


def test_a_snapshot_that_cannot_be_stored_is_told_and_the_command_is_answered(tmp_path: Path) -> None:
    path = str(tmp_path / "events.db")

    class Full(SQLiteEventLog):
        def save_snapshots(self, snapshots: Sequence[tuple[str, int, str, str]]) -> None:
            raise Unavailable("event log: database or disk is full")

    with closing(Full(path)) as log, pytest.warns(UserWarning, match="disk is full"):
        answers = Decider(snapped, log, lambda: 1.0).handle([Request(Deposit("a", 1), f"c-{n}") for n in range(12)])
    assert all(isinstance(answer, Receipt) for answer in answers)
    assert len(recorded(path)) == 12


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 30), st.booleans()), min_size=1, max_size=6))
@settings(max_examples=40, deadline=None)
def test_with_snapshots_the_history_is_the_same_as_without(turns: list[tuple[str, int, bool]]) -> None:
    with TemporaryDirectory(dir=memory_folder()) as folder:
        path, sent = f"{folder}/events.db", dict[str, Any]()
        for account, count, are_deleted in turns:
            with closing(SQLiteEventLog(path)) as log:
                requests = []
                for number in range(count):
                    sent[f"c-{len(sent)}"] = (Withdraw if number % 3 == 2 else Deposit)(account, 1)
                    requests.append(Request(sent[f"c-{len(sent) - 1}"], f"c-{len(sent) - 1}"))
                Decider(replace(ledger, snapshot_every=3), log, lambda: 1.0).handle(requests)
            if are_deleted:
                with closing(sqlite3.connect(path)) as connection, connection:
                    connection.execute("DELETE FROM syncline_snapshot")
        assert_is_serial(ledger, recorded(path), sent)
