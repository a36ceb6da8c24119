"""kill -9 of a process that sends commands: what was acknowledged is in the log, once, and sending it again changes nothing."""

import random
from pathlib import Path
from typing import Any

import pytest
from tests.write.ledger import Close, Deposit, Withdraw, appends_of, assert_is_serial, ledger, recorded
from tests.write.sender import Sender

ROUNDS = 10
LONG_ROUNDS = 400
COMMANDS = 120
GROUP = 6
"""How many commands are in flight at once: few, so that there are many transactions to be killed in."""
MOST_HEARD = 100


def test_what_was_acknowledged_before_a_kill_is_in_the_log_and_sending_it_again_changes_nothing(tmp_path: Path) -> None:
    kill_again_and_again(tmp_path, ROUNDS, 1)


@pytest.mark.long
@pytest.mark.timeout(1_800)
def test_the_same_many_more_times(tmp_path: Path) -> None:
    kill_again_and_again(tmp_path, LONG_ROUNDS, 2)


def kill_again_and_again(folder: Path, rounds: int, seed: int) -> None:
    """In each round a process gets all commands sent so far once more, and new ones, and is killed at some moment."""
    path, rng = str(folder / "events.db"), random.Random(seed)
    sent: dict[str, Any] = {}
    told: dict[str, list[Any]] = {}
    cut_short = 0
    for number in range(rounds):
        again = rng.sample(sorted(sent), min(len(sent), 30))
        new = {f"c-{number}-{n}": command(rng) for n in range(COMMANDS)}
        sent.update(new)
        asked = [(command_id, sent[command_id]) for command_id in [*again, *new]]
        rng.shuffle(asked)
        with Sender(path, "tests.write.ledger.ledger") as sender:
            sender.wait_ready()
            for start in range(0, len(asked), GROUP):
                sender.send(asked[start : start + GROUP])
            heard = sender.hear(rng.randrange(MOST_HEARD))
            heard |= sender.kill()
        assert_one_answer(told, heard)
        cut_short += len(heard) < len(asked)
        assert_kept(path, sent, told, heard)
    assert cut_short > rounds // 2, "most rounds are to be killed in the middle"
    with Sender(path, "tests.write.ledger.ledger") as sender:
        sender.wait_ready()
        accepted = {command_id: sent[command_id] for command_id, found in told.items() if found[0] == "receipt"}
        before = len(recorded(path))
        sender.send(accepted.items())
        assert_one_answer(told, sender.end())
        assert len(recorded(path)) == before


def assert_one_answer(told: dict[str, list[Any]], heard: dict[str, list[Any]]) -> None:
    """A receipt that was given once is given again; a rejection may have become a receipt."""
    for command_id, outcome in heard.items():
        if told.get(command_id, ["Rejected"])[0] == "receipt":
            assert outcome == told[command_id], command_id
        told[command_id] = outcome


def assert_kept(path: str, sent: dict[str, Any], told: dict[str, list[Any]], heard: dict[str, list[Any]]) -> None:
    """Every receipt is true of the log, and so is every rejection of this round; an older one may have been sent again since."""
    events = recorded(path)
    assert_is_serial(ledger, events, sent)
    stored = {str(group[0].metadata["command_id"]): group for group in appends_of(events)}
    for command_id, (what, *details) in told.items():
        if what == "receipt" and details[1]:
            group = stored[command_id]
            assert details[:2] == [group[-1].version, len(group)]
        elif command_id in heard:
            assert command_id not in stored, f"{command_id} was answered {what}, {details}"


def command(rng: random.Random) -> Any:
    account, cents = f"a{rng.randrange(8)}", rng.randint(1, 12)
    return rng.choices([Deposit(account, cents), Withdraw(account, cents), Close(account)], [6, 5, 0.03])[0]
