"""The owner is not kept waiting: a writer with no patience at all goes on through a first copy, sweeps and acknowledgements."""

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.capture.follower import SCAN_S, SERVICE, Follower

ROWS = 60_000
LONGEST_WAIT_S = 0.25

# Writes one row after the other with timeout 0, at once again after SQLITE_BUSY, until its input ends; then tells how that was.
WRITER = """
import json, sqlite3, sys, threading, time
connection = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)
connection.execute("PRAGMA synchronous = OFF")
stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
commits = busy = row = most = 0
longest = 0.0
print("writing", flush=True)
while not stop.is_set():
    began, row = time.perf_counter(), row + 1
    refused = 0
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("UPDATE t SET n = n + 1 WHERE id = ?", (row * 7919 % int(sys.argv[2]),))
            connection.execute("COMMIT")
            break
        except sqlite3.OperationalError:
            refused += 1
            if connection.in_transaction:
                connection.execute("ROLLBACK")
    commits, busy, most = commits + 1, busy + refused, max(most, refused)
    longest = max(longest, time.perf_counter() - began)
    time.sleep(0.0005)
print(json.dumps({"commits": commits, "busy": busy, "most": most, "longest": longest}))
"""


@dataclass
class Writing:
    """What an impatient writer saw. `most` is the longest row of refusals, `longest` the longest wait for a commit."""

    commits: int = 0
    busy: int = 0
    most: int = 0
    longest: float = 0.0


@contextmanager
def impatient_writer(path: Path) -> Iterator[Writing]:
    seen = Writing()
    command = [sys.executable, "-c", WRITER, str(path), str(ROWS)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "writing\n"
        yield seen
        out, _ = process.communicate()
    for name, value in json.loads(out).items():
        setattr(seen, name, value)


def make(path: Path, mode: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as owner:
        owner.execute(f"PRAGMA journal_mode = {mode}")
        owner.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, n INTEGER, at REAL DEFAULT 0)")
        owner.execute("BEGIN")
        owner.executemany("INSERT INTO t VALUES (?, ?, 0, 0)", [(number, f"text of row {number}") for number in range(ROWS)])
        owner.execute("COMMIT")


@pytest.mark.parametrize("mode", ["wal", "delete"])
@pytest.mark.parametrize("capture", ["triggers", "polling"])
def test_a_writer_without_patience_goes_on_through_a_first_copy(tmp_path: Path, capture: str, mode: str) -> None:
    path = tmp_path / "source.db"
    make(path, mode)
    follower = Follower(path, tmp_path / "store.db", capture)
    with impatient_writer(path) as seen:
        loaded = follower.load_all()
        if (capture, mode) != ("polling", "delete"):  # whose sweep ends by holding up an owner who tears it again and again
            follower.go_live(loaded)
        if capture == "triggers":
            follower.acknowledge()
    print(capture, mode, seen)
    assert seen.commits > 20
    assert seen.longest < LONGEST_WAIT_S
    follower.catch_up()
    follower.assert_mirrors_equal()
    follower.close()


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_a_first_copy_resumes_where_it_was_stopped(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "source.db"
    make(path, mode)
    follower = Follower(path, tmp_path / "store.db", "triggers")
    follower.catch_up_but(3)
    ((table, cursor),) = follower.store.loading(SERVICE)
    assert cursor is not None
    follower.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as owner:
        owner.execute("UPDATE t SET n = 5 WHERE id < 100")
        owner.execute("DELETE FROM t WHERE id BETWEEN 50 AND 60")
    follower = Follower(path, tmp_path / "store.db", "triggers")
    assert follower.store.loading(SERVICE) == [(table, cursor)]
    follower.catch_up()
    follower.assert_mirrors_equal()
    follower.close()


def test_a_sweep_that_the_owner_keeps_tearing_is_exact_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "source.db"
    make(path, "delete")
    follower = Follower(path, tmp_path / "store.db", "polling")
    follower.catch_up()
    with impatient_writer(path), closing(sqlite3.connect(path, timeout=5, isolation_level=None)) as looking:
        for _ in range(4):
            follower.catch_up()
            total = sum(row[2] for row in follower.held("t"))
            assert total <= looking.execute("SELECT sum(n) FROM t").fetchone()[0]
    follower.catch_up()
    follower.assert_mirrors_equal()
    follower.close()


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_sweeps_by_changed_at_are_declared_inexact_until_the_next_full_one(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "source.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as owner:
        owner.execute(f"PRAGMA journal_mode = {mode}")
        owner.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, at REAL)")
        owner.execute("INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', NULL)")
        follower = Follower(path, tmp_path / "store.db", "polling", changed_at="at")
        follower.catch_up()
        assert follower.batches[-1].exact
        for number in range(3):
            owner.execute("UPDATE t SET a = ?, at = ? WHERE id = 1", (f"new {number}", 10.0 + number))
            owner.execute("INSERT INTO t VALUES (?, 'x', ?)", (100 + number, 10.0 + number))
            follower.step()
            assert not follower.batches[-1].exact
            follower.assert_mirrors_equal()
        owner.execute("DELETE FROM t WHERE id = 2")
        owner.execute("UPDATE t SET a = 'late', at = 0 WHERE id = 100")
        follower.step()
        assert not follower.batches[-1].exact
        assert (2, "b", 2.0) in follower.held("t")
        follower.catch_up()
        assert follower.batches[-1].exact
        follower.assert_mirrors_equal()
    follower.close()


def test_an_owner_who_holds_the_database_is_waited_for_without_stopping(tmp_path: Path) -> None:
    path = tmp_path / "source.db"
    make(path, "delete")
    follower = Follower(path, tmp_path / "store.db", "triggers")
    follower.catch_up()
    feed = follower.feed
    assert feed is not None and follower.applied is not None
    with closing(sqlite3.connect(path, isolation_level=None)) as owner:
        owner.execute("BEGIN EXCLUSIVE")
        owner.execute("UPDATE t SET n = 1")
        began = time.monotonic()
        assert feed.changed() and feed.read(follower.applied) is None
        assert time.monotonic() - began < SCAN_S + LONGEST_WAIT_S
        owner.execute("COMMIT")
    follower.catch_up()
    follower.assert_mirrors_equal()
    follower.close()
