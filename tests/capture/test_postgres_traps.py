"""Every way of changing a PostgreSQL table that triggers are known to miss: a mirror equals its source after each of them."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.capture.postgres_follower import PostgresFollower
from tests.capture.test_postgres_sources import service

from syncline.errors import SourceChanged
from syncline.stores.postgres import source_role
from syncline.stores.postgres.connection import Connection, connect
from syncline.testing.postgres import Databases

SCRIPT = """
CREATE TYPE mood AS ENUM ('glad', 'sad');
CREATE DOMAIN cents AS bigint CHECK (VALUE >= 0);
CREATE TYPE pair AS (x int, y text);
CREATE TABLE parent (id int PRIMARY KEY, name text, two pair DEFAULT '(1,a)', more pair[] DEFAULT '{"(2,b)"}');
CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent ON DELETE CASCADE ON UPDATE CASCADE);
CREATE TABLE t (id int PRIMARY KEY, a text, n numeric DEFAULT 1.50, at timestamptz DEFAULT '2026-01-01 12:00:00+01', m mood,
                amount cents, tags text[], doc jsonb, blob bytea, big text, f float8,
                up text GENERATED ALWAYS AS (upper(a)) STORED);
CREATE TABLE p (id int, part text, v int, PRIMARY KEY (id, part)) PARTITION BY LIST (part);
CREATE TABLE p_a PARTITION OF p FOR VALUES IN ('a');
CREATE TABLE p_rest PARTITION OF p DEFAULT PARTITION BY RANGE (id);
CREATE TABLE p_rest_low PARTITION OF p_rest FOR VALUES FROM (0) TO (1000);
CREATE TABLE p_rest_high PARTITION OF p_rest DEFAULT;
INSERT INTO parent SELECT g, 'p' || g FROM generate_series(1, 20) AS g;
INSERT INTO child SELECT g, 1 + g % 20 FROM generate_series(1, 60) AS g;
INSERT INTO t (id, a, m, amount, tags, doc, blob, big, f)
SELECT g, 'a' || g, 'glad', g, ARRAY['x', 'y,z'], '{"k": 1.10}', '\\x00ff', repeat(md5(g::text), 200), g / 3.0
  FROM generate_series(1, 50) AS g;
