import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.write.table_accounts import Count, Open, Transfer, accounts, handler_of, request, send

from syncline import App, View
from syncline.errors import (
    CommandReused,
    InvalidCommand,
    InvalidDefinition,
    Rejected,
    StaleRead,
    StoreError,
    Unavailable,
)
from syncline.messages import Position, Receipt, Token, parse_token
from syncline.places import Placed, Polling, SQLite, Triggers
from syncline.stores.sqlite import table_commands
from syncline.stores.sqlite.install import is_installed, uninstall
from syncline.stores.sqlite.source import describe
from syncline.stores.sqlite.table_commands import statements_of
from syncline.stores.sqlite.triggers import TriggerFeed
from syncline.write.commit import GroupCommit
from syncline.write.tables import TableHandler, TableService

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}


@dataclass(frozen=True)
class Do:
    """A command whose handler is its own."""

    number: int = 0


def service_doing(handler: Any, schema: str = "CREATE TABLE t (k INTEGER PRIMARY KEY, v)") -> TableService:
    return TableService("own", schema=schema, handles={Do: handler}, publishes=[])


def doing(tmp_path: Path, handler: Any, schema: str = "CREATE TABLE t (k INTEGER PRIMARY KEY, v)") -> Any:
    service = service_doing(handler, schema)
    opened = handler_of(service, tmp_path / "own.db")
    try:
        return send(opened, Do(), service=service)
    finally:
        opened.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def bank(path: Path) -> Iterator[TableHandler]:
    handler = handler_of(accounts, path)
    send(handler, Open("a", 100))
    send(handler, Open("b"))
    yield handler
    handler.close()


def rows(path: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def balances(path: Path) -> dict[str, int]:
    return dict(rows(path, "SELECT account, cents FROM account"))


# -- one command ---------------------------------------------------------------------------------------------------------


def test_a_command_is_carried_out_and_its_receipt_has_a_token_of_the_service(bank: TableHandler, path: Path) -> None:
    answer = send(bank, Transfer("a", "b", 30), "t-1")
    assert isinstance(answer, Receipt)
    assert (answer.command_id, answer.events, list(answer.token.positions)) == ("t-1", (), ["ledger"])
    assert balances(path) == {"a": 70, "b": 30}


def test_a_rejected_command_leaves_nothing_behind(bank: TableHandler, path: Path) -> None:
    answer = send(bank, Transfer("nobody", "b", 30), "t-1")
    assert isinstance(answer, Rejected)
    assert balances(path) == {"a": 100, "b": 0}
    assert isinstance(send(bank, Open("nobody", 50)), Receipt)
    assert isinstance(send(bank, Transfer("nobody", "b", 30), "t-1"), Receipt), "what was rejected may be sent again"


def test_any_exception_of_a_handler_undoes_its_command_and_names_it(tmp_path: Path) -> None:
    def handler(tx: Any, command: Do) -> None:
        tx.execute("INSERT INTO t VALUES (1, 'x')")
        raise ZeroDivisionError("oops")

    answer = doing(tmp_path, handler)
    assert isinstance(answer, ZeroDivisionError)
    assert answer.__notes__ == ["raised while service 'own' handled Do"]
    assert rows(tmp_path / "own.db", "SELECT * FROM t") == []


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("INSERT INTO c VALUES (1, 5, 1)", "another row has the same k of c"),
        ("INSERT INTO c VALUES (2, NULL, 1)", "v of c must have a value"),
        ("INSERT INTO c VALUES (2, -1, 1)", "it breaks the rule v >= 0"),
        ("INSERT INTO c VALUES (2, 5, 9)", "it names a row that is not there"),
        ("UPDATE c SET v = 9", "never change v"),
    ],
)
def test_a_broken_constraint_is_a_rejection_in_words(tmp_path: Path, sql: str, words: str) -> None:
    schema = """
        CREATE TABLE c (k INTEGER PRIMARY KEY, v INTEGER NOT NULL CHECK (v >= 0), parent INTEGER REFERENCES c);
        INSERT INTO c VALUES (1, 1, 1);
        CREATE TRIGGER c_fixed BEFORE UPDATE ON c BEGIN SELECT RAISE(ABORT, 'never change v'); END
    """
    answer = doing(tmp_path, lambda tx, command: tx.execute(sql), schema)
    assert isinstance(answer, Rejected)
    assert words in str(answer)


