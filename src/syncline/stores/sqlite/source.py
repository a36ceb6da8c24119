"""Databases that belong to other programs: opened so that they are never disturbed, and described as relations.

A connection to one never checkpoints its write-ahead log, waits only briefly for its owner, and runs no trigger of its own.
"""

import os
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from syncline.errors import SourceChanged, StoreError, Unavailable
from syncline.messages import Column, Relation
from syncline.stores.sqlite.tables import quoted
from syncline.stores.statements import load_statements
from syncline.stores.translation import adapted

READ_TIMEOUT_S = 1.0
"""How long a read waits for an owner who holds the database exclusively."""
OPEN_TIMEOUT_S = 0.05
"""How long a follower that opens one waits: it is tried again, and what else it follows must not wait for this."""

_SQL = load_statements("syncline.stores.sqlite", "source.sql")


@dataclass(frozen=True, slots=True)
class UniqueIndex:
    """A unique index beside the primary key's: a row that REPLACE removes through it is known by these columns.

    `where` is the condition of a partial index. `defaults` are those of columns that are NOT NULL: REPLACE puts them in the place
    of NULL. `is_computed` says that a column is generated, so that it changes without being named in an UPDATE.
    """

    columns: tuple[str, ...]
    collations: tuple[str, ...]
    defaults: tuple[str | None, ...] = ()
    where: str = ""
    is_computed: bool = False


def open_source(path: str, *, read_only: bool, timeout_s: float = READ_TIMEOUT_S) -> sqlite3.Connection:
    """A connection to a service's database. Raises Unavailable when it is not there or cannot be read within `timeout_s`.

    What its owner was writing when it was killed is undone first, as by any program that opens the file next.
    """
    if not os.path.exists(path):
        raise no_database(path)
    if not os.path.isfile(path):
        raise Unavailable(f"'{path}' is not a file, expected an SQLite database; correct 'database' in syncline.toml")
    with source_errors(path):
        try:
            return _connected(path, "ro" if read_only else "rw", timeout_s)
        except sqlite3.OperationalError as error:
            if not (read_only and getattr(error, "sqlite_errorname", "") in _NEEDS_RECOVERY):
                raise
        _connected(path, "rw", timeout_s).close()
        return _connected(path, "ro", timeout_s)


def _connected(path: str, mode: str, timeout_s: float) -> sqlite3.Connection:
    uri = f"file:{quote(str(Path(path).absolute()))}?mode={mode}"
    connection = sqlite3.connect(
        uri, uri=True, timeout=timeout_s, isolation_level=None, cached_statements=1024, check_same_thread=False
    )
    try:
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("PRAGMA mmap_size = 0")
        if connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
            connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        connection.execute(f"PRAGMA busy_timeout = {int(READ_TIMEOUT_S * 1000)}")
    except BaseException:
        connection.close()
        raise
    return connection


def no_database(path: str) -> Unavailable:
    return Unavailable(f"there is no database '{path}'; put it there, or correct the service's 'database' in syncline.toml")


def tables(connection: sqlite3.Connection) -> list[str]:
    """The names of the ordinary tables, without the program's own and SQLite's."""
    return [name for (name,) in connection.execute(_SQL["select_tables"])]


