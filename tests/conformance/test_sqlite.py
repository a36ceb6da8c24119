"""The event log on SQLite keeps what every event log must keep; and what is SQLite's own about it."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest

from syncline.errors import StoreError
from syncline.stores.event_log import EventLog
from syncline.stores.sqlite.events import SQLiteEventLog
from syncline.testing.conformance import *  # noqa: F403
from syncline.testing.conformance import Subject


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    path = tmp_path / "events.db"
    return Subject(partial(SQLiteEventLog, str(path)), full=full, newer=partial(newer, path))


@contextmanager
def full(log: EventLog) -> Iterator[None]:
    assert isinstance(log, SQLiteEventLog)
    run = log._connection.execute
    run(f"PRAGMA max_page_count = {run('PRAGMA page_count').fetchone()[0] + 2}")
    yield
    run("PRAGMA max_page_count = 1073741823")


@contextmanager
def newer(path: Path) -> Iterator[None]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        (before,) = connection.execute("SELECT format FROM syncline_event_log").fetchone()
        connection.execute("UPDATE syncline_event_log SET format = 99")
    yield
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE syncline_event_log SET format = ?", (before,))


def test_a_file_of_a_newer_version_is_not_changed_by_a_byte(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("""
            PRAGMA journal_mode = WAL;
            CREATE TABLE syncline_event_log (id INTEGER PRIMARY KEY, format INTEGER, incarnation TEXT, other TEXT);
            INSERT INTO syncline_event_log VALUES (1, 2, 'abc', 'what a later version keeps')""")
    before = path.read_bytes()
    with pytest.raises(StoreError, match="format 2, this version reads format 1"):
        SQLiteEventLog(str(path))
    assert path.read_bytes() == before
