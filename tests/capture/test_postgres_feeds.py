"""Concurrent writers of a PostgreSQL database, cut connections, other histories: nothing is lost, and no state is torn."""

import random
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import psycopg
import pytest
from tests.capture.postgres_follower import PATIENCE_S, PostgresFollower

from syncline.errors import StoreError, Unavailable
from syncline.messages import Position
from syncline.stores.postgres import source_role
from syncline.stores.postgres.connection import Connection, connect
from syncline.stores.postgres.polling import PollingFeed
from syncline.testing.postgres import Databases

ACCOUNTS = 200
CLERKS = 8
BALANCE = 1_000


@pytest.fixture
def database(postgres: Databases) -> str:
    return postgres.create("feeds")


@pytest.fixture
def owner(database: str) -> Iterator[Connection]:
    with closing(connect(database)) as connection:
        connection.execute(
            "CREATE TABLE t (id int PRIMARY KEY, a text); INSERT INTO t SELECT g, 'x' FROM generate_series(1, 20) AS g"
        )
        yield connection


@pytest.fixture
def follower(database: str, owner: Connection, tmp_path: Path) -> Iterator[PostgresFollower]:
    with closing(PostgresFollower(database, tmp_path / "store.db", "triggers")) as follower:
        follower.catch_up()
        yield follower


def token(owner: Connection) -> Position:
    """What a writer that has just committed knows: everything that is committed now."""
    ((incarnation, n, open_),) = owner.execute(
        "SELECT incarnation, pg_snapshot_xmax(s)::text::bigint - 1, ARRAY(SELECT pg_snapshot_xip(s)::text::bigint)::text "
        "FROM syncline.source, pg_current_snapshot() AS s"
    ).fetchall()
    return Position(incarnation, n, open=tuple(int(each) for each in open_.strip("{}").split(",") if each))


def held(follower: PostgresFollower) -> dict[int, str]:
    return dict(follower.held("t"))


# -- a bank ----------------------------------------------------------------------------------------------------------------


class Bank:
    """Accounts in two tables, and clerks who move money between any two, each over a connection of their own."""

    def __init__(self, database: str) -> None:
        self.database = database
        with closing(connect(database)) as owner:
            for table in ("branch_a", "branch_b"):
                owner.execute(f"CREATE TABLE {table} (id int PRIMARY KEY, cents bigint NOT NULL)")
                owner.execute(f"INSERT INTO {table} SELECT g, {BALANCE} FROM generate_series(1, {ACCOUNTS}) AS g")
        self._stop = threading.Event()
        self.moved = 0
        self._threads = [threading.Thread(target=self._work, args=(seed,)) for seed in range(CLERKS)]

    def __enter__(self) -> "Bank":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _work(self, seed: int) -> None:
        rng = random.Random(seed)
        with psycopg.connect(self.database) as clerk:
            while not self._stop.is_set():
                with suppress(psycopg.errors.DeadlockDetected, psycopg.errors.UniqueViolation):
                    self._transfer(clerk, rng)
                    self.moved += 1
                clerk.rollback()

    def _transfer(self, clerk: psycopg.Connection[tuple[int]], rng: random.Random) -> None:
        """Some cents from a few accounts to one; now and then an account gets another number, or moves to the other branch."""
        source, target = rng.sample(("branch_a", "branch_b"), 2)
        if rng.random() < 0.1:
            clerk.execute(
                f"WITH gone AS (DELETE FROM {source} WHERE id = %s RETURNING *) "
                f"INSERT INTO {target} SELECT id + 1000, cents FROM gone",
                (rng.randint(1, ACCOUNTS),),
            )
        elif rng.random() < 0.1:
            clerk.execute(f"UPDATE {source} SET id = id + 5000 WHERE id = %s", (rng.randint(1, ACCOUNTS),))
        else:
            taken = clerk.execute(f"UPDATE {source} SET cents = cents - 1 WHERE id %% 40 = %s", (rng.randrange(40),)).rowcount
            to = clerk.execute(f"SELECT id FROM {target} ORDER BY random() LIMIT 1").fetchone()
            assert to is not None
            if clerk.execute(f"UPDATE {target} SET cents = cents + %s WHERE id = %s", (taken, to[0])).rowcount == 0:
                return
        if rng.random() < 0.9:
            clerk.commit()


