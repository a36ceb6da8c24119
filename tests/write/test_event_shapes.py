"""Events whose classes changed since they were stored: upcasters, new names, and what cannot be read any more."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.write.orders import Line, Place, Placed, app_of, stored

from syncline import Query, QueryItem
from syncline.errors import UnknownEvent


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "orders.db")


@dataclass(frozen=True)
class Ordered:
    """What `Placed` was called and looked like at first."""

    order_id: str
    sku: str


def test_a_chain_of_upcasters_leads_from_every_old_shape_to_that_of_today(path: str) -> None:
    def to_second(data: dict[str, Any]) -> dict[str, Any]:
        return {"order_id": data["order_id"], "skus": [data["sku"]]}

    def to_third(data: dict[str, Any]) -> dict[str, Any]:
        return {"order_id": data["order_id"], "lines": [{"sku": sku, "quantity": 1} for sku in data["skus"]]}

    first = make_dataclass("Placed", [("order_id", str), ("sku", str)], frozen=True)
    second = make_dataclass("Placed", [("order_id", str), ("skus", list[str])], frozen=True)
    with app_of(path, events=first, decide=lambda *_: [first("o-1", "tea")]) as app:
        app.send(Place("o-1", []))
    with app_of(path, events=second, upcasts={"Placed": [to_second]}, decide=lambda *_: [second("o-1", ["jam", "tea"])]) as app:
        app.send(Place("o-1", []))
    assert stored(path, "SELECT shape FROM syncline_event ORDER BY position") == [(1,), (2,)]
    seen: list[Any] = []

    def evolve(state: int, event: Placed) -> int:
        seen.append(event)
        return state + 1

    with app_of(path, evolve=evolve, upcasts={"Placed": [to_second, to_third]}) as app:
        assert app.send(Place("o-1", [])).version == 3
    assert seen[:2] == [Placed("o-1", [Line("tea", 1)]), Placed("o-1", [Line("jam", 1), Line("tea", 1)])]
    assert stored(path, "SELECT shape FROM syncline_event WHERE position = 3") == [(3,)]


def test_an_event_whose_class_was_renamed_is_read_as_its_successor(path: str) -> None:
    with app_of(path, events=Ordered, decide=lambda *_: [Ordered("o-1", "tea")]) as app:
        first = app.send(Place("o-1", []), command_id="c-1")
    assert first.events == (Ordered("o-1", "tea"),)
    upcast = {"Placed": [lambda data: {"order_id": data["order_id"], "lines": [{"sku": data["sku"], "quantity": 1}]}]}
    with app_of(path, renamed={"Ordered": Placed}, upcasts=upcast) as app:
        assert app.send(Place("o-1", []), command_id="c-1").events == (Placed("o-1", [Line("tea", 1)]),)
        assert app.send(Place("o-1", [])).version == 2
    assert stored(path) == [("Ordered",), ("Placed",)]


def test_an_event_whose_class_moved_to_another_module_is_read_as_before(path: str) -> None:
    with app_of(path) as app:
        app.send(Place("o-1", []))
    moved = make_dataclass(
        "Placed", [("order_id", str), ("lines", list[Line])], frozen=True, namespace={"__module__": "somewhere.else"}
    )
    with app_of(path, events=moved, decide=lambda state, command: [moved(str(state), [])]) as app:
        assert app.send(Place("o-1", [])).events == (moved("1", []),)


def test_a_field_with_a_default_may_be_added_without_an_upcaster(path: str) -> None:
    old = make_dataclass("Placed", [("order_id", str)], frozen=True)
    with app_of(path, events=old, decide=lambda *_: [old("o-1")]) as app:
        app.send(Place("o-1", []))
    with app_of(path) as app:
        assert app.send(Place("o-1", [])).version == 2


OLD = {
    "a name that nobody knows": (
        "Shipped",
        1,
        "{}",
        "no class of that name .* name its successor in 'renamed'",
    ),
    "a shape of a newer program": ("Placed", 2, "{}", "it has shape 2, and this program knows Placed up to shape 1"),
    "data that does not fit": ("Placed", 1, '{"order_id":7}', r"\$\.order_id: .*; register an upcaster for it in 'upcasts'"),
    "data that is cut off": ("Placed", 1, '{"order_id":', "register an upcaster"),
}


@pytest.mark.parametrize(("name", "shape", "data", "words"), OLD.values(), ids=OLD)
def test_an_event_that_cannot_be_read_is_told_with_stream_position_and_what_to_do(
    path: str, name: str, shape: int, data: str, words: str
) -> None:
    spoil(path, name, shape, data)
    with app_of(path) as app, pytest.raises(UnknownEvent, match=words) as raised:
        app.send(Place("o-1", []))
    assert (raised.value.name, raised.value.stream, raised.value.position) == (name, "orders-o-1", 2)
    assert f"event '{name}' of stream 'orders-o-1' at position 2 cannot be read" in str(raised.value)


def test_an_upcaster_that_raises_is_told_with_stream_position_and_error(path: str) -> None:
    with app_of(path) as app:
        app.send(Place("o-1", []))
    with (
        app_of(path, upcasts={"Placed": [lambda data: data["oops"]]}) as app,
        pytest.raises(UnknownEvent, match=r"stream 'orders-o-1' at position 1 .*'oops'.* or mend the one from shape 1"),
    ):
        app.send(Place("o-1", []))


def test_a_stream_that_cannot_be_read_does_not_stop_the_others_of_its_group(path: str) -> None:
    spoil(path, "Shipped", 1, "{}")
    with app_of(path) as app:
        futures = [app.submit(Place(f"o-{number}", [])) for number in (0, 1, 2, 1, 3)]
        assert [type(future.exception()) for future in futures] == [
            type(None),
            UnknownEvent,
            type(None),
            UnknownEvent,
            type(None),
        ]


def test_an_unreadable_event_stops_only_the_queries_that_match_it(path: str) -> None:
    asked = {"query": lambda command: Query((QueryItem(tags=(command.order_id,)),)), "tags": lambda event: [event.order_id]}
    with app_of(path, **asked) as app:
        app.send(Place("o-1", []))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE syncline_event SET name = 'Shipped'")
    with app_of(path, **asked) as app:
        futures = [app.submit(Place(f"o-{number}", [])) for number in (0, 1, 2)]
        assert [type(future.exception()) for future in futures] == [type(None), UnknownEvent, type(None)]


def spoil(path: str, name: str, shape: int, data: str) -> None:
    """A stream of two events, of which the second was stored by some other program."""
    with app_of(path) as app:
        for _ in range(2):
            app.send(Place("o-1", []))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE syncline_event SET name = ?, shape = ?, data = ? WHERE position = 2", (name, shape, data))
