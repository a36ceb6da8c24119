"""Orders: event-sourced. A command is decided into events; events evolve the state."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from syncline import Delete, EventService, Patch, Rejected, Relation, Upsert


@dataclass(frozen=True)
class PlaceOrder:
    order_id: str
    customer: str
    lines: dict[str, int]  # sku -> quantity


@dataclass(frozen=True)
class CancelOrder:
    order_id: str
    reason: str


@dataclass(frozen=True)
class OrderPlaced:
    order_id: str
    customer: str
    lines: dict[str, int]


@dataclass(frozen=True)
class OrderCancelled:
    order_id: str
    reason: str


@dataclass(frozen=True)
class Order:
    order_id: str = ""
    customer: str = ""
    lines: dict[str, int] = field(default_factory=dict)
    status: str = "new"


@dataclass(frozen=True)
class Header:
    order_id: str
    customer: str
    status: str


@dataclass(frozen=True)
class Line:
    order_id: str
    sku: str
    quantity: int


Command = PlaceOrder | CancelOrder
Event = OrderPlaced | OrderCancelled


def decide(order: Order, command: Command) -> Iterator[Event]:
    match order.status, command:
        case "new", PlaceOrder(lines=lines) if not lines:
            raise Rejected("an order needs at least one line")
        case "new", PlaceOrder(order_id, customer, lines):
            yield OrderPlaced(order_id, customer, lines)
        case "placed", CancelOrder(order_id, reason):
            yield OrderCancelled(order_id, reason)
        case ("placed", PlaceOrder()) | ("cancelled", CancelOrder()):
            return  # the same wish twice is granted once
        case status, _:
            raise Rejected(f"an order that is {status} does not accept {type(command).__name__}")


def evolve(order: Order, event: Event) -> Order:
    match event:
        case OrderPlaced(order_id, customer, lines):
            return Order(order_id, customer, lines, status="placed")
        case OrderCancelled():
            return replace(order, status="cancelled")


def rows(event: Event) -> Iterator[Upsert | Patch | Delete]:
    """What the read side sees of an order: events become rows of this service's relations."""
    match event:
        case OrderPlaced(order_id, customer, lines):
            yield Upsert("header", order_id=order_id, customer=customer, status="placed")
            for sku, quantity in lines.items():
                yield Upsert("line", order_id=order_id, sku=sku, quantity=quantity)
        case OrderCancelled(order_id):
            yield Patch("header", order_id=order_id, status="cancelled")


orders = EventService(
    "orders",
    key="order_id",
    commands=Command,
    events=Event,
    initial=Order(),
    decide=decide,
    evolve=evolve,
    relations={"header": Relation(Header, key="order_id"), "line": Relation(Line, key=("order_id", "sku"))},
    rows=rows,
)
