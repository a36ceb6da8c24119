"""The databases of the example: SQLite files in its folder or PostgreSQL, as `syncline.toml` says, and a connection to either.

The example's SQL is written once, with `?` for each value. What has to be said otherwise in PostgreSQL is given beside it.
"""

import sqlite3
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

READ_STORE = "read"
BUSY_TIMEOUT_S = 30.0


class Refused(Exception):
    """A constraint refused a statement; the transaction is to be rolled back."""


class DatabaseMissing(Exception):
    """There is no such database, or it cannot be had; says what to do."""


def database_of(folder: Path, name: str) -> str:
    """The path or the URL of a service's database or, of the name READ_STORE, of the read store."""
    try:
        configuration = tomllib.loads((folder / "syncline.toml").read_text("utf-8"))
    except FileNotFoundError:
        raise DatabaseMissing(f"{folder / 'syncline.toml'} is not there; make it with `python services.py {folder}`") from None
    section = configuration["read_model"]["flights"] if name == READ_STORE else configuration["service"][name]
    url = str(section["database"])
    return url if is_postgres(url) else str((folder / url.removeprefix("sqlite:///")).resolve())


def is_postgres(database: str) -> bool:
    """Whether it is the URL of a PostgreSQL database, and not the path of an SQLite file."""
    return database.startswith("postgresql://")


class Connection:
    """A connection as a service of either kind has it: every statement commits by itself, unless a transaction was begun.

    `in_postgres` says for a statement what it is there, where that differs. Makes no database. One thread uses it.
    """

    def __init__(self, database: str, in_postgres: Mapping[str, str] | None = None, *, is_reader: bool = False) -> None:
        self._is_postgres = is_postgres(database)
        self._in_postgres = in_postgres or {}
        self._connection, self._refusal = (_on_postgres if self._is_postgres else _on_sqlite)(database, is_reader)

    def execute(self, sql: str, values: Sequence[object] = ()) -> Any:
        """Runs one statement; the cursor that both drivers give. Raises Refused."""
        try:
            if not self._is_postgres:
                return self._connection.execute(sql, values)
            sql = self._in_postgres.get(sql, sql)
            return self._connection.execute(_as_psycopg_writes(sql) if values else sql, values or None)
        except self._refusal as error:
            raise Refused(str(error)) from error

    def begin(self) -> None:
        """Begins a transaction that writes."""
        self.execute("BEGIN" if self._is_postgres else "BEGIN IMMEDIATE")

    def insert(self, table: str, width: int, rows: Iterable[Sequence[object]]) -> None:
        """All rows in one transaction, as fast as it goes."""
        if self._is_postgres:
            with self._connection.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
            return
        with self._connection:
            self._connection.execute("BEGIN")
            self._connection.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * width)})", rows)

    def close(self) -> None:
        self._connection.close()


def connect_reader(folder: Path, schema: str) -> Connection:
    """A connection to the read store that only reads, in one transaction: everything it sees is of one state.

    On PostgreSQL the views of a read model are in the schema named after it, and are then found without it.
    """
    database = database_of(folder, READ_STORE)
    connection = Connection(database, is_reader=True)
    if is_postgres(database):
        connection.execute(f"SET search_path TO {schema}")
    connection.execute("BEGIN")
    return connection


@contextmanager
def said_in_words() -> Iterator[None]:
    """Where a server or its databases cannot be had, raises DatabaseMissing with the reason, and no more."""
    import psycopg

    try:
        yield
    except (psycopg.Error, FileNotFoundError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise DatabaseMissing(f"PostgreSQL cannot be used: {reason}") from error


def _on_sqlite(database: str, is_reader: bool) -> tuple[Any, type[Exception]]:
    if not Path(database).is_file():
        raise DatabaseMissing(f"{database} is not there; make it with `python services.py {Path(database).parent}`")
    uri = f"{Path(database).as_uri()}?mode={'ro' if is_reader else 'rw'}"
    return sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None), sqlite3.IntegrityError


def _on_postgres(database: str, is_reader: bool) -> tuple[Any, type[Exception]]:
    import psycopg  # only where a database is PostgreSQL

    with said_in_words():
        connection = psycopg.connect(database, autocommit=True)
    if is_reader:
        connection.execute("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    return connection, psycopg.IntegrityError


@cache
def _as_psycopg_writes(sql: str) -> str:
    return sql.replace("%", "%%").replace("?", "%s")