def describe(connection: sqlite3.Connection, service: str, table: str) -> Relation:
    """The relation that a table is, with all its columns.

    Columns of the key count as not NULL: a row whose key holds NULL is never read (it could not be told apart).
    Raises SourceChanged when there is no such table, StoreError when it cannot be followed, with the reason.
    """
    found = connection.execute(_SQL["select_table"], {"name": table}).fetchone()
    if found is None:
        near = [name for name in tables(connection) if name.lower().rstrip("s") == table.lower().rstrip("s")]
        hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(tables(connection)) or 'none'}"
        raise SourceChanged(f"service '{service}' has no table '{table}'; {hint}")
    name, kind, is_strict, has_no_rowid = found
    if kind != "table":
        raise StoreError(f"{service}.{name} is a {kind}, expected a table; name the tables that it reads instead")
    rows = connection.execute(_SQL["select_columns"], {"name": name}).fetchall()
    collations = _collations(connection, name)
    columns = tuple(
        Column(
            column,
            "" if is_strict and declared.upper() == "ANY" else declared,
            collations.get(column.lower(), "BINARY"),
            bool(not_null or position),
        )
        for column, declared, not_null, position, *_ in rows
    )
    key = tuple(name for name, _, _, position, *_ in sorted(rows, key=lambda row: row[3]) if position)
    if not key:
        raise StoreError(
            f"{service}.{name} has no primary key, so its rows cannot be told apart; give it one, or leave it out of 'tables'"
        )
    for column in columns:
        if column.collation.upper() not in ("BINARY", "NOCASE", "RTRIM"):
            raise StoreError(
                f"{service}.{name}.{column.name} has the collation {column.collation}, which only its own program knows; "
                "leave the table out of 'tables'"
            )
    _refuse_other_key_order(connection, service, name, columns, key)
    is_rowid = not has_no_rowid and len(key) == 1 and _declared(columns, key[0]).upper() == "INTEGER"
    unique = _unique_columns(connection, name, columns, key)
    return Relation(service, name, columns, key, unique, is_rowid and _is_rowid_alias(connection, name))


def unique_indexes(connection: sqlite3.Connection, table: str) -> list[UniqueIndex]:
    """Each unique index but the primary key's.

    Raises StoreError for one over an expression: a REPLACE that hits it removes a row that no trigger can name.
    """
    columns = {row[0]: row for row in connection.execute(_SQL["select_columns"], {"name": table}).fetchall()}
    found: list[UniqueIndex] = []
    for index, origin, is_partial in connection.execute(_SQL["select_unique_indexes"], {"name": table}).fetchall():
        if origin == "pk":
            continue
        terms = connection.execute(_SQL["select_index_columns"], {"name": index}).fetchall()
        if any(column is None for column, _ in terms):
            raise StoreError(
                f"table '{table}' has the unique index '{index}' over an expression: a row that REPLACE removes through it "
                'cannot be noticed by triggers; drop the index, or use capture = "polling"'
            )
        names = tuple(column for column, _ in terms)
        defaults = tuple(columns[name][4] if columns[name][2] else None for name in names)
        where = _condition(connection, index) if is_partial else ""
        is_computed = any(columns[name][5] for name in names)
        found.append(UniqueIndex(names, tuple(collation for _, collation in terms), defaults, where, is_computed))
    return found


def row_number_names(connection: sqlite3.Connection, relation: Relation) -> tuple[str, ...]:
    """What SQLite calls the row number of this table beside a column of it; nothing where a table has none."""
    _, _, _, has_no_rowid = connection.execute(_SQL["select_table"], {"name": relation.table}).fetchone()
    rows = connection.execute(_SQL["select_columns"], {"name": relation.table}).fetchall()
    taken = {str(row[0]).lower() for row in rows}
    return () if has_no_rowid else tuple(name for name in ("rowid", "_rowid_", "oid") if name not in taken)


def nullable_key(connection: sqlite3.Connection, relation: Relation) -> tuple[str, ...]:
    """Columns of the key in which this table may hold NULL, as SQLite allows where the key is not the row number."""
    found = connection.execute(_SQL["select_table"], {"name": relation.table}).fetchone()
    if found is None or found[3] or relation.is_rowid_key:
        return ()
    rows = connection.execute(_SQL["select_columns"], {"name": relation.table}).fetchall()
    return tuple(column for column, _, not_null, position, *_ in rows if position and not not_null)


