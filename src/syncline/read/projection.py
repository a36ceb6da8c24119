"""From events to rows: what a service's `rows` function yields, proven against the relations and folded for each key.

Operations count in the order in which they are yielded: what a fold gives, written once, is what they would give one by one.
Knows no database; a row that is not at hand is asked for once all are folded.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, time
from operator import itemgetter
from typing import Any, Final, TypeAlias

from syncline.errors import in_words
from syncline.messages import Column, Key, Relation, Row, Scalar
from syncline.rows import GREATEST_INTEGER, LEAST_INTEGER, Delete, Patch, Published, Upsert, iso

Change: TypeAlias = Row | dict[int, Scalar] | None
"""What becomes of a row: all of its values, new values by the numbers of their columns, or None: it goes."""
Step: TypeAlias = tuple[str, Key, Change]
"""One proven operation: the relation's name in its service, the row's key, and what becomes of it."""

StoredEvent: TypeAlias = tuple[int, str, str, int, str]
"""What projecting needs of a stored event: position, stream, name, shape and data. A plain tuple: millions pass by."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An event that could not be made rows, which holds its stream back from here on."""

    stream: str
    position: int
    event: str
    error: str


@dataclass(slots=True)
class Net:
    """What operations on the rows of one relation come to.

    `unproven` counts, for a key, the operations that change something only where the row was there before; `missing` those that
    are known to have changed nothing, `example` being a key of them. Once all is proven, `changes` are rows, or None for gone.
    """

    changes: dict[Key, Change] = field(default_factory=dict)
    unproven: dict[Key, int] = field(default_factory=dict)
    missing: int = 0
    example: Key | None = None

    def add(self, key: Key, change: dict[int, Scalar] | None) -> None:
        """One more Patch or Delete, after the operations before it. (An Upsert is the change, whatever was before.)"""
        before = self.changes.get(key, _UNKNOWN)
        if before is _UNKNOWN:
            self.unproven[key], self.changes[key] = 1, change
        elif before is None:
            self.missing, self.example = self.missing + 1, key
        elif isinstance(before, tuple):
            self.changes[key] = None if change is None else patched(before, change)
        else:
            self.unproven[key] += 1
            self.changes[key] = None if change is None else {**before, **change}

    def prove(self, base: Mapping[Key, Row]) -> None:
        """Settles what is unproven; `base` has those of its rows that were there before."""
        for key, count in self.unproven.items():
            change, row = self.changes[key], base.get(key)
            if row is None:
                self.missing, self.example = self.missing + count, key
                if not isinstance(change, tuple):
                    del self.changes[key]
            elif isinstance(change, dict):
                self.changes[key] = patched(row, change)
        self.unproven.clear()

    @property
    def rows(self) -> list[Row]:
        """The rows to be written. Call when all is proven."""
        return [change for change in self.changes.values() if isinstance(change, tuple)]

    @property
    def gone(self) -> list[Key]:
        """The keys of rows that are to be removed, if they are there. Call when all is proven."""
        return [key for key, change in self.changes.items() if change is None]


