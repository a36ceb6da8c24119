"""kill -9 of `syncline run` at random moments, with writers going on and a reader that checks every state meanwhile.

A kill belongs to a phase: what the relay is at when it is killed. After each kill the read store is opened and checked as it was
left: an older vector is fine, a torn one is not. Then another `syncline run` goes on from there, and nobody helps it. At the end
of a phase the writers stop, and all that they wrote is there, once. What it is compared with is told in `bank.py`.
"""

import random
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from math import ceil
from pathlib import Path

import pytest
from tests.crash import bank
from tests.crash.processes import Bank, Process, Run, kill, wait_until

ARCHIVE_ROWS = 20_000
PAUSE_S = 0.02
LONGEST_DELAY_S = 0.4
REBUILT = ("archived", "account_card", "richest")
SEED = 11


class Killer:
    """Kills relays in every phase, and checks what they leave behind."""

    def __init__(self, made: Bank, rng: random.Random) -> None:
        self.made, self.rng = made, rng
        self.left = bank.Reader(made.folder, made.seed)
        self.current: Run | None = None
        self.killed_at: Counter[str] = Counter()
        self.asked: list[Process] = []
        self._variant = 0

    def running(self) -> Run:
        """The relay at work; a new one if the last was killed."""
        if self.current is None:
            self.current = self.made.run()
        return self.current

    def live(self) -> Run:
        run = self.running()
        wait_until(lambda: (run.is_live() and self.made.is_live()) or run.process.poll() is not None, "every view is live")
        run.assert_runs()
        return run

    def kill(self, phase: str, longest_s: float = LONGEST_DELAY_S, *, with_writers: bool = False) -> None:
        """Kills the relay after a random time, soon more often than late, and looks at what it left."""
        run = self.running()
        run.kill_after(longest_s * self.rng.random() ** 2)
        if with_writers:
            self.made.kill_writers()
        self.current = None
        self.killed_at[f"{phase}: {self.made.phase()}"] += 1
        self.left.look()
        assert not self.made.reader_fault(), self.made.reader_fault()
        if with_writers:
            self.made.start_writers()

    def settle(self, *, by_command: bool) -> None:
        """The phase is over: all is caught up with, nothing is lost, nothing is there twice."""
        run = self.live()
        for process in self.asked:
            assert process.wait(30) in (0, 1)
        self.asked = []
        self.made.wait_for(self.made.stop_writers())
        self.left.look()
        self.made.assert_exact()
        if by_command:
            self.made.command("verify")
        run.assert_runs()
        assert "Traceback" not in run.output(), run.output()
        self.made.start_writers()

    # -- phases --------------------------------------------------------------------------------------------------------

    def start(self, _: int) -> None:
        """From its first moment on: while it opens the store and the services, and begins to follow."""
        self.running().wait_for("following")
        self.kill("start")

    def early(self, _: int) -> None:
        """Before it has said anything."""
        self.running()
        self.kill("early", 2 * LONGEST_DELAY_S)

    def backfill(self, number: int) -> None:
        """While it copies the services' rows and builds the views for the first time: from nothing, or from where that ended."""
        if number % 2 == 0:
            if self.current is not None:
                kill(self.current.process)
                self.current = None
            self.made.delete_store()
        run = self.running()
        wait_until(lambda: self.made.query("SELECT 1 FROM syncline_relation") or run.process.poll() is not None, "it begins")
        self.kill("backfill")

    def following(self, number: int) -> None:
        """While it follows."""
        self.live()
        self.kill("live", with_writers=number % 2 == 1)

    def rebuild(self, number: int) -> None:
        """After `syncline rebuild`; the request outlives the relay that began it, and the command waits or says that it ended."""
        view = REBUILT[number % len(REBUILT)]
        run = self.live()
        before = self.made.generation(view)
        self.asked.append(self.made.ask("rebuild", view))
        wait_until(
            lambda: self.made.phase() == "rebuild" or self.made.generation(view) > before or run.process.poll() is not None,
            "the rebuild begins",
        )
        self.kill("rebuild", LONGEST_DELAY_S / 2)

    def cutover(self, number: int) -> None:
        """When every key of the tables being built is done, so that only the switch is left, or has just been."""
        view = REBUILT[number % len(REBUILT)]
        run = self.live()
        before = self.made.generation(view)
        self.asked.append(self.made.ask("rebuild", view))

        def is_near() -> bool:
            progress = self.made.progress()
            is_done = bool(progress) and all(done >= 0.9 * total for done, total in progress)
            return is_done or self.made.generation(view) > before or run.process.poll() is not None

        wait_until(is_near, "the cutover is near")
        self.kill("cutover", 0.02)

    def changed(self, _: int) -> None:
        """While a view whose file has changed is built beside the rows of before."""
        run = self.live()
        run.stop()
        self._variant += 1
        text = bank.VIEWS["archived"].replace("c.city", f"c.city, a.cents * {self._variant} AS scaled")
        (self.made.folder / "views" / "archived.sql").write_text(text)
        self.current = run = self.made.run()
        wait_until(lambda: self.made.phase() == "rebuild" or run.process.poll() is not None, "the changed view is built beside")
        self.kill("changed", LONGEST_DELAY_S / 2)

    def standby(self, _: int) -> None:
        """While a second relay stands by, which takes over; `live` waits for it."""
        first = self.live()
        second = self.made.run()
        second.wait_for("standing by")
        self.kill("standby")
        assert first.process.returncode == -signal.SIGKILL
        self.current = second


