"""A table service and an outbox in one database: two services, whose places a receipt names both."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.write.outbox_shop import OrderPlaced, shop
from tests.write.table_accounts import Open, accounts

from syncline import App, View
from syncline.errors import Rejected, StaleRead
from syncline.places import Polling, SQLite
from syncline.stores.service_tables import TableRequest, TableSetup
from syncline.stores.sqlite.table_commands import SQLiteTables
from syncline.write.tables import TableService


def place_order(tx: Any, command: OrderPlaced) -> None:
    tx.execute("INSERT INTO orders VALUES (:order_id, :cents)", command)
    shop.record(tx, command)


desk = TableService(
    "desk",
    schema="CREATE TABLE orders (order_id TEXT PRIMARY KEY, cents INTEGER)",
    handles={OrderPlaced: place_order},
    publishes=["orders"],
)
SENT = View("sent", "order_id", 'SELECT order_id, status FROM shop."order"')


def test_the_receipt_of_a_table_service_names_what_its_handler_recorded(tmp_path: Path) -> None:
    place, read = SQLite(str(tmp_path / "desk.db")), SQLite(str(tmp_path / "read.db"))
    with App(desk.on(place), shop.on(place), SENT.on(read)) as app:
        first = app.send(OrderPlaced("1", 1), command_id="o-1")
        assert {name: at.n for name, at in first.token.positions.items()} == {"desk": 1, "shop": 1}
        app.sync()
        assert app.rows("sent", at_least=first.token, timeout_s=0).rows == [("1", "placed")]
        later = app.send(OrderPlaced("2", 1))
        with pytest.raises(StaleRead):
            app.rows("sent", at_least=later.token, timeout_s=0)
        app.sync()
        assert app.rows("sent", at_least=later.token, timeout_s=0).rows == [("1", "placed"), ("2", "placed")]
        assert app.send(OrderPlaced("1", 1), command_id="o-1") == first
    with App(desk.on(place), shop.on(place)) as app:
        assert app.send(OrderPlaced("1", 1), command_id="o-1") == first


def test_a_handler_of_a_polled_service_records_as_well(tmp_path: Path) -> None:
    place, read = SQLite(str(tmp_path / "desk.db")), SQLite(str(tmp_path / "read.db"))
    with App(desk.on(place, capture=Polling(3_600)), shop.on(place), SENT.on(read)) as app:
        token = app.send(OrderPlaced("1", 1)).token
        app.sync()
        assert app.rows("sent", at_least=token, timeout_s=0).rows == [("1", "placed")]


def test_an_outbox_that_is_placed_later_is_named_by_new_receipts_and_by_old_ones(tmp_path: Path) -> None:
    place = SQLite(str(tmp_path / "ledger.db"))
    with App(accounts.on(place)) as app:
        before = app.send(Open("a"), command_id="o-1").token.positions
    with App(accounts.on(place), shop.on(place)) as app:
        again = app.send(Open("a"), command_id="o-1").token.positions
    assert list(before) == ["ledger"] and dict(again) == {**before, "shop": again["shop"]}


def test_what_the_handlers_of_one_group_record_is_seen_together_and_apart_from_the_next_group(tmp_path: Path) -> None:
    def place_two(tx: Any, command: OrderPlaced) -> None:
        place_order(tx, command)
        shop.record(tx, OrderPlaced(f"{command.order_id}b", 1))

    def refuse(tx: Any, command: OrderPlaced) -> None:
        place_order(tx, command)
        raise Rejected("no")

    def group(*wanted: tuple[str, Callable[[Any, OrderPlaced], None]]) -> list[TableRequest]:
        return [TableRequest(name, "OrderPlaced", 0, OrderPlaced(name, 1), handler, True) for name, handler in wanted]

    path = str(tmp_path / "desk.db")
    with closing(SQLiteTables(path, TableSetup("desk", desk.schema, ("orders",), has_outbox=True))) as store:
        store.handle(group(("1", place_order), ("2", refuse), ("3", place_two)))
        store.handle(group(("4", place_order)))
    with closing(sqlite3.connect(path)) as log:
        found = log.execute("SELECT position, json_extract(data, '$.order_id'), append_end FROM syncline_event").fetchall()
    assert found == [(1, "1", 2), (2, "3", 3), (3, "3b", 3), (4, "4", 4)], "each leads to the next of its group, if there is one"
