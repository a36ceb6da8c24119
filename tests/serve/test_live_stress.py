"""A client that is cut again and again, and goes on where it was: the rows that its events make are those of the view."""

import random
import threading
import time
from pathlib import Path

import pytest
from tests.serve.conftest import Shop, followed, served, shop_in
from tests.serve.test_live import Following
from tests.shop.orders import CancelOrder, PlaceOrder


def rows_of(shop: Shop) -> dict[object, object]:
    return {row[0]: dict(zip(("order_id", "customer", "status", "total_cents", "payment"), row, strict=True))
            for row in shop.app.rows("order_summary").rows}  # fmt: skip


def follow_with_cuts(shop: Shop, seconds: float, query: str = "", seed: int = 1) -> dict[object, object]:
    """The copy that a client has after it followed for so long, cut at random, while orders are placed and cancelled."""
    draw, stop = random.Random(seed), threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            shop.app.send(PlaceOrder(f"x-{number}", f"customer {number % 3}", {"tea": 1}))
            if number % 2:
                shop.app.send(CancelOrder(f"x-{draw.randint(1, number)}", "no"))

    writer = threading.Thread(target=write)
    writer.start()
    copy: dict[object, object] = {}
    last, until = "", time.monotonic() + seconds
    try:
        while time.monotonic() < until or not stop.is_set():
            if time.monotonic() >= until:
                stop.set()
                writer.join()
            path = f"/views/order_summary/changes?snapshot=true{query}"
            headers = {"Last-Event-ID": last} if last else {}
            with shop.http.stream("GET", path, headers=headers, timeout=30) as response:
                told = Following(response, held=copy)
                told.until(lambda told=told: bool(told.events))  # type: ignore[misc]
                if stop.is_set():
                    told.until(lambda told=told: told.copy == wanted(shop, query))  # type: ignore[misc]
                else:
                    time.sleep(draw.uniform(0.0, 0.05))
                copy, last = told.copy, told.events[-1][0]
    finally:
        stop.set()
        writer.join()
    return copy


def wanted(shop: Shop, query: str) -> dict[object, object]:
    rows = rows_of(shop)
    if query:
        return {key: row for key, row in rows.items() if row["status"] == "placed"}  # type: ignore[index]
    return rows


@pytest.mark.parametrize("query", ["", "&status=placed"])
def test_a_client_that_is_cut_at_random_ends_with_the_view(tmp_path: Path, query: str) -> None:
    with followed(shop_in(tmp_path)) as app, served(app) as shop:
        assert follow_with_cuts(shop, 1.5, query) == wanted(shop, query)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("query", ["", "&status=placed"])
def test_a_client_that_is_cut_for_long_ends_with_the_view(tmp_path: Path, query: str, seed: int) -> None:
    with followed(shop_in(tmp_path)) as app, served(app) as shop:
        assert follow_with_cuts(shop, 20, query, seed) == wanted(shop, query)
