"""The process ends before any one of its SQL statements, at the read store, at a service or at the lease, and another goes on.

Nothing is left to chance of timing: each statement of a scenario is a place to die, and the next attempt may die as well. What is
left is read at once, and must be a state of before or after; then the services move on, and a run without a death makes it exact.
"""

import json
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.crash import bank, victim
from tests.crash.processes import ENVIRONMENT, kill

SEED = 31
ARCHIVE_ROWS = 20
DEATHS = 3


class Victims:
    """The process that forks those that die."""

    def __init__(self, errors: Path) -> None:
        with errors.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, victim.__file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=ENVIRONMENT,
                text=True,
            )
        self._errors = errors

    def close(self) -> None:
        kill(self._process)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def run(self, folder: Path, verb: str, *arguments: str, at: int = 0) -> dict[str, Any]:
        """What `victim.py` tells of a process that dies before its statement number `at`."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"folder": str(folder), "verb": verb, "arguments": arguments, "at": at}) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        assert answer["status"] in (0, -signal.SIGKILL), f"{verb} ended: {answer}\n{self._errors.read_text()}"
        return answer


@pytest.fixture(scope="module")
def victims(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victims]:
    with closing(Victims(tmp_path_factory.mktemp("victims") / "errors.log")) as made:
        yield made


def nothing_held(folder: Path, victims: Victims) -> tuple[str, ...]:
    """The first run: it copies everything and builds every view."""
    write(folder, 40)
    return ("sync",)


def changes_waiting(folder: Path, victims: Victims) -> tuple[str, ...]:
    write(folder, 40)
    victims.run(folder, "sync")
    write(folder, 12)
    return ("sync",)


def view_rebuilt(folder: Path, victims: Victims) -> tuple[str, ...]:
    write(folder, 40)
    victims.run(folder, "sync")
    write(folder, 3)
    return ("rebuild", "account_card")


def views_changed(folder: Path, victims: Victims) -> tuple[str, ...]:
    """One view needs a new column, one that reads it changes with it, one goes, and one is new."""
    write(folder, 40)
    victims.run(folder, "sync")
    write(folder, 3)
    views = folder / "views"
    views.joinpath("loyalty.sql").unlink()
    views.joinpath("payees.sql").write_text("-- key: payee\nSELECT payee, count(*) AS n FROM ledger.transfer GROUP BY payee\n")
    for name, old in (("account_card", "sum(t.cents) AS paid"), ("city_wealth", "count(*) AS accounts")):
        new = f"{old}, max({'t.' if name == 'account_card' else ''}payee) AS payee"
        views.joinpath(f"{name}.sql").write_text(bank.VIEWS[name].replace(old, new))
    return ("sync",)


def restored_service(folder: Path, victims: Victims) -> tuple[str, ...]:
    """A service's triggers were taken away, and it went on without them: everything is compared."""
    write(folder, 40)
    victims.run(folder, "sync")
    with bank.opened_service(folder, "ledger") as db:
        names = db.execute("SELECT name FROM ledger.sqlite_master WHERE type = 'trigger'").fetchall()
        for (name,) in names:
            db.execute(f"DROP TRIGGER ledger.{name}")
    write(folder, 5)
    return ("sync",)


SCENARIOS: list[Callable[[Path, Victims], tuple[str, ...]]] = [
    nothing_held,
    changes_waiting,
    view_rebuilt,
    views_changed,
    restored_service,
]


def write(folder: Path, steps: int) -> None:
    for service in bank.SERVICES:
        with bank.opened_service(folder, service) as db:
            for _ in range(steps):
                db.execute("BEGIN IMMEDIATE")
                bank.advance(db, service, SEED)
                db.execute("COMMIT")


def look_at_what_is_left(folder: Path) -> None:
    with closing(bank.Reader(folder, SEED)) as reader:
        reader.look()


def die_everywhere(
    folder: Path,
    victims: Victims,
    scenario: Callable[[Path, Victims], tuple[str, ...]],
    places: Callable[[list[int], int], Sequence[int]],
) -> int:
    """Dies at the places chosen out of those behind a commit, and of all; says at how many."""
    start, attempt = folder / "start", folder / "attempt"
    start.mkdir()
    bank.make(start, ARCHIVE_ROWS)
    verb, *arguments = scenario(start, victims)
    shutil.copytree(start, attempt)
    lived = victims.run(attempt, verb, *arguments)
    assert (lived["status"], bank.all_differences(attempt, SEED)) == (0, [])
    statements = lived["statements"]
    chosen = places(lived["behind_commits"], statements)
    rng = random.Random(SEED)
    for at in chosen:
        shutil.rmtree(attempt)
        shutil.copytree(start, attempt)
        victims.run(attempt, verb, *arguments, at=at)
        look_at_what_is_left(attempt)
        if rng.random() < 0.5:
            victims.run(attempt, "sync", at=rng.randint(1, statements))
            look_at_what_is_left(attempt)
        write(attempt, rng.randint(0, 2))
        assert victims.run(attempt, "sync")["status"] == 0
        assert bank.all_differences(attempt, SEED) == [], f"after a death before statement {at} of {verb}"
        look_at_what_is_left(attempt)
    return len(chosen)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__.replace("_", " "))
def test_a_death_before_any_statement_loses_nothing(
    tmp_path: Path, victims: Victims, scenario: Callable[[Path, Victims], tuple[str, ...]]
) -> None:
    rng = random.Random(scenario.__name__)

    def some(behind_commits: list[int], statements: int) -> list[int]:
        return rng.sample(behind_commits, DEATHS - 1) + rng.sample(range(1, statements), 1)

    assert die_everywhere(tmp_path, victims, scenario, some) == DEATHS


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__.replace("_", " "))
def test_a_death_behind_every_commit_loses_nothing(
    tmp_path: Path, victims: Victims, scenario: Callable[[Path, Victims], tuple[str, ...]]
) -> None:

    def all_that_differ(behind_commits: list[int], statements: int) -> list[int]:
        """Within a transaction one place is like another, so a few of those are enough."""
        return sorted({*behind_commits, *range(1, statements, 20)})

    deaths = die_everywhere(tmp_path, victims, scenario, all_that_differ)
    print(f"{scenario.__name__}: {deaths} deaths")
