"""live: 500 event streams, each following one order, while 2,000 orders change a second; how late each change comes, and memory.

`syncline run` with [http] follows the shop and answers; one process opens the streams, another program's writes change each order
four times a second. Every change carries its number and the time just before its transaction committed, so that the client tells
which were lost, and how late each came: included are the commit of 100 changes, the relay's round, the look at the change feed,
and the way to the client. Several changes of one order in one look come as one; they are counted apart, and the last must come.
"""

import asyncio
import json
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import followed
from figures import Cell, Table, percentile, say
from http_reads import free_port
from running import syncline_run
from shop import VIEW_NAME, Ground

STREAMS, CHANGES_S, BATCH = 500, 2_000, 100
ASKED = f"{STREAMS} open streams each following its own key, {CHANGES_S:,} changes/s in all, none lost, memory flat"


def measure(ground: Ground, *, quick: bool) -> list[Table]:
    orders, seconds = (2_000, 2.0) if quick else (100_000, 30.0)
    with ExitStack() as stack:
        shop = stack.enter_context(ground.shop(orders))
        port = free_port()
        project = followed.write_project(shop)
        project.write_text(f'{project.read_text()}\n[http]\nlisten = "127.0.0.1:{port}"\n')
        pid = stack.enter_context(syncline_run(shop.folder))
        client = subprocess.Popen([sys.executable, __file__, str(port)], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
        assert client.stdout is not None and client.stdin is not None
        client.stdout.readline()  # all streams are open
        memory, rate = _write(shop.open_owner("orders"), ground, seconds, pid)
        told, _ = client.communicate(json.dumps({"last": int(seconds * CHANGES_S / STREAMS)}), timeout=120)
        found = json.loads(told)
    rows: list[tuple[Cell, ...]] = [
        ("changes written a second", rate),
        ("events received", found["events"]),
        ("changes that came with a later one", found["joined"]),
        ("changes lost", found["lost"]),
        ("p50, ms", found["p50"]),
        ("p99, ms", found["p99"]),
        ("highest, ms", found["highest"]),
        ("memory at the beginning, MB", memory[0]),
        ("memory half-way, MB", memory[len(memory) // 2]),
        ("memory at the end, MB", memory[-1]),
    ]
    return [Table(f"Live changes, {STREAMS} streams, {seconds:g} s", ("", ""), rows, ASKED, (ground.durability,))]


def _write(owner: Any, ground: Ground, seconds: float, pid: int) -> tuple[list[float], float]:
    """Changes each followed order again and again, at an even pace; gives the server's memory meanwhile, in MB, and the rate."""
    memory = [_memory_mb(pid)]
    update = ground.sql("UPDATE orders SET status = ? WHERE order_id = ?")
    began, count = time.time(), 0
    for number in range(1, int(seconds * CHANGES_S / STREAMS) + 1):
        for first in range(1, STREAMS + 1, BATCH):
            owner.execute("BEGIN")
            stamp = f"{number}:{time.time()}"
            for order in range(first, first + BATCH):
                owner.execute(update, (stamp, order))
            owner.execute("COMMIT")
            count += BATCH
            time.sleep(max(0.0, began + count / CHANGES_S - time.time()))
        memory.append(_memory_mb(pid))
        say(f"{count:,} changes, {memory[-1]:.0f} MB")
    return memory, count / (time.time() - began)


def _memory_mb(pid: int) -> float:
    line = next(each for each in Path(f"/proc/{pid}/status").read_text().splitlines() if each.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


class Stream:
    """One open stream: the numbers that came, and how late."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.late_ms: list[float] = []

    async def read(self, port: int, order: int, opened: asyncio.Event) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
        writer.write(f"GET /views/{VIEW_NAME}/changes?order_id={order} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        while line := await reader.readline():
            if line.startswith(b"data: "):
                opened.set()
                row = json.loads(line[6:]).get("row")
                number, colon, at = str(row["status"]).partition(":") if row else ("", "", "")
                if colon:
                    self.late_ms.append(1e3 * (time.time() - float(at)))
                    self.numbers.append(int(number))


async def _follow(port: int) -> None:
    streams = [Stream() for _ in range(STREAMS)]
    opened = [asyncio.Event() for _ in range(STREAMS)]
    tasks = [asyncio.ensure_future(each.read(port, order, opened[order - 1])) for order, each in enumerate(streams, 1)]
    await asyncio.gather(*(each.wait() for each in opened))
    print("open", flush=True)
    last = json.loads(await asyncio.to_thread(sys.stdin.read))["last"]
    until = time.monotonic() + 30
    while any(not each.numbers or each.numbers[-1] < last for each in streams) and time.monotonic() < until:
        await asyncio.sleep(0.05)
    for task in tasks:
        task.cancel()
    late = [each for stream in streams for each in stream.late_ms]
    lost = sum(last - (each.numbers[-1] if each.numbers else 0) for each in streams)
    joined = sum(max(each.numbers, default=0) - len(set(each.numbers)) for each in streams)
    figures = {"p50": percentile(late, 50), "p99": percentile(late, 99), "highest": max(late)}
    print(json.dumps({"events": len(late), "joined": joined, "lost": lost, **figures}))


if __name__ == "__main__":
    asyncio.run(_follow(int(sys.argv[1])))
