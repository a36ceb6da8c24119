"""Several processes at one table service: racing, killed, and in any interleaving equal to one command after the other."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.write.table_accounts import (
    Count,
    Open,
    Transfer,
    accounts,
    balances,
    follow,
    handler_of,
    request,
    rows,
    send,
)

from syncline.errors import (
    CommandReused,
)
from syncline.messages import Receipt

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


# -- processes -----------------------------------------------------------------------------------------------------------


def started(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "tests.write.table_accounts", *arguments],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_processes_that_race_for_one_database_lose_no_command_and_carry_out_none_twice(path: Path) -> None:
    commands, racers = 60, []
    with closing(handler_of(accounts, path)) as handler:
        send(handler, Open("a"))
        follow(path)
    try:
        racers = [started("race", str(path), name, str(commands)) for name in ("x", "y", "z")]
        for racer in racers:
            assert racer.stdout is not None and racer.stdout.readline() == "ready\n"
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("go\n")
            racer.stdin.flush()
        printed = [racer.communicate(timeout=60)[0].split() for racer in racers]
    finally:
        for racer in racers:
            racer.kill()
            racer.wait()
    receipts = sorted((name, token) for words in printed for name, token in zip(words[::2], words[1::2], strict=True))
    tokens = {name: {token for _, token in them} for name, them in groupby(receipts, key=lambda pair: pair[0])}
    assert len(tokens) == 4 * commands
    assert all(len(each) == 1 for each in tokens.values()), "one id, one receipt, in whatever process"
    assert len({token for each in tokens.values() for token in each}) == 4 * commands, "each command has a place of its own"
    assert balances(path) == {"a": 4 * commands}


def test_processes_that_make_one_database_at_the_same_moment_all_get_it(path: Path) -> None:
    racers = [started("race", str(path), name, "0") for name in "abcd"]
    try:
        assert [racer.communicate("go\n", timeout=60)[0] for racer in racers] == ["ready\n"] * 4
    finally:
        for racer in racers:
            racer.kill()
            racer.wait()
    assert balances(path) == {}
    assert rows(path, "PRAGMA journal_mode") == [("wal",)]


def test_what_was_acknowledged_is_there_after_a_kill_and_whole(path: Path) -> None:
    with closing(handler_of(accounts, path)) as handler:
        send(handler, Open("a", 10**9))
        send(handler, Open("b"))
    acknowledged: dict[str, str] = {}
    for wanted in (1, 7, 40):
        process = started("go_on", str(path))
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(len(acknowledged) + wanted)]
        process.send_signal(signal.SIGKILL)
        lines += process.communicate()[0].splitlines(keepends=True)
        found = dict(line.split() for line in lines if line.endswith("\n") and len(line.split()) == 2)
        assert acknowledged.items() <= found.items(), "the receipts of before, again"
        acknowledged = found
        stored = {command_id for (command_id,) in rows(path, "SELECT id FROM syncline_table_command WHERE id GLOB 't-*'")}
        assert acknowledged.keys() <= stored
        assert rows(path, "SELECT count(*) FROM entry") == [(len(stored),)]
        assert balances(path) == {"a": 10**9 - len(stored), "b": len(stored)}


# -- any interleaving ----------------------------------------------------------------------------------------------------

_names = st.sampled_from("abc")
_commands = st.one_of(
    st.builds(Open, _names, st.integers(-1, 5)),
    st.builds(Transfer, _names, _names, st.integers(0, 4)),
    st.builds(Count, _names),
)
_sent = st.lists(st.tuples(st.integers(0, 15), _commands, st.booleans(), st.booleans()), max_size=25)


class Model:
    """The accounts in plain Python, one command after the other."""

    def __init__(self) -> None:
        self.accounts: dict[str, int] = {}
        self.entries: list[tuple[str, str, int]] = []
        self.handled: dict[int, Any] = {}

    def send(self, number: int, command: Any) -> str:
        if number in self.handled:
            return "receipt" if self.handled[number] == command else "reused"
        if not self.carry_out(command):
            return "refused"
        self.handled[number] = command
        return "receipt"

    def carry_out(self, command: Any) -> bool:
        after = dict(self.accounts)
        match command:
            case Open(account, cents):
                if account in after or cents < 0:
                    return False
                after[account] = cents
            case Transfer(source, target, cents):
                if source not in after or target not in after or (source != target and after[source] < cents):
                    return False
                after[target] += cents
                after[source] -= cents
                self.entries.append((source, target, cents))
            case Count(account):
                if account not in after:
                    return False
                after[account] += 1
        self.accounts = after
        return True


@settings(max_examples=60, deadline=None)
@given(sent=_sent)
def test_any_grouping_over_two_processes_equals_one_command_after_the_other(
    tmp_path_factory: pytest.TempPathFactory, sent: list[tuple[int, Any, bool, bool]]
) -> None:
    path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    model, answers = Model(), list[str]()
    handlers = [handler_of(accounts, path), handler_of(accounts, path)]
    expected = [model.send(number, command) for number, command, _, _ in sent]
    for _, piece in groupby(_numbered_groups(sent), key=lambda each: each[0]):
        group = list(piece)
        its = handlers[group[0][1][2]].handle([request(accounts, command, f"c-{number}") for _, (number, command, _, _) in group])
        answers += ["receipt" if isinstance(a, Receipt) else "reused" if isinstance(a, CommandReused) else "refused" for a in its]
    for handler in handlers:
        handler.close()
    assert answers == expected
    assert balances(path) == model.accounts
    assert rows(path, "SELECT source, target, cents FROM entry ORDER BY entry_id") == model.entries


def _numbered_groups(sent: list[tuple[int, Any, bool, bool]]) -> Iterator[tuple[int, tuple[int, Any, bool, bool]]]:
    """Each command with the number of its group; the last flag ends one."""
    number = 0
    for each in sent:
        yield number, each
        number += each[3]