class Projection:
    """The events of one service as rows of those of its relations that are followed, with the columns that are.

    `held` names the streams that are held back, each with the position from which on its events are passed over; an event that
    cannot be made rows adds its own. `dropped` are positions of events that are left out for good.
    """

    def __init__(
        self,
        published: Published,
        followed: Iterable[Relation],
        *,
        held: dict[str, int] | None = None,
        dropped: frozenset[int] = frozenset(),
    ) -> None:
        self.held = {} if held is None else held
        self.dropped = dropped
        self._published = published
        self._followed = {relation.table: relation for relation in followed}
        self._decode = published.codec.decode
        self._makers: dict[tuple[object, ...], _Maker] = {}

    def fold(self, events: Iterable[StoredEvent], nets: Mapping[str, Net]) -> tuple[list[Failure], list[StoredEvent]]:
        """Adds what consecutive events do to `nets`, by relation. Returns what failed, and the events that are held back."""
        failures: list[Failure] = []
        passed: list[StoredEvent] = []
        held, dropped, decode, steps = self.held, self.dropped, self._decode, self.steps
        changes = {table: net.changes for table, net in nets.items()}
        for event in events:
            position, stream, name, shape, data = event
            if held and position >= held.get(stream, position + 1):
                passed.append(event)
                continue
            if position in dropped:
                continue
            try:
                found = steps(decode(name, shape, data, stream, position))
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # whatever the service's own function raises, SystemExit too
                held[stream] = position
                failures.append(Failure(stream, position, name, in_words(error)))
                passed.append(event)
                continue
            for table, key, change in found:
                if isinstance(change, tuple):
                    changes[table][key] = change
                else:
                    nets[table].add(key, change)
        return failures, passed

    def steps(self, event: object) -> list[Step]:
        """What one event does to rows that are followed. Raises ValueError for an operation that does not fit its relation."""
        found: list[Step] = []
        makers = self._makers
        for operation in self._published.rows(event) or ():
            try:
                values = operation.values
                maker = makers.get((operation.__class__, operation.relation, *values))
            except AttributeError:
                raise ValueError(f"'rows' yielded {operation!r}; expected Upsert, Patch or Delete") from None
            if maker is None:
                maker = self._maker(type(operation), operation.relation, tuple(values))
            step = maker(tuple(values.values()))
            if step is not None:
                found.append(step)
        return found

    def keys(self, events: Iterable[StoredEvent]) -> set[tuple[str, Key]]:
        """The rows that these events touch, as pairs of a relation's name in its service and a key; of those that fail, none."""
        found: set[tuple[str, Key]] = set()
        for event in events:
            position, stream, name, shape, data = event
            try:
                found.update((table, key) for table, key, _ in self.steps(self._decode(name, shape, data, stream, position)))
            except KeyboardInterrupt:
                raise
            except BaseException:  # it fails, which is why its stream is held back
                continue
        return found

    def _maker(self, kind: type, table: str, names: tuple[str, ...]) -> "_Maker":
        """What makes steps of operations of one form; worked out once for each."""
        relation = self._published.relations.get(table)
        if relation is None:
            known = ", ".join(sorted(self._published.relations)) or "none"
            raise ValueError(
                f"{kind.__name__}({table!r}): service '{self._published.service}' has no such relation; it has: {known}"
            )
        maker = self._makers[(kind, table, *names)] = _made(kind, relation, self._followed.get(table), names)
        return maker


_Maker: TypeAlias = Callable[[tuple[Any, ...]], Step | None]
_UNKNOWN: Final[Any] = object()


def patched(row: Row, change: Mapping[int, Scalar]) -> Row:
    """The row with new values in some columns."""
    values = list(row)
    for index, value in change.items():
        values[index] = value
    return tuple(values)


# -- operations of one form: a kind, a relation and the columns that are named ------------------------------------------


def _made(kind: type, relation: Relation, followed: Relation | None, names: tuple[str, ...]) -> _Maker:
    """A function from the values of such operations to their step (None where the relation is not followed)."""
    shown = f"{kind.__name__}({relation.table!r})"
    _refuse_names(shown, kind, relation, names)
    columns = {column.name: column for column in relation.columns}
    stored = _Stored(shown, [replace(columns[n], not_null=columns[n].not_null or n in relation.key) for n in names]).of
    if followed is None:
        return lambda values: stored(values) and None  # nothing of it is kept; what is wrong with it is wrong all the same
    table, key = relation.table, _picker([names.index(name) for name in relation.key], len(names))
    if kind is Delete:
        return lambda values: (table, key(stored(values)), None)
    if kind is Patch:
        written = [name for name in names if name in followed.column_names and name not in relation.key]
        places = [(followed.column_names.index(name), names.index(name)) for name in written]
        return lambda values: (table, key(values := stored(values)), {to: values[at] for to, at in places})
    if names == followed.column_names:
        return lambda values: (table, key(values := stored(values)), values)
    # A column that was left out is NULL: it stands behind the last of the values.
    row = _picker([names.index(name) if name in names else len(names) for name in followed.column_names], len(names))
    return lambda values: (table, key(values := stored(values)), row(values))


