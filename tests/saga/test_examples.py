"""Sagas told as examples, without a database: what `given … when … then` says, and how it fails."""

import pytest
from tests.saga.trip import (
    BookRooms,
    BookSeats,
    CancelTrip,
    ConfirmTrip,
    FreeRooms,
    RoomsBooked,
    SeatsBooked,
    TripCancelled,
    TripConfirmed,
    TripPlanned,
    travel,
)

from syncline import After, CommandRejected, Withdraw
from syncline.testing import given

PLANNED, BOOKED = TripPlanned("a", 2), RoomsBooked("a", 2)
NO_ANSWER = After(seconds=60, send=CancelTrip("a", "the airline never answered"), name="airline")


def test_what_is_wanted_is_told_in_its_order() -> None:
    given(travel).when(PLANNED).then(BookRooms("a", 2))
    given(travel, PLANNED).when(BOOKED).then(BookSeats("a", 2), NO_ANSWER)
    given(travel, PLANNED, BOOKED).when(SeatsBooked("a")).then(Withdraw("airline"), ConfirmTrip("a"))
    given(travel, PLANNED).when(CommandRejected(BookRooms("a", 2), "full")).then(CancelTrip("a", "full"))


def test_the_state_is_that_of_before_the_event() -> None:
    given(travel, PLANNED).when(TripCancelled("a", "no")).nothing_happens()
    given(travel, PLANNED, BOOKED).when(TripCancelled("a", "no")).then(FreeRooms("a"))


def test_a_failure_tells_the_whole_example() -> None:
    with pytest.raises(AssertionError) as failed:
        given(travel, PLANNED).when(BOOKED).then(BookSeats("a", 2))
    assert str(failed.value).splitlines()[:5] == [
        "given",
        "    TripPlanned(trip_id='a', rooms=2)",
        "when",
        "    RoomsBooked(trip_id='a', rooms=2)",
        "wants other things than expected (+ is one too many, - is missing)",
    ]
    with pytest.raises(AssertionError, match="was expected to want nothing, and wants\n    BookRooms"):
        given(travel).when(PLANNED).nothing_happens()


def test_an_event_that_the_saga_does_not_read_is_no_example() -> None:
    with pytest.raises(TypeError, match="is no event that saga 'travel' reads"):
        given(travel).when(ConfirmTrip("a"))
    given(travel, PLANNED).when(TripConfirmed("a")).nothing_happens()
