"""The shop at work, all of it in this process: services, sagas, relay, storefront; and what can be made to go wrong.

What is stopped here is stopped by ending the thread that does it, as a crash would. Nothing is lost by that: it is the point.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, get_args

from syncline import App, NamedQuery, Polling, Receipt, Triggers, Unavailable, View
from syncline.app import Progress

from . import cards
from .app import FOLLOW, build
from .buyers import baskets, buy
from .inventory import Restock
from .reconcile import reconcile
from .seed import seed
from .storefront.application import VIEWS, storefront

RATES = (0, 2, 20, 100)
"""How many orders others place in a second, to choose from."""
MOST_A_SECOND = 10_000
ANSWERS_LATE_S = 5.0
IN_FLIGHT = 64
"""How many orders may be open at once when they are placed as they go: few enough to end before their deadline."""
SUPPLIED_EVERY_S, SUPPLIED = 3.0, 300
"""While others buy, so often so much comes in of each product that is short."""
CARDS = (
    (cards.GOOD, "A good card", "It is charged."),
    (cards.DECLINED, "One that is declined", "The order is cancelled, its stock given back."),
    (
        cards.NEVER_ANSWERS,
        "One that never answers",
        "It is charged, and nobody is told: the order gives up, the money goes back.",
    ),
    (cards.ANSWERS_TWICE, "One that answers twice", "It is charged once all the same."),
    (cards.ANSWERS_LATE, "One that answers late", f"After up to {ANSWERS_LATE_S:g} s."),
)
"""The cards that a visitor can pay with: what the processor calls each, its name, and what it does."""


@dataclass(frozen=True)
class Report:
    """How a load of orders went. `faults` says in words what is not right; `counts` is what the services' databases hold."""

    orders: int
    seconds: float
    orders_per_s: float
    latency_ms: Mapping[str, float]
    states: Mapping[str, int]
    counts: Mapping[str, int]
    rows_compared: int
    faults: tuple[str, ...]


