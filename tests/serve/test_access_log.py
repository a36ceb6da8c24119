"""A line for each answer, on request: who asked for what, and nothing that is secret."""

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.serve.conftest import Shop, followed, served, shop_in
from tests.serve.test_callers import CLERK, tokens_file
from tests.serve.test_operators import until
from tests.shop.orders import PlaceOrder

from syncline.serve import HttpConfig

Entries = Callable[[], list[dict[str, Any]]]


@contextmanager
def logged(config: HttpConfig, folder: Path, caplog: pytest.LogCaptureFixture) -> Iterator[tuple[Shop, Entries]]:
    """A shop, and the lines of its access log so far. An answer's line may come after the answer."""
    caplog.set_level(logging.INFO, "syncline.access")

    def entries() -> list[dict[str, Any]]:
        return [json.loads(record.getMessage()) for record in caplog.records if record.name == "syncline.access"]

    with followed(shop_in(folder)) as app, served(app, config) as shop:
        app.read("order_summary", "s-1", at_least=app.send(PlaceOrder("s-1", "Ada", {"tea": 1})))
        yield shop, entries


def test_every_answer_has_a_line_with_its_caller_and_without_secrets(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = HttpConfig(tokens=str(tokens_file(tmp_path)), access_log=True)
    clerk = {"Authorization": f"Bearer {CLERK}"}
    with logged(config, tmp_path, caplog) as (shop, entries):
        shop.http.get("/views/order_summary?customer=Ada%20Secret&after=", headers=clerk)
        shop.http.get("/views/order_summary/s-1", headers=clerk)
        shop.http.get("/status", headers=clerk)
        shop.http.get("/views/order_summary", headers={"Authorization": "Bearer a secret that is wrong"})
        shop.http.get("/whoami", headers={"Host": "elsewhere.example"})
        shop.http.post("/commands/PlaceOrder", json={"secret": 1}, headers=clerk)
        until(lambda: len(entries()) >= 6)
        found = entries()
    assert [(each["method"], each["path"], each["status"], each["caller"]) for each in found] == [
        ("GET", "/views/order_summary", 400, "clerk"),
        ("GET", "/views/order_summary/s-1", 200, "clerk"),
        ("GET", "/status", 403, "clerk"),
        ("GET", "/views/order_summary", 401, None),
        ("GET", "/whoami", 421, None),
        ("POST", "/commands/PlaceOrder", 422, "clerk"),
    ]
    assert set(found[0]) == {"time", "method", "path", "status", "ms", "caller"}
    assert all(0 < each["ms"] < 10_000 for each in found)
    assert "ecret" not in caplog.text and CLERK not in caplog.text


def test_a_line_is_one_line_whatever_is_asked_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with logged(HttpConfig(access_log=True), tmp_path, caplog) as (shop, entries):
        shop.http.get("/views/order_summary/a%0A%22b%22%0D" + "x" * 2_000)
        until(entries)
        (found,) = entries()
        (record,) = [record for record in caplog.records if record.name == "syncline.access"]
    assert found["path"].startswith('/views/order_summary/a\n"b"\r') and len(found["path"]) == 500
    assert "\n" not in record.getMessage()


def test_a_stream_has_a_line_when_it_has_ended(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with logged(HttpConfig(access_log=True), tmp_path, caplog) as (shop, entries):
        with shop.http.stream("GET", "/views/order_summary/changes") as response:
            lines = response.iter_lines()
            assert next(lines).startswith("id: ")
            assert entries() == []
        until(entries)
        assert [(each["path"], each["status"]) for each in entries()] == [("/views/order_summary/changes", 200)]


def test_without_being_asked_for_there_is_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with logged(HttpConfig(), tmp_path, caplog) as (shop, entries):
        shop.http.get("/whoami")
        assert shop.http.get("/views/order_summary/s-1").status_code == 200
    assert entries() == []
