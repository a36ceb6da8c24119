"""A table service of accounts for tests, and two processes over it: one that races with others, one that is killed."""

import itertools
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from syncline.errors import Rejected
from syncline.messages import Position, Receipt, parse_token
from syncline.stores.service_tables import TableSetup
from syncline.stores.sqlite.source import describe
from syncline.stores.sqlite.table_commands import SQLiteTables
from syncline.stores.sqlite.triggers import TriggerFeed
from syncline.write.commit import Answer, Request
from syncline.write.tables import TableHandler, TableService


@dataclass(frozen=True)
class Open:
    account: str
    cents: int = 0


@dataclass(frozen=True)
class Transfer:
    source: str
    target: str
    cents: int


@dataclass(frozen=True)
class Count:
    account: str


def open_account(tx: Any, command: Open) -> None:
    tx.execute("INSERT INTO account VALUES (:account, :cents)", command)


def transfer(tx: Any, command: Transfer) -> None:
    if not tx.execute("UPDATE account SET cents = cents + :cents WHERE account = :target", command):
        raise Rejected(f"there is no account {command.target!r}")
    if not tx.execute("UPDATE account SET cents = cents - :cents WHERE account = :source", command):
        raise Rejected(f"there is no account {command.source!r}")
    tx.execute("INSERT INTO entry (source, target, cents) VALUES (:source, :target, :cents)", command)


def count(tx: Any, command: Count) -> None:
    (row,) = tx.query("SELECT cents FROM account WHERE account = :account", command)
    tx.execute("UPDATE account SET cents = ? WHERE account = ?", [row["cents"] + 1, command.account])


accounts = TableService(
    "ledger",
    schema="""
        CREATE TABLE account (
            account TEXT PRIMARY KEY,           -- a name; never empty
            cents   INTEGER NOT NULL CHECK (cents >= 0)
        );
        CREATE TABLE entry (
            entry_id INTEGER PRIMARY KEY,
            source TEXT NOT NULL, target TEXT NOT NULL, cents INTEGER NOT NULL
        );
        CREATE TRIGGER no_entry_changes BEFORE UPDATE ON entry
        BEGIN
            SELECT RAISE(ABORT, 'an entry is never changed; write another');
        END;
    """,
    handles={Open: open_account, Transfer: transfer, Count: count},
    publishes=["account", "entry"],
)


def handler_of(service: TableService, path: Path | str, *, capture: str = "triggers", outbox: str = "") -> TableHandler:
    setup = TableSetup(service.name, service.schema, tuple(service.publishes), capture, bool(outbox))
    return TableHandler(service, SQLiteTables(str(path), setup), outbox)


_numbers = itertools.count()


def request(service: TableService, command: Any, command_id: str | None = None) -> Request:
    digest = service.command_codec.digest(command)
    return Request(command, command_id or f"fresh-{next(_numbers)}", command_id is None, digest)


def send(handler: TableHandler, command: Any, command_id: str | None = None, service: TableService = accounts) -> Answer:
    (answer,) = handler.handle([request(service, command, command_id)])
    return answer


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


def rows(path: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def balances(path: Path) -> dict[str, int]:
    return dict(rows(path, "SELECT account, cents FROM account"))


def follow(path: Path, tables: Sequence[str] = accounts.publishes) -> Position:
    """Follows the tables as a new read store does; where it begins."""
    feed = TriggerFeed("ledger", str(path), "consumer", "read.db", lambda *_: [])
    with closing(sqlite3.connect(path)) as connection:
        relations = [describe(connection, "ledger", table) for table in tables]
    feed.follow(relations)
    position = feed.start()
    feed.close()
    return position


def position_in(answer: Any) -> Position:
    assert isinstance(answer, Receipt)
    position = answer.token.positions["ledger"]
    assert parse_token(str(answer.token)) == answer.token
    return position


def race(path: str, name: str, commands: int) -> None:
    """Waits for a line, then counts: ids that only this process sends, and ids that every process sends."""
    handler = handler_of(accounts, path)
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(commands):
        for command_id in (f"{name}-{number}", f"shared-{number}"):
            answer = send(handler, Count("a"), command_id)
            assert isinstance(answer, Receipt), answer
            print(command_id, answer.token, flush=True)
    handler.close()


def go_on(path: str) -> None:
    """Transfers until it is killed, and prints each id once it is acknowledged."""
    handler = handler_of(accounts, path)
    for number in itertools.count():
        group = [request(accounts, Transfer("a", "b", 1), f"t-{number}-{part}") for part in range(1 + number % 4)]
        for asked, answer in zip(group, handler.handle(group), strict=True):
            assert isinstance(answer, Receipt), answer
            print(asked.command_id, answer.token, flush=True)


if __name__ == "__main__":
    what, where, *arguments = sys.argv[1:]
    if what == "race":
        race(where, arguments[0], int(arguments[1]))
    else:
        go_on(where)
