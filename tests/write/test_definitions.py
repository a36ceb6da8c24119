"""Definitions that do not fit, commands and events that are not as they must be, and the life of an App."""

import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.write.orders import Line, Place, Placed, app_of, service, stored

from syncline import Query
from syncline.errors import (
    Conflict,
    InvalidCommand,
    InvalidDefinition,
    InvalidEvent,
    NotFound,
    Rejected,
    StoreError,
    Unavailable,
)
from syncline.rows import Relation, Upsert


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "orders.db")


# -- definitions -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    order_id: str
    lines: list[Line]


WRONG = {
    "neither key nor query": ({"key": None}, "it has neither 'key' nor 'query'"),
    "a query without tags": ({"query": lambda command: Query()}, "it has 'query' but no 'tags'"),
    "a key that a command has not": ({"key": "number"}, "its key is 'number', which command Place has not"),
    "a command that is no class": ({"commands": 7}, "commands: "),
    "a command that is no dataclass": ({"commands": dict}, "is neither a dataclass nor a msgspec Struct"),
    "two events of one name": ({"events": [Placed, make_dataclass("Placed", ["x"])]}, "two classes are named 'Placed'"),
    "a rename to another's event": ({"renamed": {"Old": Place}}, "'Old' is renamed to"),
    "an upcast of what is no event": ({"upcasts": {"Old": [dict]}}, "upcasts name 'Old', which is no event of today"),
    "rows without relations": ({"rows": lambda event: ()}, "'relations' and 'rows' go together"),
    "relations without rows": ({"relations": {"o": Relation(Line, key="sku")}}, "'relations' and 'rows' go together"),
    "a column that is no column": (
        {"relations": {"o": Relation(Row, key="order_id")}, "rows": lambda event: ()},
        "relation 'orders.o': Row.lines is list",
    ),
    "a key that is no column": (
        {"relations": {"o": Relation(Line, key="id")}, "rows": lambda event: ()},
        "its key names 'id', which Line has not",
    ),
    "snapshots of no events": ({"snapshot_every": 0}, "'snapshot_every' is 0"),
    "snapshots of a state that is no JSON": ({"snapshot_every": 9, "initial": object()}, "snapshot_every: "),
}


@pytest.mark.parametrize(("other", "words"), WRONG.values(), ids=WRONG)
def test_a_definition_that_does_not_fit_is_refused_when_it_is_made(other: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidDefinition) as raised:
        service(**other)
    assert str(raised.value).startswith("service 'orders': ")
    assert words in str(raised.value)


def test_all_faults_of_a_definition_are_told_at_once() -> None:
    with pytest.raises(InvalidDefinition) as raised:
        service(key="number", events=7, rows=lambda event: (), snapshot_every=-1)
    assert len(raised.value.faults) == 4


def test_commands_and_events_may_be_structs(path: str) -> None:
    class Add(msgspec.Struct, frozen=True):
        order_id: str
        n: int

    class Added(msgspec.Struct, frozen=True):
        n: int

    with app_of(path, commands=Add, events=Added, decide=lambda _, command: [Added(command.n)]) as app:
        assert app.send(Add("o-1", 7)).events == (Added(7),)
    assert stored(path, "SELECT name, data FROM syncline_event") == [("Added", '{"n":7}')]


# -- commands ----------------------------------------------------------------------------------------------------------


def test_a_payload_with_several_faults_is_told_all_of_them_with_their_places(path: str) -> None:
    with app_of(path) as app, pytest.raises(InvalidCommand) as raised:
        app.command("Place", '{"lines":[{"sku":1,"quantity":2},{"sku":"tea"},{"sku":"tea","quantity":"two"}],"notes":""}')
    assert [place for place, _ in raised.value.faults] == [
        "$.order_id",
        "$.lines[0].sku",
        "$.lines[1].quantity",
        "$.lines[2].quantity",
        "$.notes",
    ]
    assert all(place in str(raised.value) for place, _ in raised.value.faults)


@pytest.mark.parametrize("payload", ["", "{", "[]", "7", "null", '{"order_id":"o-1","lines":[}', b"\xff\xfe"])
def test_a_payload_that_is_no_json_object_is_refused(path: str, payload: str | bytes) -> None:
    with app_of(path) as app, pytest.raises(InvalidCommand, match="Place is not valid"):
        app.command("Place", payload)


def test_a_command_made_in_python_is_validated_when_it_is_sent(path: str) -> None:
    wrong = Place("o-1", [Line("tea", "two"), Line(7, 1)], note=b"x")  # type: ignore[arg-type]
    with app_of(path) as app:
        with pytest.raises(InvalidCommand) as raised:
            app.send(wrong)
        assert {"$.lines[0].quantity", "$.lines[1].sku"} <= {place for place, _ in raised.value.faults}
        assert isinstance(app.submit(wrong).exception(), InvalidCommand), "not raised by submit, but by the future"
        app.send(Place("o-1", []))


