"""Commands on a service's own tables in PostgreSQL: what holds on SQLite, and what is PostgreSQL's own about it."""

import datetime
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

import psycopg
import pytest

from syncline.errors import CommandReused, InvalidDefinition, Rejected, StoreError, Unavailable
from syncline.messages import Position
from syncline.stores.postgres.statement_text import as_driver_takes, refuse_transactions
from syncline.stores.postgres.table_commands import PostgresTables
from syncline.stores.service_tables import Done, TableOutcome, TableRequest, TableSetup
from syncline.testing.postgres import Databases

SCHEMA = """
    CREATE TABLE account (
        account text PRIMARY KEY,              -- a name; never empty
        cents   int NOT NULL CHECK (cents >= 0),
        limit_  varchar(3),
        owner   text REFERENCES account DEFERRABLE INITIALLY DEFERRED
    );
    CREATE TABLE entry (entry_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, words text, n numeric, at timestamptz, id uuid);
    CREATE FUNCTION never() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'an entry is never changed; write another';
    END $$;
    CREATE TRIGGER no_entry_changes BEFORE UPDATE ON entry FOR EACH ROW EXECUTE FUNCTION never();
"""
Handler = Callable[[Any, Any], object]


@pytest.fixture(scope="module")
def database(postgres: Databases) -> str:
    return postgres.create("ledger")


@pytest.fixture
def url(database: str) -> str:
    """An empty database."""
    with psycopg.connect(database) as connection:
        connection.execute("DROP SCHEMA IF EXISTS syncline CASCADE; DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    return database


def open_tables(url: str, *, capture: str = "triggers", schema: str = SCHEMA, publishes: tuple[str, ...] = ("account",)) -> Any:
    return closing(PostgresTables(url, TableSetup("ledger", schema, publishes, capture)))


@pytest.fixture
def bank(url: str) -> Iterator[PostgresTables]:
    with open_tables(url) as tables:
        yield tables


_numbers = iter(range(1_000_000))


def asked(handler: Handler, command: object = None, command_id: str | None = None, digest: int = 1) -> TableRequest:
    name = getattr(handler, "__name__", "handler")
    return TableRequest(command_id or f"id-{next(_numbers)}", name, digest, command, handler, command_id is None)


def run(tables: PostgresTables, handler: Handler, command: object = None) -> TableOutcome:
    (outcome,) = tables.handle([asked(handler, command)])
    return outcome


def given(tables: PostgresTables, handler: Handler) -> Any:
    """What a handler returned."""
    found: list[Any] = []
    outcome = run(tables, lambda tx, _: found.append(handler(tx, None)))
    assert isinstance(outcome, Done), outcome
    return found[0]


def open_account(tx: Any, name: str) -> None:
    tx.execute("INSERT INTO account (account, cents) VALUES (:name, 0)", {"name": name})


def add(tx: Any, name: str) -> None:
    if not tx.execute("UPDATE account SET cents = cents + 1 WHERE account = ?", [name]):
        raise Rejected(f"there is no account {name}")


def rows(url: str, sql: str) -> list[Any]:
    with psycopg.connect(url) as connection:
        return connection.execute(sql).fetchall()


def balances(url: str) -> dict[str, int]:
    return dict(rows(url, "SELECT account, cents FROM account"))


# -- one command ---------------------------------------------------------------------------------------------------------


def test_each_command_of_a_group_is_accepted_or_refused_alone(bank: PostgresTables, url: str) -> None:
    def fail(tx: Any, name: str) -> None:
        add(tx, name)
        raise ValueError(name)

    outcomes = bank.handle(
        [asked(open_account, "a"), asked(add, "none"), asked(fail, "a"), asked(open_account, "a"), asked(add, "a")]
    )
    assert [type(each) for each in outcomes] == [Done, Rejected, ValueError, Rejected, Done]
    assert balances(url) == {"a": 1}


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("INSERT INTO account VALUES ('a', 1)", r"another row has the same account of account"),
        ("INSERT INTO account VALUES (NULL, 1)", r"account of account must have a value"),
        ("INSERT INTO account VALUES ('b', -1)", r"it breaks the rule account_cents_check"),
        ("INSERT INTO account VALUES ('b', 1, 'long')", r"value too long for type character varying\(3\)"),
        ("INSERT INTO account VALUES ('b', 3000000000)", r"integer out of range"),
        ("UPDATE entry SET words = ''", r"an entry is never changed"),
    ],
)
def test_a_broken_constraint_is_a_rejection_in_words(bank: PostgresTables, sql: str, words: str) -> None:
    run(bank, open_account, "a")
    run(bank, lambda tx, _: tx.execute("INSERT INTO entry (words) VALUES ('x')"))
    outcome = run(bank, lambda tx, _: tx.execute(sql))
    assert isinstance(outcome, Rejected)
    with pytest.raises(Rejected, match=words):
        raise outcome