def test_a_handler_may_go_on_after_a_broken_constraint(tmp_path: Path) -> None:
    def handler(tx: Any, command: Do) -> None:
        tx.execute("INSERT INTO t VALUES (1, 'x')")
        with pytest.raises(Rejected):
            tx.execute("INSERT INTO t VALUES (1, 'y')")

    assert isinstance(doing(tmp_path, handler), Receipt)
    assert rows(tmp_path / "own.db", "SELECT * FROM t") == [(1, "x")]


@pytest.mark.parametrize("begin", ["", "-- why\n", "/* why; */ ", " \n"])
@pytest.mark.parametrize("sql", ["COMMIT", "begin immediate", "ROLLBACK", "SAVEPOINT s", "RELEASE s", "END"])
def test_a_handler_cannot_end_or_begin_a_transaction(tmp_path: Path, begin: str, sql: str) -> None:
    def handler(tx: Any, command: Do) -> None:
        tx.execute("INSERT INTO t VALUES (1, 'x')")
        tx.execute(begin + sql)

    answer = doing(tmp_path, handler)
    assert isinstance(answer, InvalidDefinition)
    assert "raise Rejected to undo" in str(answer)
    assert rows(tmp_path / "own.db", "SELECT * FROM t") == []


def test_a_transaction_cannot_be_used_after_its_handler_returned(tmp_path: Path) -> None:
    kept: list[Any] = []
    doing(tmp_path, lambda tx, command: kept.append(tx))
    with pytest.raises(StoreError, match="this transaction is over"):
        kept[0].execute("INSERT INTO t VALUES (1, 'x')")


class Both(msgspec.Struct, frozen=True):
    k: int
    on: date


@pytest.mark.parametrize(
    ("sql", "parameters"),
    [
        ("INSERT INTO t VALUES (:k, :on)", {"k": 1, "on": date(2026, 1, 2)}),
        ("INSERT INTO t VALUES (?, ?)", (1, date(2026, 1, 2))),
        ("INSERT INTO t VALUES (?, ?)", [1, "2026-01-02"]),
        ("INSERT INTO t VALUES (:k, :on)", Both(1, date(2026, 1, 2))),
        ("INSERT INTO t VALUES (1, '2026-01-02')", None),
        ("WITH x(k, v) AS (SELECT 1, '2026-01-02') INSERT INTO t SELECT k, v FROM x", None),
    ],
)
def test_parameters_are_a_mapping_a_sequence_or_a_value_with_fields(tmp_path: Path, sql: str, parameters: object) -> None:
    seen: list[Any] = []

    def handler(tx: Any, command: Do) -> None:
        seen.append(tx.execute(sql, parameters))
        seen.append(tx.query("SELECT k, v AS at FROM t"))
        seen.append(tx.execute("SELECT 1"))

    assert isinstance(doing(tmp_path, handler), Receipt)
    assert seen == [1, [{"k": 1, "at": "2026-01-02"}], 0]


@pytest.mark.parametrize(
    ("sql", "parameters", "words"),
    [
        ("INSERT INTO u VALUES (1)", None, "no such table: u; in: INSERT INTO u VALUES (1)"),
        ("INSERT INTO t VALUES (1, :x)", {}, "supply a value for binding"),
        ("INSERT INTO t VALUES (1, :x)", {"x": object()}, "is not supported"),
        ("INSERT INTO t VALUES (1, :x)", 7, "expected a mapping"),
        ("SELECT 1; SELECT 2", None, "one statement at a time"),
        ("INSERT INTO t VALUES (1, ?)", [2**70], "too large"),
    ],
)
def test_a_wrong_statement_is_told_with_its_text(tmp_path: Path, sql: str, parameters: object, words: str) -> None:
    answer = doing(tmp_path, lambda tx, command: tx.execute(sql, parameters))
    assert isinstance(answer, StoreError | InvalidDefinition)
    assert words in str(answer)


