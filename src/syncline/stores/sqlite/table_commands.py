"""Commands on a service's own tables in SQLite: many in one durable transaction, each undone alone when it is refused.

Theory of operation. All commands of a group run in one transaction, each within a savepoint; what is remembered of those that
took effect is written at its end, with the place in the capture's log that contains them all. Two things reach beyond a
savepoint: a conflict that is resolved by ROLLBACK undoes the whole transaction, so the group is run again without the command
that met it; and a deferred constraint is checked at COMMIT, when nobody can tell whose it is, so the commands are then run one by
one. A handler may therefore run more than once, and only what it does through its transaction counts.
"""

import json
import re
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from syncline.errors import CommandReused, Fault, InvalidDefinition, StoreError, Unavailable
from syncline.messages import Position
from syncline.stores.service_tables import Done, TableOutcome, TableRequest, TableSetup
from syncline.stores.sqlite.install import SQL as CAPTURE_SQL
from syncline.stores.sqlite.install import is_installed, prepare, schema_known
from syncline.stores.sqlite.transaction import SQL, SQLiteTransaction, command_error, refuse_transactions
from syncline.stores.sqlite.write_lock import WriteLock

BUSY_TIMEOUT_S = 5.0
CHECKPOINT_PAGES = 4_000
WAL_TIMEOUT_S = 5.0
RETRY_S = 0.005


class SQLiteTables:
    """The database of one table service. One thread at a time may use it; several processes may, each with its own."""

    def __init__(self, path: str, setup: TableSetup) -> None:
        """Opens the database in the file `path`, which is made if there is none, and makes the tables that are not there.

        The schema is run, whole, if the database has none of its tables. Raises InvalidDefinition for a schema that does not run
        or does not make what is published, Unavailable when the file cannot be used.
        """
        self.path, self._setup = path, setup
        self._connection = _open(path)
        self._lock = WriteLock(path)
        try:
            with database_errors(path), self._lock.held():
                _create(self._connection, path, setup)
        except BaseException:
            self.close()
            raise

    def handle(self, requests: Sequence[TableRequest]) -> list[TableOutcome]:
        """See `TableStore`."""
        undone: dict[int, Exception] = {}
        with database_errors(self.path), self._lock.held():
            while True:
                try:
                    return self._transact(requests, undone)
                except _Undone as lost:
                    undone[lost.index] = lost.error

    def close(self) -> None:
        self._connection.close()
        self._lock.close()

    def _transact(self, requests: Sequence[TableRequest], undone: dict[int, Exception]) -> list[TableOutcome]:
        run = self._connection.execute
        run("BEGIN IMMEDIATE")
        try:
            outcomes = self._answer_all(requests, undone)
            run("COMMIT")
        except sqlite3.IntegrityError as error:  # of a handler's they are Rejected by now: this is a deferred constraint
            self._roll_back()
            return [command_error(error)] if len(requests) == 1 else [self._alone(request) for request in requests]
        except BaseException:
            self._roll_back()
            raise
        return outcomes

    def _alone(self, request: TableRequest) -> TableOutcome:
        try:
            return self.handle([request])[0]
        except StoreError as error:  # those before it are stored, and must be answered as such
            return error

    def _answer_all(self, requests: Sequence[TableRequest], undone: dict[int, Exception]) -> list[TableOutcome]:
        known = self._known([request.command_id for request in requests if not request.is_fresh])
        new: dict[str, TableRequest] = {}
        refused: dict[int, Exception] = dict(undone)
        for index, request in enumerate(requests):
            if index in undone:
                continue
            first = known.get(request.command_id) or new.get(request.command_id)
            if first is not None and (first.name, first.digest) != (request.name, request.digest):
                refused[index] = CommandReused(request.command_id, request.name, first.name)
            elif first is None and (error := self._carry_out(request, index)) is not None:
                refused[index] = error
            elif first is None:
                new[request.command_id] = request
        place = self._place()
        self._remember(new.values(), place)
        return [
            refused[index] if index in refused else Done(self._position(known.get(request.command_id), place))
            for index, request in enumerate(requests)
        ]

    def _carry_out(self, request: TableRequest, index: int) -> Exception | None:
        """Runs one command's handler. Returns why it was refused, with everything that it did undone; None if it was not."""
        run, refusal = self._connection.execute, None
        run("SAVEPOINT syncline_command")
        transaction = SQLiteTransaction(self._connection)
        try:
            request.handler(transaction, request.command)
        except Exception as error:
            error.add_note(f"raised while service '{self._setup.service}' handled {request.name}")
            refusal = error
        finally:
            transaction.end()
        if transaction.failure is not None:
            raise transaction.failure
        if not self._connection.in_transaction:
            raise _Undone(index, refusal or _swallowed(request))
        if refusal is not None:
            run("ROLLBACK TO syncline_command")
        run("RELEASE syncline_command")
        return refusal

    def _known(self, command_ids: list[str]) -> "dict[str, _Known]":
        if not command_ids:
            return {}
        rows = self._connection.execute(SQL["select_commands"], (json.dumps(command_ids),)).fetchall()
        return {
            command_id: _Known(name, digest, Position(incarnation, n) if incarnation is not None else None)
            for command_id, name, digest, incarnation, n in rows
        }

    def _place(self) -> Position | None:
        """Where the capture's log stands now; its tables are made where nobody follows, so that there is such a place."""
        if not self._setup.is_logged:
            return None
        if not is_installed(self._connection):
            prepare(self._connection)
        incarnation, _, head, _ = self._connection.execute(CAPTURE_SQL["select_place"], {"after": 0}).fetchone()
        return Position(incarnation, head)

    def _position(self, known: "_Known | None", place: Position | None) -> Position | None:
        """The first receipt's position; where that is of a history that is gone, today's, which contains the command as well."""
        if known is None or known.place is None:
            return place
        is_gone = place is not None and place.incarnation != known.place.incarnation
        return place if is_gone else known.place

    def _remember(self, requests: Iterable[TableRequest], place: Position | None) -> None:
        where = (place.incarnation, place.n) if place is not None else (None, None)
        rows = [(request.command_id, request.name, request.digest, *where) for request in requests]
        self._connection.executemany(SQL["insert_command"], rows)

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            with suppress(sqlite3.Error):  # the one that led here is told
                self._connection.execute("ROLLBACK")