@pytest.mark.parametrize("value", ["a\0b", "\ud800"])
def test_a_value_that_no_column_can_hold_is_a_rejection(bank: PostgresTables, value: str) -> None:
    assert isinstance(
        run(bank, lambda tx, _: tx.execute("INSERT INTO entry (words) VALUES (:words)", {"words": value})), Rejected
    )


def test_a_handler_may_go_on_after_a_broken_constraint(bank: PostgresTables, url: str) -> None:
    def insert_or_add(tx: Any, name: str) -> None:
        tx.execute("INSERT INTO entry (words) VALUES ('tried')")
        try:
            open_account(tx, name)
        except Rejected:
            add(tx, name)

    assert [type(each) for each in bank.handle([asked(insert_or_add, "a") for _ in range(3)])] == [Done] * 3
    assert (balances(url), len(rows(url, "SELECT * FROM entry"))) == ({"a": 2}, 3)


@dataclass(frozen=True)
class Values:
    words: str
    n: Decimal
    at: datetime.datetime
    id: UUID


VALUES = Values("it's :n? 100 %\\", Decimal("1.10"), datetime.datetime(2026, 1, 2, 3, 4, 5, 6, datetime.UTC), UUID(int=7))


def test_values_of_python_are_stored_and_come_back_as_they_are(bank: PostgresTables) -> None:
    def keep(tx: Any, _: object) -> Any:
        assert tx.execute("INSERT INTO entry (words, n, at, id) VALUES (:words, :n, :at, :id)", VALUES) == 1
        tx.execute("INSERT INTO entry (words, n) VALUES (?, ?)", ["100 %", None])
        return tx.query("SELECT words, n, at, id FROM entry ORDER BY entry_id")

    first, second = given(bank, keep)
    assert Values(**first) == VALUES
    assert second == {"words": "100 %", "n": None, "at": None, "id": None}


@pytest.mark.parametrize(
    ("sql", "parameters", "found"),
    [
        (
            "SELECT ':a?' || :a AS v, 'x'::text || $$ :b ? $$ AS w -- :c ?\n/* :d ? ; */",
            {"a": "1"},
            {"v": ":a?1", "w": "x :b ? "},
        ),
        ("SELECT E'\\'?' || ? AS v, (ARRAY[1,2,3])[2:3]::text AS w;", ["1"], {"v": "'?1", "w": "{2,3}"}),
        ("SELECT 7 % 4 AS v, '5 %' AS w", None, {"v": 3, "w": "5 %"}),
        ("SELECT '{\"a\": 1}'::jsonb ? 'a' AS \"?\"", None, {"?": True}),
        ("SELECT '{\"a\": 1}'::jsonb ? :key AS v", {"key": "a"}, {"v": True}),
    ],
)
def test_places_of_values_are_found_outside_of_texts_names_and_comments(
    bank: PostgresTables, sql: str, parameters: object, found: dict[str, Any]
) -> None:
    assert given(bank, lambda tx, _: tx.query(sql, parameters)) == [found]


