"""Every way of changing a PostgreSQL table that the log tells otherwise than row by row, or not at all: mirrors follow by WAL."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.capture.wal_follower import WalFollower

from syncline.stores.postgres.connection import Connection, connect
from syncline.testing.postgres import Databases

SCRIPT = """
CREATE TYPE mood AS ENUM ('glad', 'sad');
CREATE TYPE pair AS (x int, y text);
CREATE TABLE parent (id int PRIMARY KEY, name text, two pair DEFAULT '(1,a)');
CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent ON DELETE CASCADE ON UPDATE CASCADE);
CREATE TABLE t (id int PRIMARY KEY, a text, n numeric DEFAULT 1.50, at timestamptz DEFAULT '2026-01-01 12:00:00+01',
                m mood DEFAULT 'glad', tags text[], doc jsonb, blob bytea, big text, f double precision, yes boolean, i bigint);
ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
CREATE TABLE p (id int, part text, v int, big text, PRIMARY KEY (id, part)) PARTITION BY LIST (part);
ALTER TABLE p ALTER big SET STORAGE EXTERNAL;
CREATE TABLE p_a PARTITION OF p FOR VALUES IN ('a');
CREATE TABLE p_rest PARTITION OF p DEFAULT PARTITION BY RANGE (id);
CREATE TABLE p_rest_low PARTITION OF p_rest FOR VALUES FROM (0) TO (1000);
CREATE TABLE p_rest_high PARTITION OF p_rest DEFAULT;
CREATE TABLE whole (id int PRIMARY KEY, v text, big text);
ALTER TABLE whole REPLICA IDENTITY FULL;
ALTER TABLE whole ALTER big SET STORAGE EXTERNAL;
CREATE TABLE long_key (name text PRIMARY KEY, v int, big text);
ALTER TABLE long_key ALTER name SET STORAGE EXTERNAL;
CREATE TABLE by_index (code text NOT NULL, v int);
CREATE UNIQUE INDEX by_code ON by_index (code);
ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_code;
INSERT INTO parent SELECT g, 'p' || g FROM generate_series(1, 20) AS g;
INSERT INTO child SELECT g, 1 + g % 20 FROM generate_series(1, 60) AS g;
INSERT INTO t SELECT g, 'a' || g, 1.50, '2026-01-01', 'glad', ARRAY['x', 'y,z'], '{"k": 1.10}', '\\x00ff',
                     repeat(md5(g::text), 100), g / 3.0, g % 2 = 0, g::bigint << 40
  FROM generate_series(1, 40) AS g;
