"""http_reads: rows of a view by key over HTTP, beside the same server's hello-world, and beside asking three services.

One process, `syncline run` with [http], follows the shop's three services and answers 32 connections, each with one request
under way, for orders at random; the client is a process of its own. Every answer is checked to be the order's row. Hello-world
is the same server that answers every request with the same few bytes: alone, with the framework, and as the service itself does
(`/healthz`: all that every request passes, and no read), of which the share is told. The composed answer is the
row again, joined at read time by a fourth service that asks the three owners at once over HTTP, each a process with its own
database: with httpx, and with a client made for this alone. All servers run at the same time, and are asked by turns. Included:
all of HTTP, the snapshot, how new the row is.
"""

import json
import socket
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import followed
from figures import Cell, Table, say, share, spread
from http_load import Load, load
from running import ended, syncline_run
from shop import VIEW_NAME, Ground, Shop

CONNECTIONS = 32
READY_S = 20.0
ALONE, HELLO = "hello-world, the server alone", "hello-world, with Starlette"
OWN, VIEW = "hello-world, the service itself", "a view by key"
HTTPX, BARE = "composed of three, with httpx", "composed of three, bare client"
ASKED = "by key 4,000/s, half of hello-world, p99 at most 25 ms; 5 times what is composed at read time"


def measure(ground: Ground, *, quick: bool) -> list[Table]:
    orders, seconds, rounds = (2_000, 0.5, 1) if quick else (200_000, 4.0, 5)
    found: dict[str, list[Load]] = {}
    with ExitStack() as stack:
        shop = stack.enter_context(ground.shop(orders))
        targets = {
            ALONE: stack.enter_context(_server("hello.py", "server")),
            HELLO: stack.enter_context(_server("hello.py", "framework")),
            VIEW: stack.enter_context(_served(shop)),
        }
        targets[OWN] = targets[VIEW]
        paths = {ALONE: "/", HELLO: "/", OWN: "/healthz", VIEW: f"/views/{VIEW_NAME}/{{}}"}
        if ground.name == "SQLite":
            owners = [str(stack.enter_context(_owner(shop, service))) for service in ("orders", "inventory", "payments")]
            for name, client in ((HTTPX, "httpx"), (BARE, "bare")):
                targets[name], paths[name] = stack.enter_context(_server("composed.py", client, after=owners)), "/{}"
            _refuse_unequal(*(f"http://127.0.0.1:{targets[name]}{paths[name]}" for name in (VIEW, HTTPX, BARE)), orders=orders)
        for each in range(rounds):
            for name, port in targets.items():
                say(f"round {each + 1} of {rounds}: {name}")
                found.setdefault(name, []).append(load(port, paths[name], keys=orders, connections=CONNECTIONS, seconds=seconds))
    return [_table(ground, found, orders)]


def _table(ground: Ground, found: dict[str, list[Load]], orders: int) -> Table:
    rates = {name: [each.rate for each in its] for name, its in found.items()}
    rows: list[tuple[Cell, ...]] = [
        (
            name,
            median(rates[name]),
            spread(rates[name]),
            share(rates[name], rates[OWN]),
            share(rates[VIEW], rates[name]) / 100,
            median(each.p50 for each in its),
            median(each.p99 for each in its),
            max(each.highest for each in its),
        )
        for name, its in found.items()
    ]
    return Table(
        f"Requests a second over HTTP, {CONNECTIONS} connections, {orders:,} orders",
        ("", "requests/s", "lowest to highest", "% of hello-world", "a view is … times", "p50 ms", "p99 ms", "highest ms"),
        rows,
        asked=ASKED,
        notes=(ground.durability,),
    )


@contextmanager
def _served(shop: Shop) -> Iterator[int]:
    """`syncline run` on the shop, answering on a port."""
    port = free_port()
    project = followed.write_project(shop)
    project.write_text(f'{project.read_text()}\n[http]\nlisten = "127.0.0.1:{port}"\n')
    with syncline_run(shop.folder):
        yield port


@contextmanager
def _owner(shop: Shop, service: str) -> Iterator[int]:
    """What one service says itself, on a port."""
    with _server("composed.py", service, after=[str(shop.folder / f"{service}.db")]) as port:
        yield port


@contextmanager
def _server(program: str, *before: str, after: Sequence[str] = ()) -> Iterator[int]:
    """A program of this folder that serves on a port, as a process of its own."""
    port = free_port()
    command = [sys.executable, str(Path(__file__).with_name(program)), *before, str(port), *after]
    with TemporaryDirectory(prefix="syncline-bench-") as folder, ended(command, log := Path(folder) / "log") as process:
        deadline = time.monotonic() + READY_S
        while "ready" not in log.read_text():
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{program} did not start: {log.read_text()}")
            time.sleep(0.02)
        yield port


def _refuse_unequal(*addresses: str, orders: int) -> None:
    """All must give the same row of the same order."""
    for order in (1, orders // 2, orders):
        rows = [json.load(urllib.request.urlopen(address.format(order))) for address in addresses]
        if any(row != rows[0] for row in rows):
            raise SystemExit(f"order {order} is not the same everywhere: {rows}")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