@pytest.mark.parametrize("begin", ["", "-- why\n", "/* why; */ ", " \n", "\ufeff", ";"])
@pytest.mark.parametrize(
    "sql",
    [
        *("COMMIT", "begin", "START TRANSACTION", "ROLLBACK", "ABORT", "SAVEPOINT s", "RELEASE s", "END"),
        *("SET TRANSACTION READ ONLY", "set  session authorization x", "PREPARE TRANSACTION 'x'", "COPY account TO STDOUT"),
    ],
)
def test_a_handler_and_a_schema_cannot_begin_or_end_a_transaction(begin: str, sql: str) -> None:
    with pytest.raises(InvalidDefinition):
        refuse_transactions(begin + sql)
    with pytest.raises(InvalidDefinition):
        refuse_transactions(f"SELECT ';' AS {begin or 'x'}; {sql}")


def test_several_statements_are_refused_and_a_quoted_semicolon_is_none() -> None:
    with pytest.raises(InvalidDefinition, match="one statement at a time"):
        as_driver_takes("SELECT 1; SELECT 2", None)
    assert as_driver_takes("SELECT ';' /* ; */ ; -- ;", None) == "SELECT ';' /* ; */ ; -- ;"


def test_who_gets_past_the_transaction_and_commits_it_is_told_and_nothing_is_run_again(bank: PostgresTables, url: str) -> None:
    def commit(tx: Any, name: str) -> None:
        open_account(tx, name)
        tx.driver.execute("COMMIT")

    outcomes = bank.handle([asked(open_account, "a"), asked(commit, "b"), asked(open_account, "c")])
    assert [type(each) for each in outcomes] == [StoreError, StoreError, Unavailable]
    assert balances(url) == {"a": 0, "b": 0}
    assert isinstance(run(bank, open_account, "d"), Done)


def test_a_transaction_cannot_be_used_after_its_handler_returned(bank: PostgresTables) -> None:
    kept: list[Any] = []
    run(bank, lambda tx, _: kept.append(tx))
    with pytest.raises(StoreError, match="this transaction is over"):
        kept[0].query("SELECT 1")


@pytest.mark.parametrize(
    ("sql", "parameters"),
    [("SELECT nothing", None), ("SELECT :a", {"b": 1}), ("SELECT ?", [1, 2]), ("SELECT :a", {"a": object()})],
)
def test_a_wrong_statement_is_its_command_s_alone(bank: PostgresTables, sql: str, parameters: object) -> None:
    outcomes = bank.handle([asked(open_account, "a"), asked(lambda tx, _: tx.query(sql, parameters)), asked(add, "a")])
    assert [type(each) for each in outcomes] == [Done, StoreError, Done]


def test_a_constraint_that_is_checked_at_commit_refuses_only_its_command(bank: PostgresTables, url: str) -> None:
    def owned(tx: Any, name: str) -> None:
        tx.execute("INSERT INTO account (account, cents, owner) VALUES (?, 0, 'nobody')", [name])

    outcomes = bank.handle([asked(open_account, "a"), asked(owned, "b"), asked(open_account, "c")])
    assert [type(each) for each in outcomes] == [Done, Rejected, Done]
    assert "names a row that is not there" in str(outcomes[1])
    assert balances(url) == {"a": 0, "c": 0}


# -- the database --------------------------------------------------------------------------------------------------------


def test_a_connection_that_is_lost_fails_the_whole_group_and_stores_nothing(bank: PostgresTables, url: str) -> None:
    def lose(tx: Any, _: object) -> None:
        tx.query("SELECT pg_terminate_backend(pg_backend_pid())")

    with pytest.raises(Unavailable):
        bank.handle([asked(open_account, "a"), asked(lose), asked(open_account, "b")])
    assert balances(url) == {}


