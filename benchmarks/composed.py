"""The same answer composed at read time: three services over HTTP, and a fourth that asks all three at once and joins.

`python composed.py orders|inventory|payments PORT DATABASE` serves what one service knows of an order, from its own database, by
key, in one query. `python composed.py httpx|bare PORT P1 P2 P3` joins what those three say: with httpx, as such a service is
usually written; or with a client of its own that does no more than this needs, the least that composing can cost.
"""

import asyncio
import json
import sqlite3
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from syncline.serve.server import Server

QUERIES = {
    "orders": """
        SELECT o.order_id, c.name AS customer, o.status, SUM(l.quantity * l.price_cents) AS total_cents, COUNT(l.line) AS lines
          FROM orders o LEFT JOIN customers c ON c.customer_id = o.customer_id LEFT JOIN order_lines l ON l.order_id = o.order_id
         WHERE o.order_id = ? GROUP BY o.order_id""",
    "inventory": "SELECT status AS reservation FROM reservations WHERE order_id = ?",
    "payments": "SELECT status AS payment FROM payments WHERE order_id = ?",
}
Ask = Callable[[int, str], Awaitable[dict[str, Any]]]


def of_service(service: str, database: str) -> Starlette:
    """What one service says of an order."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True, check_same_thread=False, isolation_level=None)
    connection.row_factory = sqlite3.Row

    async def one(request: Request) -> Response:
        row = connection.execute(QUERIES[service], (int(request.path_params["order"]),)).fetchone()
        return _answer(dict(row) if row is not None else {})

    return Starlette(routes=[Route("/{order}", one)])


def joined(ask: Ask, ports: list[int]) -> Starlette:
    """What all of them say of it, together."""

    async def one(request: Request) -> Response:
        order = request.path_params["order"]
        parts = await asyncio.gather(*(ask(port, order) for port in ports))
        return _answer({name: value for part in parts for name, value in part.items()})

    return Starlette(routes=[Route("/{order}", one)])


def _answer(body: dict[str, Any]) -> Response:
    return Response(json.dumps(body, separators=(",", ":")), media_type="application/json")


def asking_with_httpx() -> Ask:
    clients: dict[int, httpx.AsyncClient] = {}  # one for each service: with one for all, each request looks at all connections

    async def ask(port: int, order: str) -> dict[str, Any]:
        if port not in clients:
            clients[port] = httpx.AsyncClient(limits=httpx.Limits(max_keepalive_connections=None, max_connections=None))
        found = await clients[port].get(f"http://127.0.0.1:{port}/{order}")
        return found.json()  # type: ignore[no-any-return]

    return ask


def asking_barely() -> Ask:
    idle: dict[int, list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]] = {}

    async def ask(port: int, order: str) -> dict[str, Any]:
        free = idle.setdefault(port, [])
        reader, writer = free.pop() if free else await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET /{order} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        body = await reader.readexactly(length)
        free.append((reader, writer))
        return json.loads(body)  # type: ignore[no-any-return]

    return ask


def main(what: str, port: str, *rest: str) -> None:
    if what in QUERIES:
        application = of_service(what, *rest)
    else:
        application = joined(asking_with_httpx() if what == "httpx" else asking_barely(), [int(each) for each in rest])
    with Server(application, "127.0.0.1", int(port)):
        print("ready", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
