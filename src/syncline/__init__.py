"""Read models joined over several services, kept exact, and the write models that feed them. Here are the public names.

They are loaded when they are first used, so that importing one module of the package does not load all of it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from syncline.app import App as App
    from syncline.config import load_config as load_config
    from syncline.definitions import ForeignService as ForeignService
    from syncline.definitions import NamedQuery as NamedQuery
    from syncline.definitions import View as View
    from syncline.errors import CommandReused as CommandReused
    from syncline.errors import Conflict as Conflict
    from syncline.errors import DeadToken as DeadToken
    from syncline.errors import InvalidCommand as InvalidCommand
    from syncline.errors import InvalidDefinition as InvalidDefinition
    from syncline.errors import InvalidEvent as InvalidEvent
    from syncline.errors import InvalidToken as InvalidToken
    from syncline.errors import NotFound as NotFound
    from syncline.errors import NotReady as NotReady
    from syncline.errors import Rejected as Rejected
    from syncline.errors import StaleRead as StaleRead
    from syncline.errors import StoreError as StoreError
    from syncline.errors import SynclineError as SynclineError
    from syncline.errors import Unavailable as Unavailable
    from syncline.events import Query as Query
    from syncline.events import QueryItem as QueryItem
    from syncline.messages import Receipt as Receipt
    from syncline.messages import Token as Token
    from syncline.messages import parse_token as parse_token
    from syncline.places import WAL as WAL
    from syncline.places import Polling as Polling
    from syncline.places import PostgreSQL as PostgreSQL
    from syncline.places import SQLite as SQLite
    from syncline.places import Triggers as Triggers
    from syncline.rows import Delete as Delete
    from syncline.rows import Patch as Patch
    from syncline.rows import Relation as Relation
    from syncline.rows import Upsert as Upsert
    from syncline.write.event_service import EventService as EventService
    from syncline.write.outbox import Outbox as Outbox
    from syncline.write.saga import After as After
    from syncline.write.saga import CommandRejected as CommandRejected
    from syncline.write.saga import Saga as Saga
    from syncline.write.saga import Withdraw as Withdraw
    from syncline.write.tables import TableService as TableService

_MODULE_OF = {
    "After": "write.saga",
    "App": "app",
    "CommandRejected": "write.saga",
    "CommandReused": "errors",
    "Conflict": "errors",
    "DeadToken": "errors",
    "Delete": "rows",
    "EventService": "write.event_service",
    "ForeignService": "definitions",
    "InvalidCommand": "errors",
    "InvalidDefinition": "errors",
    "InvalidEvent": "errors",
    "InvalidToken": "errors",
    "NamedQuery": "definitions",
    "NotFound": "errors",
    "NotReady": "errors",
    "Outbox": "write.outbox",
    "Patch": "rows",
    "Polling": "places",
    "PostgreSQL": "places",
    "Query": "events",
    "QueryItem": "events",
    "Receipt": "messages",
    "Rejected": "errors",
    "Relation": "rows",
    "SQLite": "places",
    "Saga": "write.saga",
    "StaleRead": "errors",
    "StoreError": "errors",
    "SynclineError": "errors",
    "TableService": "write.tables",
    "Token": "messages",
    "Triggers": "places",
    "Unavailable": "errors",
    "Upsert": "rows",
    "View": "definitions",
    "WAL": "places",
    "Withdraw": "write.saga",
    "load_config": "config",
    "parse_token": "messages",
}
__all__ = list(_MODULE_OF)


def __getattr__(name: str) -> Any:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module 'syncline' has no attribute {name!r}")
    return getattr(import_module(f"syncline.{module}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
