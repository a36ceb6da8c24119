"""An event-sourced service as it is defined: two pure functions, and what they are about. Values and functions only."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from syncline.codec import CommandCodec, EventCodec, StateCodec, Upcaster, classes_of, fields_of
from syncline.errors import Fault, InvalidCommand, InvalidDefinition
from syncline.events import Query
from syncline.places import Events, Placed, Store
from syncline.rows import Published, Relation, RowOperation, publish, published_relation


@dataclass(frozen=True, kw_only=True)
class EventService:
    """A service whose truth is its events.

    `decide(state, command)` gives the events that the command leads to (any iterable, none for nothing) or raises Rejected;
    `evolve(state, event)` gives the next state; `initial` is the state before the first event. All are pure, and never called by
    two threads at once. `commands` and `events` are unions of frozen dataclasses or msgspec Structs.

    What a command is decided upon: with `key`, the stream `NAME-VALUE` of the field that `key` names; with `query`, all events
    that `query(command)` matches by the types and tags that `tags(event)` gave them. With both, events are stored in the stream
    and decided upon the query; without `key` they are stored in the stream `NAME`.

    `relations` and `rows` say what the read side sees: `rows(event)` yields Upsert, Patch and Delete for rows of `relations`.
    `renamed` leads from stored names that no class has any more to classes of today; `upcasts` holds, for the name of a class,
    the functions from each old shape of its data to the next, oldest first. With `snapshot_every`, the state of a stream is
    stored each time so many events were added to it; raise `state_version` when `evolve` means something else than before.

    Raises InvalidDefinition, with every fault, for what does not fit together.
    """

    name: str = field(kw_only=False)
    commands: Any
    events: Any
    initial: Any
    decide: Callable[[Any, Any], Iterable[Any] | None]
    evolve: Callable[[Any, Any], Any]
    key: str | None = None
    query: Callable[[Any], Query] | None = None
    tags: Callable[[Any], Iterable[str]] | None = None
    relations: Mapping[str, Relation] = field(default_factory=dict)
    rows: Callable[[Any], Iterable[RowOperation]] | None = None
    renamed: Mapping[str, type] = field(default_factory=dict)
    upcasts: Mapping[str, Sequence[Upcaster]] = field(default_factory=dict)
    snapshot_every: int | None = None
    state_version: int = 1

    def __post_init__(self) -> None:
        faults = list(_faults(self))
        if faults:
            raise InvalidDefinition([Fault("", 0, f"service '{self.name}': {fault}") for fault in faults])

    def on(self, store: Store) -> Placed:
        """This service with its event log in `store`."""
        return Placed(self, store, Events())

    def stream_of(self, command: Any) -> str:
        """The stream that the command's events are stored in. Raises InvalidCommand for one whose key is empty."""
        if self.key is None:
            return self.name
        value = getattr(command, self.key)
        if value is None or value == "":
            raise InvalidCommand(type(command).__name__, [(f"$.{self.key}", "it is empty, and names what the command is about")])
        return f"{self.name}-{value}"

    @property
    def command_codec(self) -> CommandCodec:
        return CommandCodec(classes_of(self.commands))

    @property
    def event_codec(self) -> EventCodec:
        return EventCodec(classes_of(self.events), renamed=self.renamed, upcasts=self.upcasts)

    @property
    def published(self) -> Published:
        """What the read side follows."""
        return publish(self.name, self.event_codec, self.relations, self.rows)


def fold(service: EventService, state: Any, events: Iterable[Any]) -> Any:
    """The state after these events. Raises InvalidDefinition where `evolve` forgets to return one."""
    for event in events:
        after = service.evolve(state, event)
        if after is None and service.initial is not None:
            message = f"service '{service.name}': evolve returned None for {type(event).__name__}; return the state after it"
            raise InvalidDefinition([Fault("", 0, message)])
        state = after
    return state


def decided(service: EventService, state: Any, command: Any) -> tuple[Any, ...]:
    """The events that a command leads to. Raises what `decide` raises, InvalidDefinition if it gives anything but events."""
    events = service.decide(state, command)
    if events is None:
        return ()
    if not hasattr(events, "__iter__"):
        message = f"service '{service.name}': decide returned {events!r} for {type(command).__name__}; return or yield events"
        raise InvalidDefinition([Fault("", 0, message)])
    return tuple(events)


def _faults(service: EventService) -> Iterator[str]:
    """Everything about the definition that does not fit together."""
    if service.key is None and service.query is None:
        yield "it has neither 'key' nor 'query'; say what a command is decided upon: key=\"order_id\""
    if service.query is not None and service.tags is None:
        yield "it has 'query' but no 'tags'; say which tags an event carries: tags=lambda event: (…)"
    try:
        commands = classes_of(service.commands)
    except (ValueError, TypeError) as error:
        yield f"commands: {error}"
    else:
        for each in commands:
            if service.key is not None and service.key not in fields_of(each):
                yield f"its key is '{service.key}', which command {each.__name__} has not; add the field, or name another key"
    try:
        EventCodec(classes_of(service.events), renamed=service.renamed, upcasts=service.upcasts)
    except (ValueError, TypeError) as error:
        yield f"events: {error}"
    for name, relation in service.relations.items():
        try:
            published_relation(service.name, name, relation)
        except (ValueError, TypeError, NameError) as error:
            yield str(error)
    if bool(service.relations) != (service.rows is not None):
        yield "'relations' and 'rows' go together: the one names the relations, the other yields their rows"
    if service.snapshot_every is not None:
        if service.snapshot_every < 1:
            yield f"'snapshot_every' is {service.snapshot_every}; write a number of events, 1 or more"
        try:
            StateCodec(service.initial, service.evolve, service.state_version)
        except (ValueError, TypeError) as error:
            yield f"snapshot_every: {error}"
