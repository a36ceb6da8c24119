"""first_build: loading the mirrors from three services, and the first build of the order view, beside hand-written SQL.

Loading counts rows copied from the sources into mirrors, from the relay's first round (describing the services, installing the
triggers and creating the mirrors included) to the end of the round in which the last mirror went live. Building counts from
there until the view is cut over: list of keys, indexes, rows, switch; as rows of the view, and as rows of the mirrors that it
reads. Syncline does both in slices of some milliseconds, as `syncline run` does, so that neither service nor reader waits.

By hand: one INSERT (on PostgreSQL COPY) a mirror in one transaction for each service, then CREATE INDEX and one INSERT ...
SELECT: as quick as it can be done with nobody else waiting, and nothing to go on from after a crash. Not included on either side:
starting a process. On PostgreSQL also both together, beside the program deltaflow-pg (see `beside_deltaflow.py`).
"""

import time
from contextlib import closing
from statistics import median

import followed
from figures import Cell, Table, say, share, spread
from shop import BY_HAND, SERVICES, SYNCLINE, Ground, Shop, rows_held

from syncline.stores.protocols import ReadStore

Seconds = tuple[float, float]


def measure(ground: Ground, *, quick: bool) -> list[Table]:
    orders, repetitions = (5_000, 1) if quick else (200_000, 5)
    found: dict[str, list[Seconds]] = {SYNCLINE: [], BY_HAND: []}
    with ground.shop(orders) as original:
        for repetition in range(repetitions):
            for name, run in ((SYNCLINE, _syncline), (BY_HAND, _by_hand)):
                say(f"{name}, {orders:,} orders: {repetition} of {repetitions}")
                with original.copy() as copy:
                    found[name].append(run(copy))
    tables = [_loading(ground, orders, found), _building(ground, orders, found)]
    return [*tables, _beside_peers(ground, orders, found, quick=quick)] if "deltaflow" in ground.peers else tables


def _syncline(shop: Shop) -> Seconds:
    followed.write_project(shop)
    events: list[str] = []
    with followed.opened_relay(shop.folder, events.append) as relay:
        began = time.perf_counter()
        loaded = None
        while relay.step() or not relay.is_settled():
            if loaded is None and _is_loaded(relay.store):
                loaded = time.perf_counter()
        ended = time.perf_counter()
    assert loaded is not None, events
    return loaded - began, ended - loaded


def _is_loaded(store: ReadStore) -> bool:
    """Whether every mirror is live."""
    return all(not store.loading(service) and not store.loaded(service) for service in SERVICES)


def _by_hand(shop: Shop) -> Seconds:
    began = time.perf_counter()
    with closing(shop.by_hand()) as relay:
        relay.load()
        loaded = time.perf_counter()
        relay.build()
        ended = time.perf_counter()
    return loaded - began, ended - loaded


def _loading(ground: Ground, orders: int, found: dict[str, list[Seconds]]) -> Table:
    rates = {name: [rows_held(orders) / loading for loading, _ in times] for name, times in found.items()}
    return Table(
        f"Loading {rows_held(orders):,} rows of five tables into mirrors",
        ("", "rows/s", "lowest to highest", "% of hand-written"),
        [(name, median(each), spread(each), share(each, rates[BY_HAND])) for name, each in rates.items()],
        "120,000 rows/s" if ground.name == "SQLite" else "",
        (
            f"Medians of {len(found[SYNCLINE])} repetitions, by turns.",
            ground.durability,
        ),
    )


def _building(ground: Ground, orders: int, found: dict[str, list[Seconds]]) -> Table:
    rates = {name: [orders / building for _, building in times] for name, times in found.items()}
    rows_a_row = rows_held(orders) / orders
    return Table(
        f"First build of the order view: {orders:,} rows from {rows_held(orders):,} rows of mirrors",
        ("", "rows of the view/s", "rows of mirrors/s", "lowest to highest", "% of hand-written"),
        [
            (name, median(each), rows_a_row * median(each), spread(each), share(each, rates[BY_HAND]))
            for name, each in rates.items()
        ],
        "250,000 rows/s" if ground.name == "SQLite" else "",
        (
            f"Medians of {len(found[SYNCLINE])} repetitions, by turns.",
            ground.durability,
        ),
    )


def _beside_peers(ground: Ground, orders: int, found: dict[str, list[Seconds]], *, quick: bool) -> Table:
    from beside_deltaflow import deltaflow_rates  # the driver is needed on that ground only

    peers, notes = deltaflow_rates(ground, quick=quick)
    rates = {name: [rows_held(orders) / (loading + building) for loading, building in times] for name, times in found.items()}
    own = median(rates[SYNCLINE])
    rows: list[tuple[Cell, ...]] = [(name, median(each), spread(each), own / median(each)) for name, each in rates.items()]
    rows += [(peer.name, peer.copied_s, "", own / peer.copied_s) for peer in peers]
    return Table(
        "From nothing to a live view: rows of the tables a second",
        ("", "rows/s", "lowest to highest", "times slower than Syncline"),
        rows,
        "100,000 rows/s, and 20 times deltaflow-pg",
        (f"Syncline and by hand: medians of {len(found[SYNCLINE])} repetitions, by turns.", *notes, ground.durability),
    )
