"""The least that the server can do, as its yardstick: `python hello.py server|framework PORT` answers with the same few bytes.

The server is the one that `syncline run` uses, with the same settings: alone, or with Starlette's router and response between.
"""

import sys
import threading
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from syncline.serve.server import Server

BODY = b'{"hello":"world"}'
HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode())]


async def alone(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        for answer in ("lifespan.startup.complete", "lifespan.shutdown.complete"):
            await receive()
            await send({"type": answer})
        return
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})


async def hello(_: Request) -> Response:
    return Response(BODY, media_type="application/json")


if __name__ == "__main__":
    application = alone if sys.argv[1] == "server" else Starlette(routes=[Route("/", hello)])
    with Server(application, "127.0.0.1", int(sys.argv[2])):  # type: ignore[arg-type]
        print("ready", flush=True)
        threading.Event().wait()
