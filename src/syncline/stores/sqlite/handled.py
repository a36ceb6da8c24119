"""How many commands a database has handled, for `status`. Only looks."""

import os
from contextlib import closing

from syncline.stores.roles import HandledCommands
from syncline.stores.sqlite.source import OPEN_TIMEOUT_S, open_source, source_errors
from syncline.stores.statements import load_statements

_SQL = load_statements("syncline.stores.sqlite", "handled.sql")


def handled_commands(path: str, *, is_log: bool) -> HandledCommands | None:
    """What is known of a service's database; None where there is none yet. Raises StoreError when it cannot be read."""
    if not os.path.exists(path):
        return None
    with closing(open_source(path, read_only=True, timeout_s=OPEN_TIMEOUT_S)) as connection, source_errors(path):
        there = {name for (name,) in connection.execute(_SQL["select_tables"])}
        if is_log:
            return HandledCommands(*connection.execute(_SQL["select_log"]).fetchone()) if "syncline_event_log" in there else None
        if "syncline_table_command" not in there:
            return HandledCommands(0)
        return HandledCommands(connection.execute(_SQL["count_table_commands"]).fetchone()[0])
