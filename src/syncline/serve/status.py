"""How everything is, for operators: GET /status, as it changes, and as it was lately."""

import asyncio
import dataclasses
from collections.abc import AsyncGenerator

from starlette.responses import Response

from syncline.codec import to_json
from syncline.observed import Observed
from syncline.serve.answers import json_response
from syncline.serve.caller import OPERATE
from syncline.serve.event_stream import EventSource
from syncline.serve.problems import Refused
from syncline.serve.route import Asked, Route
from syncline.serve.serving import Serving
from syncline.stores.roles import dialect_of

STREAM_EVERY_S = 1.0
MOST_MINUTES = 1_440


async def _status(asked: Asked) -> Response:
    """Feeds, views, relays, and what leads where."""
    return json_response(await _now(asked.serving))


async def _stream(asked: Asked) -> Response:
    """The same, each time that it is looked at."""
    serving = asked.serving

    async def events() -> AsyncGenerator[bytes, None]:
        while not serving.is_closing:
            yield b"event: status\ndata: " + to_json(await _now(serving)) + b"\n\n"
            await asyncio.sleep(STREAM_EVERY_S)

    serving.enter_stream(asked.caller)
    return EventSource(asked, events())


async def _samples(asked: Asked) -> Response:
    """How it was in the last minutes."""
    text = asked.request.query_params.get("minutes", "15")
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= MOST_MINUTES:
        raise Refused(400, "bad-value", f"'minutes' is {text[:20]!r}, expected a number from 1 to {MOST_MINUTES}")
    observed = await _observed(asked.serving)
    return json_response(observed.samples(int(text)))


async def _now(serving: Serving) -> dict[str, object]:
    observed = await _observed(serving)
    look = observed.newest
    assert look is not None
    config = serving.app.config
    return {
        "at": look.at,
        "relay": look.status.relay,
        "feeds": [dataclasses.asdict(feed) for feed in look.status.feeds],
        "views": [dataclasses.asdict(view) for view in look.status.views],
        "writing": [dataclasses.asdict(each) for each in look.status.writing],
        "sagas": [dataclasses.asdict(each) for each in look.status.sagas],
        "services": [
            {
                "name": service.name,
                "capture": service.capture,
                "delivery": "pull",
                "database": dialect_of(service.database),
                "tables": list(service.tables),
                "sagas": list(serving.app.sagas.reading(service.name)),
            }
            for service in config.services
        ],
        "read_models": [{"name": model.name, "database": dialect_of(model.database)} for model in config.read_models],
        "edges": serving.edges,
    }


async def _observed(serving: Serving) -> Observed:
    await asyncio.to_thread(serving.observed.start)
    return serving.observed


ROUTES = (
    Route("GET", "/status", OPERATE, _status),
    Route("GET", "/status/stream", OPERATE, _stream),
    Route("GET", "/status/samples", OPERATE, _samples),
)