def total(follower: PostgresFollower) -> int:
    return sum(cents for table in ("branch_a", "branch_b") for _, cents in follower.held(table))


@pytest.mark.parametrize("capture", ["triggers", "polling"])
def test_the_money_of_a_bank_is_all_there_in_every_state(
    postgres: Databases, database: str, tmp_path: Path, capture: str
) -> None:
    """Eight clerks at work, and our connections are cut now and then."""
    bank, rng, totals, cuts = Bank(database), random.Random(7), set(), 0
    with (
        closing(PostgresFollower(database, tmp_path / "store.db", capture)) as follower,
        closing(connect(postgres.url)) as superuser,
    ):
        follower.after_batch = lambda: totals.add(total(follower))
        with bank:
            deadline = time.monotonic() + PATIENCE_S
            while (bank.moved < 500 or len(follower.batches) < 30 or cuts < 5) and time.monotonic() < deadline:
                if rng.random() < 0.2:
                    cuts += terminate(superuser, database)
                with suppress(StoreError):
                    follow(follower)
        follower.catch_up()
        follower.assert_mirrors_equal()
        assert totals == {2 * ACCOUNTS * BALANCE}
        assert bank.moved >= 100 and cuts >= 5, (bank.moved, cuts)


def follow(follower: PostgresFollower) -> None:
    """What a relay does in a turn; a fault closes the feed, and it is opened again the next time."""
    try:
        if follower.feed is None or follower.store.loading("shop"):
            follower.go_live(follower.load_all())
        if follower.capture == "polling":
            follower.feed.want()  # type: ignore[union-attr]
        if follower.feed is not None and follower.feed.changed():
            follower.step()
        if follower.feed is not None and random.random() < 0.3:
            follower.acknowledge()
    except StoreError:
        follower.rest()
        raise


def terminate(superuser: Connection, database: str) -> int:
    name = database.rpartition("/")[2]
    return superuser.execute(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = %s AND application_name = 'syncline'",
        (name,),
    ).fetchall()[0][0]


# -- fixed schedules -------------------------------------------------------------------------------------------------------


def test_who_began_first_and_commits_last_is_not_missed(database: str, owner: Connection, follower: PostgresFollower) -> None:
    with closing(connect(database)) as early:
        early.execute("BEGIN; UPDATE t SET a = 'early' WHERE id = 1")
        owner.execute("UPDATE t SET a = 'late' WHERE id = 2")
        at = token(owner)
        follower.catch_up()
        assert (held(follower)[1], held(follower)[2]) == ("x", "late")
        assert follower.applied is not None and follower.applied.reaches(at)
        follower.acknowledge()
        early.execute("COMMIT")
        assert not follower.applied.reaches(token(owner))
    at = token(owner)
    follower.catch_up()
    assert held(follower)[1] == "early" and follower.applied.reaches(at)


def test_who_was_numbered_first_and_writes_last_is_not_missed(
    database: str, owner: Connection, follower: PostgresFollower
) -> None:
    with closing(connect(database)) as early:
        early.execute("BEGIN; SELECT pg_current_xact_id()")
        owner.execute("UPDATE t SET a = 'late' WHERE id = 1")
        follower.catch_up()
        follower.acknowledge()
        early.execute("UPDATE t SET a = 'early' WHERE id = 1; COMMIT")
    follower.catch_up()
    assert held(follower)[1] == "early"


def test_what_is_rolled_back_leaves_nothing_and_is_not_waited_for(owner: Connection, follower: PostgresFollower) -> None:
    owner.execute("BEGIN; UPDATE t SET a = 'undone'; ROLLBACK")
    owner.execute("UPDATE t SET a = 'done' WHERE id = 1")
    follower.catch_up()
    assert held(follower) == {1: "done", **dict.fromkeys(range(2, 21), "x")}


