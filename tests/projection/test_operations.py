"""Operations on rows, folded for each key, come to what they come to one by one; what does not fit is refused in words."""

import random
from dataclasses import dataclass
from datetime import date, datetime, time
from enum import IntEnum, StrEnum
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.projection.world import RELATIONS, Did, Folded, Rules, random_event

from syncline.codec import EventCodec
from syncline.messages import Row
from syncline.read.projection import Net, Projection, StoredEvent
from syncline.rows import Delete, Patch, Published, Relation, RowOperation, Upsert, published_relation

CODEC = EventCodec((Did,))
PUBLISHED = {name: published_relation("shop", name, relation) for name, relation in RELATIONS.items()}


def projection_of(rules: Rules, pruned: dict[str, tuple[str, ...]] | None = None) -> Projection:
    followed = [relation if pruned is None else relation.pruned_to(pruned.get(name, ())) for name, relation in PUBLISHED.items()]
    return Projection(Published("shop", CODEC, PUBLISHED, rules.rows), followed)


def stored(position: int, event: Did, stream: str = "one") -> StoredEvent:
    name, data, shape, _ = CODEC.encode(event)
    return position, stream, name, shape, data


@settings(max_examples=300, deadline=None)
@given(rng=st.randoms(use_true_random=False), columns=st.sets(st.sampled_from(("name", "amount", "price"))))
def test_what_is_folded_in_parts_is_what_the_operations_come_to_one_by_one(rng: random.Random, columns: set[str]) -> None:
    projection = projection_of(Rules(), {"item": tuple(columns), "owner": ("name", "rank")})
    right = Folded()
    held: dict[str, dict[Any, Row]] = {name: {} for name in PUBLISHED}
    missing = dict.fromkeys(PUBLISHED, 0)
    position = 0
    for _ in range(rng.randrange(1, 6)):
        nets = {name: Net() for name in PUBLISHED}
        for _ in range(rng.randrange(6)):
            position += 1
            event = random_event(rng)
            right.apply(event.operations)
            assert projection.fold([stored(position, event)], nets) == ([], [])
        for name, net in nets.items():
            net.prove({key: held[name][key] for key in net.unproven if key in held[name]})
            for key, row in net.changes.items():
                assert not isinstance(row, dict)
                if row is None:
                    held[name].pop(key, None)
                else:
                    held[name][key] = row
            assert set(net.rows) == {row for row in net.changes.values() if row is not None}
            assert net.gone == [key for key, row in net.changes.items() if row is None]
            missing[name] += net.missing
    for name, relation in PUBLISHED.items():
        pruned = relation.pruned_to(tuple(columns) if name == "item" else ("name", "rank"))
        assert sorted(held[name].values(), key=repr) == right.as_rows(pruned), name
    assert missing == right.missing


def test_an_event_that_fails_changes_nothing_and_holds_its_stream_back_and_no_other() -> None:
    projection = projection_of(Rules())
    item = ("upsert", "item", {"id": "p", "part": 1})
    nets = {name: Net() for name in PUBLISHED}
    events = [
        stored(1, Did([item], fails=True), "bad"),
        stored(2, Did([("upsert", "item", {"id": "q", "part": 1})]), "good"),
        stored(3, Did([("upsert", "item", {"id": "r", "part": 1})]), "bad"),
    ]
    failures, passed = projection.fold(events, nets)
    assert [(each.stream, each.position, each.event) for each in failures] == [("bad", 1, "Did")]
    assert failures[0].error == "RuntimeError: not yet understood"
    assert passed == [events[0], events[2]]
    assert list(nets["item"].changes) == [("q", 1)]
    assert projection.held == {"bad": 1}
    assert projection.keys(passed) == {("item", ("r", 1))}


def test_an_event_that_was_dropped_is_left_out_and_what_follows_it_is_not() -> None:
    projection = Projection(Published("shop", CODEC, PUBLISHED, Rules().rows), PUBLISHED.values(), dropped=frozenset({1}))
    nets = {name: Net() for name in PUBLISHED}
    events = [stored(1, Did([], fails=True)), stored(2, Did([("upsert", "owner", {"id": 1, "name": "a"})]))]
    assert projection.fold(events, nets) == ([], [])
    assert nets["owner"].changes == {(1,): (1, "a", None)}


# -- values ------------------------------------------------------------------------------------------------------------


