"""The least that the server can do, as its yardstick: `python hello.py PORT` answers every request with the same few bytes.

The server is the one that `syncline run` uses, with the same settings; no framework is between it and these bytes.
"""

import sys
import threading
from typing import Any

from syncline.serve.server import Server

BODY = b'{"hello":"world"}'
HEAD = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode())],
}


async def hello(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        for answer in ("lifespan.startup.complete", "lifespan.shutdown.complete"):
            await receive()
            await send({"type": answer})
        return
    await send({**HEAD, "headers": list(HEAD["headers"])})  # type: ignore[call-overload]
    await send({"type": "http.response.body", "body": BODY})


if __name__ == "__main__":
    with Server(hello, "127.0.0.1", int(sys.argv[1])):  # type: ignore[arg-type]
        print("ready", flush=True)
        threading.Event().wait()
