"""Connections to read stores, and the driver's errors in the program's words."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from syncline.errors import StoreError, Unavailable

FORMAT = 1
"""Which arrangement of the program's own tables this version reads and writes."""
BUSY_TIMEOUT_S = 5.0
CHECKPOINT_PAGES = 20_000
"""Pages of write-ahead log before the writer checkpoints: rare enough that batches spread over a big store stay quick."""
CACHE_KIB = 65_536


def open_store_file(path: str) -> sqlite3.Connection:
    """The writing connection of a read store; makes the file if there is none."""
    folder = Path(path).parent
    if not folder.is_dir():
        raise Unavailable(f"there is no folder '{folder}' for the read store; make it, or name another in syncline.toml")
    with translated(path):
        connection = sqlite3.connect(
            path, timeout=BUSY_TIMEOUT_S, isolation_level=None, cached_statements=2048, check_same_thread=False
        )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        connection.execute("PRAGMA legacy_alter_table = ON")
    return connection


def open_reader_file(path: str) -> sqlite3.Connection:
    """A connection that only reads, used by one thread at a time. Raises Unavailable if there is no such store yet."""
    if not Path(path).is_file():
        raise Unavailable(f"there is no read store '{path}' yet; start `syncline run`, or `syncline sync --once`")
    with translated(path):
        connection = sqlite3.connect(
            path, timeout=BUSY_TIMEOUT_S, isolation_level=None, cached_statements=512, check_same_thread=False
        )
        connection.execute("PRAGMA query_only = ON")
        return connection


def library_version() -> tuple[int, int, int]:
    """The version of the SQLite that this process uses."""
    return sqlite3.sqlite_version_info


@contextmanager
def translated(path: str) -> Iterator[None]:
    """Turns the driver's errors into StoreError and Unavailable, which say what to do."""
    try:
        yield
    except sqlite3.Error as error:
        raise in_words(path, error) from error


def in_words(path: str, error: sqlite3.Error) -> StoreError:
    """A driver's error as one of the program's, with what to do where that is known."""
    name = getattr(error, "sqlite_errorname", "") or ""
    for prefix, advice in _ADVICE.items():
        if name.startswith(prefix):
            kind = Unavailable if prefix in _WORTH_RETRYING else StoreError
            return kind(f"read store '{path}': {error}; {advice}")
    return StoreError(f"read store '{path}': {error}")


_WORTH_RETRYING = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_FULL", "SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_IOERR")
_ADVICE = {
    "SQLITE_BUSY": "another program holds it; only the relay may write to a read store",
    "SQLITE_LOCKED": "another program holds it; only the relay may write to a read store",
    "SQLITE_FULL": "make room on the disk; nothing of the batch was stored, and it will be tried again",
    "SQLITE_CANTOPEN": "check that the folder exists and may be written to",
    "SQLITE_READONLY": "make the file and its folder writable for this user",
    "SQLITE_IOERR": "the disk failed to read or write; nothing of the batch was stored",
    "SQLITE_NOTADB": "this file is no SQLite database; move it away or name another in syncline.toml",
    "SQLITE_CORRUPT": "the file is damaged; delete it, and it is built anew from the sources",
}
