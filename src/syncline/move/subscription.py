"""The life cycle of following one service, as a table. Pure: it knows no feed, store or clock.

starting     opening the source, installing the capture
loading      copying the first rows of at least one mirror
catching up  copied; changes committed before now are still to be applied
live         the last look at the feed found nothing that is not applied
failed       the source cannot be used now; tried again after a pause that grows
"""

from dataclasses import dataclass, replace
from typing import Literal

State = Literal["starting", "loading", "catching up", "live", "failed"]
Event = Literal["followed", "loading", "loaded", "applied", "drained", "failed", "retried"]

TRANSITIONS: dict[State, dict[Event, State]] = {
    "starting": {"followed": "catching up", "failed": "failed"},
    "catching up": {"loading": "loading", "applied": "catching up", "drained": "live", "failed": "failed"},
    "loading": {
        "loading": "loading",
        "loaded": "catching up",
        "applied": "loading",
        "drained": "loading",
        "failed": "failed",
    },
    "live": {"loading": "loading", "applied": "live", "drained": "live", "failed": "failed"},
    "failed": {"retried": "starting", "failed": "failed"},
}

FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 5.0


@dataclass(frozen=True, slots=True)
class Subscription:
    """Where one service stands, the last error until it is live again, and after which time a failed one is tried again."""

    state: State = "starting"
    error: str | None = None
    failures: int = 0
    retry_at: float = 0.0

    def after(self, event: Event) -> "Subscription":
        """The next state. An event that the state does not expect is our own mistake."""
        state = TRANSITIONS[self.state][event]
        if state == self.state:
            return self
        is_well = state == "live"
        return replace(self, state=state, error=None if is_well else self.error, failures=0 if is_well else self.failures)

    def after_failure(self, error: str, now: float) -> "Subscription":
        """Failed, to be tried again after a pause that doubles with each failure in a row."""
        pause_s = min(FIRST_PAUSE_S * 2**self.failures, LONGEST_PAUSE_S)
        return Subscription(TRANSITIONS[self.state]["failed"], error, self.failures + 1, now + pause_s)