PHASES: dict[str, tuple[Callable[[Killer, int], None], int]] = {
    "early": (Killer.early, 2),
    "start": (Killer.start, 2),
    "backfill": (Killer.backfill, 4),
    "live": (Killer.following, 4),
    "rebuild": (Killer.rebuild, 3),
    "cutover": (Killer.cutover, 3),
    "changed": (Killer.changed, 1),
    "standby": (Killer.standby, 1),
}
"""Each phase with its share of 20 kills; half as many are at least one of each."""


def kill_in_every_phase(folder: Path, seed: int, times: float, archive: int, *, by_command: bool) -> None:
    with Bank(folder, seed, archive=archive, pause_s=PAUSE_S) as made:
        made.start_writers()
        made.start_reader()
        killer = Killer(made, random.Random(seed))
        with closing(killer.left):
            for kill_once, share in PHASES.values():
                for number in range(ceil(share * times)):
                    kill_once(killer, number)
                killer.settle(by_command=by_command)
        made.command("verify")
        killer.live().stop()
        seen = made.stop_reader()
    print(f"killed at: {dict(sorted(killer.killed_at.items()))}")
    print(f"the reader saw {seen['vectors']} vectors in {seen['states']} states of {seen['stores']} stores")
    assert killer.killed_at.total() == sum(ceil(share * times) for _, share in PHASES.values())
    assert seen["vectors"] >= 100, f"too few states were seen to prove anything: {seen}"
    for service in ("ledger", "shop"):
        assert len(seen["incarnations"][service]) == 1, f"a kill made {service} another history: {seen}"