def test_commits_are_on_the_disk_when_they_return_whatever_the_journal(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "own.db")) as owner:
        owner.execute("CREATE TABLE t (k)")  # with a rollback journal, FULL would leave its removal to chance
    for folder, expected in ((tmp_path / "new", (2, 3)), (tmp_path, (3,))):
        folder.mkdir(exist_ok=True)
        seen: list[Any] = []
        doing(folder, lambda tx, command, seen=seen: seen.extend(tx.query("PRAGMA synchronous")))
        assert seen[0]["synchronous"] in expected


def test_rows_changed_by_triggers_do_not_count(bank: TableHandler, path: Path, tmp_path: Path) -> None:
    schema = """CREATE TABLE t (k INTEGER PRIMARY KEY, v); CREATE TABLE log (k);
        CREATE TRIGGER t_log AFTER INSERT ON t BEGIN INSERT INTO log VALUES (NEW.k); INSERT INTO log VALUES (NEW.k); END;"""
    seen: list[int] = []
    doing(tmp_path, lambda tx, command: seen.append(tx.execute("INSERT INTO t VALUES (1, 1), (2, 2)")), schema)
    assert seen == [2]


# -- groups --------------------------------------------------------------------------------------------------------------


def test_each_command_of_a_group_is_accepted_or_refused_alone(bank: TableHandler, path: Path) -> None:
    commands = [Transfer("a", "b", 60), Transfer("a", "b", 60), Open("a"), Transfer("b", "a", 10), Transfer("a", "x", 1)]
    answers = bank.handle([request(accounts, command) for command in commands])
    assert [type(answer) for answer in answers] == [Receipt, Rejected, Rejected, Receipt, Rejected]
    assert balances(path) == {"a": 50, "b": 50}
    assert rows(path, "SELECT cents FROM entry") == [(60,), (10,)]


