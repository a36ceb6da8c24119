"""Event logs as databases that happen to have backups: in an SQLite file, and on PostgreSQL."""

import shutil
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import psycopg

from syncline.stores.event_log import EventLog
from syncline.stores.postgres.events import PostgresEventLog
from syncline.stores.sqlite.events import SQLiteEventLog

TABLES = ("event_log", "event", "tag", "command", "snapshot")


class Log(Protocol):
    """The database that holds one service's event log."""

    @property
    def database(self) -> str: ...

    def open(self) -> EventLog: ...

    def is_there(self) -> bool: ...

    def copy(self) -> Any:
        """A backup of the log as it is now."""
        ...

    def restore(self, backup: Any) -> None:
        """Puts a backup in the place of the log, under the eyes of who has it open."""
        ...

    def replace(self, backup: Any) -> None:
        """Puts another log, that holds what the backup does, in its place. Nobody has it open."""
        ...

    def empty(self) -> None:
        """The database is there, the log is not. Nobody has it open."""
        ...

    def incarnation_of(self, backup: Any) -> str: ...

    def run(self, sql: str, *values: object) -> list[Any]:
        """One statement; `{}` stands before the names of the log's tables, `?` for values."""
        ...


class SQLiteLog:
    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / f"{name}.db"
        self._copies = 0

    @property
    def database(self) -> str:
        return str(self.path)

    def open(self) -> EventLog:
        return SQLiteEventLog(self.database)

    def is_there(self) -> bool:
        return self.path.exists()

    def copy(self) -> Path:
        self._copies += 1
        place = self.path.with_name(f"{self.path.stem}-{self._copies}.backup")
        with closing(sqlite3.connect(self.path)) as log, closing(sqlite3.connect(place)) as backup:
            log.backup(backup)
        return place

    def restore(self, backup: Path) -> None:
        """Page by page."""
        with closing(sqlite3.connect(backup)) as source, closing(sqlite3.connect(self.path)) as log:
            source.backup(log)

    def replace(self, backup: Path) -> None:
        self._remove("-wal", "-shm")
        other = self.path.with_suffix(".other")
        shutil.copyfile(backup, other)
        other.replace(self.path)

    def empty(self) -> None:
        self.remove()
        self.path.touch()

    def remove(self) -> None:
        self._remove("-wal", "-shm", "")

    def incarnation_of(self, backup: Path) -> str:
        with closing(sqlite3.connect(backup)) as db:
            return str(db.execute("SELECT incarnation FROM syncline_event_log").fetchone()[0])

    def run(self, sql: str, *values: object) -> list[Any]:
        with closing(sqlite3.connect(self.path)) as db, db:
            return db.execute(sql.format("syncline_"), values).fetchall()

    def _remove(self, *suffixes: str) -> None:
        for suffix in suffixes:
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)


Dump: TypeAlias = dict[str, list[bytes]]


class PostgresLog:
    """A backup is what COPY gives of each table."""

    def __init__(self, database: str) -> None:
        self.database = database

    def open(self) -> EventLog:
        return PostgresEventLog(self.database)

    def is_there(self) -> bool:
        return bool(self.run("SELECT to_regclass('{}event_log') IS NOT NULL")[0][0])

    def copy(self) -> Dump:
        with psycopg.connect(self.database) as db, db.cursor() as cursor:
            db.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            found: Dump = {}
            for table in TABLES:
                with cursor.copy(f"COPY syncline.{table} TO STDOUT") as copy:
                    found[table] = [bytes(data) for data in copy]
            return found

    def restore(self, backup: Dump) -> None:
        with psycopg.connect(self.database) as db, db.cursor() as cursor:
            cursor.execute("TRUNCATE " + ", ".join(f"syncline.{table}" for table in TABLES))
            for table, rows in backup.items():
                with cursor.copy(f"COPY syncline.{table} FROM STDIN") as copy:
                    for row in rows:
                        copy.write(row)

    def replace(self, backup: Dump) -> None:
        self.empty()
        self.open().close()
        self.restore(backup)

    def empty(self) -> None:
        with psycopg.connect(self.database) as db:
            db.execute("SET client_min_messages = warning")
            db.execute("DROP SCHEMA IF EXISTS syncline CASCADE")

    def incarnation_of(self, backup: Dump) -> str:
        (row,) = backup["event_log"]
        return row.split(b"\t")[2].decode()

    def run(self, sql: str, *values: Any) -> list[Any]:
        with psycopg.connect(self.database) as db:
            cursor = db.execute(sql.format("syncline.").replace("?", "%s"), values)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []


MakeLog: TypeAlias = Callable[[Path, str], Log]


def on_postgres(database: str) -> MakeLog:
    """Logs in one database, which is emptied for each."""

    def make(folder: Path, name: str) -> Log:
        log = PostgresLog(database)
        log.empty()
        return log

    return make


def all_of(log: Log, sql: str, *values: object) -> Sequence[Any]:
    """The first column."""
    return [row[0] for row in log.run(sql, *values)]
