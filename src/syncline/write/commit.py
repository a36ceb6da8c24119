"""Group commit: one thread for each database hands all commands that wait over to be stored in one transaction.

A lone command is handed over at once: nothing waits for company. While one transaction is being written to the disk the next
group gathers, which is what makes many clients fast. Knows neither events nor tables.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, Final, Protocol, TypeAlias

from syncline.errors import StoreError, Unavailable
from syncline.events import Query
from syncline.messages import Receipt
from syncline.write.future import receipt_future

GROUP_MAX: Final = 512
"""How many commands are handed over at once, at most."""


@dataclass(slots=True)
class Request:
    """One command on its way, and the future of its receipt. `answer` is what became of it, once its handler knows.

    `is_fresh`: the id was made for it, so that it was never used. `metadata` is JSON, beyond the ids. `stream` is where its
    events go and `query` what it is decided upon, once its handler knows.
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
    query: Query | None = None


Answer: TypeAlias = Receipt | BaseException


class Handler(Protocol):
    """Handles commands of one service. One thread owns it."""

    def handle(self, requests: Sequence[Request]) -> list[Answer]:
        """What became of each command, in order; what is accepted is on disk.

        Raises StoreError when the database failed: then nothing was stored of the commands that have no `answer` yet.
        """
        ...

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

    @property
    def is_current_thread(self) -> bool:
        """Whether the caller is in the thread that handles commands, so that it must not wait for one."""
        return threading.current_thread() is self._thread

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
        self._handle(group)
        try:
            self._on_commit()
        finally:
            for request in group:
                _resolve(request)

    def _handle(self, group: Sequence[Request]) -> None:
        """Answers each command. What was answered before something failed is true, and stays.

        A fault that is of one command's data must not be that of its neighbours: then each is handled by itself. After a failure
        the handler is opened anew: what it holds in memory may be wrong, its database another.
        """
        try:
            if self._handler is None:
                self._handler = self._open_handler()
            for request, answer in zip(group, self._handler.handle(group), strict=True):
                request.answer = answer
        except BaseException as error:  # whatever a user's function raises: the thread must go on for everyone else
            self._drop_handler()
            rest = [request for request in group if request.answer is None]
            is_of_the_data = isinstance(error, StoreError) and not isinstance(error, Unavailable)
            if is_of_the_data and len(rest) > 1:
                for request in rest:
                    self._handle([request])
                return
            for request in rest:
                request.answer = error
            if not rest:
                _tell(error)

    def _drop_handler(self) -> None:
        if self._handler is not None:
            self._handler.close()
            self._handler = None


def _resolve(request: Request) -> None:
    """Gives a future its result. What one of its callbacks raises ends nothing."""
    answer = request.answer
    assert answer is not None, f"{request.command_id} was not handled"
    try:
        if isinstance(answer, Receipt):
            request.future.set_result(answer)
        else:
            request.future.set_exception(answer)
    except BaseException as error:
        _tell(error)


def _tell(error: BaseException) -> None:
    """An exception that is nobody's answer is told as any thread's is."""
    threading.excepthook(threading.ExceptHookArgs((type(error), error, error.__traceback__, threading.current_thread())))
