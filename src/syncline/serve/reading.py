"""Reads of one read store for many callers at once: what waits is answered together, from one snapshot.

**Theory of operation.** Where a row is found in microseconds it is read in the loop itself (at_once.py). What is left goes to one
thread, which owns a reading connection. It takes every read that waits, opens one snapshot, and answers each from it; so the cost
of a snapshot and of the vector is shared by all that came while the last group was answered, and a lone read waits for nobody. A
read that is to be as new as a token, or of an age, and cannot be answered yet stays with the thread, which looks again when the
relay has committed, until its time is up. What may take long (lists, named queries) goes to a bounded number of other threads,
each with a connection of its own. A connection that was cut, or is to a store that was put away, is opened anew and asked again,
once; when that fails too, all that wait are refused.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

from syncline.errors import StoreError, Unavailable
from syncline.read.reader import POLL_S, QueryAnswer, ReadResult, Wanted, WantedQuery, read_query, read_view
from syncline.serve.at_once import AtOnce
from syncline.serve.group import Group, Waiting, tell_all, without_overdue
from syncline.serve.problems import Refused
from syncline.stores.protocols import Reader
from syncline.stores.roles import read_role

SLOW_THREADS = 4
MOST_IN_A_GROUP = 256
STOPPING = "the service is stopping; ask again later"

_Value = TypeVar("_Value")


class Reads:
    """All reads of one read store that are served. Its threads start with the first read, and end with `close`."""

    def __init__(self, database: str, *, most_waiting: int) -> None:
        self._database, self._most_waiting = database, most_waiting
        self._role = read_role(database)
        self._queue: queue.SimpleQueue[Waiting | None] = queue.SimpleQueue()
        self._count = 0
        self._thread: threading.Thread | None = None
        self._slow = ThreadPoolExecutor(SLOW_THREADS, thread_name_prefix="slow-reads")
        self._readers: queue.SimpleQueue[Reader] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._is_closed = False
        self._group = Group(self._open, self._is_followed)
        self._at_once = AtOnce(self._open)

    async def read(self, wanted: Wanted) -> ReadResult:
        """Rows of a view, as `read_view` gives them, without keeping the loop or other reads waiting."""
        if self._is_closed:
            raise Unavailable(STOPPING)
        found = self._at_once.read(wanted)
        if found is not None:
            return found
        if self._at_once.is_to_be_opened():
            asyncio.get_running_loop().run_in_executor(self._slow, self._at_once.open)
        if self._count >= self._most_waiting:
            raise Refused(503, "unavailable", "too many reads are waiting; ask again later", headers={"Retry-After": "1"})
        loop = asyncio.get_running_loop()
        future: asyncio.Future[ReadResult] = loop.create_future()
        self._start()
        self._count += 1
        try:
            self._queue.put(Waiting(wanted, time.monotonic() + wanted.timeout_s, future))
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
        asked = Wanted(view, None, (), wanted.at_least, wanted.timeout_s, wanted.max_staleness_s, limit=0)
        await self.read(replace(asked, is_discreet=wanted.is_discreet))

    async def run(self, ask: Callable[[Reader], _Value]) -> _Value:
        """What `ask` finds with a reader of its own, in one of the threads for what may take long."""
        return await asyncio.get_running_loop().run_in_executor(self._slow, self._ask, ask)

    def close(self) -> None:
        """Ends the threads; reads that still wait are refused."""
        with self._lock:
            self._is_closed = True
            thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(None)
            thread.join()
        self._slow.shutdown(wait=True)
        self._at_once.close()
        with suppress(queue.Empty):
            while True:
                self._readers.get_nowait().close()

    def _open(self) -> Reader:
        return self._role.open_reader(self._database)

    # -- what may take long ----------------------------------------------------------------------------------------------

    def _ask(self, ask: Callable[[Reader], _Value]) -> _Value:
        try:
            reader = self._readers.get_nowait()
        except queue.Empty:
            return self._ask_of(self._open(), ask)
        if reader.is_there():
            try:
                return self._ask_of(reader, ask)
            except Unavailable:
                return self._ask_of(self._open(), ask)
        reader.close()
        return self._ask_of(self._open(), ask)

    def _ask_of(self, reader: Reader, ask: Callable[[Reader], _Value]) -> _Value:
        """Asks, and keeps the reader for another unless it failed."""
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
                if self._thread is None and not self._is_closed:
                    self._thread = threading.Thread(target=self._answer_all, name="group-reads", daemon=True)
                    self._thread.start()

    def _answer_all(self) -> None:
        late: list[Waiting] = []
        while True:
            new, is_closing = self._take(POLL_S if late else None)
            if is_closing:
                tell_all([(each.future, Unavailable(STOPPING)) for each in [*late, *new]])
                break
            try:
                late = self._group.answer(new, late)
            except Exception as error:
                self._group.close()
                tell_all([(each.future, error) for each in [*late, *new]])
                late = []
            late = without_overdue(late)
        self._group.close()

    def _take(self, timeout_s: float | None) -> tuple[list[Waiting], bool]:
        """The reads that came, when the first has come or the time is up; and whether this is the end."""
        found: list[Waiting] = []
        with suppress(queue.Empty):
            each = self._queue.get(timeout=timeout_s)
            while each is not None and len(found) < MOST_IN_A_GROUP:
                found.append(each)
                each = self._queue.get_nowait()
            if each is None:
                return found, True
            found.append(each)
        return found, False

    def _is_followed(self) -> bool:
        return self._role.is_leased(self._database)
