"""How many requests a caller may make: a bucket for each, from which every request takes, and into which time pours.

Buckets that are full again are forgotten, so that what is kept does not grow with those who ever asked.
"""

import time
from collections.abc import Callable

from syncline.serve.problems import Refused

BURST_S = 2.0
"""For how many seconds' worth a caller may have saved up."""
FORGET_AT = 10_000


class Rates:
    """The buckets of one service. Used in its loop alone. Without a limit, nothing is counted."""

    def __init__(self, per_s: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s, self._clock = per_s, clock
        self._most = max(1.0, (per_s or 0.0) * BURST_S)
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, caller: str) -> None:
        """One request. Raises Refused where there have been too many, with how long to wait."""
        if self._per_s is None:
            return
        now = self._clock()
        left, at = self._left.get(caller, (self._most, now))
        left = min(self._most, left + (now - at) * self._per_s)
        if left < 1:
            wait_s = max(1, round((1 - left) / self._per_s + 0.5))
            detail = f"more than {self._per_s:g} requests a second; ask again in {wait_s} s"
            raise Refused(429, "too-many", detail, headers={"Retry-After": str(wait_s)})
        if len(self._left) >= FORGET_AT:
            self._forget(now)
        self._left[caller] = (left - 1, now)

    def _forget(self, now: float) -> None:
        assert self._per_s is not None
        refill_s = self._most / self._per_s
        self._left = {caller: held for caller, held in self._left.items() if now - held[1] < refill_s}
