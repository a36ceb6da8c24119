"""Charging: the saga between payments and the card processor, which is another company's and answers as it likes."""

from collections.abc import Iterator

from syncline import Saga

from .cards import CardCharged, CardDeclined, CardRefunded, ChargeCard, RefundCard
from .payments import (
    PaymentDeclined,
    PaymentRefunded,
    PaymentRequested,
    PaymentTaken,
    PaymentVoided,
    RecordCharge,
    RecordDecline,
    RecordRefund,
    RefundRequested,
)

Event = (
    PaymentRequested
    | CardCharged
    | CardDeclined
    | CardRefunded
    | PaymentTaken
    | PaymentDeclined
    | PaymentVoided
    | RefundRequested
    | PaymentRefunded
)
Command = ChargeCard | RefundCard | RecordCharge | RecordDecline | RecordRefund


def react(event: Event) -> Iterator[Command]:
    match event:
        case PaymentRequested(order_id, cents, card):
            yield ChargeCard(order_id, cents, card)
        case CardCharged(order_id):
            yield RecordCharge(order_id)
        case CardDeclined(order_id, reason):
            yield RecordDecline(order_id, reason)
        case PaymentVoided(order_id) | RefundRequested(order_id):
            yield RefundCard(order_id)
        case CardRefunded(order_id):
            yield RecordRefund(order_id)


charging = Saga(
    "charging",
    key="order_id",
    starts_on=PaymentRequested,
    ends_on=(PaymentTaken, PaymentDeclined, PaymentVoided, PaymentRefunded),
    events=Event,
    commands=Command,
    react=react,
)
