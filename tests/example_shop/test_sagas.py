"""What the sagas want, whatever came before: as tables of cases."""

from datetime import UTC, datetime
from typing import Any

import pytest
from shop.cards import CardCharged, CardDeclined, CardRefunded, ChargeCard, RefundCard
from shop.charging import charging
from shop.checkout import checkout
from shop.inventory import OutOfStock, ReleaseStock, ReserveStock, StockReserved, Wanted
from shop.orders import CancelOrder, ConfirmOrder, Line, OrderCancelled, OrderConfirmed, OrderPlaced
from shop.payments import (
    PaymentDeclined,
    PaymentRefunded,
    PaymentRequested,
    PaymentTaken,
    PaymentVoided,
    RecordCharge,
    RecordDecline,
    RecordRefund,
    RefundRequested,
    TakePayment,
    VoidPayment,
)

from syncline import After, CommandRejected
from syncline.testing import given

PLACED = OrderPlaced("o-1", "c-001", (Line("tea", 2, 890), Line("mug", 1, 1450)), "card-good", datetime(2026, 5, 1, tzinfo=UTC))
RESERVED, OUT = StockReserved("o-1"), OutOfStock("o-1", "tea: 2 asked for, 1 left")
TAKEN, DECLINED = PaymentTaken("o-1"), PaymentDeclined("o-1", "no money")
CONFIRMED, CANCELLED = OrderConfirmed("o-1"), OrderCancelled("o-1", "no need")
RESERVE = ReserveStock("o-1", (Wanted("tea", 2, 890), Wanted("mug", 1, 1450)))
WRONG_PRICE = CommandRejected(RESERVE, "tea costs 900 cents now, not 890")
DEADLINE = After(seconds=5, send=CancelOrder("o-1", "the payment took too long"), name="payment")
RELEASE, VOID = ReleaseStock("o-1"), VoidPayment("o-1")

CHECKOUT: list[tuple[str, list[Any], list[Any]]] = [
    ("an order is placed", [PLACED], [RESERVE, DEADLINE]),
    ("its stock is reserved", [PLACED, RESERVED], [TakePayment("o-1", 3230, "card-good")]),
    ("it is paid", [PLACED, RESERVED, TAKEN], [ConfirmOrder("o-1")]),
    ("it is confirmed", [PLACED, RESERVED, TAKEN, CONFIRMED], []),
    ("there is no stock", [PLACED, OUT], [CancelOrder("o-1", OUT.reason)]),
    ("it is cancelled for want of stock", [PLACED, OUT, CANCELLED], []),
    ("its price is wrong", [PLACED, WRONG_PRICE], [CancelOrder("o-1", WRONG_PRICE.reason)]),
    ("its card is declined", [PLACED, RESERVED, DECLINED], [CancelOrder("o-1", "no money")]),
    ("it is cancelled for want of money", [PLACED, RESERVED, DECLINED, CANCELLED], [RELEASE]),
    ("it is cancelled before stock was reserved", [PLACED, CANCELLED], [RELEASE]),
    ("it is cancelled before it was paid", [PLACED, RESERVED, CANCELLED], [RELEASE, VOID]),
    ("it is cancelled after it was paid", [PLACED, RESERVED, TAKEN, CANCELLED], [RELEASE, VOID]),
    ("stock is reserved too late", [PLACED, CANCELLED, RESERVED], []),
    ("it is out of stock, too late", [PLACED, CANCELLED, OUT], []),
    ("it is paid too late", [PLACED, RESERVED, CANCELLED, TAKEN], []),
    ("it is declined too late", [PLACED, RESERVED, CANCELLED, DECLINED], []),
    ("confirming came too late", [PLACED, RESERVED, CANCELLED, CommandRejected(ConfirmOrder("o-1"), "cancelled already")], []),
    ("cancelling came too late", [PLACED, RESERVED, CONFIRMED, CommandRejected(CancelOrder("o-1", ""), "confirmed already")], []),
]

REQUESTED = PaymentRequested("o-1", 3230, "card-good")
CHARGING: list[tuple[Any, list[Any]]] = [
    (REQUESTED, [ChargeCard("o-1", 3230, "card-good")]),
    (CardCharged("o-1"), [RecordCharge("o-1")]),
    (CardDeclined("o-1", "no money"), [RecordDecline("o-1", "no money")]),
    (CardRefunded("o-1"), [RecordRefund("o-1")]),
    (PaymentVoided("o-1"), [RefundCard("o-1")]),
    (RefundRequested("o-1"), [RefundCard("o-1")]),
    (TAKEN, []),
    (DECLINED, []),
    (PaymentRefunded("o-1"), []),
]


@pytest.mark.parametrize(("events", "wanted"), [case[1:] for case in CHECKOUT], ids=[case[0] for case in CHECKOUT])
def test_checkout_wants_this_when(events: list[Any], wanted: list[Any]) -> None:
    given(checkout(deadline_s=5), *events[:-1]).when(events[-1]).then(*wanted)


@pytest.mark.parametrize(("event", "wanted"), CHARGING, ids=[type(event).__name__ for event, _ in CHARGING])
def test_charging_asks_the_processor_and_records_its_answers(event: Any, wanted: list[Any]) -> None:
    given(charging).when(event).then(*wanted)
