"""Capture by triggers: a feed over the marks of dirty keys in a service's own PostgreSQL database.

Theory of operation. A batch is what differs between two snapshots: the current rows of all keys whose marks the newer one sees
and the older one did not, read within the newer one. So it is whole transactions, in whatever order they were numbered and
committed. A position is the older snapshot: `n` is the newest transaction that it may see, `open` those below that were not over.

TRUNCATE and statements that rewrite a table are not bound to snapshots
(https://www.postgresql.org/docs/current/mvcc-caveats.html), so every followed table is locked against them before the snapshot is
taken. A table whose rows are in other files than when it was read last (rewritten, truncated, a partition detached) is compared
as a whole, within the snapshot; so is one that had lost a trigger, or a column of which was made anew. Of a partition that was
attached, all rows are read.

The transaction that reads writes a random number, without waiting for the disk, and the position carries it as its proof.
PostgreSQL's log is written in order, so a database that knows the number has all that was read with it; one that does not was put
back, or is a standby that had not come so far: its history gets another name, and all that is held is compared with it.
"""

import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from syncline.errors import SourceChanged, StoreError
from syncline.messages import Batch, Chunk, Key, Position, Relation, Row
from syncline.move.feed import Held, in_pages
from syncline.stores.postgres import marks
from syncline.stores.postgres.compare import differences, pages, refuse_not_a_number
from syncline.stores.postgres.connection import translated
from syncline.stores.postgres.install import SQL, Standing, cluster, install, is_installed, lost, refuse, standing
from syncline.stores.postgres.reach import Reach
from syncline.stores.postgres.source import Table, columns_of, estimated_rows, scan, table_of
from syncline.stores.postgres.values import as_parameter

SCAN_ROWS = 2_000
MARKED_KEYS = 1_000
FETCHED_AT_ONCE = 4_000
WRITE_WAIT_MS = 200
INSTALL_WAIT_MS = 1_000
ADVANCE_S, ADVANCE_MOST_S = 0.03, 1.0
"""How seldom a position is moved by transactions that concern no followed table: the first of these pauses after marks were read,
then each time twice as long, up to the second. A cluster may be busy, with the read store itself for one."""
EXPIRE_S = 30.0
MARK_LIMIT = 500_000
"""How many statements another read store may fall behind before its marks are given up."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a batch reads of one table: the marked keys, all rows of some partitions, or all that differs (`added` is None).

    `storage` is the state in which the table is then read, where that is another one: to be kept once the batch is on disk.
    """

    table: Table
    number: int
    marked: int
    added: tuple[str, ...] | None
    storage: str | None


class _TriggersLost(Exception):
    """A table is not captured as it should be, or a partition of it not yet."""