def test_a_group_is_one_transaction(bank: TableHandler, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        seen: list[int] = []

        def handler(tx: Any, command: Do) -> None:
            tx.execute("INSERT INTO entry (source, target, cents) VALUES ('a', 'b', 1)")
            seen.append(other.execute("SELECT count(*) FROM entry").fetchone()[0])

        both = TableService("ledger", accounts.schema, {Do: handler}, ["entry"])
        with closing(handler_of(both, path)) as together:
            together.handle([request(both, Do(number)) for number in range(5)])
        assert seen == [0] * 5
        assert other.execute("SELECT count(*) FROM entry").fetchone() == (5,)


def test_a_conflict_that_undoes_the_whole_transaction_refuses_only_its_command(tmp_path: Path) -> None:
    def handler(tx: Any, command: Do) -> None:
        tx.execute("INSERT OR ROLLBACK INTO t VALUES (?, 'x')", [command.number])

    service = service_doing(handler)
    with closing(handler_of(service, tmp_path / "own.db")) as opened:
        answers = opened.handle([request(service, Do(number)) for number in (1, 2, 1, 3, 2, 4)])
    assert [type(answer) for answer in answers] == [Receipt, Receipt, Rejected, Receipt, Rejected, Receipt]
    assert rows(tmp_path / "own.db", "SELECT k FROM t") == [(1,), (2,), (3,), (4,)]


def test_a_handler_that_hides_such_a_conflict_is_refused_and_writes_nothing_more(tmp_path: Path) -> None:
    def handler(tx: Any, command: Do) -> None:
        tx.execute("INSERT INTO t VALUES (?, 'x')", [command.number])
        if command.number == 2:
            for sql in ("INSERT OR ROLLBACK INTO t VALUES (2, 'y')", "INSERT INTO t VALUES (9, 'z')"):
                with pytest.raises((Rejected, StoreError)):
                    tx.execute(sql)

    service = service_doing(handler)
    with closing(handler_of(service, tmp_path / "own.db")) as opened:
        answers = opened.handle([request(service, Do(number)) for number in (1, 2, 3)])
    assert [type(answer) for answer in answers] == [Receipt, StoreError, Receipt]
    assert rows(tmp_path / "own.db", "SELECT k FROM t") == [(1,), (3,)]


def test_a_constraint_that_is_checked_at_commit_refuses_only_its_command(tmp_path: Path) -> None:
    schema = """CREATE TABLE p (k INTEGER PRIMARY KEY);
        CREATE TABLE t (k INTEGER PRIMARY KEY, p INTEGER REFERENCES p DEFERRABLE INITIALLY DEFERRED)"""

    def handler(tx: Any, command: Do) -> None:
        tx.execute("INSERT INTO t VALUES (:number, :number)", command)
        if command.number != 2:
            tx.execute("INSERT INTO p VALUES (:number)", command)

    service = service_doing(handler, schema)
    with closing(handler_of(service, tmp_path / "own.db")) as opened:
        answers = opened.handle([request(service, Do(number), f"c-{number}") for number in (1, 2, 3)])
        assert [type(answer) for answer in answers] == [Receipt, Rejected, Receipt]
        assert isinstance(send(opened, Do(2), "c-2", service), Rejected)
    assert rows(tmp_path / "own.db", "SELECT k FROM t") == [(1,), (3,)]


def test_a_full_disk_fails_the_whole_group_and_stores_nothing(tmp_path: Path) -> None:
    def handler(tx: Any, command: Do) -> None:
        if command.number == 1:
            (size,) = tx.query("PRAGMA page_count")
            tx.query(f"PRAGMA max_page_count = {size['page_count'] + 2}")
        tx.execute("INSERT INTO t VALUES (?, randomblob(?))", [command.number, 100_000 if command.number == 2 else 10])

    service = service_doing(handler)
    with closing(handler_of(service, tmp_path / "own.db")) as opened:
        with pytest.raises(Unavailable, match="make room on the disk; nothing was stored"):
            opened.handle([request(service, Do(number)) for number in (1, 2, 3)])
        assert rows(tmp_path / "own.db", "SELECT k FROM t") == []
        assert isinstance(send(opened, Do(3), service=service), Receipt), "it goes on when there is room"


def test_a_database_that_is_held_fails_the_whole_group(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_commands, "BUSY_TIMEOUT_S", 0.01)
    with closing(handler_of(accounts, path)) as handler, closing(sqlite3.connect(path, isolation_level=None)) as owner:
        owner.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="another program holds it; nothing was stored"):
            send(handler, Open("a"), "o-1")
        owner.execute("ROLLBACK")
        assert isinstance(send(handler, Open("a"), "o-1"), Receipt)


def test_group_commit_answers_many_threads_work_with_one_handler(path: Path) -> None:
    commit = GroupCommit("ledger", lambda: handler_of(accounts, path), lambda: None)
    commit.submit(request(accounts, Open("a"))).result()
    futures = [commit.submit(request(accounts, Count("a"))) for _ in range(300)]
    assert all(isinstance(future.result(), Receipt) for future in futures)
    commit.close()
    assert balances(path) == {"a": 300}


# -- once ----------------------------------------------------------------------------------------------------------------


def test_a_command_sent_twice_has_one_effect_and_one_receipt(bank: TableHandler, path: Path) -> None:
    first = send(bank, Transfer("a", "b", 30), "t-1")
    assert send(bank, Transfer("a", "b", 30), "t-1") == first
    asked = [request(accounts, Transfer("a", "b", 5), "t-2") for _ in range(3)]
    once, *again = bank.handle(asked)
    assert isinstance(once, Receipt) and again == [once, once]
    assert balances(path) == {"a": 65, "b": 35}


def test_a_repeated_command_keeps_its_first_token_across_restarts_and_later_writes(path: Path) -> None:
    with closing(handler_of(accounts, path)) as handler:
        send(handler, Open("a"))
        follow(path)
        first = send(handler, Count("a"), "c-1")
        later = send(handler, Count("a"), "c-2")
    assert isinstance(first, Receipt) and isinstance(later, Receipt)
    assert first.token.positions["ledger"].n < later.token.positions["ledger"].n
    with closing(handler_of(accounts, path)) as handler:
        assert send(handler, Count("a"), "c-1") == first
    assert balances(path) == {"a": 2}


