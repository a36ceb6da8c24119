"""The service on a port: uvicorn in a thread of its own, with its own loop, ended cleanly.

Listens before it says so: a port that is taken is an error at once, not a line in a log.
"""

import errno
import socket
import threading
from types import TracebackType

import uvicorn
from starlette.types import ASGIApp

from syncline.errors import Unavailable

STOP_S = 3
"""How long answers under way may take when the service is stopped; streams are ended at once."""
KEEP_ALIVE_S = 30
BACKLOG = 2_048
MOST_HEADER_BYTES = 32_768


class Server:
    """An application that is answered for at an address until the block ends."""

    def __init__(self, application: ASGIApp, host: str, port: int) -> None:
        """Raises Unavailable where it cannot be listened on."""
        self._socket = _listening(host, port)
        self.host, self.port = host, int(self._socket.getsockname()[1])
        config = uvicorn.Config(
            application,
            http="httptools",
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=True,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=STOP_S,
            h11_max_incomplete_event_size=MOST_HEADER_BYTES,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), name="http")

    @property
    def url(self) -> str:
        """Where it answers."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def __enter__(self) -> "Server":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()


def _listening(host: str, port: int) -> socket.socket:
    where = f"{host}:{port}"
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except OSError as error:
        raise Unavailable(f"'{host}' is no host of this machine to listen on: {error}; correct `listen`") from error
    # By its protocol asyncio knows that it is TCP, and sends small answers at once: else each waits 40 ms for the last's receipt.
    found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen(BACKLOG)
    except OSError as error:
        found.close()
        if error.errno == errno.EADDRINUSE:
            raise Unavailable(
                f"{where} is taken by another program, perhaps another `syncline run`; stop that, or listen elsewhere: "
                "`run --listen HOST:PORT`, `demo --port PORT`"
            ) from error
        raise Unavailable(f"{where} cannot be listened on: {error.strerror}; correct `listen`") from error
    return found