@pytest.mark.parametrize("key", ["", None])
def test_a_command_about_nothing_is_refused(path: str, key: Any) -> None:
    with (
        app_of(path, commands=make_dataclass("Place", [("order_id", str | None), ("lines", list[Line])])) as app,
        pytest.raises(InvalidCommand, match="order_id: it is empty"),
    ):
        app.send(app.command("Place", json.dumps({"order_id": key, "lines": []})))


def test_a_command_that_nobody_handles_is_told_with_those_that_somebody_does(path: str) -> None:
    with app_of(path) as app:
        with pytest.raises(NotFound, match="no service handles Line; commands are: Place"):
            app.send(Line("tea", 1))
        with pytest.raises(NotFound, match="there is no command 'place'; did you mean 'Place'"):
            app.command("place", "{}")


def test_metadata_that_is_no_json_is_refused(path: str) -> None:
    with app_of(path) as app:
        for metadata in ({"by": object()}, {1: "x"}):
            with pytest.raises(InvalidCommand, match="metadata"):
                app.send(Place("o-1", []), metadata=metadata)  # type: ignore[arg-type]


# -- decide and evolve -------------------------------------------------------------------------------------------------


def raising(error: Exception) -> Any:
    def decide(state: Any, command: Any) -> Iterator[Placed]:
        yield Placed("o-1")
        raise error

    return decide


def test_what_decide_raises_reaches_the_sender_with_a_note_and_nothing_is_stored(path: str) -> None:
    with app_of(path, decide=raising(ZeroDivisionError("oops"))) as app:
        with pytest.raises(ZeroDivisionError) as raised:
            app.send(Place("o-1", []), command_id="c-1")
        assert raised.value.__notes__ == ["raised while service 'orders' decided Place"]
    assert stored(path) == stored(path, "SELECT id FROM syncline_command") == []


def test_a_rejection_reaches_the_sender_as_it_is(path: str) -> None:
    with app_of(path, decide=raising(Rejected("no more tea"))) as app, pytest.raises(Rejected, match=r"^no more tea$"):
        app.send(Place("o-1", []))
    assert stored(path) == []


def test_one_that_fails_does_not_take_its_neighbours_with_it(path: str) -> None:
    def decide(state: int, command: Place) -> list[Placed]:
        match command.note:
            case "raise":
                raise KeyError("oops")
            case "reject":
                raise Rejected("no")
            case "encode":
                return [Placed(7)]  # type: ignore[arg-type]
        return [Placed(command.order_id)]

    with app_of(path, decide=decide) as app:
        futures = [app.submit(Place("o-1", [], note)) for note in ("", "raise", "", "reject", "encode", "")]
        found = [type(future.exception()) for future in futures]
    assert found == [type(None), KeyError, type(None), Rejected, InvalidEvent, type(None)]
    assert len(stored(path)) == 3


@pytest.mark.parametrize("returned", [7, True, Placed("o-1")])
def test_a_decide_that_returns_no_events_is_told(path: str, returned: Any) -> None:
    with (
        app_of(path, decide=lambda state, command: returned) as app,
        pytest.raises(InvalidDefinition, match="decide returned .* for Place; return or yield events"),
    ):
        app.send(Place("o-1", []))


def test_a_decide_that_returns_none_decides_nothing(path: str) -> None:
    with app_of(path, decide=lambda state, command: None) as app:
        receipt = app.send(Place("o-1", []))
    assert (receipt.events, receipt.version) == ((), 0)


def test_an_evolve_that_forgets_its_state_is_told_and_nothing_is_stored(path: str) -> None:
    with (
        app_of(path, evolve=lambda state, event: None) as app,
        pytest.raises(InvalidDefinition, match="evolve returned None for Placed; return the state after it"),
    ):
        app.send(Place("o-1", []))
    assert stored(path) == []


def test_an_evolve_that_raises_is_told_and_nothing_is_stored(path: str) -> None:
    with app_of(path, evolve=lambda state, event: state.oops) as app, pytest.raises(AttributeError):
        app.send(Place("o-1", []))
    assert stored(path) == []


def test_an_event_that_could_not_be_read_back_is_told_with_the_place_and_nothing_is_stored(path: str) -> None:
    wrong = [Placed("o-1"), Placed("o-1", [Line("tea", "two")])]  # type: ignore[arg-type]
    with (
        app_of(path, decide=lambda state, command: wrong) as app,
        pytest.raises(InvalidEvent, match=r"Placed cannot be stored: \$\.lines\[0\]\.quantity: Expected `int`, got `str`"),
    ):
        app.send(Place("o-1", []))
    assert stored(path) == []


