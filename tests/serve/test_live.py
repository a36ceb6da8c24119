"""Live changes over HTTP: what a stream is told, from where it goes on, and what it is not told."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from tests.serve.conftest import Shop, followed, served, shop_in
from tests.shop.orders import CancelOrder, PlaceOrder

from syncline.messages import parse_token

WAIT_S = 10.0


class Following:
    """A client of a stream: every event so far, as (id, kind, data), and the copy of the view that they make."""

    def __init__(self, response: httpx.Response, held: dict[object, object] | None = None) -> None:
        """`held` is the copy that was held before."""
        self._held = dict(held or {})
        self.events: list[tuple[str, str, dict[str, object]]] = []
        self._arrived = threading.Condition()
        self._thread = threading.Thread(target=self._read, args=(response,), daemon=True)
        self._thread.start()

    def _read(self, response: httpx.Response) -> None:
        fields: dict[str, str] = {}
        try:
            for line in response.iter_lines():
                name, _, value = line.partition(": ")
                if line:
                    fields[name] = value
                elif "data" in fields:
                    with self._arrived:
                        self.events.append((fields["id"], fields["event"], json.loads(fields["data"])))
                        self._arrived.notify_all()
                    fields = {}
        except (httpx.ReadError, httpx.StreamError, httpx.RemoteProtocolError):
            return

    def until(self, is_there: Callable[[], bool]) -> None:
        with self._arrived:
            assert self._arrived.wait_for(is_there, WAIT_S), self.events

    @property
    def copy(self) -> dict[object, object]:
        held = dict(self._held)
        for _, kind, data in list(self.events):
            if kind == "reset":
                held.clear()
            elif kind in ("upsert", "delete"):
                key = next(iter(data["key"].values()))  # type: ignore[attr-defined]
                held.pop(key, None)
                if kind == "upsert":
                    held[key] = data["row"]
        return held


@contextmanager
def following(shop: Shop, query: str = "", view: str = "order_summary", **headers: str) -> Iterator[Following]:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    with shop.http.stream("GET", f"/views/{view}/changes{query}", headers=sent, timeout=30) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["Content-Type"].startswith("text/event-stream")
        found = Following(response)
        found.until(lambda: bool(found.events))
        yield found


def test_a_change_is_told_with_its_row_and_the_token_of_that_state(shop: Shop) -> None:
    with following(shop) as told:
        assert told.events[0][1] == "begin"
        receipt = shop.app.send(PlaceOrder("l-1", "Ada", {"tea": 2}))
        told.until(lambda: len(told.events) > 1)
        _, kind, data = told.events[1]
        row = {"order_id": "l-1", "customer": "Ada", "status": "placed", "total_cents": 900, "payment": "unpaid"}
        assert (kind, data["key"], data["row"]) == ("upsert", {"order_id": "l-1"}, row)
        assert parse_token(str(data["token"])).positions["orders"].reaches(receipt.token.positions["orders"])


def test_a_stream_that_was_cut_goes_on_where_it_was(shop: Shop) -> None:
    with following(shop) as told:
        shop.app.send(PlaceOrder("l-2", "Ada", {"tea": 2}))
        told.until(lambda: "l-2" in told.copy)
        last = told.events[-1][0]
    shop.app.send(PlaceOrder("l-3", "Ada", {"tea": 2}))
    receipt = shop.app.send(PlaceOrder("l-4", "Ada", {"tea": 2}))
    shop.app.read("order_summary", "l-4", at_least=receipt)
    with following(shop, Last_Event_ID=last) as told:
        told.until(lambda: {"l-3", "l-4"} <= told.copy.keys())
        assert [kind for _, kind, _ in told.events] == ["begin", "upsert", "upsert"]


def test_a_place_that_the_feed_never_had_begins_anew(shop: Shop) -> None:
    for place in ("0123456789abcdef.5", f"{shop.http.get('/views').status_code}.7"):
        with following(shop, "?snapshot=true", Last_Event_ID=place) as told:
            assert told.events[0][1] == "reset"


def test_a_stream_of_one_key_is_told_of_that_key_alone(shop: Shop) -> None:
    shop.app.send(PlaceOrder("l-5", "Ada", {"tea": 2}))
    shop.app.read("order_summary", "l-5", at_least=shop.app.send(PlaceOrder("l-6", "Ada", {"tea": 1})))
    with following(shop, "?order_id=l-5") as told:
        told.until(lambda: "l-5" in told.copy)
        shop.app.send(CancelOrder("l-6", "changed her mind"))
        shop.app.send(CancelOrder("l-5", "changed her mind"))
        told.until(lambda: told.copy["l-5"]["status"] == "cancelled")  # type: ignore[index]
        assert {str(data.get("key")) for _, _, data in told.events} == {"None", "{'order_id': 'l-5'}"}


def test_a_row_that_no_longer_matches_leaves_the_stream_and_one_that_never_did_is_not_told(shop: Shop) -> None:
    shop.app.read("order_summary", "l-7", at_least=shop.app.send(PlaceOrder("l-7", "Bea", {"tea": 2})))
    with following(shop, "?customer=Bea&status=placed") as told:
        told.until(lambda: "l-7" in told.copy)
        shop.app.send(PlaceOrder("l-8", "Cyd", {"tea": 2}))
        shop.app.send(CancelOrder("l-8", "no"))
        shop.app.send(CancelOrder("l-7", "no"))
        told.until(lambda: not told.copy)
        assert [kind for _, kind, _ in told.events] == ["reset", "upsert", "delete"]
        assert "l-8" not in json.dumps(told.events)


def test_an_unknown_column_or_place_is_refused(shop: Shop) -> None:
    answer = shop.http.get("/views/order_summary/changes?custoner=Ada")
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/unknown-column")
    assert "did you mean 'customer'?" in answer.json()["detail"]
    answer = shop.http.get("/views/order_summary/changes", headers={"Last-Event-ID": "x"})
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/bad-value")


def test_a_store_that_is_made_anew_is_followed_from_its_beginning(tmp_path: Path) -> None:
    with followed(shop_in(tmp_path)) as app, served(app) as shop:
        app.read("order_summary", "m-1", at_least=app.send(PlaceOrder("m-1", "Ada", {"tea": 1})))
        with following(shop, "?snapshot=true") as told:
            told.until(lambda: "m-1" in told.copy)
            for name in ("read.db", "read.db-wal", "read.db-shm"):
                (tmp_path / name).unlink(missing_ok=True)
            told.until(lambda: [kind for _, kind, _ in told.events].count("reset") > 1 and "m-1" in told.copy)
            app.send(PlaceOrder("m-2", "Ada", {"tea": 1}))
            told.until(lambda: "m-2" in told.copy)
