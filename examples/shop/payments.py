"""Payments: event-sourced. Money is taken once for an order, and goes back once where the order did not come about.

What the card processor answers may come twice, late or never; so each answer is decided upon what is known by then.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from syncline import EventService, Patch, Rejected, Relation, Upsert


@dataclass(frozen=True)
class TakePayment:
    order_id: str
    cents: int
    card: str


@dataclass(frozen=True)
class RecordCharge:
    """The processor says: the card was charged."""

    order_id: str


@dataclass(frozen=True)
class RecordDecline:
    order_id: str
    reason: str


@dataclass(frozen=True)
class VoidPayment:
    order_id: str


@dataclass(frozen=True)
class RecordRefund:
    """The processor says: the money went back."""

    order_id: str


@dataclass(frozen=True)
class PaymentRequested:
    order_id: str
    cents: int
    card: str


@dataclass(frozen=True)
class PaymentTaken:
    order_id: str


@dataclass(frozen=True)
class PaymentDeclined:
    order_id: str
    reason: str


@dataclass(frozen=True)
class PaymentVoided:
    """Nothing is to be paid any more. Whether the card was charged is not known."""

    order_id: str


@dataclass(frozen=True)
class RefundRequested:
    """The card was charged, and must not have been."""

    order_id: str


@dataclass(frozen=True)
class PaymentRefunded:
    order_id: str


Command = TakePayment | RecordCharge | RecordDecline | VoidPayment | RecordRefund
Event = PaymentRequested | PaymentTaken | PaymentDeclined | PaymentVoided | RefundRequested | PaymentRefunded

STATUS_AFTER = {
    PaymentRequested: "requested",
    PaymentTaken: "taken",
    PaymentDeclined: "declined",
    PaymentVoided: "voided",
    RefundRequested: "refunding",
    PaymentRefunded: "refunded",
}


def decide(status: str, command: Command) -> Iterator[Event]:
    order_id = command.order_id
    match status, command:
        case "new", TakePayment(_, cents, card):
            yield PaymentRequested(order_id, cents, card)
        case "new" | "requested", VoidPayment():
            # One that was not asked for yet never will be: the two commands may have overtaken each other.
            yield PaymentVoided(order_id)
        case "taken", VoidPayment():
            yield RefundRequested(order_id)
        case "new", _:
            raise Rejected(f"no payment was asked for order {order_id}")
        case "requested", RecordCharge():
            yield PaymentTaken(order_id)
        case "voided" | "declined", RecordCharge():
            yield RefundRequested(order_id)
        case "requested", RecordDecline(_, reason):
            yield PaymentDeclined(order_id, reason)
        case "voided" | "refunding", RecordRefund():
            yield PaymentRefunded(order_id)
        case "requested" | "taken" | "declined", RecordRefund():
            raise Rejected(f"the payment of order {order_id} is {status}: nobody asked for a refund")
        case _:
            return  # known already, or of no consequence any more


def evolve(_: str, event: Event) -> str:
    return STATUS_AFTER[type(event)]


@dataclass(frozen=True)
class PaymentRow:
    order_id: str
    cents: int | None
    status: str
    reason: str | None


def rows(event: Event) -> Iterator[Upsert | Patch]:
    match event:
        case PaymentRequested(order_id, cents):
            yield Upsert("payment", order_id=order_id, cents=cents, status="requested")
        case PaymentDeclined(order_id, reason):
            yield Patch("payment", order_id=order_id, status="declined", reason=reason)
        case _:
            yield Patch("payment", order_id=event.order_id, status=STATUS_AFTER[type(event)])


payments = EventService(
    "payments",
    key="order_id",
    commands=Command,
    events=Event,
    initial="new",
    decide=decide,
    evolve=evolve,
    relations={"payment": Relation(PaymentRow, key="order_id")},
    rows=rows,
)
