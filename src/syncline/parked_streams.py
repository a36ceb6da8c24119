"""The streams that read models hold back, and trying them again: what `dead-letters` shows and asks of relays.

Reads stores by themselves, and changes them through their relays only.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from syncline.config import ReadModelConfig
from syncline.errors import Unavailable
from syncline.following import Follower
from syncline.messages import DeadLetter, Progress
from syncline.stores.roles import read_role


@dataclass(frozen=True, slots=True)
class HeldStream:
    """A stream that one read model holds back."""

    read_model: str
    letter: DeadLetter


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a stream that was tried again. One that is still held back says from which event on, and why."""

    read_model: str
    service: str
    stream: str
    is_released: bool
    position: int | None = None
    event: str | None = None
    error: str | None = None


def held_streams(models: Iterable[ReadModelConfig], service: str | None) -> list[HeldStream]:
    """Every stream that is held back, of one service or of all, by read model, those longest held first."""
    found: list[HeldStream] = []
    for model in models:
        try:
            reader = read_role(model.database).open_reader(model.database)
        except Unavailable:
            continue  # a store that was never made holds nothing back
        with closing(reader), reader.snapshot():
            found += [HeldStream(model.name, each) for each in reader.dead_letters() if service in (None, each.service)]
    return found


def try_again(
    followers: Mapping[str, Follower], held: Sequence[HeldStream], *, skip: bool, on_progress: Callable[[Progress], None]
) -> list[Outcome]:
    """Has the relay of each read model try its streams again; with `skip`, without the events that they are held back by.

    A stream that is held back from another position by now is not skipped: its outcome says from where. Uses a relay that runs,
    or one of its own. Raises Unavailable where a service cannot be followed.
    """
    outcomes: list[Outcome] = []
    for name in dict.fromkeys(each.read_model for each in held):
        streams = [(each.letter.service, each.letter.stream, each.letter.position) for each in held if each.read_model == name]
        with followers[name].running(on_progress):
            answer = followers[name].ask("release", {"streams": streams, "skip": skip})
        outcomes += [Outcome(name, **each) for each in answer or ()]
    return outcomes
