"""One service being followed: its feed, how far it is applied, and how often it is asked.

A feed that may be asked later is one where nothing was found when it was asked last: what is known to be there never waits.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from syncline.messages import DeadLetter, Position, Relation
from syncline.move.feed import Feed
from syncline.move.subscription import Subscription
from syncline.stores.protocols import ReadStore

PROBE_INTERVAL_S, LIVELY_INTERVAL_S = 0.004, 0.001
"""The pause between two rounds; and while rows keep changing somewhere, where asking may take a good part of the time."""
LIVELY_S = 0.25
"""How long after a change more are expected at once."""
ASKING_SHARE = 0.01
"""How much of the time may pass in asking a feed where nothing changes: servers are farther away than files."""
QUIET_S = 0.5
"""How long nothing has changed before a feed is asked less often; transactions that change nothing followed do not count."""
ASKED_AFTER_S = 0.02
"""After so long it is asked all the same."""


class Service(Protocol):
    """A service as the relay needs it: its relations, and how to open its feed."""

    @property
    def name(self) -> str: ...

    @property
    def capture(self) -> str: ...

    def describe(self) -> list[Relation]: ...

    def open_feed(self, store: ReadStore) -> Feed: ...


@dataclass(slots=True)
class Following:
    """One service being followed."""

    service: Service
    feed: Feed | None = None
    subscription: Subscription = field(default_factory=Subscription)
    applied: Position | None = None
    acknowledged: Position | None = None
    is_forgetting: bool = False
    is_drained: bool = False
    asked_at: float = 0.0
    asking_s: float = 0.0
    changed_at: float = 0.0
    has_changed: bool = False
    shown: tuple[str, str, str | None] = ("", "", None)
    replaying: int = 0
    described: list[Relation] | None = None
    totals: dict[str, int | None] = field(default_factory=dict)

    def ask(self, feed: Feed) -> None:
        """Asks whether there may be something to read."""
        self.asked_at = time.monotonic()
        self.is_drained = not feed.changed()
        answered = time.monotonic()
        self.asking_s = answered - self.asked_at

    def may_wait(self, now: float) -> bool:
        """Whether nothing was there the last time, nor for a while, and asking again can wait for what it costs."""
        pause = min(self.asking_s / ASKING_SHARE, ASKED_AFTER_S)
        return self.is_drained and now - self.changed_at > QUIET_S and now - self.asked_at < pause

    def is_lively(self, now: float) -> bool:
        """Whether rows changed just now."""
        return now - self.changed_at <= LIVELY_S

    def close(self) -> None:
        """Closes the feed, where one is open."""
        if self.feed is not None:
            self.feed.close()
            self.feed = None


def pause_s(all_followed: Iterable[Following]) -> float:
    """How long the relay rests between two rounds in which nothing was found."""
    now = time.monotonic()
    return LIVELY_INTERVAL_S if any(each.is_lively(now) for each in all_followed) else PROBE_INTERVAL_S


def held_back_lines(before: Mapping[str, DeadLetter], now: Mapping[str, DeadLetter]) -> Iterator[str]:
    """What to tell of a service's streams: which are held back since a batch, by their names, and which are no longer."""
    for stream, letter in now.items():
        was = before.get(stream)
        if was is None or (was.position, was.error) != (letter.position, letter.error):
            why = f"{letter.event} could not be made rows: {letter.error}"
            yield f"stream '{stream}' is held back from position {letter.position} on: {why}"
    for stream in before.keys() - now.keys():
        yield f"stream '{stream}' is no longer held back"
