"""What capture by triggers puts into a service's database, and how it is taken out again.

The triggers run inside the owner's SQLite, which may be old: their SQL is that of 2014 (3.8). They log which keys are dirty,
never what changed, and name only columns of the primary key and of unique indexes, so that the owner may alter all others.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from syncline.errors import SourceChanged
from syncline.messages import Relation
from syncline.stores.sqlite.source import unique_indexes
from syncline.stores.sqlite.tables import quoted
from syncline.stores.statements import load_statements

FORMAT = 1

SQL = load_statements("syncline.stores.sqlite", "capture.sql")


@dataclass(frozen=True, slots=True)
class Installed:
    """What `install` found: the number of each followed table in the log, and whether changes may have gone unnoticed."""

    ids: dict[str, int]
    had_gap: bool


def is_installed(connection: sqlite3.Connection) -> bool:
    """Whether the database holds the program's tables."""
    return bool(connection.execute(SQL["is_installed"]).fetchone()[0] == 3)


def install(connection: sqlite3.Connection, consumer: str, read_store: str, relations: Sequence[Relation]) -> Installed:
    """Makes the triggers log every change of these relations for this consumer. Run inside a write transaction.

    Safe to repeat. A table that was captured already and has lost a trigger, or was altered, makes a gap: the incarnation is
    renewed, so that every consumer compares what it holds.
    """
    for name in ("create_source", "create_consumer", "create_table", "create_follow", "create_log"):
        connection.execute(SQL[name])
    connection.execute(SQL["insert_source"], {"format": FORMAT})
    connection.execute(SQL["insert_first_mark"])
    _widen_log(connection, max((len(relation.key) for relation in relations), default=1))
    for (other,) in connection.execute(
        SQL["select_replaced_consumers"], {"read_store": read_store, "consumer": consumer}
    ).fetchall():
        _forget(connection, other)
    connection.execute(SQL["insert_consumer"], {"consumer": consumer, "read_store": read_store})
    connection.execute(SQL["update_read_store"], {"consumer": consumer, "read_store": read_store})
    connection.execute(SQL["delete_follows"], {"consumer": consumer})
    ids: dict[str, int] = {}
    gaps = False
    for relation in relations:
        number, gap = _capture(connection, relation)
        ids[relation.table] = number
        gaps |= gap
        connection.execute(SQL["insert_follow"], {"consumer": consumer, "tbl": number})
    _drop_unfollowed(connection)
    if gaps:
        connection.execute(SQL["renew_incarnation"])
    return Installed(ids, gaps)


def lost(connection: sqlite3.Connection, relations: Iterable[Relation], ids: dict[str, int]) -> list[str]:
    """Which of these tables are not captured as they should be: a trigger is missing or other, or the table was altered."""
    triggers = {name: sql for name, _, sql in connection.execute(SQL["select_triggers"]).fetchall()}
    definitions = {number: definition for number, _, definition in connection.execute(SQL["select_tables"]).fetchall()}
    found: list[str] = []
    for relation in relations:
        number = ids[relation.table]
        wanted = triggers_of(relation, number, unique_indexes(connection, relation.table))
        row = connection.execute(SQL["select_definition"], {"name": relation.table}).fetchone()
        is_same = row is not None and row[0] == definitions.get(number)
        if not is_same or any(triggers.get(name) != sql for name, sql in wanted.items()):
            found.append(relation.table)
    return found


def uninstall(connection: sqlite3.Connection, read_store: str | None) -> list[str]:
    """Removes what was put there, for one read store or for all. Run inside a write transaction. Returns what was removed."""
    if not is_installed(connection):
        return _remove_everything(connection)
    consumers = connection.execute(SQL["select_consumers"]).fetchall()
    mine = [consumer for consumer, path, *_ in consumers if read_store in (None, path, consumer)]
    if read_store is not None and not mine:
        return []
    if len(mine) == len(consumers):
        return _remove_everything(connection)
    for consumer in mine:
        _forget(connection, consumer)
    dropped = _drop_unfollowed(connection)
    return [*(f"consumer {consumer}" for consumer in mine), *dropped]


