"""What a table service's handlers may do, alone and in groups, and what becomes of their commands."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.write.table_accounts import (
    Count,
    Do,
    Open,
    Transfer,
    accounts,
    balances,
    doing,
    follow,
    handler_of,
    request,
    rows,
    send,
    service_doing,
)

from syncline.errors import (
    CommandReused,
    InvalidCommand,
    InvalidDefinition,
    Rejected,
    StoreError,
    Unavailable,
)
from syncline.messages import Receipt
from syncline.places import Placed, Polling, SQLite, Triggers
from syncline.stores.sqlite import service_file
from syncline.write.commit import GroupCommit
from syncline.write.tables import TableHandler, TableService


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


@pytest.mark.parametrize("value", [2**63, "\ud800"])
def test_a_value_that_no_column_can_hold_is_a_rejection(tmp_path: Path, value: object) -> None:
    answer = doing(tmp_path, lambda tx, command: tx.execute("INSERT INTO t VALUES (1, ?)", (value,)))
    assert isinstance(answer, Rejected)
    assert "a value cannot be stored" in str(answer)


def test_a_handler_may_go_on_after_a_broken_constraint(tmp_path: Path) -> None:
    def handler(tx: Any, command: Do) -> None:
        tx.execute("INSERT INTO t VALUES (1, 'x')")
        with pytest.raises(Rejected):
            tx.execute("INSERT INTO t VALUES (1, 'y')")

    assert isinstance(doing(tmp_path, handler), Receipt)
    assert rows(tmp_path / "own.db", "SELECT * FROM t") == [(1, "x")]


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


def test_dates_and_times_are_stored_as_iso_8601_text(tmp_path: Path) -> None:
    values = [date(2026, 1, 2), time(3, 4, 5), datetime(2026, 1, 2, 3, 4, 5)]
    doing(tmp_path, lambda tx, command: [tx.execute("INSERT INTO t VALUES (NULL, ?)", [value]) for value in values])
    assert rows(tmp_path / "own.db", "SELECT v FROM t") == [("2026-01-02",), ("03:04:05",), ("2026-01-02T03:04:05",)]


@pytest.mark.parametrize(
    ("sql", "parameters", "words"),
    [
        ("INSERT INTO u VALUES (1)", None, "no such table: u; in: INSERT INTO u VALUES (1)"),
        ("INSERT INTO t VALUES (1, :x)", {}, "supply a value for binding"),
        ("INSERT INTO t VALUES (1, :x)", {"x": object()}, "is not supported"),
        ("INSERT INTO t VALUES (1, :x)", 7, "expected a mapping"),
        ("SELECT 1; SELECT 2", None, "one statement at a time"),
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

        both = TableService("ledger", schema=accounts.schema, handles={Do: handler}, publishes=["entry"])
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


def test_a_disk_that_fills_while_commands_run_one_by_one_fails_only_what_is_not_stored(tmp_path: Path) -> None:
    schema = """CREATE TABLE p (k INTEGER PRIMARY KEY);
        CREATE TABLE t (k INTEGER PRIMARY KEY, p INTEGER REFERENCES p DEFERRABLE INITIALLY DEFERRED, v)"""
    runs: list[int] = []

    def handler(tx: Any, command: Do) -> None:
        runs.append(command.number)
        if runs.count(3) == 2:
            tx.query("PRAGMA max_page_count = 1")
            tx.execute("INSERT INTO t VALUES (3, NULL, randomblob(100000))")
        tx.execute("INSERT INTO t VALUES (?, ?, 'x')", [command.number, 9 if command.number == 2 else None])

    service = service_doing(handler, schema)
    with closing(handler_of(service, tmp_path / "own.db")) as opened:
        answers = opened.handle([request(service, Do(number)) for number in (1, 2, 3)])
    assert [type(answer) for answer in answers] == [Receipt, Rejected, Unavailable]
    assert rows(tmp_path / "own.db", "SELECT k FROM t") == [(1,)]


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
    monkeypatch.setattr(service_file, "BUSY_TIMEOUT_S", 0.01)
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


@pytest.mark.parametrize("command_id", ["a\0b", "\0", "ünï", "x" * 10_000, "'"])
def test_any_text_is_a_command_id(bank: TableHandler, path: Path, command_id: str) -> None:
    first = send(bank, Count("a"), command_id)
    assert isinstance(first, Receipt)
    assert send(bank, Count("a"), command_id) == first
    assert isinstance(send(bank, Count("a"), command_id + "\0"), Receipt), "another id"
    assert balances(path)["a"] == 102


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


# -- the definition ------------------------------------------------------------------------------------------------------


def test_a_service_is_placed_with_triggers_unless_told_otherwise() -> None:
    assert accounts.on(SQLite("x.db")) == Placed(accounts, SQLite("x.db"), Triggers())
    assert accounts.on(SQLite("x.db"), capture=Polling(2)) == Placed(accounts, SQLite("x.db"), Polling(2))


def test_all_faults_of_a_definition_are_told_at_once() -> None:
    def yielding(tx: Any, command: Do) -> Iterator[None]:
        yield

    async def waiting(tx: Any, command: Count) -> None: ...

    handles: Any = {Do: yielding, Count: waiting, Open: 7, int: print}
    with pytest.raises(InvalidDefinition) as raised:
        TableService("own", schema="", handles=handles, publishes="product")
    assert len(raised.value.faults) == 5
    for words in (
        "the handler of Do is a generator",
        "Count is a generator or async",
        "Open is handled by 7",
        "['product']",
        "int",
    ):
        assert words in str(raised.value)
