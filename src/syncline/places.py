"""Where things are stored and how changes leave a service: placements as plain values, written in one file of an application."""

import os
import re
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class SQLite:
    """An SQLite file. `path` is relative to the working directory at the time the App is built."""

    path: str

    @property
    def database(self) -> str:
        """What the database is called everywhere else: the absolute path."""
        return os.path.abspath(self.path)


@dataclass(frozen=True, slots=True, repr=False)
class PostgreSQL:
    """A database of a PostgreSQL server, 15 or newer: `postgresql://role@host:port/database`, with any options of libpq.

    Needs `pip install 'syncline[postgres]'`. Raises ValueError for what is no such URL. Its repr shows no password.
    """

    url: str

    def __post_init__(self) -> None:
        if message := postgres_url_fault(self.url):
            raise ValueError(message)

    @property
    def database(self) -> str:
        """What the database is called everywhere else: the URL."""
        return postgres_url(self.url)

    def __repr__(self) -> str:
        return f"PostgreSQL({without_password(self.url)!r})"


@dataclass(frozen=True, slots=True)
class Events:
    """A service is followed by its event log: the capture of every EventService and Outbox."""


@dataclass(frozen=True, slots=True)
class Triggers:
    """Triggers in the service's database log which rows changed, in the transaction that changes them."""


@dataclass(frozen=True, slots=True)
class WAL:
    """Changes are read from PostgreSQL's write-ahead log by logical decoding: nothing is added to what a writer does.

    Needs `wal_level = logical` on the server, a role with REPLICATION, and a slot, which keeps the log until it is followed.
    """


@dataclass(frozen=True, slots=True)
class Polling:
    """Sweeps compare the service's tables with what is held every `every_s` seconds; nothing is installed there.

    With `changed_at` sweeps in between read only rows whose column of that name rose, miss deletions until the next full sweep
    (every `full_every_s` seconds), and are declared inexact.
    """

    every_s: float = 5.0
    changed_at: str | None = None
    full_every_s: float = 60.0


Store: TypeAlias = SQLite | PostgreSQL
Capture: TypeAlias = Events | Triggers | WAL | Polling


@dataclass(frozen=True, slots=True)
class Placed:
    """A definition (a service, an outbox, a view) at a place."""

    definition: object
    store: Store
    capture: Capture | None = None


def postgres_url_fault(url: str) -> str | None:
    """What is wrong with `url` as that of a PostgreSQL database; None when nothing is."""
    scheme, separator, _ = url.partition("://")
    shown = without_password(url)
    if not separator or scheme not in ("postgresql", "postgres"):
        return f"'{shown}' is not the URL of a PostgreSQL database; write for example postgresql://role@host:5432/orders"
    try:
        parts = urlsplit(url)
        name, _ = parts.path.lstrip("/"), parts.port
    except ValueError:
        return (
            f"'{shown}' is not a URL; what is special in a role or a password is written percent-encoded: %2F for /, %23 for #, "
            "%3F for ?, %40 for @, %3A for :; for example postgresql://role@host:5432/orders"
        )
    if not name or "/" in name:
        return f"'{shown}' names no database; write it after the host: postgresql://role@host:5432/orders"
    return None


def postgres_url(url: str) -> str:
    """The one spelling of a PostgreSQL URL by which the program knows the database."""
    return "postgresql" + url[url.index("://") :]


def without_password(url: str) -> str:
    """A database's name as it may be shown, however it is written: no password, nor what may be a part of one."""
    masked = re.sub(r"(://[^:/@\s]*):.*@", r"\1@", url, flags=re.DOTALL) if "://" in url else url
    return re.sub(r"((?:ssl)?password=)[^&\s]*", r"\1…", masked, flags=re.IGNORECASE)


def is_postgres(database: str) -> bool:
    """Whether this is the URL of a PostgreSQL database; all else is the path of an SQLite file."""
    return database.startswith("postgresql://")
