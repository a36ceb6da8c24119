"""How many groups of commands took effect in the database of a polled table service, as positions that its sweeps have too.

Who handles commands counts; who sweeps only reads. A sweep that began with a count contains all that was counted, so that any
read store's sweep answers for a command, whoever sent it. Between two counts there is room for the numbers of many sweeps.
"""

import sqlite3

from syncline.messages import Position
from syncline.stores.statements import load_statements
from syncline.stores.sweeps import SWEEPS

SQL = load_statements("syncline.stores.sqlite", "group_count.sql")


def create_count(connection: sqlite3.Connection) -> None:
    """Makes the count where it is not. Run inside a write transaction."""
    connection.execute(SQL["create_count"])
    connection.execute(SQL["insert_count"])


def count_group(connection: sqlite3.Connection) -> None:
    """Counts one more, in the transaction of the group."""
    connection.execute(SQL["count_group"])


def counted(connection: sqlite3.Connection) -> Position | None:
    """The place of all groups that took effect; None where nothing is counted, because no commands are handled."""
    if not connection.execute(SQL["is_counted"]).fetchone()[0]:
        return None
    incarnation, n = connection.execute(SQL["select_count"]).fetchone()
    return Position(incarnation, n * SWEEPS)


def renew_count(connection: sqlite3.Connection) -> None:
    """Gives this history of the database another name, so that tokens of before are refused.

    Run inside a write transaction, where groups are counted.
    """
    connection.execute(SQL["renew_count"])
