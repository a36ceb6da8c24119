"""checkout: orders through the whole saga of examples/shop, and from placing one until its page shows it confirmed.

All in one process, on SQLite: three services and a card processor, each with its database, fully synchronised; two sagas; a read
model of four views over four services. 10 % of the load are declined, 5 % out of stock, 2 % never answered. An order takes six
commands and six events; one that is alone waits for eleven syncs of the disk, one after the other, which the last line shows.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from figures import Table, say, spread

ROOT = Path(__file__).resolve().parents[1]
SYNCS = 11
COMMITTED = b"-" * 8_192


def measure(*, quick: bool) -> list[Table]:
    orders, alone, times = (200, 20, 1) if quick else (10_000, 300, 3)
    with TemporaryDirectory(prefix="syncline-bench-", ignore_cleanup_errors=True) as root:
        loads, single, syncs = [], [], []
        for number in range(times):
            say(f"load {number + 1} of {times}")
            loads.append(_buyers(Path(root) / f"load-{number}", "--orders", str(orders), "--deadline-s", "3"))
            say(f"one by one {number + 1} of {times}")
            one_by_one = ("--orders", str(alone), "--all-good", "--in-flight", "1", "--rate", "20")
            single.append(_buyers(Path(root) / f"alone-{number}", *one_by_one))
            syncs.append(_syncs_ms(Path(root) / "syncs", 20 if quick else 100))
    return [_throughput(orders, loads), _latency(single, syncs)]


def _buyers(folder: Path, *options: str) -> dict[str, Any]:
    """A load in a process of its own, which fails where stock, money, orders and views do not match at the end."""
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT / "examples")])
    command = [sys.executable, "-m", "shop.buyers", "--json", "--folder", str(folder), *options]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: {done.returncode}\n{done.stdout}\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _syncs_ms(file: Path, rounds: int) -> float:
    """The middle of how long so many syncs take, one after the other, each after two pages were written."""
    found: list[float] = []
    with file.open("ab", buffering=0) as log:
        for _ in range(rounds):
            began = time.perf_counter()
            for _ in range(SYNCS):
                log.write(COMMITTED)
                os.fdatasync(log.fileno())
            found.append(1e3 * (time.perf_counter() - began))
    return median(found)


def _throughput(orders: int, loads: list[dict[str, Any]]) -> Table:
    rates = [load["orders_per_s"] for load in loads]
    counts = loads[0]["counts"]
    ended = f"{counts['confirmed']:,} confirmed, {counts['declined']:,} declined, {counts['out of stock']:,} out of stock"
    return Table(
        f"{orders:,} orders through the whole saga, 256 open at once",
        ("", "orders/s", "of", "repetitions"),
        [("Syncline, the shop", median(rates), spread(rates), len(rates))],
        asked="800 orders/s; stock, money and orders match; no saga left open.",
        notes=(f"Of the first: {ended}, {counts['timed out']:,} given up. In each, all matched, and no saga was left open.",),
    )


def _latency(single: list[dict[str, Any]], syncs: list[float]) -> Table:
    def of(percent: str) -> float:
        return median(each["ended_after_ms"][percent] for each in single)

    return Table(
        "Milliseconds from placing an order until its page shows it confirmed, one at a time",
        ("", "p50", "p90", "p99"),
        [("Syncline, the shop", of("p50"), of("p90"), of("p99")), (f"{SYNCS} syncs of this disk", median(syncs), None, None)],
        asked="p50 at most 30 ms.",
    )
