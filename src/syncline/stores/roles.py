"""What a database is to the program: a service's source, the log that its commands write, or a read store. Which store's code
plays the role is told by what the database is called: a URL that begins with `postgresql://`, or the path of an SQLite file.

A role is a module of functions, found by name, so that a store's driver is loaded only where that store is used.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol, cast

from syncline.errors import StoreError
from syncline.messages import Key, Position, Relation, Row
from syncline.move.feed import Feed
from syncline.places import is_postgres
from syncline.rows import Published
from syncline.stores.event_log import EventLog
from syncline.stores.history import History
from syncline.stores.protocols import Reader, ReadStore
from syncline.stores.saga_store import SagaDatabase
from syncline.stores.service_tables import TableSetup, TableStore


class Source(Protocol):
    """A service that is followed, as its configuration says. `database` is a path or a URL; `tables` is `("*",)` for all."""

    @property
    def name(self) -> str: ...
    @property
    def database(self) -> str: ...
    @property
    def capture(self) -> str: ...
    @property
    def tables(self) -> tuple[str, ...]: ...
    @property
    def every_s(self) -> float: ...
    @property
    def changed_at(self) -> str | None: ...
    @property
    def full_every_s(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Described:
    """What a service publishes, which tables cannot be followed and why, what should be better, whether it is captured."""

    relations: tuple[Relation, ...]
    refused: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()
    is_captured: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """A relation, and the foreign keys it declares: column, table and column of the same database (None: its key)."""

    relation: Relation
    foreign: Sequence[tuple[str, str, str | None]] = ()


@dataclass(frozen=True, slots=True)
class Survey:
    """What `init` finds in a database: relations that can be followed, tables that cannot with the reason, and hints."""

    found: tuple[Found, ...]
    left_out: tuple[tuple[str, str], ...]
    journal_mode: str = ""


class Look(Protocol):
    """A service's database as verification looks at it."""

    def scan(self, relation: Relation, after: Key | None, budget_s: float) -> tuple[list[Row], bool]: ...

    def settle(self, relation: Relation, keys: Sequence[Key], at: Position) -> tuple[list[Key], dict[Key, Row]] | None: ...

    def refresh(self) -> None: ...

    def close(self) -> None: ...


class SourceRole(Protocol):
    """A service's database, as those who follow it use it. All raise Unavailable where it cannot be used now."""

    def look(self, source: Source, *, briefly: bool) -> Described:
        """All that can be told of the service. `briefly`: an owner who holds the database is hardly waited for."""
        ...

    def is_locked(self, error: StoreError) -> bool:
        """Whether the reason is only that its owner, or another program, holds the database now."""
        ...

    def survey(self, database: str, service: str) -> Survey: ...

    def open_feed(self, source: Source, published: Published | None, store: ReadStore) -> Feed: ...

    def open_look(
        self,
        source: Source,
        published: Published | None,
        reader: Reader,
        ask: Callable[[], object],
        swept: Callable[[], int],
    ) -> Look:
        """`ask` asks for the next sweep of a polled service; `swept` tells the number of the last one begun."""
        ...

    def head(self, source: Source) -> Position | None:
        """The newest position; None where it cannot be told: of a polled service, or one that is not captured yet."""
        ...

    def renew(self, source: Source) -> str | None:
        """Gives the history that the database holds another name, and returns it; None where there is none to be named."""
        ...

    def uninstall(self, source: Source, read_store: str | None) -> list[str]:
        """Removes what was put there to follow the service, for one read store or all; returns what was removed."""
        ...


@dataclass(frozen=True, slots=True)
class HandledCommands:
    """Commands that took effect in a database; for an event log also how many events it holds and when the last came."""

    commands: int
    events: int | None = None
    newest_at: float | None = None


@dataclass(frozen=True, slots=True)
class StoryEvent:
    """A stored event as a story tells it. `at` is seconds since 1970, `data` JSON, `metadata` what is known of its cause."""

    position: int
    stream: str
    version: int
    name: str
    data: str
    at: float
    command_id: str | None
    metadata: Mapping[str, Any]


