"""The program's own tables in a read store on PostgreSQL: their statements by name, for its writer and its readers."""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import psycopg

from syncline.errors import StoreError
from syncline.stores.own_tables import Run
from syncline.stores.postgres.connection import Connection, in_words, load, quoted
from syncline.stores.postgres.layout import OWN, Layout
from syncline.stores.statements import load_statements

PREPARING_LOCK = (0x53796E63, 3)
NOTICED_SOON = {
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "idle_session_timeout": "0",
}
"""Settings of a connection that holds locks: the server soon notices that its host is gone, and ends it for nothing else."""
_OWN = re.compile(rf"\b{OWN}\.(?=[a-z])")


@cache
def statements(own: str) -> Mapping[str, str]:
    """The statements, with the program's own tables in the schema `own`."""
    return {name: in_schema(text, own) for name, text in load("read.sql").items()}


@cache
def functions(own: str) -> tuple[str, ...]:
    """The SQL functions that readers call, as statements that make them."""
    return tuple(in_schema(text, own) for text in load_statements("syncline.stores.postgres", "reading.sql").values())


def in_schema(text: str, own: str) -> str:
    """SQL of the program's own tables as it is where their schema has another name, as in a trial."""
    return text if own == OWN else _OWN.sub(f"{own}.", text)


def runner(connection: Connection, layout: Layout, database: str) -> Run:
    """Runs these statements over a connection to a database; the driver's errors become the program's."""
    known = statements(layout.own)

    def run(statement: str, /, **values: object) -> psycopg.Cursor[tuple[Any, ...]]:
        try:
            return connection.execute(known[statement], values, prepare=True)
        except psycopg.Error as error:
            raise in_words(database, error) from error

    return run


def prepare(connection: Connection, database: str, layout: Layout, format_: int, *, is_trial: bool = False) -> None:
    """Makes what a read store has of its own, where it is missing. Raises StoreError where another kind of store is there."""
    with connection.transaction():
        if not is_trial:
            connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", PREPARING_LOCK)
        for schema in (layout.own, layout.views):
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(schema)}")
        for name, statement in statements(layout.own).items():
            if name.startswith("create_"):
                connection.execute(statement)
        for statement in functions(layout.own):
            connection.execute(statement)
        run = runner(connection, layout, database)
        run("insert_meta", format=format_, name=layout.name)
        found, name = run("select_meta").fetchone()[0], run("select_name").fetchone()[0]
    where = connection.info.dbname
    if found != format_:
        raise StoreError(
            f"database '{where}' holds a read store of format {found}, this version reads format {format_}; drop its schemas "
            "to build it anew from the sources, or use the version that made it"
        )
    if name != layout.name:
        raise StoreError(
            f"database '{where}' holds the read model '{name}'; give '{layout.name}' a database of its own, or drop the schemas "
            f"'{layout.own}' and '{name}' there"
        )