def test_a_relay_killed_in_every_phase_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    kill_in_every_phase(tmp_path, SEED, 0.5, ARCHIVE_ROWS, by_command=False)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_relay_killed_two_hundred_times_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    kill_in_every_phase(tmp_path, SEED + 1, 10, 3 * ARCHIVE_ROWS, by_command=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_relay_cleanly_while_it_copies_and_while_it_follows(tmp_path: Path, number: signal.Signals) -> None:
    with Bank(tmp_path, SEED, archive=ARCHIVE_ROWS, pause_s=PAUSE_S) as made:
        made.start_writers()
        copying = made.run()
        wait_until(lambda: made.query("SELECT 1 FROM syncline_relation WHERE rows > 0"), "rows are copied")
        copying.stop(number)
        following = made.run()
        wait_until(made.is_live, "every view is live")
        following.stop(number)
        assert "Traceback" not in copying.output() + following.output()
        steps = made.stop_writers()
        last = made.run()
        made.start_reader()
        made.wait_for(steps)
        last.stop(number)
        made.stop_reader()
        made.assert_exact()


def test_a_paused_relay_keeps_its_lease_and_a_killed_one_hands_it_over(tmp_path: Path) -> None:
    with Bank(tmp_path, SEED, archive=200, pause_s=PAUSE_S) as made:
        made.start_reader()
        first = made.run()
        wait_until(made.is_live, "every view is live")
        made.pause(first)
        second = made.run()
        second.wait_for("standing by")
        made.start_writers()
        wait_until(lambda: sum(bank.steps_now(tmp_path).values()) > 100, "the writers go on")
        steps = made.stop_writers()
        second.assert_runs()
        assert made.shown() == dict.fromkeys(bank.SERVICES, 0), "someone followed while the holder of the lease was paused"
        kill(first.process)
        made.wait_for(steps)
        made.stop_reader()
        made.assert_exact()
        second.stop()


def test_a_paused_relay_that_wakes_goes_on_where_it_was(tmp_path: Path) -> None:
    with Bank(tmp_path, SEED, archive=200, pause_s=PAUSE_S) as made:
        made.start_writers()
        made.start_reader()
        run = made.run()
        wait_until(made.is_live, "every view is live")
        for _ in range(5):
            made.pause(run)
            reached = sum(bank.steps_now(tmp_path).values())
            wait_until(lambda reached=reached: sum(bank.steps_now(tmp_path).values()) > reached + 20, "the writers go on")
            run.process.send_signal(signal.SIGCONT)
        made.wait_for(made.stop_writers())
        made.stop_reader()
        made.assert_exact()
        run.stop()


def test_a_read_store_deleted_under_a_running_relay_is_made_anew_by_it(tmp_path: Path) -> None:
    with Bank(tmp_path, SEED, archive=200, pause_s=PAUSE_S) as made:
        made.start_writers()
        made.start_reader()
        run = made.run()
        wait_until(made.is_live, "every view is live")
        for _ in range(2):
            (consumer,) = made.query("SELECT consumer FROM syncline_meta")
            made.delete_store()
            wait_until(lambda old=consumer: made.query("SELECT consumer FROM syncline_meta") not in ([], [old]), "a new store")
            wait_until(made.is_live, "every view is live again")
            run.assert_runs()
        made.wait_for(made.stop_writers())
        seen = made.stop_reader()
        assert seen["stores"] == 3
        made.assert_exact()
        run.stop()


def test_everything_of_a_read_store_deleted_under_a_running_relay_leaves_one_relay(tmp_path: Path) -> None:
    with Bank(tmp_path, SEED, archive=200, pause_s=PAUSE_S) as made:
        made.start_writers()
        made.start_reader()
        first = made.run()
        wait_until(made.is_live, "every view is live")
        made.delete_store()
        for ending in ("-lease", "-requests"):
            Path(f"{made.store}{ending}").unlink(missing_ok=True)
        first.wait_for("it is opened again")
        wait_until(made.is_live, "every view is live again")
        second = made.run()
        second.wait_for("standing by")
        made.command("rebuild", "archived")
        made.wait_for(made.stop_writers())
        made.stop_reader()
        made.assert_exact()
        first.stop()
        second.stop()


def test_a_relay_whose_lease_was_deleted_gives_way_to_the_one_that_took_over(tmp_path: Path) -> None:
    with Bank(tmp_path, SEED, archive=200, pause_s=PAUSE_S) as made:
        made.start_writers()
        made.start_reader()
        first = made.run()
        wait_until(made.is_live, "every view is live")
        Path(f"{made.store}-lease").unlink()
        second = made.run()
        first.wait_for("another relay took over")
        first.wait_for("standing by")
        wait_until(second.is_live, "the second relay follows")
        assert "took over" not in second.output()
        kill(second.process)
        made.wait_for(made.stop_writers())
        made.stop_reader()
        made.assert_exact()
        first.stop()


def test_a_relay_fenced_off_while_it_copies_writes_nothing_more(tmp_path: Path) -> None:
    with Bank(tmp_path, SEED, archive=3 * ARCHIVE_ROWS, pause_s=PAUSE_S) as made:
        made.start_writers()
        made.start_reader()
        first = made.run()
        wait_until(lambda: made.query("SELECT 1 FROM syncline_relation WHERE rows > 0"), "rows are copied")
        made.pause(first)
        Path(f"{made.store}-lease").unlink()
        second = made.run()
        wait_until(lambda: second.is_live() and made.is_live(), "the second relay has copied everything")
        first.process.send_signal(signal.SIGCONT)
        first.wait_for("another relay took over")
        made.wait_for(made.stop_writers())
        made.stop_reader()
        made.assert_exact()
        first.stop()
        second.stop()
