"""The composition root: opens stores and feeds for what is configured, starts relays, and puts questions to their owners."""

import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

from syncline.attend import Attendant
from syncline.check import CheckReport, ViewReport, check_config
from syncline.config import Config, ReadModelConfig
from syncline.defining import definer
from syncline.errors import Fenced, NotFound, NotReady, StoreError, SynclineError, Unavailable
from syncline.messages import Position, Progress, Token
from syncline.move.freshness import Status
from syncline.move.relay import Relay
from syncline.overview import model_status, unstarted_status
from syncline.read.reader import ReadResult, Wanted, position_of, read_view
from syncline.read.verify import Repair, VerifyReport, verify_store
from syncline.services import FollowedService
from syncline.stores.sqlite.control import Lease, Request, Requests, is_leased
from syncline.stores.sqlite.definitions import dump_key
from syncline.stores.sqlite.install import uninstall
from syncline.stores.sqlite.look import TriggerLook
from syncline.stores.sqlite.reach import Reach, in_write
from syncline.stores.sqlite.read import SQLiteReadStore
from syncline.stores.sqlite.reader import SQLiteReader
from syncline.stores.sqlite.source import READ_TIMEOUT_S

__all__ = ["App", "CheckReport", "Progress", "ViewReport"]

STAND_BY_S = 0.1
WAIT_S = 0.01
CATCH_UP_TIMEOUT_S = 60.0
RETRY_S = 1.0
MARKS_A_REQUEST = 5_000

OnProgress = Callable[[Progress], None]
OnEvent = Callable[[str], None]


def _silent(_: object) -> None: ...


