"""What operators ask: how everything is and was, stories, dead letters, rebuild and verify with their progress."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.serve.conftest import Shop, served, shop_in
from tests.shop.orders import CancelOrder, PlaceOrder

from syncline import SQLite, View

WAIT_S = 20.0


def until(found: Callable[[], object]) -> object:
    deadline = time.monotonic() + WAIT_S
    while not (value := found()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return value


def test_the_status_tells_feeds_views_and_what_leads_where(shop: Shop) -> None:
    found = shop.http.get("/status").json()
    assert {feed["service"]: feed["capture"] for feed in found["feeds"]} == {
        "orders": "events", "payments": "events", "catalog": "triggers"
    }  # fmt: skip
    assert [(view["view"], view["state"]) for view in found["views"]] == [("order_summary", "live")]
    assert {(edge["service"], edge["view"]) for edge in found["edges"]} == {
        (service, "order_summary") for service in ("orders", "payments", "catalog")
    }
    assert "running" in found["relay"]


def test_a_view_that_reads_a_view_hangs_on_it(tmp_path: Path) -> None:
    by_customer = View("by_customer", "customer", "SELECT s.customer, COUNT(*) AS n FROM order_summary s GROUP BY s.customer")
    with shop_in(tmp_path, by_customer.on(SQLite(str(tmp_path / "read.db")))) as app, served(app) as shop:
        edges = shop.http.get("/status").json()["edges"]
    assert [edge for edge in edges if edge["view"] == "by_customer"] == [
        {"service": None, "parent": "order_summary", "read_model": "read", "view": "by_customer"}
    ]
    assert {edge["service"] for edge in edges if edge["view"] == "order_summary"} == {"orders", "payments", "catalog"}


def test_the_status_comes_again_and_again(shop: Shop) -> None:
    with shop.http.stream("GET", "/status/stream") as response:
        lines = (line for line in response.iter_lines() if line.startswith("data: "))
        first, second = json.loads(next(lines)[6:]), json.loads(next(lines)[6:])
    assert second["at"] >= first["at"]


def test_how_it_was_is_kept_for_a_while(shop: Shop) -> None:
    shop.http.get("/status")
    shop.app.read("order_summary", "t-1", at_least=shop.app.send(PlaceOrder("t-1", "Ada", {"tea": 1})))
    until(lambda: any(next(iter(shop.http.get("/status/samples").json()["views"].values()))["rate"]))
    found = shop.http.get("/status/samples?minutes=1").json()
    (feed,) = [values for name, values in found["feeds"].items() if name.endswith("/orders")]
    assert len(found["at"]) == len(feed["staleness_s"]) == len(feed["lag"]) == len(feed["rate"])
    assert found["step_s"] == 1.0
    assert shop.http.get("/status/samples?minutes=0").status_code == 400


def test_a_story_joins_what_belongs_together_across_services(shop: Shop) -> None:
    shop.app.send(PlaceOrder("t-2", "Ada", {"tea": 1}), correlation_id="visit-7")
    receipt = shop.app.send(CancelOrder("t-2", "no"), correlation_id="visit-8", causation_id="visit-7")
    shop.app.send(PlaceOrder("t-3", "Ada", {"tea": 1}), correlation_id="visit-7")
    for id_ in ("t-2", "orders-t-2", "visit-7", receipt.command_id):
        found = shop.http.get(f"/story/{id_}").json()
        told = [(entry["service"], entry["stream"], entry["type"]) for entry in found["entries"]]
        assert told == [
            ("orders", "orders-t-2", "OrderPlaced"),
            ("orders", "orders-t-2", "OrderCancelled"),
            ("orders", "orders-t-3", "OrderPlaced"),
        ], id_
    assert shop.http.get("/story/nobody").json()["entries"] == []


def test_the_changes_of_a_row_are_told_newest_first(shop: Shop) -> None:
    shop.app.read("order_summary", "t-4", at_least=shop.app.send(PlaceOrder("t-4", "Ada", {"tea": 1})))
    shop.app.read("order_summary", "t-4", at_least=shop.app.send(CancelOrder("t-4", "no")))
    found = shop.http.get("/views/order_summary/history?key=t-4").json()["changes"]
    assert [change["op"] for change in found] == ["upsert", "upsert"]
    assert found[0]["seq"] > found[1]["seq"]


def test_a_change_that_comes_while_somebody_looks_has_a_time(shop: Shop) -> None:
    shop.http.get("/status")
    began = time.time()
    shop.app.read("order_summary", "t-5", at_least=shop.app.send(PlaceOrder("t-5", "Ada", {"tea": 1})))

    def change() -> dict[str, float]:
        (found,) = shop.http.get("/views/order_summary/history?key=t-5").json()["changes"]
        return dict(found)

    until(lambda: change()["at"] is not None)
    assert began <= change()["at"] <= time.time()


@pytest.mark.parametrize("body", [{"kind": "rebuild", "view": "order_summary"}, {"kind": "verify", "view": None, "repair": True}])
def test_an_operation_runs_to_its_end_and_is_remembered(shop: Shop, body: dict[str, object]) -> None:
    answer = shop.http.post("/operations", json=body)
    assert answer.status_code == 202, answer.text
    where = answer.headers["Location"]
    until(lambda: shop.http.get(where).json()["state"] != "running")
    ended = shop.http.get(where).json()
    assert (ended["state"], ended["error"], ended["asked_by"]) == ("done", None, "anyone")
    if body["kind"] == "verify":
        assert (ended["result"]["count"], ended["result"]["is_cut_short"]) == (0, False)
    assert shop.http.get("/operations").json()["operations"][0]["id"] == ended["id"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"kind": "explode"}, 400), ({"kind": "rebuild"}, 400), ({"kind": "rebuild", "view": "nothing"}, 404),
        ({"kind": "verify", "repair": "yes"}, 400), ([], 400), ({"kind": "verify", "more": 1}, 400),
    ],
)  # fmt: skip
def test_an_operation_that_makes_no_sense_is_refused(shop: Shop, body: object, status: int) -> None:
    assert shop.http.post("/operations", json=body).status_code == status


def test_nothing_is_held_back_in_a_healthy_shop(shop: Shop) -> None:
    assert shop.http.get("/dead-letters").json() == {"dead_letters": [], "set_aside": []}
    answer = shop.http.post("/dead-letters/drop", json={"service": "orders", "stream": "orders-x", "position": 1})
    assert answer.status_code == 404
