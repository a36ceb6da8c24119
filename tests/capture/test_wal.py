"""Capture by WAL while others write, while connections are cut, and where slot, publication or server are not as they were."""

import random
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest
from tests.capture.test_wal_traps import drop_slot, forget, settle
from tests.capture.wal_follower import WalFollower

from syncline.errors import SourceChanged, StoreError, Unavailable
from syncline.messages import Batch
from syncline.stores.postgres.connection import Connection, connect
from syncline.stores.postgres.slot import remove_slots, rename_history
from syncline.stores.sqlite.read import SQLiteReadStore
from syncline.testing.postgres import Databases, PostgresServer

ACCOUNTS, CENTS, WRITERS = 60, 1_000, 8
BANK = f"""
CREATE TABLE account (id int PRIMARY KEY, cents bigint NOT NULL, moved int NOT NULL DEFAULT 0, card text);
ALTER TABLE account ALTER card SET STORAGE EXTERNAL;
CREATE TABLE entry (id int GENERATED ALWAYS AS IDENTITY, account int, cents bigint, PRIMARY KEY (id, account))
  PARTITION BY HASH (account);
CREATE TABLE entry_0 PARTITION OF entry FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE entry_1 PARTITION OF entry FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO account SELECT g, {CENTS}, 0, repeat(md5(g::text), 100) FROM generate_series(1, {ACCOUNTS}) AS g;
"""
PATIENCE_S = 20.0


@pytest.fixture(scope="module")
def bank(postgres: Databases) -> str:
    return postgres.create("wal_bank")