def test_a_row_that_another_program_holds_fails_the_group_in_time(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syncline.stores.postgres.log_tables._SETTINGS", {"lock_timeout": "50ms"})
    with open_tables(url) as bank, psycopg.connect(url) as other:
        run(bank, open_account, "a")
        other.execute("UPDATE account SET cents = 7")
        with pytest.raises(Unavailable, match="lock timeout"):
            bank.handle([asked(open_account, "b"), asked(add, "a")])
    assert balances(url) == {"a": 7}


@pytest.mark.parametrize(
    "sql", ["SET search_path = nowhere", "SELECT set_config('synchronous_commit', 'off', false)", "SET statement_timeout = 1"]
)
def test_what_a_handler_sets_is_set_for_its_own_command_alone(bank: PostgresTables, sql: str) -> None:
    assert isinstance(run(bank, lambda tx, _: open_account(tx, "ada")), Done)
    assert isinstance(run(bank, lambda tx, _: tx.query(sql)), Done)
    assert isinstance(run(bank, lambda tx, _: add(tx, "ada")), Done)
    assert given(bank, lambda tx, _: tx.query("SHOW synchronous_commit")) == [{"synchronous_commit": "on"}]


def test_commits_wait_for_the_disk_whatever_the_database_says(bank: PostgresTables) -> None:
    assert given(bank, lambda tx, _: tx.query("SHOW synchronous_commit")) == [{"synchronous_commit": "on"}]


def test_handlers_of_several_processes_never_run_at_the_same_time_and_a_shared_id_takes_effect_once(url: str) -> None:
    def count(tx: Any, name: str) -> None:
        (row,) = tx.query("SELECT cents FROM account WHERE account = :name", {"name": name})
        tx.execute("UPDATE account SET cents = :next WHERE account = :name", {"next": row["cents"] + 1, "name": name})

    with open_tables(url) as bank:
        run(bank, open_account, "a")

    def race(name: int) -> None:
        with open_tables(url) as tables:
            barrier.wait()
            for number in range(25):
                outcomes = tables.handle([asked(count, "a", f"{name}-{number}"), asked(count, "a", f"shared-{number}")])
                assert [type(each) for each in outcomes] == [Done, Done]

    barrier = threading.Barrier(4)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(race, range(4)))
    assert balances(url) == {"a": 4 * 25 + 25}


# -- receipts ------------------------------------------------------------------------------------------------------------


def place(outcome: TableOutcome) -> Position:
    assert isinstance(outcome, Done), outcome
    return outcome.position


def snapshot(url: str) -> Position:
    """What a feed that reads now contains."""
    sql = """SELECT incarnation, pg_snapshot_xmax(pg_current_snapshot())::text::bigint - 1,
                    ARRAY(SELECT pg_snapshot_xip(pg_current_snapshot())::text::bigint) FROM syncline.source"""
    ((incarnation, n, open_),) = rows(url, sql)
    return Position(incarnation, n, open=tuple(open_))


def test_a_receipt_is_reached_by_what_contains_the_command_whatever_else_is_open(bank: PostgresTables, url: str) -> None:
    seen: list[Position] = []

    def look(tx: Any, name: str) -> None:
        open_account(tx, name)
        seen.append(snapshot(url))

    with closing(psycopg.connect(url)) as lasting, closing(psycopg.connect(url)) as later:
        lasting.execute("SELECT pg_current_xact_id()")
        receipt = place(run(bank, look, "a"))
        assert not seen[0].reaches(receipt), "while the command is not committed"
        assert snapshot(url).reaches(receipt), "though an older transaction lasts"
        later.execute("SELECT pg_current_xact_id()")
        second = place(run(bank, look, "b"))
        assert not seen[1].reaches(second)
        assert seen[1].reaches(receipt)
        assert snapshot(url).reaches(second)
        lasting.rollback()
    assert snapshot(url).reaches(receipt)


