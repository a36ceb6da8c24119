"""An SQLite file as the database that a service's own commands write (see `syncline.stores.roles`)."""

from syncline.stores.event_log import EventLog
from syncline.stores.service_tables import TableSetup, TableStore
from syncline.stores.sqlite.events import SQLiteEventLog
from syncline.stores.sqlite.handled import handled_commands
from syncline.stores.sqlite.history import open_history
from syncline.stores.sqlite.source import READ_TIMEOUT_S
from syncline.stores.sqlite.story import story_events
from syncline.stores.sqlite.table_commands import SQLiteTables

__all__ = ["handled_commands", "open_log", "open_tables", "prepare_outbox", "story_events"]


def open_log(database: str, *, by_type: bool) -> EventLog:
    return SQLiteEventLog(database, by_type=by_type)


def open_tables(database: str, setup: TableSetup) -> TableStore:
    return SQLiteTables(database, setup)


def prepare_outbox(database: str) -> None:
    open_history(database, timeout_s=READ_TIMEOUT_S).close()
