"""What the engine does with the tables of a read store on SQLite: runs the statements of each table's program."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence

from syncline.messages import Key, Row
from syncline.stores.machine import DataFault, Delta, Node, Outgrown, ViewNode
from syncline.stores.sqlite.program import Program, ViewProgram, leave
from syncline.stores.sqlite.tables import quoted

_OF_THE_DATA = ("SQLITE_ERROR", "SQLITE_MISMATCH", "SQLITE_TOOBIG", "SQLITE_CONSTRAINT")


class SQLiteMachine:
    """The temporary tables and statements of all stored tables, over the one connection that writes."""

    def __init__(self, connection: sqlite3.Connection, programs: Mapping[str, Program]) -> None:
        """Temporary tables of a machine before over the same connection are dropped."""
        self._connection = connection
        self._programs = programs
        for (name,) in connection.execute("SELECT name FROM temp.sqlite_master WHERE type = 'table'").fetchall():
            if name.startswith(("syncline_delta_", "syncline_keys_")):
                connection.execute(f"DROP TABLE temp.{quoted(name)}")
        for program in programs.values():
            for statement in program.temporary:
                connection.execute(statement)

    def view_program(self, node: ViewNode) -> ViewProgram:
        program = self._programs[node.table]
        assert isinstance(program, ViewProgram)
        return program

    def begin(self) -> None:
        """An index takes any value."""

    def finish(self) -> None:
        """Nothing is put off."""

    def make_room(self, failure: Outgrown) -> None:
        raise AssertionError(f"{failure.table} has room for any value")

    def execute(self, statement: str) -> int:
        return self._connection.execute(statement).rowcount

    def stage(self, node: Node, rows: Sequence[Row], deleted: Sequence[Key]) -> Delta:
        program, many = self._programs[node.table], self._connection.executemany
        present = many(program.stage, rows).rowcount if rows else 0
        return Delta(present, many(program.stage_gone, deleted).rowcount if deleted else 0)

    def net(self, node: Node, delta: Delta) -> Delta:
        program = self._programs[node.table]
        equal = self.execute(program.drop_equal) if delta.present else 0
        absent = self.execute(program.drop_absent) if delta.gone else 0
        return Delta(delta.present - equal, delta.gone - absent)

    def compute(self, node: ViewNode) -> Delta:
        program = self.view_program(node)
        try:
            present = self.execute(program.recompute)
        except sqlite3.Error as error:
            if not self._connection.in_transaction:
                raise
            self.execute(program.clear)
            raise self._fault(error, program.recompute) from error
        return self.compare(node, present)

    def recompute(self, node: ViewNode) -> int:
        return self._attempt(self.view_program(node).recompute)

    def compare(self, node: ViewNode, present: int) -> Delta:
        program = self.view_program(node)
        gone = self.execute(program.find_gone)
        equal = self.execute(program.drop_equal) if present else 0
        return Delta(present - equal, gone)

    def fill(self, node: ViewNode) -> int:
        return self._attempt(self.view_program(node).fill)

    def write(self, node: Node, delta: Delta) -> Iterable[str]:
        program = self._programs[node.table]
        touched = [walk.view for walk in node.walks if walk.before is not None and self.execute(walk.before)]
        if delta.gone:
            self.execute(program.remove)
        if delta.present:
            for statement in program.write:
                self.execute(statement)
        touched += [walk.view for walk in node.walks if self.execute(walk.after)]
        if isinstance(program, ViewProgram) and program.record is not None:
            self.execute(program.record)
        self.execute(program.clear)
        return touched

    def clear(self, node: Node) -> None:
        self.execute(self._programs[node.table].clear)

    def add_keys(self, node: ViewNode, keys: Iterable[Sequence[object]]) -> None:
        self._connection.executemany(self.view_program(node).add_key, keys)

    def keys(self, node: ViewNode) -> list[Key]:
        return self._connection.execute(self.view_program(node).select_keys).fetchall()

    def has_key(self, node: ViewNode, key: Key) -> bool:
        return self._connection.execute(self.view_program(node).has_key, key).fetchone() is not None

    def clear_keys(self, node: ViewNode) -> None:
        self.execute(self.view_program(node).clear_keys)

    def leave(self, node: ViewNode, columns: Sequence[str] | None) -> None:
        self.execute(leave(node.table, node.plan, columns) if columns is not None else self.view_program(node).find_gone)

    def pieces(self, node: ViewNode) -> list[Key]:
        return self._connection.execute(self.view_program(node).pieces).fetchall()

    def _attempt(self, statement: str) -> int:
        """All of a statement or nothing: SQLite itself undoes a failed INSERT only if it expects one to fail."""
        self._connection.execute("SAVEPOINT syncline_attempt")
        try:
            return self._connection.execute(statement).rowcount
        except sqlite3.Error as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK TO syncline_attempt")
            raise self._fault(error, statement) from error
        finally:
            if self._connection.in_transaction:
                self._connection.execute("RELEASE syncline_attempt")

    def _fault(self, error: sqlite3.Error, statement: str) -> Exception:
        """The error as a fault of the data, or as it is where it is none."""
        return DataFault(str(error)) if self._is_of_the_data(error, statement) else error

    def _is_of_the_data(self, error: sqlite3.Error, statement: str) -> bool:
        if not (getattr(error, "sqlite_errorname", "") or "").startswith(_OF_THE_DATA):
            return False
        try:
            self._connection.execute(f"EXPLAIN {statement}")
        except sqlite3.Error:
            return False  # it cannot even be prepared: the program's fault, not that of a row
        return True
