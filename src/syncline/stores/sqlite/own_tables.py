"""The program's own tables in a read store on SQLite: their statements by name, for its writer and its readers."""

import sqlite3

from syncline.stores.own_tables import Run
from syncline.stores.statements import load_statements

STATEMENTS = {
    name: statement
    for file in ("read.sql", "parked.sql", "dead_letters.sql")
    for name, statement in load_statements("syncline.stores.sqlite", file).items()
}


def runner(connection: sqlite3.Connection) -> Run:
    """Runs these statements over a connection."""

    def run(statement: str, /, **values: object) -> sqlite3.Cursor:
        return connection.execute(STATEMENTS[statement], values)

    return run
