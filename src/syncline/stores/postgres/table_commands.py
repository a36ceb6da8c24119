"""Commands on a service's own tables in PostgreSQL. How a group is carried out is in `syncline.stores.command_group`.

Groups of one database take turns, by an advisory lock, so that a command's id is looked for in all that took effect before. A
receipt names this transaction: a place that contains it, whatever else was open or numbered above it.
"""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager

import psycopg
from psycopg import errors

from syncline.errors import Unavailable
from syncline.messages import Position
from syncline.places import without_password
from syncline.stores.command_group import Deferred, Known, handle_group
from syncline.stores.handler_sql import lacks_table, wrong_schema
from syncline.stores.postgres.connection import TRANSIENT, Connection, load, quoted, shown, translated
from syncline.stores.postgres.group_count import count_group, counted, create_count
from syncline.stores.postgres.install import is_installed, prepare
from syncline.stores.postgres.log_tables import SQL as LOG_SQL
from syncline.stores.postgres.log_tables import connect_writer, create_log, making_tables, roll_back
from syncline.stores.postgres.outbox import sequence_outbox
from syncline.stores.postgres.statement_text import refuse_transactions
from syncline.stores.postgres.texts import original, storable
from syncline.stores.postgres.transaction import PostgresTransaction, command_error
from syncline.stores.postgres.wal import wal_head
from syncline.stores.service_tables import Done, TableOutcome, TableRequest, TableSetup

SQL = load("table_commands.sql")
_EXISTS = (errors.DuplicateTable, errors.DuplicateObject, errors.DuplicateSchema, errors.DuplicateFunction)
_NOWHERE = Position("", 0)
"""What is remembered where the place is only known after the commit."""


class PostgresTables:
    """The database of one table service. One thread at a time may use it; several processes may, each with its own."""

    def __init__(self, database: str, setup: TableSetup) -> None:
        """Opens the database and makes the tables that are not there.

        The schema is run, whole, if the database has none of its tables. Raises InvalidDefinition for a schema that does not run
        or does not make what is published, Unavailable when the database cannot be used, StoreError where a right is missing.
        """
        self.database, self._setup = database, setup
        self._transaction: PostgresTransaction
        self._connection = connect_writer(database, is_log=False)
        try:
            with translated(database):
                _create(self._connection, database, setup)
        except BaseException:
            self.close()
            raise

    def handle(self, requests: Sequence[TableRequest]) -> list[TableOutcome]:
        """See `TableStore`."""
        return handle_group(self, requests)

    def close(self) -> None:
        self._connection.close()

    # -- as `command_group` uses it ------------------------------------------------------------------------------------

    @property
    def service(self) -> str:
        return self._setup.service

    def errors(self) -> AbstractContextManager[None]:
        return translated(self.database)

    def begin(self) -> None:
        try:
            with self._connection.pipeline():
                self._connection.execute(LOG_SQL["begin"])
                self._connection.execute(SQL["lock"])
        except BaseException:
            self.roll_back()
            raise

    def commit(self) -> None:
        try:
            self._connection.execute("COMMIT")
        except psycopg.IntegrityError as error:
            raise Deferred(command_error(error)) from error

    def roll_back(self) -> None:
        roll_back(self._connection)

    def begin_command(self) -> PostgresTransaction:
        self._connection.execute("SAVEPOINT syncline_command")
        self._transaction = PostgresTransaction(self._connection)
        return self._transaction

    def end_command(self, *, is_refused: bool) -> bool:
        try:
            if is_refused:
                self._connection.execute("ROLLBACK TO SAVEPOINT syncline_command")
            elif self._transaction.has_set:  # for this command alone: others follow in the same session
                self._connection.execute("RESET ALL")
                self._connection.execute(LOG_SQL["make_durable"])
            self._connection.execute("RELEASE SAVEPOINT syncline_command")
        except (errors.InvalidSavepointSpecification, errors.NoActiveSqlTransaction):
            return False
        return True

    def known(self, command_ids: Sequence[str]) -> dict[str, Known]:
        rows = self._connection.execute(SQL["select_commands"], {"ids": [storable(each) for each in command_ids]})
        return {
            original(command_id): Known(name, digest, Done(Position(incarnation, n, open=tuple(open_))))
            for command_id, name, digest, incarnation, n, open_ in rows
        }

    def place(self, *, is_new: bool) -> Done:
        match self._setup.capture:
            case "triggers":
                return Done(self._effect())
            case "polling":
                place = count_group(self._connection) if is_new else counted(self._connection)
                assert place is not None, "it was made when the database was opened"
                return Done(place)
        return Done(_NOWHERE)

    def remember(self, requests: Iterable[TableRequest], done: Done) -> None:
        commands = list(requests)
        if not commands:
            return
        values = {
            "ids": [storable(each.command_id) for each in commands],
            "names": [each.name for each in commands],
            "digests": [each.digest for each in commands],
            "incarnation": done.position.incarnation,
            "position": done.position.n,
            "open": list(done.position.open),
        }
        self._connection.execute(SQL["insert_commands"], values)

    def committed(self, done: Done) -> Done:
        position, recorded = done.position, None
        if position == _NOWHERE:
            position = wal_head(self._connection, self.database)
        if self._setup.has_outbox:
            sequence_outbox(self._connection)
            head, _, incarnation, _ = self._connection.execute(LOG_SQL["select_head"], {"known": 0}).fetchall()[0]
            recorded = Position(incarnation, head)
        return Done(position, recorded)

    def _effect(self) -> Position:
        """A place that contains this transaction, and none that was open or unknown when it wrote."""
        found = self._connection.execute(SQL["select_effect"]).fetchone()
        if found is None:
            raise Unavailable(f"capture was taken out of {shown(self.database)} meanwhile; nothing was stored, send again")
        incarnation, mine, xmax, open_ = found
        newest = max(mine, xmax - 1)
        return Position(incarnation, newest, open=tuple(sorted({*open_, *range(xmax, newest)} - {mine})))


