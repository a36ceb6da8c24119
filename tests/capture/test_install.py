"""What is put into other programs' databases: SQL that an old SQLite understands, and nothing that stays behind."""

import random
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.capture.follower import SERVICE, Follower
from tests.capture.random_sources import random_source, random_transaction, run

from syncline.errors import StoreError
from syncline.stores.sqlite.install import install, triggers_of, uninstall
from syncline.stores.sqlite.keyless import Keyless
from syncline.stores.sqlite.reach import Reach
from syncline.stores.sqlite.source import describe, row_number_names, unique_indexes

# Every form of trigger, all of it in SQLite 3.8.0, of 2013. Names are replaced by N, a list of them too.
_NEW = "BEGIN INSERT INTO syncline_log (N) VALUES (random(), 0, NEW.N); END"
_OLD = "BEGIN INSERT INTO syncline_log (N) VALUES (random(), 0, OLD.N); END"
_VICTIM = "BEGIN INSERT INTO syncline_log (N) SELECT random(), 0, N FROM N WHERE SAME"
FORMS = {
    f"CREATE TRIGGER N AFTER INSERT ON N {_NEW}",
    f"CREATE TRIGGER N AFTER UPDATE ON N {_NEW}",
    f"CREATE TRIGGER N AFTER DELETE ON N {_OLD}",
    f"CREATE TRIGGER N AFTER UPDATE OF N ON N WHEN OLD.N IS NOT NEW.N {_OLD}",
    f"CREATE TRIGGER N BEFORE INSERT ON N {_VICTIM}; END",
    f"CREATE TRIGGER N BEFORE UPDATE ON N {_VICTIM} AND (N IS NOT OLD.N); END",
    f"CREATE TRIGGER N BEFORE UPDATE OF N ON N {_VICTIM} AND (N IS NOT OLD.N); END",
}


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "source.db", isolation_level=None)) as connection:
        yield connection


def form(sql: str) -> str:
    """A trigger's statement with the names, the numbers and the conditions on a unique index made alike."""
    sql = re.sub(r'"(?:[^"]|"")*"|\b(?:_?rowid_?|oid|nonce|tbl|k\d+)\b', "N", sql)
    sql = re.sub(r"\(random\(\), \d+", "(random(), 0", sql)
    sql = re.sub(r"SELECT random\(\), \d+", "SELECT random(), 0", sql)
    sql = re.sub(r"\bN\b(, N\b)+", "N", sql)
    for row in ("NEW", "OLD"):
        sql = re.sub(rf"{row}\.N(, {row}\.N)+", f"{row}.N", sql)
    sql = re.sub(r"(OLD\.N IS NOT NEW\.N)( OR \1)+", r"\1", sql)
    sql = re.sub(r"\((N IS NOT OLD\.N)( OR \1)+\)", r"(\1)", sql)
    value = r"(?:NEW\.N|ifnull\(NEW\.N, [^()]*\))"
    return re.sub(
        rf"N = {value}(?: COLLATE \w+)?(?: AND N = {value} COLLATE \w+)*(?: AND \((?!N IS NOT OLD).*?\)(?=;| AND \(N IS))?",
        "SAME",
        sql,
    )


def test_triggers_consist_of_nothing_but_the_sql_of_2013() -> None:
    found: set[str] = set()
    for seed in range(300):
        source = random_source(random.Random(seed))
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
            for statement in source.script:
                connection.execute(statement)
            relation = describe(connection, SERVICE, "t")
            unique, row_numbers = unique_indexes(connection, "t"), row_number_names(connection, relation)
            found |= {form(sql) for sql in triggers_of(relation, 1, unique, row_numbers).values()}
    assert found <= FORMS, found - FORMS
    assert len(found) == len(FORMS)