INSERT INTO p SELECT g, CASE WHEN g % 3 = 0 THEN 'a' ELSE 'b' END, g FROM generate_series(1, 60) AS g;
"""

WRITES = """
UPDATE t SET a = 'new' WHERE id < 10
UPDATE t SET a = 'new' WHERE false
INSERT INTO t (id, a) VALUES (1, 'again'), (900, 'fresh') ON CONFLICT (id) DO UPDATE SET a = excluded.a
MERGE INTO t USING (VALUES (2), (901)) AS s (k) ON k = id WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (id) VALUES (k)
WITH gone AS (DELETE FROM t WHERE id < 5 RETURNING id) INSERT INTO t (id, a) SELECT id + 500, 'moved' FROM gone
UPDATE t SET id = -id WHERE id BETWEEN 10 AND 20
DELETE FROM parent WHERE id < 5
UPDATE parent SET id = id + 100
SET session_replication_role = replica; UPDATE t SET a = 'replicated'; DELETE FROM t WHERE id = 50; RESET session_replication_role
UPDATE t SET a = 'what is stored elsewhere stays' WHERE id = 30
UPDATE t SET big = big || 'and now changes' WHERE id = 30
BEGIN; SAVEPOINT a; UPDATE t SET a = 'undone' WHERE id = 31; ROLLBACK TO a; UPDATE t SET a = 'kept' WHERE id = 32; COMMIT
BEGIN; UPDATE t SET a = 'undone' WHERE id = 31; ROLLBACK
BEGIN; UPDATE t SET a = 'prepared' WHERE id = 33; PREPARE TRANSACTION 'syncline_traps'; COMMIT PREPARED 'syncline_traps'
DELETE FROM t
"""
REWRITES = """
TRUNCATE t; INSERT INTO t (id, a) VALUES (1, 'refilled')
BEGIN; INSERT INTO t (id, a) VALUES (2, 'gone'); TRUNCATE t; INSERT INTO t (id, a) VALUES (3, 'refilled'); COMMIT
BEGIN; TRUNCATE t; ROLLBACK
ALTER TABLE t ALTER n TYPE numeric USING n * 2
VACUUM FULL t
CLUSTER t USING t_pkey
ALTER TYPE mood RENAME VALUE 'glad' TO 'happy'
ALTER TYPE mood ADD VALUE 'calm'
ALTER TYPE pair ADD ATTRIBUTE z int
ALTER TABLE t DROP n; ALTER TABLE t ADD n numeric DEFAULT 7
ALTER TABLE t DROP f
ALTER TABLE t ADD extra int DEFAULT 3; UPDATE t SET extra = 4 WHERE id = 1
ALTER TABLE t ALTER amount TYPE numeric(12,2)
ALTER TABLE t RENAME TO renamed; ALTER TABLE renamed RENAME TO t
DROP TABLE child; CREATE TABLE child (id int PRIMARY KEY, parent int); INSERT INTO child VALUES (7, 7)
ALTER TABLE child RENAME TO old; CREATE TABLE child (LIKE old INCLUDING ALL); INSERT INTO child SELECT id + 100, parent FROM old
ALTER TABLE parent DROP CONSTRAINT parent_pkey; ALTER TABLE parent ADD PRIMARY KEY (id) DEFERRABLE INITIALLY DEFERRED
UPDATE parent SET id = 3 - id WHERE id IN (1, 2)
TRUNCATE parent CASCADE
TRUNCATE t, p
"""
PARTITIONS = """
INSERT INTO p_a VALUES (500, 'a', 1); UPDATE p_rest_low SET v = v + 1; DELETE FROM p_rest WHERE id < 10
UPDATE p SET part = 'a' WHERE id % 5 = 1 AND part <> 'a'
UPDATE p SET id = id + 5000 WHERE id > 50
COPY p_a FROM PROGRAM 'echo 777,a,5' WITH (FORMAT csv)
CREATE TABLE p_c PARTITION OF p FOR VALUES IN ('c'); INSERT INTO p_c VALUES (1, 'c', 1); INSERT INTO p VALUES (2, 'c', 1)
UPDATE p_c SET v = 9
CREATE TABLE p_d (id int, part text, v int, PRIMARY KEY (id, part)); INSERT INTO p_d VALUES (9, 'd', 9)
ALTER TABLE p ATTACH PARTITION p_d FOR VALUES IN ('d')
DELETE FROM p_d; INSERT INTO p_d VALUES (10, 'd', 10)
TRUNCATE p_d
ALTER TABLE p DETACH PARTITION p_a; UPDATE p_a SET v = 6; ALTER TABLE p ATTACH PARTITION p_a FOR VALUES IN ('a')
ALTER TABLE p DETACH PARTITION p_a
INSERT INTO p_a VALUES (12345, 'a', 11)
ALTER TABLE p ATTACH PARTITION p_a FOR VALUES IN ('a')
DROP TABLE p_rest_low
TRUNCATE p
"""
TAMPERING = """
ALTER TABLE t DISABLE TRIGGER ALL; UPDATE t SET a = 'unseen 1'; ALTER TABLE t ENABLE TRIGGER ALL
DROP TRIGGER syncline_{t}_update ON t; UPDATE t SET a = 'unseen 2'
CREATE OR REPLACE FUNCTION syncline.mark_{t}_update() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD;END'; DELETE FROM t
ALTER TABLE t DISABLE TRIGGER syncline_{t}_insert; INSERT INTO t VALUES (60); ALTER TABLE t ENABLE TRIGGER ALL
DELETE FROM syncline.follow; UPDATE t SET a = 'seen'
DELETE FROM syncline.consumer; UPDATE t SET a = 'unseen 4'
DELETE FROM syncline.reading; DELETE FROM syncline.mark_{t}
DROP TABLE syncline.mark_{t} CASCADE; DROP FUNCTION syncline.mark_{t}_update CASCADE; UPDATE t SET a = 'unseen 5'
DROP SCHEMA syncline CASCADE; UPDATE t SET a = 'unseen 6'
"""
SEQUENCES = {"writes": WRITES, "rewrites": REWRITES, "partitions": PARTITIONS, "tampering": TAMPERING}


@pytest.fixture(autouse=True)
def _positions_move_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What leaves no mark is noticed when the position is moved."""
    monkeypatch.setattr("syncline.stores.postgres.triggers.ADVANCE_S", 0.0)


@pytest.fixture
def database(postgres: Databases) -> str:
    return postgres.create("traps")


@pytest.fixture
def owner(database: str) -> Iterator[Connection]:
    with closing(connect(database)) as connection:
        connection.execute(SCRIPT)
        yield connection


