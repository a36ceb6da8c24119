"""Opens the database of a service that commands are sent to, and turns the driver's errors into words.

What is committed through such a connection is on disk. The service's own; a file of somebody else's is opened by `source.py`.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from syncline.errors import StoreError, Unavailable

BUSY_TIMEOUT_S = 5.0
CHECKPOINT_PAGES = 4_000
"""Pages of write-ahead log before the writer checkpoints."""
CACHE_KIB = 65_536
RETRY_S = 0.005


def open_service_file(path: str) -> sqlite3.Connection:
    """The writing connection, to a file that is made if there is none, and then with a write-ahead log.

    Raises Unavailable when the file cannot be used, StoreError when it is no database.
    """
    folder = Path(path).parent
    if not folder.is_dir():
        raise Unavailable(f"there is no folder '{folder}' for the service's database; make it, or place the service elsewhere")
    with service_errors(path):
        connection = sqlite3.connect(
            path, timeout=BUSY_TIMEOUT_S, isolation_level=None, cached_statements=512, check_same_thread=False
        )
        try:
            _use_wal_if_new(connection)
            # FULL where there is a write-ahead log; with a rollback journal it makes the journal's removal durable, too.
            connection.execute("PRAGMA synchronous = EXTRA")
            connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
            connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        except BaseException:
            connection.close()
            raise
    return connection


@contextmanager
def service_errors(path: str) -> Iterator[None]:
    """Turns the driver's errors into Unavailable and StoreError, which say what to do."""
    try:
        yield
    except sqlite3.Error as error:
        raise _in_words(path, error) from error
    except UnicodeEncodeError as error:
        raise StoreError(f"database '{path}': a name or tag is no Unicode text: {error}; nothing was stored") from error


def _use_wal_if_new(connection: sqlite3.Connection) -> None:
    """Two processes that make one database meet here, and SQLite does not wait by itself for a change of the journal mode."""
    until = time.monotonic() + BUSY_TIMEOUT_S
    while connection.execute("PRAGMA page_count").fetchone()[0] == 0:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname != "SQLITE_BUSY" or time.monotonic() > until:
                raise
        time.sleep(RETRY_S)


def _in_words(path: str, error: sqlite3.Error) -> StoreError:
    name = getattr(error, "sqlite_errorname", "") or ""
    for prefix, advice in _ADVICE.items():
        if name.startswith(prefix):
            return Unavailable(f"database '{path}': {error}; {advice}")
    if name == "SQLITE_NOTADB":
        return StoreError(f"database '{path}': the file is no SQLite database; place the service in another file")
    return StoreError(f"database '{path}': {error}; nothing was stored")


_ADVICE = {
    "SQLITE_BUSY": "another program holds it; nothing was stored, send again",
    "SQLITE_LOCKED": "another program holds it; nothing was stored, send again",
    "SQLITE_FULL": "make room on the disk; nothing was stored, send again",
    "SQLITE_IOERR": "the disk failed; nothing was stored, send again",
    "SQLITE_CANTOPEN": "check that the folder exists and may be written to",
    "SQLITE_READONLY": "make the file and its folder writable for this user",
}
