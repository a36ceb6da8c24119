"""The databases of table services: the tokens that they give, and how their tables come to be."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.write.table_accounts import (
    Count,
    Do,
    Open,
    Transfer,
    accounts,
    balances,
    follow,
    handler_of,
    position_in,
    rows,
    send,
    service_doing,
)

from syncline import App, View
from syncline.errors import (
    InvalidDefinition,
    Rejected,
    StaleRead,
    StoreError,
    Unavailable,
)
from syncline.messages import Receipt
from syncline.places import SQLite
from syncline.stores.sqlite import service_file
from syncline.stores.sqlite.install import is_installed, uninstall
from syncline.stores.sqlite.table_commands import statements_of
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


# -- tokens --------------------------------------------------------------------------------------------------------------


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


def test_a_schema_that_is_run_beside_followed_tables_is_no_gap_for_who_follows_them(path: Path) -> None:
    with closing(sqlite3.connect(path)) as owner:
        owner.execute("CREATE TABLE older (k INTEGER PRIMARY KEY)")
    begun = follow(path, ["older"])
    handler_of(accounts, path).close()
    assert follow(path, ["older", "account"]).incarnation == begun.incarnation


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


def test_a_service_that_was_sent_nothing_yet_can_be_followed(tmp_path: Path) -> None:
    view = View("rich", "account", "SELECT account, cents FROM ledger.account WHERE cents > 0").on(
        SQLite(str(tmp_path / "read.db"))
    )
    with App(accounts.on(SQLite(str(tmp_path / "ledger.db"))), view) as app:
        app.sync()
        assert app.rows("rich").rows == []


# -- the schema ----------------------------------------------------------------------------------------------------------


def test_a_new_database_gets_the_schema_once_and_a_write_ahead_log(path: Path) -> None:
    for number in range(2):
        with closing(handler_of(accounts, path)) as handler:
            assert isinstance(send(handler, Open(f"a{number}")), Receipt)
    assert rows(path, "PRAGMA journal_mode") == [("wal",)]
    assert balances(path) == {"a0": 0, "a1": 0}


def test_a_new_database_that_another_process_is_making_is_waited_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        waits: list[object] = []

        def wait(seconds: float) -> None:
            waits.append(seconds)
            other.execute("ROLLBACK")

        monkeypatch.setattr(service_file.time, "sleep", wait)
        monkeypatch.setattr(service_file, "BUSY_TIMEOUT_S", 0.01)
        handler_of(accounts, path).close()
        assert len(waits) == 1
    assert rows(path, "PRAGMA journal_mode") == [("wal",)]


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
        handler_of(TableService("own", schema=schema, handles={Do: print}, publishes=publishes), path)


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
