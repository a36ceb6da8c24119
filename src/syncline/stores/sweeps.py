"""Numbers of sweeps of a polled service, and where the counted groups of its commands are among them. Pure."""

from typing import Final

from syncline.messages import Position

SWEEPS: Final = 1 << 24
"""Numbers from one count to the next."""


def is_same_group(one: Position, other: Position) -> bool:
    """Whether both claim the same count of the same history. A sweep that claims more must be one that misses nothing."""
    return one.incarnation == other.incarnation and one.n // SWEEPS == other.n // SWEEPS


def sweep_number(after: Position, place: Position) -> int:
    """The number of the sweep that begins at this place, after another sweep: it rises, and claims no group not yet counted.

    It stays below that of the next group: where a service was swept so often without one, the last number is given again.
    """
    if after.incarnation != place.incarnation:
        return place.n + 1
    return min(max(after.n, place.n) + 1, place.n + SWEEPS - 1)
