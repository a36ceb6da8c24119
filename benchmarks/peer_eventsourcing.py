"""The library `eventsourcing` placing orders on SQLite from 8 threads; runs in an environment of its own, see `peer.py`.

Usage: peer_eventsourcing.py DATABASE SECONDS. Prints how many commands a second were saved.
"""

import os
import sys
import threading
import time
from uuid import uuid4

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event

THREADS = 8


class Order(Aggregate):
    @event("Placed")
    def __init__(self, order_id: str, customer: str, amount_cents: int) -> None:
        self.order_id = order_id
        self.customer = customer
        self.amount_cents = amount_cents


def main(database: str, seconds: float) -> None:
    os.environ.update(PERSISTENCE_MODULE="eventsourcing.sqlite", SQLITE_DBNAME=database, SQLITE_LOCK_TIMEOUT="30")
    application = Application()
    counts = [0] * THREADS
    deadline = time.perf_counter() + seconds

    def place(number: int) -> None:
        while time.perf_counter() < deadline:
            application.save(Order(order_id=str(uuid4()), customer="Ada", amount_cents=counts[number]))
            counts[number] += 1

    began = time.perf_counter()
    threads = [threading.Thread(target=place, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(sum(counts) / (time.perf_counter() - began))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