class Colour(StrEnum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


@dataclass(frozen=True)
class Wide:
    id: int
    text: str | None
    number: int | None
    real: float | None
    data: bytes | None
    is_open: bool | None
    day: date | None
    at: datetime | None
    hour: time | None


WIDE = {"wide": published_relation("shop", "wide", Relation(Wide, "id"))}


def steps_of(*operations: Any) -> list[Any]:
    published = Published("shop", CODEC, WIDE, lambda event: operations)
    return Projection(published, WIDE.values()).steps(object())


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("text", "naïve", "naïve"),
        ("text", Colour.RED, "red"),
        ("number", Level.HIGH, 3),
        ("number", True, 1),
        ("is_open", False, 0),
        ("real", 3, 3.0),
        ("real", -0.5, -0.5),
        ("data", b"\x00", b"\x00"),
        ("day", date(2026, 1, 2), "2026-01-02"),
        ("at", datetime(2026, 1, 2, 3, 4, 5), "2026-01-02T03:04:05"),
        ("hour", time(3, 4), "03:04:00"),
        ("number", -(2**63), -(2**63)),
        ("number", None, None),
    ],
)
def test_values_are_stored_as_their_columns_hold_them(column: str, value: object, expected: object) -> None:
    ((_, _, change),) = steps_of(Patch("wide", id=1, **{column: value}))
    (found,) = change.values()
    assert (found, type(found)) == (expected, type(expected))
    ((_, _, row),) = steps_of(Upsert("wide", id=1, **{column: value}))
    assert row[WIDE["wide"].column_names.index(column)] == expected


@pytest.mark.parametrize(
    ("operation", "said"),
    [
        (Upsert("wid", id=1), "service 'shop' has no such relation; it has: wide"),
        (Upsert("wide", id=1, colour=1), "there is no column 'colour'; shop.wide has: id, text"),
        (Upsert("wide", text="a"), "the key's column 'id' is missing"),
        (Patch("wide", text="a"), "the key's column 'id' is missing"),
        (Delete("wide", id=1, text="a"), "'text' is not in the key"),
        (Upsert("wide", id=None), "id is None, and may not be NULL"),
        (Upsert("wide", id="1"), "id is '1', of type str; expected int"),
        (Patch("wide", id=1, number=1.5), "number is 1.5, of type float; expected int"),
        (
            Patch("wide", id=1, number=2**63),
            "is 9223372036854775808, which cannot be stored: it does not fit into 64 bits",
        ),
        (Patch("wide", id=1, text=b"a"), "text is b'a', of type bytes; expected str, date, time"),
        (Patch("wide", id=1, text="\ud800"), "text is '\\ud800', which cannot be stored"),
        (Patch("wide", id=1, real=float("nan")), "real is nan, which cannot be stored: NaN would become NULL"),
        (Patch("wide", id=1, real="1"), "real is '1', of type str; expected float, int"),
        (Patch("wide", id=1, data="a"), "data is 'a', of type str; expected bytes"),
        (7, "'rows' yielded 7; expected Upsert, Patch or Delete"),
    ],
    ids=str,
)
def test_an_operation_that_does_not_fit_is_refused_in_words(operation: Any, said: str) -> None:
    with pytest.raises(ValueError) as refused:
        steps_of(operation)
    assert said in str(refused.value)
    published = Published("shop", CODEC, WIDE, lambda event: [operation])
    with pytest.raises(ValueError, match=".") as not_followed:
        Projection(published, ()).steps(object())
    assert str(not_followed.value) == str(refused.value), "it is wrong whether anybody follows the relation or not"


def test_a_column_that_may_not_be_null_is_asked_for_by_name() -> None:
    published = Published("shop", CODEC, PUBLISHED, lambda event: [Upsert("owner", id=1)])
    with pytest.raises(ValueError, match="the column 'name' is missing, and may not be NULL"):
        Projection(published, PUBLISHED.values()).steps(object())


def test_a_function_that_returns_nothing_for_an_event_makes_no_rows_of_it() -> None:
    def rows(event: object) -> Any:
        return None

    assert Projection(Published("shop", CODEC, PUBLISHED, rows), PUBLISHED.values()).steps(object()) == []


def test_columns_may_be_named_in_any_order() -> None:
    def rows(event: object) -> list[RowOperation]:
        return [Upsert("owner", rank=1, name="a", id=5), Upsert("owner", name="b", id=6)]

    found = Projection(Published("shop", CODEC, PUBLISHED, rows), PUBLISHED.values()).steps(object())
    assert found == [("owner", (5,), (5, "a", 1)), ("owner", (6,), (6, "b", None))]
