"""Capture by polling: a feed of sweeps that compare what is held with the source. Nothing is installed there.

Theory of operation. Positions are the numbers of sweeps. A full sweep compares every range of keys of every table with the rows
held, in one snapshot, so its batch is exact whatever happened before. Where the database keeps a rollback journal a long snapshot
would lock its owner out: the ranges are then read one by one, and the sweep counts only if nobody committed from its first range
to its last; after some torn attempts one snapshot is taken all the same. With a `changed_at` column, sweeps between the full ones
read only rows whose time is not before the newest one of the sweep before last; they miss deletions, and are declared inexact.
A token names the next sweep not yet begun: its number is stored in the read store before the sweep's snapshot opens. Where the
service handles commands it counts them in groups, and the token of a command names that count: see `group_count`.
"""

import time
from collections.abc import Callable, Iterator, Sequence

from syncline.errors import StoreError
from syncline.messages import Batch, Chunk, Key, Position, Relation, Row, Scalar
from syncline.move.feed import Held
from syncline.stores.sqlite.group_count import counted
from syncline.stores.sqlite.keyless import Keyless
from syncline.stores.sqlite.reach import FETCH_ROWS, Reach
from syncline.stores.sqlite.source import OPEN_TIMEOUT_S, describe, has_columns, source_errors
from syncline.stores.sqlite.tables import listed, quoted
from syncline.stores.sweeps import SWEEPS, is_same_group, sweep_number

RANGE_S = 0.004
OPTIMISTIC_ATTEMPTS = 3


