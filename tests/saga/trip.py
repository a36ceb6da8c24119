"""A trip of three services: a flight and a hotel are booked, or neither. Small enough to see all that a saga does."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from syncline import After, App, CommandRejected, EventService, Outbox, Rejected, Saga, TableService, Withdraw
from syncline.places import Store

Places: TypeAlias = Callable[[str], Store]
"""Where the part of a name is kept."""


@dataclass(frozen=True)
class PlanTrip:
    trip_id: str
    rooms: int = 1


@dataclass(frozen=True)
class ConfirmTrip:
    trip_id: str


@dataclass(frozen=True)
class CancelTrip:
    trip_id: str
    reason: str


@dataclass(frozen=True)
class TripPlanned:
    trip_id: str
    rooms: int


@dataclass(frozen=True)
class TripConfirmed:
    trip_id: str


@dataclass(frozen=True)
class TripCancelled:
    trip_id: str
    reason: str


def decide_trip(state: str, command: Any) -> list[Any]:
    match command:
        case PlanTrip(trip_id, rooms):
            return [TripPlanned(trip_id, rooms)] if not state else []
        case ConfirmTrip(trip_id):
            if state == "cancelled":
                raise Rejected("it was cancelled")
            return [TripConfirmed(trip_id)] if state == "planned" else []
        case CancelTrip(trip_id, reason):
            return [TripCancelled(trip_id, reason)] if state == "planned" else []
    raise AssertionError(command)


def evolve_trip(state: str, event: Any) -> str:
    return {TripPlanned: "planned", TripConfirmed: "confirmed", TripCancelled: "cancelled"}[type(event)]


trips = EventService(
    "trips",
    key="trip_id",
    commands=PlanTrip | ConfirmTrip | CancelTrip,
    events=TripPlanned | TripConfirmed | TripCancelled,
    initial="",
    decide=decide_trip,
    evolve=evolve_trip,
)


@dataclass(frozen=True)
class BookRooms:
    trip_id: str
    rooms: int


@dataclass(frozen=True)
class FreeRooms:
    trip_id: str


@dataclass(frozen=True)
class RoomsBooked:
    trip_id: str
    rooms: int


@dataclass(frozen=True)
class RoomsFreed:
    trip_id: str


hotel_told = Outbox("hotel_told", key="trip_id", events=RoomsBooked | RoomsFreed)


def book_rooms(tx: Any, command: BookRooms) -> None:
    (free,) = tx.query("SELECT 10 - coalesce(sum(rooms), 0) AS rooms FROM booking")
    if free["rooms"] < command.rooms:
        raise Rejected("no room is left")
    tx.execute("INSERT INTO booking VALUES (:trip_id, :rooms)", command)
    hotel_told.record(tx, RoomsBooked(command.trip_id, command.rooms))


def free_rooms(tx: Any, command: FreeRooms) -> None:
    if tx.execute("DELETE FROM booking WHERE trip_id = :trip_id", command):
        hotel_told.record(tx, RoomsFreed(command.trip_id))


hotel = TableService(
    "hotel",
    schema="CREATE TABLE booking (trip_id TEXT PRIMARY KEY, rooms INTEGER NOT NULL)",
    handles={BookRooms: book_rooms, FreeRooms: free_rooms},
    publishes=["booking"],
)


@dataclass(frozen=True)
class BookSeats:
    trip_id: str
    seats: int


@dataclass(frozen=True)
class SeatsBooked:
    trip_id: str


@dataclass(frozen=True)
class SeatsRefused:
    trip_id: str


def decide_flight(state: int, command: BookSeats) -> list[Any]:
    """Flights never answer for 7 seats."""
    if state or command.seats == 7:
        return []
    return [SeatsBooked(command.trip_id) if command.seats < 5 else SeatsRefused(command.trip_id)]


flights = EventService(
    "flights",
    key="trip_id",
    commands=BookSeats,
    events=SeatsBooked | SeatsRefused,
    initial=0,
    decide=decide_flight,
    evolve=lambda state, event: state + 1,
)


@dataclass(frozen=True)
class Booking:
    rooms: int = 0
    has_rooms: bool = False


def evolve(state: Booking, event: Any) -> Booking:
    match event:
        case TripPlanned(_, rooms):
            return Booking(rooms)
        case RoomsBooked():
            return replace(state, has_rooms=True)
        case RoomsFreed():
            return replace(state, has_rooms=False)
    return state


def react(state: Booking, event: Any) -> Any:
    match event:
        case TripPlanned(trip_id, rooms):
            yield BookRooms(trip_id, rooms)
        case RoomsBooked(trip_id, rooms):
            yield BookSeats(trip_id, rooms)
            yield After(seconds=60, send=CancelTrip(trip_id, "the airline never answered"), name="airline")
        case SeatsBooked(trip_id):
            yield Withdraw("airline")
            yield ConfirmTrip(trip_id)
        case SeatsRefused(trip_id):
            yield CancelTrip(trip_id, "no seat is left")
        case CommandRejected(BookRooms(trip_id), reason):
            yield CancelTrip(trip_id, reason)
        case TripCancelled(trip_id) if state.has_rooms:
            yield FreeRooms(trip_id)


travel = Saga(
    "travel",
    key="trip_id",
    starts_on=TripPlanned,
    ends_on=(TripConfirmed, TripCancelled),
    events=TripPlanned | TripConfirmed | TripCancelled | RoomsBooked | RoomsFreed | SeatsBooked | SeatsRefused | CommandRejected,
    commands=BookRooms | FreeRooms | BookSeats | ConfirmTrip | CancelTrip,
    initial=Booking(),
    evolve=evolve,
    react=react,
)


def build(
    places: Places, *, saga: Saga = travel, flights: EventService = flights, hotel: TableService = hotel, **options: Any
) -> App:
    """All of it, each part at its place."""
    return App(
        trips.on(places("trips")),
        hotel.on(places("hotel")),
        hotel_told.on(places("hotel")),
        flights.on(places("flights")),
        saga.on(places("travel")),
        **options,
    )
