"""The composition root: holds services, stores and views at their places, starts relays and commit threads, and puts questions to
those who own the answers."""

import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import date
from functools import partial
from types import MappingProxyType, TracebackType
from typing import Any

from syncline.check import CheckReport, ViewReport, check_config
from syncline.commanding import Commands, CommandType
from syncline.composing import compose
from syncline.config import Config, ReadModelConfig
from syncline.definitions import View
from syncline.errors import NotFound, NotReady, Unavailable
from syncline.following import Follower, OnEvent, OnProgress, silent
from syncline.handling import open_handler, prepare_outbox, prepare_tables
from syncline.messages import Position, Progress, Receipt, Token, as_token
from syncline.move.freshness import Status
from syncline.overview import model_status, unstarted_status, writing_status
from syncline.parked_streams import HeldStream, Outcome, held_streams, try_again
from syncline.places import Placed, is_postgres
from syncline.read.maintain.asked import Asked, RowFilters, look_at
from syncline.read.named_query import query_values
from syncline.read.reader import QueryAnswer, ReadResult, Wanted, WantedQuery, conditions_of, read_query, read_view
from syncline.read.sql_file import suggestion
from syncline.read.verify import VerifyReport
from syncline.sagas import Sagas
from syncline.services import FollowedService
from syncline.settling import settling
from syncline.stores.roles import dialect_of, read_role
from syncline.telling import Story, tell

NO_VALUES: Mapping[str, object] = MappingProxyType({})

__all__ = ["App", "CheckReport", "Progress", "ViewReport"]


