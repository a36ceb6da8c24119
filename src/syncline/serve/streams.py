"""Changes of a view as they happen: GET /views/{view}/changes, an event stream (HTML standard, §9.2 server-sent events)."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from syncline.serve.answers import exact_conditions
from syncline.serve.caller import READ
from syncline.serve.live import Followed, Live, Stream
from syncline.serve.problems import Refused
from syncline.serve.route import Asked, Route

PING_S = 15.0
SEND_S = 30.0
"""A client that takes nothing for so long is cut off."""

_HEADERS = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no")]


async def _changes(asked: Asked) -> Response:
    """The changes of a view, of the rows that the query string and the caller's row filter leave."""
    request, serving = asked.request, asked.serving
    name = request.path_params["view"]
    model = serving.model_of(name)
    conditions, options = exact_conditions(request, ("snapshot",))
    mine = serving.filter_of(name, asked.caller)
    serving.enter_stream(asked.caller)
    try:
        live = serving.live_of(model)
        followed = Followed(name, (*mine, *conditions), _place(asked), options.get("snapshot") == "true")
        stream = live.follow(followed)
        try:
            await stream.news.wait()
            if stream.failure is not None and not stream.pending:
                raise stream.failure
        except BaseException:
            live.leave(stream)
            raise
    except BaseException:
        serving.leave_stream(asked.caller)
        raise
    return _EventStream(asked, live, stream)


def _place(asked: Asked) -> tuple[str, int] | None:
    """Where the stream was before, as its last event said."""
    text = asked.request.headers.get("last-event-id")
    if not text:
        return None
    consumer, _, number = text.partition(".")
    if not consumer or not number.isascii() or not number.isdigit() or len(number) > 18:
        raise Refused(400, "bad-value", f"the header Last-Event-ID is {text[:60]!r}, which no event of this service had")
    return consumer, int(number)


class _EventStream(Response):
    """Sends what a stream is told, until the client leaves, is too slow, or the service stops."""

    def __init__(self, asked: Asked, live: Live, stream: Stream) -> None:
        super().__init__()
        self._asked, self._live, self._stream = asked, live, stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending = asyncio.ensure_future(self._send_all(send))
        leaving = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._live.leave(self._stream)
            self._asked.serving.leave_stream(self._asked.caller)
            for task in (sending, leaving):
                task.cancel()
                with suppress(asyncio.CancelledError, OSError, TimeoutError):
                    await task

    async def _send_all(self, send: Send) -> None:
        stream = self._stream
        await send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
        while True:
            stream.news.clear()
            is_over = stream.is_over
            if stream.pending:
                await _within(send({"type": "http.response.body", "body": _taken(stream), "more_body": True}))
            elif is_over:
                break
            else:
                try:
                    await asyncio.wait_for(stream.news.wait(), PING_S)
                except TimeoutError:
                    await _within(send({"type": "http.response.body", "body": b": still here\n\n", "more_body": True}))
        await _within(
            send({"type": "http.response.body", "body": b": the end; go on with Last-Event-ID\n\n", "more_body": False})
        )


def _taken(stream: Stream) -> bytes:
    parts: list[bytes] = []
    with suppress(IndexError):
        while True:
            parts.append(stream.pending.popleft())
    return b"".join(parts)


async def _within(sending: Awaitable[None]) -> None:
    async with asyncio.timeout(SEND_S):
        await sending


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


ROUTES = (Route("GET", "/views/{view}/changes", READ, _changes),)
