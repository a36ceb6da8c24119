"""What the rest of the program knows of an event log, whatever database holds it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeAlias

from syncline.events import Append, Appended, Conflicted, Handled, Query, Recorded, Repeated
from syncline.messages import Position

Outcome: TypeAlias = Appended | Conflicted | Repeated


class StoredRow(NamedTuple):
    """What folding needs of a stored event."""

    stream: str
    version: int
    position: int
    name: str
    shape: int
    data: str


class EventLog(Protocol):
    """One service's events. One thread at a time uses it. Raises Unavailable or StoreError when the database fails."""

    @property
    def incarnation(self) -> str:
        """Which history the positions belong to."""
        ...

    def append(self, appends: Sequence[Append]) -> list[Outcome]:
        """Stores each append whose condition holds, in order, in one transaction that is on disk when this returns.

        Each is accepted or refused on its own. Positions are dense and in commit order.
        """
        ...

    def read(self, after: int = 0, *, up_to: int = ..., limit: int = ..., query: Query | None = None) -> list[Recorded]: ...

    def read_streams(self, after: Mapping[str, int]) -> dict[str, list[StoredRow]]: ...

    def read_queries(self, after: Mapping[Query, int], up_to: int) -> dict[Query, list[StoredRow]]: ...

    def handled(self, command_ids: Iterable[str]) -> dict[str, Handled]: ...

    def events_of(self, handled: Handled) -> list[StoredRow]: ...

    def head(self) -> Position: ...

    def snapshots(self, streams: Iterable[str]) -> dict[str, tuple[int, str, str]]: ...

    def save_snapshots(self, snapshots: Sequence[tuple[str, int, str, str]]) -> None: ...

    def close(self) -> None: ...
