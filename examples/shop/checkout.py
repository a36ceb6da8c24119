"""Checkout: the saga of an order. Place, reserve the stock, take the payment, confirm; refusals and silence lead to cancelling.

`orders` decides which comes first, confirming or cancelling; whatever was done for an order that is cancelled is taken back when
that is known. So there is one way of compensation, whether stock, card, deadline or customer ended the order.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

from syncline import After, CommandRejected, Saga

from .inventory import OutOfStock, ReleaseStock, ReserveStock, StockReserved, Wanted
from .orders import CancelOrder, ConfirmOrder, OrderCancelled, OrderConfirmed, OrderPlaced
from .payments import PaymentDeclined, PaymentTaken, TakePayment, VoidPayment

DEADLINE_S = 900.0

Event = (
    OrderPlaced | StockReserved | OutOfStock | PaymentTaken | PaymentDeclined | OrderConfirmed | OrderCancelled | CommandRejected
)
Command = ReserveStock | ReleaseStock | TakePayment | VoidPayment | ConfirmOrder | CancelOrder


@dataclass(frozen=True)
class Checkout:
    """What must be remembered of an order: how far it is, and what is to be paid for it, with which card."""

    stage: str = "new"  # new → reserving → paying → over; reserving → refused → over; paying → declined → over
    cents: int = 0
    card: str = ""


def react(checkout: Checkout, event: Event, deadline_s: float = DEADLINE_S) -> Iterator[Command | After]:
    match checkout.stage, event:
        case "new", OrderPlaced(order_id, _, lines):
            yield ReserveStock(order_id, tuple(Wanted(line.sku, line.quantity, line.price_cents) for line in lines))
            yield After(seconds=deadline_s, send=CancelOrder(order_id, "the payment took too long"), name="payment")
        case "reserving", StockReserved(order_id):
            yield TakePayment(order_id, checkout.cents, checkout.card)
        case "paying", PaymentTaken(order_id):
            yield ConfirmOrder(order_id)
        case ("reserving", OutOfStock(order_id, reason)) | ("paying", PaymentDeclined(order_id, reason)):
            yield CancelOrder(order_id, reason)
        case "reserving" | "declined", OrderCancelled(order_id):
            yield ReleaseStock(order_id)
        case "paying", OrderCancelled(order_id):
            yield ReleaseStock(order_id)
            yield VoidPayment(order_id)
        case _, CommandRejected(ReserveStock(order_id), reason):
            yield CancelOrder(order_id, reason)


def evolve(checkout: Checkout, event: Event) -> Checkout:
    match checkout.stage, event:
        case "new", OrderPlaced(lines=lines, card=card):
            return Checkout("reserving", sum(line.quantity * line.price_cents for line in lines), card)
        case "reserving", StockReserved():
            return replace(checkout, stage="paying")
        case "reserving", OutOfStock():
            return replace(checkout, stage="refused")
        case "paying", PaymentDeclined():
            return replace(checkout, stage="declined")
        case _, OrderConfirmed() | OrderCancelled():
            return replace(checkout, stage="over")
    return checkout


def checkout(*, deadline_s: float = DEADLINE_S) -> Saga:
    """The saga, with the time that a payment may take."""
    return Saga(
        "checkout",
        key="order_id",
        starts_on=OrderPlaced,
        ends_on=(OrderConfirmed, OrderCancelled),
        events=Event,
        commands=Command,
        initial=Checkout(),
        evolve=evolve,
        react=partial(react, deadline_s=deadline_s),
    )
