"""What `syncline.testing` offers does what it says, and a test that should fail with it does, readably."""

import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from tests.shop.app import app
from tests.shop.catalog import AddProduct, Reprice, catalog
from tests.shop.orders import CancelOrder, OrderCancelled, OrderPlaced, PlaceOrder, orders
from tests.shop.summary import order_summary
from tests.write import campus
from tests.write.campus import Join, Joined, Offered

from syncline import (
    App,
    ForeignService,
    InvalidCommand,
    InvalidDefinition,
    InvalidEvent,
    NotFound,
    Polling,
    SQLite,
    StaleRead,
    Triggers,
    View,
    load_config,
)
from syncline.errors import Unavailable
from syncline.testing import Clock, given, in_memory

PLACED = OrderPlaced("o-1", "Ada", {"tea": 2})

# -- given, when, then -------------------------------------------------------------------------------------------------


def test_other_events_than_expected_are_told_with_their_difference() -> None:
    with pytest.raises(AssertionError) as failed:
        given(orders, PLACED).when(CancelOrder("o-1", "no need")).then(OrderCancelled("o-1", "no money"))
    assert str(failed.value).splitlines() == [
        "given",
        "    OrderPlaced(order_id='o-1', customer='Ada', lines={'tea': 2})",
        "when",
        "    CancelOrder(order_id='o-1', reason='no need')",
        "gave other events than expected (+ is one too many, - is missing)",
        "    - OrderCancelled(order_id='o-1', reason='no money')",
        "    + OrderCancelled(order_id='o-1', reason='no need')",
    ]


CANCEL = CancelOrder("o-1", "no need")
FAILURES = {
    "no event where one is expected": (lambda: given(orders, PLACED).when(PlaceOrder("o-1", "Ada", {"x": 1})).then(PLACED), "-"),
    "a rejection where events are expected": (lambda: given(orders).when(CANCEL).then(PLACED), "was rejected: an order that is"),
    "events where nothing is expected": (lambda: given(orders, PLACED).when(CANCEL).nothing_happens(), "expected to do nothing"),
    "a rejection where nothing is expected": (lambda: given(orders).when(CANCEL).nothing_happens(), "expected that nothing"),
    "events where a rejection is expected": (
        lambda: given(orders, PLACED).when(CANCEL).rejected(),
        "expected to be rejected, and",
    ),
    "another rejection": (lambda: given(orders).when(CANCEL).rejected("too late"), "with 'too late', and was with 'an order"),
}


@pytest.mark.parametrize(("example", "words"), FAILURES.values(), ids=FAILURES)
def test_an_example_that_does_not_hold_fails_and_says_why(example: object, words: str) -> None:
    with pytest.raises(AssertionError, match="^given\n") as failed:
        example()  # type: ignore[operator]
    assert words in str(failed.value)


def test_events_of_two_classes_with_the_same_values_are_told_apart() -> None:
    with pytest.raises(AssertionError, match="gave other events"):
        given(campus.seats, Offered("c", 1)).when(Join("c", "s")).then(campus.Left("c", "s"))


def test_an_event_that_could_not_be_stored_fails_the_example() -> None:
    with pytest.raises(InvalidEvent, match=r"OrderPlaced cannot be stored: \$\.lines"):
        given(orders, OrderPlaced("o-1", "Ada", {"tea": "two"}))  # type: ignore[dict-item]
    with pytest.raises(InvalidEvent, match="would be read back as"):
        given(orders, PLACED).when(CANCEL).then(OrderCancelled("o-1", b"no need"))  # type: ignore[arg-type]
    careless = replace(orders, decide=lambda order, command: [OrderCancelled(command.order_id, 7)])  # type: ignore[arg-type]
    with pytest.raises(InvalidEvent):
        given(careless, PLACED).when(CANCEL)


def test_a_command_that_could_not_be_sent_fails_the_example() -> None:
    with pytest.raises(InvalidCommand):
        given(orders).when(PlaceOrder("o-1", 7, {}))  # type: ignore[arg-type]
    with pytest.raises(InvalidCommand, match="order_id"):
        given(orders).when(PlaceOrder("", "Ada", {}))


def test_what_decide_raises_by_mistake_is_no_rejection() -> None:
    mistaken = replace(orders, decide=lambda order, command: [order.oops])
    with pytest.raises(AttributeError):
        given(mistaken, PLACED).when(CANCEL)


def test_an_evolve_that_cannot_take_a_decided_event_fails_the_example() -> None:
    mistaken = replace(orders, evolve=lambda order, event: order.oops if isinstance(event, OrderCancelled) else order)
    with pytest.raises(AttributeError):
        given(replace(mistaken, decide=lambda *_: [OrderCancelled("o-1", "x")]), PLACED).when(CANCEL)