@pytest.mark.parametrize("capture", ["triggers", "polling"])
def test_a_command_sent_again_is_not_carried_out_and_has_its_first_receipt(url: str, capture: str) -> None:
    with open_tables(url, capture=capture) as bank:
        first = place(bank.handle([asked(open_account, "a", "c-1")])[0])
        run(bank, add, "a")
        assert place(bank.handle([asked(open_account, "a", "c-1")])[0]) == first
        (reused,) = bank.handle([asked(open_account, "b", "c-1", digest=2)])
        assert isinstance(reused, CommandReused)
    with open_tables(url, capture=capture) as bank:
        assert place(bank.handle([asked(open_account, "a", "c-1")])[0]) == first
    assert balances(url) == {"a": 1}


@pytest.mark.parametrize("command_id", ["a\0b", "\0", "ünï", "x" * 10_000, "'", "\x1a"])
def test_any_text_is_a_command_id(bank: PostgresTables, command_id: str) -> None:
    outcomes = [bank.handle([asked(open_account, "a", command_id)])[0] for _ in range(2)]
    assert [type(each) for each in outcomes] == [Done, Done]


def test_a_receipt_of_before_the_capture_was_taken_out_is_today_s(bank: PostgresTables, url: str) -> None:
    first = place(bank.handle([asked(open_account, "a", "c-1")])[0])
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE syncline.source SET incarnation = 'another'")
    again = place(bank.handle([asked(open_account, "a", "c-1")])[0])
    assert (first.incarnation, again.incarnation) != ("another", first.incarnation)
    assert snapshot(url).reaches(again)


# -- the schema ----------------------------------------------------------------------------------------------------------


def test_the_schema_is_run_once_and_an_existing_database_is_left_as_it_is(url: str) -> None:
    schema = "CREATE TABLE IF NOT EXISTS account (account text PRIMARY KEY, cents int); INSERT INTO account VALUES ('seed', 1)"
    for capture in ("triggers", "polling", "wal"):
        with open_tables(url, schema=schema, capture=capture):
            pass
    assert balances(url) == {"seed": 1}
    with psycopg.connect(url) as connection:
        connection.execute("DROP SCHEMA syncline CASCADE")
    with open_tables(url, schema=schema):
        assert balances(url) == {"seed": 1}


def test_a_schema_may_name_another_schema(url: str) -> None:
    schema = "CREATE SCHEMA IF NOT EXISTS app; CREATE TABLE app.thing (k int PRIMARY KEY)"
    for _ in range(2):
        with open_tables(url, schema=schema, publishes=("app.thing",)) as tables:
            run(tables, lambda tx, _: tx.execute("INSERT INTO app.thing SELECT count(*) FROM app.thing"))
    assert rows(url, "SELECT k FROM app.thing ORDER BY k") == [(0,), (1,)]
    with psycopg.connect(url) as connection:
        connection.execute("DROP SCHEMA app CASCADE")


@pytest.mark.parametrize(
    ("schema", "publishes", "words"),
    [
        ("CREATE TABEL x", ("x",), "service 'ledger': its schema does not run on an empty database: syntax error"),
        (SCHEMA, ("acount",), r"has no table 'acount', which is published; its schema makes: account, entry"),
        ("", ("account",), "has no table 'account', which is published; make it, or give the service a schema"),
        ("BEGIN; CREATE TABLE x (k int)", ("x",), "BEGIN is not for a handler or a schema"),
    ],
)
def test_a_wrong_schema_is_told_at_the_start_and_leaves_nothing(
    url: str, schema: str, publishes: tuple[str, ...], words: str
) -> None:
    with pytest.raises(InvalidDefinition, match=words), open_tables(url, schema=schema, publishes=publishes):
        pass
    assert rows(url, "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'syncline%'") == []
    assert rows(url, "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace") == []


def test_many_that_open_one_empty_database_at_once_all_get_it(url: str) -> None:
    barrier = threading.Barrier(6)

    def start(name: int) -> TableOutcome:
        barrier.wait()
        with open_tables(url) as tables:
            return run(tables, open_account, str(name))

    with ThreadPoolExecutor(6) as pool:
        assert [type(each) for each in pool.map(start, range(6))] == [Done] * 6