def _unique_columns(
    connection: sqlite3.Connection, table: str, columns: Sequence[Column], key: Sequence[str]
) -> tuple[tuple[str, ...], ...]:
    """The sets of columns that no two rows share, as the columns themselves compare."""
    collations = {column.name: column.collation.upper() for column in columns}
    found: list[tuple[str, ...]] = []
    for index, origin, is_partial in connection.execute(_SQL["select_unique_indexes"], {"name": table}).fetchall():
        terms = connection.execute(_SQL["select_index_columns"], {"name": index}).fetchall()
        names = tuple(column for column, _ in terms)
        is_plain = origin != "pk" and not is_partial and None not in names
        if is_plain and set(names) != set(key) and all(collations[c] in ("BINARY", order.upper()) for c, order in terms):
            found.append(names)
    return tuple(found)


def _refuse_other_key_order(
    connection: sqlite3.Connection, service: str, table: str, columns: Sequence[Column], key: Sequence[str]
) -> None:
    """A primary key that compares otherwise than its columns: what is one row to the one is two to the other."""
    collations = {column.name: column.collation.upper() for column in columns}
    for index, origin, _ in connection.execute(_SQL["select_unique_indexes"], {"name": table}).fetchall():
        if origin != "pk":
            continue
        for column, order in connection.execute(_SQL["select_index_columns"], {"name": index}).fetchall():
            if column in key and collations[column] != order.upper():
                raise StoreError(
                    f"{service}.{table}: its primary key compares '{column}' as {order}, the column itself as "
                    f"{collations[column]}, so that rows cannot be told apart reliably; leave the table out of 'tables'"
                )


def _condition(connection: sqlite3.Connection, index: str) -> str:
    """The condition of a partial index: what follows WHERE behind the list of its columns."""
    (sql,) = connection.execute(_SQL["select_index_sql"], {"name": index}).fetchone()
    depth, is_listed = 0, False
    for match in _TOKEN.finditer(sql):
        token = match.group().upper()
        depth += (token == "(") - (token == ")")
        is_listed |= token == "("
        if token == "WHERE" and depth == 0 and is_listed:
            return _COMMENT.sub(_without_comment, sql[match.end() :]).strip()
    raise StoreError(f"the condition of the index '{index}' cannot be found in: {sql}")


def _without_comment(match: re.Match[str]) -> str:
    return " " if match.group().startswith(("--", "/*")) else match.group()


