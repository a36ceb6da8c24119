"""What flows between the rooms: relations, positions, batches and tokens, as frozen values.

Nothing here touches a database, a clock or a file. Every other module may import this one.
"""

import base64
import binascii
import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from syncline.errors import InvalidToken

Scalar: TypeAlias = None | int | float | str | bytes
Row: TypeAlias = tuple[Scalar, ...]
Key: TypeAlias = tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a relation: its name and what decides how its values are stored and compared."""

    name: str
    declared_type: str = ""
    collation: str = "BINARY"
    not_null: bool = False


@dataclass(frozen=True, slots=True)
class Relation:
    """A named set of rows that a service publishes, `service.table`, with its primary key.

    `columns` are in the order rows travel in. `key` names some of them. `unique` holds further sets of
    columns that the source keeps unique (only those without expressions or predicates). `is_rowid_key`
    says that the one key column is the source's 64-bit integer row number. `dialect` is the kind of database that the
    rows come from: values travel as that store gives them. `origin` is the schema of the table there ("" where none is named).
    """

    service: str
    table: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    unique: tuple[tuple[str, ...], ...] = ()
    is_rowid_key: bool = False
    dialect: str = "sqlite"
    origin: str = ""

    @property
    def name(self) -> str:
        return f"{self.service}.{self.table}"

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @property
    def key_indexes(self) -> tuple[int, ...]:
        """Where the key's columns stand in a row, in key order."""
        names = self.column_names
        return tuple(names.index(name) for name in self.key)

    def pruned_to(self, names: Iterable[str]) -> "Relation":
        """The same relation with only the key and the named columns, in the source's order."""
        wanted = {*names, *self.key}
        kept = tuple(column for column in self.columns if column.name in wanted)
        unique = tuple(columns for columns in self.unique if set(columns) <= wanted)
        return replace(self, columns=kept, unique=unique)


@dataclass(frozen=True, slots=True)
class Position:
    """A place in one feed. `n` never falls within one `incarnation` of the source.

    `proof` is a random value that the source holds at this place; a source that shows another value
    there is not the one this position was read from (restored, copied). What is numbered up to `n` is contained, but for the
    numbers in `open`: PostgreSQL's transactions, which end in another order than they are numbered. Opaque outside the capture.
    """

    incarnation: str
    n: int
    proof: int = 0
    open: tuple[int, ...] = ()

    def reaches(self, other: "Position") -> bool:
        """Whether all that `other` contains is contained in this position of the same incarnation."""
        is_far_enough = self.n >= other.n and all(number > other.n or number in other.open for number in self.open)
        return self.incarnation == other.incarnation and is_far_enough


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some net changes of one relation: current rows, and keys that no longer exist.

    Rows follow the relation's `columns`, deleted keys its `key`. Within a batch a later chunk overrides an
    earlier one for the same key.
    """

    relation: Relation
    rows: list[Row]
    deleted: list[Key] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A stream of a service whose events could not be made rows: it is held back from the event at `position` on.

    `keys` are the rows that depend on it, as pairs of relation name and key: those that its earlier events made, and those that
    the events held back would touch. `error` is why; `since` is seconds since 1970. Until it is settled, relations may hold rows
    of what waits: the service's rows are still to be made anew.
    """

    service: str
    stream: str
    position: int
    event: str
    error: str
    since: float
    keys: frozenset[tuple[str, Key]] = frozenset()
    is_settled: bool = True


@dataclass(slots=True)
class Batch:
    """Everything that changed at one service after `before`, up to one transaction-consistent state of it.

    `chunks` is consumed once and to its end; the capture sets the other fields when it is exhausted, not before,
    because a source that must not be read for long is read in several short transactions, and only the last one
    tells the state reached. `after` names that state, `read_at` is the source's time (seconds since 1970) when it was
    current (None where nothing is known but that it is newer than `before`), `exact` is false for a sweep that may have missed
    deletions.

    `parked` are streams held back from this batch on, or held back before and with more keys now; `released` are streams that
    were held back and are, in this batch, no longer.
    """

    service: str
    before: Position
    chunks: Iterable[Chunk]
    after: Position | None = None
    read_at: float | None = 0.0
    exact: bool = True
    parked: list[DeadLetter] = field(default_factory=list)
    released: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Token:
    """A vector of positions, one per service: "at least as new as this"."""

    positions: Mapping[str, Position]
    _text: str = field(default="", init=False, repr=False, compare=False)

    def __str__(self) -> str:
        """One printable word without spaces; `parse_token` reads it back and notices any damage."""
        if not self._text:  # one token is told to all who read while nothing is committed
            object.__setattr__(self, "_text", self._as_text())
        return self._text

    def _as_text(self) -> str:
        body = json.dumps(
            {service: [at.incarnation, at.n, *at.open] for service, at in sorted(self.positions.items())},
            separators=(",", ":"),
        ).encode()
        packed = zlib.crc32(body).to_bytes(4, "big") + body
        return "sl1." + base64.urlsafe_b64encode(packed).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class Receipt:
    """What sending a command gives: its id, the token that reads are at least as new as, and what was decided.

    `events` are those stored by it, in order, as the service's own values (none for a table service). `stream` is where they were
    stored and `version` its version after them; a table service has neither ("" and 0).
    """

    command_id: str
    token: Token
    events: tuple[object, ...] = ()
    stream: str = ""
    version: int = 0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far some long work has come; `total` is None where nobody can tell."""

    what: str
    done: int
    total: int | None
    unit: str


def as_token(given: object) -> Token:
    """The token that is given as such, as text, or with a receipt. Raises InvalidToken for anything else."""
    if isinstance(given, Token):
        return given
    if isinstance(given, Receipt):
        return given.token
    if isinstance(given, str):
        return parse_token(given)
    raise InvalidToken(repr(given), f"it is of type {type(given).__name__}, expected a Token, its text, or a Receipt")


def parse_token(text: str) -> Token:
    """The token that `text` spells. Raises InvalidToken for anything that `str(token)` did not print."""
    prefix, _, encoded = text.strip().partition(".")
    if prefix != "sl1" or not encoded:
        raise InvalidToken(text, "it does not begin with 'sl1.'")
    try:
        packed = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    except (binascii.Error, ValueError) as error:
        raise InvalidToken(text, "it is not base64") from error
    checksum, body = packed[:4], packed[4:]
    if zlib.crc32(body).to_bytes(4, "big") != checksum:
        raise InvalidToken(text, "its checksum does not match")
    vector = json.loads(body)
    return Token({service: Position(incarnation, n, open=tuple(open_)) for service, (incarnation, n, *open_) in vector.items()})
