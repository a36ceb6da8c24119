"""What holds for every test, however the run was started."""

import signal
from collections.abc import Iterator

import pytest

from syncline.testing.postgres import Databases, postgres_databases


def pytest_configure() -> None:
    """A shell that starts the tests in the background has them ignore Ctrl-C, and every process they start; here it counts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Databases]:
    """Empty databases on a real PostgreSQL: `postgres.create("name")` makes one and returns its URL."""
    with postgres_databases() as databases:
        yield databases
