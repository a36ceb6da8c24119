"""What whole transactions come to for each key, from decoded messages: the row that a key has after all of them, or none. Pure.

A value that an UPDATE left as it was and that is stored apart is not in the log: it is taken from what the transactions wrote
before, or else from what is held of the row, which is the row before them. Where the log tells too little of a change, the net
says that nothing is known of its relation.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from syncline.messages import Chunk, Key, Relation, Row, Scalar
from syncline.move.feed import key_of
from syncline.stores.postgres.pgoutput import (
    UNCHANGED,
    Deleted,
    Described,
    Inserted,
    Message,
    Text,
    Truncated,
    Unchanged,
    Updated,
    travelling,
)

ShapeOf: TypeAlias = "Callable[[Described], Shape | None]"
Value: TypeAlias = Scalar | Unchanged


@dataclass(frozen=True, slots=True)
class Shape:
    """Where the columns of a relation stand in the messages about its table, and what makes values of their texts."""

    relation: Relation
    places: tuple[int, ...]
    makes: tuple[Callable[[bytes], Scalar], ...]
    tells: bool = True
    """Whether messages tell every column, and the key of an old row."""

    @staticmethod
    def of(relation: Relation, described: Described) -> "Shape":
        there = {name: (place, type_oid) for place, (name, type_oid) in enumerate(described.columns)}
        key = set(relation.key)
        tells = there.keys() >= set(relation.column_names) and (described.is_whole or described.identity == key)
        found = [there[name] for name in relation.column_names] if tells else []
        return Shape(relation, tuple(place for place, _ in found), tuple(travelling(type_oid) for _, type_oid in found), tells)

    def row(self, texts: Sequence[Text]) -> list[Value]:
        return [
            make(text) if isinstance(text := texts[place], bytes) else text
            for place, make in zip(self.places, self.makes, strict=True)
        ]

    def key(self, texts: Sequence[Text]) -> Key:
        """Raises LookupError where the message does not tell it: the identity of a partition is another one."""
        key: list[Scalar] = []
        for index in self.relation.key_indexes:
            text = texts[self.places[index]]
            if not isinstance(text, bytes):
                raise LookupError(self.relation.key)
            key.append(self.makes[index](text))
        return tuple(key)


@dataclass(slots=True)
class Net:
    """One relation's keys: rows with the key that was theirs before, or None for keys that are gone."""

    relation: Relation
    rows: dict[Key, tuple[list[Value], Key] | None] = field(default_factory=dict)
    is_truncated: bool = False
    is_unknown: bool = False

    def insert(self, shape: Shape, texts: Sequence[Text]) -> None:
        key = shape.key(texts)
        self.rows[key] = (shape.row(texts), key)

    def update(self, shape: Shape, message: Updated) -> None:
        new = message.row
        if message.old is not None:
            # A key that is stored apart is told with the old row alone where it stays.
            places = [shape.places[index] for index in self.relation.key_indexes]
            new = [message.old[at] if at in places and each is UNCHANGED else each for at, each in enumerate(new)]
        was, key, row = shape.key(message.old or new), shape.key(new), shape.row(new)
        before = self.rows.get(was)
        known = before[0] if before is not None else shape.row(message.old or new) if message.is_whole else None
        if known is not None:
            row = [old if each is UNCHANGED else each for each, old in zip(row, known, strict=True)]
        if key != was:
            self.rows[was] = None
        self.rows[key] = (row, before[1] if before is not None else was)

    def delete(self, shape: Shape, texts: Sequence[Text]) -> None:
        self.rows[shape.key(texts)] = None

    def truncate(self) -> None:
        self.rows.clear()
        self.is_truncated = True

    def put(self, rows: Mapping[Key, Row | None]) -> None:
        """Rows that were read, whatever the messages said of their keys."""
        self.rows.update({key: (list(row), key) if row is not None else None for key, row in rows.items()})

    def incomplete(self) -> list[Key]:
        """Keys, as they are held, of rows of which a value is to be taken from what is held."""
        return list({each[1] for each in self.rows.values() if each is not None and UNCHANGED in each[0]})

    def complete(self, held: Mapping[Key, Row]) -> list[Key]:
        """Takes values from the rows that are held; returns the keys of rows that are not, which are left out."""
        lacking: list[Key] = []
        for key, each in list(self.rows.items()):
            if each is None or UNCHANGED not in each[0]:
                continue
            row, origin = each
            known = held.get(origin)
            if known is None:
                lacking.append(key)
                del self.rows[key]
            else:
                self.rows[key] = ([old if new is UNCHANGED else new for new, old in zip(row, known, strict=True)], origin)
        return lacking

    def chunk(self) -> Chunk:
        """What is to be done, but for a TRUNCATE."""
        present = [tuple(each[0]) for each in self.rows.values() if each is not None]
        return Chunk(self.relation, present, [key for key, each in self.rows.items() if each is None])  # type: ignore[arg-type]


def fold(
    messages: Iterable[Message],
    shapes: dict[int, Shape | None],
    nets: dict[str, Net],
    shape_of: ShapeOf,
    left_out: Collection[str] = (),
) -> None:
    """Adds what these messages come to, in their order, but for some tables.

    `shapes` are those of the tables by number, which messages tell; None is not followed.
    """
    for message in messages:
        if isinstance(message, Described):
            shapes[message.table] = shape_of(message)
        elif isinstance(message, Truncated):
            for table in message.tables:
                if (shape := shapes.get(table)) is not None and shape.relation.table not in left_out:
                    _net(nets, shape).truncate()
        elif isinstance(message, Inserted | Updated | Deleted):
            shape = shapes[message.table]
            if shape is not None and shape.relation.table not in left_out:
                _add(message, shape, _net(nets, shape))


def keys_of(relation: Relation, rows: Iterable[Row]) -> dict[Key, Row]:
    key = key_of(relation)
    return {key(row): row for row in rows}


def _add(message: Inserted | Updated | Deleted, shape: Shape, net: Net) -> None:
    if not shape.tells:
        net.is_unknown = True
        return
    try:
        if isinstance(message, Inserted):
            net.insert(shape, message.row)
        elif isinstance(message, Updated):
            net.update(shape, message)
        else:
            net.delete(shape, message.old)
    except LookupError:
        net.is_unknown = True


def _net(nets: dict[str, Net], shape: Shape) -> Net:
    return nets.setdefault(shape.relation.table, Net(shape.relation))