def test_a_service_over_a_query_sees_of_the_given_events_those_that_match() -> None:
    full = [Offered("c", 1), Joined("c", "s1")]
    given(campus.seats, *full, Offered("d", 1)).when(Join("d", "s2")).then(Joined("d", "s2"))
    given(campus.seats, *full).when(Join("c", "s2")).rejected("is full")
    given(campus.invoices, campus.Billed("o-1", 7, 100)).when(campus.Bill("o-2", 5)).then(campus.Billed("o-2", 8, 5))


def test_only_event_services_have_rules_without_a_database() -> None:
    with pytest.raises(TypeError, match=r"are tested with in_memory\(app\)"):
        given(catalog)  # type: ignore[arg-type]


# -- the whole, in memory ----------------------------------------------------------------------------------------------


def test_nothing_is_left_of_an_application_in_memory() -> None:
    threads = set(threading.enumerate())
    with in_memory(app) as shop:
        shop.send(AddProduct("tea", "Assam", 450))
        shop.settle()
        (folder,) = {Path(service.database).parents[1] for service in shop.app.config.services}
        assert folder.is_dir() and any(folder.rglob("*.db"))
        inside = set(threading.enumerate())
    assert len(inside) > len(threads), "one that commits"
    assert set(threading.enumerate()) == threads
    assert not folder.exists()


def test_the_databases_of_the_application_are_not_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mine = App(*(replace(part, store=SQLite(Path(part.store.path).name)) for part in app.parts))  # type: ignore[union-attr]
    with in_memory(mine) as shop:
        shop.send(PlaceOrder("o-1", "Ada", {"tea": 2}))
        shop.settle()
    assert list(tmp_path.iterdir()) == []


def test_each_application_in_memory_is_empty_at_first() -> None:
    for _ in range(2):
        with in_memory(app) as shop:
            assert shop.rows(order_summary).rows == []
            assert shop.send(PlaceOrder("o-1", "Ada", {"tea": 2})).version == 1


def test_a_read_that_came_too_early_says_what_to_do_and_after_settling_it_is_served() -> None:
    with in_memory(app) as shop:
        shop.send(AddProduct("tea", "Assam", 450))
        receipt = shop.send(PlaceOrder("o-1", "Ada", {"tea": 2}))
        with pytest.raises(StaleRead) as stale:
            shop.read(order_summary, "o-1", at_least=receipt.token)
        assert any("settle()" in note for note in stale.value.__notes__)
        shop.settle()
        assert shop.read(order_summary, "o-1", at_least=receipt.token)["total_cents"] == 900
        with pytest.raises(NotFound):
            shop.read(order_summary, "o-2", at_least=shop.token("orders"))


def test_settling_again_and_again_is_quick() -> None:
    with in_memory(app) as shop:
        shop.send(AddProduct("tea", "Assam", 0))
        shop.send(PlaceOrder("o-1", "Ada", {"tea": 2}))
        begun = time.monotonic()
        for price in range(1, 101):
            receipt = shop.send(Reprice("tea", price))
            shop.settle()
            assert shop.read(order_summary, "o-1", at_least=receipt.token)["total_cents"] == 2 * price
    assert time.monotonic() - begun < 10, "a hundred times opening everything anew would be longer"


def test_time_stands_still_until_it_is_told_to_go_on() -> None:
    clock = Clock(5.0)
    with in_memory(app, clock=clock) as shop:
        assert shop.clock is clock
        shop.send(PlaceOrder("o-1", "Ada", {"tea": 2}))
        clock.advance(60)
        shop.send(CancelOrder("o-1", "too slow"))
        (path,) = [service.database for service in shop.app.config.services if service.name == "orders"]
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("SELECT name, at FROM syncline_event").fetchall() == [
                ("OrderPlaced", 5.0),
                ("OrderCancelled", 65.0),
            ]
    with pytest.raises(ValueError, match="time cannot go back"):
        clock.advance(-1)