def _create(connection: Connection, database: str, setup: TableSetup) -> None:
    is_ready = connection.execute(SQL["is_created"]).fetchone() == (True,) and not _missing(connection, setup)
    if not is_ready:
        with making_tables(connection, database):
            made = _made_by(connection, setup)
            if made and not any(_is_table(connection, name) for name in made):
                connection.execute("SET LOCAL search_path = public")
                connection.execute(setup.schema)
            if missing := _missing(connection, setup):
                raise lacks_table(setup, without_password(database), missing[0], _words(made or ()))
            connection.execute(SQL["create_command"])
    if setup.capture == "polling" and counted(connection) is None:
        with making_tables(connection, database):
            create_count(connection)
    if setup.capture == "triggers" and not is_installed(connection):
        with making_tables(connection, database):
            prepare(connection)
    if setup.has_outbox:
        create_log(connection, database)


def _missing(connection: Connection, setup: TableSetup) -> list[str]:
    return [name for name in setup.publishes if not _is_table(connection, quoted(*_parts(name)))]


def _parts(published: str) -> tuple[str, str]:
    schema, _, table = published.rpartition(".")
    return schema or "public", table


def _is_table(connection: Connection, name: str) -> bool:
    return connection.execute(SQL["is_table"], {"name": name}).fetchone() == (True,)


def _made_by(connection: Connection, setup: TableSetup) -> set[str] | None:
    """The tables of the schema, by the names that they get, found by running it beside and undoing that. None where it names one
    that is there already. Raises InvalidDefinition where it does not run."""
    refuse_transactions(setup.schema)
    before = set(connection.execute(SQL["select_tables"]).fetchall())
    try:
        with connection.transaction(force_rollback=True):
            connection.execute("CREATE SCHEMA syncline_trial")
            connection.execute("SET LOCAL search_path = syncline_trial, public")
            if setup.schema.strip():
                connection.execute(setup.schema)
            after = set(connection.execute(SQL["select_tables"]).fetchall())
    except _EXISTS:
        return None
    except (*TRANSIENT, errors.InsufficientPrivilege):
        raise
    except psycopg.Error as error:
        raise wrong_schema(setup, f"its schema does not run on an empty database: {command_error(error)}") from error
    return {quoted("public" if schema == "syncline_trial" else schema, table) for schema, table in after - before}


def _words(names: Iterable[str]) -> set[str]:
    """Tables by the names that a service publishes them by, in small letters."""
    return {name.replace('"', "").removeprefix("public.").lower() for name in names}
