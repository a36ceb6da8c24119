"""A read store that follows one database through a feed, step by step: what the relay does, held still between its steps."""

import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from syncline.errors import SourceChanged, StoreError, Unavailable
from syncline.messages import Batch, Position, Relation
from syncline.move.feed import Feed
from syncline.read.maintain.schema import mirror_id
from syncline.stores.protocols import ReadStore
from syncline.stores.sqlite.polling import PollingFeed
from syncline.stores.sqlite.read import SQLiteReadStore
from syncline.stores.sqlite.source import describe, open_source, tables
from syncline.stores.sqlite.tables import listed, quoted
from syncline.stores.sqlite.triggers import TriggerFeed

SERVICE = "shop"
SCAN_S = 0.002
TIMEOUT_S = 20.0
MOST_ATTEMPTS = 5


class Follower:
    """One read store with the mirrors of every table that can be followed. `store` is the path of an SQLite one, or any other."""

    def __init__(self, source: Path | str, store: Path | ReadStore, capture: str, *, changed_at: str | None = None) -> None:
        self.source, self.capture, self._changed_at = source, capture, changed_at
        self.store = SQLiteReadStore(str(store)) if isinstance(store, Path) else store
        self.store.take_over("test")
        self.feed: Feed | None = None
        self.applied: Position | None = None
        self.batches: list[Batch] = []
        self.after_batch: Callable[[], object] = lambda: None

    def close(self) -> None:
        self.rest()
        self.store.close()

    def rest(self) -> None:
        """Follows no more, until the next `catch_up`."""
        if self.feed is not None:
            self.feed.close()
            self.feed = None

    def catch_up(self) -> None:
        """Applies all that is committed; opens the feed and what it follows anew after a fault, as the relay does."""
        for attempt in range(MOST_ATTEMPTS):
            try:
                if self.feed is None:
                    self._open()
                self._follow()
                return
            except (SourceChanged, Unavailable):
                self.rest()
                if attempt == MOST_ATTEMPTS - 1:
                    raise

    def load_all(self) -> list[str]:
        """Copies everything; returns the mirrors that are to go live."""
        self._open()
        return self._load()

    def go_live(self, loaded: list[str]) -> None:
        """Applies what came during the copy, once: with an owner who never pauses there is always more."""
        while loaded:
            loaded = self.step(loaded)

    def catch_up_but(self, slices: int) -> None:
        """Copies so many slices of the first mirror, and stops there."""
        self._open()
        assert self.feed is not None
        for _ in range(slices):
            table, after = self.store.loading(SERVICE)[0]
            rows, done = self.feed.scan(self.store.relations[table], after, 0.0)
            self.store.load(table, rows, done=done)

    def acknowledge(self) -> None:
        assert self.feed is not None and self.applied is not None
        self.store.sync()
        while self.feed.acknowledge(self.applied):
            pass

    def held(self, table: str) -> list[tuple[Any, ...]]:
        relation = self.store.relations[mirror_id(SERVICE, table)]
        return self.store.held(relation, None, None)

    def assert_mirrors_equal(self) -> None:
        """Every mirror holds the source's rows, values with their types, but those whose key holds NULL."""
        with closing(sqlite3.connect(self.source)) as connection:
            for relation in self.store.relations.values():
                whole = " AND ".join(f"{quoted(name)} IS NOT NULL" for name in relation.key)
                columns = listed(relation.column_names)
                rows = connection.execute(f"SELECT {columns} FROM {quoted(relation.table)} WHERE {whole}").fetchall()
                assert exactly(self.held(relation.table)) == exactly(rows), relation.name

    def _open(self) -> None:
        self.store.define({SERVICE: self.capture}, [], self._described())
        self.feed = self._new_feed()
        self.feed.follow(list(self.store.relations.values()))
        self.applied = self.store.checkpoint(SERVICE)
        if self.applied is None:
            self.applied = self.feed.start()
            self.store.start(SERVICE, self.applied, time.time())

    def _described(self) -> list[Relation]:
        found: list[Relation] = []
        with closing(open_source(str(self.source), read_only=True)) as connection:
            for table in tables(connection):
                try:
                    found.append(describe(connection, SERVICE, table))
                except StoreError:
                    continue
        return found

    def _new_feed(self) -> Feed:
        if self.capture == "triggers":
            consumer, path, held = self.store.consumer, self.store.path, self.store.held
            return TriggerFeed(SERVICE, str(self.source), consumer, path, held, self._is_loading)
        return PollingFeed(
            SERVICE,
            str(self.source),
            self.store.consumer,
            self.store.held,
            lambda number: self.store.begun(SERVICE, number),
            every_s=3600.0,
            changed_at=self._changed_at,
            full_every_s=3600.0,
        )

    def _follow(self) -> None:
        assert self.feed is not None
        deadline = time.monotonic() + TIMEOUT_S
        loaded = self._load()
        if self.capture == "polling":
            self.feed.want()  # type: ignore[attr-defined]
        while self.feed.changed() or loaded:
            assert time.monotonic() < deadline, "the feed never came to rest"
            loaded = self.step(loaded)

    def _is_loading(self, relation: Relation) -> bool:
        return any(table == mirror_id(SERVICE, relation.table) for table, _ in self.store.loading(SERVICE))

    def _load(self) -> list[str]:
        assert self.feed is not None
        loading = self.store.loading(SERVICE)
        while loading:
            table, after = loading[0]
            rows, done = self.feed.scan(self.store.relations[table], after, SCAN_S)
            self.store.load(table, rows, done=done)
            loading = self.store.loading(SERVICE)
            if done and not loading:
                self.feed.mark(self.store.relations[table], ())
        return self.store.loaded(SERVICE)

    def step(self, loaded: Sequence[str] = ()) -> list[str]:
        """Reads once and applies; returns the mirrors that are still to go live."""
        assert self.feed is not None and self.applied is not None
        batch = self.feed.read(self.applied)
        if batch is None:
            return list(loaded)
        self.store.apply(batch, loaded)
        assert batch.after is not None
        if batch.after.incarnation == self.applied.incarnation:
            assert batch.after.n >= self.applied.n
        assert self.store.checkpoint(SERVICE) == batch.after
        self.applied = batch.after
        self.batches.append(batch)
        self.after_batch()
        return []


def exactly(rows: list[tuple[Any, ...]]) -> list[str]:
    return sorted(repr([(type(value).__name__, value) for value in row]) for row in rows)
