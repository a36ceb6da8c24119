"""Conditions over a query (https://dcb.events): an append is refused if events that matter to its decision were stored since."""

from collections.abc import Sequence

import pytest

from syncline.events import ANY, NO_STREAM, Append, AppendCondition, Appended, Conflicted, NewEvent, Query, QueryItem, Repeated
from syncline.stores.event_log import EventLog
from syncline.testing.conformance.subject import append, event, names, stored


def unless(query: Query, *events: NewEvent, after: int = 0, expected: int = ANY, decided_at: int = -1, knows: int = 0) -> Append:
    """An append that is refused if events that match the query have a position after `after`."""
    condition = AppendCondition(expected, query, after)
    return Append("new", events or (event("New"),), condition, decided_at=decided_at, knows=knows, at=1.0)


def query(*items: tuple[Sequence[str], Sequence[str]]) -> Query:
    """A query of alternatives, each of types and tags."""
    return Query(tuple(QueryItem(tuple(types), tuple(tags)) for types, tags in items))


HISTORY = (
    append("s", event("Defined", "course:c1")),
    append("s", event("Defined", "course:c2")),
    append("s", event("Joined", "course:c1", "student:s1")),
    append("s", event("Left", "course:c1", "student:s1")),
    append("s", event("Plain")),
)

MATCHING = {
    "everything": (query(), [1, 2, 3, 4, 5]),
    "a type": (query((["Defined"], [])), [1, 2]),
    "two types": (query((["Defined", "Left"], [])), [1, 2, 4]),
    "a tag": (query(([], ["course:c1"])), [1, 3, 4]),
    "all tags of an item": (query(([], ["course:c1", "student:s1"])), [3, 4]),
    "tags that no event has together": (query(([], ["course:c2", "student:s1"])), []),
    "a type and a tag": (query((["Joined"], ["student:s1"])), [3]),
    "several types and several tags": (query((["Joined", "Defined"], ["student:s1", "course:c1"])), [3]),
    "alternatives": (query((["Plain"], []), ([], ["course:c2"])), [2, 5]),
    "alternatives that overlap": (query((["Joined"], []), ([], ["student:s1"]), (["Joined"], ["course:c1"])), [3, 4]),
    "an item that names nothing": (query(([], [])), [1, 2, 3, 4, 5]),
    "a tag that is not there": (query(([], ["course:c3"])), []),
    "a tag that only begins like one": (query(([], ["course:c"])), []),
    "a type in another case": (query((["defined"], [])), []),
}
each_query = pytest.mark.parametrize(("asked", "positions"), MATCHING.values(), ids=MATCHING)


@each_query
def test_a_query_finds_just_the_events_that_match(log: EventLog, asked: Query, positions: list[int]) -> None:
    stored(log, *HISTORY)
    assert [each.position for each in log.read(query=asked)] == positions


def test_several_queries_are_read_in_one_call_each_after_a_position_of_its_own(log: EventLog) -> None:
    stored(log, *HISTORY)
    asked = {each: after for each, _ in MATCHING.values() for after in [len(each.items)]}
    found = log.read_queries(asked, 4)
    for each, positions in MATCHING.values():
        rows = found.get(each, [])
        assert [row.position for row in rows] == [at for at in positions if asked[each] < at <= 4]
        assert [row.name for row in rows] == [HISTORY[row.position - 1].events[0].name for row in rows]


@each_query
def test_an_append_is_refused_where_an_event_matches_and_accepted_where_none_does(
    log: EventLog, asked: Query, positions: list[int]
) -> None:
    stored(log, *HISTORY)
    (outcome,) = log.append([unless(asked)])
    assert isinstance(outcome, Conflicted if positions else Appended)
    assert log.head().n == (5 if positions else 6)


@each_query
def test_only_events_after_the_position_matter(log: EventLog, asked: Query, positions: list[int]) -> None:
    stored(log, *HISTORY)
    last = positions[-1] if positions else 0
    if positions:
        (refused,) = log.append([unless(asked, after=last - 1)])
        assert isinstance(refused, Conflicted)
    assert log.append([unless(asked, after=last)]) == [Appended(1, 6)]


@each_query
def test_what_it_was_decided_upon_does_not_matter_either(log: EventLog, asked: Query, positions: list[int]) -> None:
    stored(log, *HISTORY)
    last = positions[-1] if positions else 0
    assert isinstance(log.append([unless(asked, decided_at=last)])[0], Appended)


def test_a_refused_append_tells_the_head(log: EventLog) -> None:
    stored(log, *HISTORY)
    assert log.append([unless(query(([], ["course:c2"])))]) == [Conflicted("new", version=0, position=5)]


