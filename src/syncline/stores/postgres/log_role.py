"""A PostgreSQL database as the one that a service's own commands write (see `syncline.stores.roles`)."""

from contextlib import closing

from syncline.stores.event_log import EventLog
from syncline.stores.postgres import control, history
from syncline.stores.postgres.connection import translated
from syncline.stores.postgres.events import PostgresEventLog
from syncline.stores.postgres.handled import handled_commands
from syncline.stores.postgres.log_tables import connect_writer, create_log
from syncline.stores.postgres.sagas import PostgresSagas
from syncline.stores.postgres.story import story_events
from syncline.stores.postgres.table_commands import PostgresTables
from syncline.stores.service_tables import TableSetup, TableStore

__all__ = [
    "are_sagas_running",
    "handled_commands",
    "is_keeping_sagas",
    "open_history",
    "open_log",
    "open_sagas",
    "open_tables",
    "prepare_outbox",
    "sagas_lease",
    "story_events",
]


def open_log(database: str, *, by_type: bool) -> EventLog:
    return PostgresEventLog(database, by_type=by_type)


def open_tables(database: str, setup: TableSetup) -> TableStore:
    return PostgresTables(database, setup)


def prepare_outbox(database: str) -> None:
    with closing(connect_writer(database, is_log=True)) as connection, translated(database):
        create_log(connection, database)


def open_history(database: str, *, followed_up_to: int) -> history.PostgresHistory:
    return history.open_history(database, followed_up_to=followed_up_to)


def open_sagas(database: str) -> PostgresSagas:
    return PostgresSagas(database)


def is_keeping_sagas(database: str) -> bool:
    return True


def sagas_lease(database: str) -> control.PostgresLease:
    return control.PostgresLease(database, control.SAGAS)


def are_sagas_running(database: str) -> bool:
    return control.is_leased(database, control.SAGAS)
