"""The query service as an ASGI application: everything that it offers, behind one door."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from syncline.app import App
from syncline.http_config import HttpConfig
from syncline.serve import (
    commands,
    health,
    mending,
    metrics,
    openapi,
    queries,
    sagas,
    static_files,
    status,
    stories,
    streams,
    views,
)
from syncline.serve.access_log import AccessLog
from syncline.serve.caller import Authenticate
from syncline.serve.door import Door
from syncline.serve.paths import Paths
from syncline.serve.problems import answer_problem, problem_of
from syncline.serve.serving import Serving

MODULES = (streams, stories, views, commands, queries, status, mending, sagas, openapi, metrics, health, static_files)
"""Everything that offers routes, in the order in which paths are matched."""


def asgi(app: App, config: HttpConfig | None = None, *, authenticate: Authenticate | None = None) -> Starlette:
    """The query service over `app`, to be served by any ASGI server, or mounted into another ASGI application.

    `authenticate` tells from a bearer token who shows it; without it, and without tokens in `config`, everyone who can reach the
    service may do everything: then let no other machine reach it. Raises InvalidDefinition for tokens that cannot be read.
    The threads that read start with the first request and end with `application.state.serving.close()`, which the server calls
    at its end unless the application is mounted into another.
    """
    serving = Serving(app, config or HttpConfig(), authenticate)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(serving.close)

    application = Starlette(lifespan=lifespan, exception_handlers={Exception: _unforeseen})
    application.state.serving = serving
    paths = Paths(serving, [route for module in MODULES for route in module.ROUTES])
    application.add_middleware(Door, hosts=(serving.config.host, *serving.config.hosts), inside=paths)
    if serving.config.access_log:
        application.add_middleware(AccessLog)
    return application


async def _unforeseen(_: Request, error: Exception) -> Response:
    return answer_problem(problem_of(error))