def run(owner: Connection, line: str) -> None:
    found = owner.execute("SELECT id FROM syncline.captured_table WHERE table_name = 't'").fetchone() if "{t}" in line else None
    for statement in line.replace("{t}", str(found[0]) if found else "").split("; "):
        owner.execute(statement)


@pytest.mark.parametrize("sequence", SEQUENCES)
def test_mirrors_equal_their_source_after_each_of(database: str, owner: Connection, tmp_path: Path, sequence: str) -> None:
    """One read store follows meanwhile; another comes back only after each third."""
    first, second = (PostgresFollower(database, tmp_path / f"{name}.db", "triggers") for name in ("first", "second"))
    with closing(first), closing(second):
        for number, line in enumerate(["SELECT 1", *SEQUENCES[sequence].strip().splitlines()]):
            followers = (first, second) if number % 3 == 0 else (first,)
            try:
                run(owner, line)
                for follower in followers:
                    follower.catch_up()
                    follower.assert_mirrors_equal()
                run(owner, f"INSERT INTO t (id, a) VALUES ({1000 + number}, 'x'); UPDATE t SET a = 'now' WHERE id > 25")
                for follower in followers:
                    follower.catch_up()
                    follower.assert_mirrors_equal()
                    follower.acknowledge()
            except BaseException as error:
                error.add_note(f"after: {line}")
                raise
            if number % 3 == 0:
                second.rest()


@pytest.mark.parametrize("sequence", [name for name in SEQUENCES if name != "tampering"])
def test_polling_sees_each_of(database: str, owner: Connection, tmp_path: Path, sequence: str) -> None:
    with closing(PostgresFollower(database, tmp_path / "store.db", "polling")) as follower:
        follower.catch_up()
        for line in SEQUENCES[sequence].strip().splitlines():
            run(owner, line)
            follower.catch_up()
            follower.assert_mirrors_equal()


def test_a_column_that_is_computed_in_another_way_from_now_on_is_compared(
    database: str, owner: Connection, tmp_path: Path
) -> None:
    if owner.info.server_version < 180_000:
        pytest.skip("no columns that are computed when they are read")
    owner.execute("ALTER TABLE child ADD twice int GENERATED ALWAYS AS (id * 2) VIRTUAL")
    with closing(PostgresFollower(database, tmp_path / "store.db", "triggers", names=["child"])) as follower:
        follower.catch_up()
        owner.execute("ALTER TABLE child ALTER twice SET EXPRESSION AS (id + id + 1)")
        follower.catch_up()
        follower.assert_mirrors_equal()


@pytest.mark.parametrize(
    ("change", "undo", "reason"),
    [
        ("CREATE TABLE more () INHERITS (child); INSERT INTO more VALUES (77, 1)", "DROP TABLE more", "another table inherits"),
        ("ALTER TABLE child SET UNLOGGED", "ALTER TABLE child SET LOGGED", "it is UNLOGGED"),
    ],
)
def test_a_table_that_triggers_can_no_longer_capture_is_refused_until_they_can(
    database: str, owner: Connection, tmp_path: Path, change: str, undo: str, reason: str
) -> None:
    with closing(PostgresFollower(database, tmp_path / "store.db", "triggers", names=["child"])) as follower:
        follower.catch_up()
        owner.execute(change)
        feed = follower.feed
        assert feed is not None
        with pytest.raises(SourceChanged, match=f"shop.child cannot be followed now: {reason}"):
            while feed.changed():
                follower.step()
        ((name, told),) = source_role.look(service(database, "triggers", "child"), briefly=False).refused
        assert name == "child" and ("INHERITS" in told or "SET LOGGED" in told)
        owner.execute(undo)
        follower.rest()
        follower.catch_up()
        follower.assert_mirrors_equal()


@pytest.mark.parametrize(
    "change", ["DROP TABLE child", "ALTER TABLE child DROP parent", "ALTER TABLE child RENAME parent TO mother"]
)
@pytest.mark.parametrize("capture", ["triggers", "polling"])
def test_what_can_no_longer_be_followed_is_refused_by_name(
    database: str, owner: Connection, tmp_path: Path, capture: str, change: str
) -> None:
    follower = PostgresFollower(database, tmp_path / "store.db", capture)
    follower.catch_up()
    owner.execute(change)
    feed = follower.feed
    assert feed is not None
    feed.mark(follower.store.relations["shop__t"], ())
    with pytest.raises(SourceChanged, match="child"):
        while feed.changed():
            follower.step()
    with pytest.raises(SourceChanged, match="no table 'public.child'|no column 'parent'"):
        feed.follow(list(follower.store.relations.values()))
    follower.close()