def test_an_event_of_no_class_of_the_service_is_told(path: str) -> None:
    with (
        app_of(path, decide=lambda state, command: [Line("tea", 1)]) as app,
        pytest.raises(InvalidEvent, match="it is no event of this service, which has: Placed"),
    ):
        app.send(Place("o-1", []))


def test_tags_that_are_no_texts_are_told(path: str) -> None:
    with app_of(path, tags=lambda event: ["", 7]) as app, pytest.raises(InvalidEvent, match="tags"):
        app.send(Place("o-1", []))
    assert stored(path) == []


# -- expected versions -------------------------------------------------------------------------------------------------


def test_a_command_that_expects_a_version_is_refused_at_any_other(path: str) -> None:
    with app_of(path) as app:
        assert app.send(Place("o-1", []), expected_version=0).version == 1
        with pytest.raises(Conflict, match="stream 'orders-o-1' is at version 1, not 0") as raised:
            app.send(Place("o-1", []), expected_version=0)
        assert (raised.value.expected, raised.value.found) == (0, 1)
        assert app.send(Place("o-1", []), expected_version=1).version == 2
        assert len(stored(path)) == 2


def test_a_command_that_is_decided_upon_a_query_expects_no_version(path: str) -> None:
    with (
        app_of(path, query=lambda command: Query(), tags=lambda event: ()) as app,
        pytest.raises(InvalidCommand, match="is decided upon a query"),
    ):
        app.send(Place("o-1", []), expected_version=0)


# -- the life of an App ------------------------------------------------------------------------------------------------


def test_everything_sent_before_the_close_is_answered_and_nothing_after_is_taken(path: str) -> None:
    app = app_of(path)
    futures = [app.submit(Place(f"o-{number}", [])) for number in range(300)]
    app.close()
    assert all(future.done() for future in futures)
    assert [future.result().version for future in futures] == [1] * 300
    with pytest.raises(Unavailable, match="was closed"):
        app.send(Place("o-1", []))
    app.close()


def test_a_future_that_is_cancelled_before_its_turn_takes_no_effect(path: str) -> None:
    started: list[str] = []
    begun, go_on = threading.Event(), threading.Event()

    def decide(state: int, command: Place) -> list[Placed]:
        started.append(command.order_id)
        begun.set()
        assert go_on.wait(20)
        return [Placed(command.order_id)]

    with app_of(path, decide=decide) as app:
        first = app.submit(Place("o-1", []))
        assert begun.wait(20)
        second, third = app.submit(Place("o-2", [])), app.submit(Place("o-3", []))
        assert second.cancel()
        assert not first.cancel(), "it is being decided"
        go_on.set()
        assert (first.result().version, third.result().version) == (1, 1)
    assert started == ["o-1", "o-3"]
    assert len(stored(path)) == 2


def test_a_database_that_cannot_be_used_is_told_to_the_sender(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("this is no database" * 100)
    with app_of(str(tmp_path / "text.db")) as app, pytest.raises(StoreError, match="no SQLite database"):
        app.send(Place("o-1", []))
    with app_of(str(tmp_path / "nowhere" / "orders.db")) as app:
        with pytest.raises(Unavailable, match="there is no folder"):
            app.send(Place("o-1", []))
        (tmp_path / "nowhere").mkdir()
        assert app.send(Place("o-1", [])).version == 1, "it can be used now"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_an_app_is_not_to_be_used_across_a_fork(path: str) -> None:
    with app_of(path) as app:
        app.send(Place("o-1", []))
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                app.send(Place("o-1", []))
                os.write(write_end, b"it was sent")
            except Unavailable as error:
                os.write(write_end, str(error).encode())
            finally:
                os._exit(0)
        os.close(write_end)
        with os.fdopen(read_end) as pipe:
            assert "made before a fork" in pipe.read()
        os.waitpid(child, 0)
        assert app.send(Place("o-1", [])).version == 2


# -- rows --------------------------------------------------------------------------------------------------------------


def test_what_a_service_publishes_is_told_by_its_definition() -> None:
    rows = lambda event: [Upsert("line", sku=line.sku, quantity=line.quantity) for line in event.lines]  # noqa: E731
    published = service(relations={"line": Relation(Line, key="sku")}, rows=rows).published
    (relation,) = published.relations.values()
    assert (relation.name, relation.column_names, relation.key) == ("orders.line", ("sku", "quantity"), ("sku",))
    assert list(published.rows(Placed("o-1", [Line("tea", 2)]))) == [Upsert("line", sku="tea", quantity=2)]
