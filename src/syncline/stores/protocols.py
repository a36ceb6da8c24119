"""What the rest of the program knows of a read store, whatever database it is: two roles, one writer and many readers."""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from syncline.messages import Batch, DeadLetter, Key, Position, Relation, Row, Scalar
from syncline.move.freshness import Checkpoint
from syncline.read.definition import Definition
from syncline.read.maintain.asked import Asked
from syncline.stores.paging import Condition, Sort


class Mirrors(Protocol):
    """The mirrors of a read store: what they hold, and their first copy."""

    @property
    def relations(self) -> Mapping[str, Relation]: ...

    def held(self, relation: Relation, after: Key | None, up_to: Key | None) -> list[Row]: ...

    def rows_of(self, relation: Relation, keys: Sequence[Key]) -> list[Row]: ...

    def loading(self, service: str) -> list[tuple[str, Key | None]]: ...

    def loaded(self, service: str) -> list[str]: ...

    def is_empty(self, table: str) -> bool: ...

    def load(self, table: str, rows: Sequence[Row], *, done: bool) -> None: ...

    def copied(self, table: str) -> int: ...


class Views(Protocol):
    """The views of a read store: their definitions, builds and repair."""

    def stored_definitions(self) -> Mapping[str, Definition]: ...

    def is_building(self) -> bool: ...

    def generation(self, name: str) -> int | None: ...

    def needed_definitions(self) -> Sequence[Definition]: ...

    def define(self, captures: Mapping[str, str], definitions: Sequence[Definition], relations: Sequence[Relation]) -> None: ...

    def mirrors_of(self, name: str) -> list[Relation]: ...

    def scans(self, name: str) -> list[str]: ...

    def rebuild(self, name: str) -> None: ...

    def build(self, budget_s: float) -> bool: ...

    def building(self) -> list[tuple[str, int, int]]: ...

    def repair_view(self, table: str, keys: Iterable[tuple[Scalar, ...]]) -> None: ...

    def trim_changes(self) -> None: ...

    def take_remarks(self) -> list[str]: ...


class Checkpoints(Protocol):
    """The vector of a read store, moved with the rows."""

    def checkpoint(self, service: str) -> Position | None: ...

    def is_continued(self, service: str) -> bool: ...

    def start(self, service: str, position: Position, read_at: float) -> None: ...

    def apply(self, batch: Batch, live: Iterable[str] = ()) -> None: ...

    def seen(self, services: Iterable[str], read_at: float) -> None: ...

    def begun(self, service: str, number: int) -> None: ...

    def set_feed_state(self, service: str, state: str, activity: str, error: str | None) -> None: ...

    def sync(self) -> None: ...


class DeadLetters(Protocol):
    """What a read store holds back of event-sourced services."""

    def dead_letters(self, service: str) -> Sequence[DeadLetter]: ...

    def dropped(self, service: str) -> frozenset[int]: ...

    def releasing(self, service: str, stream: str, *, skip: bool) -> None: ...


class ReadStore(Mirrors, Views, Checkpoints, DeadLetters, Protocol):
    """The writing side of a read store. One thread owns it."""

    @property
    def consumer(self) -> str: ...

    @property
    def path(self) -> str: ...

    @property
    def dialect(self) -> str:
        """The kind of database: "sqlite" or "postgres". Views are written in its SQL."""
        ...

    @property
    def is_cut(self) -> bool:
        """Whether the store's connection is gone for good: nothing can be done with it any more, and it must be opened anew."""
        ...

    def take_over(self, holder: str) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class FeedRow:
    """What the store says of one feed."""

    service: str
    capture: str
    checkpoint: Checkpoint
    state: str
    activity: str
    error: str | None


@dataclass(frozen=True, slots=True)
class MirrorRow:
    """What the store says of one mirror."""

    id: str
    relation: Relation
    state: str
    rows: int


