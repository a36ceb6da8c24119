"""first_build: loading the mirrors from three services, and the first build of the order view, beside hand-written SQL.

Loading counts rows copied from the sources into mirrors, from the relay's first round (describing the services, installing the
triggers and creating the mirrors included) to the end of the round in which the last mirror went live. Building counts from
there until the view is cut over: list of keys, indexes, rows, switch; as rows of the view, and as rows of the mirrors that it
reads. Syncline does both in slices of some milliseconds, as `syncline run` does, so that neither service nor reader waits.

By hand: one INSERT a mirror in one transaction for each service, then CREATE INDEX and one INSERT ... SELECT: as quick as it
can be done with nobody else waiting, and nothing to go on from after a crash. Not included on either side: starting a process.
"""

import shutil
import time
from contextlib import closing
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import followed
import shop
from figures import DURABILITY, Table, say, share, spread
from handwritten import HandwrittenRelay
from race import BY_HAND, SYNCLINE

from syncline.stores.protocols import ReadStore

Seconds = tuple[float, float]


def measure(*, quick: bool) -> list[Table]:
    orders, repetitions = (5_000, 1) if quick else (200_000, 5)
    found: dict[str, list[Seconds]] = {SYNCLINE: [], BY_HAND: []}
    with TemporaryDirectory(prefix="syncline-bench-", ignore_cleanup_errors=True) as root:
        original = Path(root) / "original"
        original.mkdir()
        shop.make_services(original, orders)
        for repetition in range(repetitions):
            for name, run in ((SYNCLINE, _syncline), (BY_HAND, _by_hand)):
                say(f"{name}, {orders:,} orders: {repetition} of {repetitions}")
                folder = Path(shutil.copytree(original, Path(root) / "copy"))
                found[name].append(run(folder))
                shutil.rmtree(folder)
    return [_loading(orders, found), _building(orders, found)]


def _syncline(folder: Path) -> Seconds:
    followed.write_project(folder)
    events: list[str] = []
    with followed.opened_relay(folder, events.append) as relay:
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
    return all(not store.loading(service) and not store.loaded(service) for service in shop.SERVICES)


def _by_hand(folder: Path) -> Seconds:
    began = time.perf_counter()
    with closing(HandwrittenRelay(folder)) as relay:
        relay.load()
        loaded = time.perf_counter()
        relay.build()
        ended = time.perf_counter()
    return loaded - began, ended - loaded


def _loading(orders: int, found: dict[str, list[Seconds]]) -> Table:
    rates = {name: [shop.rows_held(orders) / loading for loading, _ in times] for name, times in found.items()}
    return Table(
        f"Loading {shop.rows_held(orders):,} rows of five tables into mirrors",
        ("", "rows/s", "lowest to highest", "% of hand-written"),
        [(name, median(each), spread(each), share(each, rates[BY_HAND])) for name, each in rates.items()],
        "120,000 rows/s",
        (
            f"Medians of {len(found[SYNCLINE])} repetitions, by turns.",
            DURABILITY,
        ),
    )


def _building(orders: int, found: dict[str, list[Seconds]]) -> Table:
    rates = {name: [orders / building for _, building in times] for name, times in found.items()}
    rows_a_row = shop.rows_held(orders) / orders
    return Table(
        f"First build of the order view: {orders:,} rows from {shop.rows_held(orders):,} rows of mirrors",
        ("", "rows of the view/s", "rows of mirrors/s", "lowest to highest", "% of hand-written"),
        [
            (name, median(each), rows_a_row * median(each), spread(each), share(each, rates[BY_HAND]))
            for name, each in rates.items()
        ],
        "250,000 rows/s",
        (
            f"Medians of {len(found[SYNCLINE])} repetitions, by turns.",
            DURABILITY,
        ),
    )
