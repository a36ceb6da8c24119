"""A PostgreSQL database as the one that a service's own commands write (see `syncline.stores.roles`)."""

from contextlib import closing

from syncline.stores.event_log import EventLog
from syncline.stores.postgres.connection import translated
from syncline.stores.postgres.events import PostgresEventLog
from syncline.stores.postgres.handled import handled_commands
from syncline.stores.postgres.log_tables import connect_writer, create_log
from syncline.stores.postgres.story import story_events
from syncline.stores.postgres.table_commands import PostgresTables
from syncline.stores.service_tables import TableSetup, TableStore

__all__ = ["handled_commands", "open_log", "open_tables", "prepare_outbox", "story_events"]


def open_log(database: str, *, by_type: bool) -> EventLog:
    return PostgresEventLog(database, by_type=by_type)


def open_tables(database: str, setup: TableSetup) -> TableStore:
    return PostgresTables(database, setup)


def prepare_outbox(database: str) -> None:
    with closing(connect_writer(database, is_log=True)) as connection, translated(database):
        create_log(connection, database)
