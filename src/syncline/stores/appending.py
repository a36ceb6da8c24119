"""Which appends of one group are accepted, whatever database holds the log. Decides; what it must know is looked up at once.

The log's write lock is held from the look-up to the commit, so that what was found stays true.
"""

import json
import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from syncline.events import ANY, NO_STREAM, Append, Appended, Conflicted, Handled, Query, Recorded, Repeated
from syncline.stores.event_log import Outcome


@dataclass(frozen=True, slots=True)
class Asked:
    """What must be known of the log before a group is decided about: commands by id, streams' versions, and of each condition,
    by the index of its append, whether an event after a position and up to `head` matches its query."""

    head: int
    commands: list[str]
    streams: list[str]
    conditions: list[tuple[int, Query, int]]

    @property
    def is_nothing(self) -> bool:
        return not (self.commands or self.streams or self.conditions)


@dataclass(frozen=True, slots=True)
class Found:
    """The answers: commands that took effect, versions of all streams asked for, and the conditions that are broken."""

    handled: dict[str, Handled] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    broken: frozenset[int] = frozenset()


LookUp: TypeAlias = Callable[[Asked], Found]


def decide(appends: Sequence[Append], head: int, look_up: LookUp) -> "Group":
    """What is to be stored of these appends, and what becomes of each. `head` is the newest position."""
    asked = asked_about(appends, head)
    return decide_upon(appends, head, Found() if asked.is_nothing else look_up(asked))


def decide_upon(appends: Sequence[Append], head: int, found: Found) -> "Group":
    """As `decide`, where the answers are known already."""
    group = Group(head, found)
    for index, append in enumerate(appends):
        handled = group.handled.get(append.command_id) if append.command_id is not None else None
        if handled is not None:
            group.repeat(append, handled)
        elif _holds(append, index, group):
            group.accept(append)
        else:
            group.refuse(append)
    return group


def asked_about(appends: Sequence[Append], head: int, known: Collection[str] = ()) -> Asked:
    """What must be known before these are decided about, but for the versions of `known` streams. Nothing, where all were decided
    at the head and have fresh ids."""
    commands = [append.command_id for append in appends if append.command_id is not None and not append.is_fresh]
    streams = {append.stream for append in appends if append.condition.expected_version == ANY or append.decided_at < head}
    streams.difference_update(known)
    conditions = [
        (index, append.condition.none_match, after)
        for index, append in enumerate(appends)
        if append.condition.none_match is not None and (after := max(append.condition.after, append.decided_at)) < head
    ]
    return Asked(head, commands, list(streams), conditions)


def taken_for_new(appends: Sequence[Append], head: int) -> set[str]:
    """Streams that must be new for an append to hold, which was decided without knowing whether they are."""
    return {each.stream for each in appends if each.condition.expected_version == NO_STREAM and each.decided_at < head}


def _holds(append: Append, index: int, group: "Group") -> bool:
    condition = append.condition
    version = group.versions.get(append.stream)
    if version is None:  # nobody appended since it was decided
        version = group.versions[append.stream] = condition.expected_version
    if condition.expected_version not in (ANY, version):
        return False
    if condition.expected_version != ANY and group.refused.get(append.stream, index) < append.knows:
        return False  # the version fits, but counts an event that was not stored
    query = condition.none_match
    return query is None or (index not in group.broken and not group.breaks(query, append.knows))


class Group:
    """What one transaction is going to store, and what became of each append.

    `events`, `tags` and `commands` are rows one after the other in one list, in the order of the tables' columns.
    """

    def __init__(self, head: int, found: Found) -> None:
        self.head, self.newest_id = head, 0
        self.handled, self.versions, self.broken = found.handled, found.versions, found.broken
        self.outcomes: list[Outcome] = []
        self.events: list[object] = []
        self.tags: list[object] = []
        self.commands: list[object] = []
        self.appends: list[tuple[Append, bool]] = []
        self.refused: dict[str, int] = {}
        """Of each stream the first append that was not stored, by its index."""

    def accept(self, append: Append) -> None:
        version = self.versions[append.stream]
        end = self.head + len(append.events)
        position, stream, at, command_id, metadata = self.head, append.stream, append.at, append.command_id, append.metadata
        for event in append.events:
            position += 1
            version += 1
            tags = None
            if event.tags:
                tags = json.dumps(event.tags)
                for tag in event.tags:
                    self.tags += (tag, position)
            event_id = random.getrandbits(63)
            self.events += (
                position, stream, version, event.name, event.shape, event.data,
                event_id, end, at, command_id, metadata, tags,
            )  # fmt: skip
            self.newest_id = event_id
        self.head, self.versions[stream] = end, version
        if command_id is not None:
            row = (command_id, append.command, append.digest, stream, version, end, len(append.events))
            self.commands += row
            if not append.is_fresh:
                self.handled[command_id] = Handled(*row)
        self.outcomes.append(Appended(version, end))
        self.appends.append((append, True))

    def refuse(self, append: Append) -> None:
        self.outcomes.append(Conflicted(append.stream, self.versions[append.stream], self.head))
        self._leave_out(append)

    def repeat(self, append: Append, handled: Handled) -> None:
        self.outcomes.append(Repeated(handled))
        self._leave_out(append)

    def _leave_out(self, append: Append) -> None:
        if append.events:
            self.refused.setdefault(append.stream, len(self.appends))
        self.appends.append((append, False))

    def breaks(self, query: Query, knows: int) -> bool:
        """Whether events of this group break a condition: stored ones that it does not know, refused ones that it counts on."""
        if knows >= len(self.appends) and not self.refused:
            return False
        for index, (append, is_accepted) in enumerate(self.appends):
            if is_accepted != (index < knows) and any(query.matches(event.name, event.tags) for event in append.events):
                return True
        return False


def metadata_of(command_id: str | None, stored: str | None) -> dict[str, object]:
    """An event's metadata: what is stored, the id of its command, and by default that of the conversation it began."""
    more: dict[str, object] = json.loads(stored) if stored else {}
    if command_id is None:
        return more
    return {"command_id": command_id, "correlation_id": command_id, **more}


def recorded(
    position: int, stream: str, version: int, name: str, shape: int, data: str,
    event_id: int, append_end: int, at: float, command_id: str | None, metadata: str | None, tags: str | None,
) -> Recorded:  # fmt: skip
    """A row of the log as the rest of the program reads it."""
    found = metadata_of(command_id, metadata)
    carried = tuple(json.loads(tags)) if tags else ()
    return Recorded(position, stream, version, name, shape, data, event_id, append_end, at, carried, found)


def only_tag(query: Query) -> str | None:
    """The tag that the query is about, if it is about one tag and nothing else."""
    if len(query.items) == 1:
        (item,) = query.items
        if len(item.tags) == 1 and not item.types:
            return item.tags[0]
    return None
