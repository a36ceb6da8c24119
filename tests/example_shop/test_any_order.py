"""Whatever comes late, twice or in another order: stock, money and orders match, and every order has an end."""

from dataclasses import replace
from itertools import islice

import pytest
from shop.buyers import Shares, baskets
from shop.reconcile import reconcile
from tests.example_shop.courier import Courier
from tests.example_shop.shop_at import Shop

ORDERS = 40


@pytest.mark.parametrize("seed", range(6))
def test_messages_that_come_late_twice_and_in_any_order_give_an_end_that_matches(shop: Shop, seed: int) -> None:
    shop.app.sync()
    shares = Shares(declined=10, out_of_stock=10, timed_out=10, answers_twice=15, answers_late=15)
    for n, order in enumerate(islice(baskets(seed, shares=shares), ORDERS)):
        wrong = [replace(line, price_cents=line.price_cents - 1) for line in order.lines]
        shop.send(replace(order, lines=tuple(wrong)) if n % 10 == 0 else order)
    courier = Courier(shop, seed)
    courier.run()
    report = reconcile(shop.folder)
    assert report.faults == ()
    assert courier.open() == []
    assert report.counts["orders"] == ORDERS
    assert all(report.counts[how] > 0 for how in ("confirmed", "out of stock", "declined", "timed out", "refunded cents"))
    assert not shop.app.verify().differences