@pytest.mark.parametrize("where", ["the same database", "another database"])
def test_a_write_that_stays_open_holds_nothing_up(
    postgres: Databases, database: str, owner: Connection, follower: PostgresFollower, where: str
) -> None:
    with closing(connect(database if where == "the same database" else postgres.url)) as other:
        other.execute("BEGIN; CREATE TABLE left_open (id int)")
        for number in range(5):
            owner.execute(f"UPDATE t SET a = 'n{number}'")
            at = token(owner)
            follower.catch_up()
            follower.acknowledge()
            assert set(held(follower).values()) == {f"n{number}"}
            assert follower.applied is not None and follower.applied.reaches(at)
            assert marks(owner) == 0
        other.execute("ROLLBACK")


def test_a_batch_holds_whole_transactions_however_large(owner: Connection, follower: PostgresFollower) -> None:
    owner.execute(
        "BEGIN; INSERT INTO t SELECT g, 'many' FROM generate_series(1000, 25999) AS g; UPDATE t SET a = a || '!'; COMMIT"
    )
    before = len(follower.batches)
    follower.catch_up()
    follower.assert_mirrors_equal()
    assert len([batch for batch in follower.batches[before:] if batch.after.proof != batch.before.proof]) == 1  # type: ignore[union-attr]


def test_an_idle_source_honours_tokens(owner: Connection, follower: PostgresFollower) -> None:
    owner.execute("CREATE TABLE unfollowed (id int); INSERT INTO unfollowed VALUES (1)")
    at = token(owner)
    follower.follow_until(lambda: follower.applied is not None and follower.applied.reaches(at))


def test_whoever_moves_nothing_but_numbers_is_followed_at_a_measured_pace(owner: Connection, follower: PostgresFollower) -> None:
    follower.acknowledge()
    before, asked = len(follower.batches), 0
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        owner.execute("SELECT pg_current_xact_id()")
        asked += 1
        if follower.feed is not None and follower.feed.changed():
            follower.step()
    assert asked > 50 and len(follower.batches) - before < 25


# -- what is locked --------------------------------------------------------------------------------------------------------