def test_the_query_and_the_expected_version_must_both_hold(log: EventLog) -> None:
    stored(log, *HISTORY)
    free, taken = query(([], ["course:c3"])), query(([], ["course:c1"]))
    outcomes = [
        log.append([unless(taken, expected=NO_STREAM)])[0],
        log.append([unless(free, expected=1)])[0],
        log.append([unless(free, expected=NO_STREAM)])[0],
    ]
    assert [type(outcome) for outcome in outcomes] == [Conflicted, Conflicted, Appended]


def test_a_command_sees_what_was_stored_before_it_in_its_group(log: EventLog) -> None:
    name = query(([], ["name:ada"]))
    outcomes = log.append([unless(name, event("Taken", "name:ada")), unless(name, event("Taken", "name:ada"))])
    assert [type(outcome) for outcome in outcomes] == [Appended, Conflicted]


def test_a_refused_append_of_a_group_is_in_nobodys_way(log: EventLog) -> None:
    stored(log, append("s", event("Taken", "name:ada")))
    ada, bob = query(([], ["name:ada"])), query(([], ["name:bob"]))
    outcomes = log.append([unless(ada, event("Taken", "name:bob")), unless(bob, event("Taken", "name:bob"))])
    assert [type(outcome) for outcome in outcomes] == [Conflicted, Appended]


def test_two_appends_of_one_group_with_conditions_that_do_not_touch_are_both_accepted(log: EventLog) -> None:
    asked = [query(([], [f"name:{name}"])) for name in ("ada", "bob")]
    outcomes = log.append([unless(each, event("Taken", each.items[0].tags[0])) for each in asked])
    assert [type(outcome) for outcome in outcomes] == [Appended, Appended]


# -- decided one upon the other in one call ----------------------------------------------------------------------------

SEATS = query(([], ["course:c1"]))


def joined(*, knows: int, decided_at: int = 0) -> Append:
    return unless(SEATS, event("Joined", "course:c1"), after=decided_at, decided_at=decided_at, knows=knows)


def test_decisions_that_build_upon_each_other_are_all_accepted(log: EventLog) -> None:
    outcomes = log.append([joined(knows=number) for number in range(5)])
    assert outcomes == [Appended(number, number) for number in range(1, 6)]


def test_a_decision_that_does_not_know_the_one_before_it_is_refused(log: EventLog) -> None:
    outcomes = log.append([joined(knows=0), joined(knows=0), joined(knows=1)])
    assert [type(outcome) for outcome in outcomes] == [Appended, Conflicted, Appended]


def test_a_decision_upon_one_that_was_refused_is_refused_as_well(log: EventLog) -> None:
    stored(log, append("s", event("Blocked", "door")))
    blocked = unless(query(([], ["door"])), event("Joined", "course:c1"))
    outcomes = log.append([blocked, joined(knows=1, decided_at=1)])
    assert [type(outcome) for outcome in outcomes] == [Conflicted, Conflicted]
    assert names(log) == ["Blocked"]


def test_a_decision_does_not_mind_the_refusal_of_one_that_does_not_matter_to_it(log: EventLog) -> None:
    stored(log, append("s", event("Blocked", "door")))
    blocked = unless(query(([], ["door"])), event("Joined", "course:c2"))
    outcomes = log.append([blocked, joined(knows=1, decided_at=1)])
    assert [type(outcome) for outcome in outcomes] == [Conflicted, Appended]


def test_decisions_of_one_call_are_refused_all_alike_when_others_wrote_meanwhile(log: EventLog) -> None:
    stored(log, append("s", event("Joined", "course:c1")))
    outcomes = log.append([joined(knows=0, decided_at=0), joined(knows=1, decided_at=0)])
    assert [type(outcome) for outcome in outcomes] == [Conflicted, Conflicted]
    assert log.head().n == 1


def test_a_version_that_counts_an_event_which_was_refused_does_not_hold(log: EventLog) -> None:
    stored(log, append("a", "A1"), append("a", "A2 of another"))
    first, second, other = (append("a", "A2", expected=1), append("a", "A3", expected=2), append("b", "B1", expected=0))
    for knows, each in enumerate([first, second, other]):
        each.decided_at, each.knows = 1, knows
    assert [type(outcome) for outcome in log.append([first, second, other])] == [Conflicted, Conflicted, Appended]
    assert names(log) == ["A1", "A2 of another", "B1"]


def test_a_version_that_counts_the_events_of_a_repeated_command_does_not_hold(log: EventLog) -> None:
    stored(log, append("a", "A1", command_id="c-1"))
    repeated, second = append("a", "A2", expected=1, command_id="c-1"), append("a", "A3", expected=1)
    repeated.decided_at = second.decided_at = second.knows = 1
    assert [type(outcome) for outcome in log.append([repeated, second])] == [Repeated, Conflicted]
