"""Events as rows: the operations that a service's `rows` function yields, and the relations that they are about.

Values only. How operations are folded and applied is the read side's.
"""

import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any, TypeAlias

from syncline import messages
from syncline.codec import EventCodec
from syncline.messages import Column


class _Operation:
    """Column values for one row of a relation, named by its key columns."""

    __slots__ = ("relation", "values")

    def __init__(self, relation: str, /, **values: Any) -> None:
        self.relation, self.values = relation, values

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Operation) or type(self) is not type(other):
            return False
        return (self.relation, self.values) == (other.relation, other.values)

    def __hash__(self) -> int:
        return hash((type(self), self.relation, tuple(sorted(self.values))))

    def __repr__(self) -> str:
        values = "".join(f", {name}={value!r}" for name, value in self.values.items())
        return f"{type(self).__name__}({self.relation!r}{values})"


class Upsert(_Operation):
    """Writes a whole row, in place of what was there under its key. Columns left out become NULL."""

    __slots__ = ()


class Patch(_Operation):
    """Writes the named columns of the row with this key. Changes nothing, and is counted, where there is no such row."""

    __slots__ = ()


class Delete(_Operation):
    """Removes the row with this key. Changes nothing, and is counted, where there is no such row."""

    __slots__ = ()


RowOperation: TypeAlias = Upsert | Patch | Delete


@dataclass(frozen=True, slots=True)
class Relation:
    """A relation that rows are made for: `row` is a dataclass (or msgspec Struct) whose fields are its columns, `key` its key.

    Fields may be `int`, `str`, `float`, `bool`, `bytes`, `date`, `time`, `datetime` (the last three are stored as ISO 8601 text),
    or one of these `| None`.
    """

    row: type
    key: str | tuple[str, ...]

    @property
    def key_columns(self) -> tuple[str, ...]:
        return (self.key,) if isinstance(self.key, str) else tuple(self.key)


@dataclass(frozen=True, slots=True)
class Published:
    """What an event-sourced service publishes: its events, its relations by name, and how one event becomes rows of them."""

    service: str
    codec: EventCodec
    relations: Mapping[str, messages.Relation]
    rows: Callable[[Any], Iterable[RowOperation]]


_DECLARED: dict[object, str] = {
    int: "INTEGER",
    bool: "INTEGER",
    str: "TEXT",
    float: "REAL",
    bytes: "BLOB",
    date: "TEXT",
    time: "TEXT",
    datetime: "TEXT",
}


LEAST_INTEGER, GREATEST_INTEGER = -(2**63), 2**63 - 1


def iso(value: date | time) -> str:
    """How a date, a time or both is stored: ISO 8601."""
    return str(value.isoformat())


def stored_value(value: object) -> messages.Scalar:
    """What a column holds of a value. Raises ValueError for one that none can hold."""
    if isinstance(value, date | time):
        return iso(value)
    if isinstance(value, int) and not LEAST_INTEGER <= value <= GREATEST_INTEGER:
        raise ValueError("it does not fit into 64 bits")
    if isinstance(value, str):
        value.encode()  # half a surrogate pair is no text
    if value is None or isinstance(value, int | float | str | bytes):
        return value
    known = ", ".join(getattr(kind, "__name__", str(kind)) for kind in _DECLARED)
    raise ValueError(f"a column holds no {type(value).__name__}; expected one of {known}, or None")


def publish(
    service: str, codec: EventCodec, relations: Mapping[str, Relation], rows: Callable[[Any], Iterable[RowOperation]] | None
) -> Published:
    """What the read side follows of an event-sourced service. Raises ValueError as `published_relation` does."""
    known = {name: published_relation(service, name, relation) for name, relation in relations.items()}
    return Published(service, codec, known, rows or _no_rows)


def published_relation(service: str, name: str, relation: Relation) -> messages.Relation:
    """The relation `service.name` as the read side knows it. Raises ValueError that says which field is not as it must be."""
    hints = typing.get_type_hints(relation.row)
    columns: list[Column] = []
    for field, hint in hints.items():
        options = (
            typing.get_args(hint) if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union else (hint,)
        )
        kinds = [option for option in options if option is not type(None)]
        if len(kinds) != 1 or kinds[0] not in _DECLARED:
            known = ", ".join(getattr(kind, "__name__", str(kind)) for kind in _DECLARED)
            raise ValueError(
                f"relation '{service}.{name}': {relation.row.__name__}.{field} is {hint}; "
                f"expected one of {known}, or one of them | None"
            )
        columns.append(Column(field, _DECLARED[kinds[0]], not_null=len(options) == 1))
    for column in relation.key_columns:
        if column not in hints:
            raise ValueError(
                f"relation '{service}.{name}': its key names '{column}', which {relation.row.__name__} has not; "
                f"it has: {', '.join(hints)}"
            )
    key = relation.key_columns
    is_rowid = len(key) == 1 and hints[key[0]] is int
    return messages.Relation(service, name, tuple(columns), key, (), is_rowid)


def _no_rows(_: Any) -> Iterable[RowOperation]:
    return ()