def test_a_command_id_with_another_payload_is_refused(bank: TableHandler, path: Path) -> None:
    send(bank, Transfer("a", "b", 30), "t-1")
    reused = [send(bank, Transfer("a", "b", 31), "t-1"), send(bank, Count("a"), "t-1")]
    together = bank.handle([request(accounts, Count("a"), "t-2"), request(accounts, Count("b"), "t-2")])
    assert [type(answer) for answer in (*reused, *together)] == [CommandReused, CommandReused, Receipt, CommandReused]
    assert balances(path) == {"a": 71, "b": 30}


def test_an_expected_version_is_refused(bank: TableHandler) -> None:
    asked = request(accounts, Count("a"))
    asked.expected_version = 3
    refused, accepted = bank.handle([asked, request(accounts, Count("a"))])
    assert isinstance(refused, InvalidCommand) and isinstance(accepted, Receipt)


# -- tokens --------------------------------------------------------------------------------------------------------------


def follow(path: Path) -> Position:
    """Follows the published tables as a new read store does; where it begins."""
    feed = TriggerFeed("ledger", str(path), "consumer", "read.db", lambda *_: [])
    with closing(sqlite3.connect(path)) as connection:
        relations = [describe(connection, "ledger", table) for table in accounts.publishes]
    feed.follow(relations)
    position = feed.start()
    feed.close()
    return position


def position_in(answer: Any) -> Position:
    assert isinstance(answer, Receipt)
    position = answer.token.positions["ledger"]
    assert parse_token(str(answer.token)) == answer.token
    return position


def test_a_token_given_before_anyone_follows_is_of_the_history_that_is_followed_later(bank: TableHandler, path: Path) -> None:
    token = position_in(send(bank, Count("a")))
    for column in ("x", "y", "z"):  # the owner goes on changing the schema
        with closing(sqlite3.connect(path)) as owner:
            owner.execute(f"ALTER TABLE account ADD COLUMN {column}")
    begun = follow(path)
    assert (begun.incarnation, begun.n) == (token.incarnation, token.n)
    later = position_in(send(bank, Count("a")))
    assert later.incarnation == begun.incarnation and later.n > begun.n


def test_a_token_names_the_place_in_the_log_that_contains_the_command(bank: TableHandler, path: Path) -> None:
    follow(path)
    at = position_in(send(bank, Transfer("a", "b", 1)))
    assert rows(path, "SELECT max(seq) FROM syncline_log") == [(at.n,)]
    refused = send(bank, Transfer("a", "x", 1))
    assert isinstance(refused, Rejected)
    assert rows(path, "SELECT max(seq) FROM syncline_log") == [(at.n,)]


def test_starting_again_and_making_tables_is_no_gap_for_who_follows(path: Path) -> None:
    with closing(sqlite3.connect(path)) as owner:
        for statement in statements_of(accounts.schema):
            owner.execute(statement)
    begun = follow(path)  # a foreign database is followed first, and then becomes a table service
    for _ in range(2):
        with closing(handler_of(accounts, path)) as handler:
            token = position_in(send(handler, Open(f"x{_}")))
            assert token.incarnation == begun.incarnation
    assert follow(path).incarnation == begun.incarnation


def test_a_capture_that_was_taken_out_is_prepared_again_and_old_receipts_stay_honoured(bank: TableHandler, path: Path) -> None:
    first = position_in(send(bank, Count("a"), "c-1"))
    with closing(sqlite3.connect(path)) as connection:
        uninstall(connection, None)
        connection.commit()
        assert not is_installed(connection)
    again = position_in(send(bank, Count("a"), "c-1"))
    now = position_in(send(bank, Count("a")))
    assert first.incarnation != again.incarnation == now.incarnation
    assert balances(path)["a"] == 102


def test_a_polled_service_installs_nothing_and_asks_for_its_token_after_the_commit(path: Path) -> None:
    seen: list[dict[str, int]] = []

    def newest() -> Token:
        seen.append(balances(path))
        return Token({"ledger": Position("polled", 7)})

    with closing(handler_of(accounts, path, is_logged=False, newest=newest)) as handler:
        send(handler, Open("a"), "o-1")
        assert position_in(send(handler, Count("a"), "c-1")) == Position("polled", 7)
        assert position_in(send(handler, Count("a"), "c-1")) == Position("polled", 7)
    assert seen == [{"a": 0}, {"a": 1}, {"a": 1}]
    assert [name for (name,) in rows(path, "SELECT name FROM sqlite_master WHERE name GLOB 'syncline*' AND type = 'table'")] == [
        "syncline_table_command"
    ]


