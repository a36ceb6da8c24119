"""Orders: event-sourced. It alone says what becomes of an order: whichever of confirming and cancelling comes first, stays."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

from syncline import EventService, Patch, Rejected, Relation, Upsert


@dataclass(frozen=True)
class Line:
    """What is ordered of one product, at the price that the buyer was shown."""

    sku: str
    quantity: int
    price_cents: int


@dataclass(frozen=True)
class PlaceOrder:
    """`card` is what the card processor calls the buyer's card: the shop never learns its number."""

    order_id: str
    customer_id: str
    lines: tuple[Line, ...]
    card: str
    placed_at: datetime


@dataclass(frozen=True)
class ConfirmOrder:
    order_id: str


@dataclass(frozen=True)
class CancelOrder:
    order_id: str
    reason: str


@dataclass(frozen=True)
class OrderPlaced:
    order_id: str
    customer_id: str
    lines: tuple[Line, ...]
    card: str
    placed_at: datetime


@dataclass(frozen=True)
class OrderConfirmed:
    order_id: str


@dataclass(frozen=True)
class OrderCancelled:
    order_id: str
    reason: str


Command = PlaceOrder | ConfirmOrder | CancelOrder
Event = OrderPlaced | OrderConfirmed | OrderCancelled


@dataclass(frozen=True)
class Order:
    """What deciding needs to know of an order."""

    status: str = "new"  # new → placed → confirmed or cancelled
    lines: tuple[Line, ...] = ()


def decide(order: Order, command: Command) -> Iterator[Event]:
    match order.status, command:
        case "new", PlaceOrder(order_id, customer_id, lines, card, placed_at):
            _refuse_impossible(command)
            yield OrderPlaced(order_id, customer_id, lines, card, placed_at.astimezone(UTC))
        case "new", _:
            raise Rejected(f"there is no order {command.order_id}")
        case _, PlaceOrder(lines=lines) if lines != order.lines:
            raise Rejected(f"order {command.order_id} was placed before, with other lines; give each order an id of its own")
        case "placed", ConfirmOrder(order_id):
            yield OrderConfirmed(order_id)
        case "placed", CancelOrder(order_id, reason):
            yield OrderCancelled(order_id, reason)
        case (_, PlaceOrder()) | ("confirmed", ConfirmOrder()) | ("cancelled", CancelOrder()):
            return  # the same wish twice is granted once
        case status, _:
            raise Rejected(f"order {command.order_id} is {status} already")


def _refuse_impossible(command: PlaceOrder) -> None:
    if not command.lines:
        raise Rejected("an order needs at least one line")
    if len({line.sku for line in command.lines}) < len(command.lines):
        raise Rejected("a product is in two lines; order more of it in one")
    if any(line.quantity < 1 or line.price_cents < 0 for line in command.lines):
        raise Rejected("a line needs a quantity of at least 1, and no negative price")
    if command.placed_at.tzinfo is None:
        raise Rejected("the time of placing needs its time zone: 2026-05-01T12:00:00Z")


def evolve(order: Order, event: Event) -> Order:
    match event:
        case OrderPlaced(lines=lines):
            return Order("placed", lines)
        case OrderConfirmed():
            return replace(order, status="confirmed")
        case OrderCancelled():
            return replace(order, status="cancelled")


@dataclass(frozen=True)
class HeaderRow:
    order_id: str
    customer_id: str
    placed_at: datetime
    status: str
    reason: str | None


@dataclass(frozen=True)
class LineRow:
    """`day` is the order's, so that what was sold of a product on a day is found by the lines alone."""

    order_id: str
    sku: str
    day: date
    quantity: int
    price_cents: int


def rows(event: Event) -> Iterator[Upsert | Patch]:
    """What the read side sees of an order: events become rows of this service's relations."""
    match event:
        case OrderPlaced(order_id, customer_id, lines, _, placed_at):
            yield Upsert("header", order_id=order_id, customer_id=customer_id, placed_at=placed_at, status="placed")
            for line in lines:
                about = {"sku": line.sku, "quantity": line.quantity, "price_cents": line.price_cents}
                yield Upsert("line", order_id=order_id, day=placed_at.date(), **about)
        case OrderConfirmed(order_id):
            yield Patch("header", order_id=order_id, status="confirmed")
        case OrderCancelled(order_id, reason):
            yield Patch("header", order_id=order_id, status="cancelled", reason=reason)


orders = EventService(
    "orders",
    key="order_id",
    commands=Command,
    events=Event,
    initial=Order(),
    decide=decide,
    evolve=evolve,
    relations={"header": Relation(HeaderRow, key="order_id"), "line": Relation(LineRow, key=("order_id", "sku"))},
    rows=rows,
)