def test_a_table_that_is_locked_is_waited_for_and_then_told(
    database: str, owner: Connection, follower: PostgresFollower, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("syncline.stores.postgres.reach.LOCK_GRACE_S", 0.2)
    feed = follower.feed
    assert feed is not None and follower.applied is not None
    owner.execute("UPDATE t SET a = 'y'")
    with closing(connect(database)) as other:
        other.execute("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
        assert feed.read(follower.applied) is None
        with pytest.raises(Unavailable, match="locked by another transaction") as found:
            follower.follow_until(lambda: False)
        assert source_role.is_locked(found.value)
        other.execute("ROLLBACK")
    follower.catch_up()
    follower.assert_mirrors_equal()


def test_installing_waits_for_no_writer_for_long(
    database: str, owner: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("syncline.stores.postgres.triggers.INSTALL_WAIT_MS", 50)
    with closing(connect(database)) as writer, closing(PostgresFollower(database, tmp_path / "store.db", "triggers")) as follower:
        writer.execute("BEGIN; UPDATE t SET a = 'y' WHERE id = 1")
        with pytest.raises(Unavailable, match="locked by another transaction"):
            follower.catch_up()
        writer.execute("COMMIT")
        follower.catch_up()
        follower.assert_mirrors_equal()


# -- several read stores, other histories ----------------------------------------------------------------------------------


def marks(owner: Connection) -> int:
    return int(owner.execute(f"SELECT count(*) FROM syncline.mark_{table_number(owner)}").fetchall()[0][0])


def test_marks_stay_until_every_read_store_has_them(
    database: str, owner: Connection, follower: PostgresFollower, tmp_path: Path
) -> None:
    with closing(PostgresFollower(database, tmp_path / "second.db", "triggers")) as second:
        second.catch_up()
        owner.execute("UPDATE t SET a = 'y'")
        follower.catch_up()
        follower.acknowledge()
        assert marks(owner) == 1
        second.catch_up()
        second.assert_mirrors_equal()
        second.acknowledge()
        assert marks(owner) == 0


def test_a_read_store_of_another_table_keeps_no_marks(
    database: str, owner: Connection, follower: PostgresFollower, tmp_path: Path
) -> None:
    owner.execute("CREATE TABLE u (id int PRIMARY KEY)")
    with closing(PostgresFollower(database, tmp_path / "second.db", "triggers", names=["u"])) as second:
        second.catch_up()
        owner.execute("UPDATE t SET a = 'y'")
        follower.catch_up()
        follower.acknowledge()
        assert marks(owner) == 0


def test_a_read_store_that_fell_too_far_behind_loses_its_marks_and_compares(
    database: str, owner: Connection, follower: PostgresFollower, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("syncline.stores.postgres.triggers.MARK_LIMIT", 5)
    monkeypatch.setattr("syncline.stores.postgres.triggers.EXPIRE_S", 0.0)
    with closing(PostgresFollower(database, tmp_path / "slow.db", "triggers")) as slow:
        slow.catch_up()
        slow.acknowledge()
        for number in range(10):
            owner.execute("UPDATE t SET a = %s", (str(number),))
        follower.catch_up()
        follower.acknowledge()
        assert marks(owner) == 0
        before = slow.applied
        slow.catch_up()
        slow.assert_mirrors_equal()
        assert before is not None and slow.applied is not None and slow.applied.incarnation == before.incarnation
        owner.execute("UPDATE t SET a = 'again'")
        slow.catch_up()
        slow.assert_mirrors_equal()


def test_two_read_stores_of_which_one_is_a_copy_are_told_by_name_and_stay_exact(
    database: str, owner: Connection, tmp_path: Path
) -> None:
    with closing(PostgresFollower(database, tmp_path / "first.db", "triggers")) as made:
        made.catch_up()
    shutil.copy(tmp_path / "first.db", tmp_path / "copy.db")
    with (
        closing(PostgresFollower(database, tmp_path / "first.db", "triggers")) as first,
        closing(PostgresFollower(database, tmp_path / "copy.db", "triggers")) as copied,
    ):
        first.catch_up()
        copied.catch_up()
        owner.execute("UPDATE t SET a = 'y'")
        with pytest.raises(StoreError, match=r"copy\.db' follows 'shop' in the name of '.*first\.db': .* is a copy"):
            first.catch_up()
        for follower in (copied, first):
            follower.rest()
            follower.catch_up()
            follower.assert_mirrors_equal()


@pytest.mark.parametrize("is_open", [True, False], ids=["while followed", "while not followed"])
def test_a_database_put_back_from_a_copy_is_another_history(
    postgres: Databases, database: str, owner: Connection, tmp_path: Path, is_open: bool
) -> None:
    follower = PostgresFollower(database, tmp_path / "store.db", "triggers")
    with closing(follower):
        follower.catch_up()
        follower.acknowledge()
        follower.rest()
        owner.close()
        copy = postgres.create("copy", like=database)
        with closing(connect(database)) as again:
            again.execute("UPDATE t SET a = 'gone with the restore' WHERE id = 1; DELETE FROM t WHERE id = 2")
        follower.catch_up()
        follower.acknowledge()
        before = follower.applied
        assert before is not None
        follower.rest()
        follower.source = copy
        with closing(connect(copy)) as again:
            again.execute("UPDATE t SET a = 'written after it' WHERE id = 3")
        follower.catch_up()
        follower.assert_mirrors_equal()
        assert follower.applied is not None and follower.applied.incarnation != before.incarnation
        settled = follower.applied.incarnation
        if not is_open:
            follower.rest()
        with closing(connect(copy)) as again:
            again.execute("UPDATE t SET a = 'and on' WHERE id = 4")
        follower.catch_up()
        follower.assert_mirrors_equal()
        assert follower.applied.incarnation == settled


def test_a_copy_that_was_half_done_when_everything_was_taken_away_is_exact(
    database: str, owner: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("syncline.stores.postgres.triggers.SCAN_ROWS", 500)
    owner.execute("INSERT INTO t SELECT g, 'many' FROM generate_series(100, 5000) AS g")
    with closing(PostgresFollower(database, tmp_path / "store.db", "triggers")) as follower:
        follower.catch_up_but(2)
        follower.rest()
        owner.execute("DROP SCHEMA syncline CASCADE; UPDATE t SET a = 'other' WHERE id < 200; DELETE FROM t WHERE id = 5")
        follower.catch_up()
        follower.assert_mirrors_equal()


def test_said_to_be_restored_it_is_compared_under_another_name(
    database: str, owner: Connection, follower: PostgresFollower
) -> None:
    before = follower.applied
    assert before is not None
    with owner.transaction():
        name = source_role.install.renew(owner)
    owner.execute("UPDATE t SET a = 'y' WHERE id = 1")
    follower.catch_up()
    follower.assert_mirrors_equal()
    assert follower.applied is not None and follower.applied.incarnation == name != before.incarnation


# -- faults between the source and the read store ---------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["UPDATE t SET a = 'y'", "TRUNCATE t", "ALTER TABLE t ALTER a TYPE text USING a || '!'"])
def test_what_was_read_and_not_applied_is_read_again(owner: Connection, follower: PostgresFollower, change: str) -> None:
    """The read store fails, or dies, between reading a batch and keeping it; time and again."""
    owner.execute(change)
    for _ in range(3):
        assert follower.feed is not None and follower.applied is not None
        follower.follow_until(lambda: True)
        batch = follower.feed.read(follower.applied)
        assert batch is not None and list(batch.chunks)
        follower.rest()
        follower.load_all()
    follower.catch_up()
    follower.assert_mirrors_equal()


def test_a_batch_that_was_not_read_to_its_end_is_read_again(owner: Connection, follower: PostgresFollower) -> None:
    owner.execute("INSERT INTO t SELECT g, 'many' FROM generate_series(1000, 25999) AS g")
    assert follower.feed is not None and follower.applied is not None
    batch = follower.feed.read(follower.applied)
    assert batch is not None
    next(iter(batch.chunks))
    follower.catch_up()
    follower.assert_mirrors_equal()


def test_a_number_that_a_crashed_server_gives_again_is_not_taken_for_one_that_was_seen(
    owner: Connection, follower: PostgresFollower
) -> None:
    """Transactions that wrote nothing move a position; a server that crashes then forgets their numbers."""
    owner.execute("SELECT pg_current_xact_id()")
    at = token(owner)
    follower.follow_until(lambda: follower.applied is not None and follower.applied.reaches(at))
    follower.acknowledge()
    applied = follower.applied
    assert applied is not None
    follower.rest()
    owner.execute("UPDATE t SET a = 'with a number that was given before' WHERE id = 1")
    ((number,),) = owner.execute("SELECT max(pg_snapshot_xmax(snapshot)::text::bigint) FROM syncline.reading").fetchall()
    owner.execute(f"UPDATE syncline.mark_{table_number(owner)} SET tx = '{number}'")
    assert number <= applied.n
    follower.catch_up()
    follower.assert_mirrors_equal()


def table_number(owner: Connection) -> int:
    return int(owner.execute("SELECT id FROM syncline.captured_table WHERE table_name = 't'").fetchall()[0][0])


def test_rows_between_full_sweeps_are_found_by_their_time_however_long_their_transaction_was_open(
    database: str, owner: Connection, tmp_path: Path
) -> None:
    owner.execute("CREATE TABLE c (id int PRIMARY KEY, changed timestamptz DEFAULT now()); INSERT INTO c VALUES (1), (2)")
    with closing(PostgresFollower(database, tmp_path / "store.db", "polling", names=["c"], changed_at="changed")) as follower:
        follower.catch_up()
        feed = follower.feed
        assert isinstance(feed, PollingFeed)
        with closing(connect(database)) as slow:
            slow.execute("BEGIN; INSERT INTO c VALUES (3)")
            time.sleep(1.2)  # longer than the skew that is allowed for
            for number in (4, 5):
                owner.execute("INSERT INTO c VALUES (%s, clock_timestamp() + interval '2 s')", (number,))
                sweep_in_part(follower, feed)
            slow.execute("COMMIT")
        sweep_in_part(follower, feed)
        assert not follower.batches[-1].exact
        assert [key for key, _ in follower.held("c")] == [1, 2, 3, 4, 5]
        owner.execute("DELETE FROM c WHERE id = 1")
        sweep_in_part(follower, feed)
        assert [key for key, _ in follower.held("c")] == [1, 2, 3, 4, 5]
        follower.catch_up()
        follower.assert_mirrors_equal()


def sweep_in_part(follower: PostgresFollower, feed: PollingFeed) -> None:
    feed._next_at, feed._is_wanted = 0.0, False
    follower.step()
