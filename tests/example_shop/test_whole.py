"""The whole shop at work: services, sagas, relays, and books that match."""

from datetime import UTC, datetime

import pytest
from shop.buyers import Shares, buy, running
from shop.cards import GOOD, NEVER_ANSWERS, SwitchProcessor
from shop.orders import CancelOrder, Line, PlaceOrder
from shop.reconcile import reconcile
from shop.seed import PRICES, SOLD_OUT
from tests.example_shop.shop_at import Shop, assert_books_match, shop_in_memory

from syncline import Polling, Triggers

ORDERS = 200
NOW = datetime(2026, 5, 31, tzinfo=UTC)


@pytest.mark.parametrize("inventory", [Triggers(), Polling(every_s=0.05)], ids=["triggers", "polling"])
def test_a_load_of_buyers_ends_as_it_was_drawn_however_stock_is_followed(inventory: Triggers | Polling) -> None:
    with shop_in_memory(deadline_s=20, follow={"inventory": inventory}) as shop:
        with running(shop.app):
            figures = buy(shop.app, shop.folder, orders=ORDERS, now=NOW, shares=Shares(timed_out=0))
        assert figures.ended == {"confirmed": 170, "cancelled": 30}
        assert_books_match(shop)
        counts = reconcile(shop.folder).counts
        assert (counts["declined"], counts["out of stock"], counts["timed out"]) == (20, 10, 0)
        shown = shop.app.rows("revenue_per_day_and_product")
        assert sum(row[shown.columns.index("revenue_cents")] for row in shown.rows) == counts["confirmed cents"] > 0


def test_cards_that_never_answer_are_given_their_money_back_at_the_deadline() -> None:
    with shop_in_memory(deadline_s=0.2) as shop:
        with running(shop.app):
            buy(shop.app, shop.folder, orders=20, now=NOW, shares=Shares(0, 0, 100, 0, 0))
        assert_books_match(shop)
        counts = reconcile(shop.folder).counts
        assert counts["timed out"] == 20 and counts["charged cents"] == counts["refunded cents"] > 0


def place(shop: Shop, order_id: str, card: str = GOOD, sku: str = "tea-assam") -> None:
    shop.send(PlaceOrder(order_id, "c-001", (Line(sku, 1, PRICES[sku]),), card, NOW))


def test_an_orders_page_says_how_far_it_is_and_why_it_ended(shop: Shop) -> None:
    def page(order_id: str) -> tuple[object, ...]:
        row = shop.app.read("order_details", order_id)
        return tuple(row[column] for column in ("status", "reason", "stock", "payment"))

    with shop.app.settling() as settle:
        for order_id, card, sku in (("o-1", GOOD, "tea-assam"), ("o-2", NEVER_ANSWERS, "tea-assam"), ("o-3", GOOD, SOLD_OUT)):
            place(shop, order_id, card, sku)
        settle()
        assert page("o-1") == ("confirmed", None, "reserved", "taken")
        assert page("o-2") == ("placed", None, "reserved", "requested")
        assert page("o-3")[0::2] == ("cancelled", "refused") and "1 asked for, 0 left" in str(page("o-3")[1])
        shop.send(CancelOrder("o-2", "changed my mind"))
        settle()
        assert page("o-2") == ("cancelled", "changed my mind", "released", "refunded")


def test_while_the_processor_is_paused_orders_wait_and_go_on_when_it_does(shop: Shop) -> None:
    with shop.app.settling() as settle:
        shop.send(SwitchProcessor("paused"))
        place(shop, "o-1")
        settle()
        assert shop.app.read("order_details", "o-1")["payment"] == "requested"
        shop.send(SwitchProcessor("charging"))
        settle()
        assert shop.app.read("order_details", "o-1")["status"] == "confirmed"
        row = shop.app.read("customer_orders", "c-001")
        assert (row["orders"], row["open"], row["confirmed"], row["spent_cents"]) == (1, 0, 1, 890)


def test_what_is_low_in_stock_is_shown_until_goods_come_in(shop: Shop) -> None:
    with shop.app.settling() as settle:
        settle()
        assert shop.app.rows("stock_to_reorder").rows == []
        shop.send(PlaceOrder("o-1", "c-001", (Line("tool-timer", 60, PRICES["tool-timer"]),), GOOD, NOW))
        settle()
        assert shop.app.rows("stock_to_reorder").rows == [("tool-timer", "Three-Glass Tea Timer", 15, 16)]


def test_buyers_do_not_wait_for_ever_where_nobody_runs_the_shop(shop: Shop) -> None:
    shop.app.sync()
    with pytest.raises(TimeoutError, match="o-1-0"):
        buy(shop.app, shop.folder, orders=3, patience_s=0.2)
