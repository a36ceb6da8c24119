"""What all endpoints share: the App, what the service is told, who may ask, and the threads that read. Made and closed once."""

import time
from collections import Counter
from collections.abc import Mapping, Set
from functools import cached_property

from starlette.concurrency import run_in_threadpool

from syncline.app import App
from syncline.config import ReadModelConfig, services_mentioned
from syncline.errors import NotFound
from syncline.http_config import HttpConfig
from syncline.observed import Observed
from syncline.read.maintain.asked import Asked
from syncline.read.maintain.dialects import DIALECTS
from syncline.read.maintain.parse import names_read
from syncline.read.sql_file import suggestion
from syncline.read.view import View
from syncline.rows import GREATEST_INTEGER, LEAST_INTEGER
from syncline.serve.auth import checking, load_tokens
from syncline.serve.caller import ROLES, Authenticate, Caller
from syncline.serve.live import Live
from syncline.serve.metrics import Metrics
from syncline.serve.operations import Operations
from syncline.serve.problems import Refused
from syncline.serve.rates import Rates
from syncline.serve.reading import Reads
from syncline.stores.roles import dialect_of

ANYONE = Caller("anyone", frozenset(ROLES))
"""Who asks where nobody has to say who they are: only this machine is answered then."""


class Serving:
    """One service over one App. `close` ends its threads; the App is not its own, and stays."""

    def __init__(self, app: App, config: HttpConfig, authenticate: Authenticate | None) -> None:
        """Raises InvalidDefinition for tokens that cannot be read."""
        self.app, self.config = app, config
        tokens = load_tokens(config.tokens)
        self._known = checking(tokens, time.time) if tokens else None
        self._authenticate = authenticate
        self._reads = {
            model.database: Reads(model.database, most_waiting=config.limits.waiting) for model in app.config.read_models
        }
        self._live = {model.database: Live(model.database) for model in app.config.read_models}
        self.metrics, self.rates = Metrics(app), Rates(config.limits.requests_per_s)
        self.observed, self.operations = Observed(app), Operations(app)
        self.is_closing = False
        self._asked: dict[str, tuple[ReadModelConfig, Asked]] = {}
        self._streams: Counter[str] = Counter()
        self._models: Mapping[str, ReadModelConfig] = {
            view.name: model for model in reversed(app.config.read_models) for view in model.views
        }

    def close(self) -> None:
        """Ends what the service started."""
        self.is_closing = True
        self.operations.close()
        self.observed.close()
        for live in self._live.values():
            live.close()
        for reads in self._reads.values():
            reads.close()

    @property
    def has_callers(self) -> bool:
        """Whether a caller has to say who it is."""
        return self._known is not None or self._authenticate is not None

    async def caller_of(self, token: str) -> Caller | None:
        """Who shows this token."""
        found = self._known(token) if self._known is not None else None
        if found is None and self._authenticate is not None:
            found = await run_in_threadpool(self._authenticate, token)
        return found

    def model_of(self, view: str) -> ReadModelConfig:
        """The read model that a view is of. Raises NotFound."""
        found = self._models.get(view)
        if found is None:
            near = suggestion(view, list(self._models))
            hint = f"did you mean '{near}'?" if near else f"there are: {', '.join(sorted(self._models)) or 'none'}"
            raise NotFound(f"there is no view '{view}'; {hint}")
        return found

    def asked(self, query: str) -> tuple[ReadModelConfig, Asked]:
        """A named query, of whose views a caller sees what the row filters leave. Raises NotFound."""
        found = self._asked.get(query)
        if found is None:
            found = self._asked[query] = self.app.asked(query, self.config.filters)
        return found

    def reads_of(self, model: ReadModelConfig) -> Reads:
        """Who reads a read model's store."""
        return self._reads[model.database]

    def live_of(self, model: ReadModelConfig) -> Live:
        """Who tells the changes of a read model's views."""
        return self._live[model.database]

    @cached_property
    def edges(self) -> list[dict[str, str | None]]:
        """What each view reads, by the text of its query: a `service`, or a view of the same read model as its `parent`."""
        config = self.app.config
        return [
            {"service": service, "parent": parent, "read_model": model.name, "view": view.name}
            for model in config.read_models
            for view in model.views
            for service, parent in (
                *((service, None) for service in services_mentioned([view], config.services)),
                *((None, parent) for parent in _parents(view, model)),
            )
        ]

    @property
    def open_streams(self) -> int:
        """How many event streams are open."""
        return self._streams.total()

    def enter_stream(self, caller: Caller) -> None:
        """Counts a stream of a caller. Raises Refused for one too many."""
        limits = self.config.limits
        of_caller = limits.streams_per_caller if self.has_callers else limits.streams
        if self._streams.total() >= limits.streams or self._streams[caller.name] >= of_caller:
            headers = {"Retry-After": "5"}
            raise Refused(429, "too-many", f"{caller.name} has too many streams open; close some", headers=headers)
        self._streams[caller.name] += 1

    def leave_stream(self, caller: Caller) -> None:
        """One stream less."""
        self._streams[caller.name] -= 1
        if not self._streams[caller.name]:
            del self._streams[caller.name]

    def filter_of(self, view: str, caller: Caller) -> list[tuple[str, object]]:
        """The columns of a view, with the value that each must have in a row that this caller may see."""
        return [(column, claim_of(caller, claim, view)) for column, claim in self.config.filters.get(view, {}).items()]


def _parents(view: View, model: ReadModelConfig) -> list[str]:
    """The views that a view reads."""
    read = names_read(view.sql, DIALECTS[dialect_of(model.database)])
    return [each.name for each in model.views if each.name in read and each.name != view.name]


def claim_of(caller: Caller, claim: str, what: str) -> object:
    """What is known of the caller. Raises Refused where it is not, or is no value: rows that have none are nobody's own."""
    value = caller.claims.get(claim)
    if value is None:
        raise Refused(403, "not-allowed", f"of '{what}' a caller sees the rows of its own '{claim}', and {caller.name} has none")
    if not _is_value(value):
        kind = type(value).__name__
        raise Refused(
            403, "not-allowed", f"of '{what}' a caller sees the rows of its own '{claim}', and no row has such a {kind}"
        )
    return value


def _is_value(claim: object) -> bool:
    if isinstance(claim, int):
        return LEAST_INTEGER <= claim <= GREATEST_INTEGER
    if isinstance(claim, str):
        return "\0" not in claim and claim.encode(errors="replace").decode() == claim
    return not isinstance(claim, Mapping | Set | list | tuple)
