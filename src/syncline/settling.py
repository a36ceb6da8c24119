"""Following without threads, for tests: relays that work in the caller's thread when they are told to, and are kept open between.

A relay holds its store's lease only while it works, so that what needs one of its own (a rebuild, a repair) can be done between.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager

from syncline.errors import Fenced, Unavailable
from syncline.following import Follower, settle, silent
from syncline.move.relay import Relay
from syncline.places import without_password
from syncline.stores.roles import read_role


@contextmanager
def settling(followers: Iterable[Follower]) -> Iterator[Callable[[], None]]:
    """Gives a function that runs the relays of all these until everything committed now is applied and every view is built.

    It raises Unavailable, with the reason, when a service cannot be followed, or when another relay works at that moment.
    """
    kept = [_Kept(follower) for follower in followers]

    def settle_all() -> None:
        for each in kept:
            each.settle()

    try:
        yield settle_all
    finally:
        for each in kept:
            each.close()


class _Kept:
    """One relay. One that another took over from in between is opened anew."""

    def __init__(self, follower: Follower) -> None:
        self._follower = follower
        self._open = ExitStack()
        self._relay: Relay | None = None

    def settle(self) -> None:
        database = self._follower.model.database
        lease = read_role(database).lease(database)
        if not lease.acquire():
            raise Unavailable(f"another relay follows into '{without_password(database)}'; stop it first")
        try:
            try:
                self._work()
            except Fenced:
                self.close()
                self._work()
        finally:
            lease.release()

    def close(self) -> None:
        self._relay = None
        self._open.close()

    def _work(self) -> None:
        if self._relay is None:
            self._relay, _ = self._open.enter_context(self._follower.opened(silent, silent))
        _sweep_polled(self._relay)
        settle(self._relay)
        for name, following in self._relay.following.items():
            if following.subscription.state == "failed":
                raise Unavailable(f"service '{name}' cannot be followed: {following.subscription.error}")


def _sweep_polled(relay: Relay) -> None:
    """A polled service shows what was committed with its next sweep only, so that begins now."""
    for name, following in relay.following.items():
        relation = next((each for each in relay.store.relations.values() if each.service == name), None)
        if following.service.capture == "polling" and following.feed is not None and relation is not None:
            relay.mark(relation, ())
