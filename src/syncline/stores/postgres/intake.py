"""What a slot's log comes to for each key, with what was seen of the tables in between: see `sight`."""

import time
from collections.abc import Collection, Mapping
from typing import Final

from syncline.messages import Relation
from syncline.stores.postgres.log_stream import LogStream, Transaction
from syncline.stores.postgres.net import Net, Shape, fold
from syncline.stores.postgres.pgoutput import Described
from syncline.stores.postgres.sight import Contained, Sight

PATIENCE_S: Final = 0.003
"""How long the server is waited for to tell what it has written."""


class Intake:
    """The net of all transactions since the last batch. One thread owns it.

    `relations` are those that are followed, by the numbers of their tables, which may have gone by other names for a while. Of
    those in `copied`, transactions that `since` contains are left out: a copy contains them, and a statement may have rewritten
    since what they tell.
    """

    def __init__(self, stream: LogStream, relations: Mapping[int, Relation], copied: Collection[str], since: Contained) -> None:
        self.nets: dict[str, Net] = {}
        self.last: Transaction | None = None
        self.recent: set[int] = set()
        """Transactions that came, of which nobody has asked yet whether the tables show them."""
        self._stream, self._relations, self._copied, self._since = stream, relations, copied, since
        self._shapes: dict[int, Shape | None] = {}
        self._sight: Sight | None = None
        self._later: list[Transaction] = []

    @property
    def reached(self) -> int:
        return self._stream.reached

    @property
    def is_waiting(self) -> bool:
        """Whether something came that no batch has brought."""
        return bool(self.nets or self._later or self._sight or self._stream.ready)

    @property
    def is_seeing(self) -> bool:
        """Whether there is a sight that no batch has brought."""
        return self._sight is not None

    def reach(self, place: int) -> bool:
        """Waits a moment for the log to come to a place, or for a transaction; says whether it did."""
        stream, until = self._stream, time.monotonic() + PATIENCE_S
        stream.take()
        if stream.reached < place and not stream.ready:
            stream.ask()
        while stream.reached < place and not stream.ready:
            remaining = until - time.monotonic()
            if remaining <= 0:
                return False
            if stream.wait(remaining):
                stream.take()
        return True

    def take(self, place: int) -> bool:
        """Adds what has come. False where that does not reach the place, or the one behind what was seen: it is no state yet."""
        for transaction in self._stream.drain():
            self.last = transaction
            self.recent.add(transaction.xid)
            if self._sight is None or transaction.xid in self._sight.contained:
                self._add(transaction)
            else:
                self._later.append(transaction)
                self._describe(transaction)
        if self.reached < max(place, self._sight.place if self._sight is not None else 0):
            return False
        if self._sight is not None:
            self._overlay(self._sight)
        return True

    def see(self, sight: Sight) -> None:
        """Adds what was seen, in a snapshot that contains all that has come so far."""
        self._sight = sight
        self.recent.clear()

    def confirm(self, place: int) -> None:
        self._stream.confirm(place)

    def close(self) -> None:
        self._stream.close()

    def _overlay(self, sight: Sight) -> None:
        """What was seen, over the transactions that it contains and under the others."""
        of = {relation.table: relation for relation in self._relations.values()}
        for name, rows in sight.rows.items():
            if name in sight.whole:
                self.nets[name] = Net(of[name])
            self.nets.setdefault(name, Net(of[name])).put(rows)
        later, self._later, self._sight = self._later, [], None
        for transaction in later:
            self._add(transaction)

    def _add(self, transaction: Transaction) -> None:
        copied = self._copied if transaction.xid in self._since else ()
        fold(transaction.changes, self._shapes, self.nets, self._shape_of, copied)

    def _describe(self, transaction: Transaction) -> None:
        """A table is described only once, by the first transaction that changes it."""
        for message in transaction.changes:
            if isinstance(message, Described):
                self._shapes[message.table] = self._shape_of(message)

    def _shape_of(self, described: Described) -> Shape | None:
        relation = self._relations.get(described.table)
        return Shape.of(relation, described) if relation is not None else None
