"""An SQLite file as the database that a service's own commands write (see `syncline.stores.roles`)."""

from pathlib import Path

from syncline.stores.event_log import EventLog
from syncline.stores.service_tables import TableSetup, TableStore
from syncline.stores.sqlite import control, history
from syncline.stores.sqlite.events import SQLiteEventLog
from syncline.stores.sqlite.handled import handled_commands
from syncline.stores.sqlite.sagas import SQLiteSagas
from syncline.stores.sqlite.source import OPEN_TIMEOUT_S, READ_TIMEOUT_S
from syncline.stores.sqlite.story import story_events
from syncline.stores.sqlite.table_commands import SQLiteTables

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
    return SQLiteEventLog(database, by_type=by_type)


def open_tables(database: str, setup: TableSetup) -> TableStore:
    return SQLiteTables(database, setup)


def prepare_outbox(database: str) -> None:
    history.open_history(database, timeout_s=READ_TIMEOUT_S).close()


def open_history(database: str, *, followed_up_to: int) -> history.SQLiteHistory:
    return history.open_history(database, timeout_s=OPEN_TIMEOUT_S, followed_up_to=followed_up_to)


def open_sagas(database: str) -> SQLiteSagas:
    return SQLiteSagas(database)


def is_keeping_sagas(database: str) -> bool:
    return Path(database).is_file()


def sagas_lease(database: str) -> control.SQLiteLease:
    return control.SQLiteLease(_sagas_of(database))


def are_sagas_running(database: str) -> bool:
    return control.is_leased(_sagas_of(database))


def _sagas_of(database: str) -> str:
    return f"{database}-sagas"
