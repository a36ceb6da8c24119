"""Several writers at once: on one condition there is one winner, on conditions that do not touch there is no loser."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from syncline.stores.event_log import EventLog
from syncline.testing.conformance.subject import Subject
from syncline.testing.contender import Contender, Diary, Kind, Race

KINDS: tuple[Kind, ...] = ("version", "query", "decided")
WRITERS = 4
ROUNDS = 40

each_kind = pytest.mark.parametrize("kind", KINDS)
held_or_free = pytest.mark.parametrize("is_held", [True, False], ids=["held", "free"])


@each_kind
@held_or_free
def test_threads_that_race_on_one_condition_have_one_winner(subject: Subject, log: EventLog, kind: Kind, is_held: bool) -> None:
    races = [Race(f"t{number}", ROUNDS, kind, is_held=is_held) for number in range(WRITERS)]
    assert_one_winner(log, races, in_threads(subject, races))


@each_kind
def test_threads_that_race_on_conditions_of_their_own_have_no_loser(subject: Subject, log: EventLog, kind: Kind) -> None:
    races = [Race(f"t{number}", ROUNDS, kind, is_shared=False) for number in range(WRITERS)]
    assert all(outcomes == ["won"] * ROUNDS for outcomes in in_threads(subject, races))
    assert log.head().n == WRITERS * ROUNDS


@pytest.mark.requires("processes")
@each_kind
@held_or_free
def test_processes_that_race_on_one_condition_have_one_winner(subject: Subject, log: EventLog, kind: Kind, is_held: bool) -> None:
    races = [Race(f"p{number}", ROUNDS, kind, is_held=is_held) for number in range(WRITERS)]
    assert_one_winner(log, races, in_processes(subject, races))


@pytest.mark.requires("processes")
@each_kind
def test_processes_that_race_on_conditions_of_their_own_have_no_loser(subject: Subject, log: EventLog, kind: Kind) -> None:
    races = [Race(f"p{number}", ROUNDS, kind, is_shared=False) for number in range(WRITERS)]
    assert all(outcomes == ["won"] * ROUNDS for outcomes in in_processes(subject, races))
    assert log.head().n == WRITERS * ROUNDS


@pytest.mark.long
@pytest.mark.requires("processes")
@each_kind
def test_many_long_races_between_processes_have_one_winner_each(subject: Subject, log: EventLog, kind: Kind) -> None:
    races = [Race(f"p{number}", 3_000, kind) for number in range(WRITERS)]
    assert_one_winner(log, races, in_processes(subject, races))


@pytest.mark.parametrize("attempt", range(8))
def test_a_new_log_that_many_open_at_the_same_moment_is_one_log(subject: Subject, attempt: int) -> None:
    races = [Race(f"t{number}", 1, "version", is_shared=False) for number in range(8)]
    barrier = threading.Barrier(len(races))

    def run(race: Race) -> str:
        barrier.wait()
        log = subject.open()
        try:
            assert list(race.run(log, barrier.wait)) == ["won"]
            return log.incarnation
        finally:
            log.close()

    with ThreadPoolExecutor(len(races)) as pool:
        assert len(set(pool.map(run, races))) == 1
    log = subject.open()
    assert [each.position for each in log.read()] == list(range(1, 9))
    log.close()


@pytest.mark.requires("processes")
def test_positions_only_rise_for_a_reader_that_polls_while_others_write(
    subject: Subject, open_log: Callable[[], EventLog], log: EventLog
) -> None:
    seen: list[int] = []
    with ExitStack() as stack:
        writers = [stack.enter_context(Contender(subject.open, Diary(f"p{number}", 0))) for number in range(3)]
        for writer in writers:
            writer.wait_ready()
        for writer in writers:
            writer.go()
        while len(seen) < 600:
            seen += [each.position for each in log.read(seen[-1] if seen else 0, limit=50)]
    assert seen == list(range(1, len(seen) + 1))
    later = open_log().read(limit=1_000_000)
    assert [each.position for each in later[: len(seen)]] == seen


def in_threads(subject: Subject, races: Sequence[Race]) -> list[list[str]]:
    """The outcomes of each race, run by a thread with a log of its own."""
    barrier = threading.Barrier(len(races))

    def run(race: Race) -> list[str]:
        log = subject.open()
        try:
            barrier.wait()
            return list(race.run(log, barrier.wait))
        finally:
            log.close()

    with ThreadPoolExecutor(len(races)) as pool:
        return list(pool.map(run, races))


def in_processes(subject: Subject, races: Sequence[Race]) -> list[list[str]]:
    """The outcomes of each race, run by a process of its own."""
    with ExitStack() as stack:
        contenders = [stack.enter_context(Contender(subject.open, race)) for race in races]
        outcomes: list[list[str]] = [[] for _ in races]
        for _ in range(races[0].rounds if races[0].is_held else 1):
            for contender in contenders:
                contender.wait_ready()
            for contender in contenders:
                contender.go()
            if races[0].is_held:
                for found, contender in zip(outcomes, contenders, strict=True):
                    found.append(contender.hear())
        for found, contender in zip(outcomes, contenders, strict=True):
            found += contender.rest()
    return outcomes


def assert_one_winner(log: EventLog, races: Sequence[Race], outcomes: Sequence[Sequence[str]]) -> None:
    """Each round was won by one writer, who was told so, and nothing else is stored."""
    winners = {each.tags[0]: each.name for each in log.read(limit=1_000_000)}
    assert log.head().n == len(winners) == races[0].rounds
    for number in range(races[0].rounds):
        told = [race.name for race, found in zip(races, outcomes, strict=True) if found[number] == "won"]
        assert told == [winners[f"r-{number}"]]
