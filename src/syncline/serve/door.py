"""The door before an application: for which host a request is, from which site it comes, and safe headers on every answer."""

from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from syncline.serve.problems import Problem, answer_problem

_SAFE_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
"""On every answer that does not say otherwise itself."""
_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


class Door:
    """Before an application, whose every request passes it first, and every answer last.

    A request for a host that is neither this machine nor one of `hosts` is refused (421), and so is what a page of another site
    would change (403). Answers get safe headers, where they do not bring their own. `inside` answers requests in place of `app`.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str] = (), inside: ASGIApp | None = None) -> None:
        self._app, self._inside = app, inside or app
        self._hosts = {name.lower() for name in (*_LOCAL_NAMES, *hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        problem = self._refusal(scope)
        safe = _with_safe_headers(send)
        if problem is not None:
            await answer_problem(problem)(scope, receive, safe)
        else:
            await self._inside(scope, receive, safe)

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
            headers.extend(header for header in _SAFE_HEADERS if header[0] not in given)
        await send(message)

    return safe
