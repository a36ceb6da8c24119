"""What other processes ask of a running relay, done between two of its rounds: rebuild, repair, sweep now."""

import time
from collections.abc import Callable

from syncline.errors import Fenced, SynclineError, Unavailable
from syncline.messages import Relation
from syncline.move.relay import Relay
from syncline.stores.sqlite.control import Request, Requests
from syncline.stores.sqlite.definitions import load_key
from syncline.stores.sqlite.reach import file_identity
from syncline.stores.sqlite.read import SQLiteReadStore

LOOK_INTERVAL_S = 0.02
FILE_INTERVAL_S = 0.25


class Attendant:
    """Answers the requests to one read store's relay. The relay's thread owns it."""

    def __init__(self, store: SQLiteReadStore, relay: Relay, requests: Requests) -> None:
        self._store, self._relay, self._requests = store, relay, requests
        self._looked_at = self._file_at = 0.0
        self._building: dict[int, tuple[str, int | None]] = {}
        self._file = file_identity(store.path)

    def attend(self) -> bool:
        """Does what was asked meanwhile; says whether there was anything. Raises Unavailable when the store's file is gone."""
        now = time.monotonic()
        if now - self._file_at >= FILE_INTERVAL_S:
            self._file_at = now
            if file_identity(self._store.path) != self._file:
                raise Unavailable(f"the read store '{self._store.path}' was removed or replaced; it is opened again")
        if now - self._looked_at < LOOK_INTERVAL_S:
            return False
        self._looked_at = now
        self._finish_builds()
        waiting = [request for request in self._requests.waiting() if request.id not in self._building]
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
        name = str(request.argument)
        before = self._store.generation(name)
        self._store.rebuild(name)
        self._building[request.id] = (name, before)
        return False

    def _finish_builds(self) -> None:
        for number, (name, before) in list(self._building.items()):
            if self._store.generation(name) not in (before, None):
                del self._building[number]
                self._requests.answer(number, "done", None)

    def _mark(self, request: Request) -> bool:
        self._relay.mark(self._relation(request.argument["relation"]), [_key(key) for key in request.argument["keys"]])
        return True

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
    }


def _key(text: str) -> tuple[None | int | float | str | bytes, ...]:
    return load_key(text) or ()
