"""The storefront: pages of the shop's own, with the query service mounted beside them, behind one door.

What a page reads and writes goes through the service: views, live changes, commands. `/demo/…` is for the demo alone: how things
are behind the shop, and what can be made to go wrong there.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from syncline import App, NotFound, View
from syncline.serve import Door, PageFiles, asgi

HERE = Path(__file__).resolve().parent
VIEWS = tuple(View.from_file(path) for path in sorted(HERE.glob("views/*.sql")))
"""What the pages show beside the shop's own views."""


class Behind(Protocol):
    """What goes on behind the shop. Every function may be called from any thread; ValueError says what is not possible."""

    app: App

    def state(self) -> dict[str, Any]: ...

    def start_relay(self) -> None: ...

    def stop_relay(self) -> None: ...

    def switch_processor(self, mode: str) -> None: ...

    def sell(self, rate: float) -> None: ...


def storefront(behind: Behind) -> ASGIApp:
    """The shop's pages, and what they ask."""
    service, files = asgi(behind.app), PageFiles(HERE / "page")

    async def page(request: Request) -> Response:
        try:
            return files.answer(request, request.path_params.get("name", "index.html"))
        except NotFound as error:
            raise HTTPException(404, str(error)) from error

    def state(_: Request) -> Response:
        return JSONResponse(behind.state())

    def done(act: Callable[[Request], None]) -> Callable[[Request], Response]:
        """Does what a button says, and answers how things are then."""

        def answer(request: Request) -> Response:
            try:
                act(request)
            except ValueError as error:
                raise HTTPException(400, str(error)) from error
            return state(request)

        return answer

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(service.state.serving.close)

    def button(path: str, act: Callable[[Request], None]) -> Route:
        return Route(path, done(act), methods=["POST"])

    routes = [
        Route("/", page),
        Route("/page/{name:path}", page),
        Route("/demo/state", state),
        button("/demo/relay/start", lambda _: behind.start_relay()),
        button("/demo/relay/stop", lambda _: behind.stop_relay()),
        button("/demo/processor/{mode}", lambda request: behind.switch_processor(request.path_params["mode"])),
        button("/demo/buyers/{rate}", lambda request: behind.sell(float(request.path_params["rate"]))),
        Mount("/syncline", service),
    ]
    return Door(Starlette(routes=routes, lifespan=lifespan, exception_handlers={HTTPException: _problem}))


def _problem(_: Request, error: Exception) -> Response:
    """An error as the service tells its own (RFC 9457)."""
    assert isinstance(error, HTTPException)
    body = {"title": "The shop cannot do that", "status": error.status_code, "detail": error.detail}
    return JSONResponse(body, error.status_code, headers=error.headers, media_type="application/problem+json")
