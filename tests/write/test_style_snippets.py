"""A shop of three services and one view, as an application would be written and tested: rules without a database, the whole
without a sleep."""

import pytest
from tests.shop.app import app
from tests.shop.catalog import AddProduct, Reprice
from tests.shop.orders import CancelOrder, OrderCancelled, OrderPlaced, PlaceOrder, orders
from tests.shop.payments import Charge, Charged, Declined, payments
from tests.shop.summary import order_summary

from syncline import StaleRead
from syncline.testing import given, in_memory

PLACED = OrderPlaced("o-1", "Ada", {"tea": 2})


def test_an_order_can_be_cancelled() -> None:
    given(orders, PLACED).when(CancelOrder("o-1", "no need")).then(OrderCancelled("o-1", "no need"))


def test_placing_an_order_twice_is_placing_it_once() -> None:
    given(orders, PLACED).when(PlaceOrder("o-1", "Ada", {"tea": 2})).nothing_happens()


def test_an_empty_order_is_rejected() -> None:
    given(orders).when(PlaceOrder("o-1", "Ada", {})).rejected("at least one line")


def test_a_cancelled_order_stays_cancelled() -> None:
    cancelled = OrderCancelled("o-1", "no need")
    given(orders, PLACED, cancelled).when(PlaceOrder("o-1", "Ada", {"tea": 1})).rejected("cancelled")


def test_a_card_is_charged_or_declined_once() -> None:
    given(payments).when(Charge("o-1", "Ada")).then(Charged("o-1"))
    given(payments).when(Charge("o-1", "Mallory")).then(Declined("o-1", "the card was declined"))
    given(payments, Charged("o-1")).when(Charge("o-1", "Ada")).nothing_happens()


def test_the_summary_follows_all_three_services() -> None:
    with in_memory(app) as shop:
        shop.send(AddProduct("tea", "Assam", 450))
        shop.send(PlaceOrder("o-1", "Ada", {"tea": 2}))
        shop.send(Charge("o-1", "Ada"))
        receipt = shop.send(Reprice("tea", 500))
        shop.settle()

        assert shop.read(order_summary, "o-1", at_least=receipt.token) == {
            "order_id": "o-1",
            "customer": "Ada",
            "status": "placed",
            "total_cents": 1000,
            "payment": "paid",
        }


def test_a_declined_card_and_a_cancelled_order_are_seen() -> None:
    with in_memory(app) as shop:
        shop.send(AddProduct("tea", "Assam", 450))
        shop.send(PlaceOrder("o-2", "Mallory", {"tea": 1}))
        (declined,) = shop.send(Charge("o-2", "Mallory")).events
        assert isinstance(declined, Declined)
        shop.send(CancelOrder("o-2", declined.reason))
        shop.settle()

        summary = shop.read(order_summary, "o-2")
        assert (summary["status"], summary["payment"]) == ("cancelled", "declined")


def test_a_read_older_than_its_token_is_refused_not_served() -> None:
    with in_memory(app) as shop:
        receipt = shop.send(AddProduct("tea", "Assam", 450))
        with pytest.raises(StaleRead):
            shop.read(order_summary, "o-1", at_least=receipt.token, timeout_s=0)
