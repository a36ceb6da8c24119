"""Where the event log is that is followed: each test of `new_log` runs with every store."""

import pytest
from tests.projection.logs import MakeLog, SQLiteLog, on_postgres

from syncline.testing.postgres import Databases


@pytest.fixture(scope="session")
def postgres_log(postgres: Databases) -> MakeLog:
    """Makes logs on PostgreSQL, one at a time."""
    return on_postgres(postgres.create("projection"))


@pytest.fixture(scope="session")
def postgres_read(postgres: Databases) -> str:
    """The URL of a database for read stores, one at a time."""
    return postgres.create("projection_read")


@pytest.fixture(scope="session", params=["sqlite", "postgres"])
def new_log(request: pytest.FixtureRequest) -> MakeLog:
    """Makes the log of a service in a folder; on PostgreSQL one log at a time."""
    if request.param == "sqlite":
        return SQLiteLog
    found: MakeLog = request.getfixturevalue("postgres_log")
    return found
