"""The card processor: another company's system, made up. It knows nothing of orders but the reference it is given.

A reference is charged once at most, however often it is asked: `charge` says what became of each, `movement` holds the money
that really moved, which is what "no card charged twice" is proven from. How a card behaves is told by its name.
"""

from dataclasses import dataclass
from typing import Literal

from syncline import Outbox, TableService

GOOD, DECLINED, ANSWERS_TWICE = "card-good", "card-declined", "card-answers-twice"
ANSWERS_LATE = "card-answers-late"
"""It is charged at once; the answer waits for AnswerLate."""
NEVER_ANSWERS = "card-never-answers"
"""It is charged at once, and nobody is ever told: what a lost answer looks like."""

SCHEMA = """
CREATE TABLE charge (
    order_id TEXT NOT NULL PRIMARY KEY,
    cents    INTEGER NOT NULL CHECK (cents >= 0),
    card     TEXT NOT NULL,
    state    TEXT NOT NULL -- waiting → charged, declined or cancelled; charged → refunded
             CHECK (state IN ('waiting', 'charged', 'declined', 'cancelled', 'refunded')),
    is_late  INTEGER NOT NULL DEFAULT 0 -- its answer waits for AnswerLate
);
CREATE INDEX charge_waiting ON charge (order_id) WHERE state = 'waiting';
CREATE INDEX charge_late ON charge (order_id) WHERE is_late = 1;
CREATE TABLE movement (
    movement_id INTEGER PRIMARY KEY,
    order_id    TEXT NOT NULL REFERENCES charge (order_id),
    cents       INTEGER NOT NULL -- below zero: back to the card
);
CREATE TABLE processor (
    id   INTEGER PRIMARY KEY CHECK (id = 1),
    mode TEXT NOT NULL CHECK (mode IN ('charging', 'declining', 'paused'))
);
INSERT INTO processor VALUES (1, 'charging');
"""

Mode = Literal["charging", "declining", "paused"]


@dataclass(frozen=True)
class ChargeCard:
    order_id: str
    cents: int
    card: str


@dataclass(frozen=True)
class RefundCard:
    """Gives back what was charged for the order; where nothing was yet, nothing will be."""

    order_id: str


@dataclass(frozen=True)
class AnswerLate:
    """Tells the answers of all cards that answer late."""


@dataclass(frozen=True)
class SwitchProcessor:
    """charging: as each card does. declining: every card is declined. paused: charges wait until it goes on."""

    mode: Mode


@dataclass(frozen=True)
class CardCharged:
    order_id: str


@dataclass(frozen=True)
class CardDeclined:
    order_id: str
    reason: str


@dataclass(frozen=True)
class CardRefunded:
    order_id: str


cards_told = Outbox(
    "cards_told",
    key="order_id",
    events=CardCharged | CardDeclined | CardRefunded,
)


def charge_card(tx, command: ChargeCard) -> None:
    first = tx.execute(
        "INSERT INTO charge VALUES (:order_id, :cents, :card, 'waiting', 0) ON CONFLICT (order_id) DO NOTHING", command
    )
    if first:
        _go_on(tx, [{"order_id": command.order_id, "cents": command.cents, "card": command.card}])


def refund_card(tx, command: RefundCard) -> None:
    tx.execute("INSERT INTO charge VALUES (:order_id, 0, '', 'cancelled', 0) ON CONFLICT (order_id) DO NOTHING", command)
    tx.execute("UPDATE charge SET state = 'cancelled' WHERE order_id = :order_id AND state = 'waiting'", command)
    if tx.execute("UPDATE charge SET state = 'refunded' WHERE order_id = :order_id AND state = 'charged'", command):
        tx.execute(
            "INSERT INTO movement (order_id, cents) SELECT order_id, -cents FROM charge WHERE order_id = :order_id", command
        )
        cards_told.record(tx, CardRefunded(command.order_id))


def answer_late(tx, _: AnswerLate) -> None:
    late = tx.query("SELECT order_id FROM charge WHERE is_late = 1 ORDER BY order_id")
    tx.execute("UPDATE charge SET is_late = 0 WHERE is_late = 1")
    for charge in late:
        cards_told.record(tx, CardCharged(charge["order_id"]))


def switch_processor(tx, command: SwitchProcessor) -> None:
    tx.execute("UPDATE processor SET mode = :mode", command)
    _go_on(tx, tx.query("SELECT order_id, cents, card FROM charge WHERE state = 'waiting' ORDER BY order_id"))


def _go_on(tx, waiting: list[dict]) -> None:
    """Charges or declines what waits, unless the processor is paused."""
    mode = tx.query("SELECT mode FROM processor")[0]["mode"]
    for charge in waiting if mode != "paused" else ():
        order_id, card = charge["order_id"], charge["card"]
        if mode == "declining" or card == DECLINED:
            tx.execute("UPDATE charge SET state = 'declined' WHERE order_id = ?", [order_id])
            cards_told.record(tx, CardDeclined(order_id, "the card was declined"))
            continue
        tx.execute("UPDATE charge SET state = 'charged', is_late = ? WHERE order_id = ?", [int(card == ANSWERS_LATE), order_id])
        tx.execute("INSERT INTO movement (order_id, cents) VALUES (:order_id, :cents)", charge)
        for _ in range({ANSWERS_LATE: 0, NEVER_ANSWERS: 0, ANSWERS_TWICE: 2}.get(card, 1)):
            cards_told.record(tx, CardCharged(order_id))


cards = TableService(
    "cards",
    schema=SCHEMA,
    handles={
        ChargeCard: charge_card,
        RefundCard: refund_card,
        AnswerLate: answer_late,
        SwitchProcessor: switch_processor,
    },
    publishes=(),
)
