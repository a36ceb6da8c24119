"""A projection that raises: its stream is held back, all else goes on, and once mended nothing shows that it ever failed."""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.dead_letters import shop
from tests.dead_letters.shop import PlaceOrder, RemoveLine, ShipOrder

from syncline import App, NotReady
from syncline.parked_streams import HeldStream

VIEWS = ("board", "by_customer", "cities")


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    shop.make(tmp_path)
    with shop.build(tmp_path) as app:
        app.send(PlaceOrder(1, "ann", {"pen": 1}))
        app.send(PlaceOrder(2, "ann", {"pen": 2, "ink": 3}))
        app.sync()
        yield app


def rows_of(app: App) -> dict[str, list[Any]]:
    return {view: app.rows(view).rows for view in VIEWS}


@contextmanager
def never_failed(app: App, folder: Path, *values: str) -> Iterator[App]:
    """An application over the same databases, but a read store of its own, whose projection never failed for these values."""
    other = folder / "other"
    other.mkdir()
    shop.mend(other, *values)
    for name in ("orders.db", "customers.db"):
        (other / name).symlink_to(folder / name)
    with shop.build(other) as found:
        found.sync()
        yield found


def test_the_stream_of_a_poison_event_is_held_back_and_the_rest_goes_on(app: App) -> None:
    app.send(PlaceOrder(3, "poison", {"pen": 9}))
    app.send(ShipOrder(1, "bike"))
    app.send(PlaceOrder(4, "bob", {"cap": 1}))
    app.sync()
    assert app.rows("board").rows == [
        (1, "ann", "bike", "Ulm", 1),
        (2, "ann", None, "Ulm", 5),
        (4, "bob", None, "Bern", 1),
    ]
    (held,) = app.dead_letters()
    letter = held.letter
    assert (letter.service, letter.stream, letter.position, letter.event) == ("orders", "orders-3", 3, "OrderPlaced")
    assert "no rate for poison" in letter.error


def test_what_follows_a_poison_event_in_its_stream_waits_behind_it(app: App) -> None:
    app.send(ShipOrder(2, "poison"))
    app.send(RemoveLine(2, "ink"))
    app.sync()
    app.send(RemoveLine(2, "pen"))
    app.sync()
    assert app.read("board", 2)["pieces"] == 5
    assert app.rows("board").marked == ((2,),)
    assert app.rows("by_customer").marked == (("ann",),)
    assert app.dead_letters()[0].letter.keys >= {
        ("orders.header", (2,)),
        ("orders.line", (2, "ink")),
        ("orders.line", (2, "pen")),
    }


def test_a_token_that_includes_a_held_back_event_is_refused_in_every_view_of_the_service_and_an_older_one_is_served(
    app: App,
) -> None:
    older = app.send(ShipOrder(1, "bike"))
    poison = app.send(ShipOrder(2, "poison"))
    other = app.send(PlaceOrder(3, "bob", {}))
    app.sync()
    for token in (poison.token, other.token):
        for view in ("board", "by_customer"):
            with pytest.raises(
                NotReady, match=r"stream 'orders-2'.*OrderShipped.*no rate.*dead-letters retry.*dead-letters drop"
            ):
                app.rows(view, at_least=token)
        with pytest.raises(NotReady, match="which may change any row"):
            app.read("board", 3, at_least=token)
    assert app.read("board", 1, at_least=older.token)["carrier"] == "bike"
    assert app.read("board", 3)["customer"] == "bob"
    assert app.rows("cities", at_least=app.token("customers")).rows


def test_status_shows_how_many_streams_are_held_back_and_since_when(app: App) -> None:
    assert {feed.held_back for feed in app.status().feeds} == {0}
    app.send(ShipOrder(1, "poison"))
    app.send(ShipOrder(2, "poison"))
    app.sync()
    by_service = {feed.service: feed for feed in app.status().feeds}
    assert by_service["orders"].held_back == 2
    assert by_service["orders"].held_since == min(held.letter.since for held in app.dead_letters())
    assert by_service["customers"].held_back == 0


