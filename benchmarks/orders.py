"""The event-sourced services that the benchmarks of the write side send commands to."""

from collections.abc import Iterator
from dataclasses import dataclass

from syncline import EventService, Query, QueryItem, Rejected


@dataclass(frozen=True)
class PlaceOrder:
    order_id: str
    customer: str
    amount_cents: int


@dataclass(frozen=True)
class AddNote:
    order_id: str
    text: str


@dataclass(frozen=True)
class OrderPlaced:
    order_id: str
    customer: str
    amount_cents: int


@dataclass(frozen=True)
class NoteAdded:
    order_id: str
    text: str


@dataclass(frozen=True)
class Order:
    status: str = "new"
    notes: int = 0


def decide(order: Order, command: PlaceOrder | AddNote) -> Iterator[OrderPlaced | NoteAdded]:
    match command:
        case PlaceOrder(order_id, customer, amount_cents):
            if order.status != "new":
                raise Rejected("the order is placed already")
            yield OrderPlaced(order_id, customer, amount_cents)
        case AddNote(order_id, text):
            yield NoteAdded(order_id, text)


def evolve(order: Order, event: OrderPlaced | NoteAdded) -> Order:
    match event:
        case OrderPlaced():
            return Order("placed", order.notes)
        case NoteAdded():
            return Order(order.status, order.notes + 1)


orders = EventService(
    "orders",
    key="order_id",
    commands=PlaceOrder | AddNote,
    events=OrderPlaced | NoteAdded,
    initial=Order(),
    decide=decide,
    evolve=evolve,
)


@dataclass(frozen=True)
class ClaimName:
    name: str
    account: str


@dataclass(frozen=True)
class NameClaimed:
    name: str
    account: str


def decide_claim(holder: str | None, command: ClaimName) -> Iterator[NameClaimed]:
    if holder is not None:
        raise Rejected(f"'{command.name}' is taken")
    yield NameClaimed(command.name, command.account)


names = EventService(
    "names",
    commands=ClaimName,
    events=NameClaimed,
    initial=None,
    decide=decide_claim,
    evolve=lambda _, event: event.account,
    query=lambda command: Query((QueryItem(tags=(f"name:{command.name}",)),)),
    tags=lambda event: (f"name:{event.name}",),
)
