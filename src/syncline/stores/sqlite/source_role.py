"""An SQLite file as a service's database that is followed (see `syncline.stores.roles`)."""

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from syncline.errors import SynclineError
from syncline.messages import Position, Relation
from syncline.move.feed import Feed
from syncline.read.maintain.schema import mirror_id
from syncline.rows import Published
from syncline.stores.event_feed import EventFeed
from syncline.stores.event_look import EventLook
from syncline.stores.protocols import Reader, ReadStore
from syncline.stores.roles import Described, Found, Look, Source, Survey
from syncline.stores.sqlite import install
from syncline.stores.sqlite.history import SQLiteHistory, open_history, open_log
from syncline.stores.sqlite.look import PollingLook, TriggerLook
from syncline.stores.sqlite.polling import PollingFeed
from syncline.stores.sqlite.reach import Reach, in_write, is_locked
from syncline.stores.sqlite.restored import renew_capture, renew_log, renew_sweeps
from syncline.stores.sqlite.source import OPEN_TIMEOUT_S, READ_TIMEOUT_S, describe, open_source, tables, unique_indexes
from syncline.stores.sqlite.triggers import TriggerFeed

__all__ = ["head", "is_locked", "look", "open_feed", "open_look", "renew", "survey", "uninstall"]


def look(source: Source, *, briefly: bool) -> Described:
    relations: list[Relation] = []
    refused: list[tuple[str, str]] = []
    timeout_s = OPEN_TIMEOUT_S if briefly else READ_TIMEOUT_S
    with closing(open_source(source.database, read_only=True, timeout_s=timeout_s)) as connection:
        mode = str(connection.execute("PRAGMA journal_mode").fetchone()[0])
        for name in tables(connection) if source.tables == ("*",) else source.tables:
            try:
                relation = describe(connection, source.name, name)
                if source.capture == "triggers":
                    unique_indexes(connection, relation.table)
            except SynclineError as error:
                refused.append((name, str(error)))
            else:
                relations.append(relation)
        is_captured = install.is_capturing(connection)
    warnings = [_journal_warning(source.name)] if source.capture == "polling" and mode != "wal" else []
    return Described(tuple(relations), tuple(refused), tuple(warnings), is_captured)


def survey(database: str, service: str) -> Survey:
    found: list[Found] = []
    left_out: list[tuple[str, str]] = []
    with closing(open_source(database, read_only=True)) as connection:
        mode = str(connection.execute("PRAGMA journal_mode").fetchone()[0])
        for table in tables(connection):
            try:
                relation = describe(connection, service, table)
            except SynclineError as error:
                left_out.append((table, str(error)))
                continue
            rows = connection.execute(
                'SELECT "from", "table", "to" FROM pragma_foreign_key_list(?) AS each'
                " WHERE 1 = (SELECT COUNT(*) FROM pragma_foreign_key_list(?) AS other WHERE other.id = each.id)",
                (table, table),
            )
            found.append(Found(relation, tuple(rows)))
    return Survey(tuple(found), tuple(left_out), mode)


def open_feed(source: Source, published: Published | None, store: ReadStore) -> Feed:
    if published is not None:
        return EventFeed(published, store, lambda n: open_history(source.database, timeout_s=OPEN_TIMEOUT_S, followed_up_to=n))
    if source.capture == "triggers":

        def is_loading(relation: Relation) -> bool:
            table = mirror_id(relation.service, relation.table)
            return any(each == table for each, _ in store.loading(source.name))

        return TriggerFeed(source.name, source.database, store.consumer, store.path, store.held, is_loading)
    return PollingFeed(
        source.name,
        source.database,
        store.consumer,
        store.held,
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
    return PollingLook(source.database, ask, swept)


def head(source: Source) -> Position | None:
    if source.capture == "events":
        if not os.path.exists(source.database):
            return None
        with closing(SQLiteHistory(source.database, read_only=True)) as history:
            return history.newest() if history.exists() else None
    if source.capture != "triggers":
        return None
    with closing(TriggerLook(source.database)) as look:
        return look.head()


def renew(source: Source) -> str | None:
    renewing = {"events": renew_log, "triggers": renew_capture, "polling": renew_sweeps}
    return renewing[source.capture](source.database)


def uninstall(source: Source, read_store: str | None) -> list[str]:
    if source.capture != "triggers" and not Path(source.database).exists():
        return []
    with closing(Reach(source.database, read_only=False)) as reach, in_write(reach, READ_TIMEOUT_S) as connection:
        return install.uninstall(connection, read_store)


def _journal_warning(service: str) -> str:
    return (
        f"service '{service}' is polled and keeps a rollback journal: a sweep that its owner's writes keep tearing ends by "
        "holding them up for its whole length; `PRAGMA journal_mode = WAL`, run once in that database, avoids it"
    )
