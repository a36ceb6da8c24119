"""Opens what handles commands: a decider over an event log, or a table service over its own tables."""

from collections.abc import Callable

from syncline.composing import Writing
from syncline.config import ServiceConfig
from syncline.stores.service_tables import TableSetup
from syncline.stores.sqlite.events import SQLiteEventLog
from syncline.stores.sqlite.history import open_history
from syncline.stores.sqlite.source import READ_TIMEOUT_S
from syncline.stores.sqlite.table_commands import SQLiteTables
from syncline.write.commit import Handler
from syncline.write.decider import Decider
from syncline.write.event_service import EventService
from syncline.write.tables import TableHandler, TableService


def open_handler(writing: Writing, clock: Callable[[], float]) -> Handler:
    """What handles the commands of a service. Makes its database where there is none. Raises StoreError if it cannot be used."""
    definition, path = writing.definition, writing.config.database
    if isinstance(definition, EventService):
        return Decider(definition, SQLiteEventLog(path, by_type=definition.query is not None), clock)
    return TableHandler(definition, _open_tables(definition, writing), writing.outbox)


def prepare_tables(writing: Writing) -> None:
    """Makes the tables of a table service where they are not yet, so that they can be followed before the first command."""
    if isinstance(writing.definition, TableService):
        _open_tables(writing.definition, writing).close()


def prepare_outbox(config: ServiceConfig) -> None:
    """Makes the log that a service's own transactions record events in, where it is not yet."""
    open_history(config.database, timeout_s=READ_TIMEOUT_S).close()


def _open_tables(service: TableService, writing: Writing) -> SQLiteTables:
    setup = TableSetup(
        service.name,
        service.schema,
        tuple(service.publishes),
        is_logged=writing.config.capture == "triggers",
        has_outbox=bool(writing.outbox),
    )
    return SQLiteTables(writing.config.database, setup)
