"""What is held back, over HTTP: told with its reason, tried again when it is mended, left out only where it is named exactly."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.dead_letters import shop as failing
from tests.serve.conftest import Shop, followed, served


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """A shop with one order whose second event cannot be made rows."""
    failing.make(tmp_path)
    app = failing.build(tmp_path)
    app.send(failing.PlaceOrder(1, "ann", {"tea": 1}))
    app.send(failing.PlaceOrder(2, "ann", {"tea": 1}))
    app.send(failing.ShipOrder(1, failing.POISON))
    with followed(app), served(app) as found:
        yield found


def held(shop: Shop) -> dict[str, object]:
    (letter,) = shop.http.get("/dead-letters").json()["dead_letters"]
    return dict(letter)


def test_a_stream_that_is_held_back_is_told_with_its_event_and_reason(shop: Shop) -> None:
    letter = held(shop)
    assert (letter["service"], letter["stream"], letter["event"], letter["position"]) == ("orders", "orders-1", "OrderShipped", 3)
    assert letter["error"]


def test_one_that_is_not_mended_stays_and_one_that_is_goes_on(shop: Shop, tmp_path: Path) -> None:
    named = {"service": "orders", "stream": "orders-1", "position": 3}
    (outcome,) = shop.http.post("/dead-letters/retry", json=named).json()["outcomes"]
    assert outcome["is_released"] is False
    failing.mend(tmp_path, failing.POISON)
    (outcome,) = shop.http.post("/dead-letters/retry", json=named).json()["outcomes"]
    assert outcome["is_released"] is True
    assert shop.http.get("/dead-letters").json()["dead_letters"] == []


def test_only_the_event_that_is_named_is_dropped(shop: Shop) -> None:
    named = {"service": "orders", "stream": "orders-1", "position": 2}
    answer = shop.http.post("/dead-letters/drop", json=named)
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/conflict")
    assert shop.http.post("/dead-letters/drop", json={"service": "orders", "stream": "orders-1"}).status_code == 400
    (outcome,) = shop.http.post("/dead-letters/drop", json={**named, "position": 3}).json()["outcomes"]
    assert outcome["is_released"] is True