INSERT INTO p SELECT g, CASE WHEN g % 3 = 0 THEN 'a' ELSE 'b' END, g, repeat(md5(g::text), 100) FROM generate_series(1, 60) AS g;
INSERT INTO whole SELECT g, 'w' || g, repeat(md5(g::text), 100) FROM generate_series(1, 20) AS g;
INSERT INTO long_key SELECT repeat(md5(g::text), 75), g, 'b' || g FROM generate_series(1, 10) AS g;
INSERT INTO by_index SELECT 'c' || g, g FROM generate_series(1, 20) AS g;
"""

WRITES = """
SELECT 1
UPDATE t SET a = 'new' WHERE id < 10
UPDATE t SET n = 'NaN', at = now(), m = 'sad', tags = '{}', doc = '[1, {"a": null}]', f = '1e-300', yes = NULL, i = -5
INSERT INTO t (id, a) VALUES (1, 'again'), (900, 'fresh') ON CONFLICT (id) DO UPDATE SET a = excluded.a
WITH gone AS (DELETE FROM t WHERE id < 5 RETURNING id) INSERT INTO t (id, a) SELECT id + 500, 'moved' FROM gone
UPDATE t SET id = -id WHERE id BETWEEN 10 AND 20
UPDATE t SET id = id + 10000; UPDATE t SET id = id - 9999
DELETE FROM parent WHERE id < 5
UPDATE parent SET id = id + 100
SET session_replication_role = replica; UPDATE t SET a = 'replicated'; DELETE FROM t WHERE id = 30; RESET session_replication_role
UPDATE t SET a = 'what is stored elsewhere stays' WHERE id = 31; UPDATE p SET v = -v; UPDATE whole SET v = 'x'
UPDATE t SET id = id + 2000 WHERE id > 20; UPDATE t SET a = 'twice'; UPDATE whole SET id = id + 7 WHERE id > 13
UPDATE p SET part = 'a'
UPDATE t SET big = big || 'x' WHERE id = 2025; UPDATE t SET a = 'after' WHERE id = 2025
UPDATE long_key SET v = v + 1; UPDATE long_key SET name = 'n' || v WHERE v = 4
UPDATE by_index SET code = code || '!' WHERE v < 5; DELETE FROM by_index WHERE v > 15
BEGIN; SAVEPOINT a; UPDATE t SET a = 'undone'; ROLLBACK TO a; SAVEPOINT b; DELETE FROM t WHERE id = 6; RELEASE b; COMMIT
BEGIN; UPDATE t SET a = 'prepared'; PREPARE TRANSACTION 'syncline_wal'; COMMIT PREPARED 'syncline_wal'
BEGIN; UPDATE t SET a = 'undone'; ROLLBACK
INSERT INTO p_a VALUES (800, 'a', 1, 'b'); UPDATE p_rest_low SET v = 0 WHERE id = 7
UPDATE p SET part = 'c' WHERE id < 20; UPDATE p SET id = id + 2000 WHERE id > 40
DELETE FROM t; DELETE FROM p
"""
PLACES = """
TRUNCATE child; INSERT INTO child VALUES (1, 1)
BEGIN; INSERT INTO t (id) VALUES (99); TRUNCATE t; INSERT INTO t (id, a) VALUES (1, 'refilled'), (2, 'too'); COMMIT
BEGIN; TRUNCATE t; ROLLBACK
TRUNCATE parent CASCADE
INSERT INTO p VALUES (700, 'a', 1, 'gone'); TRUNCATE p_a; INSERT INTO p VALUES (701, 'a', 1, 'stays')
CREATE TABLE n (LIKE p INCLUDING ALL); INSERT INTO n VALUES (1, 'n', 1, 'b'); ALTER TABLE p ATTACH PARTITION n FOR VALUES IN ('n')
UPDATE p SET v = 9 WHERE part = 'a'; ALTER TABLE p DETACH PARTITION p_a; UPDATE p_a SET v = 7
ALTER TABLE p ATTACH PARTITION p_a FOR VALUES IN ('a'); UPDATE p SET v = 8 WHERE part = 'a'
ALTER TABLE p DETACH PARTITION p_a; UPDATE p_a SET v = 6; ALTER TABLE p ATTACH PARTITION p_a FOR VALUES IN ('a')
ALTER TABLE p DETACH PARTITION p_rest; DELETE FROM p_rest WHERE id < 9; ALTER TABLE p ATTACH PARTITION p_rest DEFAULT
INSERT INTO p VALUES (500, 'b', 1, 'x'); DROP TABLE p_rest_low
TRUNCATE p; INSERT INTO p VALUES (5, 'n', 1, 'x')
UPDATE t SET a = 'before' WHERE id = 1; VACUUM FULL t; UPDATE t SET a = 'after' WHERE id = 2
CREATE TABLE u (LIKE t INCLUDING ALL); INSERT INTO u (id) VALUES (5); ALTER TABLE t RENAME TO t_old; ALTER TABLE u RENAME TO t
INSERT INTO t (id) VALUES (6); DROP TABLE t_old
DROP TABLE by_index; CREATE TABLE by_index (code text PRIMARY KEY, v int); INSERT INTO by_index VALUES ('z', 1)
"""
ALTERED = """
UPDATE t SET n = 3 WHERE id = 4; ALTER TABLE t ALTER n TYPE numeric USING n * 2; UPDATE t SET n = n + 1 WHERE id = 5
UPDATE t SET a = 'before' WHERE id = 4; ALTER TYPE mood RENAME VALUE 'glad' TO 'happy'; UPDATE t SET a = 'after' WHERE id = 3
ALTER TABLE t RENAME TO away; UPDATE away SET a = 'by another name' WHERE id = 7; ALTER TABLE away RENAME TO t
CREATE SCHEMA far; ALTER TABLE t SET SCHEMA far; DELETE FROM far.t WHERE id = 9; ALTER TABLE far.t SET SCHEMA public
ALTER TABLE t DROP n; ALTER TABLE t ADD n numeric DEFAULT 7
UPDATE parent SET two = '(2,b)' WHERE id = 3; ALTER TYPE pair ADD ATTRIBUTE z int; UPDATE parent SET two = '(3,c,4)' WHERE id = 4
ALTER TABLE t DROP f; UPDATE t SET a = 'later' WHERE id = 6
UPDATE t SET a = 'earlier' WHERE id = 8; ALTER TABLE t ADD extra int DEFAULT 3; UPDATE t SET extra = 4 WHERE id = 1
UPDATE t SET i = 7 WHERE id = 2; ALTER TABLE t ALTER i TYPE numeric(30,2); UPDATE t SET i = 5.25 WHERE id = 1
UPDATE t SET a = 'before'; ALTER TABLE t REPLICA IDENTITY FULL; UPDATE t SET id = id + 5000
"""
BY_HAND = """
DROP PUBLICATION THE_SLOT; UPDATE t SET a = 'unseen 1'
DROP PUBLICATION THE_SLOT; UPDATE t SET a = 'unseen 2'; CREATE PUBLICATION THE_SLOT FOR TABLE t
ALTER PUBLICATION THE_SLOT DROP TABLE t; UPDATE t SET a = 'unseen 3'; ALTER PUBLICATION THE_SLOT ADD TABLE t
ALTER PUBLICATION THE_SLOT DROP TABLE t; UPDATE t SET a = 'unseen 4'
ALTER PUBLICATION THE_SLOT SET (publish = 'insert'); UPDATE t SET a = 'unseen 5'
DROP_SLOT; UPDATE t SET a = 'unseen 6'; DELETE FROM child WHERE id = 2
"""


@pytest.fixture(scope="module")
def database(postgres: Databases) -> str:
    return postgres.create("wal")


@pytest.fixture
def owner(database: str) -> Iterator[Connection]:
    with closing(connect(database)) as connection:
        connection.execute("DROP SCHEMA IF EXISTS syncline CASCADE; DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        connection.execute(SCRIPT)
        yield connection


@pytest.fixture
def follower(database: str, owner: Connection, tmp_path: Path) -> Iterator[Callable[..., WalFollower]]:
    """Makes followers; their slots are dropped in the end."""
    made: list[WalFollower] = []

    def make(name: str = "store", **options: object) -> WalFollower:
        made.append(WalFollower(database, tmp_path / f"{name}.db", "wal", **options))
        return made[-1]

    yield make
    for each in made:
        each.close()
    forget(owner)


def forget(owner: Connection) -> None:
    owner.execute(
        "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE database = current_database() AND active"
    )
    while owner.execute("SELECT FROM pg_replication_slots WHERE database = current_database() AND active").fetchone():
        pass
    owner.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = current_database()")
    for (name,) in owner.execute("SELECT pubname FROM pg_publication").fetchall():
        owner.execute(f'DROP PUBLICATION "{name}"')


def run(owner: Connection, follower: WalFollower, line: str) -> None:
    name = f"syncline_shop_{follower.store.consumer}"
    for statement in line.replace("THE_SLOT", name).split("; "):
        if statement == "DROP_SLOT":
            drop_slot(owner, name)
        else:
            owner.execute(statement)


def drop_slot(owner: Connection, name: str) -> None:
    """Whoever reads it is cut off."""
    owner.execute("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = %s AND active", (name,))
    while owner.execute("SELECT active FROM pg_replication_slots WHERE slot_name = %s", (name,)).fetchone() == (True,):
        pass
    owner.execute("SELECT pg_drop_replication_slot(%s)", (name,))


def settle(follower: WalFollower) -> None:
    follower.catch_up()
    follower.assert_mirrors_equal()


@pytest.mark.parametrize("lines", [WRITES, PLACES, ALTERED, BY_HAND], ids=["writes", "places", "altered", "by_hand"])
def test_mirrors_equal_their_source_after_every(owner: Connection, follower: Callable[..., WalFollower], lines: str) -> None:
    """One read store follows after each, one finds some of them at once, one all."""
    each, some, every = follower("each"), follower("some"), follower("every")
    for one in (each, some, every):
        settle(one)
        one.acknowledge()
    every.rest()
    for number, line in enumerate(lines.strip().splitlines()):
        run(owner, each, line)
        settle(each)
        each.acknowledge()
        if number % 3 == 1:
            settle(some)
            some.rest()
    settle(some)
    settle(every)
    owner.execute("INSERT INTO t (id, a) VALUES (77777, 'last'); DELETE FROM child WHERE id = 7; UPDATE whole SET v = 'last'")
    for one in (each, some, every):
        settle(one)
