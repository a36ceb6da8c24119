"""A service's database as verification looks at it: ranges of rows, and which keys stood still since a position."""

import time
from collections.abc import Callable, Sequence

from syncline.messages import Key, Position, Relation, Row
from syncline.move.feed import in_pages, key_of
from syncline.stores.sqlite.install import SQL, is_installed
from syncline.stores.sqlite.reach import Reach


class TriggerLook:
    """Of a service captured by triggers: its log tells which keys changed since a position."""

    def __init__(self, path: str) -> None:
        self._reach = Reach(path, read_only=True)

    def scan(self, relation: Relation, after: Key | None, budget_s: float) -> tuple[list[Row], bool]:
        return self._reach.scan(relation, after, budget_s)

    def settle(self, relation: Relation, keys: Sequence[Key], at: Position) -> tuple[list[Key], dict[Key, Row]] | None:
        key = key_of(relation)
        with self._reach.snapshot():
            run = self._reach.connection.execute
            if not is_installed(self._reach.connection):
                return None
            incarnation, nonce, head, _ = run(SQL["select_place"], {"after": at.n}).fetchone()
            if incarnation != at.incarnation or nonce != at.proof:
                return None
            width = len(relation.key)
            names = ", ".join(f"l.k{position}" for position in range(1, width + 1))
            dirty = set(
                run(
                    f"SELECT {names} FROM syncline_log AS l JOIN syncline_table AS t ON t.id = l.tbl "
                    "WHERE l.seq > ? AND t.name = ?",
                    (at.n, relation.table),
                )
            )
            rows = {key(row): row for page in in_pages(keys, 500) for row in self._reach.lookup(relation, page)}
        return [each for each in keys if each not in dirty], rows

    def head(self) -> Position | None:
        """The newest position; None when nothing is captured yet."""
        with self._reach.snapshot():
            if not is_installed(self._reach.connection):
                return None
            incarnation, _, head, nonce = self._reach.connection.execute(SQL["select_place"], {"after": 0}).fetchone()
        return Position(incarnation, head, nonce) if incarnation is not None else None

    def refresh(self) -> None:
        """The relay sees changes by itself."""

    def close(self) -> None:
        self._reach.close()


class PollingLook:
    """Of a polled service: a key stood still if it is the same before and after a whole sweep.

    `ask` asks for the next sweep; `swept` tells the number of the last one begun.
    """

    def __init__(self, path: str, ask: Callable[[], object], swept: Callable[[], int]) -> None:
        self._reach = Reach(path, read_only=True)
        self._ask, self._swept = ask, swept
        self._before: dict[tuple[str, Key], tuple[Row | None, int]] = {}
        self._asked_at = 0.0

    def scan(self, relation: Relation, after: Key | None, budget_s: float) -> tuple[list[Row], bool]:
        return self._reach.scan(relation, after, budget_s)

    def settle(self, relation: Relation, keys: Sequence[Key], at: Position) -> tuple[list[Key], dict[Key, Row]] | None:
        key = key_of(relation)
        with self._reach.snapshot():
            rows = {key(row): row for row in self._reach.lookup(relation, keys)}
        still: list[Key] = []
        is_waiting = False
        next_sweep = self._swept() + 1
        for each in keys:
            before = self._before.get((relation.table, each))
            if before is not None and at.n >= before[1] and before[0] == rows.get(each):
                still.append(each)
            elif before is None or at.n >= before[1]:
                self._before[relation.table, each] = (rows.get(each), next_sweep)
                is_waiting = True
        if is_waiting:
            self._ask()
        return still, rows

    def refresh(self) -> None:
        if time.monotonic() - self._asked_at > 1.0:
            self._asked_at = time.monotonic()
            self._ask()

    def close(self) -> None:
        self._reach.close()
