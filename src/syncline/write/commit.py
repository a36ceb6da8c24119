"""Group commit: one thread for each database hands all commands that wait over to be stored in one transaction.

A lone command is handed over at once: nothing waits for company. While one transaction is being written to the disk the next
group gathers, which is what makes many clients fast. Knows neither events nor tables.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, Final, Protocol, TypeAlias

from syncline.errors import StoreError, Unavailable
from syncline.messages import Receipt
from syncline.write.future import receipt_future

GROUP_MAX: Final = 512
"""How many commands are handed over at once, at most."""


@dataclass(slots=True)
class Request:
    """One command on its way, and the future of its receipt. `answer` is what became of it, once its handler knows.

    `is_fresh`: the id was made for it, so that it was never used. `metadata` is JSON, beyond the ids. `stream` is where its
    events go, once its handler knows.
    """

    command: Any
    command_id: str
    is_fresh: bool = False
    digest: int = 0
    metadata: str | None = None
    expected_version: int | None = None
    future: "Future[Receipt]" = field(default_factory=receipt_future)
    answer: "Answer | None" = None
    stream: str = ""


Answer: TypeAlias = Receipt | Exception


def answered(request: Request) -> Answer:
    """What became of a command that was handled."""
    assert request.answer is not None, f"{request.command_id} was not handled"
    return request.answer


class Handler(Protocol):
    """Handles commands of one service. One thread owns it."""

    def handle(self, requests: Sequence[Request]) -> list[Answer]:
        """What became of each command, in order; what is accepted is on disk. Raises StoreError when nothing was stored."""
        ...

    def statistics(self) -> Mapping[str, Any]: ...

    def close(self) -> None: ...


class GroupCommit:
    """The queue and the thread in front of one handler. Any thread may `submit`."""

    def __init__(self, name: str, open_handler: Callable[[], Handler], on_commit: Callable[[], None]) -> None:
        """`open_handler` is called now, so that what is wrong with the database is told here; `on_commit` after each group."""
        self._open_handler, self._on_commit = open_handler, on_commit
        self._handler: Handler | None = open_handler()
        self._queue: SimpleQueue[Request | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name=f"commit-{name}", daemon=True)
        self._thread.start()

    def submit(self, request: Request) -> "Future[Receipt]":
        """Gives the command to the thread; its future holds the receipt once that is on disk, or the exception that says why."""
        with self._lock:
            if self._is_closed:
                raise Unavailable("the App was closed; open it again to send commands")
            self._queue.put(request)
        return request.future

    def close(self) -> None:
        """Returns when everything submitted before is answered."""
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        queue, is_open = self._queue, True
        while is_open:
            taken = [queue.get()]
            taken += [queue.get() for _ in range(min(queue.qsize(), GROUP_MAX - 1))]
            group = [request for request in taken if request is not None and request.future.set_running_or_notify_cancel()]
            is_open = None not in taken
            if group:
                self._answer(group)
        self._drop_handler()

    def _answer(self, group: Sequence[Request]) -> None:
        answers = self._handled(group)
        self._on_commit()
        for request, answer in zip(group, answers, strict=True):
            if isinstance(answer, Receipt):
                request.future.set_result(answer)
            else:
                request.future.set_exception(answer)

    def _handled(self, group: Sequence[Request]) -> Sequence[Answer]:
        """A fault that is of one command's data must not be that of its neighbours: then each is handled by itself.

        After a failure the handler is opened anew: what it holds in memory may be wrong, its database another.
        """
        try:
            if self._handler is None:
                self._handler = self._open_handler()
            return self._handler.handle(group)
        except Exception as error:
            self._drop_handler()
            is_of_the_data = isinstance(error, StoreError) and not isinstance(error, Unavailable)
            if is_of_the_data and len(group) > 1:
                return [answer for request in group for answer in self._handled([request])]
            return [error] * len(group)

    def _drop_handler(self) -> None:
        if self._handler is not None:
            self._handler.close()
            self._handler = None
