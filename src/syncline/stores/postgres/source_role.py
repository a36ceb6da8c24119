"""A PostgreSQL database as a service's database that is followed (see `syncline.stores.roles`)."""

import platform
from collections.abc import Callable
from contextlib import closing

from psycopg import errors

from syncline.errors import StoreError, SynclineError
from syncline.messages import Position, Relation
from syncline.move.feed import Feed
from syncline.places import is_postgres, without_password
from syncline.read.maintain.schema import mirror_id
from syncline.rows import Published
from syncline.stores.event_feed import EventFeed
from syncline.stores.event_look import EventLook
from syncline.stores.postgres import install
from syncline.stores.postgres.connection import connect, translated
from syncline.stores.postgres.group_count import SQL as GROUP_SQL
from syncline.stores.postgres.group_count import renew_count
from syncline.stores.postgres.history import head as log_head
from syncline.stores.postgres.history import open_history, open_log, renew_log
from syncline.stores.postgres.look import StillLook, TriggerLook
from syncline.stores.postgres.polling import PollingFeed
from syncline.stores.postgres.sight import flushed
from syncline.stores.postgres.slot import has_slots, refuse_server, refuse_table, remove_slots, rename_history, untold
from syncline.stores.postgres.source import Table, describe, foreign_keys, is_captured, tables
from syncline.stores.postgres.triggers import TriggerFeed
from syncline.stores.postgres.wal import WalFeed, wal_head
from syncline.stores.protocols import Reader, ReadStore
from syncline.stores.roles import Described, Found, Look, Source, Survey

__all__ = ["head", "is_locked", "look", "open_feed", "open_look", "renew", "survey", "uninstall"]

LOCK_WAIT_MS = 1_000
"""How long a table that someone changes is waited for before it is described."""


def look(source: Source, *, briefly: bool) -> Described:
    found: list[Table] = []
    refused: list[tuple[str, str]] = []
    warnings: list[str] = []
    # Who describes a table waits for its lock, or for those of its partitions.
    settings = {"lock_timeout": str(LOCK_WAIT_MS)}
    with closing(connect(source.database, settings=settings)) as connection, translated(source.database):
        is_capturing = is_captured(connection)
        if source.capture == "triggers" and not is_capturing:
            install.refuse(connection, source.database)
        if source.capture == "wal":
            refuse_server(connection)
        for name in tables(connection) if source.tables == ("*",) else source.tables:
            try:
                table = describe(connection, source.name, name)
                _refuse_namesake(table, found)
                if source.capture == "triggers":
                    warnings += install.refuse_table(connection, table)
                if source.capture == "wal":
                    refuse_table(connection, table)
                    warnings += [_untold(table, column) for column in untold(connection, table)]
            except SynclineError as error:
                refused.append((name, str(error)))
            else:
                found.append(table)
    return Described(tuple(table.relation for table in found), tuple(refused), tuple(warnings), is_capturing)


def is_locked(error: StoreError) -> bool:
    return isinstance(error.__cause__, errors.LockNotAvailable)


def survey(database: str, service: str) -> Survey:
    found: list[Found] = []
    left_out: list[tuple[str, str]] = []
    with closing(connect(database)) as connection, translated(database):
        for name in tables(connection):
            try:
                table = describe(connection, service, name)
            except SynclineError as error:
                left_out.append((name, str(error)))
                continue
            found.append(Found(table.relation, foreign_keys(connection, table.oid)))
    return Survey(tuple(found), tuple(left_out))


def open_feed(source: Source, published: Published | None, store: ReadStore) -> Feed:
    if published is not None:
        return EventFeed(published, store, lambda n: open_history(source.database, followed_up_to=n))

    def is_new(relation: Relation) -> bool:
        table = mirror_id(relation.service, relation.table)
        return (table, None) in store.loading(source.name)

    if source.capture == "triggers":
        name = _name_of(store.path)
        return TriggerFeed(source.name, source.database, store.consumer, name, store.held, store.dialect, is_new)
    if source.capture == "wal":
        return WalFeed(source.name, source.database, store)
    return PollingFeed(
        source.name,
        source.database,
        store.consumer,
        store.held,
        store.dialect,
        lambda number: store.begun(source.name, number),
        every_s=source.every_s,
        changed_at=source.changed_at,
        full_every_s=source.full_every_s,
    )


def open_look(
    source: Source, published: Published | None, reader: Reader, ask: Callable[[], object], swept: Callable[[], int]
) -> Look:
    if published is not None:
        mirrors = [each.relation for each in reader.mirrors() if each.relation.service == source.name]
        return EventLook(open_log(source.database), published, mirrors, lambda: reader.held_back(source.name))
    if source.capture == "triggers":
        return TriggerLook(source.database)
    if source.capture == "wal":
        still = StillLook(source.database, lambda: None, lambda: flushed(still.connection))
        return still
    return StillLook(source.database, ask, lambda: swept() + 1)


def head(source: Source) -> Position | None:
    if source.capture == "events":
        return log_head(source.database)
    if source.capture == "wal":
        with closing(connect(source.database)) as connection:
            return wal_head(connection, source.database)
    if source.capture != "triggers":
        return None
    with closing(TriggerLook(source.database)) as look:
        return look.head()


def renew(source: Source) -> str | None:
    if source.capture == "events":
        return renew_log(source.database)
    with closing(connect(source.database)) as connection, translated(source.database), connection.transaction():
        if source.capture == "wal":
            return rename_history(connection) if has_slots(connection) else None
        if source.capture == "polling":
            is_counted = connection.execute(GROUP_SQL["is_counted"]).fetchone() == (True,)
            return renew_count(connection) if is_counted else None
        return install.renew(connection)


def uninstall(source: Source, read_store: str | None) -> list[str]:
    name = without_password(read_store) if read_store is not None else None
    if source.capture == "wal":
        with closing(connect(source.database)) as connection, translated(source.database):
            return remove_slots(connection, source.name, name)
    with closing(connect(source.database)) as connection, translated(source.database), connection.transaction():
        return install.uninstall(connection, None if read_store is None else (read_store, _name_of(read_store)))


def _untold(table: Table, column: str) -> str:
    return f"{table.relation.name}.{column} is computed (GENERATED), and the log does not hold it: no view may read it"


def _name_of(read_store: str) -> str:
    """What a read store is called at a source: those on two machines may have the same path, and are two."""
    return without_password(read_store) if is_postgres(read_store) else f"{platform.node()}:{read_store}"


def _refuse_namesake(table: Table, others: list[Table]) -> None:
    """A relation's name has no schema: two tables of one name cannot both be followed."""
    for other in others:
        if other.relation.table == table.relation.table:
            raise StoreError(
                f"{table.relation.name}: the schemas '{other.schema}' and '{table.schema}' both have a table of this name; "
                "name one in 'tables', and follow the other as a service of its own"
            )