_QUOTED = r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`(?:[^`]|``)*`|\[[^\]]*\]"
_COMMENT = re.compile(rf"--[^\n]*|/\*.*?(?:\*/|\Z)|{_QUOTED}", re.DOTALL)
_TOKEN = re.compile(rf"{_COMMENT.pattern}|\w+|[()]", re.DOTALL)


def has_columns(relation: Relation, current: Relation) -> None:
    """Raises SourceChanged when `current`, what the source holds now, can no longer give the rows of `relation`."""
    by_name = {column.name.lower(): column for column in current.columns}
    elsewhere = {column.name.lower(): column for column in adapted(current, "postgres").columns}
    for column in relation.columns:
        now, there = by_name.get(column.name.lower()), elsewhere.get(column.name.lower())
        if now is None or there is None:
            raise SourceChanged(
                f"{relation.name} has no column '{column.name}' any more (it was dropped or renamed); "
                "add it again, or take it out of the views that read it"
            )
        kinds = [(each.declared_type, each.collation) for each in (now, there)]
        if (column.declared_type, column.collation) not in kinds:
            raise SourceChanged(
                f"{relation.name}.{column.name} is '{now.declared_type}' now, it was '{column.declared_type}'; "
                "its mirror is loaded anew"
            )
    if current.key != relation.key:
        raise SourceChanged(
            f"the primary key of {relation.name} is ({', '.join(current.key)}) now, it was ({', '.join(relation.key)}); "
            "its mirror is loaded anew"
        )


@contextmanager
def source_errors(path: str) -> Iterator[None]:
    """Turns the driver's errors into Unavailable, SourceChanged and StoreError, which say what to do."""
    try:
        yield
    except sqlite3.Error as error:
        raise _in_words(path, error) from error


def _in_words(path: str, error: sqlite3.Error) -> StoreError:
    name = getattr(error, "sqlite_errorname", "") or ""
    for prefix, advice in _ADVICE.items():
        if name.startswith(prefix):
            return Unavailable(f"database '{path}': {error}; {advice}")
    if re.search(r"no such (table|column)", str(error)):
        return SourceChanged(f"database '{path}': {error}; it was dropped or renamed")
    if "Could not decode to UTF-8" in str(error):
        return StoreError(f"database '{path}': {error}; a text there is not UTF-8: mend that row")
    return StoreError(f"database '{path}': {error}")


_NEEDS_RECOVERY = ("SQLITE_READONLY_ROLLBACK", "SQLITE_READONLY_RECOVERY")
"""A journal that is left behind must be rolled back before anyone reads, which a connection for reading only cannot do."""

_ADVICE = {
    "SQLITE_READONLY_ROLLBACK": "its owner was killed while it wrote; start it again, which undoes that, or make the "
    "file and its folder writable for this user",
    "SQLITE_BUSY": "its owner, or another program, holds it locked; it is tried again until it is free",
    "SQLITE_LOCKED": "its owner, or another program, holds it locked; it is tried again until it is free",
    "SQLITE_READONLY": "capture 'triggers' must write to it: make the file and its folder writable for this user, "
    'or use capture = "polling", which only reads',
    "SQLITE_FULL": "make room on its disk; nothing is lost, it is tried again",
    "SQLITE_CANTOPEN": "check that the file and its folder may be read (and, for capture 'triggers', written) by this user",
    "SQLITE_IOERR": "its disk failed; it is tried again",
    "SQLITE_NOTADB": "the file is not an SQLite database (or an encrypted one); correct 'database' in syncline.toml",
    "SQLITE_CORRUPT": "the file is damaged; its owner must restore it, and it is then compared and followed again",
    "SQLITE_SCHEMA": "its schema is being changed; it is tried again",
}


def _declared(columns: Sequence[Column], name: str) -> str:
    return next(column.declared_type for column in columns if column.name == name)


def _is_rowid_alias(connection: sqlite3.Connection, table: str) -> bool:
    """Whether the INTEGER key is the row number: `INTEGER PRIMARY KEY DESC` is not, and then has an index of its own."""
    indexes = connection.execute(_SQL["select_unique_indexes"], {"name": table}).fetchall()
    return all(origin != "pk" for _, origin, _ in indexes)


def _collations(connection: sqlite3.Connection, table: str) -> dict[str, str]:
    """Each column's collation. Only an index tells it, so the table's own SQL is asked through one on an empty copy."""
    sql = connection.execute(_SQL["select_sql"], {"name": table}).fetchone()[0]
    if "COLLATE" not in sql.upper():
        return {}
    with_columns = sqlite3.connect(":memory:")
    try:
        names = _unknown_collations(sql)
        for name in names:
            with_columns.create_collation(name, lambda left, right: (left > right) - (left < right))
        with_columns.execute(sql)
        columns = [row[1] for row in with_columns.execute(f"PRAGMA table_xinfo({quoted(table)})")]
        found: dict[str, str] = {}
        for column in columns:
            with_columns.execute(f"CREATE INDEX syncline_probe ON {quoted(table)} ({quoted(column)})")
            (collation,) = with_columns.execute("SELECT coll FROM pragma_index_xinfo('syncline_probe')").fetchone()
            with_columns.execute("DROP INDEX syncline_probe")
            found[column.lower()] = str(collation).upper()
        return found
    finally:
        with_columns.close()


def _unknown_collations(sql: str) -> set[str]:
    named = re.findall(r"COLLATE\s+[\"'`\[]?(\w+)", sql, re.IGNORECASE)
    return {name for name in named if name.upper() not in ("BINARY", "NOCASE", "RTRIM")}
