"""What capture by triggers puts into a service's database, and how it is taken out again.

The triggers run inside the owner's SQLite, which may be old: their SQL is that of 2014 (3.8). They log which keys are dirty,
never what changed, and name only columns of the primary key and of unique indexes, so that the owner may alter all others.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from syncline.messages import Relation
from syncline.stores.sqlite.source import UniqueIndex, row_number_names, unique_indexes
from syncline.stores.sqlite.tables import quoted
from syncline.stores.statements import load_statements

FORMAT = 2

SQL = load_statements("syncline.stores.sqlite", "capture.sql")


def is_installed(connection: sqlite3.Connection) -> bool:
    """Whether the database holds the program's tables."""
    return bool(connection.execute(SQL["is_installed"]).fetchone()[0] == 3)


def is_capturing(connection: sqlite3.Connection) -> bool:
    """Whether triggers log changes here for some read store."""
    return is_installed(connection) and connection.execute(SQL["select_tables"]).fetchone() is not None


def prepare(connection: sqlite3.Connection) -> None:
    """Makes the program's tables where they are not, so that a position can be told before any read store follows.

    Run inside a write transaction. A read store that follows later keeps the incarnation: while no table is captured nothing can
    pass without a mark, and what it then copies contains everything that was committed before.
    """
    if is_installed(connection) and connection.execute(SQL["select_format"]).fetchone() != (FORMAT,):
        _remove_everything(connection)
    for name in ("create_source", "create_consumer", "create_table", "create_follow", "create_log"):
        connection.execute(SQL[name])
    connection.execute(SQL["insert_source"], {"format": FORMAT, "schema": _schema_version(connection)})
    connection.execute(SQL["insert_first_mark"])


@contextmanager
def schema_known(connection: sqlite3.Connection) -> Iterator[None]:
    """What the program itself does to the schema in this block, within a write transaction, is no gap of the capture."""
    before = (_schema_version(connection),)
    is_known = is_installed(connection) and connection.execute(SQL["select_schema"]).fetchone() == before
    yield
    if is_known and (_schema_version(connection),) != before:
        connection.execute(SQL["update_schema"], {"schema": _schema_version(connection)})


def install(connection: sqlite3.Connection, consumer: str, read_store: str, relations: Sequence[Relation]) -> dict[str, int]:
    """Makes the triggers log every change of these relations for this consumer. Run inside a write transaction.

    Returns the number of each table in the log.

    Safe to repeat. A table that was captured already and has lost a trigger, or a schema that was changed more than once, makes
    a gap: the incarnation is renewed, so that every consumer compares what it holds.
    """
    prepare(connection)
    gaps = is_capturing(connection) and not is_undisturbed(connection)
    _widen_log(connection, max((len(relation.key) for relation in relations), default=1))
    for (other,) in connection.execute(
        SQL["select_replaced_consumers"], {"read_store": read_store, "consumer": consumer}
    ).fetchall():
        _forget(connection, other)
    connection.execute(SQL["insert_consumer"], {"consumer": consumer, "read_store": read_store})
    connection.execute(SQL["update_read_store"], {"consumer": consumer, "read_store": read_store})
    connection.execute(SQL["delete_follows"], {"consumer": consumer})
    ids: dict[str, int] = {}
    for relation in relations:
        number, gap = _capture(connection, relation)
        ids[relation.table] = number
        gaps |= gap
        connection.execute(SQL["insert_follow"], {"consumer": consumer, "tbl": number})
    _drop_unfollowed(connection)
    if gaps:
        connection.execute(SQL["renew_incarnation"])
    if connection.execute(SQL["select_schema"]).fetchone() != (_schema_version(connection),):
        connection.execute(SQL["update_schema"], {"schema": _schema_version(connection)})
    return ids


def standing(
    connection: sqlite3.Connection, consumer: str, read_store: str, relations: Sequence[Relation]
) -> dict[str, int] | None:
    """The numbers of these tables in the log when `install` would change nothing; else None. Only reads."""
    if not is_installed(connection) or connection.execute(SQL["select_format"]).fetchone() != (FORMAT,):
        return None
    if connection.execute(SQL["select_schema"]).fetchone() != (_schema_version(connection),):
        return None
    if connection.execute(SQL["select_place"], {"after": 0}).fetchone()[2] is None:
        return None
    consumers = [row[:2] for row in connection.execute(SQL["select_consumers"]).fetchall()]
    if [name for name, path in consumers if path == read_store] != [consumer]:
        return None
    numbers = {name: number for number, name in connection.execute(SQL["select_tables"]).fetchall()}
    ids = {relation.table: numbers[relation.table] for relation in relations if relation.table in numbers}
    followed = {number for (number,) in connection.execute(SQL["select_follows"], {"consumer": consumer}).fetchall()}
    if len(ids) < len(relations) or followed != set(ids.values()) or lost(connection, relations, ids):
        return None
    return ids


def is_undisturbed(connection: sqlite3.Connection) -> bool:
    """Whether at most one statement changed the schema since `install`. See `is_one_step`."""
    found = connection.execute(SQL["select_schema"]).fetchone()
    return found is not None and is_one_step(found[0], _schema_version(connection))


def is_one_step(before: int, after: int) -> bool:
    """Whether at most one statement changed the schema between these versions of it (PRAGMA schema_version).

    One statement cannot change values without a mark and leave table and triggers as they were. Two can: a column dropped and
    added again has other values.
    """
    return after - before in (0, 1)