class PollingFeed:
    """The feed of one service that is polled, for one read store. One thread owns it.

    `begin` stores, durably enough for readers of the read store to see it, that a sweep of a number begins.
    """

    def __init__(
        self,
        service: str,
        path: str,
        consumer: str,
        held: Held,
        begin: Callable[[int], None],
        *,
        every_s: float,
        changed_at: str | None,
        full_every_s: float,
    ) -> None:
        self.service = service
        self._incarnation = f"poll-{consumer}"
        self._held, self._begin = held, begin
        self._every_s, self._changed_at, self._full_every_s = every_s, changed_at, full_every_s
        self._reach = Reach(path, read_only=True, timeout_s=OPEN_TIMEOUT_S)
        self._keyless = Keyless(self._reach)
        self._relations: list[Relation] = []
        self._schema_version = -1
        self._next_at = self._full_at = 0.0
        self._horizons: dict[str, list[Scalar]] = {}
        self._is_wanted = True
        self._place: Position | None = None
        self.activity = ""

    def follow(self, relations: Sequence[Relation]) -> None:
        self._relations = list(relations)
        with self._reach.snapshot():
            for relation in relations:
                current = describe(self._reach.connection, self.service, relation.table)
                has_columns(relation, current)
                if self._changed_at and self._changed_at not in current.column_names:
                    raise StoreError(
                        f"{relation.name} has no column '{self._changed_at}', which 'changed_at' names; correct it in "
                        "syncline.toml, or leave it out: every sweep then compares everything"
                    )
            self._schema_version = self._reach.schema_version()
            self._keyless.follow(relations)
        self._is_wanted, self._full_at = True, 0.0
        self._reach.forget()

    def start(self) -> Position:
        place = self._counted()
        return Position(place.incarnation if place is not None else self._incarnation, 0)

    def read(self, after: Position) -> Batch | None:
        self._reach.changed()
        if self._reach.is_locked:
            return None
        now = time.monotonic()
        position = self._next(after)
        is_full = self._changed_at is None or now >= self._full_at or not is_same_group(after, position)
        self._begin(position.n)
        self._is_wanted = False
        self._next_at = now + self._every_s
        if is_full:
            self._full_at = now + self._full_every_s
        batch = Batch(self.service, after, (), exact=is_full)
        batch.chunks = self._sweep(batch, position, is_full)
        return batch

    @property
    def complaint(self) -> str:
        return self._keyless.complaint

    @property
    def is_incremental(self) -> bool:
        return False

    def acknowledge(self, position: Position) -> bool:
        """Nothing is kept at the source, so there is nothing to forget."""
        return False

    def head(self) -> Position:
        raise StoreError(f"'{self.service}' is polled: its newest position is only known to the relay that sweeps it")

    def changed(self) -> bool:
        return self._is_wanted or time.monotonic() >= self._next_at or (self._place is not None and self._has_new_group())

    def want(self) -> None:
        """Makes the next sweep begin now, and be a full one: a token waits for it."""
        self._is_wanted, self._full_at = True, 0.0
        self._reach.forget()

    def total(self, relation: Relation) -> int | None:
        return self._reach.count(relation) if self._reach.is_wal else None

    def scan(self, relation: Relation, after: Key | None, budget_s: float) -> tuple[list[Row], bool]:
        return self._reach.scan(relation, after, budget_s)

    def mark(self, relation: Relation, keys: Sequence[Key]) -> None:
        self.want()

    def close(self) -> None:
        self._reach.close()

    # -- one sweep -----------------------------------------------------------------------------------------------------

    def _next(self, after: Position) -> Position:
        """Where the sweep that begins now leads. Raises StoreError where that would be behind the one before."""
        place = self._place = self._counted()
        if place is None:
            return Position(self._incarnation, after.n + 1 if after.incarnation == self._incarnation else 1)
        if after.incarnation == place.incarnation and after.n // SWEEPS > place.n // SWEEPS:
            raise StoreError(
                f"database '{self._reach.path}' counts {place.n // SWEEPS} groups of commands, and {after.n // SWEEPS} were seen "
                f"before: it was put back from a backup; say so with `syncline restored {self.service}`, and it goes on"
            )
        return Position(place.incarnation, sweep_number(after, place))

    def _has_new_group(self) -> bool:
        """Whether commands were handled since the last sweep began: their tokens wait for the next one."""
        return self._reach.changed() and not self._reach.is_locked and self._counted() != self._place

    def _counted(self) -> Position | None:
        with self._reach.snapshot():
            return counted(self._reach.connection)

    def _sweep(self, batch: Batch, after: Position, is_full: bool) -> Iterator[Chunk]:
        with source_errors(self._reach.path):
            untouched = is_full and not self._reach.changed() and batch.before.n > 0
        read_at = time.time()
        if not untouched:
            if not is_full:
                yield from self._recent()
            elif self._reach.is_wal:
                with self._reach.snapshot():
                    self._reach.seen()
                    self._check_schema()
                    yield from self._differences()
            else:
                yield from self._optimistic()
        batch.after, batch.read_at = after, read_at
        self.activity = ""

    def _optimistic(self) -> Iterator[Chunk]:
        """Differences read in short slices, valid only if nobody committed meanwhile; else one snapshot."""
        for _ in range(OPTIMISTIC_ATTEMPTS):
            with source_errors(self._reach.path):
                version = self._reach.data_version()
                self._check_schema()
                found = list(self._differences())
                if self._reach.data_version() == version:
                    self._reach.seen()
                    yield from found
                    return
        with self._reach.snapshot():
            self._reach.seen()
            yield from self._differences()

    def _differences(self) -> Iterator[Chunk]:
        self._keyless.look_at_all()
        for relation in self._relations:
            at: Key | None = None
            while True:
                found = self._reach.compare(relation, self._held, at, RANGE_S)
                if found.rows or found.gone:
                    yield Chunk(relation, found.rows, found.gone)
                at = found.last
                if found.is_done:
                    break

    def _recent(self) -> Iterator[Chunk]:
        """Rows changed since the sweep before last, by their own account."""
        with self._reach.snapshot():
            self._check_schema()
            for relation in self._relations:
                horizons = self._horizons.setdefault(relation.table, [])
                column = quoted(self._changed_at or "")
                (newest,) = self._reach.connection.execute(f"SELECT max({column}) FROM {quoted(relation.table)}").fetchone()
                since = horizons[0] if len(horizons) == 2 else None
                where = f" WHERE {column} >= ? OR {column} IS NULL" if since is not None else ""
                sql = f"SELECT {listed(relation.column_names)} FROM {quoted(relation.table)}{where}"
                values = (since,) if where else ()
                with self._reach.readable(relation, sql, values):
                    cursor = self._reach.connection.execute(sql, values)
                indexes = relation.key_indexes
                while True:
                    with self._reach.readable(relation, sql, values):
                        rows = cursor.fetchmany(FETCH_ROWS)
                    if not rows:
                        break
                    yield Chunk(relation, [row for row in rows if all(row[index] is not None for index in indexes)])
                self._horizons[relation.table] = [*horizons, newest][-2:]

    def _check_schema(self) -> None:
        version = self._reach.schema_version()
        if version != self._schema_version:
            for relation in self._relations:
                has_columns(relation, describe(self._reach.connection, self.service, relation.table))
            self._schema_version = version
