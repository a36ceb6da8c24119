"""Appending: versions and positions, accepted or refused whole, each append of a group alone, each command once."""

import pytest

from syncline.events import ANY, NO_STREAM, Appended, Conflicted, NewEvent, Repeated
from syncline.stores.event_log import EventLog
from syncline.testing.conformance.subject import append, event, names, stored


def test_an_append_to_a_new_stream_that_expects_no_stream_is_accepted(log: EventLog) -> None:
    assert log.append([append("order-1", "Placed", expected=NO_STREAM)]) == [Appended(version=1, position=1)]


def test_an_append_at_the_expected_version_is_accepted(log: EventLog) -> None:
    stored(log, append("order-1", "Placed", "Paid"))
    assert log.append([append("order-1", "Sent", expected=2)]) == [Appended(version=3, position=3)]


@pytest.mark.parametrize("expected", [NO_STREAM, 1, 3])
def test_an_append_at_any_other_version_is_refused_and_told_the_version(log: EventLog, expected: int) -> None:
    stored(log, append("order-1", "Placed", "Paid"))
    assert log.append([append("order-1", "Sent", expected=expected)]) == [Conflicted("order-1", version=2, position=2)]


def test_an_append_that_expects_a_version_of_a_stream_that_is_not_there_is_refused(log: EventLog) -> None:
    assert log.append([append("order-1", "Sent", expected=1)]) == [Conflicted("order-1", version=0, position=0)]


def test_a_refused_append_stores_nothing(log: EventLog) -> None:
    stored(log, append("order-1", "Placed"))
    log.append([append("order-1", event("Sent", "a tag"), "Paid", expected=NO_STREAM, command_id="c-1")])
    assert names(log) == ["Placed"]
    assert log.head().n == 1
    assert log.handled(["c-1"]) == {}


def test_any_version_will_do_for_an_append_that_expects_any(log: EventLog) -> None:
    stored(log, append("order-1", "Placed", expected=ANY))
    assert log.append([append("order-1", "Paid", expected=ANY)]) == [Appended(version=2, position=2)]


def test_versions_count_from_one_in_each_stream(log: EventLog) -> None:
    stored(log, append("a", "A1", "A2"), append("b", "B1"), append("a", "A3"))
    assert [(each.stream, each.version) for each in log.read()] == [("a", 1), ("a", 2), ("b", 1), ("a", 3)]


def test_positions_are_dense_over_all_streams_and_refusals(log: EventLog) -> None:
    stored(log, append("a", "A1", "A2"))
    log.append([append("a", "Lost", expected=NO_STREAM), append("b", "B1")])
    stored(log, append("a", "A3"))
    assert [(each.position, each.name) for each in log.read()] == [(1, "A1"), (2, "A2"), (3, "B1"), (4, "A3")]


def test_every_event_tells_where_its_append_ended(log: EventLog) -> None:
    stored(log, append("a", "A1", "A2", "A3"), append("b", "B1"), append("a", "A4", "A5"))
    assert [each.append_end for each in log.read()] == [3, 3, 3, 4, 6, 6]


def test_each_append_of_a_group_is_accepted_or_refused_alone(log: EventLog) -> None:
    stored(log, append("a", "A1"))
    outcomes = log.append(
        [append("b", "B1", expected=NO_STREAM), append("a", "Lost", expected=NO_STREAM), append("a", "A2", expected=1)]
    )
    assert outcomes == [Appended(1, 2), Conflicted("a", 1, 2), Appended(2, 3)]
    assert names(log) == ["A1", "B1", "A2"]


def test_where_several_expect_a_new_stream_only_the_one_that_is_wrong_is_refused(log: EventLog) -> None:
    stored(log, append("a", "A1"))
    group = [append("b", "B1", expected=NO_STREAM), append("a", "Lost", expected=NO_STREAM), append("c", expected=NO_STREAM)]
    assert log.append(group) == [Appended(1, 2), Conflicted("a", 1, 2), Appended(0, 2)]
    assert names(log) == ["A1", "B1"]
    assert log.append([append("d", "D1", expected=NO_STREAM), append("b", expected=NO_STREAM)])[1] == Conflicted("b", 1, 3)


def test_an_append_is_judged_after_those_before_it_in_its_group(log: EventLog) -> None:
    outcomes = log.append(
        [append("a", "A1", expected=NO_STREAM), append("a", "Lost", expected=NO_STREAM), append("a", "A2", expected=1)]
    )
    assert [type(outcome) for outcome in outcomes] == [Appended, Conflicted, Appended]
    assert names(log) == ["A1", "A2"]


def test_an_empty_group_does_nothing(log: EventLog) -> None:
    assert log.append([]) == []
    assert log.head().n == 0


def test_what_was_decided_at_the_head_need_not_be_looked_up_and_is_still_judged_in_its_group(log: EventLog) -> None:
    head = stored(log, append("a", "A1"))[0].position
    first = append("a", "A2", expected=1, decided_at=head)
    second = append("a", "Lost", expected=1, decided_at=head)
    assert [type(outcome) for outcome in log.append([first, second])] == [Appended, Conflicted]


def test_what_was_decided_before_others_wrote_is_refused(log: EventLog) -> None:
    head = stored(log, append("a", "A1"))[0].position
    stored(log, append("a", "A2"))
    assert log.append([append("a", "Lost", expected=1, decided_at=head)]) == [Conflicted("a", 2, 2)]


# -- commands ----------------------------------------------------------------------------------------------------------


