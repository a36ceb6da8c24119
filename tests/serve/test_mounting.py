"""The service mounted into someone's own application, whose pages stand behind the same door."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from tests.serve.conftest import Shop, followed, shop_in

from syncline.serve import Door, asgi
from syncline.serve.server import Server


@pytest.fixture(scope="module")
def mounted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder: Path = tmp_path_factory.mktemp("mounted")
    with followed(shop_in(folder)) as app:
        service = asgi(app)
        greeted: list[str] = []

        async def greet(request: Request) -> JSONResponse:
            greeted.append(request.headers.get("origin", "nobody"))
            return JSONResponse(greeted)

        @asynccontextmanager
        async def lifespan(_: Starlette):  # noqa: ANN202
            yield
            await run_in_threadpool(service.state.serving.close)

        routes = [Route("/greet", greet, methods=["GET", "POST"]), Mount("/read", service)]
        application = Door(Starlette(routes=routes, lifespan=lifespan), hosts=["shop.example"])
        with Server(application, "127.0.0.1", 0) as server, httpx.Client(base_url=server.url, timeout=10) as client:
            yield Shop(app, client, server.url)


def test_rows_commands_and_streams_are_asked_below_the_mount(mounted: Shop) -> None:
    order = {"order_id": "a/b", "customer": "Ada", "lines": {"tea": 2}}
    receipt = mounted.http.post("/read/commands/PlaceOrder", json=order)
    token = receipt.headers["Consistency-Token"]
    row = mounted.http.get("/read/views/order_summary/a%2Fb", headers={"At-Least": token})
    assert row.json()["customer"] == "Ada"
    with mounted.http.stream("GET", "/read/views/order_summary/changes?order_id=a%2Fb") as stream:
        told = next(line for line in stream.iter_lines() if line.startswith("data:") and "row" in line)
    assert json.loads(told.removeprefix("data:"))["row"]["order_id"] == "a/b"


def test_the_dashboard_is_a_page_below_the_mount(mounted: Shop) -> None:
    page = mounted.http.get("/read", follow_redirects=True)
    assert page.url.path == "/read/"
    assert "dashboard/app.js" in page.text
    assert mounted.http.get("/read/dashboard/app.js").status_code == 200
    assert mounted.http.get("/read/docs").headers["Location"] == "/read/#/api"


@pytest.mark.parametrize("path", ["/greet", "/read/healthz"])
def test_answers_have_safe_headers_once(mounted: Shop, path: str) -> None:
    names = Counter(name.lower() for name, _ in mounted.http.get(path).headers.multi_items())
    safe = ("x-content-type-options", "x-frame-options", "content-security-policy", "cache-control")
    assert {name: names[name] for name in safe} == dict.fromkeys(safe, 1)


def test_pages_of_ones_own_answer_for_their_hosts_alone(mounted: Shop) -> None:
    assert mounted.http.get("/greet", headers={"Host": "shop.example"}).status_code == 200
    assert mounted.http.get("/greet", headers={"Host": "elsewhere.example"}).status_code == 421


def test_another_site_cannot_post_to_pages_of_ones_own(mounted: Shop) -> None:
    refused = mounted.http.post("/greet", headers={"Origin": "http://elsewhere.example"})
    assert (refused.status_code, refused.json()["type"]) == (403, "/problems/cross-site")
    assert mounted.http.post("/greet", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    own = mounted.http.post("/greet", headers={"Origin": mounted.url})
    assert "http://elsewhere.example" not in own.json()
