"""Opens what handles commands: a decider over an event log, or a table service over its own tables."""

from collections.abc import Callable

from syncline.composing import Writing
from syncline.config import ServiceConfig
from syncline.stores.roles import log_role
from syncline.stores.service_tables import TableSetup, TableStore
from syncline.write.commit import Handler
from syncline.write.decider import Decider
from syncline.write.event_service import EventService
from syncline.write.tables import TableHandler, TableService


def open_handler(writing: Writing, clock: Callable[[], float]) -> Handler:
    """What handles the commands of a service. Makes its database where there is none. Raises StoreError if it cannot be used."""
    definition, database = writing.definition, writing.config.database
    if isinstance(definition, EventService):
        return Decider(definition, log_role(database).open_log(database, by_type=definition.query is not None), clock)
    return TableHandler(definition, _open_tables(definition, writing), writing.outbox)


def prepare_tables(writing: Writing) -> None:
    """Makes the tables of a table service where they are not yet, so that they can be followed before the first command."""
    if isinstance(writing.definition, TableService):
        _open_tables(writing.definition, writing).close()


def prepare_outbox(config: ServiceConfig) -> None:
    """Makes the log that a service's own transactions record events in, where it is not yet."""
    log_role(config.database).prepare_outbox(config.database)


def _open_tables(service: TableService, writing: Writing) -> TableStore:
    capture = writing.config.capture
    setup = TableSetup(service.name, service.schema, tuple(service.publishes), capture=capture, has_outbox=bool(writing.outbox))
    return log_role(writing.config.database).open_tables(writing.config.database, setup)
