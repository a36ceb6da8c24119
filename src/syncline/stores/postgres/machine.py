"""What the engine does with the tables of a read store on PostgreSQL: runs the statements of each table's program.

Deltas and affected keys are temporary tables of the session. They are emptied by DELETE, since TRUNCATE would make new files and
have every statement planned again; what that leaves is vacuumed between two batches when it is much.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from itertools import chain
from typing import Any

import psycopg
from psycopg import errors

from syncline.messages import Key, Row
from syncline.stores.machine import DataFault, Delta, Node, Outgrown, ViewNode
from syncline.stores.postgres.connection import Connection
from syncline.stores.postgres.indexes import drop_unique
from syncline.stores.postgres.program import PART, PRESENT, Program, ViewProgram, leave, listed
from syncline.stores.postgres.values import as_parameter, escaped

FEW_ROWS = 16
"""Up to so many rows are inserted; more are copied, which takes two more round trips."""
LEFT_BEHIND = 5_000
"""How many rows that were deleted a temporary table may hold before it is vacuumed."""
PLANS_KEPT_S = 10.0
ROWS_TO_REPLAN = 256
"""After so many rows were written, and at each doubling of that, statements are planned again."""
_OF_THE_DATA = ("21", "22", "23", "54")
"""Classes of errors that data may cause: cardinality, data, integrity, limits such as the size of an index's entry."""


