"""An App that follows in a thread of its own, for as long as a test reads."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from syncline.app import App


@contextmanager
def followed(app: App) -> Iterator[list[str]]:
    """The lines that it tells, as they come. What the relay raises is raised in the end."""
    stop, lines, raised = threading.Event(), list[str](), list[BaseException]()

    def follow() -> None:
        try:
            app.run(stop, on_event=lines.append)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield lines
    finally:
        stop.set()
        thread.join()
    if raised:
        raise raised[0]
