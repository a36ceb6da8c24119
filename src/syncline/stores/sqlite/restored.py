"""A database that was put back from a backup: its history gets another name, and positions of before mean nothing any more.

Somebody must say so, since nobody can tell: who was behind the backup finds there all that it expects.
"""

from contextlib import closing

from syncline.stores.sqlite.group_count import counted, renew_count
from syncline.stores.sqlite.history import SQLiteHistory
from syncline.stores.sqlite.install import SQL, is_installed
from syncline.stores.sqlite.reach import Reach, in_write
from syncline.stores.sqlite.source import READ_TIMEOUT_S


def renew_log(path: str) -> str:
    """The new name of the event log, which is made if there is none. Whoever follows it makes everything anew and compares."""
    with closing(SQLiteHistory(path, read_only=False)) as history:
        if history.exists():
            history.renew(history.place(0).incarnation, busy_s=READ_TIMEOUT_S)
        else:
            history.create()
        return history.place(0).incarnation


def renew_capture(path: str) -> str | None:
    """The new name of what triggers capture; None where none do. Whoever follows it compares everything.

    So what a change of the schema may have hidden is found too: that a backup has another version of it is no gap.
    """
    with closing(Reach(path, read_only=False)) as reach, in_write(reach, READ_TIMEOUT_S) as connection:
        if not is_installed(connection):
            return None
        connection.execute(SQL["renew_incarnation"])
        (schema,) = connection.execute("PRAGMA schema_version").fetchone()
        connection.execute(SQL["update_schema"], {"schema": schema})
        return str(connection.execute(SQL["select_place"], {"after": 0}).fetchone()[0])


def renew_sweeps(path: str) -> str | None:
    """The new name of what sweeps count; None where they count nothing: a database of others is not written to."""
    with closing(Reach(path, read_only=True)) as reach, reach.snapshot():
        if counted(reach.connection) is None:
            return None
    with closing(Reach(path, read_only=False)) as reach, in_write(reach, READ_TIMEOUT_S) as connection:
        renew_count(connection)
        place = counted(connection)
    return place.incarnation if place is not None else None
