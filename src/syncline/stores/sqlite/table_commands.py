"""Commands on a service's own tables in SQLite. How a group is carried out is in `syncline.stores.command_group`."""

import re
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, closing, suppress

from syncline.messages import Position
from syncline.stores.command_group import Deferred, Known, handle_group
from syncline.stores.handler_sql import lacks_table, wrong_schema
from syncline.stores.service_tables import Done, TableOutcome, TableRequest, TableSetup
from syncline.stores.sqlite.events import create_log
from syncline.stores.sqlite.group_count import count_group, counted, create_count
from syncline.stores.sqlite.install import SQL as CAPTURE_SQL
from syncline.stores.sqlite.install import is_installed, prepare, schema_known
from syncline.stores.sqlite.service_file import open_service_file, service_errors
from syncline.stores.sqlite.transaction import SQL, Guard, SQLiteTransaction, command_error, refuse_transactions
from syncline.stores.sqlite.write_lock import WriteLock


class SQLiteTables:
    """The database of one table service. One thread at a time may use it; several processes may, each with its own."""

    def __init__(self, path: str, setup: TableSetup) -> None:
        """Opens the database in the file `path`, which is made if there is none, and makes the tables that are not there.

        The schema is run, whole, if the database has none of its tables. Raises InvalidDefinition for a schema that does not run
        or does not make what is published, Unavailable when the file cannot be used.
        """
        self.path, self._setup, self._guard = path, setup, Guard()
        self._recorded_before: int | None = None
        self._connection = open_service_file(path)
        self._connection.execute("PRAGMA foreign_keys = ON")
        self._connection.set_authorizer(self._guard)
        self._lock = WriteLock(path)
        try:
            with service_errors(path), self._lock.held():
                _create(self._connection, path, setup)
        except BaseException:
            self.close()
            raise

    def handle(self, requests: Sequence[TableRequest]) -> list[TableOutcome]:
        """See `TableStore`."""
        with self._lock.held():
            return handle_group(self, requests)

    def close(self) -> None:
        self._connection.close()
        self._lock.close()

    # -- as `command_group` uses it ------------------------------------------------------------------------------------

    @property
    def service(self) -> str:
        return self._setup.service

    def errors(self) -> AbstractContextManager[None]:
        return service_errors(self.path)

    def begin(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        recorded = self._recorded()
        self._recorded_before = recorded.n if recorded is not None else None

    def commit(self) -> None:
        try:
            self._connection.execute("COMMIT")
        except sqlite3.IntegrityError as error:
            raise Deferred(command_error(error)) from error

    def roll_back(self) -> None:
        if self._connection.in_transaction:
            with suppress(sqlite3.Error):  # the one that led here is told
                self._connection.execute("ROLLBACK")

    def begin_command(self) -> SQLiteTransaction:
        self._connection.execute("SAVEPOINT syncline_command")
        self._guard.is_closed = True
        return SQLiteTransaction(self._connection, self._guard, self._recorded_before)

    def end_command(self, *, is_refused: bool) -> bool:
        try:
            if is_refused:
                self._connection.execute("ROLLBACK TO syncline_command")
            self._connection.execute("RELEASE syncline_command")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname == "SQLITE_ERROR":  # the savepoint is gone
                return False
            raise
        return True

    def known(self, command_ids: Sequence[str]) -> dict[str, Known]:
        found: dict[str, Known] = {}
        for command_id in command_ids:
            row = self._connection.execute(SQL["select_command"], (command_id,)).fetchone()
            if row is not None:
                found[command_id] = Known(row[0], row[1], Done(Position(*row[2:4]), _position(*row[4:])))
        return found

    def place(self, *, is_new: bool) -> Done:
        return Done(self._captured(is_new=is_new), self._recorded())

    def remember(self, requests: Iterable[TableRequest], done: Done) -> None:
        recorded = (done.recorded.incarnation, done.recorded.n) if done.recorded is not None else (None, None)
        where = (done.position.incarnation, done.position.n, *recorded)
        rows = [(request.command_id, request.name, request.digest, *where) for request in requests]
        self._connection.executemany(SQL["insert_command"], rows)

    def committed(self, done: Done) -> Done:
        return done

    def _captured(self, *, is_new: bool) -> Position:
        """Where the capture's log stands now; its tables are made where nobody follows, so that there is such a place.

        Where the capture keeps no log, the count of groups; `is_new` says that there is one more.
        """
        if self._setup.capture != "triggers":
            if is_new:
                count_group(self._connection)
            place = counted(self._connection)
            assert place is not None, "it was made when the database was opened"
            return place
        if not is_installed(self._connection):
            prepare(self._connection)
        incarnation, _, head, _ = self._connection.execute(CAPTURE_SQL["select_place"], {"after": 0}).fetchone()
        return Position(incarnation, head)

    def _recorded(self) -> Position | None:
        """Where the log of the outbox stands now, if there is one."""
        return Position(*self._connection.execute(SQL["select_recorded"]).fetchone()) if self._setup.has_outbox else None


def _position(incarnation: str | None, n: int | None) -> Position | None:
    return Position(incarnation, n) if incarnation is not None and n is not None else None


def statements_of(script: str) -> list[str]:
    """The statements of a script, in order. A semicolon within a text, a comment or a trigger ends none."""
    found: list[str] = []
    rest = ""
    for piece in re.split(r"(?<=;)", script):
        rest += piece
        if sqlite3.complete_statement(rest):
            found.append(rest.strip())
            rest = ""
    return [*found, rest.strip()] if rest.strip() else found


def _create(connection: sqlite3.Connection, path: str, setup: TableSetup) -> None:
    made = _tables_made_by(setup)
    connection.execute("BEGIN IMMEDIATE")
    try:
        with schema_known(connection):
            if not made & _tables(connection):
                for statement in statements_of(setup.schema):
                    connection.execute(statement)
            connection.execute(SQL["create_command"])
            if setup.capture != "triggers":
                create_count(connection)
            if setup.has_outbox:
                create_log(connection, path)
        missing = [name for name in setup.publishes if name.lower() not in _tables(connection)]
        if missing:
            raise lacks_table(setup, path, missing[0], made)
        if setup.capture == "triggers" and not is_installed(connection):
            prepare(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _tables_made_by(setup: TableSetup) -> set[str]:
    """The tables of the schema, found by running it on an empty database. Raises InvalidDefinition where it does not run."""
    guard = Guard()
    guard.is_closed = True
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as trial:
        trial.set_authorizer(guard)
        for statement in statements_of(setup.schema):
            refuse_transactions(statement)
            try:
                trial.execute(statement)
            except sqlite3.Error as error:
                raise wrong_schema(
                    setup, f"its schema does not run on an empty database: {command_error(error, statement)}"
                ) from error
        return _tables(trial)


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {name.lower() for (name,) in connection.execute(SQL["select_tables"])}
