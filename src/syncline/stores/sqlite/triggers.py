"""Capture by triggers: a feed over the log of dirty keys in a service's own database.

Theory of operation. A batch is all marks after a position together with the current rows of their keys, from one snapshot.
Where the database keeps a rollback journal, one snapshot may not last: then marks and rows are read in slices of some
milliseconds, and a key that changes after its slice has a mark of its own in a later one; the last slice, which finds no further
mark, fixes the state reached. A position is the log's highest row with its nonce. A position that the log does not hold belongs
to another history (restored, replaced, uninstalled meanwhile), and triggers that are not whole, or a schema changed by more than
one statement at a time, may have let changes pass without a mark: the incarnation is renewed, everything held is compared with
the source, what differs is marked, and the batch that takes those marks is the first of the new incarnation.
"""

import time
from collections.abc import Callable, Iterator, Sequence

from syncline.errors import SourceChanged, Unavailable
from syncline.messages import Batch, Chunk, Key, Position, Relation, Row
from syncline.move.feed import Held, in_pages, key_of
from syncline.stores.sqlite.install import SQL, install, is_installed, is_one_step, lost, standing
from syncline.stores.sqlite.keyless import Keyless
from syncline.stores.sqlite.reach import FETCH_ROWS, Reach, in_write, is_locked
from syncline.stores.sqlite.source import OPEN_TIMEOUT_S, describe, has_columns
from syncline.stores.sqlite.tables import quoted

SLICE_S = 0.003
FIRST_SLICE_MARKS = 500
COMPARE_BUDGET_S = 0.004
INSTALL_BUSY_S = 0.5
ACKNOWLEDGE_BUSY_S = 0.02
MARK_BUSY_S = 0.5
MARK_ATTEMPTS = 20
DELETE_MARKS = 4_000
MARK_ROWS = 1_000
MARK_LIMIT = 20_000_000
"""How far another read store may fall behind before its marks are given up."""