def test_a_retry_before_anything_is_mended_says_why_it_is_held_back_again(app: App) -> None:
    app.send(ShipOrder(2, "poison"))
    app.sync()
    before = rows_of(app)
    (outcome,) = app.retry(app.dead_letters())
    assert (outcome.is_released, outcome.stream, outcome.position, outcome.event) == (False, "orders-2", 3, "OrderShipped")
    assert outcome.error is not None and "no rate for poison" in outcome.error
    assert rows_of(app) == before
    assert len(app.dead_letters()) == 1


@pytest.mark.parametrize("seed", [*range(5), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(5, 12))])
def test_after_mending_and_a_retry_rows_are_as_if_it_had_never_failed(app: App, tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(40):
        number = rng.randint(1, 6)
        app.send(
            rng.choice(
                (
                    PlaceOrder(number, rng.choice(("ann", "bob", "poison-1")), {rng.choice("abc"): rng.randint(1, 5)}),
                    ShipOrder(number, rng.choice(("bike", "van", "poison-2"))),
                    RemoveLine(number, rng.choice(("a", "b", "poison-3"))),
                )
            )
        )
        if rng.random() < 0.3:
            app.sync()
    app.sync()
    assert app.dead_letters()
    shop.mend(tmp_path, "poison-1")
    app.retry(app.dead_letters())
    shop.mend(tmp_path, "poison-1", "poison-2", "poison-3")
    assert all(outcome.is_released for outcome in app.retry(app.dead_letters()))
    assert app.dead_letters() == []
    assert app.rows("board").marked == app.rows("board").notes == ()
    with never_failed(app, tmp_path, "poison-1", "poison-2", "poison-3") as other:
        assert rows_of(app) == rows_of(other)


def test_a_dropped_event_is_left_out_and_what_follows_it_is_not(app: App) -> None:
    app.send(ShipOrder(2, "poison"))
    app.send(RemoveLine(2, "ink"))
    app.send(ShipOrder(1, "poison"))
    app.sync()
    (mine,) = [held for held in app.dead_letters() if held.letter.stream == "orders-2"]
    (outcome,) = app.drop([mine])
    assert outcome.is_released
    row = app.read("board", 2)
    assert (row["carrier"], row["pieces"]) == (None, 2)
    assert [held.letter.stream for held in app.dead_letters()] == ["orders-1"]


def test_a_drop_goes_on_to_the_next_poison_event_of_the_stream_and_says_so(app: App) -> None:
    app.send(ShipOrder(2, "poison"))
    app.send(ShipOrder(2, "bike"))
    app.send(RemoveLine(2, "poison"))
    app.send(RemoveLine(2, "ink"))
    app.sync()
    stale = app.dead_letters()
    (outcome,) = app.drop(stale)
    assert (outcome.is_released, outcome.position, outcome.event) == (False, 5, "LineRemoved")
    row = app.read("board", 2)
    assert (row["carrier"], row["pieces"]) == ("bike", 5)
    (again,) = app.drop(stale)
    assert (again.is_released, again.position) == (False, 5), "an event that nobody saw fail is not dropped"
    assert app.drop(app.dead_letters())[0].is_released
    assert app.read("board", 2)["pieces"] == 2


def test_a_rebuild_keeps_what_was_dropped_and_tries_what_is_held_back(app: App, tmp_path: Path) -> None:
    app.send(ShipOrder(2, "poison-1"))
    app.sync()
    app.drop(app.dead_letters())
    app.send(ShipOrder(1, "poison-2"))
    app.sync()
    shop.mend(tmp_path, "poison-1", "poison-2")
    app.rebuild("board")
    assert app.read("board", 2)["carrier"] is None
    assert app.read("board", 1)["carrier"] == "poison-2"
    assert app.dead_letters() == []


def test_a_rebuild_that_meets_the_same_poison_holds_it_back_and_marks_its_rows(app: App) -> None:
    app.send(ShipOrder(2, "poison"))
    app.sync()
    before = rows_of(app)
    app.rebuild("board")
    assert rows_of(app) == before
    assert app.rows("board").marked == ((2,),)
    assert [held.letter.position for held in app.dead_letters()] == [3]


@pytest.mark.parametrize("is_mended", [False, True])
def test_verify_tells_of_streams_held_back_and_calls_their_rows_no_drift(app: App, tmp_path: Path, is_mended: bool) -> None:
    app.send(ShipOrder(2, "poison"))
    app.send(RemoveLine(2, "ink"))
    app.send(PlaceOrder(3, "poison", {"pen": 1}))
    app.sync()
    if is_mended:
        shop.mend(tmp_path, "poison")
    report = app.verify()
    assert report.differences == ()
    assert {letter.stream for letter in report.held_back} == {"orders-2", "orders-3"}
    assert app.verify("cities").held_back == ()


def test_a_relay_that_runs_answers_retries_and_says_what_it_holds_back(app: App, tmp_path: Path) -> None:
    stop, lines = threading.Event(), list[str]()
    thread = threading.Thread(target=app.run, args=(stop,), kwargs={"on_event": lines.append})
    thread.start()
    try:
        token = app.send(ShipOrder(2, "poison")).token
        with pytest.raises(NotReady):
            app.read("board", 2, at_least=token, timeout_s=30)
        assert not app.retry(app.dead_letters())[0].is_released
        shop.mend(tmp_path, "poison")
        assert app.retry(app.dead_letters())[0].is_released
        assert app.read("board", 2, at_least=token)["carrier"] == "poison"
    finally:
        stop.set()
        thread.join()
    assert any("stream 'orders-2' is held back from position 3 on: OrderShipped could not be made rows" in line for line in lines)
    assert any("stream 'orders-2' is no longer held back" in line for line in lines)


def test_a_stream_that_was_released_meanwhile_is_answered_as_released(app: App, tmp_path: Path) -> None:
    app.send(ShipOrder(2, "poison"))
    app.sync()
    held = app.dead_letters()
    shop.mend(tmp_path, "poison")
    assert app.retry(held)[0].is_released
    assert app.retry(held)[0].is_released
    assert app.drop(held)[0].is_released
    app.rebuild("board")
    assert app.read("board", 2)["carrier"] == "poison"


@pytest.mark.parametrize("seed", range(6))
def test_a_first_copy_that_meets_the_poison_holds_back_what_following_did(app: App, tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    for number in (*range(1, 5), *rng.choices(range(1, 5), k=20)):
        app.send(
            rng.choice(
                (
                    ShipOrder(number, rng.choice(("bike", "poison"))),
                    RemoveLine(number, "pen"),
                    PlaceOrder(number, "bob", {"pen": 3}),
                )
            )
        )
        if rng.random() < 0.3:
            app.sync()
    app.sync()
    with never_failed(app, tmp_path) as other:
        assert rows_of(app) == rows_of(other)
        assert app.rows("board").marked == other.rows("board").marked
        mine, theirs = ({_told(held) for held in each.dead_letters()} for each in (app, other))
        assert mine == theirs


def _told(held: HeldStream) -> tuple[object, ...]:
    letter = held.letter
    return letter.stream, letter.position, letter.event, letter.error, letter.keys


def test_an_error_in_whatever_words_holds_back_its_stream_alone(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text that is no Unicode, as that of an error about an odd file name, cannot be stored as it is."""

    def fail(value: str, mended: Path) -> None:
        if value == "poison":
            raise LookupError("no rate in \udcff")

    monkeypatch.setattr(shop, "_fail_for", fail)
    app.send(PlaceOrder(3, "poison", {"pen": 9}))
    app.send(PlaceOrder(4, "bob", {"cap": 1}))
    app.sync()
    assert [row[0] for row in app.rows("board").rows] == [1, 2, 4]
    (held,) = app.dead_letters()
    assert held.letter.error == "LookupError: no rate in \\udcff"
