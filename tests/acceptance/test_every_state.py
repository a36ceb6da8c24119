"""Every state a reader can see is one cut: the views' queries at the vector of positions stored with the rows.

Real processes: `syncline run`, a writer for each service, and a reader that polls the read store as fast as it can and compares
all of every state with an oracle. See `tests/crash/bank.py`.
"""

from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.crash import bank
from tests.crash.processes import Bank, wait_until

ARCHIVE_ROWS = 300
PAUSE_S = 0.006


def follow_under_load(folder: Path, seed: int, captures: Mapping[str, str], steps: int) -> None:
    """Writers, relay and reader go on for so many steps of the services; then all must be equal at rest."""
    with Bank(folder, seed, archive=ARCHIVE_ROWS, pause_s=PAUSE_S, captures=captures) as made:
        made.start_writers()
        made.start_reader()
        run = made.run()
        wait_until(lambda: made.reader_fault() or made.is_live(), "every view is live")
        first = sum(bank.steps_now(folder).values())

        def has_ended() -> bool:
            is_broken = made.reader_fault() or run.process.poll() is not None
            return bool(is_broken) or sum(made.shown().values()) >= first + steps

        wait_until(has_ended, f"the services are followed for {steps} steps", timeout_s=600)
        assert not made.reader_fault(), made.reader_fault()
        made.wait_for(made.stop_writers())
        seen = made.stop_reader()
        made.assert_exact()
        run.stop()
        made.command("verify")
    print(f"seed {seed}: {seen['vectors']} vectors in {seen['states']} states of {seen['looks']} looks")
    assert {service: len(found) for service, found in seen["incarnations"].items()} == dict.fromkeys(bank.SERVICES, 1)
    assert seen["vectors"] >= 100, f"too few states were seen to prove anything: {seen}"


@pytest.mark.parametrize("captures", [bank.CAPTURES, bank.OTHER_CAPTURES], ids=["mostly triggers", "mostly polling"])
def test_every_state_a_reader_sees_under_load_is_one_cut(tmp_path: Path, captures: Mapping[str, str]) -> None:
    follow_under_load(tmp_path, 1, captures, steps=1_000)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("captures", [bank.CAPTURES, bank.OTHER_CAPTURES], ids=["mostly triggers", "mostly polling"])
def test_every_state_is_one_cut_through_minutes_of_load(tmp_path: Path, captures: Mapping[str, str]) -> None:
    follow_under_load(tmp_path, 2, captures, steps=40_000)