class TriggerFeed:
    """The feed of one service that is captured by triggers, for one read store. One thread owns it.

    `is_loading` tells whether a mirror's first copy is still under way: what it has not come to yet need not be compared.
    """

    def __init__(
        self,
        service: str,
        path: str,
        consumer: str,
        read_store: str,
        held: Held,
        is_loading: Callable[[Relation], bool] = lambda relation: False,
    ) -> None:
        self.service = service
        self._is_loading = is_loading
        self._consumer, self._read_store, self._held = consumer, read_store, held
        self._reach = Reach(path, read_only=False, timeout_s=OPEN_TIMEOUT_S)
        self._keyless = Keyless(self._reach)
        self._relations: dict[str, Relation] = {}
        self._ids: dict[str, int] = {}
        self._schema_version = -1
        self._slice_marks = FIRST_SLICE_MARKS
        self._comparison: _Comparison | None = None
        self._selects: dict[str, str] = {}
        self.activity = ""

    # -- Feed ----------------------------------------------------------------------------------------------------------

    def follow(self, relations: Sequence[Relation]) -> None:
        with self._reach.snapshot():
            self._has_columns(relations)
            ids = standing(self._reach.connection, self._consumer, self._read_store, relations)
            self._schema_version = self._reach.schema_version()
        if ids is None:
            with in_write(self._reach, INSTALL_BUSY_S) as connection:
                self._has_columns(relations)
                ids = install(connection, self._consumer, self._read_store, relations)
                self._schema_version = self._reach.schema_version()
        self._prepare(relations, ids)
        self._reach.forget()

    def start(self) -> Position:
        return self.head()

    def read(self, after: Position) -> Batch | None:
        if self._reach.is_locked:
            return None
        self._keyless.look()
        if self._comparison is not None:
            return self._go_on(after)
        with self._reach.snapshot():
            is_whole = self._check_schema()
            incarnation, nonce, head, _ = self._place(after.n)
            self._reach.seen()
            known = incarnation == after.incarnation and nonce == after.proof and is_whole
            if known and head == after.n:
                return Batch(self.service, after, (), after, time.time())
        if known:
            return self._batch(after, after.n)
        self._renew(after)
        return None

    @property
    def complaint(self) -> str:
        return self._keyless.complaint

    @property
    def is_incremental(self) -> bool:
        return True

    def acknowledge(self, position: Position) -> bool:
        with in_write(self._reach, ACKNOWLEDGE_BUSY_S) as connection:
            connection.execute(SQL["acknowledge"], {"n": position.n, "consumer": self._consumer})
            connection.execute(SQL["expire_consumers"], {"consumer": self._consumer, "limit": MARK_LIMIT})
            deleted = connection.execute(SQL["delete_marks"], {"count": DELETE_MARKS}).rowcount
        return deleted >= DELETE_MARKS

    def head(self) -> Position:
        with self._reach.snapshot():
            incarnation, _, head, nonce = self._place(0)
        return Position(incarnation, head, nonce)

    def changed(self) -> bool:
        return self._reach.changed() or self._comparison is not None or self._keyless.is_due()

    def total(self, relation: Relation) -> int | None:
        return self._reach.count(relation) if self._reach.is_wal else None

    def scan(self, relation: Relation, after: Key | None, budget_s: float) -> tuple[list[Row], bool]:
        return self._reach.scan(relation, after, budget_s)

    def mark(self, relation: Relation, keys: Sequence[Key]) -> None:
        number, width = self._ids[relation.table], len(relation.key)
        columns = ", ".join(f"k{position}" for position in range(1, width + 1))
        sql = f"INSERT INTO syncline_log (nonce, tbl, {columns}) VALUES (random(), {number}, {', '.join('?' * width)})"
        for page in in_pages(keys, MARK_ROWS):
            with in_write(self._reach, MARK_BUSY_S) as connection:
                connection.executemany(sql, page)
        self._reach.forget()

    def close(self) -> None:
        self._reach.close()

    def _prepare(self, relations: Sequence[Relation], ids: dict[str, int]) -> None:
        self._ids = ids
        self._relations = {relation.table: relation for relation in relations}
        self._selects = {relation.table: _select_marked(relation, ids[relation.table]) for relation in relations}
        self._keyless.follow(relations)

    # -- one batch -------------------------------------------------------------------------------------------------------

    def _batch(self, before: Position, from_n: int) -> Batch:
        batch = Batch(self.service, before, ())
        batch.chunks = self._chunks(batch, from_n)
        return batch

    def _chunks(self, batch: Batch, at: int) -> Iterator[Chunk]:
        while True:
            with self._reach.snapshot():
                if not self._check_schema():
                    raise SourceChanged(f"the schema of '{self.service}' changed while a batch was read; it is read again")
                incarnation, nonce, head, head_nonce = self._place(at)
                if nonce is None:
                    raise SourceChanged(f"the log of '{self.service}' was replaced while a batch was read; it is compared anew")
                up_to = head if self._reach.is_wal else min(head, at + self._slice_marks)
                started = time.monotonic()
                for (number,) in self._reach.connection.execute(
                    SQL["select_marked_tables"], {"after": at, "up_to": up_to}
                ).fetchall():
                    yield from self._marked(number, at, up_to)
                if up_to == head:
                    self._reach.seen()
                    batch.after, batch.read_at = Position(incarnation, head, head_nonce), time.time()
                    return
                self._adapt(time.monotonic() - started)
                at = up_to

    def _marked(self, number: int, after: int, up_to: int) -> Iterator[Chunk]:
        relation = next((r for table, r in self._relations.items() if self._ids[table] == number), None)
        if relation is None:
            return
        sql, values = self._selects[relation.table], {"after": after, "up_to": up_to}
        if (
            self._keyless.may_be_in(relation.table)
            and self._reach.connection.execute(_select_keyless(relation, number), values).fetchone()
        ):
            self._keyless.suspect(relation.table)
        with self._reach.readable(relation, sql, values, skip=1):
            cursor = self._reach.connection.execute(sql, values)
        indexes = relation.key_indexes
        while True:
            with self._reach.readable(relation, sql, values, skip=1):
                rows = cursor.fetchmany(FETCH_ROWS)
            if not rows:
                return
            present = [row[1:] for row in rows if row[0]]
            gone = [tuple(row[1 + index] for index in indexes) for row in rows if not row[0]]
            yield Chunk(relation, present, gone)

    def _adapt(self, spent_s: float) -> None:
        if spent_s < SLICE_S / 2:
            self._slice_marks = min(self._slice_marks * 2, 100_000)
        elif spent_s > SLICE_S * 2:
            self._slice_marks = max(self._slice_marks // 2, 16)

    def _place(self, after: int) -> tuple[str, int | None, int, int]:
        row = self._reach.connection.execute(SQL["select_place"], {"after": after}).fetchone()
        incarnation, nonce, head, head_nonce = row
        if incarnation is None or head is None:
            raise SourceChanged(f"the capture of '{self.service}' was removed from its database; it is installed again")
        return incarnation, nonce, head, head_nonce

    # -- another history -------------------------------------------------------------------------------------------------

    def _check_schema(self) -> bool:
        """Whether every followed table is still captured as it was. Looks closely only after a change of the schema."""
        version = self._reach.schema_version()
        if version == self._schema_version:
            return True
        connection = self._reach.connection
        if not is_installed(connection):
            raise SourceChanged(f"the capture of '{self.service}' was removed from its database; it is installed again")
        self._has_columns(list(self._relations.values()))
        if not is_one_step(self._schema_version, version) and not self._is_installed_at(version):
            return False
        if lost(connection, self._relations.values(), self._ids):
            return False
        self._schema_version = version
        return True

    def _is_installed_at(self, version: int) -> bool:
        """Whether the schema became this version by another read store's installing, which then saw what there was to see."""
        return bool(self._reach.connection.execute(SQL["select_schema"]).fetchone() == (version,))

    def _has_columns(self, relations: Sequence[Relation]) -> None:
        for relation in relations:
            has_columns(relation, describe(self._reach.connection, self.service, relation.table))

    def _renew(self, after: Position) -> None:
        """Begins to compare what is held with the source, under a new incarnation unless only this consumer fell behind."""
        relations = list(self._relations.values())
        with in_write(self._reach, INSTALL_BUSY_S) as connection:
            self._has_columns(relations)
            ids = install(connection, self._consumer, self._read_store, relations)
            incarnation, nonce, head, _ = self._place(after.n)
            (_, expired) = connection.execute(SQL["select_consumer"], {"consumer": self._consumer}).fetchone()
            is_mine = incarnation == after.incarnation
            if is_mine and nonce != after.proof and not expired:
                connection.execute(SQL["renew_incarnation"])
            connection.execute(SQL["revive_consumer"], {"n": head, "consumer": self._consumer})
            self._schema_version = self._reach.schema_version()
        self._prepare(relations, ids)
        self._comparison = _Comparison(head, relations)

    def _go_on(self, before: Position) -> Batch | None:
        comparison = self._comparison
        assert comparison is not None
        if comparison.relation is None:
            self._comparison, self.activity = None, ""
            return self._batch(before, comparison.began)
        relation = comparison.relation
        if comparison.is_beyond and self._is_loading(relation) and not self._held(relation, comparison.after, None):
            comparison.advance(None, is_done=True, count=0)
            return None
        found = self._reach.compare(relation, self._held, comparison.after, COMPARE_BUDGET_S)
        key = key_of(relation)
        try:
            if found.rows or found.gone:
                self.mark(relation, [*(key(row) for row in found.rows), *found.gone])
        except Unavailable as error:
            comparison.failures += 1
            if not is_locked(error) or comparison.failures > MARK_ATTEMPTS:
                raise
            return None
        comparison.failures = 0
        comparison.is_beyond = found.held == 0
        comparison.advance(found.last, found.is_done, found.count)
        self.activity = f"comparing {relation.name}: {comparison.count:,} rows"
        return None


class _Comparison:
    """How far what is held was compared with the source, and where the log stood when that began."""

    def __init__(self, began: int, relations: list[Relation]) -> None:
        self.began, self.count, self.failures = began, 0, 0
        self.after: Key | None = None
        self.is_beyond = False
        self._waiting = relations

    @property
    def relation(self) -> Relation | None:
        return self._waiting[0] if self._waiting else None

    def advance(self, last: Key | None, is_done: bool, count: int) -> None:
        self.after, self.count = last, self.count + count
        if is_done:
            self._waiting.pop(0)
            self.after, self.count, self.is_beyond = None, 0, False


def _select_marked(relation: Relation, number: int) -> str:
    """Current rows of the marked keys: whether the row is there, then its columns (of one that is gone, only the key)."""
    names = [f"k{position}" for position in range(1, len(relation.key) + 1)]
    whole = " AND ".join(f"{name} IS NOT NULL" for name in names)
    same = " AND ".join(f"t.{quoted(column)} = m.{name}" for column, name in zip(relation.key, names, strict=True))
    columns = ", ".join(
        f"ifnull(t.{quoted(column)}, m.k{relation.key.index(column) + 1})" if column in relation.key else f"t.{quoted(column)}"
        for column in relation.column_names
    )
    return (
        f"SELECT t.{quoted(relation.key[0])} IS NOT NULL, {columns} FROM (SELECT DISTINCT {', '.join(names)} FROM syncline_log "
        f"WHERE seq > :after AND seq <= :up_to AND tbl = {number} AND {whole}) AS m "
        f"LEFT JOIN {quoted(relation.table)} AS t ON {same}"
    )


def _select_keyless(relation: Relation, number: int) -> str:
    """Whether a part of the log has a mark of a row whose key holds NULL."""
    is_null = " OR ".join(f"k{position} IS NULL" for position in range(1, len(relation.key) + 1))
    return f"SELECT 1 FROM syncline_log WHERE seq > :after AND seq <= :up_to AND tbl = {number} AND ({is_null}) LIMIT 1"
