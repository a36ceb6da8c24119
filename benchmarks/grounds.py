"""The ground that a run is made on: SQLite files, or databases of a PostgreSQL server."""

from collections.abc import Iterator
from contextlib import contextmanager

from shop import Ground


@contextmanager
def open_ground(*, is_postgres: bool) -> Iterator[Ground]:
    """On PostgreSQL a throw-away server with fsync on, or the one that SYNCLINE_PG_DSN names."""
    if is_postgres:
        from shop_postgres import postgres_ground  # the driver is needed here only

        with postgres_ground() as ground:
            yield ground
    else:
        from shop_sqlite import SQLiteGround

        yield SQLiteGround()
