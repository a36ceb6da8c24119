"""Indexes of stored tables, and what takes their place where a value is too long for them.

A B-tree takes some 2,700 bytes of a row; a longer value fails the statement that writes it. Where one comes, others take the
place of the table's B-trees: one of what has a length of its own, and for each other column one that takes any length: SP-GiST
for text, or else a hash. They find rows by equality as before, but keep no order, and do not keep keys unique, which is for the
one writer to do. Must run within a transaction.
"""

from collections.abc import Sequence
from itertools import groupby

from psycopg import errors

from syncline.stores.own_tables import Run
from syncline.stores.postgres.connection import Connection, quoted

OURS = "ix_"
LENGTH = len(OURS) + 24
"""How long the name of an index is that a plan needs; those that take its place have a number behind it."""
DROPPED_WITHIN_MS = 1_000
"""How long readers of a table are waited for, and wait, before an index of it is dropped."""


def create_index(connection: Connection, index: str, table: str, terms: Sequence[str], *, unique: bool = False) -> None:
    """An index over columns and expressions, as SQL, of a table that may hold values of any length."""
    kind = "UNIQUE INDEX" if unique else "INDEX"
    nulls = " NULLS NOT DISTINCT" if unique else ""
    try:
        with connection.transaction():
            connection.execute(f"CREATE {kind} {quoted(index)} ON {table} ({', '.join(terms)}){nulls}")
    except errors.ProgramLimitExceeded:
        if not _create_for_any_length(connection, index, table, terms):
            raise


def make_room(connection: Connection, run: Run, table: str) -> list[str]:
    """Puts others in the place of a table's B-trees that not every value fits in. Returns what these were over: nothing where
    there were none.

    Raises LockNotAvailable when readers hold the table for long.
    """
    replaced: list[str] = []
    drops: list[str] = []
    found = run("select_btrees", table=table).fetchall()
    for (schema, index, constraint), rows in groupby(found, key=lambda row: row[:3]):
        terms = [term for *_, term in rows]
        if _create_for_any_length(connection, index, table, terms):
            replaced.append(f"({', '.join(terms)})")
            drops.append(
                f"DROP INDEX {quoted(schema, index)}"
                if constraint is None
                else f"ALTER TABLE {table} DROP CONSTRAINT {quoted(constraint)}"
            )
    if drops:  # last, since readers wait from here on
        connection.execute(f"SET LOCAL lock_timeout = {DROPPED_WITHIN_MS}")
    for drop in drops:
        connection.execute(drop)
    return replaced


def drop_unique(connection: Connection, table: str) -> bool:
    """Drops what makes rows of a temporary table unique; false where nothing does."""
    query = "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = %s::regclass AND indisunique"
    found = connection.execute(query, (table,)).fetchall()
    for (index,) in found:
        connection.execute(f"DROP INDEX {index}")
    return bool(found)


def has_primary_key(run: Run, table: str) -> bool:
    """Whether the table's key is kept unique by an index."""
    return bool(run("has_primary_key", table=table).fetchone()[0])


def _create_for_any_length(connection: Connection, index: str, table: str, terms: Sequence[str]) -> bool:
    """Creates what takes the place of a B-tree over these terms; false where all of them have a length of their own."""
    described = connection.execute(f"SELECT {', '.join(terms)} FROM {table} LIMIT 0").description or ()
    short = [term for term, column in zip(terms, described, strict=True) if column.internal_size is not None]
    names = (f"{quoted(f'{index}_{number}')} " if index.startswith(OURS) else "" for number in range(1, 2 * len(terms) + 2))
    if len(short) == len(terms):
        return False
    if short:
        connection.execute(f"CREATE INDEX {next(names)}ON {table} ({', '.join(short)})")
    for term in (term for term in terms if term not in short):
        try:
            with connection.transaction():
                connection.execute(f"CREATE INDEX {next(names)}ON {table} USING spgist ({term})")
        except errors.UndefinedObject:
            _create_hash(connection, next(names), next(names), table, term)
    return True


def _create_hash(connection: Connection, name: str, other: str, table: str, term: str) -> None:
    """A hash knows no rows without a value: they are in an index of their own. A type that has no hash is left without both."""
    try:
        with connection.transaction():
            connection.execute(f"CREATE INDEX {name}ON {table} USING hash ({term})")
            connection.execute(f"CREATE INDEX {other}ON {table} ((true)) WHERE {term} IS NULL")
    except errors.UndefinedObject:
        pass
