"""Whatever a saga's functions, and those who send commands, come up with: it stops at most the one saga that it is about."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import pytest
from tests.saga.conftest import Trips
from tests.saga.trip import BookRooms, BookSeats, CancelTrip, Places, PlanTrip, build, flights, hotel, react, travel

from syncline import After, Rejected, Withdraw, saga_relay
from syncline.saga_sending import LONGEST_PAUSE_S, Sending
from syncline.stores.saga_store import StoredCommand
from syncline.testing import Clock

on_both = pytest.mark.parametrize("places", ["sqlite", "postgres"], indirect=True)


class _Wordless(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


def _raising(error: BaseException) -> Callable[[], Any]:
    def raises() -> Any:
        raise error

    return raises


def _first_only(saga_of: Callable[[], Any]) -> Any:
    """The saga of trip "a" does what is tried; all others are as ever."""

    def tried(state: Any, event: Any) -> Iterator[Any]:
        yield from saga_of() if event.__dict__.get("trip_id") == "a" else react(state, event)

    return replace(travel, react=tried)


@on_both
@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (lambda: [After(seconds=float("nan"), send=CancelTrip("a", ""))], "'seconds' is nan; write a number"),
        (lambda: [After(seconds=float("inf"), send=CancelTrip("a", ""))], "'seconds' is inf; write a number"),
        (lambda: [After(seconds="60", send=CancelTrip("a", ""))], "'seconds' is '60'; write a number"),  # type: ignore[arg-type]
        (lambda: [After(seconds=1, send=CancelTrip("a", ""), name=("x",))], "its name is ('x',); write a text"),  # type: ignore[arg-type]
        (lambda: [Withdraw(None)], "its name is None; write a text"),  # type: ignore[arg-type]
        (lambda: [Withdraw("\udcff")], "its name is '\\udcff'; write a text"),
        (_raising(ValueError("\udcff")), "ValueError: \\udcff"),
        (_raising(ValueError("\0")), "ValueError: \0"),
        (_raising(ValueError("x" * 1_000_000)), "x… (1,000,000 characters)"),
        (_raising(_Wordless()), "_Wordless: (its text cannot be had: ValueError)"),
        (lambda: sys.exit(3), "SystemExit: 3"),
    ],
)
def test_what_a_reaction_comes_up_with_parks_its_own_saga_alone(trips: Trips, wanted: Callable[[], Any], words: str) -> None:
    trips.again(_first_only(wanted))
    trips.app.send(PlanTrip("a", 1))
    trips.app.send(PlanTrip("b", 1))
    trips.settle()
    assert (trips.of("a").status, trips.of("b").status) == ("parked", "ended")
    assert words in str(trips.of("a").error)


def test_a_reaction_that_is_half_right_sends_nothing(trips: Trips) -> None:
    half = [BookRooms("a", 1), After(seconds="60", send=CancelTrip("a", ""))]  # type: ignore[arg-type]
    trips.again(_first_only(lambda: half))
    trips.app.send(PlanTrip("a", 1))
    trips.settle()
    assert trips.commands("a") == []


@on_both
def test_a_rejection_in_whatever_words_comes_back(trips: Trips) -> None:
    def refuse(tx: Any, command: BookRooms) -> None:
        raise Rejected("none \udcff left")

    trips.again(hotel=replace(hotel, handles={**hotel.handles, BookRooms: refuse}))
    trips.app.send(PlanTrip("a", 1))
    trips.settle()
    assert trips.events("a") == ["TripPlanned", "CommandRejected", "TripCancelled"]


@pytest.mark.parametrize("hops", ["many", {"of": "beer"}, -1, 10**30])
def test_metadata_of_another_meaning_is_no_count_of_hops(trips: Trips, hops: Any) -> None:
    trips.app.send(PlanTrip("a", 1), metadata={"hops": hops})
    trips.settle()
    assert trips.of("a").status == "ended"


def test_a_key_of_any_characters_is_found_again(trips: Trips) -> None:
    for key in ("\0", "a\0b", "a\0c", "a/b", "%2F", "😀", "'\"", "x" * 100_000):
        trips.app.send(PlanTrip(key, 7))  # seven seats: nobody answers
        trips.settle()
        trips.again()
        trips.clock.advance(60)
        trips.settle()
        assert trips.events(key) == ["TripPlanned", "RoomsBooked", "TripCancelled", "RoomsFreed"], key[:10]


def test_what_fails_after_its_saga_was_given_up_is_never_sent_again(trips: Trips) -> None:
    def given_up_meanwhile(state: int, command: BookSeats) -> list[Any]:
        trips.app.sagas.give_up("travel", "a")
        until = time.monotonic() + 10
        while trips.of("a").status != "given up":
            assert time.monotonic() < until
            time.sleep(0.01)
        raise RuntimeError("the airline is closed")

    trips.again(flights=replace(flights, decide=given_up_meanwhile))
    trips.app.send(PlanTrip("a", 1))
    trips.settle()
    assert trips.of("a").status == "given up"
    assert trips.commands("a") == [("BookRooms", "done"), ("BookSeats", "dropped")]
    trips.again()
    trips.settle()
    assert trips.events("a") == ["TripPlanned", "RoomsBooked"]


def test_pauses_stay_bounded_however_often_a_service_was_asked(trips: Trips) -> None:
    command = StoredCommand("1", "travel", "a", "flights", "BookSeats", "{}", None, None, 0, 0.0, attempts=100_000)
    sending = Sending(lambda command, **_: Future(), lambda stored: stored, threading.Event())
    sending.send_again(command)
    assert 0 < (sending.rest_s() or 0) <= LONGEST_PAUSE_S


class _StumblingClock(Clock):
    stumbles = False

    def __call__(self) -> float:
        if self.stumbles:
            self.stumbles = False
            raise OSError("no time")
        return super().__call__()


def test_a_step_that_fails_half_way_loses_no_event(places: Places) -> None:
    """It has read the events and not yet noted what came: how far it has read must not be stored."""
    clock = _StumblingClock()
    with build(places, clock=clock) as app:
        app.send(PlanTrip("a", 1))
        with pytest.raises(OSError, match="no time"), app.settling() as settle:
            clock.stumbles = True
            settle()
        with app.settling() as settle:
            settle()
        assert app.sagas.history("travel", "a")[0].status == "ended"


@on_both
def test_deadlines_of_a_saga_that_is_defined_no_more_hold_up_no_others(trips: Trips, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saga_relay, "DUE_MAX", 2)
    for key in ("a", "b", "c"):
        trips.app.send(PlanTrip(key, 1))
    slow = replace(flights, decide=lambda state, command: [])
    trips.again(flights=slow)
    trips.settle()
    trips.again(replace(travel, name="journey", new_events_only=True), flights=slow)
    trips.settle()
    trips.clock.advance(1)
    trips.app.send(PlanTrip("d", 1))
    trips.settle()
    trips.clock.advance(60)
    trips.settle()
    assert trips.of("d", "journey").status == "ended"
