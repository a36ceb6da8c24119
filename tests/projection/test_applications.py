"""A view that joins two event-sourced services and a table with triggers is kept exact, proven, mended and rebuilt."""

import random
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.crash.processes import wait_until
from tests.projection import shop
from tests.projection.shop import Cancelled, Changed, Charged, Happen, Pay, Placed, Refunded

from syncline import App, DeadToken, PostgreSQL
from syncline.testing.postgres import Databases


@pytest.fixture
def in_files(tmp_path: Path) -> Iterator[App]:
    shop.make_catalog(tmp_path)
    with shop.build(tmp_path) as app:
        yield app
    shop.currency = "EUR"


@pytest.fixture(params=["sqlite", "postgres"])
def app(request: pytest.FixtureRequest) -> Iterator[App]:
    """The same in files, and on PostgreSQL altogether."""
    if request.param == "sqlite":
        yield request.getfixturevalue("in_files")
        return
    databases: Databases = request.getfixturevalue("postgres")
    orders, payments, catalog, read = (databases.create(name) for name in ("orders", "payments", "catalog", "read"))
    with psycopg.connect(catalog) as db:
        db.execute(shop.CATALOG)
        db.execute(shop.PRODUCTS)
    with shop.build_on(*map(PostgreSQL, (orders, payments, catalog, read))) as app:
        yield app
    shop.currency = "EUR"


def fill(app: App) -> None:
    app.send(Happen(1, placed=Placed(1, "ann", {"pen": 2, "ink": 1})))
    app.send(Happen(2, placed=Placed(2, "bob", {"cap": 1})))
    app.send(Happen(1, changed=Changed(1, "pen", 3)))
    app.send(Happen(2, cancelled=Cancelled(2)))
    app.send(Pay(1, charged=Charged(1, 550)))


