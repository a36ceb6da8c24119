"""The feed: the ordered, resumable changes of one service, whatever way they were captured.

The relay, the rebuild and the verification know a service only through this protocol.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeAlias, TypeVar, runtime_checkable

from syncline.messages import Batch, Key, Position, Relation, Row

Held: TypeAlias = Callable[[Relation, Key | None, Key | None], list[Row]]
"""Rows that the read store holds of a relation with `after < key <= up_to`, in key order; None is no bound."""

T = TypeVar("T")


class Feed(Protocol):
    """One service's changes. One thread owns a feed; no method may be called from another."""

    @property
    def service(self) -> str: ...

    @property
    def activity(self) -> str:
        """What long work the feed is doing now, for people: empty when it is only following."""
        ...

    @property
    def complaint(self) -> str:
        """What of the service cannot be followed although all else is, and what to do, for people: empty when all is."""
        ...

    def follow(self, relations: Sequence[Relation]) -> None:
        """Captures changes of these relations from now on. Safe to repeat; widens or narrows what was there.

        Raises SourceChanged when a table or column is not there, Unavailable when the database cannot be used.
        """
        ...

    def start(self) -> Position:
        """Where to begin when nothing is held yet: all changes committed after this call come after it."""
        ...

    def read(self, after: Position) -> Batch | None:
        """The next batch, or None when there is nothing to apply yet.

        A batch is never cut: it brings every followed relation to one transaction-consistent state of the source.
        Where `after` cannot be continued (another incarnation, changes no longer held), the batch brings the difference
        between what the read store holds and the source. Finding that difference is cut into slices of some
        milliseconds: None is returned in between, and `changed` stays true.
        """
        ...

    @property
    def is_incremental(self) -> bool:
        """Whether `read` costs only what changed, so that it may go on while mirrors are being loaded."""
        ...

    def acknowledge(self, position: Position) -> bool:
        """Lets the source forget what led up to `position`, some of it at a time; says whether more is to be forgotten.

        Call only when the position's effect is on disk. Raises Unavailable when the owner is writing: try again later.
        """
        ...

    def head(self) -> Position:
        """The newest position: a batch that reaches it contains all that is committed at the time of this call."""
        ...

    def changed(self) -> bool:
        """Whether there may be something for `read`. Costs microseconds; may say yes wrongly, never no wrongly."""
        ...

    def total(self, relation: Relation) -> int | None:
        """How many rows a first copy will read, where that can be told quickly."""
        ...

    def scan(self, relation: Relation, after: Key | None, budget_s: float) -> tuple[list[Row], bool]:
        """Rows with `key > after` in key order, read for about `budget_s` at most; and whether these were the last.

        Holds the source's read lock for no longer than that.
        """
        ...

    def mark(self, relation: Relation, keys: Sequence[Key]) -> None:
        """Makes the next batch bring the current rows of these keys, whatever they were before (repair)."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class HoldsBack(Protocol):
    """What a feed can do besides that holds streams back whose events it cannot make rows of."""

    def release(self, stream: str, *, skip: bool) -> None:
        """Makes a batch to come try a stream that is held back, from its first event on that is; with `skip`, from after that.

        The batch names it among `released`, or again among `parked`. Several may be asked for at once; other batches go on
        until then.
        """
        ...


@runtime_checkable
class Replays(Protocol):
    """What a feed can do besides whose rows are made from events, so that they can be made anew."""

    def replay(self, relations: Sequence[Relation]) -> None:
        """Makes a batch to come bring these relations to what their events make of them today; batches go on until then."""
        ...

    @property
    def is_replaying(self) -> bool:
        """Whether there are rows to be made anew that no batch has brought yet."""
        ...

    @property
    def replayed(self) -> tuple[int, int] | None:
        """While events are replayed, for a first copy or to make rows anew: how many were, and of how many."""
        ...


def key_of(relation: Relation) -> Callable[[Row], Key]:
    """A function from a row of `relation` to its key."""
    indexes = relation.key_indexes
    return lambda row: tuple(row[index] for index in indexes)


def in_pages(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """`items` in order, at most `size` at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