class TriggerFeed:
    """The feed of one service that is captured by triggers, for one read store. One thread owns it.

    `dialect` is the read store's. `is_new` tells of what nothing is held yet: it is about to be copied, and need not be compared.
    """

    def __init__(
        self,
        service: str,
        database: str,
        consumer: str,
        read_store: str,
        held: Held,
        dialect: str,
        is_new: Callable[[Relation], bool] = lambda relation: False,
    ) -> None:
        self.service = service
        self.activity = ""
        self.complaint = ""
        self._consumer, self._read_store = consumer, read_store
        self._held, self._dialect, self._is_new = held, dialect, is_new
        self._reach = Reach(service, database)
        self._connection = self._reach.connection
        self._tables: dict[str, Table] = {}
        self._numbers: dict[str, int] = {}
        self._followed: Mapping[str, Standing] = {}
        self._seen: Position | None = None
        self._is_continued = False
        self._read_in: dict[int, tuple[Position, str]] = {}
        self._is_wanted = True
        self._to_forget: set[int] = set()
        self._advanced_at = self._expired_at = time.monotonic()
        self._advances = 0

    # -- Feed ----------------------------------------------------------------------------------------------------------

    def follow(self, relations: Sequence[Relation]) -> None:
        with self._reach.writing(INSTALL_WAIT_MS):
            if not is_installed(self._connection):
                refuse(self._connection, self._reach.database)
            self._install([table_of(self._connection, relation) for relation in relations])
        self._is_wanted = True

    def start(self) -> Position:
        with self._reach.writing(WRITE_WAIT_MS):
            proof = _new_proof()
            self._connection.execute(SQL["insert_reading"], {"consumer": self._consumer, "proof": proof})
        at = self.head()
        return Position(at.incarnation, at.n, proof, at.open)

    def read(self, after: Position) -> Batch | None:
        self._reach.ready()
        read = self._proven(after) if not self._is_continued else after
        if not self._reach.begin([table.name for table in self._tables.values()]):
            return None
        try:
            with self._reach.errors():
                found = self._look(after, read)
                if found is None:
                    self._reach.rollback()
                    self._renew(after)
                    return None
                position, now, works = found
                if position.proof == after.proof:
                    self._reach.rollback()
                    self._saw(position)
                    return Batch(self.service, after, (), position, now)
        except _TriggersLost:
            self.follow([table.relation for table in self._tables.values()])
            return None
        except BaseException:
            self._reach.rollback()
            raise
        batch = Batch(self.service, after, ())
        batch.chunks = self._chunks(batch, read, position, now, works)
        return batch

    @property
    def is_incremental(self) -> bool:
        return True

    def acknowledge(self, position: Position) -> bool:
        """Forgets the marks that every read store has read durably. What is marked meanwhile stays, whatever its number."""
        if not self._to_forget:
            return False
        with self._reach.writing(WRITE_WAIT_MS):
            run = self._connection.execute
            run(SQL["acknowledge"], {"snapshot": marks.as_snapshot(position), "consumer": self._consumer})
            run(SQL["delete_readings"], {"proof": position.proof, "consumer": self._consumer})
            for number, (at, storage) in self._read_in.items():
                if position.reaches(at):
                    run(SQL["set_storage"], {"storage": storage, "consumer": self._consumer, "tbl": number})
            if time.monotonic() - self._expired_at >= EXPIRE_S:
                self._expired_at = time.monotonic()
                self._expire_others()
            for number in sorted(self._to_forget):
                run(marks.delete_marks(number))
            run(SQL["delete_truncations"])
        self._to_forget.clear()
        self._read_in = {number: each for number, each in self._read_in.items() if not position.reaches(each[0])}
        return False

    def head(self) -> Position:
        connection = self._reach.ready()
        with self._reach.errors():
            found = connection.execute(SQL["select_place"]).fetchone()
        if found is None:
            raise self._reach.removed()
        incarnation, n, open_ = found
        return Position(incarnation, n, 0, _numbers(open_))

    def changed(self) -> bool:
        now = time.monotonic()
        if self._is_wanted or self._seen is None:
            return True
        connection, values = self._reach.ready(), {**marks.unseen(self._seen), "consumer": self._consumer}
        with self._reach.errors():
            found = connection.execute(self._probe, values).fetchone()
        assert found is not None
        is_marked, n, open_ = found
        if is_marked:
            self._advances = 0
            return True
        is_moved = (n, _numbers(open_)) != (self._seen.n, self._seen.open)
        pause = min(ADVANCE_S * 2.0 ** max(self._advances - 1, 0), ADVANCE_MOST_S)
        return is_moved and now - self._advanced_at >= pause

    def total(self, relation: Relation) -> int | None:
        self._reach.ready()
        with translated(self._reach.database):
            return estimated_rows(self._connection, self._tables[relation.table].oid)

    def scan(self, relation: Relation, after: Key | None, budget_s: float) -> tuple[list[Row], bool]:
        self._reach.ready()
        table, rows, until = self._tables[relation.table], list[Row](), time.monotonic() + budget_s
        with translated(self._reach.database):
            while True:
                page = scan(self._connection, table, after, SCAN_ROWS)
                refuse_not_a_number(table, page, self._dialect)
                rows += page
                if len(page) < SCAN_ROWS or time.monotonic() >= until:
                    return rows, len(page) < SCAN_ROWS
                after = tuple(page[-1][index] for index in relation.key_indexes)

    def mark(self, relation: Relation, keys: Sequence[Key]) -> None:
        table, number = self._tables[relation.table], self._numbers[relation.table]
        for page in in_pages(keys, MARKED_KEYS):
            with self._reach.writing(WRITE_WAIT_MS):
                values = [as_parameter(value) for column in zip(*page, strict=True) for value in column]
                self._connection.execute(marks.insert_marks(table, number, len(page)), values)
        self._is_wanted = True

    def close(self) -> None:
        self._reach.close()

    # -- installing ------------------------------------------------------------------------------------------------------

    def _install(self, tables: Sequence[Table]) -> None:
        self._numbers = install(self._connection, self._consumer, self._read_store, tables, self._is_new)
        self._followed = standing(self._connection, tables)
        self._tables = {table.relation.table: table for table in tables}
        self._probe = marks.select_is_marked(list(self._numbers.values()))
        self._to_forget = set(self._numbers.values())

    def _renew(self, after: Position) -> None:
        """Makes the next batch compare everything that is held, under another name of the history but if only we are behind."""
        with self._reach.writing(INSTALL_WAIT_MS):
            run = self._connection.execute
            self._install([table_of(self._connection, table.relation) for table in self._tables.values()])
            ((_, incarnation, known),) = run(SQL["select_source"]).fetchall()
            ((is_expired,),) = run(SQL["select_consumer"], {"consumer": self._consumer}).fetchall()
            here = cluster(self._connection)
            if known != here or (incarnation == after.incarnation and not is_expired):
                run(SQL["renew_incarnation"], {"cluster": here})
            run(SQL["revive_consumer"], {"consumer": self._consumer})
            run(SQL["forget_storages"], {"consumer": self._consumer})
        self._is_wanted = True

    # -- one batch -------------------------------------------------------------------------------------------------------

    def _proven(self, after: Position) -> Position:
        """The position that the database knows to have been read; `after` may be beyond, by transactions of no table of ours.

        Over another connection nothing else counts: a server that crashed since may have given their numbers to others.
        """
        with translated(self._reach.database):
            if not is_installed(self._connection):
                return after
            found = self._connection.execute(SQL["select_proven"], {"consumer": self._consumer, "proof": after.proof}).fetchone()
        return Position(after.incarnation, found[0], after.proof, _numbers(found[1])) if found is not None else after

    def _look(self, after: Position, read: Position) -> tuple[Position, float, list[Work]] | None:
        """Where this snapshot is, its time, and what there is to read since `read`; None where `after` cannot be continued."""
        run, tables = self._connection.execute, list(self._tables.values())
        with self._connection.pipeline():
            place = run(SQL["select_reading"], {"consumer": self._consumer, "proof": after.proof})
            here = run(SQL["select_cluster"])
            follows = run(SQL["select_follows"], {"consumer": self._consumer})
            marked = run(marks.select_work(list(self._numbers.values())), marks.unseen(read)) if tables else None
            stands = standing(self._connection, tables)
        found = place.fetchone()
        if found is None or found[2] is None:
            raise self._reach.removed()
        incarnation, known, is_expired, read_store, is_proven, n, open_, now = found
        if read_store != self._read_store:
            raise self._copied(read_store)
        is_same = incarnation == after.incarnation
        if is_expired or (known,) != here.fetchone() or (is_same and (not is_proven or after.n > n)):
            return None
        known = {number: (storage, functions) for number, storage, functions in follows.fetchall()}
        for name, table in self._tables.items():
            number = self._numbers[name]
            if number not in known or lost(number, stands[table.name], known[number][1]):
                raise _TriggersLost
            self._refuse_other_columns(table, stands[table.name])
        works: list[Work] = []
        for number, count, is_truncated in marked.fetchall() if marked is not None else ():
            table = next(table for name, table in self._tables.items() if self._numbers[name] == number)
            stored, now_stored = known[number][0] if is_same else "", stands[table.name].storage()
            if number in self._read_in and after.reaches(self._read_in[number][0]):
                stored = self._read_in[number][1]
            added = stands[table.name].changed_since(stored, table.relation) if not is_truncated else None
            if count or added != []:
                works.append(
                    Work(table, number, count, None if added is None else tuple(added), now_stored if added != [] else None)
                )
        proof = after.proof if is_same and not works else _new_proof()
        return Position(incarnation, n, proof, _numbers(open_)), now, works

    def _copied(self, other: str) -> StoreError:
        return StoreError(
            f"'{other}' follows '{self.service}' in the name of '{self._read_store}': one of these read stores is a copy of the "
            "other, and each takes away the marks that the other needs; stop one, and delete it, so that it is made anew"
        )

    def _refuse_other_columns(self, table: Table, found: Standing) -> None:
        """A column that is followed and was altered must be described anew before a value of it comes."""
        was = self._followed[table.name]
        for name in table.relation.column_names:
            if was.columns.get(name) != found.columns.get(name):
                raise SourceChanged(f"column '{name}' of {table.relation.name} was altered; it is looked at again")
        if was.key != found.key:
            raise SourceChanged(f"the key of {table.relation.name} was altered; it is looked at again")
        if found.refusal:
            raise SourceChanged(f"{table.relation.name} cannot be followed now: {found.refusal}; it is looked at again")

    def _chunks(self, batch: Batch, read: Position, position: Position, now: float, works: Sequence[Work]) -> Iterator[Chunk]:
        is_small = sum(work.marked for work in works) <= FETCHED_AT_ONCE and all(work.added == () for work in works)
        try:
            with translated(self._reach.database):
                yield from (self._few if is_small else self._many)(read, position, works)
        except BaseException:
            self._reach.rollback()
            raise
        self.activity = ""
        self._to_forget.update(work.number for work in works)
        self._read_in.update({work.number: (position, work.storage) for work in works if work.storage is not None})
        batch.after, batch.read_at = position, now
        self._saw(position)

    def _few(self, read: Position, position: Position, works: Sequence[Work]) -> Iterator[Chunk]:
        """The rows of few keys and nothing else, in one round trip with the end of the transaction."""
        with self._connection.pipeline():
            found = [self._connection.execute(_select_marked(work), marks.unseen(read)) for work in works]
            self._end(position)
        for work, cursor in zip(works, found, strict=True):
            yield self._chunk(work.table, cursor.fetchall())

    def _many(self, read: Position, position: Position, works: Sequence[Work]) -> Iterator[Chunk]:
        for work in works:
            if work.added is None:
                self.activity = f"comparing {work.table.relation.name}"
                self._connection.execute("SET LOCAL enable_seqscan = on")
                yield from differences(self._connection, work.table, self._held, self._dialect)
                self._connection.execute("SET LOCAL enable_seqscan = off")
                continue
            for part in work.added:
                yield from self._rows_of(work.table, part)
            if work.marked:
                for rows in pages(self._connection, _select_marked(work), marks.unseen(read)):
                    yield self._chunk(work.table, rows)
        with self._connection.pipeline():
            self._end(position)

    def _end(self, position: Position) -> None:
        """Ends the transaction that read, with its proof."""
        self._connection.execute(SQL["insert_reading"], {"consumer": self._consumer, "proof": position.proof})
        self._connection.execute("COMMIT")

    def _chunk(self, table: Table, rows: Sequence[Row]) -> Chunk:
        """The current rows of marked keys, as they were selected."""
        width = len(table.relation.key)
        present = [row[1 + width :] for row in rows if row[0]]
        refuse_not_a_number(table, present, self._dialect)
        return Chunk(table.relation, present, [row[1 : 1 + width] for row in rows if not row[0]])

    def _rows_of(self, table: Table, part: str) -> Iterator[Chunk]:
        for rows in pages(self._connection, f"SELECT {columns_of(table)} FROM ONLY {part}"):
            refuse_not_a_number(table, rows, self._dialect)
            yield Chunk(table.relation, rows)

    def _saw(self, position: Position) -> None:
        self._seen, self._is_wanted, self._is_continued = position, False, True
        self._advances, self._advanced_at = min(self._advances + 1, 10), time.monotonic()

    def _expire_others(self) -> None:
        """Gives up the marks of read stores that are too far behind: they compare everything when they come back."""
        for number in self._numbers.values():
            others = self._connection.execute(SQL["select_others"], {"tbl": number, "consumer": self._consumer}).fetchall()
            for consumer, acknowledged in others:
                count = (
                    f"SELECT FROM {marks.mark_table(number)} WHERE NOT pg_visible_in_snapshot(tx, %s) OFFSET {MARK_LIMIT} LIMIT 1"
                )
                if self._connection.execute(count, (acknowledged,)).fetchone() is not None:
                    self._connection.execute(SQL["expire_consumer"], {"consumer": consumer})


def _select_marked(work: Work) -> str:
    return marks.select_marked(work.table, work.number)


def _new_proof() -> int:
    return secrets.randbits(62) + 1


def _numbers(array: str) -> tuple[int, ...]:
    return tuple(int(each) for each in array.strip("{}").split(",") if each)
