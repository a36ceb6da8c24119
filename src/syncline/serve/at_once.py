"""Reads that take microseconds, made in the loop's own thread: to hand them to another would take longer than they do.

Never waits: what is locked, not as new as asked, or gone is left to those who can wait for it (reading.py). What is read in one
turn of the loop is read from one snapshot; it is made after the requests of that turn were received, so nobody is shown less than
it has seen before.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from syncline.errors import StoreError, SynclineError
from syncline.read.reader import ReadResult, Wanted, read_in
from syncline.read.snapshot import Snapshot, Snapshots
from syncline.stores.protocols import Reader

LOOK_S = 0.1
"""How often it is looked whether the store is still the one at its place."""
OPEN_AGAIN_S = 1.0


class AtOnce:
    """The reads of one store that need not wait. One thread asks, the first that does; another may open and close."""

    def __init__(self, open_reader: Callable[[], Reader]) -> None:
        self._open_reader = open_reader
        self._snapshots: Snapshots | None = None
        self._snapshot: Snapshot | None = None
        self._reader: Reader | None = None
        self._thread: int | None = None
        self._next_look = self._next_open = 0.0
        self._lock = threading.Lock()

    def read(self, wanted: Wanted) -> ReadResult | None:
        """What `read_in` gives, and raises; None where it has to be read otherwise."""
        if self._snapshots is None or not _is_quick(wanted) or not self._may_ask():
            return None
        snapshot = self._snapshot or self._begin()
        if snapshot is None:
            return None
        try:
            found = read_in(snapshot, wanted, _unasked)
        except Exception as error:
            if isinstance(error, SynclineError) and not isinstance(error, StoreError):
                raise
            self.close()  # the store failed: who reads otherwise finds out how, and tells
            return None
        if isinstance(found, ReadResult):
            return found
        if wanted.is_waiting:
            return None
        raise found

    def is_to_be_opened(self) -> bool:
        """Whether it is time to call `open`; says so to one caller."""
        if self._snapshots is not None or time.monotonic() < self._next_open:
            return False
        self._next_open = time.monotonic() + OPEN_AGAIN_S
        return True

    def open(self) -> None:
        """Opens the store, which may take long. Where that fails, or no read of it is quick, nothing is read at once."""
        with suppress(StoreError):
            reader = self._open_reader()
            if not reader.hurry():
                reader.close()
                self._next_open = float("inf")
                return
            with self._lock:
                self._reader, self._snapshots = reader, Snapshots(reader)

    def close(self) -> None:
        """Reads nothing until it is opened again."""
        with self._lock:
            reader, self._reader, self._snapshots, self._snapshot = self._reader, None, None, None
        if reader is not None:
            with suppress(StoreError):
                reader.close()

    def _begin(self) -> Snapshot | None:
        """A snapshot for all that is read until the loop has called what waits for it now."""
        snapshots = self._snapshots
        if snapshots is None:
            return None
        try:
            self._snapshot = snapshots.begin()
        except StoreError:
            self.close()
            return None
        asyncio.get_running_loop().call_soon(self._end, snapshots)
        return self._snapshot

    def _end(self, snapshots: Snapshots) -> None:
        if snapshots is not self._snapshots:
            return  # it was closed, and its snapshot with it
        self._snapshot = None
        try:
            snapshots.end()
        except StoreError:
            self.close()

    def _may_ask(self) -> bool:
        """Whether this is the thread that asks, and the store still the one that was opened."""
        if self._thread is None:
            self._thread = threading.get_ident()
        if self._thread != threading.get_ident():
            return False
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + LOOK_S
            if self._reader is None or not self._reader.is_there():
                self.close()
                return False
        return True


def _is_quick(wanted: Wanted) -> bool:
    return wanted.key is not None or wanted.limit == 0


def _unasked() -> bool:
    return True
