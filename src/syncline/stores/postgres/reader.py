"""Reads of a read store on PostgreSQL by anyone: rows, the vector they belong to and the state of everything, from one snapshot.

Never writes, never waits for the relay, and is never waited for by it: a table is dropped only while no reader has a snapshot.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import psycopg
from psycopg import errors

from syncline.errors import ImpossibleValue, StoreError, TookTooLong, Unavailable
from syncline.messages import Key, Relation, Row, Scalar
from syncline.read.maintain.asked import Asked
from syncline.stores.paging import Condition, Sort, select_after
from syncline.stores.postgres.build import READERS_LOCK
from syncline.stores.postgres.connection import connect, quoted, shown, translated
from syncline.stores.postgres.layout import OWN, Layout
from syncline.stores.postgres.mirror import orders_by_bytes, rows_between
from syncline.stores.postgres.own_tables import runner
from syncline.stores.postgres.program import listed
from syncline.stores.postgres.queries import run_query
from syncline.stores.postgres.read import FORMAT
from syncline.stores.postgres.values import as_parameter, escaped
from syncline.stores.protocols import Changes, QueryResult
from syncline.stores.read_definitions import changes_table, generation_table
from syncline.stores.stored_reader import StoredReader

MADE_POLL_S = 0.01
KEYS_A_STATEMENT = 50
SETTINGS = {"default_transaction_isolation": "repeatable\\ read", "default_transaction_read_only": "on"}


class PostgresReader(StoredReader):
    """A reading connection. One thread owns it."""

    def __init__(self, database: str) -> None:
        self._url = database
        self._tables: dict[str, str] | None = None
        self._connection = connect(database, settings=SETTINGS)
        try:
            with translated(database):
                layout = self._look()
                self._by_bytes = orders_by_bytes(self._connection)
        except BaseException:
            self._connection.close()
            raise
        self._layout = layout
        super().__init__(runner(self._connection, layout, database))

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Everything read inside belongs to one state: one vector."""
        with translated(self._url):
            self._connection.execute("BEGIN")
            self._tables = {}
            try:
                self._connection.execute("SELECT pg_advisory_xact_lock_shared(%s, %s)", READERS_LOCK, prepare=True)
                yield
            finally:
                self._tables = None
                if not self._connection.closed:
                    self._connection.execute("ROLLBACK")

    @contextmanager
    def limited(self, limit_s: float) -> Iterator[None]:
        """Each statement inside ends after so long. Raises TookTooLong."""
        with translated(self._url):
            self._connection.execute("SELECT set_config('statement_timeout', %s, false)", (f"{max(1, round(limit_s * 1000))}ms",))
        try:
            yield
        except (psycopg.Error, StoreError) as error:
            if isinstance(error.__cause__ or error, errors.QueryCanceled):
                raise TookTooLong("the read", limit_s) from error
            raise
        finally:
            if not self._connection.closed:
                with translated(self._url):
                    self._connection.execute("SELECT set_config('statement_timeout', '0', false)")

    def data_version(self) -> int:
        """A number that changes when the relay commits."""
        with translated(self._url):
            return int(self._run("select_commits").fetchone()[0])

    def is_there(self) -> bool:
        """A database that is gone ends its connections."""
        return True

    def hurry(self) -> bool:
        """Whatever is asked travels."""
        return False

    def table(self, name: str) -> str:
        """How SQL names the table of a mirror or of a live view's rows."""
        found = self._tables.get(name) if self._tables is not None else None
        if found is None:
            found = self._find_table(name)
            if self._tables is not None:
                self._tables[name] = found
        return found

    def count(self, table: str) -> int:
        with translated(self._url):
            found = self._connection.execute(f"SELECT count(*) FROM {self.table(table)}").fetchone()
        return int(found[0]) if found is not None else 0

    def rows(
        self,
        table: str,
        columns: Sequence[str],
        where: Sequence[Condition] = (),
        order_by: Sequence[Sort] = (),
        limit: int | None = None,
        after: Sequence[Scalar] | None = None,
    ) -> list[Row]:
        """Rows that meet all conditions, in this order, from after the one in which the sorted columns have these values.

        Raises ImpossibleValue for a value that a column of its type cannot hold.
        """
        found = select_after(where, order_by, after, limit, quoted=_column, parameter="%s", orders_nulls=True)
        sql = escaped(f"SELECT {listed(columns)} FROM {self.table(table)}") + found.sql
        try:
            return self._connection.execute(sql, [as_parameter(value) for value in found.values]).fetchall()
        except (psycopg.DataError, errors.UndefinedFunction) as error:
            shown_where = ", ".join(f"{each.column} = {each.values[0]!r}" for each in where)
            raise ImpossibleValue(f"no row can have {shown_where}: {error.diag.message_primary}") from error

    def held(self, relation: Relation, mirror: str, after: Key | None, up_to: Key | None) -> list[Row]:
        """A mirror's rows with `after < key <= up_to`, in key order."""
        mirror = self._layout.mirror(relation)
        return rows_between(self._connection, mirror, relation, after, up_to, by_bytes=self._by_bytes)

    def differences(self, stored: str, columns: Sequence[str], query: str, limit: int) -> tuple[int, list[Row], list[Row]]:
        """Compares a table with a query as sets of rows, by what is printed of them: a value written otherwise is another.

        Returns how many rows the table has, and up to `limit` rows that only the query gives, and that only the table holds.
        """
        there = f"SELECT {listed(columns)} FROM {self.table(stored)}"
        wanted = f"SELECT {listed(columns)} FROM ({query}) AS wanted"
        return self.count(stored), self._only_in(wanted, there, columns, limit), self._only_in(there, wanted, columns, limit)

    def lookup(self, table: str, columns: Sequence[str], names: Sequence[str], keys: Sequence[Key]) -> list[Row]:
        """The rows in which the named columns have these values."""
        found: list[Row] = []
        sql = f"{escaped(f'SELECT {listed(columns)} FROM {self.table(table)}')} WHERE "
        for start in range(0, len(keys), KEYS_A_STATEMENT):
            some = keys[start : start + KEYS_A_STATEMENT]
            each = (" AND ".join(_is(name, value) for name, value in zip(names, key, strict=True)) or "true" for key in some)
            wanted = [as_parameter(value) for key in some for value in key if value is not None]
            with translated(self._url):
                found += self._connection.execute(sql + " OR ".join(f"({one})" for one in each), wanted).fetchall()
        return found

    def changes(self, view: str, key: Sequence[str], after: int, limit: int) -> Changes:
        """The changes of a view numbered above `after`, at most `limit`."""
        feed = escaped(self._layout.of_views(changes_table(view)))
        with translated(self._url):
            ends = self._connection.execute(f"SELECT min(seq), max(seq) FROM {feed}").fetchone()
            oldest, newest = ends if ends is not None else (0, 0)
            columns = escaped(listed(("seq", "op", *key)))
            sql = f"SELECT {columns} FROM {feed} WHERE seq > %s ORDER BY seq LIMIT %s"
            return Changes(oldest or 0, newest or 0, self._connection.execute(sql, (after, limit)).fetchall())

    def changes_of(self, view: str, where: Sequence[Condition], limit: int) -> list[tuple[int, str]]:
        """The newest changes of the row whose key is so, the newest first, as number and operation."""
        order = [Sort("seq", is_down=True, may_be_null=False)]
        found = select_after(where, order, None, limit, quoted=_column, parameter="%s", orders_nulls=True)
        sql = escaped(f"SELECT seq, op FROM {self._layout.of_views(changes_table(view))}") + found.sql
        with translated(self._url):
            return self._connection.execute(sql, [as_parameter(value) for value in found.values]).fetchall()

    def query(self, asked: Asked, values: Mapping[str, object], limit: int, timeout_s: float) -> QueryResult:
        """At most `limit` rows of a named query."""
        sql = asked.sql({view: self.table(view) for view in asked.reads})
        return run_query(self._connection, self._url, asked, sql, values, limit, timeout_s)

    def _only_in(self, one: str, other: str, columns: Sequence[str], limit: int) -> list[Row]:
        """Rows of one query that another does not give."""
        with translated(self._url):
            return self._connection.execute(
                f"SELECT {listed(columns, 'a.')} FROM ({one}) AS a WHERE NOT EXISTS ("
                f"SELECT FROM (SELECT {_image(columns, 'b')} AS image FROM ({other}) AS b) AS c "
                f"WHERE c.image = {_image(columns, 'a')}) LIMIT {int(limit)}"
            ).fetchall()

    def _find_table(self, name: str) -> str:
        mirror = self._run("select_mirror", id=name).fetchone()
        if mirror is not None:
            service, table = mirror
            return quoted(self._layout.schema_of(service), table)
        for view in (name, name.rpartition("__")[0]):
            found = self._run("select_generation", name=view).fetchone()
            if found is not None and found[0] is not None:
                return self._layout.of_views(generation_table(name, found[0]))
        raise StoreError(f"{shown(self._url)} holds no live rows of '{name}'")

    def _look(self) -> Layout:
        where = shown(self._url)
        made = self._connection.execute("SELECT to_regclass(%s)", (f"{OWN}.meta",)).fetchone()
        if made is None or made[0] is None:
            raise Unavailable(f"there is no read store in {where} yet; start `syncline run`, or `syncline sync --once`")
        found = self._connection.execute(f"SELECT format, name FROM {OWN}.meta").fetchone()
        if found is None:
            raise Unavailable(f"the read store in {where} is only being made; start `syncline run`, or ask again if it runs")
        if found[0] != FORMAT:
            raise StoreError(f"{where} holds a read store of another format; use the version of Syncline that made it")
        return Layout(found[1])


def open_reader(database: str, until: float) -> PostgresReader:
    """A reading connection to a store that may only be made now: waited for until a time of the monotonic clock."""
    while True:
        try:
            return PostgresReader(database)
        except Unavailable:
            if time.monotonic() >= until:
                raise
        time.sleep(MADE_POLL_S)


def _image(columns: Sequence[str], row: str) -> str:
    return f"ROW({listed(columns, f'{row}.')})::text"


def _column(name: str) -> str:
    return escaped(quoted(name))


def _is(name: str, value: object) -> str:
    column = escaped(quoted(name))
    return f"{column} IS NULL" if value is None else f"{column} = %s"
