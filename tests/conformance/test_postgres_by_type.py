"""With the index over types that a service which decides over a query asks for, conditions mean the same on PostgreSQL."""

from functools import partial

import psycopg
import pytest

from syncline.stores.postgres.events import PostgresEventLog
from syncline.testing.conformance import Subject, log, offers_what_is_required, open_log
from syncline.testing.conformance.conditions import *  # noqa: F403
from syncline.testing.postgres import Databases

pytestmark = pytest.mark.long
"""What is tested is tested without the index, too, and SQLite's always run."""

__all__ = ["log", "offers_what_is_required", "open_log"]


@pytest.fixture(scope="module")
def database(postgres: Databases) -> str:
    return postgres.create("events")


@pytest.fixture
def subject(database: str) -> Subject:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS syncline CASCADE")
    return Subject(partial(PostgresEventLog, database, by_type=True))
