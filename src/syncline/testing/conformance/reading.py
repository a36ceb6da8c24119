"""Reading: nothing is repeated or skipped, whatever the pieces in which it is read."""

from itertools import pairwise

import pytest

from syncline.events import Query, QueryItem
from syncline.stores.event_log import EventLog
from syncline.testing.conformance.subject import append, event, stored

TAGGED = Query((QueryItem(tags=("even",)),))


def write(log: EventLog, count: int) -> None:
    """`count` events in appends of one to three, in four streams; every second one is tagged."""
    appends, n = [], 0
    while n < count:
        size = min(1 + n % 3, count - n)
        events = [event(f"E{number}", *(["even"] if number % 2 == 0 else [])) for number in range(n + 1, n + size + 1)]
        appends.append(append(f"s-{n % 4}", *events))
        n += size
    stored(log, *appends)


def test_an_empty_log_has_nothing_to_read(log: EventLog) -> None:
    assert log.read() == []
    assert log.read(query=TAGGED) == []
    assert log.read_streams({"a": 0}) == {}
    assert (log.head().n, log.head().incarnation) == (0, log.incarnation)


def test_reading_after_a_position_never_repeats_it(log: EventLog) -> None:
    write(log, 10)
    assert [each.position for each in log.read(after=7)] == [8, 9, 10]
    assert log.read(after=10) == []


def test_reading_up_to_a_position_includes_it(log: EventLog) -> None:
    write(log, 10)
    assert [each.position for each in log.read(after=3, up_to=6)] == [4, 5, 6]
    assert log.read(after=6, up_to=6) == []


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 1_000])
def test_reading_in_pieces_repeats_and_skips_nothing(log: EventLog, limit: int) -> None:
    write(log, 50)
    found: list[int] = []
    while piece := log.read(found[-1] if found else 0, limit=limit):
        assert len(piece) <= limit
        found += [each.position for each in piece]
    assert found == list(range(1, 51))


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 1_000])
def test_reading_what_matches_in_pieces_repeats_and_skips_nothing(log: EventLog, limit: int) -> None:
    write(log, 50)
    found: list[int] = []
    while piece := log.read(found[-1] if found else 0, limit=limit, query=TAGGED):
        assert len(piece) <= limit
        found += [each.position for each in piece]
    assert found == list(range(2, 51, 2))


def test_after_up_to_and_limit_hold_for_a_query_as_well(log: EventLog) -> None:
    write(log, 20)
    assert [each.position for each in log.read(4, up_to=12, query=TAGGED)] == [6, 8, 10, 12]
    assert [each.position for each in log.read(4, up_to=12, limit=2, query=TAGGED)] == [6, 8]


def test_streams_are_read_from_the_version_after_the_one_given(log: EventLog) -> None:
    stored(log, append("a", "A1", "A2"), append("b", "B1"), append("a", "A3"), append("c", "C1"))
    found = log.read_streams({"a": 1, "b": 1, "c": 0, "d": 0})
    assert {stream: [(row.version, row.name) for row in rows] for stream, rows in found.items() if rows} == {
        "a": [(2, "A2"), (3, "A3")],
        "c": [(1, "C1")],
    }


def test_the_events_of_a_stream_are_in_order_however_they_lie_in_the_log(log: EventLog) -> None:
    write(log, 40)
    for rows in log.read_streams({f"s-{number}": 0 for number in range(4)}).values():
        assert [row.version for row in rows] == list(range(1, len(rows) + 1))
        assert all(before.position < after.position for before, after in pairwise(rows))


def test_many_streams_are_read_in_one_call(log: EventLog) -> None:
    stored(log, *(append(f"s-{number}", "E1") for number in range(2_000)))
    found = log.read_streams({f"s-{number}": 0 for number in range(2_000)})
    assert all(len(found[f"s-{number}"]) == 1 for number in range(2_000))


def test_the_head_is_the_newest_position(log: EventLog) -> None:
    write(log, 10)
    assert log.head().n == 10
    stored(log, append("a", "A1", "A2"))
    assert log.head().n == 12