def _refuse_names(shown: str, kind: type, relation: Relation, names: tuple[str, ...]) -> None:
    if kind not in (Upsert, Patch, Delete):
        raise ValueError(f"'rows' yielded a {kind.__name__}; expected Upsert, Patch or Delete")
    for name in names:
        if name not in relation.column_names:
            raise ValueError(f"{shown}: there is no column '{name}'; {relation.name} has: {', '.join(relation.column_names)}")
        if kind is Delete and name not in relation.key:
            raise ValueError(f"{shown}: '{name}' is not in the key; a row to be deleted is named by: {', '.join(relation.key)}")
    for name in relation.key:
        if name not in names:
            raise ValueError(f"{shown}: the key's column '{name}' is missing; a row is named by: {', '.join(relation.key)}")
    if kind is Upsert:
        for column in relation.columns:
            if column.not_null and column.name not in names:
                raise ValueError(f"{shown}: the column '{column.name}' is missing, and may not be NULL; give it a value")


_Picker: TypeAlias = Callable[[tuple[Any, ...]], tuple[Any, ...]]


def _picker(indexes: list[int], width: int) -> _Picker:
    """Takes some of so many values, by their numbers; the number behind the last one is NULL."""
    if len(indexes) == 1:
        (index,) = indexes
        return lambda values: (values[index],)
    pick = itemgetter(*indexes)
    return pick if width not in indexes else lambda values: pick((*values, None))


class _Stored:
    """What is stored of the values of some columns. Values that are stored as they are pass quickly."""

    __slots__ = ("_columns", "_integers", "_others", "_shown", "_texts")

    def __init__(self, shown: str, columns: Sequence[Column]) -> None:
        self._shown, self._columns = shown, columns
        numbered = [(index, column.declared_type) for index, column in enumerate(columns)]
        self._texts = [index for index, declared in numbered if declared == "TEXT"]
        self._integers = [index for index, declared in numbered if declared == "INTEGER"]
        self._others = len(numbered) > len(self._texts) + len(self._integers)

    def of(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        """Raises ValueError for a value that cannot be stored in its column."""
        for index in self._texts:
            value = values[index]
            if value.__class__ is not str or not value.isascii():
                return self._converted(values)
        for index in self._integers:
            value = values[index]
            if value.__class__ is not int or not LEAST_INTEGER <= value <= GREATEST_INTEGER:
                return self._converted(values)
        return self._converted(values) if self._others else values

    def _converted(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(map(self._convert, self._columns, values))

    def _convert(self, column: Column, value: Any) -> Scalar:
        if value is None:
            if column.not_null:
                reason = "is None, and may not be NULL; give it a value, or make its field '| None'"
                raise ValueError(f"{self._shown}: {column.name} {reason}")
            return None
        kinds = _CONVERSIONS[column.declared_type]
        convert = next((convert for kind, convert in kinds.items() if isinstance(value, kind)), None)
        if convert is None:
            expected = ", ".join(kind.__name__ for kind in kinds)
            raise ValueError(f"{self._shown}: {column.name} is {value!r}, of type {type(value).__name__}; expected {expected}")
        try:
            return convert(value)
        except (ValueError, OverflowError) as error:
            raise ValueError(f"{self._shown}: {column.name} is {value!r}, which cannot be stored: {error}") from None


def _integer(value: Any) -> int:
    if not LEAST_INTEGER <= value <= GREATEST_INTEGER:
        raise ValueError("it does not fit into 64 bits")
    return int(value)


def _real(value: Any) -> float:
    if value != value:
        raise ValueError("NaN would become NULL")
    return float(value)


def _text(value: Any) -> str:
    found = str.__str__(value)
    found.encode()
    return found


_CONVERSIONS: Final[Mapping[str, Mapping[type, Callable[[Any], Scalar]]]] = {
    "INTEGER": {int: _integer},
    "TEXT": {str: _text, date: iso, time: iso},
    "REAL": {float: _real, int: _real},
    "BLOB": {bytes: bytes},
}
"""For each declared type of a published column: the Python types that it takes, and what is stored of them."""
