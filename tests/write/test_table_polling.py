"""Table services that are polled: their receipts name a count of groups, which every sweep of any read store answers for."""

import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from tests.write.table_accounts import Count, Do, Open, accounts, balances, handler_of, position_in, rows, send, service_doing

from syncline import App, View
from syncline.errors import DeadToken, Rejected, StaleRead
from syncline.messages import Position, Receipt
from syncline.places import Placed, Polling, SQLite
from syncline.stores.sweeps import SWEEPS, sweep_number

NEVER_S = 3_600.0
"""Between two sweeps, so that only those that are asked for come."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def placed(path: Path, capture: Polling | None = None) -> Placed:
    return accounts.on(SQLite(str(path)), capture=capture or Polling(NEVER_S))


def rich(path: Path, name: str = "rich") -> Placed:
    return View(name, "account", "SELECT account, cents FROM ledger.account").on(SQLite(str(path)))


@contextmanager
def running(app: App) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=app.run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


# -- receipts ------------------------------------------------------------------------------------------------------------


def test_each_group_that_had_an_effect_is_counted_and_a_repeated_command_keeps_its_count(path: Path) -> None:
    with closing(handler_of(accounts, path, capture="polling")) as handler:
        first = position_in(send(handler, Open("a"), "o-1"))
        assert isinstance(send(handler, Open("a")), Rejected)
        later = position_in(send(handler, Count("a"), "c-1"))
        assert (first.n, later.n) == (SWEEPS, 2 * SWEEPS)
        assert position_in(send(handler, Open("a"), "o-1")) == first
    with closing(handler_of(accounts, path, capture="polling")) as handler:
        assert position_in(send(handler, Count("a"), "c-1")) == later
    assert balances(path) == {"a": 1}


def test_a_polled_service_gets_no_triggers_and_no_log(path: Path) -> None:
    with closing(handler_of(accounts, path, capture="polling")) as handler:
        send(handler, Open("a"))
    assert rows(path, "SELECT name FROM sqlite_master WHERE name GLOB 'syncline*' AND type != 'index' ORDER BY name") == [
        ("syncline_table_command",),
        ("syncline_table_group",),
    ]


def test_a_count_is_of_one_history(tmp_path: Path) -> None:
    found = []
    for folder in (tmp_path / "one", tmp_path / "other"):
        folder.mkdir()
        service = service_doing(lambda tx, command: None)
        with closing(handler_of(service, folder / "own.db", capture="polling")) as handler:
            answer = send(handler, Do(), service=service)
            assert isinstance(answer, Receipt)
            found.append(answer.token.positions["own"])
    assert found[0].n == found[1].n and found[0].incarnation != found[1].incarnation


# -- tokens --------------------------------------------------------------------------------------------------------------


def test_a_token_of_a_process_that_only_sends_is_refused_until_a_sweep_has_its_command(path: Path, tmp_path: Path) -> None:
    with App(placed(path), rich(tmp_path / "read.db")) as reader, App(placed(path)) as writer:
        before = writer.send(Open("a", 5))
        reader.sync()
        assert reader.rows("rich", at_least=before.token, timeout_s=0).rows == [("a", 5)]
        mine = writer.send(Open("b", 7))
        with pytest.raises(StaleRead):
            reader.rows("rich", at_least=mine.token, timeout_s=0)
        reader.sync()
        assert reader.rows("rich", at_least=mine.token, timeout_s=0).rows == [("a", 5), ("b", 7)]


def test_a_command_makes_a_sweep_begin_in_every_process_that_follows(path: Path, tmp_path: Path) -> None:
    with App(placed(path), rich(tmp_path / "read.db")) as reader, App(placed(path)) as writer, running(reader):
        for number in range(3):
            token = writer.send(Open(f"a{number}")).token
            assert (f"a{number}", 0) in reader.rows("rich", at_least=token, timeout_s=20).rows


def test_a_token_is_honoured_by_every_read_store(path: Path, tmp_path: Path) -> None:
    views = [rich(tmp_path / f"{name}.db", name) for name in ("one", "two")]
    with App(placed(path), *views) as app:
        app.sync()
        app.verify("one")  # so that one store has been swept more often than the other
        app.sync()
        token = app.send(Open("a", 5)).token
        for name in ("one", "two"):
            with pytest.raises(StaleRead):
                app.rows(name, at_least=token, timeout_s=0)
        app.sync()
        assert [app.rows(name, at_least=token, timeout_s=0).rows for name in ("one", "two")] == [[("a", 5)]] * 2


def test_a_command_that_took_effect_is_answered_whatever_became_of_a_read_store(path: Path, tmp_path: Path) -> None:
    with App(placed(path), rich(tmp_path / "read.db")) as app:
        app.sync()
        for file in tmp_path.glob("read.db*"):
            file.write_bytes(b"garbage" * 999)
        assert list(app.send(Open("a", 5)).token.positions) == ["ledger"]
    assert balances(path) == {"a": 5}


def test_a_token_that_is_asked_for_covers_what_other_programs_wrote(path: Path, tmp_path: Path) -> None:
    with App(placed(path), rich(tmp_path / "read.db")) as app:
        app.send(Open("a", 5))
        app.sync()
        with closing(sqlite3.connect(path)) as other:
            other.execute("UPDATE account SET cents = 6")
            other.commit()
        token = app.token("ledger")
        with pytest.raises(StaleRead):
            app.rows("rich", at_least=token, timeout_s=0)
        app.sync()
        assert app.rows("rich", at_least=token, timeout_s=0).rows == [("a", 6)]


def test_a_sweep_that_may_miss_deletions_answers_for_no_command(path: Path, tmp_path: Path) -> None:
    def close(tx: object, command: Count) -> None:
        tx.execute("DELETE FROM t WHERE k = :account", command)  # type: ignore[attr-defined]

    schema = "CREATE TABLE t (k TEXT PRIMARY KEY, at INTEGER); INSERT INTO t VALUES ('a', 1), ('b', 1)"
    service = type(accounts)("own", schema=schema, handles={Count: close}, publishes=["t"])
    view = View("all_t", "k", "SELECT k FROM own.t").on(SQLite(str(tmp_path / "read.db")))
    capture = Polling(0.01, changed_at="at", full_every_s=NEVER_S)
    with App(service.on(SQLite(str(path)), capture=capture), view) as app, running(app):
        for account, left in (("a", [("b",)]), ("b", [])):
            token = app.send(Count(account)).token
            assert app.rows("all_t", at_least=token, timeout_s=20).rows == left


# -- put back from a backup ------------------------------------------------------------------------------------------------


def test_a_count_that_went_back_is_told_until_somebody_says_that_it_was_restored(path: Path, tmp_path: Path) -> None:
    with App(placed(path), rich(tmp_path / "read.db")) as app:
        app.send(Open("a", 5))
    shutil.copy(path, tmp_path / "backup.db")
    with App(placed(path), rich(tmp_path / "read.db")) as app:
        lost = app.send(Open("b", 7)).token
        app.sync()
    for file in (f"{path}-wal", f"{path}-shm"):
        Path(file).unlink(missing_ok=True)
    shutil.copy(tmp_path / "backup.db", path)
    with App(placed(path), rich(tmp_path / "read.db")) as app:
        app.sync()
        (feed,) = app.status().feeds
        assert feed.error is not None and "put back from a backup; say so with `syncline restored ledger`" in feed.error
        app.restored("ledger")
        token = app.send(Open("c", 9)).token
        with pytest.raises(StaleRead):
            app.rows("rich", at_least=token, timeout_s=0)
        app.sync()
        assert app.rows("rich", at_least=token, timeout_s=0).rows == [("a", 5), ("c", 9)]
        with pytest.raises(DeadToken):
            app.rows("rich", at_least=lost, timeout_s=0)


# -- numbers -------------------------------------------------------------------------------------------------------------


def test_the_number_of_a_sweep_rises_and_claims_no_group_that_is_not_counted_yet() -> None:
    def number(after: int, place: int, history: str = "h") -> int:
        return sweep_number(Position(history, after), Position("h", place))

    assert number(0, 0) == 1
    assert number(1, 0) == 2
    assert number(2, SWEEPS) == SWEEPS + 1 >= SWEEPS, "which is the token of the first group"
    assert number(SWEEPS - 2, 0) == number(SWEEPS - 1, 0) == SWEEPS - 1 < SWEEPS
    assert number(7 * SWEEPS, SWEEPS, "another") == SWEEPS + 1
