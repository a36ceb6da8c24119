"""A service's PostgreSQL database as verification looks at it: ranges of rows, and which keys stood still since a position."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from psycopg import errors

from syncline.errors import SourceChanged, Unavailable
from syncline.messages import Key, Position, Relation, Row
from syncline.move.feed import key_of
from syncline.stores.postgres import marks
from syncline.stores.postgres.connection import OWN_NAMES, connect, shown, translated
from syncline.stores.postgres.install import SQL, is_installed
from syncline.stores.postgres.source import Table, lockers, lookup, scan, table_of

SCAN_ROWS = 2_000
LOCK_WAIT_MS = 10_000
"""How long whoever verifies waits for a table that someone changes."""


class _Look:
    """Rows of a database that is only read. One thread owns it."""

    def __init__(self, database: str) -> None:
        self.database = database
        settings = {**OWN_NAMES, "default_transaction_read_only": "on", "lock_timeout": str(LOCK_WAIT_MS)}
        self.connection = connect(database, settings=settings)
        self._tables: dict[str, Table] = {}

    def scan(self, relation: Relation, after: Key | None, budget_s: float) -> tuple[list[Row], bool]:
        with self.reading(relation):
            rows = scan(self.connection, self.table(relation), after, SCAN_ROWS)
        return rows, len(rows) < SCAN_ROWS

    @contextmanager
    def reading(self, relation: Relation) -> Iterator[None]:
        """Raises Unavailable where the table is locked for long, with who locks it and what to do."""
        try:
            with translated(self.database):
                yield
        except Unavailable as error:
            if not isinstance(error.__cause__, errors.LockNotAvailable):
                raise
            raise self._locked(relation) from error.__cause__

    def _locked(self, relation: Relation) -> Unavailable:
        with translated(self.database):
            self.end()
            found = lockers(self.connection, relation)
        by = ", ".join(f"process {pid}" + (f" for {seconds} s" if seconds is not None else "") for pid, seconds in found)
        ended = "; ".join(f"SELECT pg_terminate_backend({pid})" for pid, _ in found)
        return Unavailable(
            f"{shown(self.database)}: table {relation.origin or 'public'}.{relation.table} is locked by "
            f"{by or 'another transaction'}, and was not free to be read within {LOCK_WAIT_MS / 1000:g} s; "
            f"try again when that transaction has ended{f', or end it there: {ended}' if ended else ''}"
        )

    def table(self, relation: Relation) -> Table:
        if relation.table not in self._tables:
            self._tables[relation.table] = table_of(self.connection, relation)
        return self._tables[relation.table]

    def begin(self) -> None:
        self.connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")

    def end(self) -> None:
        self.connection.execute("ROLLBACK")

    def close(self) -> None:
        self.connection.close()


class TriggerLook(_Look):
    """Of a service captured by triggers: its marks tell which keys changed since a position."""

    def settle(self, relation: Relation, keys: Sequence[Key], at: Position) -> tuple[list[Key], dict[Key, Row]] | None:
        with self.reading(relation):
            self.begin()
            try:
                return self._settle(relation, keys, at)
            finally:
                self.end()

    def head(self) -> Position | None:
        """The newest position; None when nothing is captured yet."""
        with translated(self.database):
            found = self.connection.execute(SQL["select_place"]).fetchone() if is_installed(self.connection) else None
        if found is None:
            return None
        incarnation, n, open_ = found
        return Position(incarnation, n, 0, tuple(int(each) for each in open_.strip("{}").split(",") if each))

    def refresh(self) -> None:
        """The relay sees changes by itself."""

    def _settle(self, relation: Relation, keys: Sequence[Key], at: Position) -> tuple[list[Key], dict[Key, Row]] | None:
        run = self.connection.execute
        here = self.head()
        if here is None or here.incarnation != at.incarnation:
            return None
        number = next((n for n, schema, name, *_ in run(SQL["select_captured"]) if _is(relation, schema, name)), None)
        if number is None:
            return None
        truncated = f"SELECT 1 FROM syncline.truncation WHERE tbl = {number} AND {marks.UNSEEN}"
        if run(truncated, marks.unseen(at)).fetchone() is not None or not self._holds_marks_since(at):
            return [], {}
        table = self.table(relation)
        dirty = set(run(marks.select_dirty(table, number), marks.unseen(at)))
        key = key_of(relation)
        rows = {key(row): row for row in lookup(self.connection, table, keys)}
        return [each for each in keys if each not in dirty], rows

    def _holds_marks_since(self, at: Position) -> bool:
        """Whether a read store has not acknowledged more than this position: then no mark after it is forgotten."""
        contained = (
            "pg_snapshot_xmax(acknowledged)::text::bigint <= %(next)s AND NOT EXISTS (SELECT FROM unnest(%(open)s::xid8[]) AS o "
        )
        contained += "WHERE pg_visible_in_snapshot(o, acknowledged))"
        found = self.connection.execute(
            f"SELECT EXISTS (SELECT FROM syncline.consumer WHERE NOT expired AND {contained})",
            {"next": at.n + 1, "open": marks.unseen(at)["open"]},
        )
        return found.fetchone() == (True,)


class StillLook(_Look):
    """Of a service without marks: a key stood still if it is the same before and after a position that was told in between.

    `ask` asks for such a position to be reached, `next_place` tells it; a key is looked at again when it was.
    """

    def __init__(self, database: str, ask: Callable[[], object], next_place: Callable[[], int]) -> None:
        super().__init__(database)
        self._ask, self._next_place = ask, next_place
        self._before: dict[tuple[str, Key], tuple[Row | None, int]] = {}
        self._asked_at = 0.0

    def settle(self, relation: Relation, keys: Sequence[Key], at: Position) -> tuple[list[Key], dict[Key, Row]] | None:
        key = key_of(relation)
        with self.reading(relation):
            try:
                rows = {key(row): row for row in lookup(self.connection, self.table(relation), keys)}
            except SourceChanged:
                return None
            next_place = self._next_place()  # after the rows: what reaches it contains them
        still: list[Key] = []
        is_waiting = False
        for each in keys:
            before = self._before.get((relation.table, each))
            if before is not None and at.n >= before[1] and before[0] == rows.get(each):
                still.append(each)
            elif before is None or at.n >= before[1]:
                self._before[relation.table, each] = (rows.get(each), next_place)
                is_waiting = True
        if is_waiting:
            self._ask()
        return still, rows

    def refresh(self) -> None:
        if time.monotonic() - self._asked_at > 1.0:
            self._asked_at = time.monotonic()
            self._ask()


def _is(relation: Relation, schema: str, name: str) -> bool:
    return (relation.origin or "public", relation.table) == (schema, name)
