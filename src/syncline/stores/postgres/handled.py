"""How many commands a database has handled, for `status`. Only looks."""

from contextlib import closing

from syncline.stores.postgres.connection import connect, load, translated
from syncline.stores.roles import HandledCommands

_SQL = load("handled.sql")


def handled_commands(database: str, *, is_log: bool) -> HandledCommands | None:
    """What is known of a service's database. Raises StoreError when it cannot be read."""
    with closing(connect(database)) as connection, translated(database):
        ((has_log, has_tables),) = connection.execute(_SQL["select_tables"]).fetchall()
        if is_log:
            return HandledCommands(*connection.execute(_SQL["select_log"]).fetchall()[0]) if has_log else None
        if not has_tables:
            return HandledCommands(0)
        return HandledCommands(connection.execute(_SQL["count_table_commands"]).fetchall()[0][0])
