"""A command sent twice has one effect and one receipt: in one group, in two Apps at once, after a restart."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.write.ledger import Close, Deposit, Event, Withdraw, decide, ledger, recorded
from tests.write.sender import Sender

from syncline import App, CommandReused, Receipt, Rejected, SQLite
from syncline.commanding import rising_ids
from syncline.testing import Clock
from syncline.testing.memory import memory_folder


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "events.db")


def app_of(path: str) -> App:
    return App(ledger.on(SQLite(path)))


def test_a_command_sent_again_gives_the_first_receipt_again(path: str) -> None:
    with app_of(path) as app:
        first = app.send(Deposit("a", 5), command_id="c-1")
        app.send(Deposit("a", 7))
        assert app.send(Deposit("a", 5), command_id="c-1") == first
    assert (first.command_id, first.version, len(first.events)) == ("c-1", 2, 2)
    assert len(recorded(path)) == 3


def test_a_command_sent_again_after_a_restart_or_through_another_app_gives_the_first_receipt(path: str) -> None:
    with app_of(path) as app:
        first = app.send(Deposit("a", 5), command_id="c-1")
        with app_of(path) as other:
            assert other.send(Deposit("a", 5), command_id="c-1") == first
    with app_of(path) as again:
        assert again.send(Deposit("a", 5), command_id="c-1") == first
    assert len(recorded(path)) == 2


def test_a_command_sent_again_is_not_decided_again(path: str) -> None:
    asked: list[Any] = []

    def counting(account: Any, command: Any) -> Iterator[Event]:
        asked.append(command)
        return decide(account, command)

    with App(replace(ledger, decide=counting).on(SQLite(path))) as app:
        for _ in range(5):
            app.send(Deposit("a", 1), command_id="c-1")
    assert len(asked) == 1


@pytest.mark.parametrize("other", [Deposit("a", 6), Deposit("b", 5), Withdraw("a", 5), Close("a")])
def test_an_id_that_another_command_had_is_refused_and_nothing_is_stored(path: str, other: Any) -> None:
    with app_of(path) as app:
        app.send(Deposit("a", 5), command_id="c-1")
        with pytest.raises(CommandReused, match="command id 'c-1' was used before for") as raised:
            app.send(other, command_id="c-1")
        assert (raised.value.before, raised.value.sent) == ("Deposit", type(other).__name__)
    assert len(recorded(path)) == 2


def test_copies_that_are_sent_together_have_one_effect_and_equal_receipts(path: str) -> None:
    with app_of(path) as app:
        futures = [app.submit(Deposit("a", 1), command_id="c-1") for _ in range(50)]
        other = app.submit(Deposit("a", 2), command_id="c-1")
        assert len({repr(future.result()) for future in futures}) == 1
        assert isinstance(other.exception(), CommandReused)
    assert len(recorded(path)) == 1


def test_copies_that_several_apps_are_sent_at_once_have_one_effect_and_equal_receipts(path: str) -> None:
    with ExitStack() as stack:
        apps = [stack.enter_context(app_of(path)) for _ in range(4)]
        with ThreadPoolExecutor(4) as pool:
            for number in range(40):
                command_id, command = f"c-{number}", Deposit("a", number + 1)
                found = list(pool.map(lambda app: app.send(command, command_id=command_id), apps))  # noqa: B023
                assert found == [found[0]] * 4
    assert len({each.metadata["command_id"] for each in recorded(path)}) == 40
    assert len(recorded(path)) == 40 + 8


def test_copies_that_several_processes_are_sent_have_one_effect_and_equal_receipts(path: str) -> None:
    commands = [(f"c-{number}", Deposit("ab"[number % 2], number + 1)) for number in range(100)]
    with Sender(path, "tests.write.ledger.ledger") as first, Sender(path, "tests.write.ledger.ledger") as second:
        for sender in (first, second):
            sender.wait_ready()
        for sender in (first, second):
            sender.send(commands)
        assert first.end() == second.end()
    assert len(recorded(path)) == 120


def test_a_command_that_was_rejected_may_be_sent_again_and_is_decided_anew(path: str) -> None:
    with app_of(path) as app:
        with pytest.raises(Rejected):
            app.send(Withdraw("a", 1), command_id="c-1")
        app.send(Deposit("a", 1))
        assert app.send(Withdraw("a", 1), command_id="c-1").version == 2


def test_a_command_that_decided_nothing_is_remembered_as_well(path: str) -> None:
    with app_of(path) as app:
        app.send(Deposit("a", 1))
        app.send(Close("a"))
        first = app.send(Close("a"), command_id="c-1")
        assert (first.events, first.version, first.token.positions["ledger"].n) == ((), 2, 2)
        app.send(Deposit("b", 1))
    with app_of(path) as again:
        assert again.send(Close("a"), command_id="c-1") == first
        with pytest.raises(CommandReused):
            again.send(Close("b"), command_id="c-1")


def test_an_id_may_be_any_text(path: str) -> None:
    ids = ["0", "é", "a\x00b", "a\x00c", "\U0001f600", "x" * 10_000, "'", "c-1 "]
    with app_of(path) as app:
        for number, command_id in enumerate(ids):
            assert app.send(Deposit(f"a{number}", 1), command_id=command_id).command_id == command_id
    with app_of(path) as app:
        for number, command_id in enumerate(ids):
            assert app.send(Deposit(f"a{number}", 1), command_id=command_id).version == 1
    assert len(recorded(path)) == len(ids)


def test_a_command_without_an_id_gets_one_of_its_own(path: str) -> None:
    with app_of(path) as app, app_of(path) as other:
        receipts = [each.send(Deposit("a", 1)) for _ in range(50) for each in (app, other)]
        assert len({receipt.command_id for receipt in receipts}) == 100
        assert app.send(Deposit("a", 1), command_id=receipts[-1].command_id) == receipts[-1]
    assert len(recorded(path)) == 100


def test_ids_are_uuids_that_rise_and_never_meet(path: str) -> None:
    made = [[new_id() for _ in range(20_000)] for new_id in (rising_ids(), rising_ids(), rising_ids())]
    for ids in made:
        assert ids == sorted(ids)
        assert all(len(each) == 36 and each[14] == "7" and each[19] in "89ab" for each in ids)
    assert len({each for ids in made for each in ids}) == 60_000


def test_threads_that_make_ids_at_the_same_time_never_get_the_same(path: str) -> None:
    new_id = rising_ids()
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: [new_id() for _ in range(20_000)], range(8)))
    assert len({each for ids in made for each in ids}) == 160_000


def test_ids_time_and_metadata_are_stored_with_every_event(path: str) -> None:
    clock = Clock(1_000.0)
    with App(ledger.on(SQLite(path)), clock=clock) as app:
        app.send(Deposit("a", 5), command_id="c-1")
        clock.advance(2.5)
        about = {"command_id": "c-2", "correlation_id": "c-1", "causation_id": "e-7", "metadata": {"user": "ada", "n": [1]}}
        app.send(Deposit("a", 1), **about)  # type: ignore[arg-type]
    *first, last = recorded(path)
    assert [(each.at, each.metadata) for each in first] == [(1_000.0, {"command_id": "c-1", "correlation_id": "c-1"})] * 2
    assert last.at == 1_002.5
    assert last.metadata == {**{k: v for k, v in about.items() if k != "metadata"}, "user": "ada", "n": [1]}


# -- whatever is sent again --------------------------------------------------------------------------------------------

COMMANDS = st.one_of(st.builds(Deposit, st.just("a"), st.integers(1, 3)), st.builds(Withdraw, st.just("a"), st.integers(1, 3)))
SENT = st.lists(st.tuples(st.integers(0, 4), COMMANDS, st.sampled_from(["first", "second", "restart"])), max_size=20)


@given(SENT)
@settings(max_examples=40, deadline=None)
def test_whatever_is_sent_again_each_id_has_one_effect(sent: list[tuple[int, Any, str]]) -> None:
    with TemporaryDirectory(dir=memory_folder()) as folder:
        path = f"{folder}/events.db"
        accepted: dict[int, tuple[Any, Receipt]] = {}
        apps = {"first": app_of(path), "second": app_of(path)}
        for number, command, through in sent:
            if through == "restart":
                apps["first"].close()
                apps["first"] = app_of(path)
            found = apps["second" if through == "second" else "first"].submit(command, command_id=f"c-{number}")
            error = found.exception()
            if number in accepted and accepted[number][0] != command:
                assert isinstance(error, CommandReused)
            elif number in accepted:
                assert found.result() == accepted[number][1]
            elif error is None:
                accepted[number] = command, found.result()
            else:
                assert isinstance(error, Rejected)
        for app in apps.values():
            app.close()
        events = recorded(path)
        assert len(events) == sum(len(receipt.events) for _, receipt in accepted.values())
        assert [json.loads(each.data)["balance"] for each in events] == balances(events)


def balances(events: list[Any]) -> list[int]:
    """What the balance is after each event, by adding up."""
    total, found = 0, []
    for each in events:
        cents = json.loads(each.data)["cents"]
        total += -cents if each.name == "Withdrawn" else cents
        found.append(total)
    return found
