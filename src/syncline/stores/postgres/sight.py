"""What was seen of tables in one snapshot, and which transactions of the log it contains.

All that a snapshot contains was committed before a place of the log that is told after it was taken. So what the transactions
contained come to is replaced by what was seen; the others, which are not contained, count for more than what was seen.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from syncline.messages import Key, Row
from syncline.stores.postgres.connection import Connection
from syncline.stores.postgres.slot import SQL


@dataclass(frozen=True, slots=True)
class Contained:
    """A snapshot: it contains all transactions below `next`, but for those that were `running`."""

    next: int
    running: frozenset[int]

    def __contains__(self, xid: int) -> bool:
        """`xid` is the low 32 bits of a transaction's number, as the log tells it."""
        distance = (xid - self.next) & 0xFFFFFFFF
        whole = self.next + (distance if distance < 1 << 31 else distance - (1 << 32))
        return whole < self.next and whole not in self.running

    def contains_all(self, xids: Iterable[int]) -> bool:
        return all(xid in self for xid in xids)


@dataclass(slots=True)
class Sight:
    """Rows of keys, or None where there were none; of tables in `whole`, all that differs from what is held.

    All of it was committed before `place`.
    """

    contained: Contained
    rows: dict[str, dict[Key, Row | None]] = field(default_factory=dict)
    whole: set[str] = field(default_factory=set)
    place: int = 0


def contained_now(connection: Connection) -> Contained:
    """What the open transaction's snapshot contains; outside of one, what this moment's does."""
    ((following, running),) = connection.execute(SQL["select_snapshot"]).fetchall()
    return Contained(following, frozenset(int(each) for each in running.strip("{}").split(",") if each))


def flushed(connection: Connection) -> int:
    """A place of the log behind everything that is committed now; it is on disk, so that the slot comes to it."""
    ((written, on_disk),) = connection.execute(SQL["select_place"]).fetchall()
    return int(on_disk) if written == on_disk else emit(connection)


def emit(connection: Connection) -> int:
    """Makes the log go on, and be written to disk."""
    ((place,),) = connection.execute(SQL["emit"]).fetchall()
    return int(place)
