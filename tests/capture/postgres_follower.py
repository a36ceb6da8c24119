"""A read store that follows one PostgreSQL database, step by step: see `follower`."""

import time
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.capture.follower import SERVICE, Follower, exactly

from syncline.errors import StoreError
from syncline.messages import Relation
from syncline.read.maintain.schema import mirror_id
from syncline.stores.postgres.connection import connect
from syncline.stores.postgres.polling import PollingFeed
from syncline.stores.postgres.source import columns_of, describe, table_of, tables
from syncline.stores.postgres.triggers import TriggerFeed
from syncline.stores.protocols import ReadStore
from syncline.stores.translation import adapted

PATIENCE_S = 10.0


class PostgresFollower(Follower):
    """One read store with the mirrors of every table that can be followed, or of those that are named."""

    def __init__(
        self, source: str, store: Path | ReadStore, capture: str, *, names: list[str] | None = None, **options: Any
    ) -> None:
        super().__init__(source, store, capture, **options)
        self.names = names
        self.refused: list[StoreError] = []

    def follow_until(self, condition: Any) -> None:
        """Reads and applies until a condition holds."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, "it never came to be so"
            assert self.feed is not None
            if self.feed.changed():
                self.step()

    def assert_mirrors_equal(self) -> None:
        with closing(connect(str(self.source))) as connection:
            for relation in self.store.relations.values():
                table = table_of(connection, relation)
                rows = connection.execute(f"SELECT {columns_of(table)} FROM {table.name}").fetchall()
                held = self.held(relation.table)
                if self.store.dialect == "sqlite":
                    rows = [tuple(int(value) if isinstance(value, bool) else value for value in row) for row in rows]
                assert exactly(held) == exactly(rows), relation.name

    def _described(self) -> list[Relation]:
        found: list[Relation] = []
        self.refused = []
        with closing(connect(str(self.source))) as connection:
            for name in self.names or tables(connection):
                try:
                    relation = describe(connection, SERVICE, name).relation
                except StoreError as error:
                    self.refused.append(error)
                else:
                    found.append(adapted(relation, self.store.dialect))
        return found

    def _new_feed(self) -> TriggerFeed | PollingFeed:
        store = self.store
        if self.capture == "triggers":
            return TriggerFeed(SERVICE, str(self.source), store.consumer, store.path, store.held, store.dialect, self._is_new)
        return PollingFeed(
            SERVICE,
            str(self.source),
            store.consumer,
            store.held,
            store.dialect,
            lambda number: store.begun(SERVICE, number),
            every_s=3600.0,
            changed_at=self._changed_at,
            full_every_s=3600.0,
        )

    def _is_new(self, relation: Relation) -> bool:
        return (mirror_id(SERVICE, relation.table), None) in self.store.loading(SERVICE)
