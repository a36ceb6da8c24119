"""The query service as an ASGI application: everything that it offers, behind one door."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

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
from syncline.serve.paths import Paths
from syncline.serve.problems import Problem, answer_problem, problem_of
from syncline.serve.serving import Serving

MODULES = (streams, stories, views, commands, queries, status, mending, sagas, openapi, metrics, health, static_files)
"""Everything that offers routes, in the order in which paths are matched."""

_SAFE_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_NO_STORE = (b"cache-control", b"no-store")
_POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


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
    application.add_middleware(Door, serving=serving, paths=paths)
    if serving.config.access_log:
        application.add_middleware(AccessLog)
    return application


class Door:
    """What every request passes first, and every answer last: for which host it is, from which site, and safe headers."""

    def __init__(self, app: ASGIApp, serving: Serving, paths: Paths) -> None:
        self._app, self._paths = app, paths
        config = serving.config
        self._hosts = {name.lower() for name in (*_LOCAL_NAMES, config.host, *config.hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        problem = self._refusal(scope)
        safe = _with_safe_headers(send)
        if problem is not None:
            await answer_problem(problem)(scope, receive, safe)
        else:
            await self._paths(scope, receive, safe)

    def _refusal(self, scope: Scope) -> Problem | None:
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        if _name_of(host) not in self._hosts:
            detail = f"this service does not answer for the host {_name_of(host)!r}; name it in `hosts` of [http] if it should"
            return Problem(421, "misdirected", detail)
        if scope["method"] in ("GET", "HEAD", "OPTIONS"):
            return None
        origin = headers.get(b"origin")
        is_elsewhere = origin is not None and urlsplit(origin.decode("latin-1")).netloc.lower() != host.lower()
        if is_elsewhere or headers.get(b"sec-fetch-site", b"none") in (b"cross-site", b"same-site"):
            return Problem(403, "cross-site", "a page of another site may not change anything here")
        return None


@lru_cache(maxsize=64)
def _name_of(host: str) -> str:
    """The host without its port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _with_safe_headers(send: Send) -> Send:
    async def safe(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = message["headers"]
            given = {name for name, _ in headers}
            headers.extend(_SAFE_HEADERS)
            headers.extend(header for header in (_NO_STORE, _POLICY) if header[0] not in given)
        await send(message)

    return safe


async def _unforeseen(_: Request, error: Exception) -> Response:
    return answer_problem(problem_of(error))
