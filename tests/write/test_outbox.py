import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import django
import pytest
import sqlalchemy
from django.conf import settings
from django.db import connection as django_connection
from django.db import connections, transaction
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from tests.write.outbox_shop import Order, OrderPlaced, OrderShipped, rows, shop
from tests.write.table_accounts import Open, accounts, handler_of, send

from syncline import App, ForeignService, View
from syncline.errors import InvalidCommand, InvalidDefinition, InvalidEvent, Rejected, StoreError
from syncline.events import Recorded
from syncline.messages import Receipt
from syncline.places import Events, Placed, SQLite, Triggers
from syncline.rows import Patch, Relation, Upsert
from syncline.stores.sqlite.events import SQLiteEventLog
from syncline.stores.sqlite.history import open_history
from syncline.write.outbox import Outbox
from syncline.write.tables import TableService

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
PLACED, SHIPPED = OrderPlaced("1", 450), OrderShipped("1")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A shop's own database, with a table of its own and the outbox's."""
    path = tmp_path / "shop.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE orders (order_id TEXT PRIMARY KEY, cents INTEGER)")
        shop.install(connection)
        connection.commit()
    return path


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path)) as connection:
        yield connection


def recorded(path: Path) -> list[Recorded]:
    with closing(SQLiteEventLog(str(path))) as log:
        return log.read()


def names(path: Path) -> list[str]:
    return [each.name for each in recorded(path)]


def ends(path: Path) -> list[int]:
    """The positions at which a reader may stop."""
    found, last = recorded(path), 0
    stops: list[int] = []
    for event in found:
        last = max(last, event.append_end)
        if event.position == last:
            stops.append(last)
    return stops


def orders(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [order_id for (order_id,) in connection.execute("SELECT order_id FROM orders ORDER BY order_id")]


# -- sqlite3 -------------------------------------------------------------------------------------------------------------


def test_an_event_is_recorded_with_the_change_that_it_tells_of(path: Path, connection: sqlite3.Connection) -> None:
    with connection:
        connection.execute("INSERT INTO orders VALUES ('1', 450)")
        shop.record(connection, PLACED)
        assert recorded(path) == [], "not before the commit"
    (event,) = recorded(path)
    assert (event.position, event.stream, event.version, event.append_end) == (1, "shop-1", 1, 1)
    assert shop.event_codec.decode_recorded(event) == PLACED
    assert orders(path) == ["1"]


def test_a_rollback_takes_the_event_away_and_leaves_no_gap(path: Path, connection: sqlite3.Connection) -> None:
    for event, is_kept in ((PLACED, True), (SHIPPED, False), (OrderPlaced("2", 1), True), (SHIPPED, True)):
        shop.record(connection, event)
        (connection.commit if is_kept else connection.rollback)()
    found = [(each.position, each.stream, each.version, each.name) for each in recorded(path)]
    assert found == [(1, "shop-1", 1, "OrderPlaced"), (2, "shop-2", 1, "OrderPlaced"), (3, "shop-1", 2, "OrderShipped")]
    assert len({each.id for each in recorded(path)}) == 3


def test_a_savepoint_that_is_undone_takes_only_its_events_away(path: Path, connection: sqlite3.Connection) -> None:
    with connection:
        shop.record(connection, PLACED)
        connection.execute("SAVEPOINT s")
        shop.record(connection, SHIPPED)
        connection.execute("ROLLBACK TO s")
        shop.record(connection, OrderPlaced("2", 1))
    assert [(each.position, each.stream) for each in recorded(path)] == [(1, "shop-1"), (2, "shop-2")]


def test_events_that_are_recorded_together_end_together(path: Path, connection: sqlite3.Connection) -> None:
    with connection:
        shop.record(connection, OrderPlaced("0", 1))
        shop.record_all(connection, [PLACED, SHIPPED, OrderPlaced("2", 1)])
        shop.record_all(connection, [])
    assert [(each.position, each.append_end) for each in recorded(path)] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [each.version for each in recorded(path)] == [1, 1, 2, 1]


@pytest.mark.parametrize("journal", ["WAL", "DELETE"])
def test_events_of_one_transaction_are_one_append_however_they_were_recorded(path: Path, journal: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA journal_mode = {journal}")
        for events in ([PLACED], [PLACED, SHIPPED, SHIPPED], [PLACED], [PLACED, SHIPPED]):
            connection.execute("BEGIN")
            for event in events:
                shop.record(connection, event)
            shop.record_all(connection, [SHIPPED, SHIPPED])
            connection.execute("COMMIT")
        connection.execute("BEGIN IMMEDIATE")
        shop.record(connection, PLACED)
        connection.execute("SAVEPOINT s")
        shop.record(connection, PLACED)
        connection.execute("ROLLBACK TO s")
        connection.execute("COMMIT")
    assert ends(path) == [3, 8, 11, 15, 16]
    with closing(open_history(str(path), timeout_s=1.0)) as history:
        assert [len(history.batch(after, 1)[2]) for after in (0, 3, 8, 11, 15)] == [3, 5, 3, 4, 1]


def test_ids_and_metadata_are_stored_with_the_event(path: Path, connection: sqlite3.Connection) -> None:
    with connection:
        shop.record(connection, PLACED, command_id="c", correlation_id="k", causation_id="m", metadata={"user": "ada"})
        shop.record(connection, PLACED, command_id="c")
        shop.record(connection, PLACED)
    assert [each.metadata for each in recorded(path)] == [
        {"command_id": "c", "correlation_id": "k", "causation_id": "m", "user": "ada"},
        {"command_id": "c", "correlation_id": "c"},
        {},
    ]
    with pytest.raises(InvalidCommand):
        shop.record(connection, PLACED, metadata={"it": object()})


@pytest.mark.parametrize("isolation_level", [None, "", "IMMEDIATE"])
def test_without_a_transaction_it_is_refused_unless_the_driver_begins_one(path: Path, isolation_level: Any) -> None:
    with closing(sqlite3.connect(path, isolation_level=isolation_level)) as connection:
        if isolation_level is None:
            with pytest.raises(StoreError, match="no transaction is open on this connection"):
                shop.record(connection, PLACED)
            connection.execute("BEGIN")
        shop.record(connection, PLACED)
        assert connection.in_transaction
        assert names(path) == []
        connection.execute("COMMIT")
    assert names(path) == ["OrderPlaced"]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sqlite3.connect(autocommit=) came with Python 3.12")
@pytest.mark.parametrize("autocommit", [True, False])
def test_the_newer_way_to_say_autocommit_is_understood(path: Path, autocommit: bool) -> None:
    with closing(sqlite3.connect(path, autocommit=autocommit)) as connection:
        if autocommit:
            with pytest.raises(StoreError, match="no transaction is open"):
                shop.record(connection, PLACED)
        else:
            shop.record(connection, PLACED)
            connection.commit()
    assert names(path) == ([] if autocommit else ["OrderPlaced"])


def test_a_writer_who_read_before_another_committed_fails_and_records_no_position_twice(path: Path) -> None:
    with closing(sqlite3.connect(path, timeout=0.05)) as late, closing(sqlite3.connect(path)) as other:
        late.execute("BEGIN")
        late.execute("SELECT * FROM orders").fetchall()
        with other:
            shop.record(other, PLACED)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            shop.record(late, SHIPPED)
        late.rollback()
        with late:
            shop.record(late, SHIPPED)
    assert [(each.position, each.name) for each in recorded(path)] == [(1, "OrderPlaced"), (2, "OrderShipped")]


def test_a_database_without_the_tables_is_told_what_to_do(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        with pytest.raises(StoreError, match=r"no event log yet; make it once with `outbox.install\(connection\)`"):
            shop.record(connection, PLACED)
        shop.install(connection)
        shop.install(connection)
        shop.record(connection, PLACED)
        connection.commit()
    assert names(tmp_path / "other.db") == ["OrderPlaced"]


def test_the_log_keeps_its_identity_when_it_is_installed_again(path: Path, connection: sqlite3.Connection) -> None:
    with closing(SQLiteEventLog(str(path))) as log:
        before = log.incarnation
    shop.install(connection)
    connection.commit()
    with closing(SQLiteEventLog(str(path))) as log:
        assert log.incarnation == before


@pytest.mark.parametrize("act", [lambda c: shop.record(c, PLACED), shop.install])
def test_a_log_of_a_newer_format_is_left_alone(path: Path, connection: sqlite3.Connection, act: Any) -> None:
    with connection:
        connection.execute("UPDATE syncline_event_log SET format = 99")
    with pytest.raises(StoreError, match="holds an event log of format 99"):
        act(connection)


@pytest.mark.parametrize(
    ("event", "words"),
    [(OrderPlaced("1", "many"), r"\$.cents"), (Order("1", 1, "x"), "is no event of this service"), (OrderPlaced("", 1), "empty")],  # type: ignore[arg-type]
)
def test_an_event_that_could_not_be_read_back_is_refused(
    path: Path, connection: sqlite3.Connection, event: Any, words: str
) -> None:
    with pytest.raises(InvalidEvent, match=words):
        shop.record_all(connection, [PLACED, event])
    connection.commit()
    assert names(path) == []


@pytest.mark.parametrize("thing", [None, "shop.db", object()])
def test_what_is_no_connection_is_told(thing: Any) -> None:
    with pytest.raises(StoreError, match="is no connection that an outbox knows; give it a sqlite3 connection"):
        shop.record(thing, PLACED)


def as_dict(cursor: sqlite3.Cursor, row: tuple[Any, ...]) -> dict[str, Any]:
    return {column[0]: value for column, value in zip(cursor.description, row, strict=True)}


@pytest.mark.parametrize("row_factory", [sqlite3.Row, as_dict])
def test_rows_of_any_shape_are_understood(path: Path, connection: sqlite3.Connection, row_factory: Any) -> None:
    connection.row_factory = row_factory
    with connection:
        shop.record(connection, PLACED)
        shop.record(connection, SHIPPED)
    shop.install(connection)
    connection.commit()
    assert names(path) == ["OrderPlaced", "OrderShipped"]
    assert connection.row_factory is row_factory


# -- a table service -----------------------------------------------------------------------------------------------------


def test_a_table_service_records_in_the_transaction_of_its_command(path: Path) -> None:
    def place(tx: Any, command: OrderPlaced) -> None:
        shop.record(tx, command, command_id="mine")
        tx.execute("INSERT INTO orders VALUES (:order_id, :cents)", command)
        if command.cents == 0:
            raise Rejected("an order for nothing")

    service = TableService("desk", schema="", handles={OrderPlaced: place}, publishes=["orders"])
    with closing(handler_of(service, path)) as handler:
        answers = [send(handler, OrderPlaced(str(n), n), service=service) for n in (0, 1, 0, 2)]
    assert [type(answer) for answer in answers] == [Rejected, Receipt, Rejected, Receipt]
    assert [(each.position, each.stream, each.append_end) for each in recorded(path)] == [(1, "shop-1", 1), (2, "shop-2", 2)]
    assert orders(path) == ["1", "2"]


# -- SQLAlchemy ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def engine(path: Path) -> Iterator[sqlalchemy.Engine]:
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    yield engine
    engine.dispose()


INSERT = sqlalchemy.text("INSERT INTO orders VALUES (:order_id, 1)")


def test_a_sqlalchemy_session_commits_and_rolls_back_the_event_with_the_row(path: Path, engine: sqlalchemy.Engine) -> None:
    with Session(engine) as session, session.begin():
        session.execute(INSERT, {"order_id": "1"})
        shop.record(session, PLACED)
        assert names(path) == []
    with Session(engine) as session:
        session.execute(INSERT, {"order_id": "2"})
        shop.record(session, OrderPlaced("2", 1))
        session.rollback()
        shop.record(session, SHIPPED)  # first in its transaction
        session.commit()
    assert names(path) == ["OrderPlaced", "OrderShipped"]
    assert orders(path) == ["1"]


def test_a_sqlalchemy_session_that_fails_records_nothing(path: Path, engine: sqlalchemy.Engine) -> None:
    with pytest.raises(ZeroDivisionError), Session(engine) as session, session.begin():
        shop.record(session, PLACED)
        raise ZeroDivisionError
    assert names(path) == []


def test_a_sqlalchemy_savepoint_takes_its_events_away(path: Path, engine: sqlalchemy.Engine) -> None:
    with Session(engine) as session, session.begin():
        shop.record(session, PLACED)
        nested = session.begin_nested()
        shop.record(session, SHIPPED)
        nested.rollback()
        shop.record(session, OrderPlaced("2", 1))
    assert [(each.position, each.stream) for each in recorded(path)] == [(1, "shop-1"), (2, "shop-2")]


def test_a_sqlalchemy_connection_and_a_scoped_session_record_as_well(path: Path, engine: sqlalchemy.Engine) -> None:
    with engine.begin() as connection:
        shop.record(connection, PLACED)
    with engine.connect() as connection:
        shop.record(connection, SHIPPED)
        shop.record(connection, SHIPPED)
        connection.rollback()
    scoped = scoped_session(sessionmaker(engine))
    shop.record(scoped, SHIPPED)
    scoped.commit()
    scoped.remove()
    assert names(path) == ["OrderPlaced", "OrderShipped"]


def test_a_sqlalchemy_connection_that_commits_by_itself_is_refused(path: Path, engine: sqlalchemy.Engine) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        with pytest.raises(StoreError, match="no transaction is open"):
            shop.record(connection, PLACED)
        with Session(connection) as session, pytest.raises(StoreError, match="no transaction is open"):
            shop.record(session, PLACED)
    assert names(path) == []


def test_sqlalchemy_installs_in_its_own_transaction(tmp_path: Path) -> None:
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'other.db'}")
    with engine.begin() as connection:
        shop.install(connection)
        shop.record(connection, PLACED)
    engine.dispose()
    assert names(tmp_path / "other.db") == ["OrderPlaced"]


# -- Django --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def on_django(path: Path) -> Iterator[Path]:
    if not settings.configured:
        settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(path)}}, USE_TZ=True)
        django.setup()
    connections["default"].settings_dict["NAME"] = str(path)
    yield path
    connections["default"].set_autocommit(True)
    connections["default"].close()


def insert_order(order_id: str) -> None:
    with django_connection.cursor() as cursor:
        cursor.execute("INSERT INTO orders VALUES (%s, 1)", [order_id])


def test_django_commits_and_rolls_back_the_event_with_the_row(on_django: Path) -> None:
    with transaction.atomic():
        insert_order("1")
        shop.record(django_connection, PLACED, metadata={"rate": "5 % or more?"})
        assert names(on_django) == []
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        insert_order("2")
        shop.record(django_connection, OrderPlaced("2", 1))
        raise ZeroDivisionError
    (event,) = recorded(on_django)
    assert (event.stream, dict(event.metadata)) == ("shop-1", {"rate": "5 % or more?"})
    assert orders(on_django) == ["1"]


def test_a_nested_atomic_block_of_django_takes_its_events_away(on_django: Path) -> None:
    with transaction.atomic():
        shop.record(django_connection, PLACED)
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            shop.record(django_connection, SHIPPED)
            raise ZeroDivisionError
        shop.record(connections["default"], OrderPlaced("2", 1))
    assert [(each.position, each.stream) for each in recorded(on_django)] == [(1, "shop-1"), (2, "shop-2")]


def test_django_outside_of_a_transaction_is_refused(on_django: Path) -> None:
    with pytest.raises(StoreError, match=r"no transaction is open.*transaction\.atomic\(\)"):
        shop.record(django_connection, PLACED)
    assert names(on_django) == []


def test_django_records_while_it_logs_its_queries(on_django: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections["default"], "force_debug_cursor", True)
    with transaction.atomic():
        shop.record(django_connection, PLACED)
    assert names(on_django) == ["OrderPlaced"]


def test_django_without_autocommit_records(on_django: Path) -> None:
    connections["default"].set_autocommit(False)
    shop.record(django_connection, PLACED)
    assert names(on_django) == []
    transaction.commit()
    assert names(on_django) == ["OrderPlaced"]


def test_django_installs(tmp_path: Path, on_django: Path) -> None:
    connections["default"].close()
    connections["default"].settings_dict["NAME"] = str(tmp_path / "other.db")
    with transaction.atomic():
        shop.install(django_connection)
        shop.record(django_connection, PLACED)
    assert names(tmp_path / "other.db") == ["OrderPlaced"]


# -- followed ------------------------------------------------------------------------------------------------------------


def test_a_view_joins_an_outbox_a_table_service_and_a_foreign_database(path: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "customers.db")) as foreign:
        foreign.execute("CREATE TABLE customer (order_id TEXT PRIMARY KEY, name TEXT)")
        foreign.execute("INSERT INTO customer VALUES ('1', 'Ada')")
        foreign.commit()
    query = """SELECT o.order_id, c.name, o.status, a.cents
                 FROM shop."order" o JOIN customers.customer c ON c.order_id = o.order_id
                 JOIN ledger.account a ON a.account = c.name"""
    parts = (
        shop.on(SQLite(str(path))),
        accounts.on(SQLite(str(tmp_path / "ledger.db"))),
        ForeignService("customers").on(SQLite(str(tmp_path / "customers.db")), Triggers()),
        View("all_three", "order_id", query).on(SQLite(str(tmp_path / "read.db"))),
    )
    with App(*parts) as app, closing(sqlite3.connect(path)) as connection:
        app.send(Open("Ada", 5))
        with connection:
            shop.record(connection, PLACED)
        app.sync()
        assert app.rows("all_three").rows == [("1", "Ada", "placed", 5)]
        with connection:
            shop.record(connection, SHIPPED)
        connection.execute("INSERT INTO orders VALUES ('held', 1)")  # a transaction that lasts holds nobody up
        token = app.token("shop")
        app.sync()
        assert app.rows("all_three", at_least=token, timeout_s=0).rows == [("1", "Ada", "shipped", 5)]


# -- the definition ------------------------------------------------------------------------------------------------------


def test_an_outbox_is_placed_where_its_events_are_and_publishes_their_rows() -> None:
    assert shop.on(SQLite("shop.db")) == Placed(shop, SQLite("shop.db"), Events())
    published = shop.published
    assert (published.service, list(published.relations)) == ("shop", ["order"])
    assert published.relations["order"].key == ("order_id",)
    assert list(published.rows(PLACED)) == [Upsert("order", order_id="1", cents=450, status="placed")]
    assert list(published.rows(SHIPPED)) == [Patch("order", order_id="1", status="shipped")]


def test_an_event_of_an_old_shape_is_written_in_the_newest() -> None:
    newer = Outbox(
        "shop",
        key="order_id",
        events=OrderPlaced,
        relations={},
        rows=rows,
        renamed={"Ordered": OrderPlaced},
        upcasts={"OrderPlaced": [lambda old: {**old, "cents": 0}]},
    )
    assert newer.event_codec.encode(PLACED)[2] == 2
    assert newer.event_codec.decode("Ordered", 1, '{"order_id":"1"}', "shop-1", 1) == OrderPlaced("1", 0)


@dataclass(frozen=True)
class Keyless:
    number: int


def test_all_faults_of_a_definition_are_told_at_once() -> None:
    with pytest.raises(InvalidDefinition) as raised:
        relations = {"order": Relation(Order, key="number"), "other": Relation(Path, key="x")}
        Outbox("shop", key="order_id", events=OrderPlaced | Keyless, relations=relations, rows=rows)
    assert [fault.message.split(";")[0] for fault in raised.value.faults] == [
        "outbox 'shop': its key is 'order_id', which event Keyless has not",
        "outbox 'shop': relation 'shop.order': its key names 'number', which Order has not",
        "outbox 'shop': relation 'shop.other': its key names 'x', which Path has not",
    ]
    with pytest.raises(InvalidDefinition, match="neither a dataclass nor a msgspec Struct"):
        Outbox("shop", key="order_id", events=int, relations={}, rows=rows)


# -- processes -----------------------------------------------------------------------------------------------------------


def test_processes_that_record_at_the_same_time_give_dense_positions(path: Path) -> None:
    def start(name: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "tests.write.outbox_shop", str(path), name, "90"]
        return subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    recorders = [start(name) for name in "ab"]
    try:
        for recorder in recorders:
            assert recorder.stdout is not None and recorder.stdout.readline() == "ready\n"
        for recorder in recorders:
            assert recorder.stdin is not None
            recorder.stdin.write("go\n")
            recorder.stdin.flush()
        for recorder in recorders:
            recorder.communicate(timeout=60)
        assert [recorder.returncode for recorder in recorders] == [0, 0]
    finally:
        for recorder in recorders:
            recorder.kill()
            recorder.wait()
    found = recorded(path)
    assert [(each.position, each.append_end) for each in found] == [(n, n + n % 2) for n in range(1, 4 * 60 + 1)]
    assert [each.version for each in found if each.stream == "shop-shared"] == list(range(1, 2 * 60 + 1))
    assert sorted(each.stream[5:] for each in found if each.name == "OrderPlaced") == orders(path)
