"""An owner that is killed in the middle of a write leaves a journal, which whoever opens the database next rolls back."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from syncline import App, ForeignService, Polling, SQLite, Triggers, View
from syncline.stores.sqlite.source import open_source

KILLED = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
connection.execute("BEGIN")
connection.executemany("INSERT INTO item VALUES (?, ?)", [(number, "x" * 500) for number in range(10, 2000)])
os._exit(9)
"""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "stock.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT)")
        connection.execute("INSERT INTO item VALUES (1, 'pen')")
        connection.commit()
    return path


def kill_while_writing(path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert path.with_name(path.name + "-journal").stat().st_size > 0


@pytest.mark.parametrize("capture", [Triggers(), Polling(every_s=0.05)], ids=["triggers", "polling"])
def test_what_it_had_committed_is_followed_and_nothing_of_what_it_had_not(database: Path, capture: Triggers | Polling) -> None:
    stock = ForeignService("stock", ("item",)).on(SQLite(str(database)), capture)
    view = View("items", "id", "SELECT id, name FROM stock.item").on(SQLite(str(database.with_name("read.db"))))
    with App(stock, view) as app:
        kill_while_writing(database)
        app.check()
        app.sync()
        kill_while_writing(database)
        app.sync()
        assert app.rows("items").rows == [(1, "pen")]
        assert app.verify().differences == ()


def test_a_database_is_only_read_where_no_write_was_cut_off(database: Path) -> None:
    before = database.stat().st_mtime_ns
    with closing(open_source(str(database), read_only=True)) as connection:
        assert connection.execute("SELECT name FROM item").fetchall() == [("pen",)]
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            connection.execute("DELETE FROM item")
    assert database.stat().st_mtime_ns == before
