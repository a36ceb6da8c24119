"""A whole application for one test: the same definitions over fresh databases, its relays run by the test itself.

No database that the application names is touched, no thread outlives the test, and nothing waits for time to pass.
"""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

from syncline.app import App
from syncline.config import Config
from syncline.definitions import ForeignService, View
from syncline.errors import Fault, InvalidDefinition, StaleRead
from syncline.messages import Receipt, Token
from syncline.places import Placed, PostgreSQL, SQLite, is_postgres, postgres_url, without_password
from syncline.read.reader import ReadResult
from syncline.testing.clock import Clock

MEMORY_FOLDER: Final = "/dev/shm"
"""Where Linux keeps files in memory. Elsewhere the folder for temporary files is used, which may be on a disk, and is slower."""
NO_DATABASES: Final[Mapping[str, str | Path]] = MappingProxyType({})


@contextmanager
def in_memory(
    app: App,
    *,
    clock: Clock | None = None,
    databases: Mapping[str, str | Path] = NO_DATABASES,
    create: Callable[[str], str] | None = None,
) -> Iterator["InMemory"]:
    """The parts of `app` over fresh databases. SQLite files are in memory where the system has a folder for that, and gone at the
    end; what is placed on PostgreSQL is put into empty databases of a server: `create` makes one, and returns its URL.

    A service that others write for (of a `syncline.toml`, or a ForeignService) has a database that Syncline cannot make:
    `databases` names one for each, made by the test, which is used in place and may be written to meanwhile. Raises
    InvalidDefinition where one is missing. Events are stored with the time of `clock`, which stands still until it is advanced.
    One thread uses it; any may send.
    """
    clock = clock or Clock()
    with tempfile.TemporaryDirectory(prefix="syncline-", dir=memory_folder()) as folder:
        given = {name: str(each) if is_postgres(str(each)) else os.path.abspath(each) for name, each in databases.items()}
        places = _Places(Path(folder), given, create)
        parts = [places.moved(part) for part in app.parts]
        if places.faults:
            raise InvalidDefinition(places.faults)
        with App(*parts, clock=clock) as copy, copy.settling() as settle:
            settle()
            yield InMemory(copy, settle, clock)


class InMemory:
    """An application over fresh databases; see `in_memory`. What is not offered here can be asked of `app`."""

    def __init__(self, app: App, settle: Callable[[], None], clock: Clock) -> None:
        self.app, self.clock = app, clock
        self._settle = settle

    def settle(self) -> None:
        """Runs every relay in this thread until all that is committed now is applied and every view is built."""
        self._settle()

    def send(self, command: object, **about: Any) -> Receipt:
        """As `App.send`."""
        return self.app.send(command, **about)

    def submit(self, command: object, **about: Any) -> "Future[Receipt]":
        """As `App.submit`."""
        return self.app.submit(command, **about)

    def read(
        self, view: View | str, *key: object, at_least: Token | Receipt | str | None = None, timeout_s: float = 0.0
    ) -> dict[str, Any]:
        """As `App.read`, without waiting: before `settle`, a read with a token of what was sent since is a StaleRead."""
        with _advice():
            return self.app.read(view, *key, at_least=at_least, timeout_s=timeout_s)

    def rows(
        self, view: View | str, *, at_least: Token | Receipt | str | None = None, timeout_s: float = 0.0, **wanted: Any
    ) -> ReadResult:
        """As `App.rows`, without waiting."""
        with _advice():
            return self.app.rows(view, at_least=at_least, timeout_s=timeout_s, **wanted)

    def token(self, service: str) -> Token:
        """As `App.token`."""
        return self.app.token(service)


@contextmanager
def _advice() -> Iterator[None]:
    try:
        yield
    except StaleRead as error:
        error.add_note("in a test nothing follows by itself: call settle() first, unless this is what is tested")
        raise


@dataclass
class _Places:
    """Where the databases of an application are put: each file in a folder of its own, so that it keeps its name."""

    folder: Path
    databases: Mapping[str, str]
    create: Callable[[str], str] | None
    faults: list[Fault] = field(default_factory=list)
    moved_to: dict[str, str] = field(default_factory=dict)

    def moved(self, part: Placed | Config) -> Placed | Config:
        """The same part at its new place."""
        if isinstance(part, Config):
            services = tuple(replace(service, database=self._given(service.name)) for service in part.services)
            models = tuple(replace(model, database=self._fresh(model.database)) for model in part.read_models)
            return replace(part, services=services, read_models=models)
        definition = part.definition
        database = self._given(definition.name) if isinstance(definition, ForeignService) else self._fresh(part.store.database)
        return replace(part, store=PostgreSQL(database) if is_postgres(database) else SQLite(database))

    def _given(self, service: str) -> str:
        found = self.databases.get(service)
        if found is None:
            message = f"service '{service}' has a database that others make, and this test must not touch it"
            advice = f'give it one that the test made: in_memory(app, databases={{"{service}": tmp_path / "{service}.db"}})'
            self.faults.append(Fault("", 0, f"{message}; {advice}"))
        return found or ""

    def _fresh(self, database: str) -> str:
        if database not in self.moved_to:
            self.moved_to[database] = self._made(database) if is_postgres(database) else self._file(database)
        return self.moved_to[database]

    def _file(self, path: str) -> str:
        folder = self.folder / str(len(self.moved_to))
        folder.mkdir()
        return str(folder / Path(path).name)

    def _made(self, url: str) -> str:
        if self.create is None:
            message = f"'{without_password(url)}' is on PostgreSQL, and this test must not touch it"
            advice = "say how an empty database is made: in_memory(app, create=databases.create), see syncline.testing.postgres"
            self.faults.append(Fault("", 0, f"{message}; {advice}"))
            return url
        return postgres_url(self.create(urlsplit(url).path.strip("/")))


def memory_folder() -> str | None:
    """The folder whose files are in memory; None where there is none that may be written to."""
    return MEMORY_FOLDER if os.access(MEMORY_FOLDER, os.W_OK | os.X_OK) else None