@pytest.mark.parametrize("seed", range(25))
def test_uninstall_leaves_schema_and_data_as_if_it_had_never_been(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    source = random_source(rng)
    extra = (
        "CREATE TABLE counted (id INTEGER PRIMARY KEY AUTOINCREMENT, a TEXT)",
        "CREATE VIEW seen AS SELECT * FROM counted",
        "CREATE TABLE heard (n INTEGER)",
        "CREATE TRIGGER own AFTER INSERT ON counted BEGIN INSERT INTO heard VALUES (NEW.id); END",
    )
    steps = [random_transaction(rng, source) for _ in range(40)]
    with_us, without = tmp_path / "with.db", tmp_path / "without.db"
    follower = None
    dumps = []
    for path in (with_us, without):
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA foreign_keys = ON")
            for statement in (*source.script, *extra):
                connection.execute(statement)
            if path == with_us:
                follower = Follower(path, tmp_path / "store.db", "triggers")
                follower.catch_up()
            run(connection, source, steps)
            for number in range(3):
                connection.execute("INSERT INTO counted (a) VALUES (?)", (f"a{number}",))
            connection.execute("ANALYZE")
            if follower is not None and path == with_us:
                follower.catch_up()
                follower.close()
                connection.execute("BEGIN IMMEDIATE")
                assert uninstall(connection, None)
                connection.execute("COMMIT")
                assert uninstall(connection, None) == []
            schema = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
            dumps.append((schema, sorted(connection.iterdump()), connection.execute("SELECT * FROM sqlite_sequence").fetchall()))
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert dumps[0] == dumps[1]


def test_what_the_owner_reads_of_the_last_change_is_as_without_triggers(owner: sqlite3.Connection, tmp_path: Path) -> None:
    owner.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT UNIQUE)")
    follower = Follower(tmp_path / "source.db", tmp_path / "store.db", "triggers")
    follower.catch_up()
    cursor = owner.execute("INSERT INTO t VALUES (70, 'x')")
    assert (cursor.lastrowid, cursor.rowcount) == (70, 1)
    assert owner.execute("SELECT last_insert_rowid(), changes()").fetchone() == (70, 1)
    assert owner.execute("UPDATE t SET a = 'y'").rowcount == 1
    follower.close()


def test_one_read_store_uninstalled_leaves_what_the_other_needs(owner: sqlite3.Connection, tmp_path: Path) -> None:
    owner.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    one, other = (Follower(tmp_path / "source.db", tmp_path / f"{name}.db", "triggers") for name in ("one", "other"))
    one.catch_up()
    other.catch_up()
    owner.execute("BEGIN IMMEDIATE")
    assert uninstall(owner, "no such store") == []
    assert uninstall(owner, one.store.path) == [f"consumer {one.store.consumer}"]
    owner.execute("COMMIT")
    owner.execute("INSERT INTO t VALUES (1)")
    other.catch_up()
    other.assert_mirrors_equal()
    owner.execute("BEGIN IMMEDIATE")
    removed = uninstall(owner, other.store.path)
    owner.execute("COMMIT")
    assert "trigger syncline_t_insert" in removed and "table syncline_log" in removed
    one.close()
    other.close()


def test_tables_that_the_owner_named_like_ours_are_left_alone(owner: sqlite3.Connection, tmp_path: Path) -> None:
    owner.executescript("CREATE TABLE t (id INTEGER PRIMARY KEY); CREATE TABLE syncline_notes (id INTEGER PRIMARY KEY)")
    follower = Follower(tmp_path / "source.db", tmp_path / "store.db", "triggers")
    follower.catch_up()
    follower.close()
    uninstall(owner, None)
    assert [name for (name,) in owner.execute("SELECT name FROM sqlite_master")] == ["t", "syncline_notes"]


def test_what_an_older_version_installed_is_replaced(owner: sqlite3.Connection, tmp_path: Path) -> None:
    owner.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    follower = Follower(tmp_path / "source.db", tmp_path / "store.db", "triggers")
    follower.catch_up()
    follower.rest()
    owner.executescript("UPDATE syncline_source SET format = 1; INSERT INTO t VALUES (1)")
    follower.catch_up()
    follower.assert_mirrors_equal()
    follower.close()


def test_following_again_what_is_followed_writes_nothing(owner: sqlite3.Connection, tmp_path: Path) -> None:
    owner.execute("PRAGMA journal_mode = WAL")
    owner.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    follower = Follower(tmp_path / "source.db", tmp_path / "store.db", "triggers")
    follower.catch_up()
    follower.rest()
    owner.execute("BEGIN IMMEDIATE")
    follower.catch_up()
    owner.execute("ROLLBACK")
    follower.close()


