"""Between the processes that use one read store: who is its relay, and what others ask of it.

Kept in small files beside the store, because only the relay writes to the store itself. Both are SQLite databases with a rollback
journal: a lock on one goes with its process, whatever ends it.
"""

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from syncline.errors import Unavailable
from syncline.stores.roles import Request
from syncline.stores.statements import load_statements

KEPT_S = 3600.0

_SQL = load_statements("syncline.stores.sqlite", "control.sql")


class SQLiteLease:
    """The right to be the one relay of a read store. It ends with `release`, or with the process."""

    def __init__(self, store_path: str) -> None:
        self._path = f"{store_path}-lease"
        self._connection: sqlite3.Connection | None = None

    def acquire(self) -> bool:
        """Takes the lease if nobody holds it; says whether it is held now. Never waits."""
        if self._connection is not None:
            return True
        if not Path(self._path).parent.is_dir():
            raise Unavailable(
                f"there is no folder '{Path(self._path).parent}' for the read store; make it, or name another in syncline.toml"
            )
        connection = None
        try:
            connection = sqlite3.connect(self._path, timeout=0, isolation_level=None, check_same_thread=False)
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if connection is not None:
                connection.close()
            if getattr(error, "sqlite_errorname", "").startswith("SQLITE_BUSY"):
                return False
            raise Unavailable(
                f"the lease file '{self._path}' cannot be used: {error}; make the read store's folder writable for this user"
            ) from error
        self._connection = connection
        return True

    def release(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            self._connection.close()
            self._connection = None


def is_leased(store_path: str) -> bool:
    """Whether a relay runs for this read store. Looks without taking."""
    path = Path(f"{store_path}-lease")
    if not path.exists():
        return False
    connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=0, isolation_level=None)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        return getattr(error, "sqlite_errorname", "").startswith("SQLITE_BUSY")
    finally:
        connection.close()
    return False


class SQLiteRequests:
    """What other processes ask of the relay of one read store, in order. Every call is one short transaction."""

    def __init__(self, store_path: str) -> None:
        self._path = f"{store_path}-requests"
        self._connection: sqlite3.Connection | None = None
        self._version = -1

    def ask(self, verb: str, argument: Any = None) -> int:
        """Stores a request; returns its number."""
        with self._open() as connection:
            connection.execute(_SQL["delete_old"], {"before": time.time() - KEPT_S})
            cursor = connection.execute(
                _SQL["insert_request"], {"verb": verb, "argument": json.dumps(argument), "at": time.time()}
            )
            return int(cursor.lastrowid or 0)

    def find(self, number: int) -> Request | None:
        with self._open() as connection:
            row = connection.execute(_SQL["select_request"], {"id": number}).fetchone()
        return _request(row) if row else None

    def waiting(self) -> list[Request]:
        """What has been asked and not answered. Costs microseconds while nothing was written since the last call."""
        if self._connection is None and not Path(self._path).exists():
            return []
        with self._open() as connection:
            version = int(connection.execute("PRAGMA data_version").fetchone()[0])
            if version == self._version:
                return []
            found = [_request(row) for row in connection.execute(_SQL["select_waiting"]).fetchall()]
            self._version = version if not found else -1
            return found

    def answer(self, number: int, state: str, answer: Any) -> None:
        with self._open() as connection:
            connection.execute(_SQL["answer_request"], {"id": number, "state": state, "answer": json.dumps(answer)})

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            if self._connection is None:
                connection = sqlite3.connect(self._path, timeout=5, isolation_level=None, check_same_thread=False)
                connection.execute(_SQL["create_request"])
                self._connection = connection
            yield self._connection
        except sqlite3.Error as error:
            raise Unavailable(
                f"the requests file '{self._path}' cannot be used: {error}; make the read store's folder writable for this user"
            ) from error


def _request(row: tuple[Any, ...]) -> Request:
    number, verb, argument, state, answer = row
    return Request(number, verb, json.loads(argument), state, json.loads(answer) if answer else None)
