"""Servers that are not what they were: a standby, one that took over without the last commits, one that threw a slot away."""

import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from syncline import WAL, App, ForeignService, InvalidDefinition, Polling, PostgreSQL, SQLite, Triggers, View
from syncline.places import Capture
from syncline.testing.postgres import Databases, PostgresServer

ROWS = 2_000
VIEW = View("balances", "id", "SELECT a.id, a.owner, a.cents FROM bank.account a")
TABLE = "CREATE TABLE account (id int PRIMARY KEY, owner text NOT NULL, cents bigint NOT NULL)"
CAPTURES = [Triggers(), WAL(), Polling(every_s=0.2)]
WAIT_S = 30.0


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    made = PostgresServer(is_durable=True)
    yield made
    made.stop()


@pytest.fixture
def other() -> Iterator[PostgresServer]:
    made = PostgresServer(is_durable=True)
    made.kill()
    yield made
    made.stop()


def bank_at(url: str, folder: Path, capture: Capture) -> App:
    return App(ForeignService("bank", ("account",)).on(PostgreSQL(url), capture), VIEW.on(SQLite(str(folder / "read.db"))))


def fill(url: str) -> None:
    with closing(psycopg.connect(url, autocommit=True)) as owner:
        owner.execute(TABLE)
        owner.execute("INSERT INTO account SELECT n, 'owner ' || n, 100 FROM generate_series(1, %s) AS n", (ROWS,))


def rows_of(url: str) -> list[tuple[object, ...]]:
    with closing(psycopg.connect(url)) as owner:
        return owner.execute("SELECT id, owner, cents FROM account ORDER BY id").fetchall()


def copy_to(server: PostgresServer, standby: PostgresServer) -> None:
    """Makes the stopped server a standby of the running one."""
    shutil.rmtree(standby.data)
    command = [str(standby._bin / "pg_basebackup"), "-D", str(standby.data), "-d", server.url, "-R", "-X", "stream", "-c", "fast"]
    subprocess.run(command, check=True, env=standby._environment(), capture_output=True, **standby._as_account())


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("capture", CAPTURES, ids=lambda capture: type(capture).__name__)
def test_a_standby_is_polled_and_else_refused_with_what_to_do(
    server: PostgresServer, other: PostgresServer, tmp_path: Path, capture: Capture
) -> None:
    url = Databases(server.url).create("bank")
    fill(url)
    copy_to(server, other)
    other.start()
    at_standby = url.replace(f":{server.port}/", f":{other.port}/")
    with bank_at(at_standby, tmp_path, capture) as app:
        if isinstance(capture, Polling):
            app.sync()
            assert app.rows("balances").rows == rows_of(url)
        else:
            with pytest.raises(InvalidDefinition, match=r"standby.*name the primary's address.*polling"):
                app.sync()


@pytest.mark.parametrize("capture", CAPTURES, ids=lambda capture: type(capture).__name__)
def test_a_standby_that_took_over_without_the_last_commits_is_noticed(
    server: PostgresServer, other: PostgresServer, tmp_path: Path, capture: Capture
) -> None:
    url = Databases(server.url).create("bank")
    fill(url)
    copy_to(server, other)
    events: list[str] = []
    with bank_at(url, tmp_path, capture) as app:
        stop = threading.Event()
        relay = threading.Thread(target=app.run, args=(stop,), kwargs={"on_event": events.append})
        relay.start()
        try:
            until(lambda: bool(app.status().views[0].state == "live"))
            with closing(psycopg.connect(url, autocommit=True)) as owner:
                owner.execute("UPDATE account SET cents = 0 WHERE id <= 10")  # the standby never hears of it
                owner.execute("DELETE FROM account WHERE id = 11")
            until(lambda: app.rows("balances").rows == rows_of(url))
            server.kill()
            (other.data / "standby.signal").unlink()  # it takes over, at the address of the old one
            other.port = server.port
            other.start()
            with closing(psycopg.connect(url, autocommit=True)) as owner:
                owner.execute("UPDATE account SET cents = cents + 7 WHERE id = 12")
            until(lambda: app.rows("balances").rows == rows_of(url))
            assert {row[0]: row[2] for row in rows_of(url) if row[0] in (1, 11, 12)} == {1: 100, 11: 100, 12: 107}
        finally:
            stop.set()
            relay.join()
        report = app.verify()
        assert report.differences == ()
        assert not report.is_cut_short


def test_a_slot_that_the_server_threw_away_is_told_and_what_it_would_have_held_is_compared(tmp_path: Path) -> None:
    server = PostgresServer(settings={"max_slot_wal_keep_size": "1MB", "max_wal_size": "32MB", "min_wal_size": "32MB"})
    try:
        url = Databases(server.url).create("bank")
        fill(url)
        with bank_at(url, tmp_path, WAL()) as app:
            app.sync()
            with closing(psycopg.connect(url, autocommit=True)) as owner:
                owner.execute("UPDATE account SET cents = 1 WHERE id = 1")
                lost = "SELECT count(*) FROM pg_replication_slots WHERE wal_status = 'lost'"
                for _ in range(20):
                    owner.execute("SELECT pg_logical_emit_message(false, 'filler', repeat('x', 8000000)); SELECT pg_switch_wal()")
                    owner.execute("CHECKPOINT")
                    if owner.execute(lost).fetchone() == (1,):
                        break
                assert owner.execute(lost).fetchone() == (1,)
            events: list[str] = []
            stop = threading.Event()
            relay = threading.Thread(target=app.run, args=(stop,), kwargs={"on_event": events.append})
            relay.start()
            try:
                until(lambda: app.rows("balances").rows == rows_of(url))
            finally:
                stop.set()
                relay.join()
            assert any("thrown away by the server" in event for event in events), events
            assert app.verify().differences == ()
    finally:
        server.stop()


@pytest.mark.parametrize("capture", CAPTURES, ids=lambda capture: type(capture).__name__)
def test_a_role_with_a_statement_timeout_is_followed_all_the_same(
    server: PostgresServer, tmp_path: Path, capture: Capture
) -> None:
    url = Databases(server.url).create("bank")
    fill(url)
    with closing(psycopg.connect(url, autocommit=True)) as owner:
        owner.execute("ALTER ROLE postgres SET statement_timeout = '1ms'; ALTER ROLE postgres SET lock_timeout = '1ms'")
    with bank_at(url, tmp_path, capture) as app:
        app.sync()
        assert len(app.rows("balances").rows) == ROWS
