"""Read stores of both kinds, and what plain SQL finds in them."""

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import psycopg

from syncline.messages import Relation
from syncline.stores.postgres.read import PostgresReadStore
from syncline.stores.read_store import StoredReadModel
from syncline.stores.sqlite.read import SQLiteReadStore

READ_MODEL = "reading"


class Store(Protocol):
    """The database of one read store."""

    @property
    def database(self) -> str: ...

    def open(self) -> StoredReadModel: ...

    def run(self, sql: str, values: Sequence[object] = ()) -> list[Any]:
        """One statement, in SQL of the store, with `?` for values."""
        ...

    def mirror(self, relation: Relation) -> str: ...

    def view(self, name: str) -> str: ...

    def query(self, sql: str, mirrors: Mapping[str, Relation]) -> str:
        """A view's SELECT over the mirrors."""
        ...


class SQLiteStore:
    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def database(self) -> str:
        return str(self.path)

    def open(self) -> StoredReadModel:
        return SQLiteReadStore(self.database)

    def run(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        with closing(sqlite3.connect(self.path)) as db, db:
            return db.execute(sql, values).fetchall()

    def mirror(self, relation: Relation) -> str:
        return f"{relation.service}__{relation.table}"

    def view(self, name: str) -> str:
        return name

    def query(self, sql: str, mirrors: Mapping[str, Relation]) -> str:
        for table, relation in mirrors.items():
            sql = sql.replace(relation.name, table)
        return sql


class PostgresStore:
    """In a database that is emptied for each."""

    def __init__(self, database: str) -> None:
        self.database = database
        for schema in ("syncline", "shop", READ_MODEL):
            self.run(f"DROP SCHEMA IF EXISTS {schema} CASCADE")

    def open(self) -> StoredReadModel:
        return PostgresReadStore(self.database, READ_MODEL)

    def run(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        with psycopg.connect(self.database, options="-c client_min_messages=warning") as db:
            cursor = db.execute(sql.replace("?", "%s"), values)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []

    def mirror(self, relation: Relation) -> str:
        return relation.name

    def view(self, name: str) -> str:
        return f"{READ_MODEL}.{name}"

    def query(self, sql: str, mirrors: Mapping[str, Relation]) -> str:
        return sql