@pytest.fixture
def owner(bank: str) -> Iterator[Connection]:
    with closing(connect(bank)) as connection:
        connection.execute("DROP SCHEMA IF EXISTS syncline CASCADE; DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        connection.execute(BANK)
        yield connection
        forget(connection)


@pytest.fixture
def follower(bank: str, owner: Connection, tmp_path: Path) -> Iterator[WalFollower]:
    with closing(WalFollower(bank, tmp_path / "store.db", "wal")) as made:
        yield made


@contextmanager
def writers(url: str, count: int = WRITERS) -> Iterator[list[int]]:
    """Connections that move money: between accounts, by entries, by a new key, and now and then half and undone."""
    stop, failures = threading.Event(), list[BaseException]()
    done = [0] * count

    def write(number: int) -> None:
        rng = random.Random(number)
        try:
            with psycopg.connect(url, autocommit=True) as connection:
                while not stop.is_set():
                    transfer(connection, rng)
                    done[number] += 1
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield done
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures, failures


def transfer(connection: "psycopg.Connection[object]", rng: random.Random) -> None:
    cents = rng.randrange(1, 50)
    payer, payee = sorted(rng.sample(range(1, ACCOUNTS + 1), 2))
    with connection.transaction(force_rollback=rng.random() < 0.1):
        change = "UPDATE account SET cents = cents + %s, moved = moved + 1 WHERE id = %s"
        connection.execute(change, (-cents, payer))
        if rng.random() < 0.2:
            connection.execute("UPDATE account SET card = repeat(md5(%s), 100) WHERE id = %s", (str(rng.random()), payer))
        with connection.transaction(force_rollback=rng.random() < 0.2):
            connection.execute("UPDATE account SET cents = -1 WHERE id = %s", (payer,))
            raise psycopg.Rollback
        connection.execute(change, (cents, payee))
        connection.execute("INSERT INTO entry (account, cents) VALUES (%s, %s), (%s, %s)", (payer, -cents, payee, cents))
        if rng.random() < 0.3:
            connection.execute("DELETE FROM entry WHERE account IN (%s, %s)", (payer, payee))
            refill = "INSERT INTO entry (account, cents) SELECT id, cents - %s FROM account WHERE id IN (%s, %s)"
            connection.execute(refill, (CENTS, payer, payee))


def assert_balanced(follower: WalFollower) -> None:
    """Every state is one of the source's: no money is made or lost, and each account agrees with its entries."""
    accounts = {row[0]: row[1] for row in follower.held("account")}
    assert sum(accounts.values()) == ACCOUNTS * CENTS
    entries = dict.fromkeys(accounts, CENTS)
    for _, account, cents in follower.held("entry"):
        entries[account] += cents
    assert entries == accounts


def follow_for(follower: WalFollower, seconds: float) -> None:
    until = time.monotonic() + seconds
    follow_while(follower, lambda: time.monotonic() < until)


def follow_while(follower: WalFollower, condition: Callable[[], bool]) -> None:
    """Reads and applies, opening the feed anew after a fault."""
    loaded: list[str] = []
    deadline = time.monotonic() + PATIENCE_S
    while condition():
        assert time.monotonic() < deadline, "it never came to be otherwise"
        try:
            if follower.feed is None:
                loaded = follower.load_all()
            assert follower.feed is not None
            if follower.feed.changed() or loaded:
                loaded = follower.step(loaded)
        except (SourceChanged, Unavailable) as error:
            follower.faults.append(error)
            follower.rest()


def test_every_state_is_balanced_while_eight_connections_write_and_the_stream_is_cut(
    bank: str, owner: Connection, follower: WalFollower
) -> None:
    """The first copy is made meanwhile; cut connections of either kind only make it go on from where it was."""
    rng = random.Random(4)
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = %s AND "
    cuts = 0
    with writers(bank) as done:
        follower.go_live(follower.load_all())
        follower.after_batch = lambda: assert_balanced(follower)
        for _ in range(4):
            follow_for(follower, 0.25)
            if rng.random() < 0.5:
                follower.acknowledge() if follower.feed is not None else None
            before, kind = len(follower.faults), rng.choice(["walsender", "client backend"])
            was_cut = owner.execute(cut + "application_name = 'syncline' AND pid <> pg_backend_pid()", (kind,)).fetchall()
            follow_while(follower, lambda n=before, is_due=bool(was_cut): is_due and len(follower.faults) == n)
            cuts += bool(was_cut)
    settle(follower)
    assert min(done) > 10
    assert cuts >= 2 and len(follower.faults) >= cuts
    assert len(follower.batches) > 20


def test_rows_that_are_held_wrongly_are_brought_again_while_others_write(
    bank: str, owner: Connection, follower: WalFollower
) -> None:
    settle(follower)
    with writers(bank, 2):
        follow_for(follower, 0.1)
        relation = follower.store.relations["shop__account"]
        assert isinstance(follower.store, SQLiteReadStore) and follower.feed is not None
        follower.store._connection.execute("UPDATE shop__account SET cents = cents + 1 WHERE id < 10")
        follower.store._connection.execute("DELETE FROM shop__account WHERE id > 50")
        follower.store._connection.execute("INSERT INTO shop__account VALUES (900, 5, 5, 'never was')")
        follower.feed.mark(relation, [(n,) for n in (*range(1, 10), *range(51, ACCOUNTS + 1), 900)])
        count = len(follower.batches)
        follower.follow_until(lambda: len(follower.batches) > count)
        assert_balanced(follower)
    settle(follower)


def test_a_row_that_is_not_held_is_looked_up_when_its_change_tells_too_little(owner: Connection, follower: WalFollower) -> None:
    settle(follower)
    assert isinstance(follower.store, SQLiteReadStore)
    follower.store._connection.execute("DELETE FROM shop__account WHERE id IN (3, 4)")
    owner.execute("UPDATE account SET moved = 7 WHERE id = 3; UPDATE account SET moved = 7, card = NULL WHERE id = 4")
    settle(follower)


def test_what_a_transaction_wrote_before_its_table_was_published_is_not_lost(
    bank: str, owner: Connection, tmp_path: Path
) -> None:
    """It is neither in the log that the slot tells, nor in a copy that is made before it commits."""
    owner.execute("CREATE TABLE late (id int PRIMARY KEY, v int)")
    with closing(WalFollower(bank, tmp_path / "store.db", "wal", names=["account"])) as follower:
        settle(follower)
        with closing(connect(bank, autocommit=False)) as writer:
            writer.execute("INSERT INTO late VALUES (1, 1)")
            follower.rest()
            follower.names = ["account", "late"]
            with pytest.raises(Unavailable, match="when the transactions that write it have ended"):
                follower.load_all()
            writer.execute("INSERT INTO late VALUES (2, 2)")
            writer.commit()
        follower.rest()
        settle(follower)
        owner.execute("INSERT INTO late VALUES (3, 3)")
        settle(follower)
        assert len(follower.held("late")) == 3


def test_a_table_that_is_followed_later_makes_nothing_else_be_compared(
    bank: str, owner: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner.execute("CREATE TABLE late (id int PRIMARY KEY, v int); INSERT INTO late VALUES (1, 1)")
    compared: list[str] = []
    differences = "syncline.stores.postgres.wal.differences"
    with closing(WalFollower(bank, tmp_path / "store.db", "wal", names=["account"])) as follower:
        settle(follower)
        monkeypatch.setattr(differences, lambda connection, table, *rest: compared.append(table.relation.name) or iter(()))
        for names in (["account", "late"], ["account", "late"], ["late"], ["late", "account", "entry"]):
            follower.rest()
            follower.names = names
            settle(follower)
    assert compared == []


def test_the_slot_is_told_only_what_is_on_disk_here(owner: Connection, follower: WalFollower) -> None:
    settle(follower)
    follower.acknowledge()
    before = confirmed(owner)
    owner.execute("UPDATE account SET moved = moved + 1")
    settle(follower)
    assert confirmed(owner) == before
    follower.acknowledge()
    until = time.monotonic() + PATIENCE_S
    while confirmed(owner) == before:
        assert time.monotonic() < until
    assert follower.applied is not None and confirmed(owner) <= follower.applied.n


def test_an_idle_service_lets_the_server_forget_the_log_of_others(owner: Connection, follower: WalFollower) -> None:
    owner.execute("CREATE UNLOGGED TABLE elsewhere (id int); CREATE TABLE noise (v text)")
    follower.names = ["account"]
    settle(follower)
    before = confirmed(owner)
    owner.execute("INSERT INTO noise SELECT repeat('x', 1000) FROM generate_series(1, 2000)")
    settle(follower)
    follower.acknowledge()
    until = time.monotonic() + PATIENCE_S
    while confirmed(owner) < before + 2_000_000:
        assert time.monotonic() < until
    assert not any(batch.chunks for batch in follower.batches[1:])


def test_a_lost_slot_is_made_anew_and_only_what_differs_is_brought(owner: Connection, follower: WalFollower) -> None:
    settle(follower)
    follower.rest()
    drop_slot(owner, slot_of(owner))
    owner.execute("UPDATE account SET moved = 1 WHERE id IN (5, 6); DELETE FROM account WHERE id = 7")
    brought: list[int] = []
    apply = follower.store.apply

    def counted(batch: Batch, live: list[str]) -> None:
        batch.chunks = list(batch.chunks)
        brought.append(sum(len(chunk.rows) + len(chunk.deleted) for chunk in batch.chunks))
        if not brought[-1]:
            batch.chunks = ()
        apply(batch, live)

    follower.store.apply = counted  # type: ignore[method-assign,assignment]
    settle(follower)
    assert sum(brought) == 3


def test_a_history_that_was_put_back_by_hand_is_compared(owner: Connection, follower: WalFollower) -> None:
    """As `restored` says; the relay that runs notices."""
    settle(follower)
    assert isinstance(follower.store, SQLiteReadStore)
    follower.store._connection.execute("UPDATE shop__account SET cents = 0 WHERE id = 1")
    before = follower.applied
    name = rename_history(owner)
    settle(follower)
    assert before is not None and follower.applied is not None
    assert before.incarnation != name == follower.applied.incarnation


def test_uninstall_removes_slot_and_publication_of_one_read_store_or_all(bank: str, owner: Connection, tmp_path: Path) -> None:
    first, second = (WalFollower(bank, tmp_path / f"{name}.db", "wal") for name in ("first", "second"))
    for each in (first, second):
        settle(each)
        each.close()
    wait_unread(owner)
    assert remove_slots(owner, "shop_of_another", None) == []
    mine = f"syncline_shop_{first.store.consumer}"
    assert remove_slots(owner, "shop", first.store.path) == [f"slot {mine}", f"publication {mine}"]
    assert len(remove_slots(owner, "shop", None)) == 2
    assert owner.execute("SELECT count(*) FROM pg_publication").fetchall() == [(0,)]
    assert owner.execute("SELECT count(*) FROM pg_replication_slots WHERE database = current_database()").fetchall() == [(0,)]


REFUSED = {
    "CREATE UNLOGGED TABLE bad (id int PRIMARY KEY)": "bad is UNLOGGED.*SET LOGGED",
    "CREATE TABLE bad (id int PRIMARY KEY); ALTER TABLE bad REPLICA IDENTITY NOTHING": "bad is NOTHING.*IDENTITY FULL",
    "CREATE TABLE bad (id int PRIMARY KEY DEFERRABLE)": "DEFERRABLE.*IDENTITY FULL",
    "CREATE TABLE bad (id int PRIMARY KEY, u int NOT NULL DEFAULT 1 UNIQUE); "
    "ALTER TABLE bad REPLICA IDENTITY USING INDEX bad_u_key": "another index",
}


@pytest.mark.parametrize("script", REFUSED)
def test_a_table_that_the_log_tells_too_little_of_is_refused_by_name(
    bank: str, owner: Connection, tmp_path: Path, script: str
) -> None:
    owner.execute(script)
    with closing(WalFollower(bank, tmp_path / "store.db", "wal", names=["bad"])) as follower:
        with pytest.raises(StoreError, match=REFUSED[script]):
            follower.load_all()
        owner.execute("INSERT INTO bad VALUES (1); DELETE FROM bad")  # the owner is not kept from writing


def test_a_role_that_lacks_a_right_is_told_which(bank: str, owner: Connection, tmp_path: Path) -> None:
    owner.execute("DROP ROLE IF EXISTS weak; CREATE ROLE weak LOGIN")
    owner.execute("GRANT USAGE ON SCHEMA public TO weak; GRANT SELECT ON account TO weak")
    url = bank.replace("postgres@", "weak@")
    for right, named in (
        ("SELECT 1", 'ALTER ROLE "weak" REPLICATION'),
        ("ALTER ROLE weak REPLICATION", 'GRANT CREATE ON DATABASE .* TO "weak"'),
        (f"GRANT CREATE ON DATABASE {bank.rpartition('/')[2]} TO weak", "only their owner may"),
        ("ALTER TABLE account OWNER TO weak", ""),
    ):
        owner.execute(right)
        follower = WalFollower(url, tmp_path / "store.db", "wal", names=["account"])
        if named:
            with pytest.raises(StoreError, match=named):
                follower.load_all()
        else:
            settle(follower)
        follower.close()
    wait_unread(owner)
    forget(owner)
    owner.execute("REASSIGN OWNED BY weak TO postgres; DROP OWNED BY weak; DROP ROLE weak")


def test_a_server_killed_and_started_again_is_followed_on(tmp_path: Path) -> None:
    server = PostgresServer(is_durable=True)
    try:
        url = Databases(server.url).create("bank")
        with closing(connect(url)) as owner:
            owner.execute(BANK)
        with closing(WalFollower(url, tmp_path / "store.db", "wal")) as follower:
            settle(follower)
            follower.after_batch = lambda: assert_balanced(follower)
            with psycopg.connect(url, autocommit=True) as connection:
                for seed in range(50):
                    transfer(connection, random.Random(seed))
            follow_for(follower, 0.05)
            server.kill()
            follow_for(follower, 0.05)
            server.start()
            with psycopg.connect(url, autocommit=True) as connection:
                for seed in range(50):
                    transfer(connection, random.Random(seed))
            settle(follower)
            assert follower.faults
    finally:
        server.stop()


@pytest.mark.long
def test_a_server_put_back_to_an_older_copy_of_its_files_is_noticed(tmp_path: Path) -> None:
    """The copy is behind what was applied, and goes on otherwise than it did."""
    server = PostgresServer(is_durable=True)
    copy = server.folder / "copy"
    try:
        url = Databases(server.url).create("bank")
        with closing(connect(url)) as owner:
            owner.execute(BANK)
        with closing(WalFollower(url, tmp_path / "store.db", "wal")) as follower:
            settle(follower)
            follower.rest()
            server.kill()
            shutil.copytree(server.data, copy, copy_function=shutil.copy2)
            server.start()
            with closing(connect(url)) as owner:
                owner.execute("UPDATE account SET moved = 5; UPDATE account SET moved = 6; DELETE FROM account WHERE id = 9")
            settle(follower)
            follower.rest()
            server.kill()
            shutil.rmtree(server.data)
            shutil.copytree(copy, server.data, copy_function=shutil.copy2)
            own(server, copy)
            server.start()
            settle(follower)
    finally:
        server.stop()


def own(server: PostgresServer, like: Path) -> None:
    """The folder belongs to whom its copy was made of."""
    if server._account is not None:
        for each in (server.data, *server.data.rglob("*")):
            shutil.chown(each, server._account.pw_uid, server._account.pw_gid)
        server.data.chmod(0o700)


def test_a_server_that_is_stopped_does_not_wait_for_the_reader(tmp_path: Path) -> None:
    server = PostgresServer()
    try:
        url = Databases(server.url).create("bank")
        with closing(connect(url)) as owner:
            owner.execute(BANK)
        with closing(WalFollower(url, tmp_path / "store.db", "wal")) as follower:
            settle(follower)
            process = server._process
            assert process is not None
            process.send_signal(signal.SIGINT)
            until = time.monotonic() + PATIENCE_S
            while process.poll() is None:
                assert time.monotonic() < until, "the server waits"
                if not follower.faults:
                    follow_for(follower, 0.01)
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("setting", "named"),
    [({"wal_level": "replica"}, "wal_level = 'logical'"), ({"max_replication_slots": "1"}, "raise max_replication_slots")],
)
def test_a_server_that_is_not_set_up_for_it_is_told_how(tmp_path: Path, setting: dict[str, str], named: str) -> None:
    server = PostgresServer(settings=setting)
    try:
        url = Databases(server.url).create("bank")
        with closing(connect(url)) as owner:
            owner.execute(BANK)
            if "max_replication_slots" in setting:
                owner.execute("SELECT pg_create_physical_replication_slot('taken')")
            with closing(WalFollower(url, tmp_path / "store.db", "wal")) as follower, pytest.raises(StoreError, match=named):
                follower.load_all()
            assert owner.execute("SELECT count(*) FROM pg_publication").fetchall() == [(0,)]
    finally:
        server.stop()


def confirmed(owner: Connection) -> int:
    found = owner.execute(
        "SELECT (confirmed_flush_lsn - '0/0')::bigint FROM pg_replication_slots WHERE database = current_database()"
    ).fetchone()
    assert found is not None
    return int(found[0])


def slot_of(owner: Connection) -> str:
    ((name,),) = owner.execute("SELECT slot_name::text FROM pg_replication_slots WHERE database = current_database()").fetchall()
    return str(name)


def wait_unread(owner: Connection) -> None:
    until = time.monotonic() + PATIENCE_S
    while owner.execute("SELECT FROM pg_replication_slots WHERE database = current_database() AND active").fetchone():
        assert time.monotonic() < until
