"""Stock is reserved as a whole or not at all, once, and never for an order that was let go, in whatever order commands come."""

from collections.abc import Iterable
from itertools import permutations
from typing import Any

import pytest
from shop.inventory import ReleaseStock, ReserveStock, Restock, Wanted
from shop.seed import PRICES, SOLD_OUT
from tests.example_shop.shop_at import Shop

from syncline import Rejected

TEA, MUG = "tea-gyokuro", "cup-mug"


def wanted(*lines: tuple[str, int]) -> ReserveStock:
    return ReserveStock("o-1", tuple(Wanted(sku, quantity, PRICES[sku]) for sku, quantity in lines))


def reserved(shop: Shop) -> dict[str, int]:
    return dict(shop.rows("inventory", "SELECT sku, reserved FROM stock WHERE reserved > 0"))


def state(shop: Shop) -> list[tuple[Any, ...]]:
    return shop.rows("inventory", "SELECT state, reason FROM reservation WHERE order_id = 'o-1'")


def test_all_lines_of_an_order_are_reserved(shop: Shop) -> None:
    shop.send(wanted((TEA, 2), (MUG, 1)))
    assert reserved(shop) == {TEA: 2, MUG: 1}
    assert shop.told("inventory") == ["StockReserved"]


def test_where_one_line_lacks_nothing_is_reserved(shop: Shop) -> None:
    shop.send(wanted((TEA, 2), (SOLD_OUT, 1)))
    assert reserved(shop) == {}
    assert shop.told("inventory") == ["OutOfStock"]
    ((is_in, reason),) = state(shop)
    assert is_in == "refused" and reason.endswith("1 asked for, 0 left")


def test_what_is_reserved_is_not_there_for_others(shop: Shop) -> None:
    on_hand = shop.rows("inventory", f"SELECT on_hand FROM stock WHERE sku = '{TEA}'")[0][0]
    shop.send(wanted((TEA, on_hand)))
    shop.send(ReserveStock("o-2", (Wanted(TEA, 1, PRICES[TEA]),)))
    assert shop.told("inventory") == ["StockReserved", "OutOfStock"]


def test_a_price_that_is_not_the_shops_is_refused(shop: Shop) -> None:
    with pytest.raises(Rejected, match="costs 2490 cents now, not 1"):
        shop.send(ReserveStock("o-1", (Wanted(TEA, 1, 1),)))
    with pytest.raises(Rejected, match="there is no product gold"):
        shop.send(ReserveStock("o-1", (Wanted("gold", 1, 1),)))
    assert state(shop) == [] and shop.told("inventory") == []


def test_a_refusal_stays_although_goods_came_in(shop: Shop) -> None:
    shop.send(wanted((SOLD_OUT, 1)))
    shop.send(Restock("d-1", SOLD_OUT, 10))
    shop.send(wanted((SOLD_OUT, 1)))
    assert reserved(shop) == {} and shop.told("inventory") == ["OutOfStock"]


RESERVE, RELEASE = wanted((TEA, 2), (MUG, 1)), ReleaseStock("o-1")
ORDERS = sorted(set(permutations(["reserve", "reserve", "release", "release"])))


@pytest.mark.parametrize("order", ORDERS, ids=["-".join(each) for each in ORDERS])
def test_twice_and_in_any_order_nothing_stays_reserved_for_an_order_that_was_released(shop: Shop, order: Iterable[str]) -> None:
    for each in order:
        shop.send(RESERVE if each == "reserve" else RELEASE)
    assert reserved(shop) == {}
    assert state(shop) == [("released", None)]
    assert shop.told("inventory").count("StockReleased") == 1


def test_a_delivery_counts_once(shop: Shop) -> None:
    for _ in range(2):
        shop.send(Restock("d-1", SOLD_OUT, 10))
    assert shop.rows("inventory", f"SELECT on_hand FROM stock WHERE sku = '{SOLD_OUT}'") == [(10,)]
    with pytest.raises(Rejected):
        shop.send(Restock("d-2", "gold", 1))
