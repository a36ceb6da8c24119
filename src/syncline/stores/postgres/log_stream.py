"""The log of a slot as whole transactions, read over a replication connection. Answers the server while idle.

Source: https://www.postgresql.org/docs/current/protocol-replication.html.
"""

import selectors
import struct
from dataclasses import dataclass, field

from psycopg import errors

from syncline.errors import SourceChanged, StoreError, Unavailable
from syncline.stores.postgres.connection import connect, quoted, shown, translated
from syncline.stores.postgres.pgoutput import Begin, Commit, Message, decode

MOST_CHANGES = 50_000
"""How many changes wait to be read before no more are taken from the server; a transaction is never cut."""
_STATUS = struct.Struct(">cQQQQB")
_END_AND_TIME = struct.Struct(">QQ")


@dataclass(slots=True)
class Transaction:
    """What one transaction changed: its number (the low 32 bits), where it ends in the log, when it was committed."""

    xid: int
    at: float
    end: int = 0
    changes: list[Message] = field(default_factory=list)


class LogStream:
    """One slot, from a place of the log on. One thread owns it. Raises Unavailable when the server ends it."""

    def __init__(self, database: str, slot: str, start: int) -> None:
        self._database = database
        self.ready: list[Transaction] = []
        self.reached = start
        """Up to here everything is in `ready`, or was."""
        self._changes = 0
        self._open: Transaction | None = None
        self._confirmed = 0
        self._connection = connect(database, replication="database")
        try:
            with translated(database):
                self._start(slot, start)
        except BaseException:
            self._connection.close()
            raise
        self._pg = self._connection.pgconn
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._pg.socket, selectors.EVENT_READ)

    def take(self) -> None:
        """Takes what the server has sent by now."""
        with translated(self._database):
            self._pg.consume_input()
            while self._changes < MOST_CHANGES or self._open is not None:
                size, data = self._pg.get_copy_data(1)
                if size == 0:
                    return
                if size < 0:
                    raise self._ended()
                self._read(bytes(data))

    def wait(self, seconds: float) -> bool:
        """Waits for the server to send something, so long at most; says whether it did."""
        return bool(self._selector.select(seconds))

    def drain(self) -> list[Transaction]:
        """The transactions that are whole, in the order of their commits; they are given once."""
        found, self.ready, self._changes = self.ready, [], 0
        return found

    def ask(self) -> None:
        """Asks the server how far it has come: `reached` tells when it has answered."""
        self._tell(asks=True)

    def confirm(self, flushed: int) -> None:
        """Tells the server up to where everything is on disk here: it forgets that."""
        self._confirmed = max(self._confirmed, flushed)
        self._tell(asks=False)

    def close(self) -> None:
        self._selector.close()
        self._connection.close()

    def _start(self, slot: str, start: int) -> None:
        place = f"{start >> 32:X}/{start & 0xFFFFFFFF:X}"
        options = f"proto_version '1', publication_names '{quoted(slot)}'"
        try:
            self._connection.execute(f"START_REPLICATION SLOT {quoted(slot)} LOGICAL {place} ({options})")
        except errors.ObjectInUse as error:
            raise Unavailable(f"slot '{slot}' is still being read by another connection; it is tried again") from error
        except errors.ConfigurationLimitExceeded as error:
            raise StoreError(
                f"the server has no free walsender ({error.diag.message_primary}): raise max_wal_senders and restart it"
            ) from error
        except (errors.UndefinedObject, errors.ObjectNotInPrerequisiteState) as error:
            raise SourceChanged(f"slot '{slot}' cannot be read: {error.diag.message_primary}; it is made anew") from error

    def _tell(self, *, asks: bool) -> None:
        written = max(self.reached, self._confirmed)
        with translated(self._database):
            self._pg.put_copy_data(_STATUS.pack(b"r", written, self._confirmed, self._confirmed, 0, asks))
            self._pg.flush()

    def _read(self, data: bytes) -> None:
        if data[:1] == b"w":
            self._decoded(decode(data[25:]))
            return
        end, _ = _END_AND_TIME.unpack_from(data, 1)
        if self._open is None:
            self.reached = max(self.reached, end)
        if data[17]:
            self._tell(asks=False)

    def _decoded(self, message: Message | None) -> None:
        if isinstance(message, Begin):
            self._open = Transaction(message.xid, message.at)
        elif isinstance(message, Commit):
            assert self._open is not None
            done, self._open = self._open, None
            done.end = message.end
            self.reached = max(self.reached, done.end)
            self.ready.append(done)
        elif message is not None:
            assert self._open is not None
            self._open.changes.append(message)
            self._changes += 1

    def _ended(self) -> Exception:
        """The server ends a stream with an error, as a result after the last data."""
        result = self._pg.get_result()
        reason = " ".join(result.error_message.decode(errors="replace").split()) if result is not None else ""
        if "publication" in reason and "does not exist" in reason:
            return SourceChanged(f"the log cannot be decoded: {reason}; slot and publication are made anew")
        return Unavailable(f"{shown(self._database)} ended the stream of its log: {reason or 'the connection was cut'}")
