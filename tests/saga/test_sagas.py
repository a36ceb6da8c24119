"""A saga from its first event to its end: answers, compensation, silence; what cannot go on is parked, alone."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tests.saga.conftest import Trips
from tests.saga.trip import (
    BookRooms,
    BookSeats,
    CancelTrip,
    ConfirmTrip,
    PlanTrip,
    RoomsBooked,
    SeatsBooked,
    SeatsRefused,
    TripCancelled,
    TripConfirmed,
    TripPlanned,
    build,
    decide_flight,
    flights,
    react,
    travel,
)
from tests.saga.trip import (
    trips as trips_service,
)

from syncline import (
    After,
    App,
    CommandRejected,
    EventService,
    InvalidDefinition,
    NotFound,
    Rejected,
    Saga,
    SQLite,
    Unavailable,
    saga_sending,
)
from syncline.saga_relay import HOPS_MAX

on_both = pytest.mark.parametrize("places", ["sqlite", "postgres"], indirect=True)

# -- answers, refusals, silence ------------------------------------------------------------------------------------------


@on_both
def test_what_every_service_agrees_to_is_confirmed(trips: Trips) -> None:
    trips.app.send(PlanTrip("a", 2))
    trips.settle()
    assert trips.events("a") == ["TripPlanned", "RoomsBooked", "SeatsBooked", "TripConfirmed"]
    assert trips.commands("a") == [("BookRooms", "done"), ("BookSeats", "done"), ("ConfirmTrip", "done")]
    assert trips.of("a").status == "ended"


@on_both
def test_a_rejection_comes_back_and_is_answered(trips: Trips) -> None:
    trips.app.send(PlanTrip("a", 11))
    trips.settle()
    assert trips.events("a") == ["TripPlanned", "CommandRejected", "TripCancelled"]
    assert trips.commands("a") == [("BookRooms", "rejected"), ("CancelTrip", "done")]


def test_what_was_done_is_undone_by_a_command_after_the_end(trips: Trips) -> None:
    trips.app.send(PlanTrip("a", 6))
    trips.settle()
    assert trips.events("a") == ["TripPlanned", "RoomsBooked", "SeatsRefused", "TripCancelled", "RoomsFreed"]
    assert trips.of("a").status == "ended"


def test_silence_is_answered_by_the_deadline_once(trips: Trips) -> None:
    trips.app.send(PlanTrip("a", 7))
    trips.settle()
    trips.clock.advance(59)
    trips.settle()
    assert trips.of("a").status == "open"
    trips.clock.advance(1)
    trips.settle()
    assert trips.events("a")[2:] == ["TripCancelled", "RoomsFreed"]
    trips.clock.advance(1_000)
    trips.settle()
    assert [name for name, _ in trips.commands("a")].count("CancelTrip") == 1


def test_a_deadline_that_was_withdrawn_never_comes(trips: Trips) -> None:
    trips.app.send(PlanTrip("a", 2))
    trips.settle()
    trips.clock.advance(1_000)
    trips.settle()
    assert "CancelTrip" not in dict(trips.commands("a"))


@on_both
def test_deadlines_are_kept_while_nothing_runs(trips: Trips) -> None:
    trips.app.send(PlanTrip("a", 7))
    trips.settle()
    assert [step.name for step in trips.app.sagas.history("travel", "a")[1] if step.kind == "deadline"] == ["CancelTrip"]
    trips.clock.advance(3_600)
    trips.again()
    trips.settle()
    assert trips.events("a")[2:] == ["TripCancelled", "RoomsFreed"]


def test_the_state_is_folded_anew_after_a_restart(trips: Trips) -> None:
    trips.app.send(PlanTrip("a", 7))
    trips.settle()
    trips.again()
    trips.app.send(CancelTrip("a", "the traveller fell ill"))
    trips.settle()
    assert trips.commands("a")[-1] == ("FreeRooms", "done")  # it remembers that there are rooms


def test_events_that_begin_nothing_are_passed_over(trips: Trips) -> None:
    trips.app.send(BookSeats("x", 1))
    trips.settle()
    with pytest.raises(NotFound, match="saga 'travel' was not begun for 'x'"):
        trips.of("x")


def test_one_that_reads_new_events_only_leaves_the_old_ones_alone(trips: Trips) -> None:
    trips.app.send(PlanTrip("a", 7))
    trips.again(replace(travel, name="later", new_events_only=True))
    trips.settle()
    trips.app.send(PlanTrip("b", 2))
    trips.settle()
    assert [each.key for each in trips.app.sagas.listed()] == ["b"]


@on_both
def test_all_that_belongs_together_is_one_story_across_the_services(trips: Trips) -> None:
    receipt = trips.app.send(PlanTrip("a", 6))
    trips.settle()
    told = [(each.service, each.event.name) for each in trips.app.story(receipt.command_id).told]
    assert sorted(told) == [
        ("flights", "SeatsRefused"),
        ("hotel_told", "RoomsBooked"),
        ("hotel_told", "RoomsFreed"),
        ("trips", "TripCancelled"),
        ("trips", "TripPlanned"),
    ]
    assert trips.of("a").correlation_id == receipt.command_id


# -- parking -------------------------------------------------------------------------------------------------------------


@on_both
def test_a_reaction_that_raises_parks_its_saga_with_the_event_and_all_others_go_on(trips: Trips) -> None:
    def stumble(state: Any, event: Any) -> Any:
        if event == RoomsBooked("a", 2):
            raise ZeroDivisionError("oh")
        return react(state, event)

    trips.again(replace(travel, react=stumble))
    trips.app.send(PlanTrip("a", 2))
    trips.app.send(PlanTrip("b", 2))
    trips.settle()
    assert trips.of("b").status == "ended"
    parked = trips.of("a")
    assert (parked.status, parked.error) == ("parked", "RoomsBooked, event 2, could not be reacted to: ZeroDivisionError: oh")
    trips.app.send(CancelTrip("a", "the traveller cannot wait"))
    trips.settle()
    assert trips.events("a") == ["TripPlanned", "RoomsBooked", "TripCancelled"]  # what comes waits
    assert [step.state for step in trips.app.sagas.history("travel", "a")[1] if step.kind == "event"][1:] == ["waiting"] * 2
    trips.again()
    trips.settle()
    assert trips.of("a").status == "parked"  # until a person has looked
    trips.app.sagas.retry("travel", "a")
    settle_when(trips, lambda: trips.of("a").status == "ended")
    settle_when(trips, lambda: len(trips.events("a")) == 6)
    assert sorted(trips.events("a")[3:]) == ["CommandRejected", "RoomsFreed", "SeatsBooked"]  # ConfirmTrip, which came too late


def settle_when(trips: Trips, condition: Callable[[], bool]) -> None:
    """Settles until a request was noticed, or a pause is over, in earnest."""
    until = time.monotonic() + 10
    while True:
        trips.settle()
        if condition():
            return
        assert time.monotonic() < until
        time.sleep(0.01)


@on_both
def test_one_that_is_given_up_sends_and_expects_nothing_more(trips: Trips) -> None:
    trips.app.send(PlanTrip("a", 7))
    trips.settle()
    trips.app.sagas.give_up("travel", "a")
    settle_when(trips, lambda: trips.of("a").status == "given up")
    trips.clock.advance(1_000)
    trips.settle()
    assert [name for name, _ in trips.commands("a")] == ["BookRooms", "BookSeats"]
    with pytest.raises(NotFound, match="saga 'travel' of 'a' is given up; only what is parked can be asked to retry"):
        trips.app.sagas.retry("travel", "a")


def test_a_command_that_cannot_be_delivered_is_tried_again_and_then_parks_its_saga(trips: Trips) -> None:
    asked: list[int] = []

    def broken(state: int, command: BookSeats) -> list[Any]:
        asked.append(1)
        raise RuntimeError("the airline's rules are broken")

    trips.again(replace(travel, attempts=3), flights=replace(flights, decide=broken))
    trips.app.send(PlanTrip("a", 2))
    settle_when(trips, lambda: trips.of("a").status == "parked")
    assert trips.of("a").error == "BookSeats cannot be delivered to flights: the airline's rules are broken"
    assert (len(asked), trips.commands("a")[-1]) == (3, ("BookSeats", "stuck"))
    trips.clock.advance(1_000)
    trips.settle()
    assert trips.of("a").status == "parked"  # its deadline waits for the person as well
    trips.again()
    trips.app.sagas.retry("travel", "a")
    settle_when(trips, lambda: trips.of("a").status == "ended")


def test_a_rejection_that_nobody_reads_parks(trips: Trips) -> None:
    deaf = replace(travel, events=[kind for kind in travel.event_classes if kind is not CommandRejected])
    trips.again(deaf)
    trips.app.send(PlanTrip("a", 11))
    trips.settle()
    assert trips.of("a").error == "hotel rejected BookRooms: no room is left; let it read CommandRejected to answer that"


def test_an_event_that_cannot_be_read_parks_the_saga_that_it_names(trips: Trips) -> None:
    trips.app.send(PlanTrip("a", 7))
    trips.app.send(PlanTrip("b", 7))
    trips.settle()

    @dataclass(frozen=True)
    class SeatsBookedToday(SeatsBooked):
        row: int

    SeatsBookedToday.__name__ = "SeatsBooked"
    today = replace(flights, events=SeatsBookedToday | SeatsRefused, decide=lambda state, command: [SeatsBookedToday("b", 3)])
    trips.app.send(BookSeats("a", 2))  # in a shape that the program of today does not know
    trips.again(_reading(SeatsBookedToday), flights=today)
    trips.app.send(BookSeats("b", 2))
    trips.settle()
    assert (trips.of("a").status, trips.of("b").status) == ("parked", "ended")
    assert "Object missing required field `row`" in str(trips.of("a").error)


def _reading(kind: type) -> Saga:
    def react_today(state: Any, event: Any) -> Any:
        return [ConfirmTrip(event.trip_id)] if isinstance(event, kind) else react(state, event)

    events = [kind if each is SeatsBooked else each for each in travel.event_classes]
    return replace(travel, events=events, react=react_today)


def test_a_state_that_cannot_be_folded_any_more_parks_when_something_comes(trips: Trips) -> None:
    trips.app.send(PlanTrip("a", 7))
    trips.app.send(PlanTrip("b", 7))
    trips.settle()

    def forgetful(state: Any, event: Any) -> Any:
        return None if event == RoomsBooked("a", 7) else state

    trips.again(replace(travel, evolve=forgetful))
    trips.app.send(CancelTrip("a", "no"))
    trips.app.send(CancelTrip("b", "no"))
    trips.settle()
    assert (trips.of("a").status, trips.of("b").status) == ("parked", "ended")
    assert "evolve returned None" in str(trips.of("a").error)


# -- loops ---------------------------------------------------------------------------------------------------------------


def test_an_endless_loop_between_sagas_is_cut_and_told(trips: Trips) -> None:
    """Each sends what makes the other send."""

    @dataclass(frozen=True)
    class Ping:
        ball: str

    @dataclass(frozen=True)
    class Pinged:
        ball: str

    @dataclass(frozen=True)
    class Pong:
        ball: str

    @dataclass(frozen=True)
    class Ponged:
        ball: str

    def service(name: str, command: type, event: type) -> EventService:
        return EventService(
            name,
            key="ball",
            commands=command,
            events=event,
            initial=0,
            decide=lambda state, command: [event(command.ball)],
            evolve=lambda state, event: state + 1,
        )

    def saga(name: str, event: type, command: type) -> Saga:
        return Saga(name, key="ball", starts_on=event, events=event, commands=command, react=lambda event: [command(event.ball)])

    app = App(
        service("pings", Ping, Pinged).on(trips.places("pings")),
        service("pongs", Pong, Ponged).on(trips.places("pongs")),
        saga("there", Pinged, Pong).on(trips.places("balls")),
        saga("back", Ponged, Ping).on(trips.places("balls")),
    )
    with app, app.settling() as settle:
        app.send(Ping("red"))
        settle()
        (parked,) = app.sagas.listed(status="parked")
        assert f"{HOPS_MAX} commands of sagas led to this event, one after the other" in str(parked.error)
        assert sum(each.events for each in app.sagas.listed()) == HOPS_MAX + 1


# -- definitions ---------------------------------------------------------------------------------------------------------


def test_a_saga_that_reads_or_sends_what_nobody_has_is_refused_at_start(trips: Trips) -> None:
    with pytest.raises(InvalidDefinition) as refused:
        App(trips_service.on(SQLite("t.db")), travel.on(SQLite("travel.db")))
    found = str(refused.value)
    assert "saga 'travel' reads RoomsBooked, which is an event of no service or outbox here; place that" in found
    assert "saga 'travel' sends BookRooms, which no service here handles; place the one that does" in found
    assert "TripPlanned" not in found


def test_every_fault_of_a_definition_is_named() -> None:
    with pytest.raises(InvalidDefinition) as refused:
        Saga(
            "s",
            key="ticket",
            starts_on=TripPlanned,
            ends_on=(TripConfirmed,),
            events=TripCancelled,
            commands=BookRooms,
            react=react,
            initial=1,
            attempts=0,
        )
    assert [fault.message.partition("saga 's': ")[2].partition(";")[0] for fault in refused.value.faults] == [
        "its key is 'ticket', which event TripCancelled has not",
        f"it starts on {TripPlanned!r}, which is not among its events",
        f"it ends on {TripConfirmed!r}, which is not among its events",
        "it has 'initial' but no 'evolve', so that it would never change",
        "attempts is 0",
    ]


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ([PlanTrip("b")], "react gave PlanTrip(trip_id='b', rooms=1), which is none of its commands"),
        ([After(1, send=TripPlanned("b", 1))], "which is none of its commands"),
        (7, "react returned 7; return or yield commands"),
        ([BookRooms("a", "many")], "BookRooms is not valid"),  # type: ignore[arg-type]
    ],
)
def test_what_no_saga_can_want_parks_it(trips: Trips, wanted: Any, words: str) -> None:
    trips.again(replace(travel, react=lambda state, event: wanted))
    trips.app.send(PlanTrip("a", 1))
    trips.settle()
    assert words in str(trips.of("a").error)
    assert trips.commands("a") == []


# -- running -------------------------------------------------------------------------------------------------------------


@on_both
def test_two_do_not_run_the_same_sagas(trips: Trips) -> None:
    with (
        build(trips.places) as other,
        pytest.raises(Unavailable, match="run elsewhere; stop that first"),
        other.settling(),
    ):
        pass
    (found,) = trips.app.sagas.status()
    assert found.state == "running"


def test_commands_of_one_saga_to_one_service_keep_their_order_though_the_first_fails_at_first(trips: Trips) -> None:
    arrived: list[int] = []

    def moody(state: int, command: BookSeats) -> list[Any]:
        arrived.append(command.seats)
        if arrived == [1]:
            raise RuntimeError("not now")
        return decide_flight(state, command)

    def twice(state: Any, event: Any) -> Any:
        return [BookSeats("a", 1), BookSeats("a", 2)] if isinstance(event, TripPlanned) else []

    trips.again(replace(travel, react=twice), flights=replace(flights, decide=moody))
    trips.app.send(PlanTrip("a", 1))
    settle_when(trips, lambda: len(arrived) == 3)
    assert arrived == [1, 1, 2]


@on_both
def test_counts_tell_how_many_there_are_of_each(trips: Trips) -> None:
    for key, rooms in (("a", 1), ("b", 7), ("c", 1)):
        trips.app.send(PlanTrip(key, rooms))
    trips.settle()
    (found,) = trips.app.status().sagas
    assert (found.saga, found.open, found.ended, found.parked, found.waiting) == ("travel", 1, 2, 0, 0)


def test_a_rejection_can_be_raised_by_any_service(trips: Trips) -> None:
    def refusing(state: int, command: BookSeats) -> list[Any]:
        raise Rejected("the airline is closed")

    trips.again(flights=replace(flights, decide=refusing))
    trips.app.send(PlanTrip("a", 1))
    trips.settle()
    rejection = next(step for step in trips.app.sagas.history("travel", "a")[1] if step.name == "CommandRejected")
    assert rejection.data == {
        "command": "BookSeats",
        "payload": {"trip_id": "a", "seats": 1},
        "reason": "the airline is closed",
    }


def test_sagas_can_be_kept_in_the_database_of_a_service(tmp_path: Path) -> None:
    with build(lambda name: SQLite(str(tmp_path / ("trips.db" if name == "travel" else f"{name}.db")))) as app:
        with app.settling() as settle:
            app.send(PlanTrip("a", 2))
            settle()
        assert [each.status for each in app.sagas.listed()] == ["ended"]


def test_who_looks_writes_nothing(trips: Trips, tmp_path: Path) -> None:
    trips.app.send(PlanTrip("a", 2))
    trips.settle()
    with closing(sqlite3.connect(tmp_path / "travel.db")) as connection:
        before = connection.execute("PRAGMA data_version").fetchone()
        trips.app.status()
        trips.app.sagas.history("travel", "a")
        assert connection.execute("PRAGMA data_version").fetchone() == before


def test_services_that_are_behind_are_not_sent_more_and_more(trips: Trips, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saga_sending, "IN_FLIGHT_MAX", 1)
    for number in range(20):
        trips.app.send(PlanTrip(f"t-{number}", 11))
    trips.settle()
    assert {each.status for each in trips.app.sagas.listed()} == {"ended"}
