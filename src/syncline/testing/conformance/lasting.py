"""What lasts: through restarts, `kill -9`, a full disk and another version; and what is only a cache."""

import random
from collections.abc import Callable, Sequence

import pytest

from syncline.errors import StoreError
from syncline.events import Appended, Repeated
from syncline.stores.event_log import EventLog
from syncline.testing.conformance.subject import Subject, append, event, names, stored
from syncline.testing.contender import Contender, Diary

KILLS = 6
LONG_KILLS = 150


def test_everything_is_there_after_a_restart(log: EventLog, open_log: Callable[[], EventLog]) -> None:
    stored(log, append("a", event("A1", "x"), "A2", command_id="c-1"), append("b", "B1"))
    before, handled, incarnation = log.read(), log.handled(["c-1"]), log.incarnation
    log.close()
    again = open_log()
    assert again.read() == before
    assert again.handled(["c-1"]) == handled
    assert (again.incarnation, again.head().n) == (incarnation, 3)


def test_closing_twice_is_harmless(log: EventLog, open_log: Callable[[], EventLog]) -> None:
    log.close()
    other = open_log()
    log.close()
    stored(other, append("a", "A1"))


def test_a_second_writer_sees_what_the_first_stored_and_goes_on_from_there(
    log: EventLog, open_log: Callable[[], EventLog]
) -> None:
    other = open_log()
    assert (other.incarnation, other.head().n) == (log.incarnation, 0)
    stored(log, append("a", "A1", command_id="c-1"))
    assert other.append([append("a", "A2", expected=1)]) == [Appended(2, 2)]
    assert isinstance(other.append([append("a", "A1", command_id="c-1")])[0], Repeated)
    assert names(log) == ["A1", "A2"]


@pytest.mark.requires("processes")
def test_what_was_acknowledged_is_there_after_a_kill_and_what_was_refused_never_is(
    subject: Subject, open_log: Callable[[], EventLog]
) -> None:
    assert_nothing_lost(subject, open_log, KILLS)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.requires("processes")
def test_the_same_after_many_kills(subject: Subject, open_log: Callable[[], EventLog]) -> None:
    assert_nothing_lost(subject, open_log, LONG_KILLS)


def assert_nothing_lost(subject: Subject, open_log: Callable[[], EventLog], kills: int) -> None:
    """Kills two writers again and again, after a random number of appends; each goes on where it came to."""
    rng = random.Random(5)
    told: dict[str, list[str]] = {"p0": [], "p1": []}
    for _ in range(kills):
        with (
            Contender(subject.open, Diary("p0", _next(told["p0"]))) as first,
            Contender(subject.open, Diary("p1", _next(told["p1"]))) as second,
        ):
            for each in (first, second):
                each.wait_ready()
            for each in (first, second):
                each.go()
            told["p0"] += [first.hear() for _ in range(rng.randrange(40))]
            first.kill()
            second.kill()
            told["p0"] += first.rest()
            told["p1"] += second.rest()
        log = open_log()
        _assert_kept(log, told)
        log.close()


def _next(told: Sequence[str]) -> int:
    """The first number of which nothing is known: it may have been stored unseen, and is sent again with its id."""
    return int(told[-1].partition(" ")[2]) + 1 if told else 0


def _assert_kept(log: EventLog, told: dict[str, list[str]]) -> None:
    found = log.read(limit=1_000_000)
    assert [each.position for each in found] == list(range(1, len(found) + 1))
    for name, lines in told.items():
        counted: dict[str, int] = {}
        for each in found:
            if each.stream == name:
                counted[each.name] = counted.get(each.name, 0) + 1
        for line in lines:
            what, _, number = line.partition(" ")
            expected = 1 + int(number) % 3 if what == "accepted" else 0
            assert counted.get(f"{name}-{number}", 0) == expected, line
        assert all(count == 1 + int(each.rpartition("-")[2]) % 3 for each, count in counted.items()), "a torn append"
        assert set(log.handled(counted)) == set(counted)


# -- caches ------------------------------------------------------------------------------------------------------------


def test_a_snapshot_is_found_as_it_was_saved(log: EventLog) -> None:
    log.save_snapshots([("a", 10, "f1", '{"n":10}'), ("b", 20, "f1", '{"n":20}')])
    assert log.snapshots(["a", "b", "c"]) == {"a": (10, "f1", '{"n":10}'), "b": (20, "f1", '{"n":20}')}


def test_a_newer_snapshot_takes_the_place_of_an_older(log: EventLog) -> None:
    log.save_snapshots([("a", 10, "f1", "{}")])
    log.save_snapshots([("a", 20, "f2", '{"n":20}')])
    assert log.snapshots(["a"]) == {"a": (20, "f2", '{"n":20}')}


def test_a_snapshot_has_no_say_in_what_the_events_are(log: EventLog) -> None:
    stored(log, append("a", "A1", "A2"))
    log.save_snapshots([("a", 99, "f1", "{}")])
    assert [row.version for row in log.read_streams({"a": 0})["a"]] == [1, 2]
    assert log.append([append("a", "A3", expected=2)]) == [Appended(3, 3)]


# -- refusals ----------------------------------------------------------------------------------------------------------


def test_a_text_that_is_no_unicode_is_refused_and_nothing_of_its_group_is_stored(log: EventLog) -> None:
    for bad in (append("a\ud800", "A1"), append("a", "A\udfff"), append("a", event("A1", "t\ud800"))):
        with pytest.raises(StoreError):
            log.append([append("b", "B1"), bad])
    assert names(log) == []
    stored(log, append("b", "B1"))


@pytest.mark.requires("newer")
def test_a_log_of_a_newer_version_is_refused_and_left_as_it_is(subject: Subject, open_log: Callable[[], EventLog]) -> None:
    log = open_log()
    stored(log, append("a", event("A1", "x"), command_id="c-1"))
    before = log.read(), log.handled(["c-1"])
    log.close()
    assert subject.newer is not None
    with subject.newer(), pytest.raises(StoreError, match="format"):
        subject.open()
    again = open_log()
    assert (again.read(), again.handled(["c-1"])) == before


@pytest.mark.requires("full")
def test_a_full_disk_stores_nothing_and_what_is_sent_later_is_stored(subject: Subject, log: EventLog) -> None:
    stored(log, append("a", "A1", command_id="c-1"))
    big = append("a", event("Big", "x", data='"' + "x" * 5_000_000 + '"'), command_id="c-2")
    assert subject.full is not None
    with subject.full(log):
        with pytest.raises(StoreError):
            log.append([append("b", "B1", command_id="c-3"), big])
        assert names(log) == ["A1"]
        assert set(log.handled(["c-1", "c-2", "c-3"])) == {"c-1"}
    stored(log, append("b", "B1", command_id="c-3"), big)
    assert names(log) == ["A1", "B1", "Big"]
