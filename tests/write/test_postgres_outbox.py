"""Events recorded in the transactions of others on PostgreSQL, and the places that they get in the log."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from random import Random
from typing import Any

import django
import psycopg
import pytest
import sqlalchemy
from django.conf import settings
from django.db import connections, transaction
from psycopg.rows import dict_row
from sqlalchemy.orm import Session
from tests.write.outbox_shop import OrderPlaced, OrderShipped, shop

from syncline.errors import StoreError
from syncline.events import Append, Appended, NewEvent, Recorded
from syncline.messages import Receipt
from syncline.stores.postgres.connection import connect
from syncline.stores.postgres.events import PostgresEventLog
from syncline.stores.postgres.outbox import sequence_outbox
from syncline.stores.postgres.table_commands import PostgresTables
from syncline.stores.service_tables import TableSetup
from syncline.testing.postgres import Databases
from syncline.write.commit import Request
from syncline.write.tables import TableHandler, TableService

PLACED, SHIPPED = OrderPlaced("1", 450), OrderShipped("1")


@pytest.fixture(scope="module")
def database(postgres: Databases) -> str:
    return postgres.create("shop")


@pytest.fixture
def url(database: str) -> str:
    """A shop's own database, with a table of its own and the outbox's."""
    with psycopg.connect(database) as connection:
        connection.execute("DROP SCHEMA IF EXISTS syncline CASCADE")
        connection.execute("DROP TABLE IF EXISTS orders")
        connection.execute("CREATE TABLE orders (order_id text PRIMARY KEY, cents int)")
        shop.install(connection)
    return database


@pytest.fixture
def connection(url: str) -> Iterator[psycopg.Connection[Any]]:
    with closing(psycopg.connect(url)) as connection:
        yield connection


def sequenced(url: str) -> int:
    with closing(connect(url)) as connection:
        return sequence_outbox(connection)


def recorded(url: str) -> list[Recorded]:
    """The log after all that is committed was given its place."""
    sequenced(url)
    with closing(PostgresEventLog(url)) as log:
        return log.read(limit=-1)


def streams(url: str) -> list[str]:
    return [each.stream.removeprefix("shop-") for each in recorded(url)]


def orders(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        return [order_id for (order_id,) in connection.execute("SELECT order_id FROM orders ORDER BY order_id")]


# -- recording -----------------------------------------------------------------------------------------------------------


def test_an_event_is_recorded_with_the_change_that_it_tells_of(url: str, connection: psycopg.Connection[Any]) -> None:
    connection.execute("INSERT INTO orders VALUES ('1', 450)")
    shop.record(connection, PLACED, command_id="c", metadata={"rate": "5 % or \x00 more?"})
    assert recorded(url) == [], "not before the commit"
    connection.commit()
    (event,) = recorded(url)
    assert (event.position, event.stream, event.version, event.append_end) == (1, "shop-1", 1, 1)
    assert shop.event_codec.decode_recorded(event) == PLACED
    assert event.metadata == {"command_id": "c", "correlation_id": "c", "rate": "5 % or \x00 more?"}
    assert orders(url) == ["1"]


def test_a_rollback_or_an_undone_savepoint_takes_only_its_events_away(url: str, connection: psycopg.Connection[Any]) -> None:
    shop.record(connection, PLACED)
    with connection.transaction():
        shop.record(connection, OrderPlaced("2", 1))
        with pytest.raises(ZeroDivisionError), connection.transaction():
            shop.record(connection, OrderPlaced("gone", 1))
            raise ZeroDivisionError
        shop.record(connection, SHIPPED)
    connection.commit()
    shop.record(connection, OrderPlaced("gone", 1))
    connection.rollback()
    found = [(each.position, each.stream, each.version, each.append_end) for each in recorded(url)]
    assert found == [(1, "shop-1", 1, 3), (2, "shop-2", 1, 3), (3, "shop-1", 2, 3)]


def test_events_of_one_transaction_are_one_append_and_in_order(url: str, connection: psycopg.Connection[Any]) -> None:
    shop.record(connection, OrderPlaced("0", 1))
    shop.record_all(connection, [PLACED, SHIPPED, OrderPlaced("2", 1)])
    shop.record_all(connection, [])
    connection.commit()
    shop.record(connection, SHIPPED)
    connection.commit()
    found = recorded(url)
    assert [(each.stream, each.version) for each in found] == [
        ("shop-0", 1), ("shop-1", 1), ("shop-1", 2), ("shop-2", 1), ("shop-1", 3),
    ]  # fmt: skip
    assert [each.append_end for each in found] == [4, 4, 4, 4, 5]


def test_without_a_transaction_it_is_refused_unless_the_driver_begins_one(url: str) -> None:
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        with pytest.raises(StoreError, match="no transaction is open on this connection"):
            shop.record(connection, PLACED)
        with connection.transaction():
            shop.record(connection, PLACED)
    assert streams(url) == ["1"]


def test_rows_and_cursors_of_any_shape_are_understood(url: str) -> None:
    with psycopg.connect(url, row_factory=dict_row, cursor_factory=psycopg.RawCursor) as connection:
        shop.record(connection, PLACED)
    assert streams(url) == ["1"]


def test_a_database_without_the_tables_and_one_of_another_format_are_told(url: str, connection: psycopg.Connection[Any]) -> None:
    connection.execute("UPDATE syncline.event_log SET format = 99")
    with pytest.raises(StoreError, match="holds an event log of format 99"):
        shop.record(connection, PLACED)
    connection.execute("DROP SCHEMA syncline CASCADE")
    with pytest.raises(StoreError, match=r"no event log yet; make it once with `outbox.install\(connection\)`"):
        shop.record(connection, PLACED)
    shop.install(connection)
    shop.install(connection)
    shop.record(connection, PLACED)
    connection.commit()
    assert streams(url) == ["1"]


def test_sqlalchemy_commits_and_rolls_back_the_event_with_the_row(url: str) -> None:
    engine = sqlalchemy.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    insert = sqlalchemy.text("INSERT INTO orders VALUES (:order_id, 1)")
    with Session(engine) as session, session.begin():
        session.execute(insert, {"order_id": "1"})
        shop.record(session, PLACED)
        nested = session.begin_nested()
        shop.record(session, OrderPlaced("gone", 1))
        nested.rollback()
        assert streams(url) == []
    with engine.connect() as connection:
        shop.install(connection)
        shop.record(connection, OrderPlaced("gone", 1))
        connection.rollback()
    alone = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    with alone, pytest.raises(StoreError, match="no transaction is open"):
        shop.record(alone, PLACED)
    engine.dispose()
    assert (streams(url), orders(url)) == (["1"], ["1"])


def test_django_commits_and_rolls_back_the_event_with_the_row(url: str) -> None:
    if not settings.configured:
        settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}, USE_TZ=True)
        django.setup()
    info = psycopg.conninfo.conninfo_to_dict(url)
    own = {"NAME": info["dbname"], "USER": info["user"], "HOST": info["host"], "PORT": info["port"]}
    connections.settings["pg"] = connections.configure_settings(
        {"default": {}, "pg": {"ENGINE": "django.db.backends.postgresql", **own}}
    )["pg"]
    on_postgres = connections["pg"]
    try:
        with transaction.atomic("pg"):
            with on_postgres.cursor() as cursor:
                cursor.execute("INSERT INTO orders VALUES (%s, 1)", ["1"])
            shop.record(on_postgres, PLACED, metadata={"rate": "5 % or more?"})
            with pytest.raises(ZeroDivisionError), transaction.atomic("pg"):
                shop.record(on_postgres, OrderPlaced("gone", 1))
                raise ZeroDivisionError
        with pytest.raises(StoreError, match=r"no transaction is open.*transaction\.atomic\(\)"):
            shop.record(on_postgres, PLACED)
    finally:
        on_postgres.close()
    (event,) = recorded(url)
    assert (event.stream, dict(event.metadata)) == ("shop-1", {"rate": "5 % or more?"})
    assert orders(url) == ["1"]


def test_a_table_service_records_in_the_transaction_of_its_command_and_its_receipt_contains_it(url: str) -> None:
    def place(tx: Any, command: OrderPlaced) -> None:
        shop.record(tx, command)
        tx.execute("INSERT INTO orders VALUES (:order_id, :cents)", command)

    service = TableService("desk", schema="", handles={OrderPlaced: place}, publishes=["orders"])
    setup = TableSetup("desk", "", ("orders",), has_outbox=True)
    with closing(TableHandler(service, PostgresTables(url, setup), "shop")) as handler:
        asked = [Request(OrderPlaced(key, 1), f"c-{number}") for number, key in enumerate(["1", "2", "1", "3"])]
        answers = handler.handle(asked)
        again = handler.handle(asked[:1])
    receipts = [each for each in [*answers, *again] if isinstance(each, Receipt)]
    assert len(receipts) == 4, answers
    assert [each.token.positions["shop"].n for each in receipts] == [3, 3, 3, 3]
    with closing(PostgresEventLog(url)) as log:
        assert [each.stream for each in log.read()] == ["shop-1", "shop-2", "shop-3"]


# -- sequencing: fixed schedules -----------------------------------------------------------------------------------------


def test_who_recorded_first_and_commits_last_comes_last(url: str) -> None:
    with closing(psycopg.connect(url)) as early, closing(psycopg.connect(url)) as late:
        shop.record(early, OrderPlaced("early", 1))
        shop.record(late, OrderPlaced("late", 1))
        late.commit()
        assert streams(url) == ["late"]
        shop.record(early, OrderShipped("early"))
        early.commit()
    assert streams(url) == ["late", "early", "early"]
    assert [each.append_end for each in recorded(url)] == [1, 3, 3]


def test_a_lower_transaction_number_that_writes_last_is_not_missed(url: str) -> None:
    with closing(psycopg.connect(url)) as low, closing(psycopg.connect(url)) as high:
        low.execute("SELECT pg_current_xact_id()")
        shop.record(high, OrderPlaced("high", 1))
        high.commit()
        assert streams(url) == ["high"]
        shop.record(low, OrderPlaced("low", 1))
        assert streams(url) == ["high"]
        low.commit()
    assert streams(url) == ["high", "low"]


def test_a_rollback_leaves_a_gap_of_numbers_and_none_of_positions(url: str, connection: psycopg.Connection[Any]) -> None:
    for key, is_kept in (("1", True), ("gone", False), ("2", True)):
        shop.record(connection, OrderPlaced(key, 1))
        (connection.commit if is_kept else connection.rollback)()
    assert [(each.position, each.stream) for each in recorded(url)] == [(1, "shop-1"), (2, "shop-2")]


def test_a_transaction_that_lasts_holds_nobody_up(url: str, connection: psycopg.Connection[Any]) -> None:
    with closing(psycopg.connect(url)) as lasting, closing(PostgresEventLog(url)) as log:
        shop.record(lasting, OrderPlaced("lasting", 1))
        shop.record(connection, PLACED)
        connection.commit()
        assert sequenced(url) == 1
        assert log.append([Append("direct", (NewEvent("E", "{}"),))]) == [Appended(1, 2)]
        lasting.commit()
    assert [each.stream for each in recorded(url)] == ["shop-1", "direct", "shop-lasting"]


def test_of_two_that_are_given_places_at_once_the_one_that_saw_the_other_comes_after_it(url: str) -> None:
    with closing(psycopg.connect(url)) as first, closing(psycopg.connect(url)) as second:
        shop.record(second, OrderPlaced("before", 1))  # the lower number
        first.execute("INSERT INTO orders VALUES ('1', 1)")
        shop.record(first, PLACED)
        first.commit()
        second.execute("UPDATE orders SET cents = 2 WHERE order_id = '1'")
        shop.record(second, SHIPPED)
        second.commit()
    assert [(each.stream, each.name) for each in recorded(url)] == [
        ("shop-1", "OrderPlaced"), ("shop-before", "OrderPlaced"), ("shop-1", "OrderShipped"),
    ]  # fmt: skip


def test_a_prepared_transaction_gets_its_place_when_it_is_committed(url: str) -> None:
    with closing(psycopg.connect(url)) as connection:
        connection.tpc_begin("syncline-test")
        shop.record(connection, PLACED)
        connection.tpc_prepare()
        assert streams(url) == []
        connection.tpc_commit()
    assert streams(url) == ["1"]


def test_a_role_whose_transactions_repeat_their_reads_sequences_what_was_committed_while_it_waited(url: str) -> None:
    with ExitStack() as stack:
        holder = stack.enter_context(closing(psycopg.connect(url)))
        one = stack.enter_context(closing(psycopg.connect(url)))
        setting = {"default_transaction_isolation": r"repeatable\ read"}
        sequencer = stack.enter_context(closing(connect(url, settings=setting)))
        shop.record(one, PLACED)
        one.commit()
        holder.execute("SELECT pg_advisory_xact_lock(1400467043, 4)")
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(sequence_outbox, sequencer)
            wait_for_lock(url)
            shop.record(one, SHIPPED)
            one.commit()
            holder.rollback()
            assert waiting.result(timeout=30) == 2


def wait_for_lock(url: str) -> None:
    """Returns when somebody waits for the log's lock."""
    with psycopg.connect(url, autocommit=True) as connection:
        asked = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = 4"
        for _ in range(10_000):
            if connection.execute(asked).fetchone() != (0,):
                return
    raise AssertionError("nobody waits for the lock")