@contextmanager
def running(app: App) -> Iterator[None]:
    """The application's relay, in a thread of its own, until the end of the block."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def run() -> None:
        try:
            app.run(stop)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert not failures, failures


def mirror(folder: Path, sql: str, *values: object) -> list[Any]:
    with closing(sqlite3.connect(folder / "read.db", timeout=20)) as db, db:
        return db.execute(sql, values).fetchall()


def test_a_view_joins_two_event_sourced_services_and_tables(app: App) -> None:
    fill(app)
    app.sync()
    assert app.rows("board").rows == [(1, "ann", 0, 2, 550, 550, "EUR"), (2, "bob", 1, 1, 1000, None, None)]


def test_a_log_that_is_not_there_yet_is_an_empty_relation(app: App) -> None:
    app.sync()
    assert app.rows("board").rows == []
    fill(app)
    app.sync()
    assert len(app.rows("board").rows) == 2


def test_a_read_with_the_receipts_token_shows_what_the_command_did(app: App) -> None:
    fill(app)
    app.sync()
    with running(app):
        for number in range(20):
            receipt = app.send(Happen(7, placed=Placed(7, f"customer {number}", {})))
            assert app.read("board", 7, at_least=receipt.token)["customer"] == f"customer {number}"


@settings(max_examples=15, deadline=None)
@given(rng=st.randoms(use_true_random=False))
def test_the_view_is_its_query_after_any_history(rng: random.Random) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        shop.make_catalog(folder)
        with shop.build(folder) as app:
            for _ in range(rng.randrange(1, 4)):
                for _ in range(rng.randrange(12)):
                    _happen(app, folder, rng)
                app.sync()
                report = app.verify()
                assert not report.differences, report.differences
                assert {where for where, _ in report.checked} == {
                    "orders.header",
                    "orders.line",
                    "payments.payment",
                    "catalog.product",
                    "board",
                }


def _happen(app: App, folder: Path, rng: random.Random) -> None:
    order, sku = rng.randrange(4), rng.choice(("pen", "ink", "cap"))
    match rng.randrange(6):
        case 0 | 1:
            lines = {each: rng.randrange(1, 5) for each in rng.sample(("pen", "ink", "cap"), rng.randrange(4))}
            app.send(Happen(order, placed=Placed(order, rng.choice(("ann", "bob")), lines)))
        case 2:
            app.send(Happen(order, changed=Changed(order, sku, rng.randrange(4))))
        case 3:
            app.send(Happen(order, cancelled=Cancelled(order)))
        case 4:
            app.send(Pay(order, charged=Charged(order, rng.randrange(900)), refunded=rng.choice((None, Refunded(order)))))
        case _:
            with closing(sqlite3.connect(folder / "catalog.db")) as db, db:
                db.execute("UPDATE product SET cents = ? WHERE sku = ?", (rng.randrange(900), sku))


def test_verify_finds_every_damage_and_repair_mends_it(in_files: App, tmp_path: Path) -> None:
    fill(in_files)
    in_files.sync()
    right = in_files.rows("board").rows
    mirror(tmp_path, "UPDATE orders__line SET quantity = 9 WHERE order_id = 1 AND sku = 'pen'")
    mirror(tmp_path, "DELETE FROM orders__header WHERE order_id = 2")
    mirror(tmp_path, "INSERT INTO payments__payment VALUES (2, 77, 'USD')")
    report = in_files.verify()
    found = {(each.where, each.key, each.kind) for each in report.differences if each.where != "board"}
    assert found == {
        ("orders.line", (1, "pen"), "different"),
        ("orders.header", (2,), "missing"),
        ("payments.payment", (2,), "extra"),
    }
    in_files.verify(repair=True)
    assert not in_files.verify().differences
    assert in_files.rows("board").rows == right


def test_verify_goes_on_while_events_are_appended(app: App) -> None:
    fill(app)
    app.sync()
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            app.send(Happen(number % 7, placed=Placed(number % 7, f"customer {number}", {"pen": 1 + number % 5})))

    with running(app):
        writer = threading.Thread(target=write)
        writer.start()
        try:
            for _ in range(3):
                assert not app.verify().differences
        finally:
            stop.set()
            writer.join()


def test_a_rebuild_replays_with_the_rows_of_today_beside_what_is_shown(app: App) -> None:
    fill(app)
    app.sync()
    with running(app):
        app.send(Pay(2, charged=Charged(2, 40)))
        wait_until(lambda: len(app.rows("board").rows) == 2 and app.rows("board").rows[1][5] == 40, "the relay has caught up")
        shop.currency = "CHF"
        app.send(Pay(2, charged=Charged(2, 50)))
        wait_until(lambda: app.rows("board").rows[1][5] == 50, "the change is shown")
        assert [row[6] for row in app.rows("board").rows] == ["EUR", "CHF"], "old events are not looked at again by themselves"
        app.rebuild("board")
        assert [row[6] for row in app.rows("board").rows] == ["CHF", "CHF"]
        assert not app.verify().differences


def test_a_log_put_back_is_followed_as_it_is_and_older_tokens_are_refused(in_files: App, tmp_path: Path) -> None:
    fill(in_files)
    with closing(sqlite3.connect(tmp_path / "orders.db")) as log, closing(sqlite3.connect(tmp_path / "old.db")) as backup:
        log.backup(backup)
    lost = in_files.send(Happen(3, placed=Placed(3, "eve", {"pen": 1})))
    in_files.sync()
    assert len(in_files.rows("board", at_least=lost.token).rows) == 3
    in_files.close()
    with closing(sqlite3.connect(tmp_path / "orders.db")) as log, closing(sqlite3.connect(tmp_path / "old.db")) as backup:
        backup.backup(log)
    with shop.build(tmp_path) as again:
        again.sync()
        assert [row[1] for row in again.rows("board").rows] == ["ann", "bob"]
        assert not again.verify().differences
        with pytest.raises(DeadToken):
            again.rows("board", at_least=lost.token)
        receipt = again.send(Happen(3, placed=Placed(3, "zoe", {})))
        again.sync()
        assert again.read("board", 3, at_least=receipt.token, timeout_s=0)["customer"] == "zoe"


def test_status_counts_what_changed_nothing(app: App) -> None:
    app.send(Happen(1, changed=Changed(1, "pen", 3)))
    app.send(Happen(1, cancelled=Cancelled(1)))
    app.sync()
    with running(app):
        wait_until(lambda: any(feed.error for feed in app.status().feeds), "the complaint is shown")
        (error,) = [feed.error for feed in app.status().feeds if feed.error]
    assert "orders.header: 1 Patch or Delete named rows that were not there, the last of them (1,)" in error
    assert "orders.line: 1 Patch or Delete" in error
