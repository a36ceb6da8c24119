"""A clock that stands still until it is told to go on. The same calls give the same times."""

from typing import Final

START: Final = 1_700_000_000.0
"""Where a clock starts unless it is told: 2023-11-14 22:13:20 UTC."""


class Clock:
    """Calling it gives seconds since 1970, as `time.time` does: `App(…, clock=Clock())`."""

    def __init__(self, start: float = START) -> None:
        self._now = start

    def __call__(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        """Time goes on by so many seconds. Raises ValueError for less than none: events are stored in the order of time."""
        if seconds < 0:
            raise ValueError(f"time cannot go back by {-seconds:g} s; make another Clock that starts earlier")
        self._now += seconds

    def __repr__(self) -> str:
        return f"Clock({self._now!r})"
