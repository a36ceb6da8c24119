"""What someone tries who means no good, or does not care: and that the others are served meanwhile."""

import socket
import time
from contextlib import ExitStack, closing
from pathlib import Path

import httpx
import pytest
from tests.serve.conftest import Shop, followed, served, shop_in
from tests.shop.orders import PlaceOrder

from syncline.errors import Unavailable
from syncline.serve import HttpConfig, Limits
from syncline.serve.server import Server

WAIT_S = 20.0


def address(shop: Shop) -> tuple[str, int]:
    url = httpx.URL(shop.url)
    return url.host, url.port or 80


def raw(shop: Shop, request: bytes) -> bytes:
    """What comes back for bytes that no proper client would send."""
    with closing(socket.create_connection(address(shop), timeout=10)) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        parts = []
        while part := connection.recv(65_536):
            parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize(
    "path",
    [
        "/dashboard/../http.py", "/dashboard/..%2fhttp.py", "/dashboard/%2e%2e/auth.py", "/dashboard//etc/passwd", "//views",
        "/views//", "/views/order_summary%00", "/dashboard/pages/../../auth.py", "/dashboard/.", "/" + "x" * 8_000,
        "/views/sqlite_master",
        "/views/order_summary__changes", "/views/syncline_feed/1", "/views/orders__header", "/queries/..%2f..%2fetc",
        "/operations/..",
    ],
)  # fmt: skip
def test_a_path_that_is_none_leads_nowhere(shop: Shop, path: str) -> None:
    host, port = address(shop)
    answer = raw(shop, f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
    assert answer.split(b" ")[1] in (b"404", b"400", b"414"), answer[:200]
    assert b"root:" not in answer and b"import " not in answer


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "evil.example:8765", "[", "", "localhost.evil.example"]
)
def test_a_request_for_another_host_is_not_answered(shop: Shop, host: str) -> None:
    answer = raw(shop, f"GET /views HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    assert answer.split(b" ")[1] in (b"421", b"400"), answer[:200]


@pytest.mark.parametrize(
    "name", ["Idempotency-Key", "Correlation-Id", "At-Least", "Last-Event-ID", "If-None-Match", "Expected-Version"]
)
@pytest.mark.parametrize(
    "value", ["a\\r\\nSet-Cookie: x=1", "é", "\x7f", "x" * 5_000, "'; DROP TABLE orders --", "${jndi}", "%0d%0aX: 1"]
)
def test_what_a_header_says_is_in_no_header_of_the_answer(shop: Shop, name: str, value: str) -> None:
    body = {"order_id": "h-1", "customer": "Ada", "lines": {"tea": 1}}
    sent = {name: value.encode("latin-1")}
    for answer in (
        shop.http.post("/commands/PlaceOrder", json=body, headers=sent),
        shop.http.get("/views/order_summary/h-1", headers=sent),
    ):
        assert answer.status_code < 500
        assert "set-cookie" not in answer.headers
        assert "x" not in answer.headers


def test_every_answer_has_the_headers_that_keep_a_browser_safe(shop: Shop) -> None:
    for path in ("/", "/views", "/nothing", "/openapi.json", "/dashboard/app.js", "/healthz"):
        headers = shop.http.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff", path
        assert headers["X-Frame-Options"] == "DENY", path
        assert "default-src 'none'" in headers["Content-Security-Policy"], path
        assert "unsafe" not in headers["Content-Security-Policy"], path
        assert "Access-Control-Allow-Origin" not in headers
        assert "Server" not in headers


def test_a_body_that_does_not_come_is_not_waited_for(tmp_path: Path) -> None:
    with shop_in(tmp_path) as app, served(app, HttpConfig(limits=Limits(body_s=0.2))) as shop:
        host, port = address(shop)
        with closing(socket.create_connection((host, port), timeout=10)) as connection:
            head = f"POST /commands/PlaceOrder HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
            connection.sendall(f"{head}Content-Length: 100\r\n\r\n{{".encode())
            assert connection.recv(65_536).startswith(b"HTTP/1.1 408")
        assert shop.http.get("/healthz").status_code == 200


def test_a_caller_that_asks_too_often_is_told_when_to_ask_again(tmp_path: Path) -> None:
    with shop_in(tmp_path) as app, served(app, HttpConfig(limits=Limits(requests_per_s=2.0))) as shop:
        answers = [shop.http.get("/commands") for _ in range(8)]
        assert [answer.status_code for answer in answers][:4] == [200] * 4
        assert answers[-1].status_code == 429
        assert int(answers[-1].headers["Retry-After"]) >= 1


def test_a_stream_too_many_is_refused_and_one_that_is_left_makes_room(tmp_path: Path) -> None:
    with followed(shop_in(tmp_path)) as app, served(app, HttpConfig(limits=Limits(streams=2))) as shop:
        path = "/views/order_summary/changes"
        with ExitStack() as stack:
            for _ in range(2):
                assert stack.enter_context(shop.http.stream("GET", path)).status_code == 200
            assert shop.http.get(path).status_code == 429
        deadline = time.monotonic() + WAIT_S
        while True:
            with shop.http.stream("GET", path) as again:
                if again.status_code == 200:
                    break
            assert time.monotonic() < deadline


def test_a_client_that_does_not_read_its_stream_keeps_nobody_waiting(tmp_path: Path) -> None:
    with followed(shop_in(tmp_path)) as app, served(app) as shop:
        host, port = address(shop)
        with closing(socket.create_connection((host, port), timeout=10)) as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
            deaf.sendall(f"GET /views/order_summary/changes HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
            with shop.http.stream("GET", "/views/order_summary/changes") as heard:
                lines = heard.iter_lines()
                assert any(line.startswith("event: begin") for line in lines)
                sent = [app.submit(PlaceOrder(f"deaf-{number}", "A" * 500, {"tea": 1})) for number in range(3_000)]
                receipt = sent[-1].result()
                app.read("order_summary", "deaf-2999", at_least=receipt, timeout_s=WAIT_S)
                assert any('"order_id":"deaf-2999"' in line for line in lines)
            assert shop.http.get("/views/order_summary/deaf-2999").status_code == 200


def test_a_read_store_that_is_not_there_is_told_and_the_rest_is_served_until_it_is(tmp_path: Path) -> None:
    with shop_in(tmp_path) as app, served(app) as shop:
        answer = shop.http.get("/views/order_summary/x")
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/unavailable")
        assert str(tmp_path) not in answer.text
        assert shop.http.get("/healthz").status_code == 200
        assert shop.http.get("/readyz").status_code == 503
        assert shop.http.get("/status").status_code == 200
        app.sync()
        assert shop.http.get("/views/order_summary/x").status_code == 404
        assert shop.http.get("/readyz").status_code == 200


def test_a_port_that_is_taken_is_told(shop: Shop) -> None:
    from syncline.serve import asgi

    with pytest.raises(Unavailable, match="is taken by another program"):
        Server(asgi(shop.app), *address(shop))


def test_metrics_tell_how_it_goes_and_nothing_of_what_was_asked(shop: Shop) -> None:
    shop.http.get("/views/order_summary/secret-key-7")
    text = shop.http.get("/metrics").text
    assert 'syncline_http_requests_total{path="/views/{view}/{key:rest}",status="404"}' in text
    assert 'syncline_view_live{read_model="read",view="order_summary"} 1.0' in text
    assert "secret-key-7" not in text


@pytest.mark.long
def test_ten_thousand_connections_that_are_opened_and_left_keep_nobody_waiting(shop: Shop) -> None:
    import resource

    limit = min(10_000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2 - 200)
    for _ in range(10_000 // limit + 1):
        with ExitStack() as stack:
            for _ in range(limit):
                stack.enter_context(closing(socket.create_connection(address(shop), timeout=10)))
            began = time.monotonic()
            assert shop.http.get("/views/order_summary?limit=1").status_code == 200
            assert time.monotonic() - began < 2
    assert shop.http.get("/healthz").status_code == 200
