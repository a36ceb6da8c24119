"""Services and an outbox on PostgreSQL, sent to and followed by an App: what was acknowledged is read with its token."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.write.ledger import Deposit, ledger
from tests.write.outbox_shop import OrderPlaced, OrderShipped, shop

from syncline import WAL, App, Polling, PostgreSQL, Rejected, SQLite, TableService, Triggers, View
from syncline.testing.postgres import Databases


@dataclass(frozen=True)
class Place:
    order_id: str
    cents: int


def place(tx: Any, command: Place) -> None:
    tx.execute("INSERT INTO sale VALUES (:order_id, :cents)", command)
    shop.record(tx, OrderPlaced(command.order_id, command.cents))
    if command.cents == 0:
        raise Rejected("an order for nothing")


desk = TableService(
    "desk", schema="CREATE TABLE sale (order_id text PRIMARY KEY, cents int NOT NULL)", handles={Place: place}, publishes=["sale"]
)
BOTH = """SELECT s.order_id, s.cents, o.status FROM desk.sale s JOIN shop."order" o ON o.order_id = s.order_id"""


@pytest.mark.parametrize("capture", [Triggers(), WAL(), Polling(every_s=0.05)], ids=["triggers", "wal", "polling"])
def test_a_receipt_of_a_table_service_is_honoured_for_its_tables_and_for_what_it_recorded(
    postgres: Databases, tmp_path: Path, capture: Any
) -> None:
    url = PostgreSQL(postgres.create("desk"))
    view = View("both", "order_id", BOTH).on(SQLite(str(tmp_path / "read.db")))
    with App(desk.on(url, capture), shop.on(url), view) as app:
        app.sync()
        with psycopg.connect(url.database) as lasting:  # a transaction that lasts holds nobody up
            lasting.execute("INSERT INTO sale VALUES ('held', 1)")
            receipts = [app.send(Place(str(number), number), command_id=f"c-{number}") for number in (1, 2)]
            with pytest.raises(Rejected):
                app.send(Place("3", 0))
            app.sync()
            assert app.rows("both", at_least=receipts[1], timeout_s=10).rows == [("1", 1, "placed"), ("2", 2, "placed")]
            assert app.send(Place("1", 1), command_id="c-1").command_id == "c-1"
            lasting.rollback()
        with psycopg.connect(url.database) as own:
            shop.record(own, OrderShipped("1"))
        token = app.token("shop")
        app.sync()
        assert app.rows("both", at_least=token, timeout_s=10).rows == [("1", 1, "shipped"), ("2", 2, "placed")]


def test_an_event_sourced_service_goes_on_where_another_process_left_it(postgres: Databases) -> None:
    url = PostgreSQL(postgres.create("ledger"))
    with App(ledger.on(url)) as app, App(ledger.on(url)) as other:
        for number in range(1, 4):
            first = app.send(Deposit("a", 1), command_id=f"a-{number}")
            second = other.send(Deposit("a", 2))
            assert (first.version, second.version) == (2 * number - 1, 2 * number)
        assert app.send(Deposit("a", 1), command_id="a-1").version == 1
        (event,) = second.events
        assert event.balance == 9  # type: ignore[attr-defined]