class _Known(NamedTuple):
    """What is remembered of a command that took effect."""

    name: str
    digest: int
    place: Position | None


class _Undone(Exception):
    """The database undid the whole transaction for the sake of one command."""

    def __init__(self, index: int, error: Exception) -> None:
        self.index, self.error = index, error


def _swallowed(request: TableRequest) -> Exception:
    return StoreError(
        f"{request.name}: the database undid the whole transaction (ON CONFLICT ROLLBACK), and the handler did not let the error "
        "pass on; nothing of the command was stored"
    )


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


def _open(path: str) -> sqlite3.Connection:
    folder = Path(path).parent
    if not folder.is_dir():
        raise Unavailable(f"there is no folder '{folder}' for the service's database; make it, or place the service elsewhere")
    with database_errors(path):
        connection = sqlite3.connect(
            path, timeout=BUSY_TIMEOUT_S, isolation_level=None, cached_statements=512, check_same_thread=False
        )
        try:
            _use_wal_if_new(connection)
            # FULL where there is a write-ahead log; with a rollback journal it makes the journal's removal durable, too.
            connection.execute("PRAGMA synchronous = EXTRA")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        except BaseException:
            connection.close()
            raise
    return connection


def _use_wal_if_new(connection: sqlite3.Connection) -> None:
    """Two processes that make one database meet here, and SQLite does not wait by itself for a change of the journal mode."""
    until = time.monotonic() + WAL_TIMEOUT_S
    while connection.execute("PRAGMA page_count").fetchone()[0] == 0:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname != "SQLITE_BUSY" or time.monotonic() > until:
                raise
        time.sleep(RETRY_S)


def _create(connection: sqlite3.Connection, path: str, setup: TableSetup) -> None:
    made = _tables_made_by(setup)
    connection.execute("BEGIN IMMEDIATE")
    try:
        with schema_known(connection):
            if not made & _tables(connection):
                for statement in statements_of(setup.schema):
                    connection.execute(statement)
            connection.execute(SQL["create_command"])
        missing = [name for name in setup.publishes if name.lower() not in _tables(connection)]
        if missing:
            raise _invalid(setup, f"database '{path}' has no table '{missing[0]}', which is published; {_advice(setup, made)}")
        if setup.is_logged and not is_installed(connection):
            prepare(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _tables_made_by(setup: TableSetup) -> set[str]:
    """The tables of the schema, found by running it on an empty database. Raises InvalidDefinition where it does not run."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as trial:
        for statement in statements_of(setup.schema):
            refuse_transactions(statement)
            try:
                trial.execute(statement)
            except sqlite3.Error as error:
                raise _invalid(
                    setup, f"its schema does not run on an empty database: {command_error(error, statement)}"
                ) from error
        return _tables(trial)


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {name.lower() for (name,) in connection.execute(SQL["select_tables"])}


def _advice(setup: TableSetup, made: set[str]) -> str:
    if not setup.schema.strip():
        return "make it, or give the service a schema"
    if any(name.lower() not in made for name in setup.publishes):
        return f"its schema makes: {', '.join(sorted(made)) or 'none'}"
    return "the database has other tables of the schema, so that the schema was not run; bring it up to date by hand"


def _invalid(setup: TableSetup, message: str) -> InvalidDefinition:
    return InvalidDefinition([Fault("", 0, f"service '{setup.service}': {message}")])


@contextmanager
def database_errors(path: str) -> Iterator[None]:
    """Turns the driver's errors into Unavailable and StoreError, which say what to do."""
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "") or ""
        for prefix, advice in _ADVICE.items():
            if name.startswith(prefix):
                raise Unavailable(f"database '{path}': {error}; {advice}") from error
        if name == "SQLITE_NOTADB":
            raise StoreError(f"database '{path}': the file is no SQLite database; place the service in another file") from error
        raise StoreError(f"database '{path}': {error}; nothing was stored") from error


_ADVICE = {
    "SQLITE_BUSY": "another program holds it; nothing was stored, send again",
    "SQLITE_LOCKED": "another program holds it; nothing was stored, send again",
    "SQLITE_FULL": "make room on the disk; nothing was stored, send again",
    "SQLITE_IOERR": "the disk failed; nothing was stored, send again",
    "SQLITE_CANTOPEN": "check that the folder exists and may be written to",
    "SQLITE_READONLY": "make the file and its folder writable for this user",
}
