"""What people and machines do wrong: each time the program says what it found and what to do, and loses nothing."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from tests import command_line
from tests.command_line import Said

import syncline
from syncline.app import App
from syncline.config import load_config
from syncline.errors import SynclineError, Unavailable

DONE, ANSWER_IS_NO, WRONG_USE = 0, 1, 2
TIMEOUT_S = 20.0
LOOK_S = 0.01

ORDERS = """
CREATE TABLE orders (order_id INTEGER PRIMARY KEY, customer TEXT, cents INTEGER, code TEXT UNIQUE);
INSERT INTO orders VALUES (1, 'Ada', 500, 'a'), (2, 'Bob', 700, 'b'), (3, 'Cy', 900, 'c');
"""
STOCK = """
CREATE TABLE item (sku TEXT PRIMARY KEY, amount INTEGER);
INSERT INTO item VALUES ('nut', 5), ('bolt', 7);
"""
BOARD = "-- key: order_id\nSELECT order_id, customer, cents FROM orders.orders\n"
ITEMS = "-- key: sku\nSELECT sku, amount FROM stock.item\n"

# Wraps sqlite3.connect in the program under test: a file `X.full` beside a database X holds the most pages it may have from the
# next transaction on, a file `X.readonly` makes it read-only. As root neither a quota nor a file mode would do.
FAULTS = """
import os, sqlite3
from urllib.parse import unquote
original = sqlite3.connect
class Connection(sqlite3.Connection):
    place = ""
    def execute(self, sql, *values):
        if sql.startswith("BEGIN"):
            full, most = self.place + ".full", 1000000
            if os.path.exists(full):
                most = int(open(full).read())
            super().execute(f"PRAGMA max_page_count = {most}")
            is_readonly = os.path.exists(self.place + ".readonly")
            super().execute(f"PRAGMA query_only = {int(is_readonly)}")
        return super().execute(sql, *values)
def connect(path, *values, **options):
    connection = original(path, *values, factory=Connection, **options)
    connection.place = unquote(str(path).removeprefix("file:").partition("?")[0])
    return connection
