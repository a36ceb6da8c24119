"""Sagas in an SQLite file: see `syncline.stores.saga_store`."""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from syncline.stores.sqlite.service_file import open_service_file, service_errors
from syncline.stores.sqlite.write_lock import WriteLock
from syncline.stores.statements import load_statements

SQL = load_statements("syncline.stores.sqlite", "sagas.sql")


class SQLiteSagas:
    """See `SagaDatabase`. Several processes may use one file, each with its own."""

    def __init__(self, path: str) -> None:
        """Opens the file `path`, which is made if there is none."""
        self._path, self._version = path, -1
        self._connection = open_service_file(path)
        try:
            self._connection.create_function("text_of_json", 1, json.loads, deterministic=True)
            self._lock = WriteLock(path)
        except BaseException:
            self._connection.close()
            raise

    @property
    def shown(self) -> str:
        return f"'{self._path}'"

    def run(self, statement: str, /, **values: object) -> sqlite3.Cursor:
        plain = {name: _listed(value) if isinstance(value, list) else value for name, value in values.items()}
        with service_errors(self._path):
            return self._connection.execute(SQL[statement], plain)

    def run_many(self, statement: str, rows: Iterable[Mapping[str, object]], /) -> None:
        with service_errors(self._path):
            self._connection.executemany(SQL[statement], rows)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with self._lock.held(), service_errors(self._path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    making = transaction

    def changed(self) -> bool:
        before = self._version
        with service_errors(self._path):
            (self._version,) = self._connection.execute("PRAGMA data_version").fetchone()
        return self._version != before

    def close(self) -> None:
        self._connection.close()
        self._lock.close()


def _listed(texts: list[str]) -> str:
    """Texts as a list of JSON texts: SQLite's JSON functions before 3.45 end a text at a NUL, but not at one that is spelt."""
    return json.dumps([json.dumps(each) for each in texts])
