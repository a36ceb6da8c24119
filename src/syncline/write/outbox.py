"""Events recorded by code that is not ours, in its own transaction: with the change that they tell of, or not at all.

Knows no driver: the connection's store is found for it.
"""

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from syncline.codec import EventCodec, Upcaster, classes_of, fields_of, from_json, metadata_text
from syncline.errors import Fault, InvalidDefinition, InvalidEvent
from syncline.places import Events, Placed, Store
from syncline.rows import Published, Relation, RowOperation, publish, published_relation
from syncline.stores.outbox import OutboxEvent, outbox_for
from syncline.stores.service_tables import Carried


@dataclass(frozen=True, kw_only=True)
class Outbox:
    """A service that decides in its own code and tells in events what it did, so that the read side can follow it.

    `key` names the field of every event that says what it is about: it is stored in the stream `NAME-VALUE`. `events`,
    `relations`, `rows`, `renamed` and `upcasts` are those of an EventService; an outbox that only sagas read needs no rows.

    Raises InvalidDefinition, with every fault, for what does not fit together.
    """

    name: str = field(kw_only=False)
    key: str
    events: Any
    relations: Mapping[str, Relation] = field(default_factory=dict)
    rows: Callable[[Any], Iterable[RowOperation]] | None = None
    renamed: Mapping[str, type] = field(default_factory=dict)
    upcasts: Mapping[str, Sequence[Upcaster]] = field(default_factory=dict)
    _codec: EventCodec = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        faults = list(_faults(self))
        if faults:
            raise InvalidDefinition([Fault("", 0, f"outbox '{self.name}': {fault}") for fault in faults])
        object.__setattr__(self, "_codec", self._new_codec())

    def on(self, store: Store) -> Placed:
        """This outbox in `store`: the database that its callers' connections lead to."""
        return Placed(self, store, Events())

    def install(self, connection: object) -> None:
        """Makes the tables that events are recorded in, where they are not. Safe to repeat. Commit it as any other change."""
        outbox_for(connection).install()

    def record(
        self,
        connection: object,
        event: object,
        *,
        command_id: str | None = None,
        correlation_id: str | None = None,
        causation_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Records one event in the transaction that is open on `connection`. Commits nothing: it is there if the caller commits.

        `connection` is a sqlite3 or psycopg connection, a SQLAlchemy Session or Connection, Django's connection, or the `tx` of a
        table service's handler; through that, the event carries the id and the metadata of the command that is handled. Raises
        InvalidEvent for an event that could not be read back, StoreError when no transaction is open or the log's tables are
        missing, and what the connection itself raises.
        """
        self.record_all(
            connection,
            [event],
            command_id=command_id,
            correlation_id=correlation_id,
            causation_id=causation_id,
            metadata=metadata,
        )

    def record_all(
        self,
        connection: object,
        events: Sequence[object],
        *,
        command_id: str | None = None,
        correlation_id: str | None = None,
        causation_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """As `record`, for several events that no reader ever sees apart from each other."""
        ids = {"correlation_id": correlation_id, "causation_id": causation_id}
        said = {**(metadata or {}), **{name: value for name, value in ids.items() if value is not None}}
        carried = getattr(connection, "carried", None)
        if isinstance(carried, Carried):  # a handler's transaction: what it tells is told of its command
            command_id = command_id or carried.command_id
            said = {**(from_json(carried.metadata) if carried.metadata else {}), **said}
        text = metadata_text(said) if said else None
        at = time.time()
        outbox_for(connection).append([self._stored(event, at, command_id, text) for event in events])

    @property
    def event_codec(self) -> EventCodec:
        return self._codec

    @property
    def published(self) -> Published:
        """What the read side follows."""
        return publish(self.name, self._codec, self.relations, self.rows)

    def _stored(self, event: object, at: float, command_id: str | None, metadata: str | None) -> OutboxEvent:
        name, data, shape, _ = self._codec.encode(event)
        value = getattr(event, self.key)
        if value is None or value == "":
            raise InvalidEvent(name, f"$.{self.key}", "it is empty, and names what the event is about")
        return OutboxEvent(f"{self.name}-{value}", name, shape, data, random.getrandbits(63), at, command_id, metadata)

    def _new_codec(self) -> EventCodec:
        return EventCodec(classes_of(self.events), renamed=self.renamed, upcasts=self.upcasts)


def _faults(outbox: Outbox) -> Iterator[str]:
    """Everything about the definition that does not fit together."""
    try:
        outbox._new_codec()
    except (ValueError, TypeError) as error:
        yield f"events: {error}"
    else:
        for each in classes_of(outbox.events):
            if outbox.key not in fields_of(each):
                yield f"its key is '{outbox.key}', which event {each.__name__} has not; add the field, or name another key"
    for name, relation in outbox.relations.items():
        try:
            published_relation(outbox.name, name, relation)
        except (ValueError, TypeError, NameError) as error:
            yield str(error)