sqlite3.connect = connect
"""


class Place:
    """A folder with two services and a read model of them, used through the command line as people use it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.captures = {"orders": "triggers", "stock": "triggers"}
        self.tables = {"orders": '"*"', "stock": '"*"'}
        (folder / "views").mkdir()
        (folder / "faults").mkdir()
        (folder / "faults" / "sitecustomize.py").write_text(FAULTS)
        self.view("board", BOARD)
        self.view("items", ITEMS)
        self.sql("orders", ORDERS)
        self.sql("stock", STOCK)
        self.configure()

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.db"

    def view(self, name: str, text: str | None) -> None:
        file = self.folder / "views" / f"{name}.sql"
        if text is None:
            file.unlink()
        else:
            file.write_text(text)

    def configure(self, **captures: str) -> None:
        self.captures |= captures
        services = "".join(
            f'[service.{name}]\ndatabase = "sqlite:///{name}.db"\ncapture = "{capture}"\ntables = {self.tables[name]}\n'
            + ("every_s = 0.05\n" if capture == "polling" else "")
            for name, capture in self.captures.items()
        )
        read_model = '[read_model.shop]\ndatabase = "sqlite:///read.db"\nviews = "views/*.sql"\n'
        (self.folder / "syncline.toml").write_text(services + read_model)

    def sql(self, name: str, script: str) -> None:
        with closing(sqlite3.connect(self.path(name), isolation_level=None)) as connection:
            connection.executescript(script)

    def ask(self, name: str, query: str) -> list[Any]:
        with closing(sqlite3.connect(self.path(name))) as connection:
            return connection.execute(query).fetchall()

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "syncline", *words]

    @property
    def environment(self) -> dict[str, str]:
        source = str(Path(next(iter(syncline.__path__))).parent)
        return {**os.environ, "PYTHONPATH": os.pathsep.join([str(self.folder / "faults"), source])}

    def cli(self, *words: str) -> Said:
        if words[0] != "run" and not any(path.suffix in (".full", ".readonly") for path in self.folder.iterdir()):
            return command_line.syncline(self.folder, *words)
        done = subprocess.run(
            self.command(*words), cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        return Said(done.returncode, done.stdout, done.stderr)

    @contextmanager
    def running(self) -> Iterator["Running"]:
        with (self.folder / "run.log").open("a") as log:
            process = subprocess.Popen(self.command("run"), cwd=self.folder, env=self.environment, stdout=log, stderr=log)
        try:
            yield Running(self, process)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def log(self) -> str:
        return (self.folder / "run.log").read_text()

    @property
    def app(self) -> App:
        """The same questions without a process for each: for waiting."""
        return App(load_config(self.folder / "syncline.toml"))

    def feed(self, service: str) -> dict[str, Any]:
        unknown = {"state": "unknown", "error": ""}
        try:
            return next((asdict(feed) for feed in self.app.status().feeds if feed.service == service), unknown)
        except Unavailable:  # the read store is only being made
            return unknown

    def is_live(self, service: str) -> bool:
        return bool(self.feed(service)["state"] == "live")

    def is_failed(self, service: str) -> bool:
        return bool(self.feed(service)["state"] == "failed")

    def rows(self, view: str = "board") -> list[tuple[Any, ...]]:
        return self.app.rows(view).rows

    def rows_if_any(self, view: str) -> list[tuple[Any, ...]]:
        try:
            return self.rows(view)
        except SynclineError:
            return []

    def read(self, view: str = "board", *words: str) -> dict[str, Any]:
        said = self.cli("read", view, "--json", *words)
        assert said.status == DONE, said.text
        found: dict[str, Any] = json.loads(said.out)
        return found

    def has_mirrored(self, service: str = "orders", view: str = "board", columns: str = "order_id, customer, cents") -> bool:
        table = {"orders": "orders", "stock": "item"}[service]
        try:
            return sorted(self.rows(view)) == sorted(self.ask(service, f"SELECT {columns} FROM {table}"))
        except SynclineError:
            return False

    def assert_exact(self) -> None:
        said = self.cli("verify")
        assert said.status == DONE and "no difference" in said.out, said.text + self.log() if self.has_log() else said.text

    def has_log(self) -> bool:
        return (self.folder / "run.log").exists()


class Running:
    """`syncline run` of a place."""

    def __init__(self, place: Place, process: "subprocess.Popen[bytes]") -> None:
        self.place, self.process = place, process

    def until(self, condition: Callable[[], bool]) -> None:
        """Waits for something to become true while the relay runs."""
        deadline = time.monotonic() + TIMEOUT_S
        while not condition():
            assert self.process.poll() is None, self.place.log()
            assert time.monotonic() < deadline, f"{self.place.log()}\n{self.place.app.status()}"
            time.sleep(LOOK_S)

    def until_live(self) -> None:
        self.until(lambda: all(map(self.place.is_live, self.place.captures)))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def assert_refused(said: Said, *parts: str, status: int = WRONG_USE) -> None:
    assert said.status == status, said.text
    assert "Traceback" not in said.text
    for part in parts:
        assert part in said.err, said.text


# -- databases ---------------------------------------------------------------------------------------------------------


def test_a_missing_database_is_refused_and_followed_once_it_is_there(place: Place) -> None:
    place.path("orders").unlink()
    assert_refused(place.cli("sync"), "there is no database", "orders.db", "'database' in syncline.toml", "syncline.toml:1")
    assert_refused(place.cli("run"), "there is no database")
    place.sql("orders", ORDERS)
    assert place.cli("sync").status == DONE
    place.assert_exact()


@pytest.mark.parametrize("capture", ["triggers", "polling"])
def test_a_database_that_goes_missing_is_followed_again_when_it_is_back(place: Place, capture: str) -> None:
    place.configure(orders=capture)
    with place.running() as relay:
        relay.until_live()
        place.path("orders").rename(place.folder / "away.db")
        relay.until(lambda: place.is_failed("orders") and "there is no database" in place.feed("orders")["error"])
        place.sql("stock", "UPDATE item SET amount = 50")
        relay.until(lambda: place.has_mirrored("stock", "items", "sku, amount"))
        assert any("there is no database" in note for note in place.read()["notes"])
        (place.folder / "away.db").rename(place.path("orders"))
        place.sql("orders", "UPDATE orders SET cents = 1")
        relay.until(lambda: place.has_mirrored())
    place.assert_exact()


def test_a_file_that_is_no_database_is_refused(place: Place) -> None:
    kept = place.path("orders").read_bytes()
    place.path("orders").write_bytes(b"this is a text, and quite a long one, so that nobody takes it for an empty file" * 20)
    assert_refused(place.cli("sync"), "orders.db", "not an SQLite database", "'database' in syncline.toml")
    place.path("orders").write_bytes(kept)
    assert place.cli("sync").status == DONE
    place.assert_exact()


@pytest.mark.parametrize("mode, capture", [("delete", "triggers"), ("wal", "triggers"), ("delete", "polling")])
def test_a_source_locked_for_long_is_told_and_keeps_nothing_else_waiting(place: Place, mode: str, capture: str) -> None:
    place.sql("orders", f"PRAGMA journal_mode = {mode}")
    place.configure(orders=capture)
    with place.running() as relay, closing(sqlite3.connect(place.path("orders"), isolation_level=None, timeout=10)) as owner:
        relay.until_live()
        owner.execute("BEGIN EXCLUSIVE")
        owner.execute("UPDATE orders SET cents = cents + 1")
        if mode == "delete":
            relay.until(lambda: place.is_failed("orders"))
            assert "locked" in place.feed("orders")["error"]
        place.sql("stock", "UPDATE item SET amount = 50")
        relay.until(lambda: place.has_mirrored("stock", "items", "sku, amount"))
        owner.execute("COMMIT")
        relay.until(lambda: place.has_mirrored() and place.is_live("orders"))
    place.assert_exact()


def test_a_source_locked_at_the_start_is_followed_when_it_is_free(place: Place) -> None:
    with closing(sqlite3.connect(place.path("orders"), isolation_level=None)) as owner:
        owner.execute("BEGIN EXCLUSIVE")
        assert "locked" in place.cli("check").out
        with place.running() as relay:
            relay.until(lambda: "locked" in str(place.feed("orders")["error"]))
            assert "it waits for a service" in place.cli("status").out
            relay.until(lambda: place.is_live("stock"))
            owner.execute("COMMIT")
            relay.until_live()
            relay.until(lambda: place.has_mirrored())
    place.assert_exact()


def test_a_source_that_may_only_be_read_is_told_with_both_ways_out(place: Place) -> None:
    place.folder.joinpath("orders.db.readonly").touch()
    said = place.cli("sync")
    assert said.status == ANSWER_IS_NO
    error = place.feed("orders")["error"]
    assert "readonly" in error and "writable for this user" in error and 'capture = "polling"' in error
    assert place.rows("items") == [("bolt", 7), ("nut", 5)]
    place.configure(orders="polling")
    assert place.cli("sync").status == DONE
    place.assert_exact()
    assert place.ask("orders", "SELECT count(*) FROM sqlite_master WHERE name LIKE 'syncline%'") == [(0,)]


def test_a_full_disk_under_the_read_store_loses_nothing(place: Place) -> None:
    with place.running() as relay:
        relay.until_live()
        relay.until(lambda: place.has_mirrored() and place.has_mirrored("stock", "items", "sku, amount"))
        pages = place.ask("read", "PRAGMA page_count")[0][0]
        full = place.folder / "read.db.full"
        full.write_text(str(pages))
        place.sql(
            "orders",
            "WITH RECURSIVE n(i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM n WHERE i < 4000) "
            "INSERT INTO orders SELECT i, 'many', i, 'code' || i FROM n",
        )
        relay.until(lambda: place.is_failed("orders"))
        assert "make room on the disk" in place.feed("orders")["error"]
        assert len(place.rows()) == 3
        place.sql("stock", "UPDATE item SET amount = 50")
        relay.until(lambda: place.has_mirrored("stock", "items", "sku, amount"))
        full.unlink()
        relay.until(lambda: place.has_mirrored() and place.is_live("orders"))
    place.assert_exact()


def test_a_full_disk_while_a_view_is_built_is_told_and_the_build_ends_later(place: Place) -> None:
    place.cli("sync")
    full = place.folder / "read.db.full"
    full.write_text(str(place.ask("read", "PRAGMA page_count")[0][0]))
    place.view("totals", "-- key: customer\nSELECT customer, SUM(cents) AS cents FROM orders.orders GROUP BY customer\n")
    assert_refused(place.cli("sync"), "make room on the disk", status=ANSWER_IS_NO)
    place.sql("orders", "UPDATE orders SET cents = cents + 1")
    with place.running() as relay:
        relay.until(lambda: "make room on the disk" in place.log())
        full.unlink()
        relay.until(lambda: place.has_mirrored() and ("Ada", 501) in place.rows_if_any("totals"))
    place.assert_exact()


def test_a_full_disk_under_the_source_is_told_and_nothing_is_lost(place: Place) -> None:
    pages = place.ask("orders", "PRAGMA page_count")[0][0]
    full = place.folder / "orders.db.full"
    full.write_text(str(pages))
    said = place.cli("sync")
    assert said.status == ANSWER_IS_NO, said.text
    assert "make room" in str(place.feed("orders")["error"]), said.text
    full.unlink()
    assert place.cli("sync").status == DONE
    place.assert_exact()


# -- schemas -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change, capture", [("DROP TABLE orders", "triggers"), ("ALTER TABLE orders RENAME TO bookings", "polling")]
)
def test_a_table_dropped_or_renamed_is_told_and_followed_again(place: Place, change: str, capture: str) -> None:
    place.configure(orders=capture)
    with place.running() as relay:
        relay.until_live()
        place.sql("orders", change)
        relay.until(lambda: place.is_failed("orders"))
        assert "no table 'orders'" in place.feed("orders")["error"]
        assert len(place.read()["rows"]) == 3 and "no table 'orders'" in place.read()["notes"][0]
        place.sql("stock", "UPDATE item SET amount = 50")
        relay.until(lambda: place.has_mirrored("stock", "items", "sku, amount"))
        if "RENAME" in change:
            place.sql("orders", "UPDATE bookings SET cents = 0; ALTER TABLE bookings RENAME TO orders")
        else:
            place.sql("orders", ORDERS.replace("500", "501"))
        relay.until(lambda: place.is_live("orders") and place.has_mirrored())
    place.assert_exact()


