"""How new is what a reader sees: vectors of positions, tokens reached or not, staleness. Pure: time is an argument."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from syncline.errors import DeadToken
from syncline.messages import Position, Token


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far one service is applied in a read store.

    `past` are incarnations of the source that are gone; `superseded` those of a capture that was replaced by another.
    `read_at` is the source's time, in seconds since 1970, when the feed was last read to its end.
    """

    position: Position | None
    read_at: float | None
    is_exact: bool = True
    begun: int = 0
    past: tuple[str, ...] = ()
    superseded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FeedStatus:
    """One feed of one read model, as `status` shows it. `held_back` counts streams, the first of them so since `held_since`.

    `rate` is by what its position rises in a second, lately; None for a look that knows none before it.
    """

    read_model: str
    service: str
    capture: str
    state: str
    incarnation: str | None
    position: int | None
    lag: int | None
    staleness_s: float | None
    exact: bool
    activity: str
    error: str | None
    loading: Mapping[str, str] = field(default_factory=dict)
    held_back: int = 0
    held_since: float | None = None
    rate: float | None = None


@dataclass(frozen=True, slots=True)
class WritingStatus:
    """A service that commands are sent to, as `status` shows it; nothing is known of one whose database is not there yet.

    `commands` are those that took effect, `events` those in its log (None for a table service), `newest_at` the time of the last
    event in seconds since 1970.
    """

    service: str
    kind: str
    commands: int | None = None
    events: int | None = None
    newest_at: float | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class ViewStatus:
    """One view of one read model, as `status` shows it. `rate`: how many of its rows change in a second, as of a feed."""

    read_model: str
    view: str
    state: str
    rows: int | None
    generation: int
    activity: str
    error: str | None
    staleness_s: float | None
    rate: float | None = None


@dataclass(frozen=True, slots=True)
class SagaStatus:
    """How many of a saga there are of each status, and how many commands wait to be sent, since when the oldest (seconds since
    1970). `state` is running, stopped or failed, with the reason in `error`; which service it cannot read stands there, too."""

    saga: str
    store: str
    state: str
    open: int = 0
    parked: int = 0
    ended: int = 0
    given_up: int = 0
    waiting: int = 0
    waiting_since: float | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """Everything `status` shows, at one moment."""

    feeds: tuple[FeedStatus, ...]
    views: tuple[ViewStatus, ...]
    relay: str
    writing: tuple[WritingStatus, ...] = ()
    sagas: tuple[SagaStatus, ...] = ()


def unreached(token: Token, vector: Mapping[str, Checkpoint], services: Iterable[str]) -> str | None:
    """The first of `services` for which the vector is not yet as new as the token; None when it is as new.

    Services that the token does not name, or that are not asked about, do not matter. Raises DeadToken when the token
    names an incarnation that is gone: it will never be reached.
    """
    for service in sorted(set(services) & set(token.positions)):
        wanted, checkpoint = token.positions[service], vector.get(service)
        if checkpoint is None or checkpoint.position is None:
            return service
        current = checkpoint.position
        if wanted.incarnation in checkpoint.past:
            raise DeadToken(service, wanted.incarnation, current.incarnation)
        if wanted.incarnation in checkpoint.superseded and current.incarnation != wanted.incarnation:
            continue
        if not current.reaches(wanted):
            return service
    return None


def staleness(vector: Mapping[str, Checkpoint], services: Iterable[str], now: float) -> float | None:
    """How old, in seconds, rows that depend on these services may be at most.

    None when one was never read, or was read at a time that is still to come: some clock was set back, and tells nothing.
    """
    read_at = [vector[service].read_at if service in vector else None for service in services]
    known = [at for at in read_at if at is not None and at <= now]
    if len(known) < len(read_at):
        return None
    return max((now - at for at in known), default=0.0)
