"""Payments: event-sourced. A charge is made or declined, once for each order."""

from collections.abc import Iterator
from dataclasses import dataclass

from syncline import EventService, Relation, Upsert

DECLINED = {"Mallory"}


@dataclass(frozen=True)
class Charge:
    order_id: str
    customer: str


@dataclass(frozen=True)
class Charged:
    order_id: str


@dataclass(frozen=True)
class Declined:
    order_id: str
    reason: str


@dataclass(frozen=True)
class Payment:
    order_id: str
    payment: str


Event = Charged | Declined


def decide(state: str, command: Charge) -> Iterator[Event]:
    if state:
        return
    if command.customer in DECLINED:
        yield Declined(command.order_id, "the card was declined")
    else:
        yield Charged(command.order_id)


def evolve(state: str, event: Event) -> str:
    return "paid" if isinstance(event, Charged) else "declined"


def rows(event: Event) -> Iterator[Upsert]:
    yield Upsert("payment", order_id=event.order_id, payment=evolve("", event))


payments = EventService(
    "payments",
    key="order_id",
    commands=Charge,
    events=Event,
    initial="",
    decide=decide,
    evolve=evolve,
    relations={"payment": Relation(Payment, key="order_id")},
    rows=rows,
)