@pytest.mark.parametrize("capture", ["triggers", "polling"])
def test_a_column_added_dropped_and_added_again_under_a_running_capture(place: Place, capture: str) -> None:
    place.configure(orders=capture)
    with place.running() as relay:
        relay.until_live()
        place.sql("orders", "ALTER TABLE orders ADD COLUMN note TEXT; UPDATE orders SET cents = 1 WHERE order_id = 1")
        relay.until(lambda: place.has_mirrored() and place.is_live("orders"))
        place.sql("orders", "ALTER TABLE orders DROP COLUMN cents")
        relay.until(lambda: place.is_failed("orders"))
        error = place.feed("orders")["error"]
        assert "no column 'cents'" in error and "add it again, or take it out of the views" in error
        assert len(place.read()["rows"]) == 3
        place.sql("orders", "ALTER TABLE orders ADD COLUMN cents INTEGER DEFAULT 77")
        relay.until(lambda: place.is_live("orders") and place.has_mirrored())
    place.assert_exact()


def test_a_view_on_an_unknown_column_is_refused_with_file_and_line(place: Place) -> None:
    assert place.cli("sync").status == DONE
    place.view("board", BOARD.replace("cents", "cent"))
    for command in ("check", "run", "sync"):
        assert_refused(place.cli(command), "board.sql:2", "cent")
    place.view("board", BOARD)
    assert place.cli("sync").status == DONE
    place.assert_exact()


