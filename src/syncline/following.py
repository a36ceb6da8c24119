"""One read model being followed: its relay, standing by for another, waiting until it has caught up, and asking it for things."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from typing import Any

from syncline.attend import Attendant
from syncline.config import ReadModelConfig
from syncline.defining import definer
from syncline.errors import Fenced, StoreError, SynclineError, Unavailable
from syncline.messages import Position, Progress
from syncline.move.relay import Relay
from syncline.places import without_password
from syncline.read.snapshot import position_of
from syncline.read.verify import Repair, VerifyReport, verify_store
from syncline.services import FollowedService
from syncline.stores.protocols import dump_key
from syncline.stores.roles import Lease, Request, read_role

STAND_BY_S = 0.1
WAIT_S = 0.01
CATCH_UP_TIMEOUT_S = 60.0
RETRY_S = 1.0
MARKS_A_REQUEST = 5_000

OnProgress = Callable[[Progress], None]
OnEvent = Callable[[str], None]


def silent(_: object) -> None: ...


class Follower:
    """Follows the services of one read model into its store. Nothing is kept open between calls."""

    def __init__(self, model: ReadModelConfig, services: Mapping[str, FollowedService], wake: threading.Event) -> None:
        """`wake` is set by whoever wrote to one of the services in this process: the relay then looks at once."""
        self.model = model
        self._store = read_role(model.database)
        self._services = services
        self._wake = wake
        self._has_run = False

    def run(self, stop: threading.Event, on_progress: OnProgress, on_event: OnEvent) -> None:
        """The relay, again and again until `stop`: after a fault of the store it is opened anew."""
        model, lease = self.model, self._store.lease(self.model.database)
        self._has_run, last_error = False, ""
        try:
            while not stop.is_set():
                try:
                    if not self._stand_by(lease, stop, on_event):
                        return
                    with self.opened(on_progress, on_event) as (relay, attendant):
                        self._has_run = True
                        relay.run(stop, wake=self._wake, between=attendant.attend)
                except Fenced as error:
                    on_event(f"{model.name}: {error}")
                    lease.release()
                    stop.wait(RETRY_S)
                except StoreError as error:
                    if not self._has_run:
                        raise
                    if str(error) != last_error:
                        on_event(f"{model.name}: {error}; trying again")
                    last_error = str(error)
                    lease.release()  # its file may be gone too, and another lock the one in its place
                    stop.wait(RETRY_S)
        finally:
            lease.release()

    def sync(self, on_progress: OnProgress) -> None:
        """Catches up in the caller's thread with all that is committed now; waits for another relay where one runs."""
        lease = self._store.lease(self.model.database)
        if not lease.acquire():
            self.wait_until_reached(None)
            return
        try:
            with self.opened(on_progress, silent) as (relay, _):
                settle(relay)
                relay.forget_all()
        finally:
            lease.release()

    @contextmanager
    def opened(self, on_progress: OnProgress, on_event: OnEvent) -> Iterator[tuple[Relay, Attendant]]:
        """A relay over the store, and who answers its requests. Only for the holder of the store's lease."""
        model = self.model
        captures = {name: self._services[name].capture for name in model.services}
        store = self._store.open_store(model.database, model.name)
        requests = self._store.requests(model.database)
        try:
            store.take_over(f"pid {os.getpid()}")
            services = [self._services[name] for name in model.services]
            relay = Relay(store, services, definer(model.views, captures), on_event=on_event, on_progress=on_progress)
            try:
                yield relay, Attendant(store, relay, requests, partial(self._store.identity, model.database))
            finally:
                relay.close()
        finally:
            requests.close()
            store.close()

    @contextmanager
    def running(self, on_progress: OnProgress) -> Iterator[None]:
        """Makes sure that a relay runs: another process's, or for the time of the block one of this process's own."""
        lease = self._store.lease(self.model.database)
        if not lease.acquire():
            yield
            return
        lease.release()
        stop = threading.Event()
        failures: list[BaseException] = []

        def follow() -> None:
            try:
                self.run(stop, on_progress, silent)
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=follow, name=f"relay-{self.model.name}")
        thread.start()
        try:
            self.wait_until_reached(failures)
            yield
        finally:
            stop.set()
            thread.join()
        if failures:
            raise failures[0]

    def wait_until_reached(self, failures: list[BaseException] | None) -> None:
        """Until every service that does not fail is applied up to now, and every view that can be is built."""
        model = self.model
        deadline = time.monotonic() + CATCH_UP_TIMEOUT_S
        heads: Mapping[str, Position] | None = None
        while not failures:
            if self._store.is_made(model.database):
                try:
                    with closing(self._store.open_reader(model.database)) as reader, reader.snapshot():
                        feeds, views = reader.feeds(), reader.views()
                except StoreError:
                    feeds, views = [], {}
                failed = {feed.service for feed in feeds if feed.state == "failed"}
                is_live = len(feeds) >= len(model.services) and all(f.state in ("live", "failed") for f in feeds)
                is_built = all(v.next is None for v in views.values()) or bool(failed)
                if is_live and heads is None:
                    heads = self.heads()
                if is_live and is_built and heads is not None:
                    behind = {
                        name
                        for name, head in heads.items()
                        if name not in failed and not _has_reached(position_of(feeds, name), head)
                    }
                    if not behind or time.monotonic() > deadline:
                        return
            time.sleep(WAIT_S)
        raise failures[0]

    def heads(self) -> dict[str, Position]:
        """The newest position of each service whose log can be asked now."""
        heads: dict[str, Position] = {}
        for name in self.model.services:
            try:
                head = self._services[name].head()
            except StoreError:
                continue
            if head is not None:
                heads[name] = head
        return heads

    def ask(self, verb: str, argument: object) -> Any:
        """Asks the relay, and returns its answer. Raises SynclineError with the relay's reason when it could not."""
        model = self.model
        with closing(self._store.requests(model.database)) as requests:
            number = requests.ask(verb, argument)
            while True:
                request: Request | None = requests.find(number)
                if request is None or request.state == "done":
                    return request.answer if request is not None else None
                if request.state == "failed":
                    raise SynclineError(str(request.answer))
                if not self._store.is_leased(model.database):
                    time.sleep(STAND_BY_S * 3)
                    if not self._store.is_leased(model.database):
                        raise Unavailable(
                            f"the relay of '{model.name}' ended before it answered; start `syncline run`, then again"
                        )
                time.sleep(WAIT_S)

    def verify(self, view: str | None, on_progress: OnProgress) -> tuple[VerifyReport, list[Repair]]:
        """Compares the read model with its services at a common cut, and tells what would mend it."""
        model = self.model
        self.wait_until_reached([])
        with (
            closing(self._store.open_reader(model.database)) as reader,
            closing(self._store.requests(model.database)) as requests,
        ):
            looks = {}

            def begun(name: str) -> int:
                return next((feed.checkpoint.begun for feed in reader.feeds() if feed.service == name), 0)

            try:
                for name in model.services:
                    looks[name] = self._services[name].open_look(
                        reader, partial(requests.ask, "sweep", name), partial(begun, name)
                    )
                return verify_store(reader, looks, view, on_progress=on_progress)
            finally:
                for look in looks.values():
                    look.close()

    def repair(self, repairs: Sequence[Repair]) -> None:
        """Mirrors first; then, when their changes have gone through the views, the pieces of views."""
        for repair in repairs:
            if repair.relation is not None and repair.keys is not None:
                for start in range(0, len(repair.keys), MARKS_A_REQUEST):
                    keys = [dump_key(key) for key in repair.keys[start : start + MARKS_A_REQUEST]]
                    self.ask("mark", {"relation": repair.relation.name, "keys": keys})
        self.wait_until_reached([])
        for repair in repairs:
            if repair.relation is None and repair.keys is None:
                self.ask("rebuild", repair.view.partition("__")[0])
            elif repair.relation is None and repair.keys is not None:
                self.ask("repair", {"table": repair.view, "keys": [dump_key(key) for key in repair.keys]})

    def _stand_by(self, lease: Lease, stop: threading.Event, on_event: OnEvent) -> bool:
        """Waits for the lease; false when stopped before."""
        model, is_told = self.model, False
        while not lease.acquire():
            if not is_told:
                shown = without_password(model.database)
                on_event(f"{model.name}: another relay follows into '{shown}'; standing by, to take over when it ends")
                is_told = self._has_run = True  # the store is there: a fault from now on passes
            if stop.wait(STAND_BY_S):
                return False
        return True


def settle(relay: Relay) -> None:
    """Runs the relay's rounds in the caller's thread until nothing is left to load, build or apply. Raises a build's error."""
    while relay.step() or not relay.is_settled():
        time.sleep(0)
    if relay.build_error is not None:
        raise relay.build_error


def _has_reached(position: Position | None, head: Position) -> bool:
    return position is not None and position.reaches(head)