def test_a_view_honours_the_token_of_a_command_from_before_it_was_followed(tmp_path: Path) -> None:
    view = View("rich", "account", "SELECT account, cents FROM ledger.account WHERE cents > 0").on(
        SQLite(str(tmp_path / "read.db"))
    )
    with App(accounts.on(SQLite(str(tmp_path / "ledger.db"))), view) as app:
        first = app.send(Open("a", 5))
        with pytest.raises(Unavailable, match="there is no read store"):
            app.rows("rich", at_least=first.token, timeout_s=0)
        app.sync()
        assert app.rows("rich", at_least=first.token, timeout_s=0).rows == [("a", 5)]
        later = app.send(Open("b", 7))
        with pytest.raises(StaleRead):
            app.rows("rich", at_least=later.token, timeout_s=0)
        app.sync()
        assert app.rows("rich", at_least=later.token, timeout_s=0).rows == [("a", 5), ("b", 7)]


def test_a_service_that_is_only_written_to_is_not_said_to_log_every_change(tmp_path: Path) -> None:
    app = App(accounts.on(SQLite(str(tmp_path / "ledger.db"))))
    with app:
        app.send(Open("a", 5))
        assert "still holds triggers" not in str(app.check().warnings)


def test_a_polled_table_service_gives_tokens_that_its_view_honours(tmp_path: Path) -> None:
    view = View("rich", "account", "SELECT account, cents FROM ledger.account WHERE cents > 0").on(
        SQLite(str(tmp_path / "read.db"))
    )
    with App(accounts.on(SQLite(str(tmp_path / "ledger.db")), capture=Polling(0.05)), view) as app:
        app.send(Open("a", 5))
        app.sync()
        later = app.send(Open("b", 7))
        app.sync()
        assert app.rows("rich", at_least=later.token, timeout_s=0).rows == [("a", 5), ("b", 7)]


# -- the schema ----------------------------------------------------------------------------------------------------------


def test_a_new_database_gets_the_schema_once_and_a_write_ahead_log(path: Path) -> None:
    for number in range(2):
        with closing(handler_of(accounts, path)) as handler:
            assert isinstance(send(handler, Open(f"a{number}")), Receipt)
    assert rows(path, "PRAGMA journal_mode") == [("wal",)]
    assert balances(path) == {"a0": 0, "a1": 0}


def test_an_existing_database_is_left_as_it_is(path: Path) -> None:
    with closing(sqlite3.connect(path)) as owner:
        owner.execute("CREATE TABLE Account (account TEXT PRIMARY KEY, cents INTEGER, note TEXT)")
        owner.execute("CREATE TABLE entry (entry_id INTEGER PRIMARY KEY, source, target, cents)")
    before = rows(path, "SELECT sql FROM sqlite_master WHERE name IN ('Account', 'entry') ORDER BY name")
    handler_of(accounts, path).close()
    assert rows(path, "SELECT sql FROM sqlite_master WHERE name IN ('Account', 'entry') ORDER BY name") == before
    assert rows(path, "PRAGMA journal_mode") == [("delete",)]


def test_a_schema_that_fails_leaves_no_table_behind(path: Path) -> None:
    with closing(sqlite3.connect(path)) as owner:
        owner.execute("CREATE VIEW later AS SELECT 1")
    service = service_doing(print, "CREATE TABLE one (k); CREATE INDEX later ON one (k)")
    with pytest.raises(StoreError, match="there is already a table named later"):
        handler_of(service, path)
    assert rows(path, "SELECT name FROM sqlite_master") == [("later",)]


