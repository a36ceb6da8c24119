"""From a connection of any driver to the event log behind it, without knowing the driver. Stores are reached by name."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol, cast


@dataclass(frozen=True, slots=True)
class OutboxEvent:
    """An event as it is stored. `id` is random, `at` seconds since 1970, `metadata` a JSON object as text or None."""

    stream: str
    name: str
    shape: int
    data: str
    id: int
    at: float
    command_id: str | None = None
    metadata: str | None = None


class OutboxLog(Protocol):
    """An event log within the transaction of somebody else's connection. Never commits."""

    def install(self) -> None:
        """Makes the log's tables where they are not."""
        ...

    def append(self, events: Sequence[OutboxEvent]) -> None:
        """Appends the events, to be seen together or not at all, when and if the caller's transaction commits.

        Raises StoreError when no transaction is open or the log's tables are missing.
        """
        ...


def outbox_for(connection: object) -> OutboxLog:
    """The event log in the database that `connection` leads to. Raises StoreError for what is no connection that is known."""
    return cast(OutboxLog, import_module("syncline.stores.sqlite.outbox").outbox_on(connection))