class App:
    """Services, read models and what joins them. Holds and starts; every question is answered by the module that owns it.

    Its parts are definitions at their places (`orders.on(SQLite("orders.db"))`) and configurations (`load_config(path)`), in any
    order. Raises InvalidDefinition with all faults at once. Opens nothing until it is used; `close`, or a `with` block, ends the
    threads that handle commands. Not to be used across a fork: make it in the child.
    """

    def __init__(self, *parts: Placed | Config, clock: Callable[[], float] = time.time) -> None:
        """`clock` gives the time that events are stored with, in seconds since 1970."""
        self.parts = parts
        composed = compose(parts)
        self.config = composed.config
        self._services = {
            service.name: FollowedService(service, composed.published.get(service.name)) for service in self.config.services
        }
        self._outboxes, self._writing = composed.outboxes, composed.writing
        self._wakes = {model.name: threading.Event() for model in self.config.read_models}
        self._followers = {
            model.name: Follower(model, self._services, self._wakes[model.name]) for model in self.config.read_models
        }
        self._commands = Commands(composed.writing, partial(open_handler, clock=clock), self._wake_relays)
        self.sagas = Sagas(composed.sagas, self._commands.submit, clock)

    def __enter__(self) -> "App":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Returns when every command sent before is answered. Sending afterwards raises Unavailable."""
        self._commands.close()

    # -- commands ------------------------------------------------------------------------------------------------------

    def send(
        self,
        command: object,
        *,
        command_id: str | None = None,
        expected_version: int | None = None,
        correlation_id: str | None = None,
        causation_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Receipt:
        """Handles a command and returns its receipt once everything it did is on disk.

        A command sent again with the `command_id` it had gives the first receipt again and does nothing, also after a crash.
        `expected_version` refuses a command whose stream is at another version. The other ids and `metadata` (JSON) are stored
        with the events. Raises Rejected with the domain's reason, Conflict, InvalidCommand, CommandReused, InvalidEvent,
        UnknownEvent, StoreError, or what `decide` or the handler raised: then nothing was stored (but by a handler that got past
        its transaction and ended it, which a StoreError says).
        """
        self._commands.refuse_waiting()
        submit = self._commands.submit
        return submit(command, command_id, expected_version, correlation_id, causation_id, metadata).result()

    def submit(
        self,
        command: object,
        *,
        command_id: str | None = None,
        expected_version: int | None = None,
        correlation_id: str | None = None,
        causation_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> "Future[Receipt]":
        """As `send`, without waiting: the future holds the receipt, or the exception. Commands of one service are handled in the
        order of submission; async code awaits `asyncio.wrap_future(app.submit(command))`."""
        return self._commands.submit(command, command_id, expected_version, correlation_id, causation_id, metadata)

    def command(self, name: str, payload: str | bytes) -> object:
        """The command that JSON spells, to be sent. Raises NotFound for an unknown name, InvalidCommand with every fault."""
        return self._commands.parse(name, payload)

    @property
    def command_names(self) -> tuple[str, ...]:
        """The names of all commands that can be sent."""
        return self._commands.names

    def command_types(self, schemas_at: str = "#/$defs") -> tuple[list[CommandType], dict[str, Any]]:
        """All commands that can be sent, each with its JSON Schema, and the schemas that those refer to as `schemas_at`/NAME."""
        return self._commands.types(schemas_at)

    # -- following -----------------------------------------------------------------------------------------------------

    def check(self) -> CheckReport:
        """Validates everything against the databases, without changing them. Raises InvalidDefinition with all faults."""
        return check_config(self.config, self._services)

    def run(self, stop: threading.Event, *, on_progress: OnProgress = silent, on_event: OnEvent = silent) -> None:
        """Follows every service into every read model, and runs sagas, until `stop` is set. Stands by where another relay runs.

        Raises InvalidDefinition, before anything is changed, for what `check` refuses.
        """
        self._prepare()
        failures: list[BaseException] = []

        def follow(run: Callable[[threading.Event], None]) -> None:
            try:
                run(stop)
            except BaseException as error:
                failures.append(error)
                stop.set()

        runs: list[Callable[[threading.Event], None]] = [
            partial(each.run, on_progress=on_progress, on_event=on_event) for each in self._followers.values()
        ]
        runs += self.sagas.runs(on_event)
        if not runs:
            raise NotFound('there is nothing to follow: no view is placed in this App; add one: view.on(SQLite("read.db"))')
        first, *others = runs
        threads = [threading.Thread(target=follow, args=(each,), name=f"relay-{number}") for number, each in enumerate(others, 2)]
        for thread in threads:
            thread.start()
        follow(first)
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]

    def sync(self, *, on_progress: OnProgress = silent) -> None:
        """Catches every read model up with all that is committed at its services; a service that fails is passed over."""
        self._prepare()
        for follower in self._followers.values():
            follower.sync(on_progress)

    @contextmanager
    def settling(self) -> Iterator[Callable[[], None]]:
        """For tests: relays and sagas without threads. Gives a function that does, in the caller's thread, all there is to do
        now: sagas react until nothing is left but deadlines, and what is committed is applied.

        Raises Unavailable where a service cannot be followed, or another relay runs.
        """
        self._prepare()
        with settling(self._followers.values()) as settle, self.sagas.settling() as settle_sagas:

            def settle_all() -> None:
                settle_sagas()
                settle()

            yield settle_all

    def verify(self, view: str | None = None, *, repair: bool = False, on_progress: OnProgress = silent) -> VerifyReport:
        """Compares read models with their services at a common cut; `repair` mends what differs. See `verify_store`."""
        models = [self._model_of_view(view, None)] if view is not None else list(self.config.read_models)
        reports: list[VerifyReport] = []
        self._prepare()
        for model in models:
            follower = self._followers[model.name]
            with follower.running(on_progress):
                report, repairs = follower.verify(view, on_progress)
                reports.append(report)
                if repair and repairs:
                    follower.repair(repairs)
        return VerifyReport(
            tuple(difference for report in reports for difference in report.differences),
            tuple(each for report in reports for each in report.checked),
            any(report.is_cut_short for report in reports),
            Token({service: at for report in reports for service, at in report.token.positions.items()}),
            tuple(letter for report in reports for letter in report.held_back),
        )

    def rebuild(self, view: str, *, on_progress: OnProgress = silent) -> None:
        """Builds a view, and those that read it, beside what is live, and switches; returns after the switch.

        Relations that come from events are replayed from the first event with the `rows` of today, beside the old rows as well.
        """
        follower = self._followers[self._model_of_view(view, None).name]
        self._prepare()
        with follower.running(on_progress):
            follower.ask("rebuild", view)

    def dead_letters(self, service: str | None = None) -> list[HeldStream]:
        """The streams whose events could not be made rows, of one service or of all, as every read model holds them back."""
        return held_streams(self.config.read_models, self._service(service).name if service is not None else None)

    def retry(self, held: Sequence[HeldStream], *, on_progress: OnProgress = silent) -> list[Outcome]:
        """Has streams tried again that are held back, with the `rows` of today; returns what became of each. See `try_again`."""
        self._prepare()
        return try_again(self._followers, held, skip=False, on_progress=on_progress)

    def drop(self, held: Sequence[HeldStream], *, on_progress: OnProgress = silent) -> list[Outcome]:
        """Leaves out the event that each of the streams is held back by, for good, and goes on with what follows it."""
        self._prepare()
        return try_again(self._followers, held, skip=True, on_progress=on_progress)

    def uninstall(self, service: str, *, read_store: str | None = None) -> list[str]:
        """Removes what was put into a service's database to follow it, for one read store or all. Returns what was removed.

        An event log stays: it is the service's own. Raises Unavailable while a relay of this configuration follows the service.
        """
        found = self._service(service)
        if found.capture == "events":
            return []
        is_path = read_store is not None and not re.fullmatch("[0-9a-f]{16}", read_store) and not is_postgres(read_store)
        store = os.path.abspath(read_store) if read_store is not None and is_path else read_store
        for model in self.config.read_models:
            is_meant = service in model.services and store in (None, model.database)
            if is_meant and read_role(model.database).is_leased(model.database):
                raise Unavailable(
                    f"a relay follows '{service}' for read model '{model.name}' and would install everything again; stop it first"
                )
        return found.uninstall(store)

    def restored(self, service: str) -> str | None:
        """Says that a service's database was put back from a backup: its history gets another name, which is returned.

        Tokens of before are refused from then on, and every read store compares what it holds, whether a relay runs or is started
        later. None where nothing has a name: what is polled is compared all the time, what is not captured yet will be.
        """
        return self._service(service).renew()

    # -- reading -------------------------------------------------------------------------------------------------------

    def read(
        self, view: View | str, *key: object, at_least: Token | Receipt | str | None = None, timeout_s: float = 5.0
    ) -> dict[str, Any]:
        """The row of a view with this key, at least as new as the token. Raises NotFound where there is none, else as `rows`."""
        name = view.name if isinstance(view, View) else view
        result = self.rows(name, key=key, at_least=at_least, timeout_s=timeout_s)
        if not result.rows:
            raise NotFound(f"view '{name}' has no row with key {', '.join(map(repr, key)) or '()'}")
        return dict(zip(result.columns, result.rows[0], strict=True))

    def rows(
        self,
        view: View | str,
        *,
        key: Sequence[object] | None = None,
        where: Sequence[tuple[str, object] | tuple[str, str, object]] = (),
        at_least: Token | Receipt | str | None = None,
        timeout_s: float = 5.0,
        max_staleness_s: float | None = None,
        limit: int | None = None,
        order_by: Sequence[str] = (),
        read_model: str | None = None,
    ) -> ReadResult:
        """Rows of a view from one snapshot, as new as asked: as a token, its text, or the receipt of a command says.

        `where` holds (column, value), or (column, comparison, value) with one of = != < <= > >=; all must be so. Raises as
        `read_view` does, InvalidToken, and Unavailable where there is no read store (for a token it is waited for).
        """
        name = view.name if isinstance(view, View) else view
        model = self._model_of_view(name, read_model)
        token = as_token(at_least) if at_least is not None else None
        wanted = Wanted(name, key, (), token, timeout_s, max_staleness_s, limit, order_by, conditions_of(where))
        until = time.monotonic() + timeout_s
        role = read_role(model.database)
        with closing(role.open_reader(model.database, until if wanted.is_waiting else 0.0)) as reader:
            return read_view(reader, wanted, is_followed=lambda: role.is_leased(model.database), until=until)

    def query(
        self,
        name: str,
        values: Mapping[str, object] = NO_VALUES,
        *,
        at_least: Token | Receipt | str | None = None,
        timeout_s: float = 5.0,
        max_staleness_s: float | None = None,
        limit: int | None = None,
        limit_s: float = 60.0,
    ) -> QueryAnswer:
        """What a named query gives, from one snapshot as new as asked; `limit_s` is how long it may take, waiting aside.

        `limit` asks for fewer rows than the query gives at most.

        Raises InvalidQueryValues with every value that does not fit, TookTooLong, and what `rows` raises. No row filter applies.
        """
        model, asked = self.asked(name)
        given = {each: _spelled(value) for each, value in values.items() if value is not None}
        token = as_token(at_least) if at_least is not None else None
        limit_s = asked.query.timeout_s or limit_s
        wanted = WantedQuery(asked, query_values(asked.query, given), token, timeout_s, max_staleness_s, limit_s, limit)
        role = read_role(model.database)
        with closing(role.open_reader(model.database)) as reader:
            return read_query(reader, wanted, is_followed=lambda: role.is_leased(model.database))

    def asked(self, name: str, filters: RowFilters | None = None) -> tuple[ReadModelConfig, Asked]:
        """A named query as it may be run, and the read model that it is of. Raises NotFound."""
        for model in self.config.read_models:
            for query in model.queries:
                if query.name == name:
                    return model, look_at(query, [view.name for view in model.views], dialect_of(model.database), filters)
        names = [query.name for model in self.config.read_models for query in model.queries]
        near = suggestion(name, names)
        hint = f"did you mean '{near}'?" if near else f"there are: {', '.join(names) or 'none'}"
        raise NotFound(f"there is no query '{name}'; {hint}")

    def token(self, service: str, *, read_model: str | None = None) -> Token:
        """The token for everything committed in `service` up to now."""
        found = self._service(service)
        if found.capture != "polling":
            head = found.head()
            if head is None:
                raise NotReady(f"changes of '{service}' are not captured yet; start `syncline run`, or `syncline sync --once`")
            return Token({service: replace(head, proof=0)})
        model = self._model_of_service(service, read_model)
        role = read_role(model.database)
        with closing(role.open_reader(model.database)) as reader, reader.snapshot():
            feed = next((feed for feed in reader.feeds() if feed.service == service), None)
        if feed is None or feed.checkpoint.position is None:
            raise NotReady(f"'{service}' was not polled yet; start `syncline run`, or `syncline sync --once`")
        with closing(role.requests(model.database)) as requests:
            requests.ask("sweep", service)
        at = feed.checkpoint.position
        return Token({service: Position(at.incarnation, max(at.n, feed.checkpoint.begun) + 1)})

    def story(self, id_: str) -> Story:
        """What happened to a stream, a key, a command or a correlation, in every service that has an event log. See `tell`."""
        return tell(self.config.services, id_)

    def status(self, *, with_counts: bool = True) -> Status:
        """Feeds and views of every read model, and whether a relay runs. Counting rows takes longer the more there are."""
        feeds, views, relays = [], [], []
        for model in self.config.read_models:
            role = read_role(model.database)
            running = role.is_leased(model.database)
            heads = self._followers[model.name].heads()
            try:
                reader = role.open_reader(model.database)
            except Unavailable:
                of_feeds, of_views, holder = *unstarted_status(model, self._services), ""
            else:
                with closing(reader):
                    of_feeds, of_views = model_status(
                        model, reader, self._services, heads, is_running=running, with_counts=with_counts
                    )
                    holder = reader.holder()
            feeds += of_feeds
            views += of_views
            relays.append(f"running ({holder})" if running else "not running")
        names = [model.name for model in self.config.read_models]
        several = "; ".join(f"{name}: {relay}" for name, relay in zip(names, relays, strict=True))
        relay = relays[0] if len(relays) == 1 else several or "nothing to follow"
        writing, sagas = writing_status(self._writing.values()), self.sagas.status()
        return Status(tuple(feeds), tuple(views), relay, tuple(writing), tuple(sagas))

    # -- inside --------------------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """What must be there before following: tables of table services, and of outboxes. Refuses what `check` refuses."""
        for writing in self._writing.values():
            prepare_tables(writing)
        self.check()
        for config in self._outboxes.values():
            prepare_outbox(config)

    def _wake_relays(self) -> None:
        for wake in (*self._wakes.values(), *self.sagas.wakes):
            wake.set()

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


def _spelled(value: object) -> str:
    """A value as the text that a parameter of its type is read from."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, date) else str(value)