@pytest.mark.parametrize(
    ("schema", "publishes", "words"),
    [
        ("CREATE TABLE t (k PRIMARY KEY,", ["t"], "its schema does not run on an empty database"),
        ("CREATE TABLE t (k); COMMIT", ["t"], "COMMIT is not for a handler or a schema"),
        ("CREATE TABLE t (k)", ["u"], "has no table 'u', which is published; its schema makes: t"),
        ("", ["u"], "make it, or give the service a schema"),
    ],
)
def test_a_wrong_schema_is_told_at_the_start(path: Path, schema: str, publishes: list[str], words: str) -> None:
    with pytest.raises(InvalidDefinition, match=words):
        handler_of(TableService("own", schema, {Do: print}, publishes), path)


def test_a_table_that_a_half_made_database_lacks_is_told(path: Path) -> None:
    with closing(sqlite3.connect(path)) as owner:
        owner.execute("CREATE TABLE account (account TEXT PRIMARY KEY, cents INTEGER)")
    with pytest.raises(InvalidDefinition, match="has no table 'entry', which is published; the database has other tables"):
        handler_of(accounts, path)


def test_a_script_is_split_where_statements_end_and_nowhere_else() -> None:
    trigger = "-- one; two\nCREATE TRIGGER b AFTER INSERT ON a BEGIN SELECT 1; SELECT 2; END;"
    script = f"CREATE TABLE a (x DEFAULT ';'); {trigger}c"
    assert statements_of(script) == [
        "CREATE TABLE a (x DEFAULT ';');",
        trigger,
        "c",
    ]


def test_a_file_that_is_no_database_and_a_folder_that_is_not_there_are_told(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("this is a text, and it is long enough to be taken for a header of a database" * 9)
    with pytest.raises(StoreError, match="is no SQLite database"):
        handler_of(accounts, tmp_path / "text.db")
    with pytest.raises(Unavailable, match="there is no folder"):
        handler_of(accounts, tmp_path / "nowhere" / "x.db")


# -- the definition ------------------------------------------------------------------------------------------------------


def test_a_service_is_placed_with_triggers_unless_told_otherwise() -> None:
    assert accounts.on(SQLite("x.db")) == Placed(accounts, SQLite("x.db"), Triggers())
    assert accounts.on(SQLite("x.db"), capture=Polling(2)) == Placed(accounts, SQLite("x.db"), Polling(2))


def test_all_faults_of_a_definition_are_told_at_once() -> None:
    def yielding(tx: Any, command: Do) -> Iterator[None]:
        yield

    async def waiting(tx: Any, command: Count) -> None: ...

    with pytest.raises(InvalidDefinition) as raised:
        TableService("own", "", {Do: yielding, Count: waiting, Open: 7, int: print}, "product")  # type: ignore[dict-item]
    assert len(raised.value.faults) == 5
    for words in (
        "the handler of Do is a generator",
        "Count is a generator or async",
        "Open is handled by 7",
        "['product']",
        "int",
    ):
        assert words in str(raised.value)


# -- processes -----------------------------------------------------------------------------------------------------------


def started(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "tests.write.table_accounts", *arguments],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_processes_that_race_for_one_database_lose_no_command_and_carry_out_none_twice(path: Path) -> None:
    commands, racers = 60, []
    with closing(handler_of(accounts, path)) as handler:
        send(handler, Open("a"))
        follow(path)
    try:
        racers = [started("race", str(path), name, str(commands)) for name in ("x", "y", "z")]
        for racer in racers:
            assert racer.stdout is not None and racer.stdout.readline() == "ready\n"
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("go\n")
            racer.stdin.flush()
        printed = [racer.communicate(timeout=60)[0].split() for racer in racers]
    finally:
        for racer in racers:
            racer.kill()
            racer.wait()
    receipts = sorted((name, token) for words in printed for name, token in zip(words[::2], words[1::2], strict=True))
    tokens = {name: {token for _, token in them} for name, them in groupby(receipts, key=lambda pair: pair[0])}
    assert len(tokens) == 4 * commands
    assert all(len(each) == 1 for each in tokens.values()), "one id, one receipt, in whatever process"
    assert len({token for each in tokens.values() for token in each}) == 4 * commands, "each command has a place of its own"
    assert balances(path) == {"a": 4 * commands}


def test_processes_that_make_one_database_at_the_same_moment_all_get_it(path: Path) -> None:
    racers = [started("race", str(path), name, "0") for name in "abcd"]
    try:
        assert [racer.communicate("go\n", timeout=60)[0] for racer in racers] == ["ready\n"] * 4
    finally:
        for racer in racers:
            racer.kill()
            racer.wait()
    assert balances(path) == {}
    assert rows(path, "PRAGMA journal_mode") == [("wal",)]


def test_what_was_acknowledged_is_there_after_a_kill_and_whole(path: Path) -> None:
    with closing(handler_of(accounts, path)) as handler:
        send(handler, Open("a", 10**9))
        send(handler, Open("b"))
    acknowledged: dict[str, str] = {}
    for wanted in (1, 7, 40):
        process = started("go_on", str(path))
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(len(acknowledged) + wanted)]
        process.send_signal(signal.SIGKILL)
        lines += process.communicate()[0].splitlines(keepends=True)
        found = dict(line.split() for line in lines if line.endswith("\n") and len(line.split()) == 2)
        assert acknowledged.items() <= found.items(), "the receipts of before, again"
        acknowledged = found
        stored = {command_id for (command_id,) in rows(path, "SELECT id FROM syncline_table_command WHERE id GLOB 't-*'")}
        assert acknowledged.keys() <= stored
        assert rows(path, "SELECT count(*) FROM entry") == [(len(stored),)]
        assert balances(path) == {"a": 10**9 - len(stored), "b": len(stored)}


