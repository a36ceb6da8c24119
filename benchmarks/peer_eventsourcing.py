"""The library `eventsourcing` on SQLite or PostgreSQL; runs in an environment of its own, see `peer.py`.

Usage: peer_eventsourcing.py save DATABASE SECONDS: places orders from 8 threads; prints how many commands a second were saved.
Or: peer_eventsourcing.py project DATABASE ORDERS: stores orders of three events each, then its ProjectionRunner makes a row of
each; prints how many events a second. DATABASE is the path of an SQLite file, or a postgresql:// URL (for `project` always).
"""

import os
import sys
import threading
import time
from typing import Any
from urllib.parse import unquote, urlsplit
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
        self.status = "placed"

    @event("Paid")
    def pay(self) -> None:
        self.status = "paid"

    @event("Shipped")
    def ship(self) -> None:
        self.status = "shipped"


class Orders(Application[Any]):
    pass


def main(what: str, database: str, count: float) -> None:
    os.environ.update(_settings(database))
    print(save(count) if what == "save" else project(int(count)))


def save(seconds: float) -> float:
    application = Orders()
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
    return sum(counts) / (time.perf_counter() - began)


def project(orders: int) -> float:
    from eventsourcing.postgres import PostgresTrackingRecorder
    from eventsourcing.projection import Projection, ProjectionRunner

    class View(PostgresTrackingRecorder):
        def _create_table(self, curs: Any) -> None:
            super()._create_table(curs)
            curs.execute("CREATE TABLE order_summary (id uuid PRIMARY KEY, customer text, status text, cents bigint)")

        def write(self, statement: str, values: tuple[object, ...], tracking: Any) -> None:
            with self.datastore.transaction(commit=True) as cursor:
                self._insert_tracking(cursor, tracking)
                cursor.execute(statement, values, prepare=True)

    class Summary(Projection[View]):
        def process_event(self, domain_event: Any, tracking: Any) -> None:
            match domain_event:
                case Order.Placed():
                    row = (domain_event.originator_id, domain_event.customer, "placed", domain_event.amount_cents)
                    self.view.write("INSERT INTO order_summary VALUES (%s, %s, %s, %s)", row, tracking)
                case Order.Paid() | Order.Shipped():
                    status = "paid" if isinstance(domain_event, Order.Paid) else "shipped"
                    values = (status, domain_event.originator_id)
                    self.view.write("UPDATE order_summary SET status = %s WHERE id = %s", values, tracking)

    application = Orders()
    made = [Order(order_id=str(number), customer="Ada", amount_cents=number) for number in range(orders)]
    for order in made:
        order.pay()
        order.ship()
    for start in range(0, orders, 100):
        application.save(*made[start : start + 100])
    newest = application.recorder.max_notification_id()
    began = time.perf_counter()
    with ProjectionRunner(application_class=Orders, projection_class=Summary, view_class=View) as runner:
        runner.wait(newest, timeout=600)
        return 3 * orders / (time.perf_counter() - began)


def _settings(database: str) -> dict[str, str]:
    if "://" not in database:
        return {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": database, "SQLITE_LOCK_TIMEOUT": "30"}
    url = urlsplit(database)
    return {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": url.path[1:],
        "POSTGRES_HOST": url.hostname or "",
        "POSTGRES_PORT": str(url.port or 5432),
        "POSTGRES_USER": unquote(url.username or ""),
        "POSTGRES_PASSWORD": unquote(url.password or "none"),  # it wants one, where the server does not
        "POSTGRES_POOL_SIZE": str(THREADS),
    }


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