def lost(connection: sqlite3.Connection, relations: Iterable[Relation], ids: dict[str, int]) -> list[str]:
    """Which of these tables are not captured as they should be: a trigger is missing, other or superfluous."""
    there = connection.execute(SQL["select_triggers"]).fetchall()
    return [
        relation.table
        for relation in relations
        if not _is_whole(there, relation, _triggers_for(connection, relation, ids[relation.table]))
    ]


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
    relation: Relation, number: int, unique: Sequence[UniqueIndex], row_numbers: Sequence[str] = ()
) -> dict[str, str]:
    """CREATE TRIGGER statements by name.

    `number` is the table's in the log, `unique` its unique indexes, `row_numbers` the names of its row number. Through a unique
    index, and through the row number, a REPLACE removes a row for which SQLite runs no trigger, so it is marked before. UPDATE OF
    compares names as they are written in SET, so those of the row number may stand there.
    """
    table, key = quoted(relation.table), [quoted(name) for name in relation.key]
    base = f"syncline_{relation.table}"
    columns = ", ".join(["nonce", "tbl", *(f"k{position}" for position in range(1, len(key) + 1))])
    into = f"INSERT INTO syncline_log ({columns})"

    def mark(row: str) -> str:
        return f"{into} VALUES (random(), {number}, {', '.join(f'{row}.{name}' for name in key)});"

    def of(names: Sequence[str]) -> str:
        is_key = relation.is_rowid_key and set(relation.key) & set(names)
        return f" OF {', '.join([*map(quoted, names), *(row_numbers if is_key else ())])}"

    key_changed = " OR ".join(f"OLD.{name} IS NOT NEW.{name}" for name in key)
    bodies = {
        f"{base}_insert": f"AFTER INSERT ON {table} BEGIN {mark('NEW')} END",
        f"{base}_update": f"AFTER UPDATE ON {table} BEGIN {mark('NEW')} END",
        f"{base}_rekey": f"AFTER UPDATE{of(relation.key)} ON {table} WHEN {key_changed} BEGIN {mark('OLD')} END",
        f"{base}_delete": f"AFTER DELETE ON {table} BEGIN {mark('OLD')} END",
    }
    victim = f"{into} SELECT random(), {number}, {', '.join(key)} FROM {table} WHERE"
    other = " OR ".join(f"{name} IS NOT OLD.{name}" for name in key)
    if row_numbers and not relation.is_rowid_key:
        same = f"{victim} {row_numbers[0]} = NEW.{row_numbers[0]}"
        bodies[f"{base}_replace0"] = f"BEFORE INSERT ON {table} BEGIN {same}; END"
        bodies[f"{base}_rereplace0"] = f"BEFORE UPDATE OF {', '.join(row_numbers)} ON {table} BEGIN {same} AND ({other}); END"
    for position, index in enumerate(unique, 1):
        same = f"{victim} {_same_entry(index)}"
        of_index = "" if index.is_computed or index.where else of(index.columns)
        bodies[f"{base}_replace{position}"] = f"BEFORE INSERT ON {table} BEGIN {same}; END"
        bodies[f"{base}_rereplace{position}"] = f"BEFORE UPDATE{of_index} ON {table} BEGIN {same} AND ({other}); END"
    return {name: f"CREATE TRIGGER {quoted(name)} {body}" for name, body in bodies.items()}


def _same_entry(index: UniqueIndex) -> str:
    """A condition that a row has the same entry in a unique index as the row that is written."""
    defaults = index.defaults or (None,) * len(index.columns)
    terms: list[str] = []
    for name, collation, default in zip(index.columns, index.collations, defaults, strict=True):
        value = f"NEW.{quoted(name)}" if default is None else f"ifnull(NEW.{quoted(name)}, {default})"
        terms.append(f"{quoted(name)} = {value} COLLATE {collation}")
    return " AND ".join([*terms, f"({index.where})"] if index.where else terms)


def _triggers_for(connection: sqlite3.Connection, relation: Relation, number: int) -> dict[str, str]:
    return triggers_of(relation, number, unique_indexes(connection, relation.table), row_number_names(connection, relation))


def _schema_version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA schema_version").fetchone()[0])


def _capture(connection: sqlite3.Connection, relation: Relation) -> tuple[int, bool]:
    """The table's number in the log, and whether changes of it may have gone without a mark."""
    numbers = {name: number for number, name in connection.execute(SQL["select_tables"]).fetchall()}
    number = numbers.get(relation.table)
    is_new = number is None
    if number is None:
        number = int(connection.execute(SQL["insert_table"], {"name": relation.table}).lastrowid or 0)
    wanted = _triggers_for(connection, relation, number)
    there = connection.execute(SQL["select_triggers"]).fetchall()
    mine = [name for name, table, _ in there if table == relation.table or name in wanted]
    if _is_whole(there, relation, wanted):
        return number, is_new
    for name in mine:
        connection.execute(f"DROP TRIGGER {quoted(name)}")
    for sql in wanted.values():
        connection.execute(sql)
    return number, not is_new or bool(mine)


def _is_whole(there: Iterable[tuple[str, str, str]], relation: Relation, wanted: dict[str, str]) -> bool:
    found = {name: (table, sql) for name, table, sql in there if table == relation.table or name in wanted}
    return found == {name: (relation.table, sql) for name, sql in wanted.items()}


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
