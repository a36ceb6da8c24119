"""Trips over stores of both kinds, followed without threads: what there is to do is done when a test says `settle`."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.saga.trip import Places, build, travel

from syncline import App, PostgreSQL, Saga, SQLite
from syncline.sagas import BegunSaga
from syncline.testing import Clock
from syncline.testing.postgres import Databases


@dataclass
class Trips:
    """The application over its databases; `again` opens it anew, as after a restart."""

    places: Places
    clock: Clock = field(default_factory=Clock)
    app: App = field(init=False)
    settle: Callable[[], None] = field(init=False)
    _open: ExitStack = field(default_factory=ExitStack)

    def again(self, saga: Saga = travel, **services: Any) -> None:
        self._open.close()
        self.app = self._open.enter_context(build(self.places, saga=saga, clock=self.clock, **services))
        self.settle = self._open.enter_context(self.app.settling())

    def close(self) -> None:
        self._open.close()

    def of(self, key: str, saga: str = "travel") -> BegunSaga:
        return self.app.sagas.history(saga, key)[0]

    def events(self, key: str, saga: str = "travel") -> list[str]:
        """The names of the events that came, in order."""
        return [step.name for step in self.app.sagas.history(saga, key)[1] if step.kind == "event"]

    def commands(self, key: str, saga: str = "travel") -> list[tuple[str, str]]:
        """The commands that it wanted, each with what became of it."""
        return [(step.name, step.state) for step in self.app.sagas.history(saga, key)[1] if step.kind == "command"]


@pytest.fixture
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Places:
    """Where each service, and the sagas, are: in SQLite files unless a test asks for PostgreSQL."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return lambda name: SQLite(str(tmp_path / f"{name}.db"))
    databases: Databases = request.getfixturevalue("postgres")
    made: dict[str, PostgreSQL] = {}

    def place(name: str) -> PostgreSQL:
        if name not in made:
            made[name] = PostgreSQL(databases.create(name))
        return made[name]

    return place


@pytest.fixture
def trips(places: Places) -> Iterator[Trips]:
    trips = Trips(places)
    trips.again()
    yield trips
    trips.close()
