"""Lets the processes of this program write to one database one after the other, and checkpoint it only while none of them writes.

SQLite's own lock ends with the commit, and the checkpoint that follows it runs beside the next writer; before version 3.51.3 that
may damage a write-ahead log (sqlite.org/wal.html, "The WAL-Reset Bug"). This lock ends after both, and with its process.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from syncline.errors import Unavailable
from syncline.stores.sqlite.reach import file_identity

try:
    import fcntl
except ImportError:  # Windows has none; there SQLite's own locks must do
    fcntl = None  # type: ignore[assignment]

LOCK_TIMEOUT_S = 5.0
RETRY_S = 0.0005


class WriteLock:
    """The right to write to the database in the file `path`, which is there. One thread at a time uses it."""

    def __init__(self, path: str) -> None:
        self._database, self._identity = path, file_identity(path)
        self._path = f"{os.path.realpath(path)}-lock"
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise Unavailable(f"the lock file '{self._path}' cannot be made: {error}; make its folder writable") from error

    @contextmanager
    def held(self) -> Iterator[None]:
        """Waits until no other process of this program writes, and keeps them waiting for the time of the block.

        Raises Unavailable when that takes too long, and when the file at the path is another one by now: what is written to one
        that was removed is lost.
        """
        if fcntl is None:
            self.refuse_other_file()
            yield
            return
        self._acquire()
        try:
            self.refuse_other_file()  # only now: it may have been replaced while others were waited for
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def refuse_other_file(self) -> None:
        """Raises Unavailable when the database at the path is not the one that was opened."""
        if file_identity(self._database) != self._identity:
            raise Unavailable(f"the database '{self._database}' was removed or replaced; nothing was stored, send again")

    def close(self) -> None:
        file, self._file = self._file, -1
        if file >= 0:  # a second close must not hit a file that has got the number since
            os.close(file)

    def _acquire(self) -> None:
        deadline = time.monotonic() + LOCK_TIMEOUT_S
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    message = f"another process has held '{self._path}' for {LOCK_TIMEOUT_S:g} s; nothing was stored, send again"
                    raise Unavailable(message) from None
                time.sleep(RETRY_S)
