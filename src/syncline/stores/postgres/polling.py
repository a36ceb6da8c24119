"""Capture by polling: a feed of sweeps that compare what is held with the source. Nothing is put or written there.

Theory of operation. Positions are the numbers of sweeps. A full sweep compares every row of every table with the rows held, in
one snapshot, so its batch is exact whatever happened before; where no transaction has ended since the last one, there is nothing
to compare. With a `changed_at` column, sweeps between the full ones read only rows whose time is not before the newest one of the
sweep before, less the time for which a transaction was open then: `now()` is when a transaction began (for a version number that
rises: of the sweep before that one). They miss deletions, and are declared inexact. A token names the next sweep not yet begun:
its number is stored in the read store before the sweep's snapshot opens. Where the service handles commands it counts them in
groups, and the token of a command names that count.
"""

import time
from collections.abc import Callable, Iterator, Sequence

from psycopg import errors

from syncline.errors import SourceChanged, StoreError, Unavailable
from syncline.messages import Batch, Chunk, Key, Position, Relation, Row, Scalar
from syncline.move.feed import Held
from syncline.places import without_password
from syncline.stores.postgres.compare import differences, pages, refuse_not_a_number
from syncline.stores.postgres.connection import OWN_NAMES, connect, load, quoted, shown, translated
from syncline.stores.postgres.group_count import counted
from syncline.stores.postgres.source import Table, columns_of, estimated_rows, scan, table_of
from syncline.stores.sweeps import SWEEPS, is_same_group, sweep_number

SCAN_ROWS = 2_000
LOCK_WAIT_MS = 200
PROBE_S = 0.01
UNKNOWN_SPAN_S = 300.0
"""For how long transactions are taken to be open at most, where the role may not see it."""
SKEW_S = 1.0

_SQL = load("polling.sql")


