"""Between the processes that use one read store on PostgreSQL: who is its relay, and what others ask of it.

The right to be the relay is an advisory lock of a session of its own: it goes with its process, whatever ends that. Where its
host is gone without a word, the server notices within half a minute.
"""

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from syncline.stores.postgres.connection import Connection, connect, load, translated
from syncline.stores.postgres.layout import OWN
from syncline.stores.postgres.own_tables import NOTICED_SOON, PREPARING_LOCK
from syncline.stores.roles import Request

KEPT_S = 3600.0
PART = 0x53796E63
RELAY, SAGAS = 1, 6
"""The locks of who relays into a read store, and of who runs the sagas in a database."""
_SQL = load("control.sql")


class PostgresLease:
    """The right to be the one relay of a read store, or to run the sagas of a database. It ends with `release`, or with the
    process."""

    def __init__(self, database: str, number: int = RELAY) -> None:
        self._database, self._lock = database, {"part": PART, "number": number}
        self._connection: Connection | None = None

    def acquire(self) -> bool:
        """Takes the lease if nobody holds it; says whether it is held now. Never waits."""
        if self._connection is not None and not self._connection.closed:
            return True
        connection = connect(self._database, settings=NOTICED_SOON)
        with translated(self._database):
            found = connection.execute(_SQL["take_lease"], self._lock).fetchone()
        if found is None or not found[0]:
            connection.close()
            return False
        self._connection = connection
        return True

    def release(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def is_leased(database: str, number: int = RELAY) -> bool:
    """Whether somebody holds the right. Looks without taking."""
    with closing(connect(database)) as connection, translated(database):
        found = connection.execute(_SQL["is_leased"], {"part": PART, "number": number}).fetchone()
    return bool(found and found[0])


class PostgresRequests:
    """What other processes ask of the relay of one read store, in order. Every call is one short transaction."""

    def __init__(self, database: str) -> None:
        self._database = database
        self._connection: Connection | None = None

    def ask(self, verb: str, argument: Any = None) -> int:
        """Stores a request; returns its number."""
        with self._open() as connection:
            connection.execute(_SQL["delete_old"], {"kept_s": KEPT_S})
            row = connection.execute(_SQL["insert_request"], {"verb": verb, "argument": json.dumps(argument)}).fetchone()
        return int(row[0]) if row is not None else 0

    def find(self, number: int) -> Request | None:
        with self._open() as connection:
            row = connection.execute(_SQL["select_request"], {"id": number}, prepare=True).fetchone()
        return _request(row) if row else None

    def waiting(self) -> list[Request]:
        """What has been asked and not answered."""
        with self._open() as connection:
            return [_request(row) for row in connection.execute(_SQL["select_waiting"], prepare=True).fetchall()]

    def answer(self, number: int, state: str, answer: Any) -> None:
        with self._open() as connection:
            connection.execute(_SQL["answer_request"], {"id": number, "state": state, "answer": json.dumps(answer)})

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def _open(self) -> Iterator[Connection]:
        with translated(self._database):
            if self._connection is None or self._connection.closed:
                connection = connect(self._database)
                self._make(connection)
                self._connection = connection
            yield self._connection

    def _make(self, connection: Connection) -> None:
        """Makes the table where it is not yet, as one of those who may come first."""
        if connection.execute("SELECT to_regclass(%s)", (f"{OWN}.request",)).fetchone() != (None,):
            return
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", PREPARING_LOCK)
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {OWN}")
            connection.execute(_SQL["create_request"])


def _request(row: tuple[Any, ...]) -> Request:
    number, verb, argument, state, answer = row
    return Request(number, verb, json.loads(argument), state, json.loads(answer) if answer else None)
