"""Changes of a view as they happen: GET /views/{view}/changes; and which of them concerned one row."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress

from starlette.responses import Response

from syncline.serve.answers import exact_conditions
from syncline.serve.caller import READ
from syncline.serve.event_stream import PING, PING_S, EventSource
from syncline.serve.live import Followed, Live, Stream
from syncline.serve.problems import Refused
from syncline.serve.route import Asked, Route

END = b": the end; go on with Last-Event-ID\n\n"


async def _changes(asked: Asked) -> Response:
    """The changes of a view, of the rows that the query string and the caller's row filter leave."""
    request, serving = asked.request, asked.serving
    name = request.path_params["view"]
    model = serving.model_of(name)
    conditions, options = exact_conditions(request, ("snapshot",))
    mine = serving.filter_of(name, asked.caller)
    followed = Followed(name, (*mine, *conditions), _place(asked), options.get("snapshot") == "true")
    live = serving.live_of(model)
    serving.enter_stream(asked.caller)
    try:
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
    return EventSource(asked, _told(live, stream))


async def _told(live: Live, stream: Stream) -> AsyncGenerator[bytes, None]:
    """What the stream is told, and a ping where it is told nothing for long, to its end."""
    try:
        while True:
            stream.news.clear()
            is_over = stream.is_over
            if stream.pending:
                yield _taken(stream)
            elif is_over:
                yield END
                return
            else:
                try:
                    await asyncio.wait_for(stream.news.wait(), PING_S)
                except TimeoutError:
                    yield PING
    finally:
        live.leave(stream)


def _taken(stream: Stream) -> bytes:
    parts: list[bytes] = []
    with suppress(IndexError):
        while True:
            parts.append(stream.pending.popleft())
    return b"".join(parts)


def _place(asked: Asked) -> tuple[str, int] | None:
    """Where the stream was before, as its last event said."""
    text = asked.request.headers.get("last-event-id")
    if not text:
        return None
    consumer, _, number = text.partition(".")
    if not consumer or not number.isascii() or not number.isdigit() or len(number) > 18:
        raise Refused(400, "bad-value", f"the header Last-Event-ID is {text[:60]!r}, which no event of this service had")
    return consumer, int(number)


ROUTES = (Route("GET", "/views/{view}/changes", READ, _changes),)
