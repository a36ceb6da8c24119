"""The event log on PostgreSQL keeps what every event log must keep."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import psycopg
import pytest

from syncline.stores.postgres.events import PostgresEventLog
from syncline.testing.conformance import *  # noqa: F403
from syncline.testing.conformance import Subject
from syncline.testing.postgres import Databases


@pytest.fixture(scope="module")
def database(postgres: Databases) -> str:
    return postgres.create("events")


@pytest.fixture
def subject(database: str) -> Subject:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS syncline CASCADE")
    return Subject(partial(PostgresEventLog, database), newer=partial(newer, database))


@contextmanager
def newer(database: str) -> Iterator[None]:
    with psycopg.connect(database, autocommit=True) as connection:
        found = connection.execute("SELECT format FROM syncline.event_log").fetchone()
        connection.execute("UPDATE syncline.event_log SET format = 99")
        yield
        connection.execute("UPDATE syncline.event_log SET format = %s", found)
