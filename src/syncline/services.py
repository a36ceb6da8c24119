"""The configured services as the relay, the check and the verification use them: what they publish, and how they are followed."""

import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from syncline.config import ServiceConfig
from syncline.errors import StoreError, SynclineError
from syncline.messages import Position, Relation
from syncline.move.feed import Feed
from syncline.read.maintain.schema import mirror_id
from syncline.rows import Published
from syncline.stores.protocols import ReadStore
from syncline.stores.sqlite.event_feed import EventFeed
from syncline.stores.sqlite.event_look import EventLook
from syncline.stores.sqlite.history import History
from syncline.stores.sqlite.install import is_capturing
from syncline.stores.sqlite.look import PollingLook, TriggerLook
from syncline.stores.sqlite.polling import PollingFeed
from syncline.stores.sqlite.reader import SQLiteReader
from syncline.stores.sqlite.restored import renew_capture, renew_log, renew_sweeps
from syncline.stores.sqlite.source import OPEN_TIMEOUT_S, READ_TIMEOUT_S, describe, open_source, tables, unique_indexes
from syncline.stores.sqlite.triggers import TriggerFeed


@dataclass(frozen=True, slots=True)
class Described:
    """What a service publishes, which tables cannot be followed and why, how its database journals, whether it holds triggers."""

    relations: tuple[Relation, ...]
    refused: tuple[tuple[str, str], ...]
    journal_mode: str
    is_captured: bool


@dataclass(frozen=True, slots=True)
class FollowedService:
    """One configured service. `published` is what one that is followed by its event log makes of its events."""

    config: ServiceConfig
    published: Published | None = None

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def capture(self) -> str:
        return self.config.capture

    def describe(self) -> list[Relation]:
        """The relations that can be followed. Raises StoreError when the database, or a table that is named, cannot.

        Those of an event-sourced service are as its definition says, whether there is a log yet or not.

        Waits only briefly for an owner who holds the database: the relay asks again, and has others to follow meanwhile.
        """
        if self.published is not None:
            return list(self.published.relations.values())
        found = self.look(OPEN_TIMEOUT_S)
        if found.refused and self.config.tables != ("*",):
            raise StoreError("; ".join(reason for _, reason in found.refused))
        return list(found.relations)

    def look(self, timeout_s: float = READ_TIMEOUT_S) -> Described:
        """Everything that can be told of the service. Raises Unavailable when its database cannot be read within `timeout_s`."""
        if self.published is not None:
            return Described(tuple(self.published.relations.values()), (), "", False)
        relations: list[Relation] = []
        refused: list[tuple[str, str]] = []
        with closing(open_source(self.config.database, read_only=True, timeout_s=timeout_s)) as connection:
            mode = str(connection.execute("PRAGMA journal_mode").fetchone()[0])
            names = tables(connection) if self.config.tables == ("*",) else list(self.config.tables)
            for name in names:
                try:
                    relation = describe(connection, self.name, name)
                    if self.capture == "triggers":
                        unique_indexes(connection, relation.table)
                except SynclineError as error:
                    refused.append((name, str(error)))
                else:
                    relations.append(relation)
            is_captured = is_capturing(connection)
        return Described(tuple(relations), tuple(refused), mode, is_captured)

    def open_feed(self, store: ReadStore) -> Feed:
        """A feed for one read store. Raises Unavailable when the database cannot be used."""
        config = self.config
        if self.published is not None:
            return EventFeed(config.database, self.published, store)
        if self.capture == "triggers":

            def is_loading(relation: Relation) -> bool:
                table = mirror_id(relation.service, relation.table)
                return any(each == table for each, _ in store.loading(config.name))

            return TriggerFeed(config.name, config.database, store.consumer, store.path, store.held, is_loading)
        return PollingFeed(
            config.name,
            config.database,
            store.consumer,
            store.held,
            lambda number: store.begun(config.name, number),
            every_s=config.every_s,
            changed_at=config.changed_at,
            full_every_s=config.full_every_s,
        )

    def head(self) -> Position | None:
        """The newest position; None where it cannot be told: of a polled service, or one that is not captured yet."""
        if self.capture == "events":
            if not os.path.exists(self.config.database):
                return None
            with closing(History(self.config.database, read_only=True)) as history:
                return history.place(0).newest if history.exists() else None
        if self.capture != "triggers":
            return None
        with closing(TriggerLook(self.config.database)) as look:
            return look.head()

    def renew(self) -> str | None:
        """Gives the history that the database holds another name, and returns it; None where there is none to be named.

        Raises Unavailable where there is no database, or its owner is writing.
        """
        renewing = {"events": renew_log, "triggers": renew_capture, "polling": renew_sweeps}
        return renewing[self.capture](self.config.database)

    def open_look(
        self, reader: SQLiteReader, ask: Callable[[], object], swept: Callable[[], int]
    ) -> TriggerLook | PollingLook | EventLook:
        """How verification looks at the service's database; `reader` is of the read store that is compared with it."""
        config = self.config
        if self.published is not None:
            mirrors = [each.relation for each in reader.mirrors() if each.relation.service == self.name]
            return EventLook(config.database, self.published, mirrors, lambda: reader.held_back(self.name))
        if self.capture == "triggers":
            return TriggerLook(config.database)
        return PollingLook(config.database, ask, swept)
