"""commands: commands a second that an event-sourced service takes, beside the library `eventsourcing` doing the same.

One program sends `PlaceOrder` through `App.submit` and keeps so many commands in flight; each is decided, appended to a stream of
its own, and on disk before its receipt is given. The hot stream gets `AddNote` after 10,000 events, beside the same command on
streams of one event. The library saves a new aggregate for each command, from 8 threads, which is its best. Both use SQLite with
a write-ahead log and full synchronisation, in this run's own folder, or databases of one PostgreSQL server whose commits wait for
the disk. Included: making the commands. Not included: starting up.
"""

import time
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future
from statistics import median

from figures import Cell, Table, say, share, spread
from orders import AddNote, PlaceOrder, orders
from peer import run_peer
from shop import Ground

from syncline import App, Receipt

IN_FLIGHT = 64
ASKED = {
    "SQLite": "30,000/s with 64 in flight and 10 times the library; 2,500/s one at a time; hot stream 0.7 of short streams.",
    "PostgreSQL": "30,000/s with 64 in flight and 20 times the library.",
}


def measure(ground: Ground, *, quick: bool) -> list[Table]:
    rounds, many, few, peer_s = (1, 2_000, 200, 1.0) if quick else (5, 60_000, 8_000, 6.0)
    found: dict[str, list[float]] = {}

    def note(name: str, figure: float) -> None:
        say(f"{name}: {figure:,.0f}/s")
        found.setdefault(name, []).append(figure)

    for _ in range(rounds):
        with ground.place() as place, ground.place() as place_of_peer:
            with App(orders.on(place)) as app:
                app.send(PlaceOrder("first", "Ada", 1))
                note("submit", rate(app, (PlaceOrder(f"many-{each}", "Ada", each) for each in range(many)), IN_FLIGHT))
                note("one at a time", rate(app, (PlaceOrder(f"few-{each}", "Ada", each) for each in range(few)), 1))
                note("short", rate(app, (AddNote(f"many-{each}", "a note") for each in range(many // 2)), IN_FLIGHT))
                rate(app, (AddNote("hot", "a note") for _ in range(10_000 if not quick else 500)), IN_FLIGHT)
                note("hot", rate(app, (AddNote("hot", "a note") for _ in range(many // 2)), IN_FLIGHT))
            note("peer", run_peer("eventsourcing", "save", place_of_peer.database, str(peer_s)))
    return [_table(ground, found)]


def rate(app: App, commands: Iterable[object], in_flight: int) -> float:
    """Commands a second, with so many of them waiting for their receipts at any time."""
    waiting: deque[Future[Receipt]] = deque()
    count, began = 0, time.perf_counter()
    for command in commands:
        count += 1
        if len(waiting) >= in_flight:
            waiting.popleft().result()
        waiting.append(app.submit(command))
    for future in waiting:
        future.result()
    return count / (time.perf_counter() - began)


def _table(ground: Ground, found: dict[str, list[float]]) -> Table:
    peer, short = found["peer"], found["short"]
    names = {
        "submit": ("64 in flight, each its own stream", peer, "library"),
        "one at a time": ("one at a time", peer, "library"),
        "short": ("64 in flight, streams of one event", peer, "library"),
        "hot": ("64 in flight, one stream of 10,000 events", short, "short streams"),
    }
    rows: list[tuple[Cell, ...]] = [
        (title, median(found[name]), spread(found[name]), share(found[name], yardstick) / 100, of)
        for name, (title, yardstick, of) in names.items()
    ]
    rows.append(("library `eventsourcing` 9.5.6, 8 threads", median(peer), spread(peer), 1.0, "library"))
    return Table(
        "Commands a second",
        ("", "commands/s", "lowest to highest", "times", "of the"),
        rows,
        asked=ASKED[ground.name],
    )
