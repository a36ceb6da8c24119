"""Views over HTTP: the row with a key, how new it is, and what is refused."""

from tests.serve.conftest import Shop
from tests.shop.orders import PlaceOrder


def test_a_row_is_read_by_its_key_as_new_as_the_command_that_made_it(shop: Shop) -> None:
    receipt = shop.app.send(PlaceOrder("o-1", "Ada", {"tea": 2}))
    answer = shop.http.get("/views/order_summary/o-1", headers={"At-Least": str(receipt.token)})
    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        "order_id": "o-1", "customer": "Ada", "status": "placed", "total_cents": 900, "payment": "unpaid"
    }  # fmt: skip
    assert answer.headers["Consistency-Token"].startswith("sl1.")
    assert float(answer.headers["Staleness"]) < 5


def test_a_row_that_is_not_there_is_not_found(shop: Shop) -> None:
    answer = shop.http.get("/views/order_summary/nobody")
    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/problem+json")
    assert answer.json()["detail"] == "view 'order_summary' has no row with key 'nobody'"


def test_a_row_that_is_held_already_is_not_sent_again(shop: Shop) -> None:
    receipt = shop.app.send(PlaceOrder("o-2", "Ada", {"tea": 2}))
    first = shop.http.get("/views/order_summary/o-2", headers={"At-Least": str(receipt.token)})
    again = shop.http.get("/views/order_summary/o-2", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
