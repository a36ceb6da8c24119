"""Whether stock, money and orders match, told by the services' databases alone: plain SQL, no read model.

Each check is a query for what is wrong; the shop reconciles when all of them give nothing. Meant for a shop at rest: while orders
are open, they are told as having no end.
"""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

SERVICES = ("orders", "inventory", "payments", "cards")
SHOWN = 5
"""How many of the orders or products that a check finds are named."""

FACTS = """
CREATE TEMP TABLE placed AS
SELECT json_extract(data, '$.order_id') AS order_id,
       (SELECT SUM(json_extract(line.value, '$.quantity') * json_extract(line.value, '$.price_cents'))
          FROM json_each(data, '$.lines') line) AS cents
  FROM orders.syncline_event
 WHERE name = 'OrderPlaced';
CREATE TEMP TABLE placed_line AS
SELECT json_extract(data, '$.order_id') AS order_id, json_extract(line.value, '$.sku') AS sku,
       json_extract(line.value, '$.quantity') AS quantity
  FROM orders.syncline_event, json_each(data, '$.lines') line
 WHERE name = 'OrderPlaced';
CREATE TEMP TABLE ended AS
SELECT json_extract(data, '$.order_id') AS order_id,
       CASE name WHEN 'OrderConfirmed' THEN 'confirmed' ELSE 'cancelled' END AS status, json_extract(data, '$.reason') AS reason
  FROM orders.syncline_event
 WHERE name IN ('OrderConfirmed', 'OrderCancelled');
CREATE INDEX temp.ended_order ON ended (order_id);
CREATE TEMP TABLE payment AS
SELECT json_extract(data, '$.order_id') AS order_id, name AS last, MAX(position)
  FROM payments.syncline_event
 GROUP BY json_extract(data, '$.order_id');
CREATE TEMP TABLE paid AS
SELECT order_id, SUM(cents) AS cents,
       COUNT(CASE WHEN cents > 0 THEN 1 END) AS charges, COUNT(CASE WHEN cents < 0 THEN 1 END) AS refunds
  FROM cards.movement
 GROUP BY order_id;
"""

CHECKS: Mapping[str, str] = {
    "orders have no end": "SELECT order_id FROM placed EXCEPT SELECT order_id FROM ended",
    "orders have more than one end": "SELECT order_id FROM ended GROUP BY order_id HAVING COUNT(*) > 1",
    "orders hold stock, and are not confirmed": """
        SELECT order_id FROM inventory.reservation WHERE state = 'reserved'
        EXCEPT SELECT order_id FROM ended WHERE status = 'confirmed'""",
    "confirmed orders do not hold just what was ordered": """
        SELECT order_id FROM (SELECT l.order_id, l.sku, l.quantity FROM placed_line l JOIN ended USING (order_id)
                               WHERE ended.status = 'confirmed'
                              EXCEPT SELECT r.order_id, r.sku, r.quantity FROM inventory.reserved_line r
                                       JOIN inventory.reservation USING (order_id) WHERE state = 'reserved')
        UNION
        SELECT order_id FROM (SELECT r.order_id, r.sku, r.quantity FROM inventory.reserved_line r
                                JOIN inventory.reservation USING (order_id) WHERE state = 'reserved'
                              EXCEPT SELECT order_id, sku, quantity FROM placed_line)""",
    "products have another quantity reserved than orders hold": """
        SELECT s.sku FROM inventory.stock s
         WHERE s.reserved <> (SELECT COALESCE(SUM(l.quantity), 0) FROM inventory.reserved_line l
                                JOIN inventory.reservation r ON r.order_id = l.order_id AND r.state = 'reserved'
                               WHERE l.sku = s.sku)""",
    "products have another quantity on hand than was delivered": """
        SELECT s.sku FROM inventory.stock s
         WHERE s.on_hand <> (SELECT COALESCE(SUM(d.quantity), 0) FROM inventory.delivery d WHERE d.sku = s.sku)""",
    "cards were charged twice for an order": "SELECT order_id FROM paid WHERE charges > 1",
    "refunds were made twice, or of what was never charged": "SELECT order_id FROM paid WHERE refunds > 1 OR cents < 0",
    "orders were paid another sum than they are confirmed for": """
        SELECT p.order_id
          FROM placed p
          LEFT JOIN ended e ON e.order_id = p.order_id
          LEFT JOIN paid ON paid.order_id = p.order_id
         WHERE COALESCE(paid.cents, 0) <> CASE WHEN e.status = 'confirmed' THEN p.cents ELSE 0 END""",
    "money was moved for what was never ordered": "SELECT order_id FROM paid EXCEPT SELECT order_id FROM placed",
    "payments are not as their orders ended": """
        SELECT e.order_id
          FROM ended e
          LEFT JOIN payment ON payment.order_id = e.order_id
         WHERE CASE e.status
                 WHEN 'confirmed' THEN COALESCE(payment.last, '') <> 'PaymentTaken'
                 ELSE COALESCE(payment.last, '') NOT IN ('', 'PaymentDeclined', 'PaymentVoided', 'PaymentRefunded')
               END""",
}

COUNTS: Mapping[str, str] = {
    "orders": "SELECT COUNT(*) FROM placed",
    "confirmed": "SELECT COUNT(*) FROM ended WHERE status = 'confirmed'",
    "cancelled": "SELECT COUNT(*) FROM ended WHERE status = 'cancelled'",
    "out of stock": "SELECT COUNT(*) FROM inventory.reservation WHERE state = 'refused'",
    "declined": "SELECT COUNT(*) FROM payment WHERE last = 'PaymentDeclined'",
    "timed out": "SELECT COUNT(*) FROM ended WHERE reason = 'the payment took too long'",
    "confirmed cents": "SELECT COALESCE(SUM(p.cents), 0) FROM placed p JOIN ended USING (order_id) WHERE status = 'confirmed'",
    "charged cents": "SELECT COALESCE(SUM(cents), 0) FROM cards.movement WHERE cents > 0",
    "refunded cents": "SELECT COALESCE(-SUM(cents), 0) FROM cards.movement WHERE cents < 0",
}


@dataclass(frozen=True)
class Report:
    """`faults` says in words what does not match; `counts` what there is."""

    faults: tuple[str, ...]
    counts: Mapping[str, int]


def reconcile(folder: Path) -> Report:
    """Looks at all that the services in `folder` hold. Changes nothing."""
    with closing(sqlite3.connect("file::memory:", uri=True, timeout=30)) as connection:
        for service in SERVICES:
            connection.execute(f"ATTACH ? AS {service}", [f"{(folder / f'{service}.db').absolute().as_uri()}?mode=ro"])
        connection.executescript(FACTS)
        found = {what: [name for (name,) in connection.execute(sql)] for what, sql in CHECKS.items()}
        counts = {what: connection.execute(sql).fetchone()[0] for what, sql in COUNTS.items()}
    faults = [f"{len(names)} {what}: {_named(names)}" for what, names in found.items() if names]
    return Report(tuple(faults), counts)


def _named(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
