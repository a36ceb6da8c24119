"""Who asked for what: one JSON object a line for each answer, on request. No header, no body and no query string is among it.

It goes to the logger `syncline.access`; `syncline run` prints that on stderr.
"""

import json
import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

CALLER = "syncline.caller"
"""Where in a request's scope the name of the caller stands, once it is known."""
MOST_PATH_LENGTH = 500

log = logging.getLogger("syncline.access")


class AccessLog:
    """Passes each request on, and writes its line when the answer has ended; of a stream, when that has."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), None

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            entry = {
                "time": round(time.time(), 3),
                "method": scope["method"],
                "path": scope["path"][:MOST_PATH_LENGTH],
                "status": status,
                "ms": round(1000 * (time.perf_counter() - began), 2),
                "caller": scope.get(CALLER),
            }
            log.info(json.dumps(entry))
