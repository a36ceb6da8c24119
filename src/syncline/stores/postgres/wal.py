"""Capture by WAL: a feed of whole transactions in the order of their commits, read from a slot by logical decoding.

Theory of operation. A position is a place in the log. A batch is what all transactions up to its end come to for each key. What
the log does not tell is looked at in the tables themselves: keys that are to be repaired, rows of which a message tells too
little, and whole tables, where the slot did not keep the log or a statement put other rows in place (TRUNCATE of a partition,
ATTACH, ALTER). A sight of them is one snapshot, and the batch that carries it ends behind a place told after that: see `sight`.
How the tables stand is asked after the end of each batch is known, so that no batch ends behind such a statement without a sight.
Likewise a mirror that was copied goes live with a batch that ends behind the place told after its copy.

A position's proof is a number that the publication's note holds with how the tables stood: where it is not there, or they stand
otherwise, what is held is compared. The slot is confirmed up to what the read store has on disk, and no further.
"""

import time
from collections.abc import Iterator, Mapping, Sequence

from syncline.errors import SourceChanged, Unavailable
from syncline.messages import Batch, Chunk, Key, Position, Relation, Row
from syncline.move.feed import in_pages
from syncline.read.maintain.schema import mirror_id
from syncline.stores.postgres.compare import differences, refuse_not_a_number
from syncline.stores.postgres.connection import OWN_NAMES, Connection, connect, shown, translated
from syncline.stores.postgres.intake import Intake
from syncline.stores.postgres.log_stream import LogStream
from syncline.stores.postgres.net import Net, keys_of
from syncline.stores.postgres.sight import Contained, Sight, contained_now, emit, flushed
from syncline.stores.postgres.slot import (
    SQL,
    Standing,
    end_reader,
    history,
    lag,
    note_reading,
    prepare_slot,
    remake_slot,
    rename_history,
    slot_for,
    standings,
)
from syncline.stores.postgres.source import Table, estimated_rows, lookup, scan, table_of
from syncline.stores.protocols import ReadStore

SCAN_ROWS = 2_000
CHUNK_ROWS = 2_000
LOCK_WAIT_MS = 200
STUCK_S = 0.02
"""After so long the log is made to go on: the end of it is not on disk, or no message tells of it."""
EMIT_S = 0.005
"""How often it is, at most, for transactions that did not wait for the disk."""
ADVANCE_S = 0.03
"""How often a position is moved by transactions that concern no followed table."""
INSPECT_S = 0.5
"""How often it is asked how the tables stand while nothing changes."""
LAG_S = 10.0
"""How often it is asked how much of the log the server keeps."""
NOTE_S = 60.0
"""How often positions get another proof: a copy of the database that is older than two of them is known for what it is."""
RECENT = 10_000

NOT_CONTINUED = (
    "the log does not go on from where it was read to (its slot '{slot}' was dropped, thrown away by the server, or is another "
    "copy's): all that is held is compared with the tables"
)


