"""Asks a server over HTTP as fast as it answers, from a process of its own: so many connections, each with one request under way.

`python http_load.py PORT CONNECTIONS SECONDS PATH KEYS` asks for PATH with `{}` replaced by a number from 1 to KEYS, at random,
and prints JSON: requests a second and percentiles of the time to an answer, in ms, without the first tenth of the time. Each
answer must be 200, and where the path has a number, the row of it.
"""

import asyncio
import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from figures import percentile

WARM_UP = 0.1
GIVE_UP_S = 30.0


class Load(NamedTuple):
    """What was measured. Times are in ms."""

    rate: float
    p50: float
    p99: float
    highest: float


def load(port: int, path: str, *, keys: int, connections: int, seconds: float) -> Load:
    """Runs this program on a server of this machine."""
    program = [sys.executable, str(Path(__file__)), str(port), str(connections), str(seconds), path, str(keys)]
    found = subprocess.run(program, check=True, stdout=subprocess.PIPE, text=True, timeout=seconds + GIVE_UP_S)
    return Load(**json.loads(found.stdout))


class Asking(asyncio.Protocol):
    """One connection: a request, its answer, the next request, until the time is up."""

    def __init__(self, path: str, keys: int, until: float, done: asyncio.Future[None], times: list[tuple[float, float]]) -> None:
        self._before, self._is_numbered, self._after = path.partition("{}")
        self._keys, self._until, self._done, self._times = keys, until, done, times
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._key = 0
        self._asked_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        self._received = b""
        now = time.perf_counter()
        if b" 200 " not in head[:16] or (self._is_numbered and f'"order_id":{self._key},'.encode() not in body):
            self._done.set_exception(SystemExit(f"key {self._key} was answered with {head!r} {body!r}"))
        self._times.append((now, now - self._asked_at))
        if now < self._until:
            self._ask()
        elif not self._done.done():
            self._done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(exc or ConnectionError("the server closed the connection"))

    def _ask(self) -> None:
        assert self._transport is not None
        self._key = random.randint(1, self._keys)
        path = f"{self._before}{self._key}{self._after}" if self._is_numbered else self._before
        self._asked_at = time.perf_counter()
        self._transport.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())


async def ask(port: int, connections: int, seconds: float, path: str, keys: int) -> Load:
    """Asks for so long, and tells how fast answers came."""
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    times: list[tuple[float, float]] = []
    waiting: list[asyncio.Future[None]] = []
    transports: list[asyncio.BaseTransport] = []
    for _ in range(connections):
        done: asyncio.Future[None] = loop.create_future()
        protocol = Asking(path, keys, began + seconds, done, times)
        transport, _ = await loop.create_connection(lambda one=protocol: one, "127.0.0.1", port)
        waiting.append(done)
        transports.append(transport)
    await asyncio.gather(*waiting)
    for transport in transports:
        transport.close()
    counted = [1e3 * took for at, took in times if began + WARM_UP * seconds <= at < began + seconds]
    rate = len(counted) / (seconds * (1 - WARM_UP))
    return Load(rate, percentile(counted, 50), percentile(counted, 99), max(counted))


if __name__ == "__main__":
    port, connections, seconds, path, keys = sys.argv[1:]
    print(json.dumps(asyncio.run(ask(int(port), int(connections), float(seconds), path, int(keys)))._asdict()))