class PollingFeed:
    """The feed of one service that is polled, for one read store. One thread owns it.

    `begin` stores, durably enough for readers of the read store to see it, that a sweep of a number begins.
    """

    def __init__(
        self,
        service: str,
        database: str,
        consumer: str,
        held: Held,
        dialect: str,
        begin: Callable[[int], None],
        *,
        every_s: float,
        changed_at: str | None,
        full_every_s: float,
    ) -> None:
        self.service = service
        self.activity = ""
        self.complaint = ""
        self._incarnation = f"poll-{consumer}"
        self._database, self._held, self._dialect, self._begin = database, held, dialect, begin
        self._every_s, self._changed_at, self._full_every_s = every_s, changed_at, full_every_s
        self._connection = connect(database, settings={**OWN_NAMES, "default_transaction_read_only": "on"})
        self._tables: list[Table] = []
        self._next_at = self._full_at = self._probed_at = 0.0
        self._horizons: dict[str, tuple[Scalar, Scalar, float]] = {}
        self._span: float | None = None
        self._is_wanted = True
        self._place: Position | None = None
        self._swept = ""

    def follow(self, relations: Sequence[Relation]) -> None:
        self._free_connection()
        with translated(self._database):
            self._tables = [table_of(self._connection, relation) for relation in relations]
            for table in self._tables:
                if self._changed_at and self._column_type(table) is None:
                    raise StoreError(
                        f"{table.relation.name} has no column '{self._changed_at}', which 'changed_at' names; correct it in "
                        "syncline.toml, or leave it out: every sweep then compares everything"
                    )
        self._is_wanted, self._full_at, self._swept = True, 0.0, ""

    def start(self) -> Position:
        with translated(self._database):
            place = counted(self._connection)
        return Position(place.incarnation if place is not None else self._incarnation, 0)

    def read(self, after: Position) -> Batch | None:
        self._free_connection()
        now = time.monotonic()
        position = self._next(after)
        is_full = self._changed_at is None or now >= self._full_at or not is_same_group(after, position)
        self._begin(position.n)
        self._is_wanted = False
        self._next_at = now + self._every_s
        if is_full:
            self._full_at = now + self._full_every_s
        batch = Batch(self.service, after, (), exact=is_full)
        # Asked before the snapshot: who commits in between is in one of both.
        self._span = None if is_full else self._open_span()
        batch.chunks = self._sweep(batch, position, is_full)
        return batch

    @property
    def is_incremental(self) -> bool:
        return False

    def acknowledge(self, position: Position) -> bool:
        """Nothing is kept at the source, so there is nothing to forget."""
        return False

    def head(self) -> Position:
        raise StoreError(f"'{self.service}' is polled: its newest position is only known to the relay that sweeps it")

    def changed(self) -> bool:
        now = time.monotonic()
        if self._is_wanted or now >= self._next_at:
            return True
        if self._place is None or now - self._probed_at < PROBE_S:
            return False
        self._probed_at = now
        with translated(self._database):
            return counted(self._connection) != self._place

    def want(self) -> None:
        """Makes the next sweep begin now, and be a full one: a token waits for it."""
        self._is_wanted, self._full_at, self._swept = True, 0.0, ""

    def total(self, relation: Relation) -> int | None:
        with translated(self._database):
            return estimated_rows(self._connection, self._of(relation).oid)

    def scan(self, relation: Relation, after: Key | None, budget_s: float) -> tuple[list[Row], bool]:
        self._free_connection()
        with translated(self._database):
            rows = scan(self._connection, self._of(relation), after, SCAN_ROWS)
        return rows, len(rows) < SCAN_ROWS

    def mark(self, relation: Relation, keys: Sequence[Key]) -> None:
        self.want()

    def close(self) -> None:
        self._connection.close()

    # -- one sweep -----------------------------------------------------------------------------------------------------

    def _next(self, after: Position) -> Position:
        """Where the sweep that begins now leads. Raises StoreError where that would be behind the one before."""
        with translated(self._database):
            place = self._place = counted(self._connection)
        if place is None:
            return Position(self._incarnation, after.n + 1 if after.incarnation == self._incarnation else 1)
        if after.incarnation == place.incarnation and after.n // SWEEPS > place.n // SWEEPS:
            raise StoreError(
                f"database '{without_password(self._database)}' counts {place.n // SWEEPS} groups of commands, and "
                f"{after.n // SWEEPS} were seen before: it was put back from a backup; say so with `syncline restored "
                f"{self.service}`, and it goes on"
            )
        return Position(place.incarnation, sweep_number(after, place))

    def _sweep(self, batch: Batch, after: Position, is_full: bool) -> Iterator[Chunk]:
        try:
            with translated(self._database):
                self._open_snapshot()
                ((snapshot, read_at),) = self._connection.execute(_SQL["select_snapshot"]).fetchall()
                if is_full and snapshot != self._swept:
                    for table in self._tables:
                        self.activity = f"comparing {table.relation.name}"
                        yield from differences(self._connection, table, self._held, self._dialect)
                elif not is_full:
                    yield from self._recent()
                self._connection.execute("COMMIT")
        except BaseException:
            self._free_connection()
            raise
        self._swept = snapshot if is_full else ""
        batch.after, batch.read_at = after, read_at
        self.activity = ""

    def _open_snapshot(self) -> None:
        """Locks against TRUNCATE and rewriting, to which snapshots are blind; the first look at a table fixes the snapshot."""
        names = ", ".join(table.name for table in self._tables)
        try:
            self._connection.execute(
                f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL lock_timeout = {LOCK_WAIT_MS}; "
                + (f"LOCK TABLE {names} IN ACCESS SHARE MODE" if names else "")
            )
        except errors.LockNotAvailable as error:
            raise Unavailable(f"a table of '{self.service}' is locked; it is tried again") from error
        except errors.UndefinedTable as error:
            raise SourceChanged(f"a table of '{self.service}' is gone: {error.diag.message_primary}") from error
        for table in self._tables:
            table_of(self._connection, table.relation)

    def _recent(self) -> Iterator[Chunk]:
        """Rows changed since the last sweep, by their own account."""
        column = quoted(self._changed_at or "")
        for table in self._tables:
            declared = self._column_type(table) or "text"
            # Times that are still to come, by a clock that is fast, would hide those of others.
            newest_sql = f"least(max({column}), now())" if declared.endswith("with time zone") else f"max({column})"
            newest = self._connection.execute(f"SELECT {newest_sql} FROM {table.name}").fetchall()[0][0]
            is_time = declared.startswith(("timestamp", "date"))
            since, before, was_open_s = self._horizons.get(table.relation.table, (None, None, 0.0))
            since = since if is_time else before
            sql, values = f"SELECT {columns_of(table)} FROM {table.name}".replace("%", "%%"), None
            if since is not None:
                least = f"(%(since)s::{declared} - make_interval(secs => %(span)s))::{declared}" if is_time else "%(since)s"
                sql += f" WHERE {column} >= {least} OR {column} IS NULL"
                values = {"since": str(since), "span": was_open_s}
            for rows in pages(self._connection, sql, values):
                refuse_not_a_number(table, rows, self._dialect)
                yield Chunk(table.relation, rows)
            if self._span is not None:
                self._horizons[table.relation.table] = (newest, self._horizons.get(table.relation.table, (None,))[0], self._span)

    def _open_span(self) -> float | None:
        """For how many seconds the oldest transaction has been open that may still commit rows with older times.

        None while one is prepared: since when it is open nobody knows, but it was so before the last horizon.
        """
        with translated(self._database):
            ((span, is_prepared),) = self._connection.execute(_SQL["select_span"]).fetchall()
        return None if is_prepared else (UNKNOWN_SPAN_S if span is None else span) + SKEW_S

    def _column_type(self, table: Table) -> str | None:
        return table.types.get(self._changed_at or "")

    def _of(self, relation: Relation) -> Table:
        return next(table for table in self._tables if table.relation.table == relation.table)

    def _free_connection(self) -> None:
        """A sweep that was not read to its end leaves a transaction open."""
        if self._connection.closed:
            raise Unavailable(f"the connection to {shown(self._database)} was cut; it is opened again")
        if self._connection.info.transaction_status != 0:
            with translated(self._database):
                self._connection.execute("ROLLBACK")
