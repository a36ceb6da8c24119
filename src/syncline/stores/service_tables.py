"""What the rest of the program knows of a service's own tables, whatever database holds them: commands carried out on them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from syncline.messages import Position


class Transaction(Protocol):
    """What a handler of a table service gets: the service's database within one transaction, which is not the handler's to end.

    `parameters` are a mapping, a dataclass or a Struct for `:name` in the SQL, or a sequence for `?`. A date or time is stored as
    ISO 8601 text. Raises Rejected, with the reason in words, when the statement breaks a constraint of the database.
    """

    def execute(self, sql: str, parameters: object = None) -> int:
        """Runs one statement; how many rows it inserted, updated or deleted."""
        ...

    def query(self, sql: str, parameters: object = None) -> list[dict[str, Any]]:
        """Runs one statement; all rows that it gives, by the names of their columns."""
        ...


@dataclass(frozen=True, slots=True)
class Carried:
    """The command that a transaction carries out: its id, and its metadata as JSON; what a handler records carries both."""

    command_id: str
    metadata: str | None


@dataclass(frozen=True, slots=True)
class TableRequest:
    """One command for a table service, with the function that carries it out. `is_fresh`: its id was never used before.
    `metadata` is JSON, beyond the ids."""

    command_id: str
    name: str
    digest: int
    command: Any
    handler: Callable[[Transaction, Any], object]
    is_fresh: bool = False
    metadata: str | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """The command took effect, now or when its id was sent first. `position` is the capture's with the effect.

    `recorded` is that of the outbox in the same database, with what the handler recorded; None where there is no outbox.
    """

    position: Position
    recorded: Position | None = None


TableOutcome: TypeAlias = Done | BaseException


class TableStore(Protocol):
    """One service's database. One thread at a time uses it."""

    def handle(self, requests: Sequence[TableRequest]) -> list[TableOutcome]:
        """Carries out each command, in order, in one transaction that is on disk when this returns.

        Each is accepted or refused on its own; one whose id took effect before is not carried out again. Raises Unavailable when
        the database fails: then nothing is stored.
        """
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class TableSetup:
    """What a store is opened for: whose database it is, what makes its tables, and which of them are published.

    `capture` is how the service is followed: receipts name a place in that feed, or, of a polled service, a count that its
    sweeps know. `has_outbox`: handlers may record events in the same database.
    """

    service: str
    schema: str
    publishes: tuple[str, ...]
    capture: str = "triggers"
    has_outbox: bool = False
