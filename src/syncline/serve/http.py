"""The query service as an ASGI application: which paths there are, who may ask them, and what becomes of what they raise."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as StarletteRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from syncline.app import App
from syncline.http_config import HttpConfig
from syncline.serve import commands, health, mending, openapi, queries, status, stories, streams, views
from syncline.serve.caller import Authenticate, Caller
from syncline.serve.problems import Problem, Refused, answer_problem, problem_of
from syncline.serve.route import Asked, Route
from syncline.serve.serving import ANYONE, Serving

MODULES = (streams, stories, views, commands, queries, status, mending, openapi, health)
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

    routes = [_starlette_route(route, serving) for module in MODULES for route in module.ROUTES]
    application = Starlette(
        routes=routes, lifespan=lifespan, exception_handlers={HTTPException: _http_exception, Exception: _unforeseen}
    )
    application.state.serving = serving
    application.add_middleware(Door, serving=serving)
    return application


class Door:
    """What every request passes first, and every answer last: for which host it is, from which site, and safe headers."""

    def __init__(self, app: ASGIApp, serving: Serving) -> None:
        self._app = app
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
            await self._app(scope, receive, safe)

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


def _starlette_route(route: Route, serving: Serving) -> StarletteRoute:
    async def endpoint(request: Request) -> Response:
        try:
            caller = await _caller(request, route, serving)
            return await route.answer(Asked(request, caller, serving))
        except Exception as error:
            return answer_problem(problem_of(error))

    return StarletteRoute(route.path, endpoint, methods=[route.method])


async def _caller(request: Request, route: Route, serving: Serving) -> Caller:
    """Who asks. Raises Refused for one that is not known, or may not do this."""
    if route.role is None or not serving.has_callers:
        return ANYONE
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    caller = await serving.caller_of(token.strip()) if scheme.lower() == "bearer" and token else None
    if caller is None:
        found = "the token is not, or no longer, valid" if token else "no token was shown"
        headers = {"WWW-Authenticate": 'Bearer realm="syncline"'}
        raise Refused(401, "not-authenticated", f"{found}; send `Authorization: Bearer TOKEN`", headers=headers)
    if route.role and route.role not in caller.roles:
        has = ", ".join(sorted(caller.roles)) or "none"
        raise Refused(403, "not-allowed", f"this takes the role '{route.role}', and {caller.name} has: {has}")
    return caller


async def _http_exception(_: Request, error: Exception) -> Response:
    """What the router itself refuses."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 405:
        headers = getattr(error, "headers", None) or {}
        return answer_problem(Problem(405, "method-not-allowed", "this path is asked with another method", headers=headers))
    if status == 404:
        return answer_problem(Problem(404, "not-found", "there is nothing at this path; /openapi.json tells what there is"))
    return answer_problem(Problem(status, "bad-request", str(getattr(error, "detail", ""))))


async def _unforeseen(_: Request, error: Exception) -> Response:
    return answer_problem(problem_of(error))