def test_a_command_that_was_handled_is_not_handled_again(log: EventLog) -> None:
    stored(log, append("a", "A1", "A2", command_id="c-1", digest=-7))
    (outcome,) = log.append([append("b", "Other", command_id="c-1", digest=-7)])
    assert isinstance(outcome, Repeated)
    found = outcome.handled
    assert (found.command_id, found.name, found.digest) == ("c-1", "Note", -7)
    assert (found.stream, found.version, found.position, found.count) == ("a", 2, 2, 2)
    assert names(log) == ["A1", "A2"]


def test_a_command_twice_in_one_group_is_handled_once(log: EventLog) -> None:
    outcomes = log.append([append("a", "A1", command_id="c-1"), append("a", "A1", command_id="c-1")])
    assert [type(outcome) for outcome in outcomes] == [Appended, Repeated]
    assert names(log) == ["A1"]


def test_a_command_that_was_refused_may_be_sent_again(log: EventLog) -> None:
    log.append([append("a", "A1", expected=1, command_id="c-1")])
    assert log.append([append("a", "A1", expected=0, command_id="c-1")]) == [Appended(1, 1)]


def test_an_append_of_no_event_is_remembered_by_its_command(log: EventLog) -> None:
    stored(log, append("a", "A1"))
    assert log.append([append("a", command_id="c-1")]) == [Appended(version=1, position=1)]
    (outcome,) = log.append([append("a", "Late", command_id="c-1")])
    assert isinstance(outcome, Repeated)
    assert (outcome.handled.count, outcome.handled.position, outcome.handled.version) == (0, 1, 1)
    assert log.events_of(outcome.handled) == []
    assert names(log) == ["A1"]


def test_only_commands_that_took_effect_are_found_by_their_ids(log: EventLog) -> None:
    stored(log, append("a", "A1", command_id="c-1"), append("a", "A2"))
    assert set(log.handled(["c-1", "c-2"])) == {"c-1"}


def test_the_events_of_a_command_are_found_again(log: EventLog) -> None:
    stored(log, append("a", "A1", "A2", command_id="c-1"), append("b", "B1", command_id="c-2"), append("a", "A3"))
    found = log.handled(["c-1", "c-2"])
    assert [(row.stream, row.version, row.position, row.name) for row in log.events_of(found["c-1"])] == [
        ("a", 1, 1, "A1"),
        ("a", 2, 2, "A2"),
    ]
    assert [row.name for row in log.events_of(found["c-2"])] == ["B1"]


# -- what comes back ---------------------------------------------------------------------------------------------------


def test_an_event_comes_back_as_it_was_appended(log: EventLog) -> None:
    made = append("order-1", NewEvent("Placed", '{"total":12.5}', ("customer:ada", "order:1"), 3), command_id="c-1")
    made.metadata = '{"correlation_id":"k-1","causation_id":"k-2","user":{"id":7}}'
    made.at = 1_700_000_000.25
    stored(log, made)
    (found,) = log.read()
    assert (found.position, found.stream, found.version, found.append_end) == (1, "order-1", 1, 1)
    assert (found.name, found.shape, found.data, found.at) == ("Placed", 3, '{"total":12.5}', 1_700_000_000.25)
    assert sorted(found.tags) == ["customer:ada", "order:1"]
    assert found.metadata == {"command_id": "c-1", "correlation_id": "k-1", "causation_id": "k-2", "user": {"id": 7}}


def test_a_command_begins_its_own_conversation_unless_it_is_told_otherwise(log: EventLog) -> None:
    stored(log, append("a", "A1", command_id="c-1"), append("a", "A2"))
    first, second = log.read()
    assert first.metadata == {"command_id": "c-1", "correlation_id": "c-1"}
    assert second.metadata == {}


def test_no_two_events_share_an_id(log: EventLog) -> None:
    stored(log, *(append(f"s-{number}", "E1", "E2") for number in range(100)))
    assert len({each.id for each in log.read()}) == 200


def test_any_text_comes_back(log: EventLog) -> None:
    texts = ["", "a\x00b", "\x00", "naïve — 漢字", "\U0001f600", "'; DROP TABLE x --", "ﬀ\u200b\ufeff", "line\nbreak\r\n\t"]
    for text in texts:
        made = append(f"s-{text}", NewEvent(f"N{text}", f'"{text}"', (f"t:{text}",)), command_id=f"c-{text}")
        made.metadata = '{"note":"\\u0000\\ud83d\\ude00"}'
        stored(log, made)
    found = log.read()
    assert [each.stream for each in found] == [f"s-{text}" for text in texts]
    assert [each.name for each in found] == [f"N{text}" for text in texts]
    assert [each.data for each in found] == [f'"{text}"' for text in texts]
    assert [each.tags for each in found] == [(f"t:{text}",) for text in texts]
    assert all(each.metadata["note"] == "\x00\U0001f600" for each in found)
    assert set(log.handled([f"c-{text}" for text in texts])) == {f"c-{text}" for text in texts}
    assert set(log.read_streams({f"s-{text}": 0 for text in texts})) == {f"s-{text}" for text in texts}


def test_a_big_event_comes_back_whole(log: EventLog) -> None:
    data = '"' + "0123456789" * 500_000 + '"'
    stored(log, append("a", NewEvent("Big", data)), append("a", "Small"))
    assert log.read(limit=1)[0].data == data
    assert log.read_streams({"a": 0})["a"][0].data == data


def test_an_append_of_many_events_is_one(log: EventLog) -> None:
    (outcome,) = stored(log, append("a", *(event(f"E{number}", "all") for number in range(5_000))))
    assert outcome == Appended(5_000, 5_000)
    assert {each.append_end for each in log.read(limit=10_000)} == {5_000}
