"""Commands on a service's own tables in SQLite: many in one durable transaction, each undone alone when it is refused.

Theory of operation. All commands of a group run in one transaction, each within a savepoint; what is remembered of those that
took effect is written at its end, with the place in the capture's log that contains them all. Two things reach beyond a
savepoint: a conflict that is resolved by ROLLBACK undoes the whole transaction, so the group is run again without the command
that met it; and a deferred constraint is checked at COMMIT, when nobody can tell whose it is, so the commands are then run one by
one. A handler may therefore run more than once, and only what it does through its transaction counts. A group of which anything
was committed is never run again: where a handler got past its transaction and ended it, all are told.
"""

import re
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from typing import NamedTuple

from syncline.errors import CommandReused, Fault, InvalidDefinition, StoreError, Unavailable
from syncline.messages import Position
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
        undone: dict[int, BaseException] = {}
        with service_errors(self.path), self._lock.held():
            while True:
                try:
                    return self._transact(requests, undone)
                except _Undone as lost:
                    undone[lost.index] = lost.error
                except _Ended as ended:
                    return [_told(requests[ended.index], is_over=index <= ended.index) for index in range(len(requests))]

    def close(self) -> None:
        self._connection.close()
        self._lock.close()

    def _transact(self, requests: Sequence[TableRequest], undone: dict[int, BaseException]) -> list[TableOutcome]:
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
        except Exception as error:  # those before it are stored, and must be answered as such
            return error

    def _answer_all(self, requests: Sequence[TableRequest], undone: dict[int, BaseException]) -> list[TableOutcome]:
        known = {request.command_id: self._known(request.command_id) for request in requests if not request.is_fresh}
        new: dict[str, TableRequest] = {}
        refused = dict(undone)
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
        now = Done(self._place(is_new=bool(new)), self._recorded())
        self._remember(new.values(), now)
        return [
            refused[index] if index in refused else _first_time(known.get(request.command_id), now)
            for index, request in enumerate(requests)
        ]

    def _carry_out(self, request: TableRequest, index: int) -> BaseException | None:
        """Runs one command's handler. Returns why it was refused, with everything that it did undone; None if it was not."""
        run = self._connection.execute
        refusal: BaseException | None = None
        run("SAVEPOINT syncline_command")
        transaction = SQLiteTransaction(self._connection)
        self._guard.is_closed = True
        try:
            request.handler(transaction, request.command)
        except BaseException as error:  # of a user's function, whatever it raises: it is this command's alone
            error.add_note(f"raised while service '{self._setup.service}' handled {request.name}")
            refusal = error
        finally:
            self._guard.is_closed = False
            transaction.end()
        if transaction.failure is not None:
            raise transaction.failure
        if transaction.is_undone:
            raise _Undone(index, refusal or _swallowed(request))
        try:
            if refusal is not None:
                run("ROLLBACK TO syncline_command")
            run("RELEASE syncline_command")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname == "SQLITE_ERROR":  # the savepoint is gone
                raise _Ended(index) from error
            raise
        return refusal

    def _known(self, command_id: str) -> "_Known | None":
        found = self._connection.execute(SQL["select_command"], (command_id,)).fetchone()
        return _Known(found[0], found[1], Done(Position(*found[2:4]), _position(*found[4:]))) if found is not None else None

    def _place(self, *, is_new: bool) -> Position:
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

    def _remember(self, requests: Iterable[TableRequest], done: Done) -> None:
        recorded = (done.recorded.incarnation, done.recorded.n) if done.recorded is not None else (None, None)
        where = (done.position.incarnation, done.position.n, *recorded)
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
    done: Done


def _first_time(known: _Known | None, now: Done) -> Done:
    """What the first receipt said; a position of a history that is gone is today's, which contains the command as well."""
    if known is None:
        return now
    then = known.done
    is_gone = then.position.incarnation != now.position.incarnation
    recorded = now.recorded
    if recorded is not None and then.recorded is not None and then.recorded.incarnation == recorded.incarnation:
        recorded = then.recorded
    return Done(now.position if is_gone else then.position, recorded)


def _position(incarnation: str | None, n: int | None) -> Position | None:
    return Position(incarnation, n) if incarnation is not None and n is not None else None


class _Undone(Exception):
    """The database undid the whole transaction for the sake of one command."""

    def __init__(self, index: int, error: BaseException) -> None:
        self.index, self.error = index, error


class _Ended(Exception):
    """A handler ended the whole transaction by itself, and committed what was done up to then."""

    def __init__(self, index: int) -> None:
        self.index = index


def _told(culprit: TableRequest, *, is_over: bool) -> StoreError:
    who = (
        f"the handler of {culprit.name} (command id '{culprit.command_id}') ended the transaction of its group, which it must not"
    )
    if not is_over:
        return Unavailable(f"{who}; this command of the group was not carried out, send it again")
    return StoreError(
        f"{who}: what it and the commands before it in the group did is stored, but not that they did it, so that any of them "
        "sent again takes effect twice; look at the tables first, and mend the handler"
    )


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
            raise _invalid(setup, f"database '{path}' has no table '{missing[0]}', which is published; {_advice(setup, made)}")
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
