"""The rules of orders, as examples."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from shop.orders import (
    CancelOrder,
    ConfirmOrder,
    Line,
    OrderCancelled,
    OrderConfirmed,
    OrderPlaced,
    PlaceOrder,
    orders,
)

from syncline.testing import given

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
LINES = (Line("tea-assam", 2, 890), Line("cup-mug", 1, 1450))
PLACE = PlaceOrder("o-1", "c-001", LINES, "card-good", AT)
PLACED = OrderPlaced("o-1", "c-001", LINES, "card-good", AT)
CONFIRMED, CANCELLED = OrderConfirmed("o-1"), OrderCancelled("o-1", "no need")
CONFIRM, CANCEL = ConfirmOrder("o-1"), CancelOrder("o-1", "no need")


def test_an_order_is_placed_with_the_prices_that_the_buyer_was_shown() -> None:
    given(orders).when(PLACE).then(PLACED)


def test_an_order_is_confirmed_or_cancelled_and_the_first_of_both_stays() -> None:
    given(orders, PLACED).when(CONFIRM).then(CONFIRMED)
    given(orders, PLACED).when(CANCEL).then(CANCELLED)
    given(orders, PLACED, CONFIRMED).when(CANCEL).rejected("confirmed already")
    given(orders, PLACED, CANCELLED).when(CONFIRM).rejected("cancelled already")


def test_the_same_wish_twice_is_granted_once() -> None:
    for before in ((PLACED,), (PLACED, CONFIRMED), (PLACED, CANCELLED)):
        given(orders, *before).when(PLACE).nothing_happens()
    given(orders, PLACED, CONFIRMED).when(CONFIRM).nothing_happens()
    given(orders, PLACED, CANCELLED).when(CancelOrder("o-1", "another reason")).nothing_happens()


def test_an_id_is_one_orders_only() -> None:
    given(orders, PLACED).when(replace(PLACE, lines=LINES[:1])).rejected("with other lines")


@pytest.mark.parametrize("command", [CONFIRM, CANCEL])
def test_what_was_never_placed_is_neither_confirmed_nor_cancelled(command: ConfirmOrder | CancelOrder) -> None:
    given(orders).when(command).rejected("there is no order o-1")


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ((), "at least one line"),
        ((Line("tea-assam", 0, 890),), "quantity of at least 1"),
        ((Line("tea-assam", 1, -1),), "no negative price"),
        ((Line("tea-assam", 1, 890), Line("tea-assam", 2, 890)), "in two lines"),
    ],
)
def test_an_impossible_order_is_refused(lines: tuple[Line, ...], reason: str) -> None:
    given(orders).when(replace(PLACE, lines=lines)).rejected(reason)


def test_the_time_of_placing_is_kept_as_that_of_greenwich() -> None:
    in_kyoto = datetime(2026, 5, 2, 1, 30, tzinfo=timezone(timedelta(hours=9)))
    given(orders).when(replace(PLACE, placed_at=in_kyoto)).then(
        replace(PLACED, placed_at=datetime(2026, 5, 1, 16, 30, tzinfo=UTC))
    )
    given(orders).when(replace(PLACE, placed_at=AT.replace(tzinfo=None))).rejected("its time zone")
