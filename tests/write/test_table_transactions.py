"""The transaction that handlers of a table service get is not theirs to end, by whatever way they try."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.write.table_accounts import Do, doing, handler_of, request, rows, send, service_doing

from syncline.errors import InvalidDefinition, StoreError, Unavailable
from syncline.messages import Receipt
from syncline.write.commit import GroupCommit
from syncline.write.tables import TableService


@pytest.mark.parametrize("begin", ["", "-- why\n", "/* why; */ ", " \n", "\ufeff", "\ufeff-- why\n"])
@pytest.mark.parametrize("sql", ["COMMIT", "begin immediate", "ROLLBACK", "SAVEPOINT s", "RELEASE s", "END"])
def test_a_handler_cannot_end_or_begin_a_transaction(tmp_path: Path, begin: str, sql: str) -> None:
    def handler(tx: Any, command: Do) -> None:
        tx.execute("INSERT INTO t VALUES (1, 'x')")
        tx.execute(begin + sql)

    answer = doing(tmp_path, handler)
    assert isinstance(answer, InvalidDefinition)
    assert "raise Rejected to undo" in str(answer)
    assert rows(tmp_path / "own.db", "SELECT * FROM t") == []


COMMITS: dict[str, Callable[[sqlite3.Connection], object]] = {
    "commit": lambda driver: driver.commit(),
    "rollback": lambda driver: driver.rollback(),
    "script": lambda driver: driver.executescript("SELECT 1"),  # commits first
    "statement": lambda driver: driver.execute("COMMIT -- now"),
    "savepoint": lambda driver: driver.execute("SAVEPOINT mine"),
}


def counting(reach: Callable[[sqlite3.Connection], object]) -> TableService:
    """Counts each command in a row of its own; that with the number 5 reaches for the connection behind its transaction."""

    def handler(tx: Any, command: Do) -> None:
        tx.execute("INSERT INTO t VALUES (:number, 1) ON CONFLICT (k) DO UPDATE SET v = v + 1", command)
        if command.number == 5:
            reach(tx._connection)

    return service_doing(handler)


@pytest.mark.parametrize("how", COMMITS)
def test_who_reaches_the_connection_behind_a_transaction_cannot_end_it_either(tmp_path: Path, how: str) -> None:
    service = counting(COMMITS[how])
    path = tmp_path / "own.db"
    commit = GroupCommit("own", lambda: handler_of(service, path), lambda: None)
    futures = [commit.submit(request(service, Do(number))) for number in range(10)]
    errors = [future.exception() for future in futures]
    commit.close()
    assert [number for number, error in enumerate(errors) if error is not None] == [5]
    assert isinstance(errors[5], sqlite3.DatabaseError) and "not authorized" in str(errors[5])
    assert rows(path, "SELECT k, v FROM t") == [(number, 1) for number in range(10) if number != 5]


def commit_unguarded(driver: sqlite3.Connection) -> None:
    driver.set_authorizer(None)
    driver.commit()


BREAKS: dict[str, Callable[[sqlite3.Connection], object]] = {
    "commit": commit_unguarded,
    "prepared": lambda driver: driver.execute("COMMIT"),
    "begun again": lambda driver: (driver.execute("COMMIT"), driver.execute("BEGIN IMMEDIATE")),
}


@pytest.mark.parametrize("how", BREAKS)
def test_a_group_of_which_something_was_committed_is_told_and_never_run_again(tmp_path: Path, how: str) -> None:
    service = counting(BREAKS[how])
    with closing(handler_of(service, tmp_path / "own.db")) as opened:
        send(opened, Do(0), service=service)
        answers = opened.handle([request(service, Do(number)) for number in (1, 2, 5, 6, 7)])
    assert [type(answer) for answer in answers] == [StoreError, StoreError, StoreError, Unavailable, Unavailable]
    assert "ended the transaction of its group" in str(answers[0]) and "is stored, but not that they did it" in str(answers[0])
    assert rows(tmp_path / "own.db", "SELECT k, v FROM t") == [(0, 1), (1, 1), (2, 1), (5, 1)]


def test_a_transaction_cannot_be_used_after_its_handler_returned(tmp_path: Path) -> None:
    kept: list[Any] = []
    doing(tmp_path, lambda tx, command: kept.append(tx))
    with pytest.raises(StoreError, match="this transaction is over"):
        kept[0].execute("INSERT INTO t VALUES (1, 'x')")


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit, RecursionError])
def test_whatever_a_handler_raises_is_its_own_command_s(tmp_path: Path, error: type[BaseException]) -> None:
    def handler(tx: Any, command: Do) -> None:
        tx.execute("INSERT INTO t VALUES (:number, 1)", command)
        if command.number == 2:
            raise error

    service = service_doing(handler)
    with closing(handler_of(service, tmp_path / "own.db")) as opened:
        answers = opened.handle([request(service, Do(number)) for number in (1, 2, 3)])
    assert [type(answer) for answer in answers] == [Receipt, error, Receipt]
    assert rows(tmp_path / "own.db", "SELECT k FROM t") == [(1,), (3,)]