class Demo:
    """The shop in a folder, at work. `begin` sets it to work, `close` ends it; any thread may call its other functions."""

    def __init__(self, folder: Path, follow: Mapping[str, Triggers | Polling], deadline_s: float) -> None:
        """Raises ValueError for a service that is followed in one way only."""
        self.folder, self.deadline_s, self.follow = folder, deadline_s, {**FOLLOW, **follow}
        self.app = build(folder, follow=follow, deadline_s=deadline_s, views=VIEWS)
        self._without_views = App(*(part for part in self.app.parts if not _is_read(part)))
        self._lock = threading.Lock()
        self._failures: list[BaseException] = []
        self._late, self._buyers = _Work(self._answer_late, self._failures), _Work(self._buy, self._failures)
        self._relay, self._no_relay = _Work(self.app.run, self._failures), _Work(self._without_views.run, self._failures)
        self._mode, self._rate, self._most = "charging", 0.0, None
        self.pages = storefront(self)

    def check(self) -> None:
        """Raises what something that should be at work failed with."""
        if self._failures:
            raise self._failures[0]

    def state(self) -> dict[str, Any]:
        """How things are, for the storefront."""
        return {
            "relay": "running" if self._relay.is_running else "stopped",
            "processor": self._mode,
            "rate": self._rate,
            "rates": sorted({*RATES, self._rate}),
            "deadline_s": self.deadline_s,
            "staleness_s": self.app.rows("order_details", limit=1).staleness_s,
            "orders": self.orders(),
            "customers": self._rows("shoppers", "name"),
            "cards": [{"card": card, "name": name, "about": about} for card, name, about in CARDS],
            "follow": {
                "orders": "its events",
                "payments": "its events",
                **{name: _way(each) for name, each in self.follow.items()},
            },
        }

    def orders(self) -> dict[str, int]:
        """How many orders are open, confirmed and cancelled, as the read model has it."""
        counts = self._rows("customer_orders")
        return {status: sum(each[status] for each in counts) for status in ("open", "confirmed", "cancelled")}

    def start_relay(self) -> None:
        """The read model is followed again, from where it was left."""
        with self._lock:
            self._no_relay.stop()
            self._relay.start()

    def stop_relay(self) -> None:
        """The read model stays as it is. Services and sagas go on: they know nothing of it."""
        with self._lock:
            self._relay.stop()
            self._no_relay.start()

    def switch_processor(self, mode: str) -> None:
        """What the card processor does with every card. Raises ValueError for what it cannot do."""
        if mode not in get_args(cards.Mode):
            raise ValueError(f"the card processor cannot be '{mode}'; it is one of: {', '.join(get_args(cards.Mode))}")
        with self._lock:
            self.app.send(cards.SwitchProcessor(mode))
            self._mode = mode

    def sell(self, rate: float, orders: int | None = None) -> None:
        """Others place so many orders a second, `orders` in all where that is given. Raises ValueError for no such rate."""
        if not 0 <= rate <= MOST_A_SECOND:
            raise ValueError(f"{rate:g} orders a second cannot be placed; give a number from 0 to {MOST_A_SECOND}")
        with self._lock:
            self._buyers.stop()
            self._rate, self._most = rate, orders
            if rate:
                self._buyers.start()

    def report(self, orders: int, rate: float | None, on_progress: Callable[[Progress], None]) -> Report:
        """Has so many orders placed, as many a second or as they go, waits for the end of all, and proves that all is right.

        Afterwards the shop is at rest.
        """

        def ended(_: int, ended: int) -> None:
            self.check()
            on_progress(Progress("orders", ended, orders, "orders"))

        bought = buy(
            self.app,
            self.folder,
            orders=orders,
            rate=rate,
            in_flight=IN_FLIGHT,
            seed=1 + sum(self.orders().values()),
            days=0,
            on_progress=ended,
        )
        self._relay.stop()
        with self.app.settling() as settle:  # money that goes back may still be on its way
            settle()
        books = reconcile(self.folder)
        verified = self.app.verify(on_progress=on_progress)
        return Report(
            orders=sum(bought.ended.values()),
            seconds=bought.seconds,
            orders_per_s=bought.orders_per_s,
            latency_ms={f"p{percent}": bought.latency_ms(percent) for percent in (50, 90, 99)},
            states=dict(bought.ended),
            counts=dict(books.counts),
            rows_compared=sum(rows for _, rows in verified.checked),
            faults=(*books.faults, *self._open_sagas(), *map(str, (*verified.differences, *verified.held_back))),
        )

    def _open_sagas(self) -> tuple[str, ...]:
        """Sagas that have not come to their end, in words."""
        return tuple(
            f"saga {each.saga}: {each.open} open, {each.parked} parked, {each.waiting} commands to be sent"
            for each in self.app.sagas.status()
            if each.open or each.parked or each.waiting
        )

    def begin(self, on_progress: Callable[[Progress], None]) -> None:
        """Fills what is empty, copies, builds, and goes to work. Raises Unavailable for a database that cannot be used."""
        seed(self.app, self.folder)
        self.app.send(cards.SwitchProcessor("charging"))
        self.app.sync(on_progress=on_progress)
        if failed := [f"{feed.service}: {feed.error}" for feed in self.app.status().feeds if feed.state == "failed"]:
            raise Unavailable("\n".join(failed))
        self._relay.start()
        self._late.start()

    def close(self) -> None:
        """Ends everything, in order: who buys first, who answers last."""
        for work in (self._buyers, self._late, self._relay, self._no_relay):
            work.stop()
        self._without_views.close()
        self.app.close()

    def _rows(self, view: str, *order_by: str) -> list[dict[str, Any]]:
        found = self.app.rows(view, order_by=order_by)
        return [dict(zip(found.columns, row, strict=True)) for row in found.rows]

    def _answer_late(self, stop: threading.Event) -> None:
        while not stop.wait(ANSWERS_LATE_S):
            self.app.send(cards.AnswerLate())

    def _buy(self, stop: threading.Event) -> None:
        """Others buy, and a supplier brings what the read model says is short."""
        delivered_at, sent = time.monotonic(), deque[Future[Receipt]]()
        for order in islice(baskets(int(time.time()), days=0), self._most):
            if stop.wait(1 / self._rate):
                break
            sent.append(self.app.submit(order))
            if time.monotonic() - delivered_at > SUPPLIED_EVERY_S:
                delivered_at = time.monotonic()
                for short in self._rows("stock_to_reorder"):
                    sent.append(self.app.submit(Restock(f"{short['sku']}-{time.time_ns()}", short["sku"], SUPPLIED)))
            while sent and sent[0].done():
                sent.popleft().result()


class _Work:
    """Something that goes on in a thread of its own until it is stopped; what it fails with is kept in `failures`."""

    def __init__(self, run: Callable[[threading.Event], None], failures: list[BaseException]) -> None:
        self._run, self._failures = run, failures
        self._stop, self._thread = threading.Event(), threading.Thread()

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        if not self.is_running:
            self._stop.clear()
            self._thread = threading.Thread(target=self._go_on)
            self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self.is_running:
            self._thread.join()

    def _go_on(self) -> None:
        try:
            self._run(self._stop)
        except BaseException as error:
            self._failures.append(error)


def _is_read(part: object) -> bool:
    """Whether this part of an App is kept in the read store."""
    return isinstance(getattr(part, "definition", None), View | NamedQuery)


def _way(capture: Triggers | Polling) -> str:
    return "triggers" if isinstance(capture, Triggers) else f"polling every {capture.every_s:g} s"
