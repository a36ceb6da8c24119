"""Reads of one read store for many callers at once: what waits is answered together, from one snapshot.

**Theory of operation.** One thread owns a reading connection. It takes every read that waits, opens one snapshot, and answers
each from it; so the cost of a snapshot and of the vector is shared by all that came while the last group was answered, and a lone
read waits for nobody. A read that is to be as new as a token, or of an age, and cannot be answered yet stays with the thread,
which looks again when the relay has committed, until its time is up. What may take long (lists, named queries) goes to a bounded
number of other threads, each with a connection of its own. When the store fails, all that wait are refused, and the connection
is opened anew for the next.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeVar

from syncline.errors import StoreError, SynclineError, Unavailable
from syncline.read.reader import POLL_S, QueryAnswer, ReadResult, Snapshot, Wanted, WantedQuery, read_in, read_query, read_view
from syncline.serve.problems import Refused
from syncline.stores.protocols import Reader
from syncline.stores.roles import read_role

SLOW_THREADS = 4
MOST_IN_A_GROUP = 256

_Value = TypeVar("_Value")


@dataclass(slots=True)
class _Waiting:
    """A read, until when it may wait (by the monotonic clock), and who waits for it."""

    wanted: Wanted
    until: float
    future: "asyncio.Future[ReadResult]"
    late: Exception | None = None


_Answers = list[tuple["asyncio.Future[ReadResult]", ReadResult | Exception]]


class Reads:
    """All reads of one read store that are served. Its threads start with the first read, and end with `close`."""

    def __init__(self, database: str, *, most_waiting: int) -> None:
        self._database, self._most_waiting = database, most_waiting
        self._role = read_role(database)
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._count = 0
        self._thread: threading.Thread | None = None
        self._slow = ThreadPoolExecutor(SLOW_THREADS, thread_name_prefix="slow-reads")
        self._readers: queue.SimpleQueue[Reader] = queue.SimpleQueue()
        self._lock = threading.Lock()

    async def read(self, wanted: Wanted) -> ReadResult:
        """Rows of a view, as `read_view` gives them, without keeping the loop or other reads waiting."""
        if self._count >= self._most_waiting:
            raise Refused(503, "unavailable", "too many reads are waiting; ask again later", headers={"Retry-After": "1"})
        loop = asyncio.get_running_loop()
        future: asyncio.Future[ReadResult] = loop.create_future()
        self._start()
        self._count += 1
        try:
            self._queue.put(_Waiting(wanted, time.monotonic() + wanted.timeout_s, future))
            return await future
        finally:
            self._count -= 1

    async def read_slowly(self, wanted: Wanted, limit_s: float) -> ReadResult:
        """As `read`, of what may take long: in a thread of its own kind, and ended after `limit_s`, waiting aside."""
        if wanted.is_waiting:
            await self._wait_for(wanted.view, wanted)
            wanted = replace(wanted, timeout_s=0.0)

        def ask(reader: Reader) -> ReadResult:
            with reader.limited(limit_s):
                return read_view(reader, wanted, is_followed=self._is_followed)

        return await self.run(ask)

    async def ask_slowly(self, wanted: WantedQuery) -> QueryAnswer:
        """What a named query gives, in the same manner."""
        if wanted.at_least is not None or wanted.max_staleness_s is not None:
            for view in wanted.asked.reads:
                await self._wait_for(view, wanted)
            wanted = replace(wanted, timeout_s=0.0)
        return await self.run(lambda reader: read_query(reader, wanted, is_followed=self._is_followed))

    async def _wait_for(self, view: str, wanted: Wanted | WantedQuery) -> None:
        """With the others that wait, so that no thread is kept by it."""
        await self.read(Wanted(view, None, (), wanted.at_least, wanted.timeout_s, wanted.max_staleness_s, limit=0))

    async def run(self, ask: Callable[[Reader], _Value]) -> _Value:
        """What `ask` finds with a reader of its own, in one of the threads for what may take long."""
        return await asyncio.get_running_loop().run_in_executor(self._slow, self._ask, ask)

    def close(self) -> None:
        """Ends the threads; reads that still wait are refused."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(None)
            thread.join()
        self._slow.shutdown(wait=True)
        with suppress(queue.Empty):
            while True:
                self._readers.get_nowait().close()

    # -- what may take long ----------------------------------------------------------------------------------------------

    def _ask(self, ask: Callable[[Reader], _Value]) -> _Value:
        try:
            reader = self._readers.get_nowait()
        except queue.Empty:
            reader = self._role.open_reader(self._database)
        try:
            found = ask(reader)
        except StoreError:
            reader.close()
            raise
        except BaseException:
            self._readers.put(reader)
            raise
        self._readers.put(reader)
        return found

    # -- the group ---------------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._answer_all, name="group-reads", daemon=True)
                    self._thread.start()

    def _answer_all(self) -> None:
        reader: Reader | None = None
        late: list[_Waiting] = []
        version = -1
        while True:
            new, is_closing = self._take(POLL_S if late else None)
            if is_closing:
                stopped = Unavailable("the service is stopping; ask again later")
                _tell_all([(each.future, stopped) for each in [*late, *new]])
                break
            try:
                reader = reader or self._role.open_reader(self._database)
                if late and (found := reader.data_version()) != version:
                    version, new, late = found, [*late, *new], []
                if new:
                    late = [*late, *self._answer(reader, new)]
            except Exception as error:
                _tell_all([(each.future, error) for each in [*late, *new]])
                late = []
                if reader is not None:
                    with suppress(Exception):
                        reader.close()
                reader = None
            late = _without_overdue(late)
        if reader is not None:
            reader.close()

    def _take(self, timeout_s: float | None) -> tuple[list[_Waiting], bool]:
        """The reads that came, when the first has come or the time is up; and whether this is the end."""
        found: list[_Waiting] = []
        with suppress(queue.Empty):
            each = self._queue.get(timeout=timeout_s)
            while each is not None and len(found) < MOST_IN_A_GROUP:
                found.append(each)
                each = self._queue.get_nowait()
            if each is None:
                return found, True
            found.append(each)
        return found, False

    def _answer(self, reader: Reader, group: list[_Waiting]) -> list[_Waiting]:
        """Answers what can be answered from one snapshot; gives back what is to wait."""
        answers: _Answers = []
        late: list[_Waiting] = []
        with reader.snapshot():
            snapshot = Snapshot(reader)
            for each in group:
                answer: ReadResult | Exception
                try:
                    answer = read_in(snapshot, each.wanted, self._is_followed)
                except SynclineError as error:
                    if isinstance(error, StoreError):
                        raise
                    answer = error
                if isinstance(answer, ReadResult) or not each.wanted.is_waiting or time.monotonic() >= each.until:
                    answers.append((each.future, answer))
                else:
                    late.append(_Waiting(each.wanted, each.until, each.future, answer))
        _tell_all(answers)
        return late

    def _is_followed(self) -> bool:
        return self._role.is_leased(self._database)


def _without_overdue(late: list[_Waiting]) -> list[_Waiting]:
    """Refuses those whose time is up, and gives back the others."""
    now = time.monotonic()
    overdue = [each for each in late if now >= each.until]
    _tell_all([(each.future, each.late or Unavailable("it was not answered in time; ask again")) for each in overdue])
    return [each for each in late if now < each.until] if overdue else late


def _tell_all(answers: _Answers) -> None:
    """Wakes each loop once for all that is waited for there."""
    by_loop: dict[asyncio.AbstractEventLoop, _Answers] = {}
    for future, answer in answers:
        by_loop.setdefault(future.get_loop(), []).append((future, answer))
    for loop, told in by_loop.items():
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_tell, told)


def _tell(answers: _Answers) -> None:
    """In the loop's thread. A caller that left meanwhile is told nothing."""
    for future, answer in answers:
        if future.done():
            continue
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)
