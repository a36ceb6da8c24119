"""Views over HTTP: the row with a key, how new it is, and what is refused."""

import pytest
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


def test_python_asks_for_rows_by_comparisons_too(shop: Shop) -> None:
    token = [shop.app.send(PlaceOrder(f"cmp-{cups}", "Cem", {"cup": cups})).token for cups in (1, 2, 3)][-1]

    def found(*where: tuple[str, str, object]) -> set[object]:
        rows = shop.app.rows("order_summary", where=[("customer", "Cem"), *where], at_least=token).rows
        return {row[0] for row in rows}

    assert found(("total_cents", ">", 900)) == {"cmp-2", "cmp-3"}
    assert found(("total_cents", ">=", "900"), ("order_id", "!=", "cmp-2")) == {"cmp-1", "cmp-3"}
    assert found(("total_cents", "<=", 1800), ("total_cents", "<", 1800)) == {"cmp-1"}
    with pytest.raises(ValueError, match="expected one of ="):
        found(("total_cents", "~", 1))