def test_any_thread_may_send_meanwhile() -> None:
    with in_memory(app) as shop:
        shop.send(AddProduct("tea", "Assam", 1))
        futures = []
        threads = [
            threading.Thread(target=lambda n=n: futures.append(shop.submit(PlaceOrder(f"o-{n}", "Ada", {"tea": n + 1}))))
            for n in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for future in futures:
            future.result()
        shop.settle()
        assert sorted(row[-2] for row in shop.rows(order_summary).rows) == list(range(1, 21))


def test_what_needs_a_relay_of_its_own_can_be_done_between_two_settles() -> None:
    with in_memory(app) as shop:
        shop.send(AddProduct("tea", "Assam", 450))
        shop.send(PlaceOrder("o-1", "Ada", {"tea": 2}))
        shop.settle()
        shop.app.rebuild("order_summary")
        assert not shop.app.verify().differences
        shop.send(Reprice("tea", 500))
        shop.settle()
        assert shop.read(order_summary, "o-1")["total_cents"] == 1000
        shop.app.sync()
        shop.settle()


# -- services that others write for ------------------------------------------------------------------------------------

STOCK = "CREATE TABLE stock (sku TEXT PRIMARY KEY, quantity INTEGER NOT NULL)"
LEFT = View("left_over", key="sku", query="SELECT s.sku, s.quantity FROM warehouse.stock s")


@pytest.fixture
def warehouse(tmp_path: Path) -> Path:
    path = tmp_path / "warehouse.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(STOCK)
    return path


@pytest.mark.parametrize("capture", [Triggers(), Polling(every_s=3_600)], ids=["triggers", "polling"])
def test_a_service_that_others_write_for_is_followed_in_a_database_that_the_test_made(
    warehouse: Path, capture: Triggers | Polling
) -> None:
    mixed = App(ForeignService("warehouse", ("stock",)).on(SQLite("real.db"), capture), LEFT.on(SQLite("read.db")))
    with in_memory(mixed, databases={"warehouse": warehouse}) as world:
        for quantity in (7, 5):
            with closing(sqlite3.connect(warehouse)) as connection, connection:
                connection.execute("INSERT OR REPLACE INTO stock VALUES ('tea', ?)", [quantity])
            world.settle()
            assert world.read(LEFT, "tea") == {"sku": "tea", "quantity": quantity}
        token = world.token("warehouse")
        world.settle()
        assert world.read(LEFT, "tea", at_least=token)["quantity"] == 5


def test_a_whole_configuration_is_followed_in_the_same_way(warehouse: Path, tmp_path: Path) -> None:
    (tmp_path / "left_over.sql").write_text("-- key: sku\nSELECT sku, quantity FROM warehouse.stock")
    (tmp_path / "syncline.toml").write_text(
        '[service.warehouse]\ndatabase = "sqlite:///real.db"\ncapture = "triggers"\ntables = "*"\n'
        '[read_model.shop]\ndatabase = "sqlite:///read.db"\nviews = "*.sql"\n'
    )
    with in_memory(App(load_config(tmp_path / "syncline.toml")), databases={"warehouse": warehouse}) as world:
        with closing(sqlite3.connect(warehouse)) as connection, connection:
            connection.execute("INSERT INTO stock VALUES ('tea', 7)")
        world.settle()
        assert world.read("left_over", "tea")["quantity"] == 7
    assert not (tmp_path / "read.db").exists()


def test_a_service_that_others_write_for_is_refused_without_a_database_of_the_test() -> None:
    mixed = App(ForeignService("warehouse", ("stock",)).on(SQLite("real.db"), Triggers()), LEFT.on(SQLite("read.db")))
    with pytest.raises(InvalidDefinition, match="this test must not touch it; give it one that the test made"), in_memory(mixed):
        raise AssertionError("it was opened")


def test_settling_tells_of_a_service_that_cannot_be_followed(warehouse: Path) -> None:
    mixed = App(ForeignService("warehouse", ("stock",)).on(SQLite("real.db"), Triggers()), LEFT.on(SQLite("read.db")))
    with in_memory(mixed, databases={"warehouse": warehouse}) as world:
        with closing(sqlite3.connect(warehouse)) as connection:
            connection.execute("DROP TABLE stock")
        with pytest.raises(Unavailable, match="service 'warehouse' cannot be followed: .*stock"):
            world.settle()


# -- the conformance suite ---------------------------------------------------------------------------------------------


def test_what_a_store_does_not_offer_is_skipped_by_name(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text('[pytest]\nmarkers =\n  requires(capability): x\n  long: x\naddopts = -m "not long"\n')
    (tmp_path / "test_log.py").write_text("""
from functools import partial

import pytest
from syncline.stores.sqlite.events import SQLiteEventLog
from syncline.testing.conformance import *
from syncline.testing.conformance import Subject

@pytest.fixture
def subject(tmp_path):
    return Subject(partial(SQLiteEventLog, str(tmp_path / "events.db")), has_processes=False)
""")
    asked = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-rs",
        "-k",
        "full_disk or newer_version or after_a_kill or positions_only_rise",
    ]
    done = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "4 skipped" in done.stdout and "failed" not in done.stdout, done.stdout
    for missing in ("full", "newer", "processes"):
        assert f"this store does not offer: {missing}" in done.stdout
