"""Answers that go on: an event stream (HTML standard, §9.2) from parts that come, until the client leaves or is too slow."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing, suppress

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from syncline.serve.route import Asked

PING_S = 15.0
SEND_S = 30.0
"""A client that takes nothing for so long is cut off."""

PING = b": still here\n\n"
_HEADERS = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no")]


class EventSource(Response):
    """Sends `parts` as they come. The caller, who has entered a stream, has left it when this ends."""

    def __init__(self, asked: Asked, parts: AsyncGenerator[bytes, None]) -> None:
        super().__init__()
        self._asked, self._parts = asked, parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending = asyncio.ensure_future(self._send_all(send))
        leaving = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._asked.serving.leave_stream(self._asked.caller)
            for task in (sending, leaving):
                task.cancel()
                with suppress(asyncio.CancelledError, OSError, TimeoutError):
                    await task

    async def _send_all(self, send: Send) -> None:
        async with aclosing(self._parts) as parts:
            await send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
            async for part in parts:
                await _within(send({"type": "http.response.body", "body": part, "more_body": True}))
        await _within(send({"type": "http.response.body", "body": b"", "more_body": False}))


async def _within(sending: Awaitable[None]) -> None:
    async with asyncio.timeout(SEND_S):
        await sending


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
