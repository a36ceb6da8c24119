"""How many groups of commands took effect in the database of a polled table service, as positions that its sweeps have too.

Who handles commands counts; who sweeps only reads. See `syncline.stores.sweeps`.
"""

from syncline.messages import Position
from syncline.stores.postgres.connection import Connection, load
from syncline.stores.sweeps import SWEEPS

SQL = load("group_count.sql")


def create_count(connection: Connection) -> None:
    """Makes the count where it is not. Run inside a write transaction, where the schema `syncline` is."""
    connection.execute(SQL["create_count"])
    connection.execute(SQL["insert_count"])


def count_group(connection: Connection) -> Position:
    """Counts one more, in the transaction of the group; the place with it."""
    ((incarnation, n),) = connection.execute(SQL["count_group"]).fetchall()
    return Position(incarnation, n * SWEEPS)


def counted(connection: Connection) -> Position | None:
    """The place of all groups that took effect; None where nothing is counted, because no commands are handled."""
    if connection.execute(SQL["is_counted"]).fetchone() != (True,):
        return None
    found = connection.execute(SQL["select_count"]).fetchone()
    return Position(found[0], found[1] * SWEEPS) if found is not None else None


def renew_count(connection: Connection) -> str:
    """Gives this history of the database another name, so that tokens of before are refused; returns it."""
    ((incarnation,),) = connection.execute(SQL["renew_count"]).fetchall()
    return str(incarnation)