class WalFeed:
    """The feed of one service that is captured by WAL, for one read store. One thread owns it."""

    def __init__(self, service: str, database: str, store: ReadStore) -> None:
        self.service = service
        self.activity = ""
        self.complaint = ""
        self._database, self._store = database, store
        self._connection = connect(database, settings={**OWN_NAMES, "synchronous_commit": "local"})
        self._slot = slot_for(service, store.consumer, store.path)
        self._intake: Intake | None = None
        self._history = ""
        self._tables: dict[str, Table] = {}
        self._new: set[str] = set()
        self._since = Contained(0, frozenset())
        self._stand: dict[str, Standing] = {}
        self._noted: dict[str, Standing] | None = None
        self._proof = 0
        self._wanted: dict[str, dict[Key, None]] = {}
        self._compared: set[str] = set()
        self._place = self._durable = self._handed = self._asked = 0
        self._asked_at: float = 0.0
        self._quiet = ""
        self._is_wanted = True
        now = time.monotonic()
        self._moved_at = self._inspected_at = self._lag_at = self._noted_at = self._came_at = self._emitted_at = now

    # -- Feed ----------------------------------------------------------------------------------------------------------

    def follow(self, relations: Sequence[Relation]) -> None:
        self._close_stream()
        with translated(self._database):
            tables = [table_of(self._connection, relation) for relation in relations]
            self._slot = prepare_slot(self._connection, self._slot, tables, self._is_new)
            self._history = history(self._connection)
            self._stand = standings(self._connection, self._slot, tables)
            self._new = {table.relation.table for table in tables if self._is_new(table.relation)}
            self._since = contained_now(self._connection)
            self._place = flushed(self._connection) if self._new else 0
        self._tables = {table.relation.table: table for table in tables}
        self._is_wanted = True

    def start(self) -> Position:
        return Position(self._history, self._slot.start, self._slot.readings[-1].proof)

    def read(self, after: Position) -> Batch | None:
        self._ready()
        with translated(self._database):
            intake = self._intake or self._open(after)
            if not intake.is_seeing and (self._wanted or self._compared) and not self._look(intake):
                return None
            self._reach(self._place)
            is_whole, end = intake.take(self._place), intake.reached
            if len(intake.recent) > RECENT:
                self._shows_recent()
            if not is_whole or self._is_lacking(intake.nets) or self._has_moved():
                return None
            if not intake.nets and not self._is_wanted and time.monotonic() - self._moved_at < ADVANCE_S:
                return None
            self._note(has_rows=bool(intake.nets))
        position, batch = Position(self._history, end, self._proof), Batch(self.service, after, ())
        if intake.nets:
            batch.chunks = self._chunks(batch, position, self._read_at(end))
        else:
            batch.after, batch.read_at = position, self._read_at(end)
            self._hand(end)
        return batch

    @property
    def is_incremental(self) -> bool:
        return True

    def acknowledge(self, position: Position) -> bool:
        """Lets the server forget the log up to there."""
        is_ours = position.incarnation == self._history and self._slot.reading(position.proof) is not None
        if is_ours and position.n > self._durable and self._intake is not None:
            self._durable = position.n
            self._intake.confirm(position.n)
        return False

    def head(self) -> Position:
        self._ready()
        return wal_head(self._connection, self._database)

    def changed(self) -> bool:
        if self._is_wanted or self._intake is None or self._wanted or self._compared or self._intake.is_waiting:
            return True
        self._ready()
        now = time.monotonic()
        with translated(self._database):
            if now - self._inspected_at >= INSPECT_S:
                self._inspected_at = now
                if now - self._lag_at >= LAG_S:
                    self._lag_at = now
                    self.complaint = lag(self._connection, self._slot.name)
                if self._has_moved():
                    return True
            if self._has_come():
                return True
        return self._intake.reached > self._handed and now - self._moved_at >= ADVANCE_S

    def total(self, relation: Relation) -> int | None:
        self._ready()
        with translated(self._database):
            return estimated_rows(self._connection, self._tables[relation.table].oid)

    def scan(self, relation: Relation, after: Key | None, budget_s: float) -> tuple[list[Row], bool]:
        self._ready()
        table, rows, until = self._tables[relation.table], list[Row](), time.monotonic() + budget_s
        with translated(self._database):
            if not self._shows_recent():
                return [], False
            while True:
                page = scan(self._connection, table, after, SCAN_ROWS)
                refuse_not_a_number(table, page, self._store.dialect)
                rows += page
                if len(page) < SCAN_ROWS or time.monotonic() >= until:
                    return rows, len(page) < SCAN_ROWS
                after = tuple(page[-1][index] for index in relation.key_indexes)

    def mark(self, relation: Relation, keys: Sequence[Key]) -> None:
        self._ready()
        if keys:
            self._wanted.setdefault(relation.table, {}).update(dict.fromkeys(keys))
        with translated(self._database):
            self._place = max(self._place, flushed(self._connection))
        self._is_wanted = True

    def close(self) -> None:
        self._close_stream()
        self._connection.close()

    # -- the stream ----------------------------------------------------------------------------------------------------

    def _open(self, after: Position) -> Intake:
        """Begins to read behind what is applied; finds what of it the log does not continue."""
        tables = list(self._tables.values())
        reading = self._slot.reading(after.proof) if after.incarnation == self._history else None
        if after.n > flushed(self._connection):  # a copy of the database that is older
            self._history, reading = rename_history(self._connection), None
            self._slot = remake_slot(self._connection, self._slot, tables)
            self._stand = standings(self._connection, self._slot, tables)
        if reading is not None and after.n < self._slot.start:
            reading = None
        before = reading.tables if reading is not None else {}
        for name, table in self._tables.items():
            is_still = name in self._stand and self._stand[name].is_still(before.get(name), table.relation)
            if not is_still and name not in self._new:
                self._compared.add(name)
        if reading is None and after.n and self._compared:
            self.complaint = NOT_CONTINUED.format(slot=self._slot.name)
        start = after.n if reading is not None else self._slot.start
        self._proof, self._noted = after.proof, dict(before) if reading is not None else None
        end_reader(self._connection, self._slot.name)
        stream = LogStream(self._database, self._slot.name, start)
        relations = {table.oid: table.relation for table in tables}
        self._intake = Intake(stream, relations, frozenset(self._new), self._since)
        self._handed = self._durable = start
        self._quiet = ""
        return self._intake

    def _close_stream(self) -> None:
        if self._intake is not None:
            self._intake.close()
            self._intake = None
        self._wanted, self._compared, self._place = {}, set(), 0

    def _reach(self, place: int) -> bool:
        """Waits a moment for the log to come to a place. One that is not on disk is never told: it is written then."""
        assert self._intake is not None
        now = time.monotonic()
        if self._intake.reach(place):
            self._came_at = now
            return True
        if now - self._came_at >= STUCK_S:
            self._came_at = now
            with translated(self._database):
                emit(self._connection)
        return False

    def _has_come(self) -> bool:
        """Whether something was committed that no batch has brought. Transactions that are open count for nothing."""
        assert self._intake is not None
        asked_at = time.time()
        ((place, on_disk, snapshot),) = self._connection.execute(SQL["select_news"]).fetchall()
        if snapshot == self._quiet:
            self._asked_at = asked_at
            return False
        if not self._reach(on_disk):
            return True
        if self._intake.is_waiting:
            return True
        if place > on_disk:  # committed, and not on disk: by transactions that do not wait for it
            if time.monotonic() - self._emitted_at < EMIT_S:
                return True
            self._emitted_at = time.monotonic()
            if not self._reach(emit(self._connection)) or self._intake.is_waiting:
                return True
        self._quiet, self._asked, self._asked_at = snapshot, place, asked_at
        return False

    # -- one batch -----------------------------------------------------------------------------------------------------

    def _is_lacking(self, nets: Mapping[str, Net]) -> bool:
        """Takes what messages left out from the rows that are held; says whether something must be looked at instead."""
        for name, net in nets.items():
            if net.is_unknown:
                self._compared.add(name)
                continue
            held: dict[Key, Row] = {}
            for keys in in_pages(net.incomplete(), CHUNK_ROWS):
                held.update(keys_of(net.relation, self._store.rows_of(net.relation, keys)))
            lacking = net.complete(held)
            if lacking and self._is_live(net.relation):  # else the copy brings them, or they are gone by then
                self._wanted.setdefault(name, {}).update(dict.fromkeys(lacking))
        return bool(self._wanted or self._compared)

    def _has_moved(self) -> bool:
        """Whether rows were put in place without a word in the log; they are compared then."""
        self._compared |= self._moved(standings(self._connection, self._slot, list(self._tables.values())))
        return bool(self._compared)

    def _moved(self, now: dict[str, Standing]) -> set[str]:
        found: set[str] = set()
        for name, was in self._stand.items():
            relation, stands = self._tables[name].relation, now.get(name)
            if stands is None or not stands.is_published:
                raise SourceChanged(f"{relation.name} is gone, or not published any more; it is looked at again")
            if stands.columns != was.columns:
                raise SourceChanged(f"a column of {relation.name} was altered; it is looked at again")
            if stands.rows != was.rows:
                found.add(name)
        return found

    def _note(self, *, has_rows: bool) -> None:
        """The proof of positions from now on: the number under which it is noted how the tables stand."""
        now = time.monotonic()
        if self._stand != self._noted or (has_rows and now - self._noted_at >= NOTE_S):
            self._slot = note_reading(self._connection, self._slot, self._stand)
            self._proof, self._noted, self._noted_at = self._slot.readings[-1].proof, self._stand, now

    def _chunks(self, batch: Batch, position: Position, read_at: float | None) -> Iterator[Chunk]:
        assert self._intake is not None
        nets, self._intake.nets = self._intake.nets, {}
        try:
            for net in nets.values():
                yield from self._of(net)
        except BaseException:
            self._close_stream()  # what was taken from it is to be read again
            raise
        batch.after, batch.read_at = position, read_at
        self._hand(position.n)

    def _of(self, net: Net) -> Iterator[Chunk]:
        relation = net.relation
        if net.is_truncated:
            gone = [key for key in keys_of(relation, self._store.held(relation, None, None)) if key not in net.rows]
            for keys in in_pages(gone, CHUNK_ROWS):
                yield Chunk(relation, [], list(keys))
        chunk = net.chunk()
        refuse_not_a_number(self._tables[relation.table], chunk.rows, self._store.dialect)
        if chunk.rows or chunk.deleted:
            yield chunk

    def _read_at(self, end: int) -> float | None:
        """When the batch's end was the newest state, as far as that is known."""
        if self._asked and end >= self._asked:
            return self._asked_at
        last = self._intake.last if self._intake is not None else None
        return last.at if last is not None and last.end > self._handed else None

    def _hand(self, end: int) -> None:
        self._handed, self._moved_at, self._is_wanted, self._place, self.activity = end, time.monotonic(), False, 0, ""
        self._new = set()

    # -- looking at the tables -----------------------------------------------------------------------------------------

    def _look(self, intake: Intake) -> bool:
        """Looks at what is wanted, in one snapshot; False where that does not contain yet all that has come."""
        run, tables = self._connection.execute, list(self._tables.values())
        names = ", ".join(table.name for table in tables)
        run(
            f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL lock_timeout = {LOCK_WAIT_MS}; "
            f"LOCK TABLE {names} IN ACCESS SHARE MODE; SET LOCAL lock_timeout = 0"
        )
        try:
            sight = Sight(contained_now(self._connection))
            if not sight.contained.contains_all(intake.recent):
                return False
            here, now = history(self._connection), standings(self._connection, self._slot, tables)
            sight.whole = self._compared | self._moved(now)
            for name, keys in self._wanted.items():
                relation = self._tables[name].relation
                found = keys_of(relation, lookup(self._connection, self._tables[name], list(keys)))
                sight.rows[name] = {key: found.get(key) for key in keys}
            for name in sight.whole:
                sight.rows[name] = self._differing(self._tables[name])
        finally:
            run("ROLLBACK")
        sight.place = flushed(self._connection)
        if here != self._history:
            self._history, self._noted = here, None
        intake.see(sight)
        self._stand, self._wanted, self._compared = now, {}, set()
        self._is_wanted = True
        return True

    def _differing(self, table: Table) -> dict[Key, Row | None]:
        self.activity = f"comparing {table.relation.name}"
        found: dict[Key, Row | None] = {}
        for chunk in differences(self._connection, table, self._store.held, self._store.dialect):
            found.update(keys_of(table.relation, chunk.rows))
            found.update(dict.fromkeys(chunk.deleted))
        return found

    def _shows_recent(self) -> bool:
        """Whether the tables show all that has come from the log: with synchronous standbys it comes earlier."""
        if self._intake is not None and self._intake.recent:
            contained = contained_now(self._connection)
            self._intake.recent = {xid for xid in self._intake.recent if xid not in contained}
            return not self._intake.recent
        return True

    def _is_new(self, relation: Relation) -> bool:
        """Whether nothing is held of it yet."""
        return self._store.is_empty(mirror_id(relation.service, relation.table))

    def _is_live(self, relation: Relation) -> bool:
        table = mirror_id(relation.service, relation.table)
        return table not in self._store.loaded(self.service) and all(t != table for t, _ in self._store.loading(self.service))

    # -- the server ----------------------------------------------------------------------------------------------------

    def _ready(self) -> None:
        if self._connection.closed:
            raise Unavailable(f"the connection to {shown(self._database)} was cut; it is opened again")


def wal_head(connection: Connection, database: str) -> Position:
    """The newest position: a feed that reaches it has applied everything that is committed now."""
    with translated(database):
        return Position(history(connection), flushed(connection))