class PostgresMachine:
    """The temporary tables and statements of all stored tables, over the one connection that writes."""

    def __init__(self, connection: Connection, programs: Mapping[str, Program], make_room: Callable[[str], bool]) -> None:
        """`make_room` has the indexes of a stored table take values of any length; false where they did already."""
        self._connection = connection
        self._programs = programs
        self._make_room = make_room
        self._parts: dict[str, int] = {}
        self._staged: dict[str, int] = {}
        self._replan_at, self._replan_after = time.monotonic() + PLANS_KEPT_S, ROWS_TO_REPLAN
        self._written = 0
        self._pending: list[tuple[str, Sequence[object] | None]] = []
        emptying = [program.clear for program in programs.values()]
        emptying += [program.clear_keys for program in programs.values() if isinstance(program, ViewProgram)]
        self._left_behind = dict.fromkeys(emptying, 0)
        for program in programs.values():
            for statement in program.temporary:
                connection.execute(statement)

    def close(self) -> None:
        """Drops the temporary tables, so that another machine may be made over the same connection."""
        keys = [each.keys for each in self._programs.values() if isinstance(each, ViewProgram)]
        tables = [*(program.delta for program in self._programs.values()), *keys]
        if tables:
            self._connection.execute(f"DROP TABLE IF EXISTS {', '.join(tables)}")

    def tend(self) -> None:
        """Frees the room that emptied tables hold, and has statements planned again when much was written, or from time to time,
        since tables that were small when they were planned may have grown; must run outside a transaction."""
        if time.monotonic() >= self._replan_at or self._written >= self._replan_after:
            self._connection.execute("DISCARD PLANS")
            self._replan_at = time.monotonic() + PLANS_KEPT_S
            self._replan_after = max(2 * self._written, ROWS_TO_REPLAN)
        for emptying, rows in self._left_behind.items():
            if rows > LEFT_BEHIND:
                self._connection.execute(f"VACUUM {emptying.rpartition(' ')[2]}")
                self._left_behind[emptying] = 0

    def program(self, node: Node) -> Program:
        return self._programs[node.table]

    def view_program(self, node: ViewNode) -> ViewProgram:
        program = self._programs[node.table]
        assert isinstance(program, ViewProgram)
        return program

    def flush(self, *statements: str) -> list[int]:
        """Runs what was put off, and then these statements, in one round trip; returns how many rows each of these concerned."""
        run, pending = self._connection.execute, self._pending
        todo = [*pending, *((statement, None) for statement in statements)]
        cursors: list[psycopg.Cursor[tuple[Any, ...]]] = []
        try:
            with self._connection.pipeline() if len(todo) > 1 else nullcontext():
                for each in todo:
                    cursors.append(run(*each, prepare=True))
        except errors.ProgramLimitExceeded as error:
            failed = next((place for place, cursor in enumerate(cursors) if cursor.pgresult is None), len(cursors))
            if (table := self._written_by(todo[failed][0])) is None:
                raise
            raise Outgrown(table) from error
        self._count_left_behind(cursors[: len(pending)])
        pending.clear()
        return [cursor.rowcount for cursor in cursors[len(cursors) - len(statements) :]]

    def forget(self) -> None:
        """The transaction is undone: what was put off is not to be done."""
        self._pending.clear()
        self._parts.clear()

    def begin(self) -> None:
        self._staged = dict(self._parts)
        self._put_off("SAVEPOINT syncline_staged")

    def finish(self) -> None:
        self.flush()

    def make_room(self, failure: Outgrown) -> None:
        assert isinstance(failure.__cause__, psycopg.Error)
        self._pending.clear()
        self._parts = dict(self._staged)
        self._connection.execute("ROLLBACK TO SAVEPOINT syncline_staged")
        if not self._has_made_room(failure.table):
            raise failure.__cause__
        self._connection.execute("SAVEPOINT syncline_staged")  # what fails next is not to undo the room that was made

    def execute(self, statement: str) -> int:
        return self.flush(statement)[0]

    def stage(self, node: Node, rows: Sequence[Row], deleted: Sequence[Key]) -> Delta:
        program = self._programs[node.table]
        part = self._parts.get(node.table, 0)
        if rows:
            self._insert(program, program.columns, part, True, rows)
        if deleted:
            self._insert(program, program.key, part + 1, False, deleted)
        self._parts[node.table] = part + 2 if rows and deleted else part + 1
        return Delta(len(rows), len(deleted))

    def net(self, node: Node, delta: Delta) -> Delta:
        program = self._programs[node.table]
        statements = [program.last_only, program.net] if self._parts.pop(node.table, 0) > 1 else [program.net]
        return Delta(delta.present + delta.gone - sum(self.flush(*statements)))

    def compute(self, node: ViewNode) -> Delta:
        return Delta(self._attempt(self.view_program(node).compute))

    def recompute(self, node: ViewNode) -> int:
        return self._attempt(self.view_program(node).recompute)

    def compare(self, node: ViewNode, present: int) -> Delta:
        program = self.view_program(node)
        gone = self.execute(program.find_gone)
        return Delta(present - self.execute(program.drop_equal), gone)

    def fill(self, node: ViewNode) -> int:
        program = self.view_program(node)
        try:
            return self._attempt(program.fill)
        except DataFault as fault:
            if not isinstance(fault.__cause__, errors.ProgramLimitExceeded) or not self._has_made_room(program.table):
                raise
        return self._attempt(program.fill)

    def write(self, node: Node, delta: Delta) -> Iterable[str]:
        program = self._programs[node.table]
        self._written += delta.present
        before = [(walk.view, walk.before) for walk in node.walks if walk.before is not None]
        after = [(walk.view, walk.after) for walk in node.walks]
        record = [program.record] if isinstance(program, ViewProgram) and program.record is not None else []
        if node.walks:
            found = self.flush(*(s for _, s in before), program.write, *(s for _, s in after))
            found.pop(len(before))
            touched = [view for (view, _), count in zip([*before, *after], found, strict=True) if count]
        else:
            self._put_off(program.write)
            touched = []
        for statement in record:
            self._put_off(statement)
        self.clear(node)
        return touched

    def clear(self, node: Node) -> None:
        self._parts.pop(node.table, None)
        self._put_off(self._programs[node.table].clear)

    def add_keys(self, node: ViewNode, keys: Iterable[Sequence[object]]) -> None:
        program = self.view_program(node)
        self.flush()
        try:
            self._connection.cursor().executemany(program.add_key, [list(map(as_parameter, key)) for key in keys])
        except errors.ProgramLimitExceeded as error:
            raise Outgrown(program.keys) from error

    def list_keys(self, program: ViewProgram, keys: str) -> None:
        """Makes the keys that a query gives, none of them twice, the affected ones of a view that has none."""
        statement = f"INSERT INTO {program.keys} ({listed(program.parts)}) {keys}"
        self.flush()
        try:
            with self._connection.transaction():
                self._connection.execute(statement)
        except errors.ProgramLimitExceeded:
            if not self._has_made_room(program.keys):
                raise
            self._connection.execute(statement)

    def keys(self, node: ViewNode) -> list[Key]:
        return self._query(self.view_program(node).select_keys)

    def has_key(self, node: ViewNode, key: Key) -> bool:
        return bool(self._query(self.view_program(node).has_key, list(map(as_parameter, key))))

    def clear_keys(self, node: ViewNode) -> None:
        self._put_off(self.view_program(node).clear_keys)

    def leave(self, node: ViewNode, columns: Sequence[str] | None) -> None:
        program = self.view_program(node)
        self._put_off(leave(program, columns) if columns is not None else program.stored)

    def pieces(self, node: ViewNode) -> list[Key]:
        return self._query(self.view_program(node).pieces)

    def _put_off(self, statement: str, parameters: Sequence[object] | None = None) -> None:
        """What the statement gives is not needed: it goes with the next one that is asked for something."""
        self._pending.append((statement, parameters))

    def _query(self, statement: str, parameters: Sequence[object] | None = None) -> list[Row]:
        self.flush()
        return self._connection.execute(statement, parameters, prepare=True).fetchall()

    def _count_left_behind(self, cursors: Sequence[psycopg.Cursor[tuple[Any, ...]]]) -> None:
        for (statement, _), cursor in zip(self._pending, cursors, strict=True):
            if statement in self._left_behind:
                self._left_behind[statement] += cursor.rowcount

    def _insert(self, program: Program, columns: Sequence[str], part: int, present: bool, rows: Sequence[Row]) -> None:
        names = f"{PRESENT}, {PART}, {listed(columns)}"
        staged = (chain((present, part), row) for row in rows)
        if len(rows) <= FEW_ROWS:
            marks = f"({', '.join(['%s'] * (len(columns) + 2))})"
            statement = f"INSERT INTO {program.delta} ({escaped(names)}) VALUES {', '.join([marks] * len(rows))}"
            self._put_off(statement, [as_parameter(value) for row in staged for value in row])
            return
        self.flush()
        with self._connection.cursor().copy(f"COPY {program.delta} ({names}) FROM STDIN") as copy:
            for row in staged:
                copy.write_row(tuple(row))

    def _written_by(self, statement: str) -> str | None:
        """The stored table, or the list of affected keys, that a statement writes to."""
        for program in self._programs.values():
            if statement == program.write:
                return program.table
            if isinstance(program, ViewProgram) and statement.startswith(f"INSERT INTO {program.keys} "):
                return program.keys
        return None

    def _has_made_room(self, table: str) -> bool:
        """Whether values of any length fit into a table now that did not before."""
        is_list = any(isinstance(each, ViewProgram) and each.keys == table for each in self._programs.values())
        return drop_unique(self._connection, table) if is_list else self._make_room(table)

    def _attempt(self, statement: str) -> int:
        """All of a statement or nothing; the transaction goes on."""
        connection = self._connection
        try:
            return self.flush("SAVEPOINT syncline_attempt", statement, "RELEASE SAVEPOINT syncline_attempt")[1]
        except psycopg.Error as error:
            if connection.closed or (error.sqlstate or "")[:2] not in _OF_THE_DATA:
                raise
            try:
                connection.execute("ROLLBACK TO SAVEPOINT syncline_attempt")
            except psycopg.Error:
                raise error from None  # it was something put off that failed, before the savepoint
            self._pending.clear()
            raise DataFault(error.diag.message_primary or str(error)) from error
