"""Events as they are stored: values that travel between deciding, the log and the feed. Knows no database and no class of a user.

The rules of conditions over a query are those of dynamic consistency boundaries (https://dcb.events): a query is a list of
alternatives; an alternative matches an event that has one of its types (any, if it names none) and all of its tags.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from syncline.errors import Fault, InvalidDefinition

NO_STREAM: Final = 0
"""The expected version of a stream that must not exist yet."""
ANY: Final = -1
"""An expected version that holds whatever the stream's version is."""


@dataclass(frozen=True, slots=True)
class QueryItem:
    """One alternative of a query: events of one of these types (any, if empty) that carry all of these tags.

    A type is an event's stored name or its class. Raises InvalidDefinition for anything else.
    """

    types: tuple[str | type, ...] = ()
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.types:
            named = tuple(each.__name__ if isinstance(each, type) else each for each in _several("types", self.types))
            object.__setattr__(self, "types", _texts("types", named))
        if self.tags:
            object.__setattr__(self, "tags", _texts("tags", _several("tags", self.tags)))

    def matches(self, name: str, tags: tuple[str, ...]) -> bool:
        return (not self.types or name in self.types) and all(tag in tags for tag in self.tags)


@dataclass(frozen=True, slots=True)
class Query:
    """The events that match any of the alternatives; without an alternative, every event."""

    items: tuple[QueryItem, ...] = ()
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        items = _several("items", self.items)
        for item in items:
            if not isinstance(item, QueryItem):
                raise InvalidDefinition([Fault("", 0, f"an item of a Query is {item!r}, expected a QueryItem")])
        object.__setattr__(self, "items", items)
        object.__setattr__(self, "_hash", hash(items))

    def __hash__(self) -> int:  # asked for many times a command, and the items never change
        return self._hash

    def matches(self, name: str, tags: tuple[str, ...]) -> bool:
        return not self.items or any(item.matches(name, tags) for item in self.items)


@dataclass(frozen=True, slots=True)
class AppendCondition:
    """What must hold for an append to be accepted; both parts do.

    `expected_version` is the number of events that the stream has (`NO_STREAM` for none, `ANY` for no matter). `none_match`
    refuses the append if an event that matches this query has a position after `after`.
    """

    expected_version: int = ANY
    none_match: Query | None = None
    after: int = 0


UNCONDITIONAL: Final = AppendCondition()


@dataclass(slots=True)
class NewEvent:
    """An event to be appended: its stored name, the shape that its data has, the data as JSON text, and its tags."""

    name: str
    data: str
    tags: tuple[str, ...] = ()
    shape: int = 1


@dataclass(slots=True)
class Append:
    """Events to be stored together at the end of one stream, or not at all.

    `command_id` and `digest` make it take effect once: see `Repeated`; `is_fresh` says that the id was made for it, so that it
    was never used. `at` is seconds since 1970. `metadata` is stored with every event: a JSON object as text, or None.

    What it was decided upon: everything up to position `decided_at`, where its condition held, and the first `knows` appends of
    the same call. Those do not break its condition; where one that matters to it was refused, so is this.
    """

    stream: str
    events: tuple[NewEvent, ...]
    condition: AppendCondition = UNCONDITIONAL
    command_id: str | None = None
    digest: int = 0
    command: str = ""
    is_fresh: bool = False
    decided_at: int = -1
    knows: int = 0
    at: float = 0.0
    metadata: str | None = None


@dataclass(slots=True)
class Appended:
    """The append was stored: the stream's version after it, and the position of its last event (of the head, if it had none)."""

    version: int
    position: int


@dataclass(slots=True)
class Conflicted:
    """The append's condition did not hold, and nothing of it was stored. `version` is the stream's now; `position` the head."""

    stream: str
    version: int
    position: int


@dataclass(slots=True)
class Repeated:
    """The append's command was stored before, with this outcome; nothing was stored now."""

    handled: "Handled"


@dataclass(frozen=True, slots=True)
class Handled:
    """What is remembered of a command: its name and payload's digest, and its outcome.

    Its `count` events are those up to `position`, of which the last gave `stream` this `version`.
    """

    command_id: str
    name: str
    digest: int
    stream: str
    version: int
    position: int
    count: int


@dataclass(frozen=True, slots=True)
class Recorded:
    """A stored event. `at` is seconds since 1970; `metadata` of one that a command decided holds at least the ids of command and
    correlation.

    `position` is its place in the log, `version` in its stream; `append_end` is the position of the last event stored with it.
    """

    position: int
    stream: str
    version: int
    name: str
    shape: int
    data: str
    id: int
    append_end: int
    at: float
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)


def _several(what: str, values: Any) -> tuple[Any, ...]:
    """Several values as a tuple; a text is one value, and taken apart it would mean something else."""
    if isinstance(values, (str, type)):
        raise InvalidDefinition([Fault("", 0, f"a query's {what} are {values!r}, expected several; write ({values!r},)")])
    return tuple(values)


def _texts(what: str, values: tuple[Any, ...]) -> tuple[str, ...]:
    for value in values:
        if not isinstance(value, str) or not value:
            raise InvalidDefinition([Fault("", 0, f"one of a query's {what} is {value!r}, expected a text that is not empty")])
    return values
