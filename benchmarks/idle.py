"""idle: processor time of `syncline run` while four sources are followed and nothing changes.

The shop's three services and a fourth, all in WAL mode and captured by triggers, two views, all live. Counted is all time of
the process over 20 s, user and system, once it has been live for 2 s. The yardstick is the hand-written relay over the shop's
three services, which probes as often (every 4 ms), measured the same way after it.
"""

import sqlite3
import time
from contextlib import closing

import followed
from figures import Table, say
from running import cpu_s, hand_run, syncline_run
from shop_sqlite import SQLiteGround, SQLiteShop

SHIPPING = """
    CREATE TABLE shipments (shipment_id INTEGER PRIMARY KEY, order_id INTEGER NOT NULL, carrier TEXT NOT NULL);
    INSERT INTO shipments VALUES (1, 1, 'Post'), (2, 2, 'Courier');
"""
SECTION = '\n[service.shipping]\ndatabase = "sqlite:///shipping.db"\ncapture = "triggers"\ntables = ["shipments"]\n'
VIEW = """\
-- How many shipments a carrier has.
-- key: carrier
SELECT s.carrier, COUNT(*) AS shipments FROM shipping.shipments s GROUP BY s.carrier
"""


def measure(*, quick: bool) -> list[Table]:
    orders, settle_s, seconds = (2_000, 0.5, 2) if quick else (20_000, 2.0, 20)
    with SQLiteGround().shop(orders) as theirs, theirs.copy() as ours:
        _add_shipping(ours)
        with syncline_run(ours.folder) as pid:
            used = _used_percent(pid, settle_s, seconds)
        with hand_run(theirs) as pid:
            used_by_hand = _used_percent(pid, settle_s, seconds)
    return [
        Table(
            "Processor time of an idle relay",
            ("", "% of one core", "sources"),
            [("syncline run", used, 4), ("hand-written SQL", used_by_hand, 3)],
            "at most 2 % of one core with four sources",
            (f"Over {seconds} s.",),
        )
    ]


def _add_shipping(shop: SQLiteShop) -> None:
    with closing(sqlite3.connect(shop.folder / "shipping.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(SHIPPING)
    project = followed.write_project(shop)
    project.write_text(project.read_text() + SECTION)
    (shop.folder / "views" / "shipments.sql").write_text(VIEW)


def _used_percent(pid: int, settle_s: float, seconds: float) -> float:
    """How much of one core the process uses once it has settled."""
    time.sleep(settle_s)
    say(f"idle for {seconds} s")
    before, began = cpu_s(pid), time.monotonic()
    time.sleep(seconds)
    return 100 * (cpu_s(pid) - before) / (time.monotonic() - began)
