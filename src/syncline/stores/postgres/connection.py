"""Connections to PostgreSQL as everything here uses them: settings that do not depend on the role or the server, and values that
travel exactly.

A value travels as int, float, bool, str or bytes where PostgreSQL's type is one of those; as the text that PostgreSQL prints for
it otherwise (numeric, dates and times, uuid, json, arrays, …), which it also reads: nothing is rounded or respelled.
"""

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeAlias

import psycopg
from psycopg import adapters, errors
from psycopg.adapt import AdaptersMap
from psycopg.conninfo import make_conninfo
from psycopg.types.string import TextLoader

from syncline.errors import StoreError, Unavailable
from syncline.places import without_password
from syncline.stores.statements import load_statements

OLDEST_SERVER = 15
KNOWS_TRANSACTION_TIMEOUT = 170_000
CONNECT_TIMEOUT_S = 10
TRANSIENT = (
    psycopg.OperationalError,  # connection lost, server starting or stopping, too many connections, lock not available
    psycopg.InterfaceError,
    errors.SerializationFailure,
    errors.DeadlockDetected,
    errors.ReadOnlySqlTransaction,  # a standby that may be promoted
)

logging.getLogger("psycopg").addHandler(logging.NullHandler())  # who wants the driver's log adds a handler of their own

Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]

_KEEPALIVES = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}
_SETTINGS: Mapping[str, str] = {
    "DateStyle": "ISO,YMD",
    "TimeZone": "UTC",
    "IntervalStyle": "iso_8601",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "standard_conforming_strings": "on",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "default_transaction_deferrable": "off",
    "row_security": "off",  # rows that a policy hides are an error, not rows that are gone
}
OWN_NAMES: Mapping[str, str] = {"search_path": "pg_catalog,pg_temp"}
"""For whoever reads tables of others: only PostgreSQL's own functions and operators are found by their names, none that somebody
else put into a schema, which would run with the rights of who reads."""
_TRAVEL_AS_THEY_ARE = ("bool", "int2", "int4", "int8", "oid", "float4", "float8", "bytea")
_PARAMETER = re.compile(r"(?<![:\w]):([a-z_][a-z0-9_]*)")
_AUTHENTICATION = ("28P01", "28000")


def connect(
    database: str,
    *,
    autocommit: bool = True,
    is_travel: bool = True,
    settings: Mapping[str, str] | None = None,
    **options: Any,
) -> Connection:
    """A connection with the settings above, and those given besides. Raises Unavailable or StoreError, saying which server.

    In autocommit, transactions begin with `connection.transaction()` or BEGIN. Unless `is_travel`, values are Python's own, as
    the driver makes them (Decimal, datetime, …). `options` go to libpq.
    """
    words = " ".join(f"-c {name}={value}" for name, value in {**_SETTINGS, **(settings or {})}.items())
    parameters = {"application_name": "syncline", "connect_timeout": CONNECT_TIMEOUT_S, **_KEEPALIVES, **options}
    try:
        info = make_conninfo(database, **parameters, options=words, client_encoding="UTF8")
    except psycopg.ProgrammingError:  # whose text may hold a part of the password
        raise StoreError(
            f"{shown(database)} is not a URL that the driver can read; correct it in the configuration: what is special in a "
            "role or a password is written percent-encoded (%40 for @, %2F for /, %25 for %, %20 for a space)"
        ) from None
    with translated(database):
        connection = psycopg.connect(info, autocommit=autocommit, context=_Travelling() if is_travel else None)
    if connection.info.server_version // 10_000 < OLDEST_SERVER:
        found = connection.info.parameter_status("server_version")
        connection.close()
        raise StoreError(f"{shown(database)} is PostgreSQL {found}, and at least {OLDEST_SERVER} is needed; upgrade the server")
    if connection.info.server_version >= KNOWS_TRANSACTION_TIMEOUT:
        with translated(database):
            connection.execute("SET transaction_timeout = 0")
            if not autocommit:
                connection.commit()
    return connection


@contextmanager
def translated(database: str) -> Iterator[None]:
    """Turns the driver's errors into Unavailable (worth trying again) or StoreError (not), with the database's name."""
    try:
        yield
    except psycopg.Error as error:
        raise in_words(database, error) from error


def in_words(database: str, error: psycopg.Error) -> StoreError:
    """A driver's error as one of the program's, with what to do where that is known."""
    where, reason = shown(database), _reason(error)
    if error.sqlstate in _AUTHENTICATION or "password authentication failed" in reason or "no password supplied" in reason:
        return StoreError(f"{where} refuses the role or its password: {reason}; correct the URL in the configuration")
    if isinstance(error, errors.InvalidCatalogName) or (error.sqlstate is None and "does not exist" in reason):
        return StoreError(f"{where} cannot be opened: {reason}; create it, or correct the URL in the configuration")
    if isinstance(error, errors.InsufficientPrivilege):
        return StoreError(f"{where}: the role may not do this: {reason}; grant it the right")
    if isinstance(error, errors.ReadOnlySqlTransaction):
        return Unavailable(f"{where} takes no writes ({reason}): it is a standby or read-only; name the primary's address")
    if isinstance(error, errors.ProgramLimitExceeded) and "index row" in reason:
        return StoreError(f"{where}: {reason}: a value that is a key or what views join or group by is too long for an index")
    if isinstance(error, errors.LockNotAvailable):
        return Unavailable(f"{where} cannot be used now: a table is locked by another transaction that goes on ({reason})")
    if isinstance(error, TRANSIENT):
        return Unavailable(f"{where} cannot be used now: {reason}")
    return StoreError(f"{where}: {reason}")


def shown(database: str) -> str:
    """The URL without its password, quoted, for messages."""
    return f"'{without_password(database)}'"


def quoted(*names: str) -> str:
    """An identifier, qualified where several names are given, safe in SQL whatever characters it holds."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


@cache
def load(file: str) -> Mapping[str, str]:
    """The named statements of a file of this package, with their `:name` parameters as the driver writes them."""
    return {name: as_driver_writes(text) for name, text in load_statements("syncline.stores.postgres", file).items()}


def as_driver_writes(statement: str) -> str:
    """`:name` as `%(name)s`, and a percent sign as itself. `::type` stays; no string in a statement may hold ` :word`."""
    return _PARAMETER.sub(r"%(\1)s", statement.replace("%", "%%"))


class _Travelling:
    """What the driver is told about values: see the module."""

    connection = None

    def __init__(self) -> None:
        self.adapters = _travel_adapters()


@cache
def _travel_adapters() -> AdaptersMap:
    found = AdaptersMap(adapters)
    for info in adapters.types:
        if info.name not in _TRAVEL_AS_THEY_ARE:
            found.register_loader(info.oid, TextLoader)
        if info.array_oid:
            found.register_loader(info.array_oid, TextLoader)
    return found


def _reason(error: psycopg.Error) -> str:
    """The driver's message on one line, without the address it tried, which is said already."""
    text = error.diag.message_primary or str(error)
    return " ".join(text.split()) or type(error).__name__
