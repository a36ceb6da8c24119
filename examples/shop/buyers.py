"""A load of buyers: orders drawn from a seed, of which known shares are declined, out of stock, or never answered.

`python -m shop.buyers [--orders N] [--folder DIR]` plays them, proves that the books match, and prints figures.
"""

import argparse
import json
import math
import random
import sqlite3
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from syncline import App, Receipt

from . import cards
from .app import build
from .customers import move
from .inventory import Restock
from .orders import Line, PlaceOrder
from .reconcile import reconcile
from .seed import CATALOGUE, CUSTOMERS, PRICES, SOLD_OUT
from .seed import seed as fill

ON_SALE = tuple(product["sku"] for product in CATALOGUE if product["sku"] != SOLD_OUT)
BLOCK = 100
"""In each hundred orders the shares are exact, in an order drawn at random."""
DELIVERED_EVERY, DELIVERED = 1_000, 1_000
"""So much of each product comes in before each thousand orders: more than they can take, so that nothing runs out by accident."""
MOVES_EVERY = 200
ENDED = """
SELECT order_id, status
  FROM order_details
 WHERE status <> 'placed' AND order_id IN (SELECT value FROM json_each(?))
"""
LOOK_S = 0.003
READY_S = PATIENCE_S = 60.0
TOLD_AT = datetime(2026, 5, 31, tzinfo=UTC)
"""The time of the program's orders, so that those of a seed are always the same."""
ANSWER_LATE_S = 0.05


@dataclass(frozen=True)
class Shares:
    """How many of a hundred orders end otherwise; and, of those that end well, whose cards answer twice, or late."""

    declined: int = 10
    out_of_stock: int = 5
    timed_out: int = 2
    answers_twice: int = 5
    answers_late: int = 2

    def kinds(self) -> list[str]:
        kinds = [cards.DECLINED] * self.declined + [SOLD_OUT] * self.out_of_stock + [cards.NEVER_ANSWERS] * self.timed_out
        kinds += [cards.ANSWERS_TWICE] * self.answers_twice + [cards.ANSWERS_LATE] * self.answers_late
        return kinds + [cards.GOOD] * (BLOCK - len(kinds))


def baskets(seed: int, *, shares: Shares = Shares(), now: datetime | None = None, days: int = 30) -> Iterator[PlaceOrder]:
    """Orders without end, the same for the same seed and `now`: placed at some time of the `days` before it, or now."""
    draw = random.Random(seed)
    n = 0
    while True:
        kinds = shares.kinds()
        draw.shuffle(kinds)
        for kind in kinds:
            lines = [Line(sku, draw.randint(1, 3), PRICES[sku]) for sku in draw.sample(ON_SALE, draw.choice((1, 1, 2, 2, 3, 4)))]
            if kind == SOLD_OUT:
                lines.append(Line(SOLD_OUT, 1, PRICES[SOLD_OUT]))
            customer, ago = draw.choice(CUSTOMERS)["customer_id"], draw.random() * days
            at = (now or datetime.now(UTC)) - timedelta(days=ago)
            yield PlaceOrder(f"o-{seed}-{n}", customer, tuple(lines), cards.GOOD if kind == SOLD_OUT else kind, at)
            n += 1


@dataclass(frozen=True)
class Figures:
    """How a load went: how the orders ended, and how many milliseconds after it was sent the view showed the end of each.

    `seconds` is until the last order had ended whose card answers, `ended_by_then` how many had: those that wait for their
    deadline have nothing to do.
    """

    seconds: float
    ended_by_then: int
    ended: Mapping[str, int]
    latencies_ms: tuple[float, ...]

    @property
    def orders_per_s(self) -> float:
        return self.ended_by_then / self.seconds if self.seconds else 0.0

    def latency_ms(self, percent: float) -> float:
        """The smallest that at least `percent` of all do not exceed."""
        ordered = sorted(self.latencies_ms)
        return ordered[max(math.ceil(len(ordered) * percent / 100), 1) - 1] if ordered else 0.0


def buy(
    app: App,
    folder: Path,
    *,
    orders: int | None = None,
    rate: float | None = None,
    in_flight: int = 256,
    seed: int = 1,
    first: int = 0,
    shares: Shares = Shares(),
    now: datetime | None = None,
    days: int = 30,
    patience_s: float | None = None,
    stop: threading.Event | None = None,
    on_progress: Callable[[int, int], None] = lambda placed, ended: None,
) -> Figures:
    """Places orders `first` to `orders` of the seed, or until `stop` is set; returns when the read model shows the end of each.

    At most `in_flight` are open at once, at most `rate` are placed in a second. What was placed before is not placed again, if
    `now` is the same. Somebody must follow and run the sagas meanwhile: see `running`. Raises what sending raises, and
    TimeoutError where orders are open, and none has ended for `patience_s`.
    """
    stop = stop or threading.Event()
    rest = islice(baskets(seed, shares=shares, now=now, days=days), first, orders)
    app.rows("order_details", limit=1, at_least=app.send(cards.AnswerLate()), timeout_s=READY_S)  # waits until it is there
    with closing(sqlite3.connect(f"{(folder / 'shop.db').absolute().as_uri()}?mode=ro", uri=True, timeout=30)) as view:
        load = _Load(app, folder, view, seed, first)
        while load.opened or not load.is_sold_out:
            free = in_flight - len(load.opened)
            due = free if rate is None else int(load.passed_s() * rate) + 1 - load.placed
            load.place([] if stop.is_set() else rest, min(free, due))
            load.answer_late()
            load.look()
            load.refuse_standstill(patience_s)
            on_progress(load.placed, load.ended.total())
            time.sleep(LOOK_S)
        return Figures(*load.worked, dict(load.ended), tuple(load.latencies_ms))


