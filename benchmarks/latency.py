"""latency: from a commit at a source until the view shows it, under light load, with the relay in another process.

A service's program changes one payment or order, then waits 20 to 50 ms, at random, so that commits meet every phase of the
relay's pause. It reads the view in a tight loop until the change is there. Included: the commit itself (the clock starts just
before it), the relay's pause until its next probe, its round, and the reader's look at the read store. Not included: the
service's own work before its commit. Syncline is `syncline run`, which rests 1 ms between probes while rows keep changing, and
4 ms else; by hand is a process that does the same work, and probes every 4 ms.
"""

import random
import time
from contextlib import ExitStack, closing
from typing import Any

import followed
from figures import Cell, Table, percentile, say
from running import hand_run, syncline_run
from shop import BY_HAND, CHANGED, SYNCLINE, Ground, Shop, View, close_all

PAUSE_S = (0.02, 0.05)
GIVE_UP_S = 10.0
ASKED = {
    "SQLite": "p50 at most 5 ms, p99 at most 20 ms",
    "PostgreSQL": "triggers: p50 at most 5 ms, p99 at most 25 ms; WAL: p50 at most 20 ms",
}
_COLUMNS = {"orders": "status", "payments": "payment"}


def measure(ground: Ground, *, quick: bool) -> list[Table]:
    orders, samples, blocks = (2_000, 40, 1) if quick else (200_000, 250, 4)
    found: dict[str, list[float]] = {}
    with ExitStack() as stack:
        original = stack.enter_context(ground.shop(orders))
        shops = {(BY_HAND, BY_HAND): stack.enter_context(original.copy())}
        stack.enter_context(hand_run(shops[BY_HAND, BY_HAND]))
        for capture in ground.captures:
            name = SYNCLINE if len(ground.captures) == 1 else f"{SYNCLINE}, {capture}"
            shop = shops[name, SYNCLINE] = stack.enter_context(original.copy())
            followed.write_project(shop, capture=capture)
            stack.enter_context(syncline_run(shop.folder))
        for block in range(blocks):
            for (name, side), shop in shops.items():
                say(f"{name}: {block * samples} of {blocks * samples} commits")
                found.setdefault(name, []).extend(_sample(ground, shop, side, samples, block))
    return [_table(ground, found)]


def _sample(ground: Ground, shop: Shop, side: str, samples: int, block: int) -> list[float]:
    """Milliseconds from commit to sight, one a commit."""
    draw = random.Random(block)
    found: list[float] = []
    writers = {service: shop.open_owner(service) for service in CHANGED}
    view = shop.open_view(side)
    with closing(view.connection):
        for number in range(samples):
            time.sleep(draw.uniform(*PAUSE_S))
            service = CHANGED[number % 2]
            seen_s = _seen_after_s(ground, writers[service], view, service, draw.randint(1, shop.orders), f"{block}-{number}")
            found.append(1e3 * seen_s)
    close_all(writers.values())
    return found


def _seen_after_s(ground: Ground, writer: Any, view: View, table: str, order: int, status: str) -> float:
    look = ground.sql(f"SELECT {_COLUMNS[table]} FROM {view.name} WHERE order_id = ?")
    writer.execute("BEGIN")
    writer.execute(ground.sql(f"UPDATE {table} SET status = ? WHERE order_id = ?"), (status, order))
    began = time.monotonic()
    writer.execute("COMMIT")
    while view.connection.execute(look, (order,)).fetchone() != (status,):
        if time.monotonic() - began > GIVE_UP_S:
            raise SystemExit(f"a change of {table} was not seen in {GIVE_UP_S} s")
    return time.monotonic() - began


def _table(ground: Ground, found: dict[str, list[float]]) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (name, *(percentile(values, percent) for percent in (50, 90, 99)), max(values), len(values))
        for name, values in found.items()
    ]
    return Table(
        "From commit at the source to visible in the view, relay in another process, light load",
        ("ms", "p50", "p90", "p99", "highest", "commits"),
        rows,
        ASKED[ground.name],
        ("Blocks of all by turns.", ground.durability),
    )
