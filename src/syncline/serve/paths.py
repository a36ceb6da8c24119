"""From a request to the endpoint that answers it: by path and method, for callers who may ask. What it raises becomes a problem.

In place of a framework's router, which looks at every route for every request.
"""

import time
from collections.abc import Iterable, Mapping
from re import Pattern

from starlette.requests import Request
from starlette.routing import compile_path
from starlette.types import Receive, Scope, Send

from syncline.serve.access_log import CALLER
from syncline.serve.caller import Caller
from syncline.serve.metrics import NOWHERE
from syncline.serve.problems import Refused, answer_problem, problem_of
from syncline.serve.route import Asked, Route
from syncline.serve.serving import ANYONE, Serving


class Paths:
    """All that can be asked. Of routes that match a path, the first that offers the method answers."""

    def __init__(self, serving: Serving, routes: Iterable[Route]) -> None:
        self._serving = serving
        self._by_first: dict[str, list[tuple[Pattern[str], Route]]] = {}
        for route in routes:
            first = _first(route.path)
            assert "{" not in first, f"{route.path}: its first part must be the same for every request"
            self._by_first.setdefault(first, []).append((compile_path(route.path)[0], route))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request, serving = Request(scope, receive), self._serving
        path, began = NOWHERE, time.perf_counter()
        try:
            route, scope["path_params"] = self._route(scope)
            path = route.path
            caller = await _caller(request, route, serving) if serving.has_callers else ANYONE
            serving.rates.take(caller.name if caller is not ANYONE else _address(scope))
            response = await route.answer(Asked(request, caller, serving))
        except Exception as error:
            response = answer_problem(problem_of(error))
        serving.metrics.answered(path, response.status_code, time.perf_counter() - began)
        await response(scope, receive, send)

    def _route(self, scope: Scope) -> tuple[Route, Mapping[str, str]]:
        """Raises Refused where nothing is offered."""
        path, method = scope["path"].removeprefix(scope.get("root_path", "")), scope["method"]
        offered: list[str] = []
        for pattern, route in self._by_first.get(_first(path), ()):
            if (found := pattern.match(path)) is not None:
                if route.method == method or (route.method == "GET" and method == "HEAD"):
                    return route, found.groupdict()
                offered.append(route.method)
        if offered:
            headers = {"Allow": ", ".join(sorted({*offered, *(["HEAD"] if "GET" in offered else [])}))}
            raise Refused(405, "method-not-allowed", "this path is asked with another method", headers=headers)
        raise Refused(404, "not-found", "there is nothing at this path; /openapi.json tells what there is")


def _address(scope: Scope) -> str:
    """Where a request comes from whose caller need not say who it is."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def _first(path: str) -> str:
    """A path up to its second slash."""
    end = path.find("/", 1)
    return path if end < 0 else path[:end]


async def _caller(request: Request, route: Route, serving: Serving) -> Caller:
    """Who asks. Raises Refused for one that is not known, or may not do this."""
    if route.role is None:
        return ANYONE
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    caller = await serving.caller_of(token.strip()) if scheme.lower() == "bearer" and token else None
    if caller is None:
        found = "the token is not, or no longer, valid" if token else "no token was shown"
        headers = {"WWW-Authenticate": 'Bearer realm="syncline"'}
        raise Refused(401, "not-authenticated", f"{found}; send `Authorization: Bearer TOKEN`", headers=headers)
    request.scope[CALLER] = caller.name
    if route.role and route.role not in caller.roles:
        has = ", ".join(sorted(caller.roles)) or "none"
        raise Refused(403, "not-allowed", f"this takes the role '{route.role}', and {caller.name} has: {has}")
    return caller
