"""The future of a receipt: a standard Future that is cheap to make, since tens of thousands are made a second.

A standard Future makes a lock, a condition and eight more objects that the garbage collector has to follow, whether anybody ever
waits or not; measured, that was a sixth of a command's cost. Here all futures share one lock, which is held only for the moment
of a look or a change, and a lock to wait for is made by who waits. If the standard class is ever built otherwise, it is used as
it is.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Literal

from syncline.messages import Receipt

_LOCK = threading.RLock()


class _Condition:
    """What of `threading.Condition` a Future uses, over the lock that all share."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[threading.Lock] | None = None

    acquire = staticmethod(_LOCK.acquire)
    release = staticmethod(_LOCK.release)

    def __enter__(self) -> None:
        _LOCK.acquire()

    def __exit__(self, *_: Any) -> Literal[False]:
        _LOCK.release()
        return False

    def wait(self, timeout: float | None = None) -> bool:
        """Lets go of the lock until `notify_all`, at most `timeout` seconds; says whether it came."""
        mine = threading.Lock()
        mine.acquire()
        self._waiting = [*(self._waiting or ()), mine]
        _LOCK.release()
        try:
            return mine.acquire(timeout=-1 if timeout is None else max(timeout, 0))
        finally:
            _LOCK.acquire()

    def notify_all(self) -> None:
        waiting, self._waiting = self._waiting, None
        for lock in waiting or ():
            lock.release()


class ReceiptFuture(Future[Receipt]):
    """A Future of a receipt. `wait`, `as_completed` and `asyncio.wrap_future` take it as any other."""

    def __init__(self) -> None:
        self._condition = _Condition()  # type: ignore[assignment]
        self._state = "PENDING"
        self._result = None
        self._exception = None
        self._waiters: list[Any] = []
        self._done_callbacks: list[Any] = []


_KNOWN = {name: type(value) for name, value in vars(ReceiptFuture()).items() if name != "_condition"}
_STANDARD = {name: type(value) for name, value in vars(Future()).items() if name != "_condition"}


receipt_future: Callable[[], "Future[Receipt]"] = ReceiptFuture if _KNOWN == _STANDARD else Future
"""A new future of a receipt."""
