"""The rules of payments: what every command leads to, whatever is known of the payment by then."""

from typing import Any

import pytest
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
    payments,
)

from syncline.testing import given

REQUESTED = PaymentRequested("o-1", 3230, "card-good")
TAKEN, VOIDED, DECLINED = PaymentTaken("o-1"), PaymentVoided("o-1"), PaymentDeclined("o-1", "no money")
REFUNDING, REFUNDED = RefundRequested("o-1"), PaymentRefunded("o-1")

TAKE, VOID, CHARGED = TakePayment("o-1", 3230, "card-good"), VoidPayment("o-1"), RecordCharge("o-1")
NO, BACK = RecordDecline("o-1", "no money"), RecordRefund("o-1")

HISTORIES: dict[str, tuple[Any, ...]] = {
    "new": (),
    "requested": (REQUESTED,),
    "taken": (REQUESTED, TAKEN),
    "declined": (REQUESTED, DECLINED),
    "voided": (REQUESTED, VOIDED),
    "voided before": (VOIDED,),
    "refunding": (REQUESTED, TAKEN, REFUNDING),
    "refunded": (REQUESTED, TAKEN, REFUNDING, REFUNDED),
}
NOTHING = None
OUTCOMES: dict[str, dict[Any, Any]] = {
    "new": {TAKE: REQUESTED, VOID: VOIDED, CHARGED: "no payment", NO: "no payment", BACK: "no payment"},
    "requested": {TAKE: NOTHING, VOID: VOIDED, CHARGED: TAKEN, NO: DECLINED, BACK: "nobody asked"},
    "taken": {TAKE: NOTHING, VOID: REFUNDING, CHARGED: NOTHING, NO: NOTHING, BACK: "nobody asked"},
    "declined": {TAKE: NOTHING, VOID: NOTHING, CHARGED: REFUNDING, NO: NOTHING, BACK: "nobody asked"},
    "voided": {TAKE: NOTHING, VOID: NOTHING, CHARGED: REFUNDING, NO: NOTHING, BACK: REFUNDED},
    "voided before": {TAKE: NOTHING, VOID: NOTHING, CHARGED: REFUNDING, NO: NOTHING, BACK: REFUNDED},
    "refunding": {TAKE: NOTHING, VOID: NOTHING, CHARGED: NOTHING, NO: NOTHING, BACK: REFUNDED},
    "refunded": {TAKE: NOTHING, VOID: NOTHING, CHARGED: NOTHING, NO: NOTHING, BACK: NOTHING},
}
CASES = [(status, command) for status, outcomes in OUTCOMES.items() for command in outcomes]


@pytest.mark.parametrize(("status", "command"), CASES, ids=[f"{status}, {type(command).__name__}" for status, command in CASES])
def test_a_payment_answers_each_command_by_what_is_known_of_it(status: str, command: Any) -> None:
    verdict, outcome = given(payments, *HISTORIES[status]).when(command), OUTCOMES[status][command]
    if outcome is NOTHING:
        verdict.nothing_happens()
    elif isinstance(outcome, str):
        verdict.rejected(outcome)
    else:
        verdict.then(outcome)
