"""What was done to a source behind the capture's back is noticed, and healed by comparing, under a new incarnation."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from tests.capture.follower import Follower

from syncline.errors import SourceChanged

SCRIPT = """
CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, n INTEGER DEFAULT 3);
CREATE TABLE u (code TEXT PRIMARY KEY, a TEXT UNIQUE);
INSERT INTO t VALUES (1, 'one', 1), (2, 'two', 2), (3, 'three', 3);
INSERT INTO u VALUES ('x', 'ex'), ('y', 'why');
"""

# What is done to the source, and whether it makes a new incarnation of a source captured by triggers (None: it may).
TAMPERING = {
    "a trigger dropped by hand": ("DROP TRIGGER syncline_t_update; UPDATE t SET a = 'unseen'", True),
    "all triggers dropped by hand": (
        "DROP TRIGGER syncline_t_insert; DROP TRIGGER syncline_t_update; DROP TRIGGER syncline_t_delete; DELETE FROM t",
        True,
    ),
    "a trigger replaced by another": (
        "DROP TRIGGER syncline_t_update; CREATE TRIGGER syncline_t_update AFTER UPDATE ON t BEGIN SELECT 1; END; "
        "UPDATE t SET a = 'x'",
        True,
    ),
    "a table dropped and made again": (
        "DROP TABLE t; CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, n INTEGER DEFAULT 3); INSERT INTO t VALUES (7, 'new', 1)",
        True,
    ),
    "a table rebuilt as SQLite's documentation says": (
        "CREATE TABLE t2 (id INTEGER PRIMARY KEY, a TEXT, n INTEGER DEFAULT 3); INSERT INTO t2 SELECT id, a || '!', n FROM t; "
        "DROP TABLE t; ALTER TABLE t2 RENAME TO t",
        True,
    ),
    "a column dropped and added again with another default": (
        "ALTER TABLE t DROP COLUMN n; ALTER TABLE t ADD COLUMN n INTEGER DEFAULT 9",
        True,
    ),
    "a column dropped and added again in the same words": (
        "ALTER TABLE t DROP COLUMN n; ALTER TABLE t ADD COLUMN n INTEGER DEFAULT 3",
        True,
    ),
    "a column added": ("ALTER TABLE t ADD COLUMN extra TEXT DEFAULT 'e'; UPDATE t SET extra = 'f' WHERE id = 1", False),
    "an index added": ("CREATE INDEX t_a ON t (a); UPDATE t SET a = 'seen'", False),
    "a unique index added, and a row replaced through it": (
        "CREATE UNIQUE INDEX t_n ON t (n); INSERT OR REPLACE INTO t VALUES (9, 'nine', 1)",
        True,
    ),
    "vacuum": ("VACUUM; UPDATE t SET a = 'after'", False),
    "the consumer's row deleted": ("DELETE FROM syncline_consumer; UPDATE t SET a = 'after'", False),
    "the log emptied": ("UPDATE t SET a = 'lost'; DELETE FROM syncline_log", True),
    "the table of tables dropped": ("DROP TABLE syncline_table; UPDATE t SET a = 'x'", None),
    "everything of ours dropped": (
        "DROP TRIGGER syncline_t_insert; DROP TRIGGER syncline_t_update; DROP TRIGGER syncline_t_rekey; "
        "DROP TRIGGER syncline_t_delete; DROP TABLE syncline_log; DROP TABLE syncline_source; UPDATE t SET a = 'x'",
        True,
    ),
    "a table swapped for another": (
        "ALTER TABLE t RENAME TO old; CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, n INTEGER DEFAULT 3); "
        "INSERT INTO t SELECT id + 10, a, n FROM old",
        True,
    ),
}


def connect(path: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=10)
    connection.execute(f"PRAGMA journal_mode = {mode}")
    return connection


def incarnation(follower: Follower) -> str:
    assert follower.applied is not None
    return follower.applied.incarnation


@pytest.fixture(params=["wal", "delete"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["triggers", "polling"])
def capture(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def source(tmp_path: Path, mode: str) -> Path:
    path = tmp_path / "source.db"
    with closing(connect(path, mode)) as owner:
        owner.executescript(SCRIPT)
    return path


@pytest.mark.parametrize("is_open", [True, False], ids=["while followed", "while not followed"])
@pytest.mark.parametrize("what", TAMPERING)
def test_what_was_done_behind_the_triggers_back_is_healed(
    source: Path, tmp_path: Path, mode: str, what: str, is_open: bool
) -> None:
    script, is_new = TAMPERING[what]
    with closing(connect(source, mode)) as owner:
        first, second = (Follower(source, tmp_path / f"{name}.db", "triggers") for name in ("first", "second"))
        first.catch_up()
        second.catch_up()
        owner.execute("UPDATE t SET a = 'before' WHERE id = 3")
        first.catch_up()
        first.acknowledge()
        before = incarnation(first)
        if not is_open:
            first.rest()
        owner.executescript(script)
        for follower in (first, second, first):
            follower.catch_up()
            follower.assert_mirrors_equal()
        assert incarnation(first) == incarnation(second)
        assert is_new is None or (incarnation(first) != before) == is_new
        owner.execute("UPDATE t SET a = 'from now on'")
        settled = incarnation(first)
        for follower in (first, second):
            follower.catch_up()
            follower.assert_mirrors_equal()
            assert incarnation(follower) == settled
            follower.close()


@pytest.mark.parametrize("what", [name for name, (script, _) in TAMPERING.items() if "syncline" not in script])
def test_polling_heals_by_itself(source: Path, tmp_path: Path, mode: str, what: str) -> None:
    follower = Follower(source, tmp_path / "store.db", "polling")
    follower.catch_up()
    with closing(connect(source, mode)) as owner:
        owner.executescript(TAMPERING[what][0])
    follower.catch_up()
    follower.assert_mirrors_equal()
    follower.close()


@pytest.mark.parametrize("is_beyond", [True, False], ids=["written beyond", "not written beyond"])
@pytest.mark.parametrize("is_acknowledged", [True, False], ids=["acknowledged", "not acknowledged"])
@pytest.mark.parametrize("is_open", [True, False], ids=["while followed", "while not followed"])
def test_a_source_restored_from_an_older_copy_is_healed(
    source: Path, tmp_path: Path, mode: str, capture: str, is_open: bool, is_acknowledged: bool, is_beyond: bool
) -> None:
    follower = Follower(source, tmp_path / "store.db", capture)
    follower.catch_up()
    if is_acknowledged:
        follower.acknowledge()
    with closing(connect(source, mode)) as owner:
        owner.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copy(source, tmp_path / "copy.db")
        owner.execute("UPDATE t SET a = 'gone with the restore' WHERE id = 1")
        owner.execute("DELETE FROM t WHERE id = 2")
    follower.catch_up()
    before = incarnation(follower)
    if is_acknowledged:
        follower.acknowledge()
    if not is_open:
        follower.rest()
    for file in tmp_path.glob("source.db-*"):
        file.unlink()
    (tmp_path / "copy.db").replace(source)
    if is_beyond:
        with closing(connect(source, mode)) as owner:
            for _ in range(5):
                owner.execute("UPDATE t SET n = n + 1 WHERE id = 3")
                owner.execute("UPDATE t SET a = 'other' WHERE id = 1")
    follower.catch_up()
    follower.assert_mirrors_equal()
    assert (incarnation(follower) != before) == (capture == "triggers")
    follower.close()


def test_a_consumer_that_fell_too_far_behind_loses_its_marks_and_is_healed_by_comparing(
    source: Path, tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("syncline.stores.sqlite.triggers.MARK_LIMIT", 5)
    quick, slow = (Follower(source, tmp_path / f"{name}.db", "triggers") for name in ("quick", "slow"))
    for follower in (quick, slow):
        follower.catch_up()
        follower.acknowledge()
    with closing(connect(source, mode)) as owner:
        for number in range(10):
            owner.execute("UPDATE t SET n = ?", (number,))
        quick.catch_up()
        quick.acknowledge()
        assert owner.execute("SELECT count(*) FROM syncline_log").fetchone() == (1,)
        before = incarnation(slow)
        slow.catch_up()
        slow.assert_mirrors_equal()
        assert incarnation(slow) == before == incarnation(quick)
        owner.execute("UPDATE t SET n = 0")
    for follower in (quick, slow):
        follower.catch_up()
        follower.assert_mirrors_equal()
        follower.close()


def test_a_copy_that_was_half_done_when_everything_was_taken_away_is_exact(source: Path, tmp_path: Path, mode: str) -> None:
    with closing(connect(source, mode)) as owner:
        owner.execute("BEGIN")
        owner.executemany("INSERT INTO t VALUES (?, 'many', 0)", [(number,) for number in range(100, 120_000)])
        owner.execute("COMMIT")
        follower = Follower(source, tmp_path / "store.db", "triggers")
        follower.catch_up_but(1)
        follower.rest()
        owner.executescript("DROP TABLE syncline_log; DROP TABLE syncline_source; DROP TRIGGER syncline_t_update")
        owner.executescript("DROP TRIGGER syncline_t_insert; DROP TRIGGER syncline_t_delete; DROP TRIGGER syncline_t_rekey")
        owner.execute("UPDATE t SET a = 'other' WHERE id < 200")
        follower.catch_up_but(0)
        while follower.feed is not None and follower.feed.changed():
            follower.step()
        assert owner.execute("SELECT count(*) FROM syncline_log").fetchone()[0] < 60_000, "rows still to be copied were marked"
        follower.catch_up()
        follower.assert_mirrors_equal()
    follower.close()


@pytest.mark.parametrize("change", ["DROP TABLE t", "ALTER TABLE t DROP COLUMN a", "ALTER TABLE t RENAME COLUMN a TO b"])
def test_what_can_no_longer_be_followed_is_refused_by_name(
    source: Path, tmp_path: Path, mode: str, capture: str, change: str
) -> None:
    follower = Follower(source, tmp_path / "store.db", capture)
    follower.catch_up()
    with closing(connect(source, mode)) as owner:
        owner.execute(change)
    feed = follower.feed
    assert feed is not None
    if capture == "polling":
        feed.mark(next(iter(follower.store.relations.values())), ())
    with pytest.raises(SourceChanged, match="no table 't'|no column 'a'"):
        while feed.changed():
            follower.step()
    follower.close()


def test_a_second_store_at_the_path_of_the_first_takes_its_place(source: Path, tmp_path: Path, mode: str) -> None:
    def consumers() -> list[tuple[str]]:
        with closing(connect(source, mode)) as owner:
            return owner.execute("SELECT consumer FROM syncline_consumer").fetchall()

    first = Follower(source, tmp_path / "store.db", "triggers")
    first.catch_up()
    assert consumers() == [(first.store.consumer,)]
    first.close()
    for file in tmp_path.glob("store.db*"):
        file.unlink()
    second = Follower(source, tmp_path / "store.db", "triggers")
    second.catch_up()
    assert consumers() == [(second.store.consumer,)]
    second.close()
