"""Both captures are the same feed: after each read and apply a mirror equals its source exactly, whatever SQL was run there."""

import random
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from tests.capture.follower import Follower
from tests.capture.random_sources import random_source, random_transaction, run

from syncline.stores.sqlite.triggers import TriggerFeed

CAPTURES = ["triggers", "polling"]
MODES = ["wal", "delete"]
ROUNDS = 60


def connect(path: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=10)
    connection.execute(f"PRAGMA journal_mode = {mode}")
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def marks(connection: sqlite3.Connection) -> set[int]:
    return {seq for (seq,) in connection.execute("SELECT seq FROM syncline_log")}


def check_random_sql(folder: Path, capture: str, mode: str, seed: int) -> None:
    rng = random.Random(seed)
    source = random_source(rng)
    path = folder / f"source{seed}.db"
    with closing(connect(path, mode)) as owner:
        for statement in source.script:
            owner.execute(statement)
        first = Follower(path, folder / f"first{seed}.db", capture)
        second = Follower(path, folder / f"second{seed}.db", capture)
        try:
            first.catch_up()
            second.catch_up()
            done: list[object] = []
            for _ in range(ROUNDS):
                steps = random_transaction(rng, source)
                done.append(steps)
                run(owner, source, [steps])
                _follow(rng, first, second, owner)
            for follower in (first, second):
                follower.catch_up()
                follower.assert_mirrors_equal()
            if capture == "triggers":
                first.acknowledge()
                second.acknowledge()
                assert len(marks(owner)) == 1
                assert first.applied is not None and second.applied is not None
                assert first.applied.incarnation == second.applied.incarnation
        except BaseException as error:
            error.add_note(f"seed {seed}, {capture}, {mode}: {'; '.join(source.script)}; last: {done[-3:]}")
            raise
        finally:
            first.close()
            second.close()


def _follow(rng: random.Random, first: Follower, second: Follower, owner: sqlite3.Connection) -> None:
    chance = rng.random()
    if chance < 0.1:
        return
    if chance < 0.2:
        first.rest()
    first.catch_up()
    first.assert_mirrors_equal()
    if chance > 0.9:
        second.catch_up()
        second.assert_mirrors_equal()
    elif chance > 0.8 and first.capture == "triggers":
        before = marks(owner)
        first.acknowledge()
        assert first.applied is not None and second.applied is not None
        assert {seq for seq in before if seq >= min(first.applied.n, second.applied.n)} <= marks(owner)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("capture", CAPTURES)
def test_a_mirror_equals_its_source_after_any_sql(tmp_path: Path, capture: str, mode: str) -> None:
    for seed in range(25):
        check_random_sql(tmp_path, capture, mode, seed)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("capture", CAPTURES)
def test_a_mirror_equals_its_source_after_very_much_sql(tmp_path: Path, capture: str, mode: str) -> None:
    for seed in range(1_000, 3_000):
        check_random_sql(tmp_path, capture, mode, seed)
        for file in tmp_path.iterdir():
            file.unlink()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("capture", CAPTURES)
def test_no_batch_cuts_a_transaction_while_another_program_writes(tmp_path: Path, capture: str, mode: str) -> None:
    path = tmp_path / "source.db"
    with closing(connect(path, mode)) as owner:
        owner.execute("CREATE TABLE account (id INTEGER PRIMARY KEY, cents INTEGER)")
        owner.executemany("INSERT INTO account VALUES (?, 100)", [(i,) for i in range(3_000)])
    follower = Follower(path, tmp_path / "store.db", capture)
    follower.catch_up()
    if isinstance(follower.feed, TriggerFeed):
        follower.feed._slice_marks = 16
    stop, errors, written = threading.Event(), [], []

    def write() -> None:
        with closing(connect(path, mode)) as writer:
            number = 0
            while not stop.is_set():
                number += 1
                try:
                    writer.execute("BEGIN IMMEDIATE")
                    writer.execute("UPDATE account SET cents = cents - 1 WHERE id % 50 = ?", (number % 50,))
                    writer.execute("UPDATE account SET cents = cents + 1 WHERE id % 50 = ?", (-number * 7 % 50,))
                    writer.execute("COMMIT")
                    written.append(number)
                except sqlite3.OperationalError as error:
                    errors.append(error)
                    if writer.in_transaction:
                        writer.execute("ROLLBACK")
                stop.wait(0.002)

    sums: set[int] = set()
    follower.after_batch = lambda: sums.add(sum(cents for _, cents in follower.held("account")))
    thread = threading.Thread(target=write)
    thread.start()
    try:
        while len(follower.batches) < 12 or len(written) < 20:
            if capture == "polling":
                follower.feed.want()  # type: ignore[union-attr]
            if follower.feed is not None and follower.feed.changed():
                follower.step()
    finally:
        stop.set()
        thread.join()
    assert sums == {300_000} and not errors
    follower.catch_up()
    follower.assert_mirrors_equal()
    follower.close()