class App:
    """What one configuration describes. Holds and starts; every question is answered by the module that owns it."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._services = {service.name: FollowedService(service) for service in config.services}

    def close(self) -> None:
        """Nothing is kept open between calls."""

    def check(self) -> CheckReport:
        """Validates everything against the databases, without changing them. Raises InvalidDefinition with all faults."""
        return check_config(self.config, self._services)

    def run(self, stop: threading.Event, *, on_progress: OnProgress = _silent, on_event: OnEvent = _silent) -> None:
        """Follows every service into every read model until `stop` is set. Stands by where another relay runs.

        Raises InvalidDefinition, before anything is changed, for what `check` refuses.
        """
        self.check()
        first, *others = self.config.read_models
        failures: list[BaseException] = []

        def follow(model: ReadModelConfig) -> None:
            try:
                self._follow(model, stop, on_progress, on_event)
            except BaseException as error:
                failures.append(error)
                stop.set()

        threads = [threading.Thread(target=follow, args=(model,), name=f"relay-{model.name}") for model in others]
        for thread in threads:
            thread.start()
        follow(first)
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]

    def sync(self, *, on_progress: OnProgress = _silent) -> None:
        """Catches every read model up with all that is committed at its services; a service that fails is passed over."""
        self.check()
        for model in self.config.read_models:
            lease = Lease(model.database)
            if not lease.acquire():
                self._wait_until_reached(model, None)
                continue
            try:
                with self._opened_relay(model, on_progress, _silent) as (relay, _):
                    while relay.step() or not relay.is_settled():
                        time.sleep(0)
                    if relay.build_error is not None:
                        raise relay.build_error
                    relay.forget_all()
            finally:
                lease.release()

    def read(
        self,
        view: str,
        *,
        key: Sequence[object] | None = None,
        where: Sequence[tuple[str, object]] = (),
        at_least: Token | None = None,
        timeout_s: float = 5.0,
        max_staleness_s: float | None = None,
        limit: int | None = None,
        order_by: Sequence[str] = (),
        read_model: str | None = None,
    ) -> ReadResult:
        """Rows of a view from one snapshot, as new as asked. Raises as `read_view` does."""
        model = self._model_of_view(view, read_model)
        wanted = Wanted(view, key, where, at_least, timeout_s, max_staleness_s, limit, order_by)
        with closing(SQLiteReader(model.database)) as reader:
            return read_view(reader, wanted, is_followed=lambda: is_leased(model.database))

    def token(self, service: str, *, read_model: str | None = None) -> Token:
        """The token for everything committed in `service` up to now."""
        model = self._model_of_service(service, read_model)
        found = self._services[service]
        if found.capture == "triggers":
            with closing(TriggerLook(found.config.database)) as look:
                head = look.head()
            if head is None:
                raise NotReady(f"changes of '{service}' are not captured yet; start `syncline run`, or `syncline sync --once`")
            return Token({service: Position(head.incarnation, head.n)})
        with closing(SQLiteReader(model.database)) as reader, reader.snapshot():
            feed = next((feed for feed in reader.feeds() if feed.service == service), None)
        if feed is None or feed.checkpoint.position is None:
            raise NotReady(f"'{service}' was not polled yet; start `syncline run`, or `syncline sync --once`")
        with closing(Requests(model.database)) as requests:
            requests.ask("sweep", service)
        return Token({service: Position(feed.checkpoint.position.incarnation, feed.checkpoint.begun + 1)})

    def status(self) -> Status:
        """Feeds and views of every read model, and whether a relay runs."""
        feeds, views, relays = [], [], []
        for model in self.config.read_models:
            running = is_leased(model.database)
            try:
                reader = SQLiteReader(model.database)
            except Unavailable:
                of_feeds, of_views, holder = *unstarted_status(model, self._services), ""
            else:
                with closing(reader):
                    of_feeds, of_views = model_status(model, reader, self._services, self._heads(model), is_running=running)
                    holder = reader.holder()
            feeds += of_feeds
            views += of_views
            relays.append(f"running ({holder})" if running else "not running")
        names = [model.name for model in self.config.read_models]
        relay = relays[0] if len(relays) == 1 else "; ".join(f"{name}: {r}" for name, r in zip(names, relays, strict=True))
        return Status(tuple(feeds), tuple(views), relay)

    def verify(self, view: str | None = None, *, repair: bool = False, on_progress: OnProgress = _silent) -> VerifyReport:
        """Compares read models with their services at a common cut; `repair` mends what differs. See `verify_store`."""
        models = [self._model_of_view(view, None)] if view is not None else list(self.config.read_models)
        reports: list[VerifyReport] = []
        for model in models:
            with self._followed(model, on_progress):
                report, repairs = self._verify_model(model, view, on_progress)
                reports.append(report)
                if repair and repairs:
                    self._repair(model, repairs)
        return VerifyReport(
            tuple(difference for report in reports for difference in report.differences),
            tuple(each for report in reports for each in report.checked),
            any(report.is_cut_short for report in reports),
            Token({service: at for report in reports for service, at in report.token.positions.items()}),
        )

    def rebuild(self, view: str, *, on_progress: OnProgress = _silent) -> None:
        """Builds a view, and those that read it, beside what is live, and switches; returns after the switch."""
        model = self._model_of_view(view, None)
        with self._followed(model, on_progress):
            self._ask(model, "rebuild", view)

    def uninstall(self, service: str, *, read_store: str | None = None) -> list[str]:
        """Removes what was put into a service's database, for one read store or for all. Returns what was removed.

        Raises Unavailable while a relay of this configuration follows the service.
        """
        found = self._service(service)
        is_identity = read_store is not None and re.fullmatch("[0-9a-f]{16}", read_store)
        store = read_store if read_store is None or is_identity else os.path.abspath(read_store)
        for model in self.config.read_models:
            if service in model.services and store in (None, model.database) and is_leased(model.database):
                raise Unavailable(
                    f"a relay follows '{service}' for read model '{model.name}' and would install everything again; stop it first"
                )
        if found.capture != "triggers" and not Path(found.config.database).exists():
            return []
        with closing(Reach(found.config.database, read_only=False)) as reach, in_write(reach, READ_TIMEOUT_S) as connection:
            return uninstall(connection, store)

    # -- relays --------------------------------------------------------------------------------------------------------

    def _follow(self, model: ReadModelConfig, stop: threading.Event, on_progress: OnProgress, on_event: OnEvent) -> None:
        """The relay of one read model, again and again: after a fault of the store it is opened anew."""
        lease = Lease(model.database)
        has_run, last_error = False, ""
        try:
            while not stop.is_set():
                if not self._stand_by(lease, model, stop, on_event):
                    return
                try:
                    with self._opened_relay(model, on_progress, on_event) as (relay, attendant):
                        has_run = True
                        relay.run(stop, between=attendant.attend)
                except Fenced as error:
                    on_event(f"{model.name}: {error}")
                    lease.release()
                    stop.wait(RETRY_S)
                except StoreError as error:
                    if not has_run:
                        raise
                    if str(error) != last_error:
                        on_event(f"{model.name}: {error}; trying again")
                    last_error = str(error)
                    lease.release()  # its file may be gone too, and another lock the one in its place
                    stop.wait(RETRY_S)
        finally:
            lease.release()

    def _stand_by(self, lease: Lease, model: ReadModelConfig, stop: threading.Event, on_event: OnEvent) -> bool:
        """Waits for the lease; false when stopped before."""
        is_told = False
        while not lease.acquire():
            if not is_told:
                on_event(f"{model.name}: another relay follows into '{model.database}'; standing by, to take over when it ends")
                is_told = True
            if stop.wait(STAND_BY_S):
                return False
        return True

    @contextmanager
    def _opened_relay(
        self, model: ReadModelConfig, on_progress: OnProgress, on_event: OnEvent
    ) -> Iterator[tuple[Relay, Attendant]]:
        captures = {name: self._services[name].capture for name in model.services}
        store = SQLiteReadStore(model.database)
        requests = Requests(model.database)
        try:
            store.take_over(f"pid {os.getpid()}")
            services = [self._services[name] for name in model.services]
            relay = Relay(store, services, definer(model.views, captures), on_event=on_event, on_progress=on_progress)
            try:
                yield relay, Attendant(store, relay, requests)
            finally:
                relay.close()
        finally:
            requests.close()
            store.close()

    @contextmanager
    def _followed(self, model: ReadModelConfig, on_progress: OnProgress) -> Iterator[None]:
        """Makes sure that a relay runs: another process's, or for the time of the block one of this process's own."""
        lease = Lease(model.database)
        if not lease.acquire():
            yield
            return
        lease.release()
        stop = threading.Event()
        failures: list[BaseException] = []

        def follow() -> None:
            try:
                self._follow(model, stop, on_progress, _silent)
            except BaseException as error:
                failures.append(error)

        self.check()
        thread = threading.Thread(target=follow, name=f"relay-{model.name}")
        thread.start()
        try:
            self._wait_until_reached(model, failures)
            yield
        finally:
            stop.set()
            thread.join()
        if failures:
            raise failures[0]

    def _wait_until_reached(self, model: ReadModelConfig, failures: list[BaseException] | None) -> None:
        """Until every service that does not fail is applied up to now, and every view that can be is built."""
        deadline = time.monotonic() + CATCH_UP_TIMEOUT_S
        heads: Mapping[str, Position] | None = None
        while not failures:
            if Path(model.database).is_file():
                try:
                    with closing(SQLiteReader(model.database)) as reader, reader.snapshot():
                        feeds, views = reader.feeds(), reader.views()
                except StoreError:
                    feeds, views = [], {}
                failed = {feed.service for feed in feeds if feed.state == "failed"}
                is_live = len(feeds) >= len(model.services) and all(f.state in ("live", "failed") for f in feeds)
                is_built = all(v.next is None for v in views.values()) or bool(failed)
                if is_live and heads is None:
                    heads = self._heads(model)
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

    def _heads(self, model: ReadModelConfig) -> dict[str, Position]:
        """The newest position of each service whose log can be asked now."""
        heads: dict[str, Position] = {}
        for name in model.services:
            service = self._services[name]
            if service.capture != "triggers":
                continue
            try:
                with closing(TriggerLook(service.config.database)) as look:
                    head = look.head()
            except StoreError:
                continue
            if head is not None:
                heads[name] = head
        return heads

    # -- requests ------------------------------------------------------------------------------------------------------

    def _ask(self, model: ReadModelConfig, verb: str, argument: object) -> None:
        """Asks the relay, and waits for its answer. Raises SynclineError with the relay's reason when it could not."""
        with closing(Requests(model.database)) as requests:
            number = requests.ask(verb, argument)
            while True:
                request: Request | None = requests.find(number)
                if request is None or request.state == "done":
                    return
                if request.state == "failed":
                    raise SynclineError(str(request.answer))
                if not is_leased(model.database):
                    time.sleep(STAND_BY_S * 3)
                    if not is_leased(model.database):
                        raise Unavailable(
                            f"the relay of '{model.name}' ended before it answered; start `syncline run`, then again"
                        )
                time.sleep(WAIT_S)

    def _verify_model(
        self, model: ReadModelConfig, view: str | None, on_progress: OnProgress
    ) -> tuple[VerifyReport, list[Repair]]:
        self._wait_until_reached(model, [])
        with closing(SQLiteReader(model.database)) as reader, closing(Requests(model.database)) as requests:
            looks = {}

            def begun(name: str) -> int:
                return next((feed.checkpoint.begun for feed in reader.feeds() if feed.service == name), 0)

            try:
                for name in model.services:
                    looks[name] = self._services[name].open_look(partial(requests.ask, "sweep", name), partial(begun, name))
                return verify_store(reader, looks, view, on_progress=on_progress)
            finally:
                for look in looks.values():
                    look.close()

    def _repair(self, model: ReadModelConfig, repairs: Sequence[Repair]) -> None:
        """Mirrors first; then, when their changes have gone through the views, the pieces of views."""
        for repair in repairs:
            if repair.relation is not None and repair.keys is not None:
                for start in range(0, len(repair.keys), MARKS_A_REQUEST):
                    keys = [dump_key(key) for key in repair.keys[start : start + MARKS_A_REQUEST]]
                    self._ask(model, "mark", {"relation": repair.relation.name, "keys": keys})
        self._wait_until_reached(model, [])
        for repair in repairs:
            if repair.relation is None and repair.keys is None:
                self._ask(model, "rebuild", repair.view.partition("__")[0])
            elif repair.relation is None and repair.keys is not None:
                self._ask(model, "repair", {"table": repair.view, "keys": [dump_key(key) for key in repair.keys]})

    # -- names ---------------------------------------------------------------------------------------------------------

    def _service(self, name: str) -> FollowedService:
        found = self._services.get(name)
        if found is None:
            raise NotFound(f"there is no service '{name}'; there are: {', '.join(self._services)}")
        return found

    def _model_of_view(self, view: str, read_model: str | None) -> ReadModelConfig:
        models = self._models(read_model)
        found = [model for model in models if any(each.name == view for each in model.views)]
        if len(found) > 1:
            names = ", ".join(model.name for model in found)
            raise NotFound(f"view '{view}' is in several read models ({names}); say which with --read-model")
        if not found:
            known = ", ".join(sorted(each.name for model in models for each in model.views))
            raise NotFound(f"there is no view '{view}'; there are: {known or 'none'}")
        return found[0]

    def _model_of_service(self, service: str, read_model: str | None) -> ReadModelConfig:
        self._service(service)
        found = [model for model in self._models(read_model) if service in model.services]
        if not found:
            raise NotFound(f"no read model reads service '{service}'")
        return found[0]

    def _models(self, name: str | None) -> list[ReadModelConfig]:
        models = [model for model in self.config.read_models if name in (None, model.name)]
        if not models:
            raise NotFound(f"there is no read model '{name}'; there are: {', '.join(m.name for m in self.config.read_models)}")
        return models


def _has_reached(position: Position | None, head: Position) -> bool:
    return position is not None and position.incarnation == head.incarnation and position.n >= head.n
