"""A database that is taken away, put back or locked while an App is open: nothing acknowledged is lost, and it goes on."""

import fcntl
import os
import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from tests.write.ledger import Deposit, Deposited, ledger
from tests.write.table_accounts import Open, accounts

from syncline import App, SQLite
from syncline.errors import Unavailable


def events_in(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute("SELECT count(*) FROM syncline_event").fetchone()[0])


def test_a_log_that_is_replaced_is_noticed_before_anything_is_stored_and_opened_anew(tmp_path: Path) -> None:
    path, backup = tmp_path / "ledger.db", tmp_path / "backup.db"
    with App(ledger.on(SQLite(str(path)))) as app:
        app.send(Deposit("a", 1))
        with closing(sqlite3.connect(path)) as db, closing(sqlite3.connect(backup)) as copy:
            db.backup(copy)
        app.send(Deposit("a", 2))
        for each in (path, path.with_name("ledger.db-wal"), path.with_name("ledger.db-shm")):
            each.unlink(missing_ok=True)
        shutil.copy(backup, path)
        with pytest.raises(Unavailable, match="removed or replaced; nothing was stored"):
            app.send(Deposit("a", 4))
        assert app.send(Deposit("a", 8)).events == (Deposited(8, 9),)
    assert events_in(path) == 2


def test_a_table_service_whose_database_is_removed_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "accounts.db"
    with App(accounts.on(SQLite(str(path)))) as app:
        app.send(Open("a"))
        for each in tmp_path.iterdir():
            each.unlink()
        with pytest.raises(Unavailable, match="removed or replaced; nothing was stored"):
            app.send(Open("b"))
        app.send(Open("a"))
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM account").fetchone() == (1,)


def test_a_process_that_writes_keeps_others_waiting_and_is_told_when_it_takes_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("syncline.stores.sqlite.write_lock.LOCK_TIMEOUT_S", 0.2)
    path = tmp_path / "ledger.db"
    with App(ledger.on(SQLite(str(path)))) as app:
        app.send(Deposit("a", 1))
        other = os.open(f"{path}-lock", os.O_RDWR)
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(Unavailable, match="has held .*-lock' for 0.2 s; nothing was stored"):
            app.send(Deposit("a", 2))
        release = threading.Timer(0.05, os.close, [other])
        release.start()
        assert app.send(Deposit("a", 4)).events == (Deposited(4, 5),)
        release.join()


def test_one_thread_for_each_service_ends_with_the_app(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with App(ledger.on(SQLite(str(tmp_path / "ledger.db")))) as app:
        app.send(Deposit("a", 1))
        assert len(set(threading.enumerate()) - before) == 1
    assert set(threading.enumerate()) == before
    with pytest.raises(Unavailable, match="the App was closed"):
        app.send(Deposit("a", 1))
