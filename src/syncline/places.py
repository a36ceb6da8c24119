"""Where things are stored and how changes leave a service: placements as plain values, written in one file of an application."""

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class SQLite:
    """An SQLite file. `path` is relative to the working directory at the time the App is built."""

    path: str


@dataclass(frozen=True, slots=True)
class Events:
    """A service is followed by its event log: the capture of every EventService and Outbox."""


@dataclass(frozen=True, slots=True)
class Triggers:
    """Triggers in the service's database log which rows changed, in the transaction that changes them."""


@dataclass(frozen=True, slots=True)
class Polling:
    """Sweeps compare the service's tables with what is held every `every_s` seconds; nothing is installed there.

    With `changed_at` sweeps in between read only rows whose column of that name rose, miss deletions until the next full sweep
    (every `full_every_s` seconds), and are declared inexact.
    """

    every_s: float = 5.0
    changed_at: str | None = None
    full_every_s: float = 60.0


Store: TypeAlias = SQLite
Capture: TypeAlias = Events | Triggers | Polling


@dataclass(frozen=True, slots=True)
class Placed:
    """A definition (a service, an outbox, a view) at a place."""

    definition: object
    store: Store
    capture: Capture | None = None
