"""http_commands: commands a second over HTTP, beside sending the same from within the program.

One process holds an App with the service `orders` on SQLite, fully synchronised, and answers `POST /commands/PlaceOrder` of 64
connections, each with one command under way; the client is a process of its own. Each order has a stream of its own, each receipt
is checked. Within the program is `App.submit` with 64 in flight, as in `commands`. By turns, each on a log of its own.
"""

import asyncio
import json
import subprocess
import sys
import time
from functools import partial
from statistics import median
from tempfile import TemporaryDirectory

from commands import rate
from figures import Table, percentile, say, share, spread
from orders import PlaceOrder, orders

from syncline import App, SQLite
from syncline.serve import asgi
from syncline.serve.server import Server

CONNECTIONS = 64
GIVE_UP_S = 60.0
REQUEST = "POST /commands/PlaceOrder HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
ASKED = "3,000/s over HTTP, embedded"


def measure(*, quick: bool) -> list[Table]:
    rounds, seconds, many = (1, 0.5, 500) if quick else (5, 4.0, 40_000)
    http: list[float] = []
    within: list[float] = []
    times: list[tuple[float, float]] = []
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        with TemporaryDirectory() as folder, App(orders.on(SQLite(f"{folder}/orders.db"))) as app:
            within.append(rate(app, (PlaceOrder(f"many-{each}", "Ada", each) for each in range(many)), CONNECTIONS))
        with TemporaryDirectory() as folder:
            found = _served(f"{folder}/orders.db", seconds)
            http.append(found["rate"])
            times.append((found["p50"], found["p99"]))
    rows = [
        (
            "over HTTP",
            median(http),
            spread(http),
            share(http, within),
            median(p50 for p50, _ in times),
            median(p99 for _, p99 in times),
        ),
        ("App.submit", median(within), spread(within), 100.0, None, None),
    ]
    columns = ("", "commands/s", "lowest to highest", "% of App.submit", "p50 ms", "p99 ms")
    return [Table(f"Commands a second, {CONNECTIONS} under way", columns, rows, ASKED)]


def _served(database: str, seconds: float) -> dict[str, float]:
    """The figures of a client, asked for while a server runs, each in a process of its own."""
    server = subprocess.Popen(
        [sys.executable, __file__, "serve", database], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        client = [sys.executable, __file__, "load", port, str(seconds)]
        return dict(json.loads(subprocess.run(client, check=True, stdout=subprocess.PIPE, timeout=seconds + GIVE_UP_S).stdout))
    finally:
        assert server.stdin is not None
        server.stdin.close()
        server.wait(GIVE_UP_S)


def _serve(database: str) -> None:
    with App(orders.on(SQLite(database))) as app, Server(asgi(app), "127.0.0.1", 0) as server:
        print(server.port, flush=True)
        sys.stdin.read()


class Sending(asyncio.Protocol):
    """One connection: a command, its receipt, the next command, until the time is up."""

    def __init__(self, number: int, until: float, done: asyncio.Future[None], times: list[float]) -> None:
        self._number, self._until, self._done, self._times = number, until, done, times
        self._count = 0
        self._sent_at = 0.0
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]) if end else 1
        if len(body) < length:
            return
        if not head.startswith(b"HTTP/1.1 200") or b'"version":1' not in body:
            self._done.set_exception(SystemExit(f"unexpected answer: {self._received[:300]!r}"))
            return
        self._received = b""
        self._times.append(time.perf_counter() - self._sent_at)
        self._send()

    def _send(self) -> None:
        self._sent_at = time.perf_counter()
        if self._sent_at >= self._until:
            if not self._done.done():
                self._done.set_result(None)
            return
        self._count += 1
        body = json.dumps({"order_id": f"{self._number}-{self._count}", "customer": "Ada", "amount_cents": 1}).encode()
        head = f"{REQUEST}Content-Length: {len(body)}\r\n\r\n"
        assert self._transport is not None
        self._transport.write(head.encode() + body)


async def _load(port: int, seconds: float) -> None:
    loop, times = asyncio.get_running_loop(), list[float]()
    until = time.perf_counter() + seconds
    waiting: list[asyncio.Future[None]] = []
    for number in range(CONNECTIONS):
        done: asyncio.Future[None] = loop.create_future()
        waiting.append(done)
        await loop.create_connection(partial(Sending, number, until, done, times), "127.0.0.1", port)
    await asyncio.gather(*waiting)
    millis = [1e3 * each for each in times]
    print(json.dumps({"rate": len(times) / seconds, "p50": percentile(millis, 50), "p99": percentile(millis, 99)}))


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        _serve(sys.argv[2])
    else:
        asyncio.run(_load(int(sys.argv[2]), float(sys.argv[3])))
