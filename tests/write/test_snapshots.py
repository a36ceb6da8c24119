"""Snapshots are a cache: they spare reading, and deleting them, or not using them, changes nothing."""

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import make_dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.write.ledger import Counting, Deposit, Deposited, Withdraw, assert_is_serial, evolve, ledger, recorded

from syncline import EventService, Receipt
from syncline.errors import Unavailable
from syncline.stores.sqlite.events import SQLiteEventLog
from syncline.testing.memory import memory_folder
from syncline.write.commit import Request
from syncline.write.decider import Decider

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
