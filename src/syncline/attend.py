"""What other processes ask of a running relay, done between two of its rounds: rebuild, repair, sweep now, try again."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from syncline.errors import Fenced, SynclineError, Unavailable
from syncline.messages import DeadLetter, Relation
from syncline.move.feed import Feed, Replays
from syncline.move.relay import Relay
from syncline.stores.protocols import ReadStore, load_key
from syncline.stores.roles import Request, Requests

LOOK_INTERVAL_S = 0.02
IDENTITY_INTERVAL_S = 0.25


@dataclass(slots=True)
class Releasing:
    """Streams that a request wants tried again, with the positions they are held back from, and by which feeds they are."""

    streams: list[tuple[str, str, int]]
    skip: bool
    feeds: dict[str, Feed | None]


@dataclass(slots=True)
class Replaying:
    """A view that is to be rebuilt when the relations that it reads are made anew, and the feeds that were asked for that."""

    view: str
    relations: list[Relation]
    feeds: dict[str, Feed]


class Attendant:
    """Answers the requests to one read store's relay. The relay's thread owns it."""

    def __init__(self, store: ReadStore, relay: Relay, requests: Requests, identity: Callable[[], object]) -> None:
        """`identity` gives another value when the store was removed or replaced."""
        self._store, self._relay, self._requests = store, relay, requests
        self._looked_at = self._identity_at = 0.0
        self._replaying: dict[int, Replaying] = {}
        self._marking: dict[int, tuple[str, Feed]] = {}
        self._building: dict[int, tuple[str, int | None]] = {}
        self._releasing: dict[int, Releasing] = {}
        self._identity, self._opened = identity, identity()

    def attend(self) -> bool:
        """Does what was asked meanwhile; says whether there was anything. Raises Unavailable when the store is gone."""
        now = time.monotonic()
        if now - self._identity_at >= IDENTITY_INTERVAL_S:
            self._identity_at = now
            if self._identity() != self._opened:
                raise Unavailable(f"the read store '{self._store.path}' was removed or replaced; it is opened again")
        if now - self._looked_at < LOOK_INTERVAL_S:
            return False
        self._looked_at = now
        self._finish_replays()
        self._finish_marks()
        self._finish_builds()
        self._finish_releases()
        begun = self._replaying.keys() | self._marking.keys() | self._building.keys() | self._releasing.keys()
        waiting = [request for request in self._requests.waiting() if request.id not in begun]
        for request in waiting:
            self._do(request)
        return bool(waiting)

    def _do(self, request: Request) -> None:
        try:
            is_done = self._verbs[request.verb](self, request)
        except Fenced:
            raise
        except SynclineError as error:
            self._requests.answer(request.id, "failed", str(error))
        else:
            if is_done:
                self._requests.answer(request.id, "done", None)

    def _rebuild(self, request: Request) -> bool:
        """What the view reads is made anew first where it is made from events, then the view."""
        name = str(request.argument)
        self._replaying[request.id] = Replaying(name, self._store.mirrors_of(name), {})
        return False

    def _finish_replays(self) -> None:
        for number, replaying in list(self._replaying.items()):
            try:
                is_done = self._replay(replaying)
                before = self._store.generation(replaying.view)
                if is_done:
                    self._store.rebuild(replaying.view)
                    self._building[number] = (replaying.view, before)
            except Fenced:
                raise
            except SynclineError as error:
                is_done = True
                self._requests.answer(number, "failed", str(error))
            if is_done:
                del self._replaying[number]

    def _replay(self, replaying: Replaying) -> bool:
        """Asks feeds that were not asked yet, or were opened anew since; says whether all are done. Raises Unavailable."""
        is_done = True
        for service in sorted({relation.service for relation in replaying.relations}):
            following = self._relay.following[service]
            feed = following.feed
            if following.service.capture == "events" and following.subscription.state == "failed":
                raise Unavailable(f"service '{service}' is not being followed now: {following.subscription.error}")
            if not isinstance(feed, Replays):
                is_done &= following.service.capture != "events"
            elif replaying.feeds.get(service) is not feed:
                feed.replay([relation for relation in replaying.relations if relation.service == service])
                replaying.feeds[service] = feed
                is_done = False
            else:
                is_done &= not feed.is_replaying
        return is_done

    def _finish_builds(self) -> None:
        for number, (name, before) in list(self._building.items()):
            if self._store.generation(name) not in (before, None):
                del self._building[number]
                self._requests.answer(number, "done", None)

    def _release(self, request: Request) -> bool:
        """Each stream that is still held back as the request says is tried; a position that moved on is not dropped unseen."""
        streams = [(service, stream, position) for service, stream, position in request.argument["streams"]]
        releasing = Releasing(streams, bool(request.argument["skip"]), {})
        self._try(releasing)
        self._releasing[request.id] = releasing
        return False

    def _try(self, releasing: Releasing) -> None:
        for service in {service for service, _, _ in releasing.streams}:
            held = self._held_back(service)
            for stream, position in [(each[1], each[2]) for each in releasing.streams if each[0] == service]:
                if stream in held and (not releasing.skip or held[stream].position == position):
                    self._relay.release(service, stream, skip=releasing.skip)
            releasing.feeds[service] = self._relay.following[service].feed

    def _finish_releases(self) -> None:
        for number, releasing in list(self._releasing.items()):
            if any(self._relay.following[service].feed is not feed for service, feed in releasing.feeds.items()):
                del self._releasing[number]  # a feed that was opened anew knows nothing of the request, which is done anew
            elif not any(isinstance(feed, Replays) and feed.is_replaying for feed in releasing.feeds.values()):
                del self._releasing[number]
                self._requests.answer(number, "done", self._outcomes(releasing))

    def _outcomes(self, releasing: Releasing) -> list[dict[str, object]]:
        """What became of each stream: still held back, from where and why, or not."""
        held = {service: self._held_back(service) for service, _, _ in releasing.streams}
        outcomes: list[dict[str, object]] = []
        for service, stream, _ in releasing.streams:
            letter = held[service].get(stream)
            why = {"position": letter.position, "event": letter.event, "error": letter.error} if letter is not None else {}
            outcomes.append({"service": service, "stream": stream, "is_released": letter is None, **why})
        return outcomes

    def _held_back(self, service: str) -> dict[str, DeadLetter]:
        return {letter.stream: letter for letter in self._store.dead_letters(service)}

    def _mark(self, request: Request) -> bool:
        """Rows that are made from events are there when they are made anew."""
        relation = self._relation(request.argument["relation"])
        self._relay.mark(relation, [_key(key) for key in request.argument["keys"]])
        feed = self._relay.following[relation.service].feed
        if isinstance(feed, Replays):
            self._marking[request.id] = (relation.service, feed)
        return request.id not in self._marking

    def _finish_marks(self) -> None:
        for number, (service, feed) in list(self._marking.items()):
            if self._relay.following[service].feed is not feed:
                del self._marking[number]  # a feed that was opened anew knows nothing of the request, which is done anew
            elif isinstance(feed, Replays) and not feed.is_replaying:
                del self._marking[number]
                self._requests.answer(number, "done", None)

    def _repair(self, request: Request) -> bool:
        self._store.repair_view(request.argument["table"], [_key(key) for key in request.argument["keys"]])
        return True

    def _sweep(self, request: Request) -> bool:
        relations = [r for r in self._store.relations.values() if r.service == request.argument]
        if relations:
            self._relay.mark(relations[0], ())
        return True

    def _relation(self, name: str) -> Relation:
        return next(relation for relation in self._store.relations.values() if relation.name == name)

    _verbs: dict[str, Callable[["Attendant", Request], bool]] = {
        "rebuild": _rebuild,
        "mark": _mark,
        "repair": _repair,
        "sweep": _sweep,
        "release": _release,
    }


def _key(text: str) -> tuple[None | int | float | str | bytes, ...]:
    return load_key(text) or ()
