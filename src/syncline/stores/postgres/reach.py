"""One service's database as capture by triggers reaches it: no transaction is left open, and no lock is waited for very long."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from psycopg import errors

from syncline.errors import SourceChanged, StoreError, Unavailable
from syncline.stores.postgres.connection import OWN_NAMES, Connection, connect, shown, translated

READ_WAIT_MS = 20
LOCK_GRACE_S = 1.0
"""How long a table may be locked by its owner before that is told as a failure."""
_NOT_THERE = (errors.UndefinedTable, errors.UndefinedFunction, errors.InvalidSchemaName)
_BEGIN = (
    "BEGIN ISOLATION LEVEL REPEATABLE READ; "
    f"SET LOCAL lock_timeout = {READ_WAIT_MS}; "
    "SET LOCAL synchronous_commit = off; "
    # What is read is known by its keys, and little against the tables: plans that scan these would be for statistics that lie.
    "SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; SET LOCAL enable_seqscan = off; "
    "SET LOCAL plan_cache_mode = force_generic_plan; "
)


class Reach:
    """A connection to one service's database. One thread owns it."""

    def __init__(self, service: str, database: str) -> None:
        self._service, self.database = service, database
        self.connection = connect(database, settings=OWN_NAMES)
        self._locked_since: float | None = None

    def close(self) -> None:
        self.connection.close()

    def ready(self) -> Connection:
        """The connection, without what is left of a batch that was not read to its end. Raises Unavailable where it is gone."""
        if self.connection.closed:
            raise Unavailable(f"the connection to {shown(self.database)} was cut; it is opened again")
        self.rollback()
        return self.connection

    def rollback(self) -> None:
        if not self.connection.closed and self.connection.info.transaction_status != 0:
            with translated(self.database):
                self.connection.execute("ROLLBACK")

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Raises SourceChanged where the program's tables are not there, and else what `translated` makes of an error."""
        try:
            with translated(self.database):
                yield
        except StoreError as error:
            raise self.removed() if isinstance(error.__cause__, _NOT_THERE) else error from error.__cause__

    def removed(self) -> SourceChanged:
        return SourceChanged(f"the capture of '{self._service}' was removed from its database; it is installed again")

    @contextmanager
    def writing(self, wait_ms: int) -> Iterator[Connection]:
        """A write transaction that waits for locks no longer than that. Raises Unavailable: try again later."""
        connection = self.ready()
        try:
            with translated(self.database), connection.transaction():
                connection.execute(f"SET LOCAL lock_timeout = {wait_ms}")
                yield connection
        except Unavailable as error:
            if isinstance(error.__cause__, errors.LockNotAvailable):
                raise self._locked() from error.__cause__
            raise

    def begin(self, tables: Sequence[str]) -> bool:
        """Begins to read: locks first, then the snapshot. False where a table is locked by someone who changes it just now."""
        lock = f"LOCK TABLE {', '.join(tables)} IN ACCESS SHARE MODE; " if tables else ""
        connection = self.ready()
        try:
            with translated(self.database):
                connection.execute(f"{_BEGIN}{lock}SET LOCAL lock_timeout = 0")
        except StoreError as error:
            self.rollback()
            if isinstance(error.__cause__, errors.UndefinedTable):
                reason = error.__cause__.diag.message_primary
                raise SourceChanged(f"a table of '{self._service}' is gone: {reason}") from error.__cause__
            if not isinstance(error.__cause__, errors.LockNotAvailable):
                raise
            now = time.monotonic()
            self._locked_since = self._locked_since or now
            if now - self._locked_since > LOCK_GRACE_S:
                raise self._locked() from error.__cause__
            return False
        self._locked_since = None
        return True

    def _locked(self) -> Unavailable:
        return Unavailable(
            f"{shown(self.database)}: a table of '{self._service}' is locked by another transaction that goes on; it is waited "
            "for, and tried again"
        )
