"""The data that most figures are measured on: a shop of three services, each with a database of its own, on one kind of ground.

Ten orders a customer, three lines an order, one reservation and one payment an order; 10,000 orders in a row are those of 1,000
customers, so that the newest 10,000 are as much to touch in a big shop as in a small one. `Writer` stands for the services' own
programs: every change of it is real (no row is written as it was), and two writers of the same seed make the same changes.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

SERVICES = {"orders": ("customers", "orders", "order_lines"), "inventory": ("reservations",), "payments": ("payments",)}
CHANGED = ("orders", "payments")
"""The services whose rows a Writer changes: their table has the same name, its key is `order_id`."""
LINES_AN_ORDER = 3
ORDERS_A_CUSTOMER = 10

SYNCLINE, BY_HAND, WITHOUT_DIFFERENCE = "Syncline", "hand-written SQL", "hand-written, no difference"

READ_MODEL = "shop"
VIEW_NAME = "order_summary"
VIEW = """\
-- What the shop shows of an order: five relations of three services, one row.
-- key: order_id
SELECT o.order_id, c.name AS customer, o.status,
       SUM(l.quantity * l.price_cents) AS total_cents, COUNT(l.line) AS lines,
       r.status AS reservation, p.status AS payment
  FROM orders.orders o
  LEFT JOIN orders.customers c ON c.customer_id = o.customer_id
  LEFT JOIN orders.order_lines l ON l.order_id = o.order_id
  LEFT JOIN inventory.reservations r ON r.order_id = o.order_id
  LEFT JOIN payments.payments p ON p.order_id = o.order_id
 GROUP BY o.order_id, c.name, o.status, r.status, p.status
"""


class ByHand(Protocol):
    """A relay written by hand for this one view. `step` is one round, as `syncline.move.relay.Relay.step` is."""

    def load(self) -> int: ...

    def build(self) -> None: ...

    def step(self) -> bool: ...

    def close(self) -> None: ...


class View(NamedTuple):
    """A connection that reads a side's view, and what the view is called there."""

    connection: Any
    name: str


class Shop(Protocol):
    """One shop: the services' databases, and a read store for each side that follows it."""

    orders: int
    folder: Path
    """Where syncline.toml is written."""
    read_store: str
    """Syncline's, as a configuration names it."""

    def copy(self) -> AbstractContextManager["Shop"]:
        """Another shop with the same rows, for as long as the context lasts. Nobody may have this one open."""
        ...

    def source(self, service: str) -> str:
        """The service's database, as a configuration names it."""
        ...

    def open_owner(self, service: str, level: str = "") -> Any:
        """A connection as the service's own program would open it; `level` is one of the ground's `owner_levels`."""
        ...

    def change(self, owner: Any, service: str, keys: Sequence[int]) -> None:
        """Gives these orders, or payments, their next status: one transaction."""
        ...

    def by_hand(self, *, with_difference: bool = True) -> ByHand: ...

    def command_by_hand(self) -> Sequence[str]:
        """The command that runs the hand-written relay as a process, which prints `ready` once its view is built."""
        ...

    def open_view(self, side: str) -> View: ...


class Ground(Protocol):
    """What a run is made on: SQLite files, or databases of one PostgreSQL server."""

    name: str
    version: str
    """The database program's."""
    durability: str
    """How safe what was committed is, on both sides: said under each table of figures."""
    owner_levels: Sequence[str]
    """How safe a commit of a service's own program can be: what the cost of capture is measured for."""
    captures: Sequence[str]
    """The ways to capture that latency is measured for."""
    peers: Sequence[str]
    """The programs of others that do the same there."""

    def shop(self, orders: int) -> AbstractContextManager[Shop]:
        """A shop of so many orders, without anything of a relay in it."""
        ...

    def place(self) -> AbstractContextManager[Any]:
        """An empty database, as an App names it."""
        ...

    def processor_clock(self) -> Callable[[], float]:
        """Tells the seconds of processor time that this process and the database's have used so far."""
        ...

    def sql(self, statement: str) -> str:
        """A statement with `?` for its parameters, as the driver wants it."""
        ...


def customers_of(orders: int) -> int:
    return max(orders // ORDERS_A_CUSTOMER, 1)


def rows_held(orders: int) -> int:
    """How many rows the five tables hold together."""
    return customers_of(orders) + orders * (3 + LINES_AN_ORDER)


class Writer:
    """The services' own programs: changes payments and orders at random, one transaction a batch.

    `hot` limits the changes to that many orders, the newest.
    """

    def __init__(self, shop: Shop, *, seed: int = 1, hot: int | None = None) -> None:
        self._shop = shop
        self._random = random.Random(seed)
        self._orders: Sequence[int] = range(1, shop.orders + 1)[-(hot or shop.orders) :]
        self._owners = {service: shop.open_owner(service) for service in CHANGED}
        self._next = 0

    def change(self, rows: int) -> str:
        """Changes this many orders, or payments, in one transaction; the two take turns. Returns the service changed."""
        service = CHANGED[self._next % len(CHANGED)]
        self._next += 1
        self._shop.change(self._owners[service], service, self._random.sample(self._orders, rows))
        return service

    def close(self) -> None:
        close_all(self._owners.values())


def close_all(connections: Iterable[Any]) -> None:
    for connection in connections:
        connection.close()