@pytest.mark.parametrize(
    "sql, reason",
    [
        ("CREATE TABLE t (a TEXT)", "has no primary key"),
        ("CREATE VIEW t AS SELECT 1 AS a", "is a view"),
        ("CREATE VIRTUAL TABLE t USING fts5(a)", "is a virtual"),
        ("CREATE TABLE t (a TEXT, b TEXT, PRIMARY KEY (a COLLATE NOCASE, b))", "compares 'a' as NOCASE"),
        ("CREATE TABLE t (a TEXT COLLATE NOCASE, b, PRIMARY KEY (a COLLATE BINARY, b)) WITHOUT ROWID", "compares 'a' as BINARY"),
    ],
)
def test_a_table_whose_rows_cannot_be_told_apart_is_refused(owner: sqlite3.Connection, sql: str, reason: str) -> None:
    owner.execute(sql)
    with pytest.raises(StoreError, match=reason):
        describe(owner, SERVICE, "t")


def test_a_unique_index_over_an_expression_is_refused_by_triggers_only(owner: sqlite3.Connection, tmp_path: Path) -> None:
    owner.executescript("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT); CREATE UNIQUE INDEX t_a ON t (lower(a))")
    relation = describe(owner, SERVICE, "t")
    with pytest.raises(StoreError, match='over an expression.*use capture = "polling"'):
        install(owner, "c", "/store", [relation])
    follower = Follower(tmp_path / "source.db", tmp_path / "store.db", "polling")
    follower.catch_up()
    owner.execute("INSERT INTO t VALUES (1, 'a')")
    follower.catch_up()
    owner.execute("INSERT OR REPLACE INTO t VALUES (2, 'A')")
    follower.catch_up()
    follower.assert_mirrors_equal()
    follower.close()


def test_only_columns_that_compare_as_their_index_count_as_unique(owner: sqlite3.Connection) -> None:
    owner.executescript(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT COLLATE NOCASE, b TEXT, c TEXT UNIQUE);"
        "CREATE UNIQUE INDEX t_a ON t (a COLLATE BINARY); CREATE UNIQUE INDEX t_b ON t (b COLLATE NOCASE)"
    )
    assert set(describe(owner, SERVICE, "t").unique) == {("b",), ("c",)}


def test_a_replace_trigger_finds_its_row_by_the_index_however_many_rows_there_are(owner: sqlite3.Connection) -> None:
    owner.executescript(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, live INTEGER); CREATE UNIQUE INDEX t_a ON t (a) WHERE live = 1"
    )
    relation = describe(owner, SERVICE, "t")
    install(owner, "c", "/store", [relation])
    owner.execute("PRAGMA recursive_triggers = OFF")
    trigger = triggers_of(relation, 1, unique_indexes(owner, "t"))["syncline_t_replace1"]
    select = re.sub(r"NEW\.\"\w+\"", "'x'", trigger[trigger.index("SELECT") : trigger.index("; END")])
    plan = " ".join(row[3] for row in owner.execute(f"EXPLAIN QUERY PLAN {select}"))
    assert "USING INDEX t_a" in plan or "USING COVERING INDEX t_a" in plan


@pytest.mark.parametrize("key", ["id TEXT PRIMARY KEY", "id TEXT, part TEXT, PRIMARY KEY (part, id)"])
def test_rows_without_a_key_are_counted_in_slices(owner: sqlite3.Connection, tmp_path: Path, key: str) -> None:
    owner.execute(f"CREATE TABLE t ({key})")
    columns = "id, part" if "part" in key else "id"
    values = "i, 'p'" if "part" in key else "i"
    nulls = "NULL, 'p'" if "part" in key else "NULL"
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 25000)"
    owner.execute(f"{numbers} INSERT INTO t ({columns}) SELECT {values} FROM n")
    reach = Reach(str(tmp_path / "source.db"), read_only=True)
    keyless = Keyless(reach)

    def count() -> str:
        deadline = time.monotonic() + 10
        while keyless.is_due():
            keyless.look()
            assert time.monotonic() < deadline
        return keyless.complaint

    keyless.follow([describe(owner, SERVICE, "t")])
    assert keyless.may_be_in("t") and count() == ""
    owner.execute(f"INSERT INTO t ({columns}) VALUES ({nulls}), ({nulls})")
    keyless.follow([describe(owner, SERVICE, "t")])
    assert "2 rows are left out" in count()
    owner.execute(f"{numbers} INSERT INTO t ({columns}) SELECT {nulls} FROM n")
    keyless.follow([describe(owner, SERVICE, "t")])
    assert "more than 1,000 rows are left out" in count()
    reach.close()