def test_many_recorders_sequencers_and_writers_at_once_lose_nothing_and_tear_nothing(url: str) -> None:
    """Each transaction records two to four events in streams that all share; every third is rolled back."""
    stop = threading.Event()

    def record(name: int) -> list[list[int]]:
        draw, kept = Random(name), []
        with closing(psycopg.connect(url)) as connection:
            for number in range(40):
                cents = [name * 1_000_000 + number * 10 + part for part in range(draw.randrange(2, 5))]
                for each in cents:
                    shop.record(connection, OrderPlaced(f"{draw.randrange(3)}", each))
                if number % 3 == 2:
                    connection.rollback()
                else:
                    connection.commit()
                    kept.append(cents)
        return kept

    def sequence() -> None:
        with closing(connect(url)) as connection:
            while not stop.is_set():
                sequence_outbox(connection)

    def write() -> int:
        with closing(PostgresEventLog(url)) as log:
            return sum(isinstance(log.append([Append("shop-0", (NewEvent("Direct", "{}"),))])[0], Appended) for _ in range(60))

    with ThreadPoolExecutor(9) as pool:
        sequencers = [pool.submit(sequence) for _ in range(2)]
        recorders = [pool.submit(record, name) for name in range(6)]
        written = pool.submit(write)
        kept = [cents for each in recorders for cents in each.result(timeout=60)]
        assert written.result(timeout=60) == 60
        stop.set()
        for each in sequencers:
            each.result(timeout=60)
    found = recorded(url)
    assert [each.position for each in found] == list(range(1, len(found) + 1))
    for stream in ("shop-0", "shop-1", "shop-2"):
        versions = [each.version for each in found if each.stream == stream]
        assert versions == list(range(1, len(versions) + 1))
    groups: dict[int, list[int]] = {}
    for each in found:
        if each.name == "OrderPlaced":
            groups.setdefault(each.append_end, []).append(shop.event_codec.decode_recorded(each).cents)  # type: ignore[attr-defined]
    assert sorted(groups.values()) == sorted(kept)
    for name in range(6):
        mine = [group for group in groups.values() if group[0] // 1_000_000 == name]
        assert mine == sorted(mine), "a recorder's transactions in another order than it committed them"
