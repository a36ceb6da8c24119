"""Commands over HTTP: receipts, ids, and what is refused with which words."""

import pytest
from tests.serve.conftest import Shop

ORDER = {"order_id": "c-1", "customer": "Ada", "lines": {"tea": 1}}


def place(shop: Shop, body: object, **headers: str) -> tuple[int, dict[str, object]]:
    answer = shop.http.post("/commands/PlaceOrder", json=body, headers={k.replace("_", "-"): v for k, v in headers.items()})
    return answer.status_code, answer.json()


def test_a_command_gives_its_receipt_and_the_token_that_a_read_can_carry(shop: Shop) -> None:
    answer = shop.http.post("/commands/PlaceOrder", json=ORDER, headers={"Idempotency-Key": "c-1"})
    assert answer.status_code == 200, answer.text
    receipt = answer.json()
    assert (receipt["command_id"], receipt["stream"], receipt["version"]) == ("c-1", "orders-c-1", 1)
    assert receipt["events"] == [{"type": "OrderPlaced", "data": ORDER}]
    assert receipt["token"] == answer.headers["Consistency-Token"]
    row = shop.http.get("/views/order_summary/c-1", headers={"At-Least": receipt["token"]})
    assert row.json()["total_cents"] == 450


def test_a_command_sent_again_with_its_id_gives_the_first_receipt(shop: Shop) -> None:
    body = {**ORDER, "order_id": "c-2"}
    first = place(shop, body, Idempotency_Key='"c-2"')
    assert first[0] == 200
    assert place(shop, body, Idempotency_Key="c-2") == first
    status, problem = place(shop, {**body, "customer": "Bob"}, Idempotency_Key="c-2")
    assert (status, problem["type"]) == (409, "/problems/command-reused")


def test_every_fault_of_a_command_is_named(shop: Shop) -> None:
    status, problem = place(shop, {"order_id": 7, "customers": "Ada", "lines": {"tea": "two"}})
    assert (status, problem["type"]) == (422, "/problems/invalid-command")
    places = {fault["place"] for fault in problem["errors"]}  # type: ignore[attr-defined]
    assert places == {"$.order_id", "$.customer", "$.customers", "$.lines['tea']"}


def test_the_domain_s_no_is_told_with_its_reason(shop: Shop) -> None:
    status, problem = place(shop, {**ORDER, "order_id": "c-3", "lines": {}})
    assert (status, problem["type"], problem["detail"]) == (422, "/problems/rejected", "an order needs at least one line")


def test_a_value_that_the_service_s_tables_cannot_hold_is_a_no_as_well(shop: Shop) -> None:
    answer = shop.http.post("/commands/AddProduct", json={"sku": "x", "title": "X", "price_cents": 2**70})
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/rejected")


def test_a_stream_at_another_version_is_a_conflict(shop: Shop) -> None:
    status, problem = place(shop, {**ORDER, "order_id": "c-4"}, Expected_Version="3")
    assert (status, problem["type"], problem["expected"], problem["found"]) == (409, "/problems/conflict", 3, 0)


@pytest.mark.parametrize(
    ("content", "content_type", "status", "name"),
    [
        (b"{", "application/json", 422, "invalid-command"),
        (b"", "application/json", 422, "invalid-command"),
        (b'{"order_id": "\\ud800"}', "application/json", 422, "invalid-command"),
        (b"[" * 100_000, "application/json", 422, "invalid-command"),
        (b"order_id=1", "application/x-www-form-urlencoded", 415, "unsupported-media-type"),
        (b"{}", "text/plain", 415, "unsupported-media-type"),
        (b'"' + b"x" * 1_000_001 + b'"', "application/json", 413, "too-large"),
    ],
)
def test_a_body_that_is_no_command_is_refused(shop: Shop, content: bytes, content_type: str, status: int, name: str) -> None:
    answer = shop.http.post("/commands/PlaceOrder", content=content, headers={"Content-Type": content_type})
    assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{name}"), answer.text


def test_an_unknown_command_is_not_found_with_a_hint(shop: Shop) -> None:
    answer = shop.http.post("/commands/placeOrder", json=ORDER)
    assert (answer.status_code, answer.json()["detail"]) == (404, "there is no command 'placeOrder'; did you mean 'PlaceOrder'?")


def test_what_can_be_sent_is_told_with_its_schema(shop: Shop) -> None:
    found = shop.http.get("/commands").json()
    place_order = next(each for each in found["commands"] if each["name"] == "PlaceOrder")
    assert place_order["service"] == "orders"
    schema = found["$defs"]["PlaceOrder"]
    assert schema["required"] == ["order_id", "customer", "lines"]


def test_a_page_of_another_site_sends_nothing(shop: Shop) -> None:
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        status, problem = place(shop, {**ORDER, "order_id": "c-9"}, **headers)
        assert (status, problem["type"]) == (403, "/problems/cross-site")
    assert shop.http.get("/views/order_summary/c-9").status_code == 404