def triggers_of(
    relation: Relation, number: int, unique: Sequence[tuple[tuple[str, ...], tuple[str, ...], bool]]
) -> dict[str, str]:
    """CREATE TRIGGER statements by name. `number` is the table's in the log, `unique` its unique indexes."""
    table, key = quoted(relation.table), [quoted(name) for name in relation.key]
    base = f"syncline_{relation.table}"
    columns = ", ".join(["nonce", "tbl", *(f"k{position}" for position in range(1, len(key) + 1))])
    into = f"INSERT INTO syncline_log ({columns})"

    def mark(row: str) -> str:
        return f"{into} VALUES (random(), {number}, {', '.join(f'{row}.{name}' for name in key)});"

    key_changed = " OR ".join(f"OLD.{name} IS NOT NEW.{name}" for name in key)
    of_key = "" if relation.is_rowid_key else f" OF {', '.join(key)}"
    bodies = {
        f"{base}_insert": f"AFTER INSERT ON {table} BEGIN {mark('NEW')} END",
        f"{base}_update": f"AFTER UPDATE ON {table} BEGIN {mark('NEW')} END",
        f"{base}_rekey": f"AFTER UPDATE{of_key} ON {table} WHEN {key_changed} BEGIN {mark('OLD')} END",
        f"{base}_delete": f"AFTER DELETE ON {table} BEGIN {mark('OLD')} END",
    }
    for position, (names, collations, _) in enumerate(unique, 1):
        same = " AND ".join(
            f"{quoted(name)} = NEW.{quoted(name)} COLLATE {collation}" for name, collation in zip(names, collations, strict=True)
        )
        selected = f"{into} SELECT random(), {number}, {', '.join(key)} FROM {table} WHERE {same}"
        other = " OR ".join(f"{name} IS NOT OLD.{name}" for name in key)
        of_unique = ", ".join(quoted(name) for name in names)
        bodies[f"{base}_replace{position}"] = f"BEFORE INSERT ON {table} BEGIN {selected}; END"
        bodies[f"{base}_rereplace{position}"] = f"BEFORE UPDATE OF {of_unique} ON {table} BEGIN {selected} AND ({other}); END"
    return {name: f"CREATE TRIGGER {quoted(name)} {body}" for name, body in bodies.items()}


def _capture(connection: sqlite3.Connection, relation: Relation) -> tuple[int, bool]:
    row = connection.execute(SQL["select_definition"], {"name": relation.table}).fetchone()
    if row is None:
        raise SourceChanged(f"service '{relation.service}' has no table '{relation.table}' any more; was it dropped or renamed?")
    known = {name: (number, sql) for number, name, sql in connection.execute(SQL["select_tables"]).fetchall()}
    number, before = known.get(relation.table, (0, None))
    if before is None:
        number = int(connection.execute(SQL["insert_table"], {"name": relation.table, "definition": row[0]}).lastrowid or 0)
    elif before != row[0]:
        connection.execute(SQL["update_table"], {"id": number, "definition": row[0]})
    wanted = triggers_of(relation, number, unique_indexes(connection, relation.table))
    there = {
        name: (table, sql)
        for name, table, sql in connection.execute(SQL["select_triggers"]).fetchall()
        if table == relation.table or name in wanted
    }
    is_whole = {name: (relation.table, sql) for name, sql in wanted.items()} == there
    if not is_whole:
        for name in there:
            connection.execute(f"DROP TRIGGER {quoted(name)}")
        for sql in wanted.values():
            connection.execute(sql)
    return number, before is not None and (before != row[0] or not is_whole)


def _widen_log(connection: sqlite3.Connection, width: int) -> None:
    names = {row[1] for row in connection.execute("PRAGMA table_info(syncline_log)").fetchall()}
    for position in range(1, width + 1):
        if f"k{position}" not in names:
            connection.execute(f"ALTER TABLE syncline_log ADD COLUMN k{position}")


def _forget(connection: sqlite3.Connection, consumer: str) -> None:
    connection.execute(SQL["delete_follows"], {"consumer": consumer})
    connection.execute(SQL["delete_consumer"], {"consumer": consumer})


def _drop_unfollowed(connection: sqlite3.Connection) -> list[str]:
    removed: list[str] = []
    for number, table in connection.execute(SQL["select_unfollowed_tables"]).fetchall():
        for name, on, _ in connection.execute(SQL["select_triggers"]).fetchall():
            if on == table:
                connection.execute(f"DROP TRIGGER {quoted(name)}")
                removed.append(f"trigger {name}")
        connection.execute(SQL["delete_table"], {"id": number})
    return removed


def _remove_everything(connection: sqlite3.Connection) -> list[str]:
    removed: list[str] = []
    for name, _, _ in connection.execute(SQL["select_triggers"]).fetchall():
        connection.execute(f"DROP TRIGGER {quoted(name)}")
        removed.append(f"trigger {name}")
    for (name,) in connection.execute(SQL["select_own_tables"]).fetchall():
        connection.execute(f"DROP TABLE {quoted(name)}")
        removed.append(f"table {name}")
    return removed
