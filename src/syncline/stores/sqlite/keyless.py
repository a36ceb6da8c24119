"""Rows that cannot be followed because their primary key holds NULL: counted, so that they are never left out in silence.

SQLite allows NULL in every primary key but that of a WITHOUT ROWID table and the row number. Counting goes in slices of some
milliseconds, so that the owner never waits for it.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from syncline.errors import Unavailable
from syncline.messages import Relation
from syncline.stores.sqlite.reach import Reach
from syncline.stores.sqlite.source import nullable_key, row_number_names, source_errors
from syncline.stores.sqlite.tables import quoted

SLICE_ROWS = 10_000
AGAIN_S = 0.25
MOST_COUNTED = 1_000


@dataclass(slots=True)
class _Count:
    """How many such rows a table has: as known, and as far as a count under way has come."""

    relation: Relation
    columns: tuple[str, ...]
    row_number: str
    known: int = 0
    counted: int = 0
    after: int | None = None
    due_at: float | None = 0.0


class Keyless:
    """The count of rows without a whole key, for the tables of one feed. The feed's thread owns it."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._tables: dict[str, _Count] = {}

    def follow(self, relations: Sequence[Relation]) -> None:
        """Counts in these tables from now on, anew."""
        found: dict[str, _Count] = {}
        for relation in relations:
            columns = nullable_key(self._reach.connection, relation)
            if columns:
                names = row_number_names(self._reach.connection, relation) if columns != relation.key[:1] else ()
                found[relation.table] = _Count(relation, columns, next(iter(names), ""))
        self._tables = found

    def may_be_in(self, table: str) -> bool:
        return table in self._tables

    def suspect(self, table: str) -> None:
        """A row without a whole key was written or mended: counts again, but not all the time."""
        count = self._tables[table]
        if count.due_at is None:
            count.due_at = time.monotonic() + AGAIN_S

    def is_due(self) -> bool:
        """Whether `look` has something to do."""
        now = time.monotonic()
        return any(each.due_at is not None and each.due_at <= now for each in self._tables.values())

    def look(self) -> None:
        """Counts in one slice of one table. A table locked by its owner is counted another time."""
        now = time.monotonic()
        count = next((each for each in self._tables.values() if each.due_at is not None and each.due_at <= now), None)
        if count is None:
            return
        try:
            with source_errors(self._reach.path):
                self._slice(count)
        except Unavailable:
            count.due_at = now + AGAIN_S

    def look_at_all(self) -> None:
        """Counts in every table, to the end. Call inside the reads of a sweep."""
        for count in self._tables.values():
            count.due_at, count.counted, count.after = 0.0, 0, None
            while count.due_at is not None:
                self._slice(count)

    @property
    def complaint(self) -> str:
        """What is left out and what to do about it; empty when nothing is."""
        return "; ".join(_complaint(each) for each in self._tables.values() if each.known)

    def _slice(self, count: _Count) -> None:
        table, is_null = quoted(count.relation.table), " OR ".join(f"{quoted(name)} IS NULL" for name in count.columns)
        run = self._reach.connection.execute
        if not count.row_number:
            sql = f"SELECT count(*) FROM (SELECT 1 FROM {table} WHERE {is_null} LIMIT {MOST_COUNTED + 1})"
            (count.known,) = run(sql).fetchone()
            count.due_at = None
            return
        number = count.row_number
        bound = f"WHERE {number} > {count.after}" if count.after is not None else ""
        rows = f"SELECT {number} AS n, {is_null} AS is_null FROM {table} {bound} ORDER BY {number} LIMIT {SLICE_ROWS}"
        found, last, seen = run(f"SELECT total(is_null), max(n), count(*) FROM ({rows})").fetchone()
        count.counted += int(found)
        count.after = last
        if seen < SLICE_ROWS or count.counted > MOST_COUNTED:
            count.known, count.counted, count.after, count.due_at = count.counted, 0, None, None


def _complaint(count: _Count) -> str:
    table, columns = count.relation.table, ", ".join(count.columns)
    amount = f"more than {MOST_COUNTED:,}" if count.known > MOST_COUNTED else f"{count.known:,}"
    rows = "1 row is" if count.known == 1 else f"{amount} rows are"
    where = " OR ".join(f"{quoted(name)} IS NULL" for name in count.columns)
    return (
        f"{count.relation.name}: {rows} left out, because the primary key ({columns}) is NULL there; give each a key of its "
        f"own at the service, or delete it: {quoted(table)} WHERE {where}"
    )
