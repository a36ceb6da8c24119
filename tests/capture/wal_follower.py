"""A read store that follows one PostgreSQL database by WAL, step by step: see `follower`."""

import time
from contextlib import closing
from typing import Any

from tests.capture.follower import SERVICE
from tests.capture.postgres_follower import PostgresFollower

from syncline.errors import SourceChanged, StoreError, Unavailable
from syncline.messages import Position
from syncline.move.feed import Feed
from syncline.stores.postgres.connection import connect
from syncline.stores.postgres.wal import WalFeed, wal_head

PATIENCE_S = 10.0


class WalFollower(PostgresFollower):
    """One read store that is caught up when it has reached the place that the database told before."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self.faults: list[StoreError] = []

    def catch_up(self) -> None:
        head = self._head()
        deadline = time.monotonic() + PATIENCE_S
        loaded: list[str] = []
        while True:
            assert time.monotonic() < deadline, f"{head} was never reached: {self.applied}"
            try:
                if self.feed is None:
                    self._open()
                    loaded = self._load()
                assert self.feed is not None and self.applied is not None
                if self.feed.changed() or loaded:
                    loaded = self.step(loaded)
                elif self.applied.reaches(head):
                    return
                elif self.applied.incarnation != head.incarnation:
                    head = self._head()
            except (SourceChanged, Unavailable) as error:
                self.faults.append(error)
                self.rest()

    def _head(self) -> Position:
        with closing(connect(str(self.source))) as connection:
            return wal_head(connection, str(self.source))

    def _new_feed(self) -> Feed:
        return WalFeed(SERVICE, str(self.source), self.store)