# -- any interleaving ----------------------------------------------------------------------------------------------------

_names = st.sampled_from("abc")
_commands = st.one_of(
    st.builds(Open, _names, st.integers(-1, 5)),
    st.builds(Transfer, _names, _names, st.integers(0, 4)),
    st.builds(Count, _names),
)
_sent = st.lists(st.tuples(st.integers(0, 15), _commands, st.booleans(), st.booleans()), max_size=25)


class Model:
    """The accounts in plain Python, one command after the other."""

    def __init__(self) -> None:
        self.accounts: dict[str, int] = {}
        self.entries: list[tuple[str, str, int]] = []
        self.handled: dict[int, Any] = {}

    def send(self, number: int, command: Any) -> str:
        if number in self.handled:
            return "receipt" if self.handled[number] == command else "reused"
        if not self.carry_out(command):
            return "refused"
        self.handled[number] = command
        return "receipt"

    def carry_out(self, command: Any) -> bool:
        after = dict(self.accounts)
        match command:
            case Open(account, cents):
                if account in after or cents < 0:
                    return False
                after[account] = cents
            case Transfer(source, target, cents):
                if source not in after or target not in after or (source != target and after[source] < cents):
                    return False
                after[target] += cents
                after[source] -= cents
                self.entries.append((source, target, cents))
            case Count(account):
                if account not in after:
                    return False
                after[account] += 1
        self.accounts = after
        return True


@settings(max_examples=60, deadline=None)
@given(sent=_sent)
def test_any_grouping_over_two_processes_equals_one_command_after_the_other(
    tmp_path_factory: pytest.TempPathFactory, sent: list[tuple[int, Any, bool, bool]]
) -> None:
    path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    model, answers = Model(), list[str]()
    handlers = [handler_of(accounts, path), handler_of(accounts, path)]
    expected = [model.send(number, command) for number, command, _, _ in sent]
    for _, piece in groupby(_numbered_groups(sent), key=lambda each: each[0]):
        group = list(piece)
        its = handlers[group[0][1][2]].handle([request(accounts, command, f"c-{number}") for _, (number, command, _, _) in group])
        answers += ["receipt" if isinstance(a, Receipt) else "reused" if isinstance(a, CommandReused) else "refused" for a in its]
    for handler in handlers:
        handler.close()
    assert answers == expected
    assert balances(path) == model.accounts
    assert rows(path, "SELECT source, target, cents FROM entry ORDER BY entry_id") == model.entries


def _numbered_groups(sent: list[tuple[int, Any, bool, bool]]) -> Iterator[tuple[int, tuple[int, Any, bool, bool]]]:
    """Each command with the number of its group; the last flag ends one."""
    number = 0
    for each in sent:
        yield number, each
        number += each[3]