class _Load:
    """Orders on their way: when each was sent, and how it ended."""

    def __init__(self, app: App, folder: Path, view: sqlite3.Connection, seed: int, first: int) -> None:
        self._app, self._folder, self._view, self._seed, self._first = app, folder, view, seed, first
        self._began = self._answered = self._moved = time.monotonic()
        self._sending: list[Future[Receipt]] = []
        self.is_sold_out = False
        self.placed = 0
        self.worked = 0.0, 0
        self.opened: dict[str, tuple[float, str]] = {}
        self.ended: Counter[str] = Counter()
        self.latencies_ms: list[float] = []

    def passed_s(self) -> float:
        return time.monotonic() - self._began

    def place(self, rest: Iterable[PlaceOrder], most: int) -> None:
        for order in islice(rest, max(most, 0)):
            self._prepare(self._first + self.placed)
            self.opened[order.order_id] = time.monotonic(), order.card
            self._sending.append(self._app.submit(order, command_id=f"place-{order.order_id}"))
            self.placed += 1
            most -= 1
        self.is_sold_out = most > 0

    def look(self) -> None:
        """Takes down the orders whose end the view shows. Raises where one could not be placed."""
        for sent in self._sending:
            if sent.done():
                sent.result()
        self._sending = [sent for sent in self._sending if not sent.done()]
        found = self._view.execute(ENDED, [json.dumps(list(self.opened))]).fetchall()
        now = time.monotonic()
        for order_id, status in found:
            sent, card = self.opened.pop(order_id)
            self.latencies_ms.append(1e3 * (now - sent))
            self.ended[status] += 1
            self._moved = now
            if card != cards.NEVER_ANSWERS:
                self.worked = self.passed_s(), self.ended.total()

    def refuse_standstill(self, patience_s: float | None) -> None:
        if patience_s is None or not self.opened:
            return
        oldest, _ = next(iter(self.opened.values()))
        if time.monotonic() - max(self._moved, oldest) > patience_s:
            raise TimeoutError(f"no order has ended for {patience_s:g} s; open are {', '.join(list(self.opened)[:5])}, …")

    def answer_late(self) -> None:
        if time.monotonic() - self._answered > ANSWER_LATE_S:
            self._app.submit(cards.AnswerLate()).result()
            self._answered = time.monotonic()

    def _prepare(self, n: int) -> None:
        """What happens besides, the same each time: goods come in, and customers move house."""
        if n % DELIVERED_EVERY == 0 or n == self._first:
            for sku in ON_SALE:
                delivery_id = f"{self._seed}-{n // DELIVERED_EVERY}-{sku}"
                self._sending.append(self._app.submit(Restock(delivery_id, sku, DELIVERED), command_id=delivery_id))
        if n % MOVES_EVERY == 0:
            at = n // MOVES_EVERY
            to = CUSTOMERS[(at + 7) % len(CUSTOMERS)]["city"]
            move(self._folder / "customers.db", CUSTOMERS[at % len(CUSTOMERS)]["customer_id"], to)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m shop.buyers", description=str(__doc__).partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path("."), help="where the databases are, or are to be (default: here)")
    parser.add_argument("--orders", type=int, default=200, help="how many (default 200); the same seed places the same orders")
    parser.add_argument("--seed", type=int, default=1, help="which orders (default 1)")
    parser.add_argument("--in-flight", type=int, default=256, help="how many may be open at once (default 256)")
    parser.add_argument("--rate", type=float, help="how many are placed in a second, at most")
    parser.add_argument("--all-good", action="store_true", help="every card is good, and everything is in stock")
    parser.add_argument("--deadline-s", type=float, default=5.0, help="when a payment without an answer is given up (default 5)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    shares = Shares(0, 0, 0, 0, 0) if options.all_good else Shares()
    with build(options.folder, deadline_s=options.deadline_s) as app:
        fill(app, options.folder)
        with running(app):
            figures = buy(
                app,
                options.folder,
                orders=options.orders,
                rate=options.rate,
                in_flight=options.in_flight,
                seed=options.seed,
                shares=shares,
                now=TOLD_AT,
                patience_s=PATIENCE_S,
            )
        with app.settling() as settle:  # refunds may still be under way, though no order is
            settle()
        report, differences = reconcile(options.folder), app.verify().differences
        still_open = sum(each.open + each.parked + each.waiting for each in app.sagas.status())
    found = {
        "ended": dict(figures.ended),
        "orders_per_s": figures.orders_per_s,
        "ended_after_ms": {f"p{percent}": figures.latency_ms(percent) for percent in (50, 90, 99)},
        "counts": dict(report.counts),
        "faults": list(report.faults),
        "differences": [str(difference) for difference in differences],
        "sagas_open": still_open,
    }
    print(json.dumps(found, indent=2) if options.json else _told(found))
    return 1 if report.faults or differences or still_open else 0


def _told(found: Mapping[str, Any]) -> str:
    lines = [", ".join(f"{count} {status}" for status, count in sorted(found["ended"].items()))]
    lines.append(f"{found['orders_per_s']:.0f} orders/s; half of them had ended after {found['ended_after_ms']['p50']:.0f} ms")
    lines += found["faults"] or ["stock, money and orders match"]
    lines += found["differences"] or ["every view is what its query gives"]
    lines.append(f"{found['sagas_open']} sagas are open")
    return "\n".join(lines)


@contextmanager
def running(app: App) -> Iterator[None]:
    """The relays and sagas of an App, in a thread of their own for as long as the block lasts."""
    stop, failures = threading.Event(), list[BaseException]()

    def run() -> None:
        try:
            app.run(stop)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, name="shop")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    if failures:
        raise failures[0]


if __name__ == "__main__":
    sys.exit(main())
