"""Sagas in a PostgreSQL database: see `syncline.stores.saga_store`."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from syncline.stores.postgres.connection import load, shown, translated
from syncline.stores.postgres.log_tables import connect_writer, making_tables
from syncline.stores.postgres.texts import all_original, storable

SQL = load("sagas.sql")


class PostgresSagas:
    """See `SagaDatabase`."""

    def __init__(self, database: str) -> None:
        self._database = database
        self._connection = connect_writer(database, is_log=True)

    @property
    def shown(self) -> str:
        return shown(self._database)

    def run(self, statement: str, /, **values: object) -> "_Rows":
        with translated(self._database):
            return _Rows(self._connection.execute(SQL[statement], _stored(values), prepare=True))

    def run_many(self, statement: str, rows: Iterable[Mapping[str, object]], /) -> None:
        stored = [_stored(row) for row in rows]
        if stored:
            with translated(self._database), self._connection.cursor() as cursor:
                cursor.executemany(SQL[statement], stored)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with translated(self._database), self._connection.transaction():
            yield

    @contextmanager
    def making(self) -> Iterator[None]:
        """A transaction in which tables are made, by one program at a time."""
        with translated(self._database), making_tables(self._connection, self._database):
            yield

    def changed(self) -> bool:
        return True  # to look at the few requests costs no more than to ask whether to look

    def close(self) -> None:
        self._connection.close()


class _Rows:
    """What a statement gave, with texts as they were stored."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    @property
    def rowcount(self) -> int:
        return int(self._cursor.rowcount)

    def fetchone(self) -> Any:
        row = self._cursor.fetchone()
        return all_original(row) if row is not None else None

    def fetchall(self) -> list[Any]:
        return [all_original(row) for row in self._cursor.fetchall()]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.fetchall())


def _stored(values: Mapping[str, object]) -> dict[str, object]:
    return {name: _storable(value) for name, value in values.items()}


def _storable(value: object) -> object:
    if isinstance(value, str):
        return storable(value)
    return [storable(each) for each in value] if isinstance(value, list) else value