def test_a_view_whose_key_cannot_be_proven_is_refused(place: Place) -> None:
    place.view("board", "-- key: customer\nSELECT customer, cents FROM orders.orders\n")
    assert_refused(place.cli("sync"), "board.sql", "customer", "key")
    place.view("board", BOARD)
    assert place.cli("sync").status == DONE
    place.assert_exact()


# -- tokens and histories ----------------------------------------------------------------------------------------------


def test_a_corrupted_token_is_wrong_use_and_never_reached(place: Place) -> None:
    place.cli("sync")
    token = place.cli("token", "orders").out.strip()
    assert place.cli("read", "board", "--at-least", token).status == DONE
    changed = token[:-1] + ("A" if token[-1] != "A" else "B")
    for bad in (changed, token[: len(token) // 2], "nonsense", ""):
        assert_refused(place.cli("read", "board", "--at-least", bad), "is not a consistency token", "syncline token")
    place.assert_exact()


@pytest.mark.parametrize("is_running", [False, True])
def test_a_source_restored_from_an_older_copy_is_compared_and_its_tokens_are_dead(place: Place, is_running: bool) -> None:
    place.cli("sync")
    shutil.copy(place.path("orders"), place.folder / "copy.db")
    place.sql("orders", "UPDATE orders SET cents = 1; INSERT INTO orders VALUES (9, 'lost', 1, 'z')")
    place.cli("sync")
    token = place.cli("token", "orders").out.strip()

    def restore() -> None:
        os.replace(place.folder / "copy.db", place.path("orders"))
        place.sql("orders", "".join(f"UPDATE orders SET customer = 'again {i}' WHERE order_id = 2;" for i in range(10)))

    if is_running:
        with place.running() as relay:
            relay.until_live()
            restore()
            relay.until(lambda: place.has_mirrored() and place.is_live("orders"))
            assert "compared with the source" in place.log()
    else:
        restore()
        assert place.cli("sync").status == DONE
    assert place.has_mirrored()
    said = place.cli("read", "board", "--at-least", token)
    assert_refused(said, "incarnation", "restored", "syncline token orders", status=ANSWER_IS_NO)
    fresh = place.cli("token", "orders").out.strip()
    assert place.cli("read", "board", "--at-least", fresh).status == DONE
    place.assert_exact()


@pytest.mark.parametrize("is_running", [False, True])
def test_a_trigger_removed_by_hand_is_noticed_and_what_it_missed_is_found(place: Place, is_running: bool) -> None:
    place.cli("sync")
    change = "DROP TRIGGER syncline_orders_update; UPDATE orders SET cents = 123"
    if is_running:
        with place.running() as relay:
            relay.until_live()
            place.sql("orders", change)
            relay.until(lambda: place.has_mirrored() and place.is_live("orders"))
    else:
        place.sql("orders", change)
        assert place.cli("sync").status == DONE
    assert place.has_mirrored()
    place.sql("orders", "UPDATE orders SET cents = 124")
    place.cli("sync")
    assert place.has_mirrored()
    place.assert_exact()


@pytest.mark.parametrize("capture", ["triggers", "polling"])
def test_a_replace_that_hits_another_unique_key_removes_the_row_from_the_view(place: Place, capture: str) -> None:
    place.configure(orders=capture)
    place.cli("sync")
    place.sql("orders", "INSERT OR REPLACE INTO orders VALUES (8, 'Eve', 1, 'a')")
    place.cli("sync")
    assert [row[0] for row in place.rows()] == [2, 3, 8]
    place.sql("orders", "UPDATE OR REPLACE orders SET code = 'b' WHERE order_id = 3")
    place.cli("sync")
    assert [row[0] for row in place.rows()] == [3, 8]
    place.assert_exact()


def test_rows_changed_while_nothing_was_installed_are_found(place: Place) -> None:
    place.cli("sync")
    before = place.ask("orders", "SELECT type, name, sql FROM sqlite_master")
    said = place.cli("uninstall", "orders")
    assert said.status == DONE and "removed trigger" in said.out
    assert place.ask("orders", "SELECT count(*) FROM sqlite_master WHERE name LIKE 'syncline%'") == [(0,)]
    place.sql(
        "orders", "DELETE FROM orders WHERE order_id = 1; UPDATE orders SET cents = 0; INSERT INTO orders VALUES (4, 'D', 4, 'd')"
    )
    assert place.cli("sync").status == DONE
    assert place.has_mirrored()
    assert place.ask("orders", "SELECT type, name, sql FROM sqlite_master") == before
    place.assert_exact()


def test_uninstalling_under_a_running_relay_is_refused(place: Place) -> None:
    with place.running() as relay:
        relay.until_live()
        assert_refused(place.cli("uninstall", "orders"), "stop it first", status=ANSWER_IS_NO)
    place.assert_exact()


# -- relays and read stores --------------------------------------------------------------------------------------------


def test_a_second_relay_stands_by_and_takes_over_from_one_that_is_killed(place: Place) -> None:
    with place.running() as first:
        first.until_live()
        with place.running() as second:
            second.until(lambda: "standing by, to take over" in place.log())
            first.process.kill()
            place.sql("orders", "UPDATE orders SET cents = 4711")
            second.until(lambda: place.has_mirrored() and f"pid {second.process.pid}" in place.app.status().relay)
    place.assert_exact()


@pytest.mark.parametrize("is_running", [False, True])
def test_a_read_store_that_is_deleted_is_made_anew_and_leaves_no_consumer_behind(place: Place, is_running: bool) -> None:
    def delete() -> None:
        for file in place.folder.glob("read.db*"):
            if not is_running or file.name in ("read.db", "read.db-wal", "read.db-shm"):
                file.unlink()

    if is_running:
        with place.running() as relay:
            relay.until_live()
            delete()
            relay.until(lambda: place.path("read").exists() and "removed or replaced" in place.log())
            relay.until_live()
            relay.until(lambda: place.has_mirrored())
    else:
        place.cli("sync")
        delete()
        place.sql("orders", "UPDATE orders SET cents = 4711")
        assert place.cli("sync").status == DONE
    assert place.has_mirrored()
    assert place.ask("orders", "SELECT count(*) FROM syncline_consumer") == [(1,)]
    place.assert_exact()


# -- rows --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("capture", ["triggers", "polling"])
def test_a_row_whose_key_is_null_is_told_in_status_and_on_reads_while_all_else_goes_on(place: Place, capture: str) -> None:
    place.configure(stock=capture)
    place.sql("stock", "INSERT INTO item VALUES (NULL, 1)")
    place.cli("sync")
    assert "1 row is left out" in str(place.feed("stock")["error"])
    with place.running() as relay:
        relay.until_live()
        relay.until(lambda: bool(place.read("items")["notes"]))  # who begins to follow tells what it found after its first look
        note = str(place.read("items")["notes"])
        assert "stock.item: 1 row is left out" in note and "primary key (sku) is NULL" in note
        assert place.rows("items") == [("bolt", 7), ("nut", 5)] and not place.read("board")["notes"]
        place.sql("stock", "INSERT INTO item VALUES (NULL, 2); UPDATE item SET amount = 50 WHERE sku = 'nut'")
        relay.until(lambda: ("nut", 50) in place.rows("items"))
        relay.until(lambda: "2 rows are left out" in str(place.feed("stock")["error"]))
        place.sql("stock", "DELETE FROM item WHERE amount = 1; UPDATE item SET sku = 'gear' WHERE sku IS NULL")
        relay.until(lambda: place.feed("stock")["error"] is None)
        assert ("gear", 2) in place.rows("items") and not place.read("items")["notes"]
    place.assert_exact()


@pytest.mark.parametrize("capture, is_there_before", [("triggers", False), ("triggers", True), ("polling", False)])
def test_a_text_that_is_not_utf_8_is_told_with_its_row(place: Place, capture: str, is_there_before: bool) -> None:
    place.configure(orders=capture)
    spoil = "UPDATE orders SET customer = CAST(x'C3284D' AS TEXT) WHERE order_id = 2"
    if is_there_before:
        place.sql("orders", spoil)
    with place.running() as relay:
        if not is_there_before:
            relay.until_live()
            place.sql("orders", spoil)
        relay.until(lambda: place.is_failed("orders"))
        error = place.feed("orders")["error"]
        assert "orders.orders: column 'customer' of the row with order_id = 2" in error and "not UTF-8" in error
        assert "correct it at the service" in error
        place.sql("stock", "UPDATE item SET amount = 50")
        relay.until(lambda: place.has_mirrored("stock", "items", "sku, amount"))
        place.sql("orders", "UPDATE orders SET customer = 'Bobby' WHERE order_id = 2")
        relay.until(lambda: place.is_live("orders") and place.has_mirrored())
    place.assert_exact()


# -- another configuration ---------------------------------------------------------------------------------------------


def test_views_added_changed_and_removed_between_two_runs(place: Place) -> None:
    place.cli("sync")
    place.sql("orders", "UPDATE orders SET cents = cents + 1")
    place.view("totals", "-- key: customer\nSELECT customer, SUM(cents) AS cents FROM orders.orders GROUP BY customer\n")
    place.view("board", "-- key: order_id\nSELECT order_id, upper(customer) AS who, code FROM orders.orders\n")
    assert place.cli("sync").status == DONE
    assert place.rows() == [(1, "ADA", "a"), (2, "BOB", "b"), (3, "CY", "c")]
    assert ("Ada", 501) in place.rows("totals")
    place.assert_exact()
    place.view("totals", None)
    assert place.cli("sync").status == DONE
    assert_refused(place.cli("read", "totals"), "no view 'totals'", "board", status=ANSWER_IS_NO)
    place.assert_exact()


def test_a_column_that_was_pruned_is_filled_when_a_view_needs_it(place: Place) -> None:
    place.cli("sync")
    place.sql("orders", "UPDATE orders SET code = code || '!'")
    place.view("codes", "-- key: order_id\nSELECT order_id, code FROM orders.orders\n")
    assert place.cli("sync").status == DONE
    assert place.rows("codes") == [(1, "a!"), (2, "b!"), (3, "c!")]
    place.assert_exact()


def test_a_table_added_between_two_runs(place: Place) -> None:
    place.tables["orders"] = '["orders"]'
    place.configure()
    place.cli("sync")
    place.sql("orders", "CREATE TABLE line (id INTEGER PRIMARY KEY, order_id INTEGER); INSERT INTO line VALUES (1, 1), (2, 1)")
    place.view(
        "lines", "-- key: id\nSELECT l.id, o.customer FROM orders.line l JOIN orders.orders o ON o.order_id = l.order_id\n"
    )
    assert_refused(place.cli("sync"), "lines.sql", "line")
    place.tables["orders"] = '["orders", "line"]'
    place.configure()
    assert place.cli("sync").status == DONE
    assert place.rows("lines") == [(1, "Ada"), (2, "Ada")]
    place.sql("orders", "DELETE FROM line WHERE id = 1; UPDATE orders SET customer = 'Ann' WHERE order_id = 1")
    place.cli("sync")
    assert place.rows("lines") == [(2, "Ann")]
    place.assert_exact()


@pytest.mark.parametrize("first, second", [("triggers", "polling"), ("polling", "triggers")])
def test_the_capture_changed_between_two_runs(place: Place, first: str, second: str) -> None:
    place.configure(orders=first)
    place.cli("sync")
    place.sql("orders", "UPDATE orders SET cents = 1; DELETE FROM orders WHERE order_id = 3")
    place.configure(orders=second)
    assert place.cli("sync").status == DONE
    assert place.has_mirrored()
    place.sql("orders", "INSERT INTO orders VALUES (7, 'G', 7, 'g')")
    place.configure(orders=first)
    assert place.cli("sync").status == DONE
    assert place.has_mirrored()
    place.sql("orders", "UPDATE orders SET cents = 9")
    place.cli("sync")
    assert place.has_mirrored()
    place.assert_exact()