class LogRole(Protocol):
    """A service's database, as its own commands use it."""

    def open_log(self, database: str, *, by_type: bool) -> EventLog: ...

    def open_tables(self, database: str, setup: TableSetup) -> TableStore: ...

    def prepare_outbox(self, database: str) -> None:
        """Makes what a service's own transactions record events in, where it is not yet."""
        ...

    def handled_commands(self, database: str, *, is_log: bool) -> HandledCommands | None:
        """What `status` counts; None where there is no database yet."""
        ...

    def open_history(self, database: str, *, followed_up_to: int) -> History:
        """The log of a database as those read it who follow it, made where there is none yet."""
        ...

    def open_sagas(self, database: str) -> SagaDatabase: ...

    def is_keeping_sagas(self, database: str) -> bool:
        """Whether there may be sagas in the database, as far as can be told without making anything."""
        ...

    def sagas_lease(self, database: str) -> "Lease":
        """The right to run the sagas in the database."""
        ...

    def are_sagas_running(self, database: str) -> bool:
        """Whether somebody runs the sagas in the database. Looks without taking."""
        ...

    def story_events(self, database: str, ids: Iterable[str], *, newest: int, limit: int) -> list[StoryEvent]:
        """Events whose stream, command, correlation or cause is one of these; the same may come several times."""
        ...


@dataclass(frozen=True, slots=True)
class Request:
    """Something a relay was asked to do. `state` is asked, done or failed; `answer` is JSON or, of a failed one, the reason."""

    id: int
    verb: str
    argument: Any
    state: str
    answer: Any


class Lease(Protocol):
    """The right to be the one relay of a read store. It ends with `release`, or with the process."""

    def acquire(self) -> bool:
        """Takes the lease if nobody holds it; says whether it is held now. Never waits."""
        ...

    def release(self) -> None: ...


class Requests(Protocol):
    """What other processes ask of the relay of one read store, in order."""

    def ask(self, verb: str, argument: Any = None) -> int: ...

    def find(self, number: int) -> Request | None: ...

    def waiting(self) -> list[Request]: ...

    def answer(self, number: int, state: str, answer: Any) -> None: ...

    def close(self) -> None: ...


class ReadRole(Protocol):
    """A read store: its one writer, its readers, and what is between the processes that use it."""

    def open_store(self, database: str, name: str) -> ReadStore:
        """The writing side, for the holder of the lease. `name` is the read model's; views live in a schema of that name
        where the store has schemas."""
        ...

    def open_reader(self, database: str, until: float = 0.0) -> Reader:
        """A reading connection; a store that is only being made is waited for until a time of the monotonic clock."""
        ...

    def lease(self, database: str) -> Lease: ...

    def is_leased(self, database: str) -> bool:
        """Whether a relay runs for this read store. Looks without taking."""
        ...

    def requests(self, database: str) -> Requests: ...

    def is_made(self, database: str) -> bool:
        """Whether there is a read store, as far as can be told without opening it."""
        ...

    def identity(self, database: str) -> object:
        """Another value when the store was removed or replaced since."""
        ...

    def warnings(self, database: str) -> list[str]:
        """What should be better about the software that the store depends on."""
        ...

    def trial_store(self, database: str, name: str) -> AbstractContextManager[ReadStore]:
        """An empty store like this one, to try views in; nothing of it is left."""
        ...


def dialect_of(database: str) -> str:
    """The kind of a database: "sqlite" or "postgres"."""
    return "postgres" if is_postgres(database) else "sqlite"


def source_role(database: str) -> SourceRole:
    return cast(SourceRole, _module(database, "source_role"))


def log_role(database: str) -> LogRole:
    return cast(LogRole, _module(database, "log_role"))


def read_role(database: str) -> ReadRole:
    return cast(ReadRole, _module(database, "read_role"))


def _module(database: str, role: str) -> object:
    try:
        return import_module(f"syncline.stores.{dialect_of(database)}.{role}")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "psycopg":
            raise
        raise StoreError(
            "PostgreSQL needs the driver psycopg, which is not installed: pip install 'syncline[postgres]'"
        ) from error
