"""A saga as it is defined: events in, commands out. Also known as a process manager. Values and functions only.

A refusal is answered by a compensation, which is an ordinary command; silence by a deadline.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, TypeAlias

from syncline.codec import CommandCodec, classes_of, fields_of
from syncline.errors import Fault, InvalidDefinition
from syncline.places import Placed, Store

LONGEST_S: Final = 100 * 366 * 86_400
"""The farthest deadline, of a hundred years: what is more is a mistake, and no time that can be shown."""


@dataclass(frozen=True)
class After:
    """A deadline: sends `send` in `seconds`, once, unless it is withdrawn or the saga ends before.

    It is stored with what it was set for, so that it is kept through crashes; while nothing runs, it waits. One that is set again
    under its `name` takes the place of the first; the name is that of the command's class where none is given.
    """

    seconds: float
    send: Any
    name: str = ""

    @property
    def label(self) -> str:
        return self.name or type(self.send).__name__


@dataclass(frozen=True)
class Withdraw:
    """Withdraws the deadline of this name, if it is still to come."""

    name: str


@dataclass(frozen=True)
class CommandRejected:
    """A command of the saga that its service rejected, and why: an event of a saga that names this class among its `events`."""

    command: Any
    reason: str


@dataclass(frozen=True, kw_only=True)
class Saga:
    """A long-running reaction across services: events in, commands out.

    For each value of the field `key`, an event of the class `starts_on` begins one; events of other classes reach it from then
    on, each once, those of one service in their order. Where none was begun they are passed over. `react` gives what is to
    happen: commands, `After` for a deadline, `Withdraw`. Without memory it is `react(event)`; with `evolve` and `initial` it is
    `react(state, event)`, where `state` is what `evolve(state, event)` made of the events before. Both are pure, and may be run
    more than once for an event, of which one run counts.

    `events` is a union of event classes of services of the same App, `commands` one of commands that its services handle. All
    that a saga knows and wants is stored in one transaction. Commands leave in order, at least once, and with ids of their own,
    so that they take effect once. A service that cannot be reached is tried again, up to `attempts` times with growing pauses.
    A command that is rejected comes back as CommandRejected, if that is among the events. What cannot be answered so (`react`
    raised, a command cannot be delivered, a rejection that the saga does not expect) parks the saga for a person: what comes for
    it waits.

    After an event of `ends_on` it is over: its deadlines are withdrawn. A late event still reaches `react`.

    A saga that is new reacts to events from the first that there is; with `new_events_only` to those stored after it was first
    run. Raises InvalidDefinition, with every fault, for what does not fit together.
    """

    name: str = field(kw_only=False)
    key: str
    starts_on: type
    events: Any
    commands: Any
    react: Callable[..., Iterable[Any] | None]
    ends_on: tuple[type, ...] = ()
    initial: Any = None
    evolve: Callable[[Any, Any], Any] | None = None
    attempts: int = 10
    new_events_only: bool = False

    def __post_init__(self) -> None:
        faults = list(_faults(self))
        if faults:
            raise InvalidDefinition([Fault("", 0, f"saga '{self.name}': {fault}") for fault in faults])

    def on(self, store: Store) -> Placed:
        """This saga with its state, deadlines and outgoing commands in `store`."""
        return Placed(self, store)

    @property
    def command_codec(self) -> CommandCodec:
        return CommandCodec(self.command_classes)

    @cached_property
    def event_classes(self) -> tuple[type, ...]:
        """The events that it reads."""
        return classes_of(self.events)

    @cached_property
    def command_classes(self) -> tuple[type, ...]:
        """The commands that it sends."""
        return classes_of(self.commands)


@dataclass(frozen=True, slots=True)
class Reaction:
    """What a saga wants after one event: commands to send, deadlines to set and to withdraw, and its state after the event."""

    commands: tuple[Any, ...]
    deadlines: tuple[After, ...]
    withdrawn: tuple[str, ...]
    state: Any
    is_end: bool


Wanted: TypeAlias = tuple[Any, ...]


def reaction_to(saga: Saga, state: Any, event: Any) -> Reaction:
    """What a saga in `state` makes of an event. Raises what `react` and `evolve` raise, InvalidDefinition for what is no wish."""
    wanted = reacted(saga, state, event)
    deadlines: dict[str, After] = {}
    withdrawn: dict[str, None] = {}
    commands: list[Any] = []
    for each in wanted:
        if isinstance(each, After):
            deadlines[each.label] = each
            withdrawn.pop(each.label, None)
        elif isinstance(each, Withdraw):
            deadlines.pop(each.name, None)
            withdrawn[each.name] = None
        else:
            commands.append(each)
    is_end = isinstance(event, saga.ends_on)
    after = evolved(saga, state, event)
    return Reaction(tuple(commands), () if is_end else tuple(deadlines.values()), tuple(withdrawn), after, is_end)


def reacted(saga: Saga, state: Any, event: Any) -> Wanted:
    """What `react` gives, in its order. Raises InvalidDefinition for what is neither a command of the saga nor a deadline."""
    found = saga.react(event) if saga.evolve is None else saga.react(state, event)
    if found is None:
        return ()
    if not hasattr(found, "__iter__"):
        raise _wrong(saga, event, f"react returned {found!r}; return or yield commands")
    wanted = tuple(found)
    commands = saga.command_classes
    for each in wanted:
        if (fault := _fault_of(each)) is not None:
            raise _wrong(saga, event, f"react gave {each!r}: {fault}")
        sent = each.send if isinstance(each, After) else each
        if not isinstance(each, Withdraw) and not isinstance(sent, commands):
            known = ", ".join(kind.__name__ for kind in commands)
            raise _wrong(
                saga, event, f"react gave {sent!r}, which is none of its commands ({known}); add its class to 'commands'"
            )
    return wanted


def _fault_of(wish: Any) -> str | None:
    """What is wrong with a deadline, or with one that is withdrawn."""
    if isinstance(wish, After) and not (isinstance(wish.seconds, int | float) and abs(wish.seconds) <= LONGEST_S):
        return f"'seconds' is {wish.seconds!r}; write a number of seconds, at most {LONGEST_S:,}"
    if isinstance(wish, After | Withdraw):
        name = wish.name
        if not isinstance(name, str) or name.encode(errors="replace").decode() != name:
            return f"its name is {name!r}; write a text"
    return None


def evolved(saga: Saga, state: Any, event: Any) -> Any:
    """The state after an event. Raises InvalidDefinition where `evolve` forgets to return one."""
    if saga.evolve is None:
        return None
    after = saga.evolve(state, event)
    if after is None and saga.initial is not None:
        raise _wrong(saga, event, "evolve returned None; return the state after it")
    return after


def _wrong(saga: Saga, event: Any, message: str) -> InvalidDefinition:
    return InvalidDefinition([Fault("", 0, f"saga '{saga.name}': for {type(event).__name__} {message}")])


def _faults(saga: Saga) -> Iterator[str]:
    """Everything about the definition that does not fit together."""
    try:
        events = classes_of(saga.events)
    except (ValueError, TypeError) as error:
        yield f"events: {error}"
        return
    for each in events:
        if each is not CommandRejected and saga.key not in fields_of(each):
            yield f"its key is '{saga.key}', which event {each.__name__} has not; add the field, or name another key"
    if saga.starts_on not in events:
        yield f"it starts on {saga.starts_on!r}, which is not among its events; add it"
    for each in saga.ends_on:
        if each not in events:
            yield f"it ends on {each!r}, which is not among its events; add it"
    try:
        CommandCodec(classes_of(saga.commands))
    except (ValueError, TypeError) as error:
        yield f"commands: {error}"
    if inspect.iscoroutinefunction(saga.react) or inspect.isasyncgenfunction(saga.react):
        yield "react is async; make it a plain function or generator: it must neither wait nor call anything"
    if saga.evolve is None and saga.initial is not None:
        yield "it has 'initial' but no 'evolve', so that it would never change; give both, or neither"
    if saga.attempts < 1:
        yield f"attempts is {saga.attempts!r}; write a number, 1 or more"