@dataclass(frozen=True, slots=True)
class ViewRow:
    """What the store says of one view: the definition its rows are kept by, if any, and one that is being built."""

    name: str
    live: Definition | None
    generation: int | None
    next: Definition | None
    built: tuple[int, int] | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Parked:
    """A piece of a view that could not be computed: its partition key, why, and since when (seconds since 1970)."""

    view: str
    key: Key
    error: str
    since: float


@dataclass(frozen=True, slots=True)
class QueryResult:
    """What a named query gives: its columns as pairs of name and type ("" where the database has none), and its rows."""

    columns: tuple[tuple[str, str], ...]
    rows: list[Row]
    is_cut_short: bool


@dataclass(frozen=True, slots=True)
class Changes:
    """A part of a view's change feed: the numbers of the oldest and newest that it holds, and some rows (number, operation, key
    columns) in order. The operation is "upsert", "delete", or "reset", which has no key: the view was built anew."""

    oldest: int
    newest: int
    rows: list[Row]


class Reader(Protocol):
    """The reading side of a read store. One thread owns one; it is never waited for, and waits for nobody."""

    def snapshot(self) -> AbstractContextManager[None]: ...

    def data_version(self) -> int: ...

    def is_there(self) -> bool:
        """Whether what is read is still the store at its place, and not one that was put away."""
        ...

    def hurry(self) -> bool:
        """Waits for no lock from now on: what is locked is Unavailable at once. Returns whether a row is found by its key in
        microseconds then, less than it takes to ask another thread."""
        ...

    def holder(self) -> str: ...

    def consumer(self) -> str: ...

    def feeds(self) -> list[FeedRow]: ...

    def mirrors(self) -> list[MirrorRow]: ...

    def views(self) -> dict[str, ViewRow]: ...

    def parked(self) -> list[Parked]: ...

    def dead_letters(self) -> list[DeadLetter]: ...

    def held_streams(self) -> list[DeadLetter]: ...

    def held_back(self, service: str) -> tuple[list[DeadLetter], frozenset[int]]: ...

    def marked(self, view: str, pieces: Sequence[Key]) -> tuple[list[bool], bool]: ...

    def table(self, name: str) -> str:
        """How SQL names the stored rows of a mirror or of a live view, in the snapshot that is open."""
        ...

    def count(self, table: str) -> int: ...

    def rows(
        self,
        table: str,
        columns: Sequence[str],
        where: Sequence[Condition] = (),
        order_by: Sequence[Sort] = (),
        limit: int | None = None,
        after: Sequence[Scalar] | None = None,
    ) -> list[Row]: ...

    def held(self, relation: Relation, mirror: str, after: Key | None, up_to: Key | None) -> list[Row]: ...

    def lookup(self, table: str, columns: Sequence[str], names: Sequence[str], keys: Sequence[Key]) -> list[Row]: ...

    def differences(self, stored: str, columns: Sequence[str], query: str, limit: int) -> tuple[int, list[Row], list[Row]]: ...

    def changes(self, view: str, key: Sequence[str], after: int, limit: int) -> Changes:
        """The changes of a view numbered above `after`, at most `limit`."""
        ...

    def changes_of(self, view: str, where: Sequence[Condition], limit: int) -> list[tuple[int, str]]:
        """The newest changes of the row whose key is so, the newest first, as number and operation."""
        ...

    def limited(self, limit_s: float) -> AbstractContextManager[None]:
        """What is read inside ends after so long. Raises TookTooLong."""
        ...

    def query(self, asked: Asked, values: Mapping[str, object], limit: int, timeout_s: float) -> QueryResult:
        """At most `limit` rows of a named query. Raises TookTooLong, InvalidQueryValues."""
        ...

    def close(self) -> None: ...


def dump_key(key: Key | None) -> str | None:
    """A key as JSON; bytes as an object, since JSON has none."""
    return None if key is None else json.dumps([{"hex": v.hex()} if isinstance(v, bytes) else v for v in key])


def load_key(text: str | None) -> Key | None:
    """The key that `dump_key` wrote."""
    if text is None:
        return None
    return tuple(bytes.fromhex(v["hex"]) if isinstance(v, dict) else v for v in json.loads(text))
