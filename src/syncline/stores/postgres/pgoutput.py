"""The messages of logical decoding as PostgreSQL's plugin pgoutput writes them, protocol version 1. Pure.

Source: https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html. Transactions come whole, in the order of
their commits. Values come as text; `travelling` gives the function that makes of them what travels (see `connection`).
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

from syncline.messages import Scalar

EPOCH_S: Final = 946_684_800.0
"""2000-01-01 in seconds since 1970: PostgreSQL counts microseconds from there."""


class Unchanged(Enum):
    """A value that is stored apart, and was not written by the UPDATE: it is not in the log."""

    UNCHANGED = "unchanged"


UNCHANGED: Final = Unchanged.UNCHANGED
Text: TypeAlias = bytes | None | Unchanged


@dataclass(frozen=True, slots=True)
class Begin:
    """A transaction begins that was committed at `at`, in seconds since 1970."""

    xid: int
    at: float


@dataclass(frozen=True, slots=True)
class Commit:
    """The transaction ends; everything up to `end` is read."""

    end: int
    at: float


@dataclass(frozen=True, slots=True)
class Described:
    """What a table's rows are made of from now on: names and types of its columns, in order, and which tell an old row.

    `is_whole` says that all columns of an old row are told (REPLICA IDENTITY FULL).
    """

    table: int
    schema: str
    name: str
    columns: tuple[tuple[str, int], ...]
    identity: frozenset[str]
    is_whole: bool


@dataclass(frozen=True, slots=True)
class Inserted:
    table: int
    row: list[Text]


@dataclass(frozen=True, slots=True)
class Updated:
    """`old` is the old row where the table has REPLICA IDENTITY FULL, its key where that was changed, else None."""

    table: int
    old: list[Text] | None
    is_whole: bool
    row: list[Text]


@dataclass(frozen=True, slots=True)
class Deleted:
    """`old` holds the columns of the identity, the others are None; or the whole row."""

    table: int
    old: list[Text]


@dataclass(frozen=True, slots=True)
class Truncated:
    tables: tuple[int, ...]


Message: TypeAlias = Begin | Commit | Described | Inserted | Updated | Deleted | Truncated


def decode(data: bytes) -> Message | None:
    """One message; None for those that say nothing about rows (types, origins, messages of programs)."""
    kind = data[:1]
    decoder = _DECODERS.get(kind)
    if decoder is None:
        if kind in (b"Y", b"O", b"M"):
            return None
        raise ValueError(f"pgoutput sent a message of kind {kind!r}, which protocol version 1 does not have")
    return decoder(data)


def travelling(type_oid: int) -> Callable[[bytes], Scalar]:
    """From a value's text to what travels, by its type."""
    return _TRAVELLING.get(type_oid, _text)


def _begin(data: bytes) -> Begin:
    _, at, xid = struct.unpack_from(">QqI", data, 1)
    return Begin(xid, at / 1e6 + EPOCH_S)


def _commit(data: bytes) -> Commit:
    _, _, end, at = struct.unpack_from(">BQQq", data, 1)
    return Commit(end, at / 1e6 + EPOCH_S)


def _described(data: bytes) -> Described:
    (table,) = struct.unpack_from(">I", data, 1)
    schema, at = _string(data, 5)
    name, at = _string(data, at)
    is_whole = data[at : at + 1] == b"f"
    (count,) = struct.unpack_from(">H", data, at + 1)
    at += 3
    columns: list[tuple[str, int]] = []
    identity: set[str] = set()
    for _ in range(count):
        is_key = data[at] & 1
        column, at = _string(data, at + 1)
        (type_oid,) = struct.unpack_from(">I", data, at)
        columns.append((column, type_oid))
        if is_key:
            identity.add(column)
        at += 8
    return Described(table, schema or "pg_catalog", name, tuple(columns), frozenset(identity), is_whole)


def _inserted(data: bytes) -> Inserted:
    (table,) = struct.unpack_from(">I", data, 1)
    row, _ = _row(data, 6)
    return Inserted(table, row)


def _updated(data: bytes) -> Updated:
    (table,) = struct.unpack_from(">I", data, 1)
    kind = data[5:6]
    if kind == b"N":
        row, _ = _row(data, 6)
        return Updated(table, None, False, row)
    old, at = _row(data, 6)
    row, _ = _row(data, at + 1)
    return Updated(table, old, kind == b"O", row)


def _deleted(data: bytes) -> Deleted:
    (table,) = struct.unpack_from(">I", data, 1)
    old, _ = _row(data, 6)
    return Deleted(table, old)


def _truncated(data: bytes) -> Truncated:
    count, _ = struct.unpack_from(">IB", data, 1)
    return Truncated(struct.unpack_from(f">{count}I", data, 6))


def _row(data: bytes, at: int) -> tuple[list[Text], int]:
    (count,) = struct.unpack_from(">H", data, at)
    at += 2
    values: list[Text] = []
    for _ in range(count):
        kind = data[at]
        at += 1
        if kind == _TEXT:
            length = int.from_bytes(data[at : at + 4], "big")
            at += 4
            values.append(data[at : at + length])
            at += length
        else:
            values.append(None if kind == _NULL else UNCHANGED)
    return values, at


def _string(data: bytes, at: int) -> tuple[str, int]:
    end = data.index(0, at)
    return data[at:end].decode(), end + 1


def _text(value: bytes) -> str:
    return value.decode()


def _bytes(value: bytes) -> bytes:
    return bytes.fromhex(value[2:].decode())


def _boolean(value: bytes) -> bool:
    return value == b"t"


_TEXT, _NULL = ord("t"), ord("n")
_TRAVELLING: Final[Mapping[int, Callable[[bytes], Scalar]]] = {
    16: _boolean,
    17: _bytes,
    20: int,
    21: int,
    23: int,
    26: int,
    700: float,
    701: float,
}
_DECODERS: Final[Mapping[bytes, Callable[[bytes], Message]]] = {
    b"B": _begin,
    b"C": _commit,
    b"R": _described,
    b"I": _inserted,
    b"U": _updated,
    b"D": _deleted,
    b"T": _truncated,
}
