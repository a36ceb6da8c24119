"""Reads of one store that wait for its one thread, answered together from one snapshot, and told to whoever waits for them."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from syncline.errors import StoreError, Unavailable
from syncline.read.reader import ReadResult, Wanted, read_in
from syncline.read.snapshot import Snapshots
from syncline.stores.protocols import Reader

Future = asyncio.Future[ReadResult]
Answers = list[tuple[Future, ReadResult | Exception]]


@dataclass(frozen=True, slots=True)
class Waiting:
    """A read, until when it may wait (by the monotonic clock), who waits for it, and why it was not answered yet."""

    wanted: Wanted
    until: float
    future: Future
    late: Exception | None = None


class Group:
    """Answers reads with a reader of its own. One thread owns it."""

    def __init__(self, open_reader: Callable[[], Reader], is_followed: Callable[[], bool]) -> None:
        self._open_reader, self._is_followed = open_reader, is_followed
        self._reader: Reader | None = None
        self._version: int | None = None

    def close(self) -> None:
        """The next reads open the store anew."""
        reader, self._reader = self._reader, None
        if reader is not None:
            with suppress(StoreError):
                reader.close()

    def answer(self, new: Sequence[Waiting], late: Sequence[Waiting]) -> list[Waiting]:
        """Answers what can be answered, and gives back what has to wait. What is late is looked at when there was a commit.

        Raises StoreError when the store cannot be read: then nobody was told anything. A connection that was cut is opened anew.
        """
        if self._reader is not None and self._reader.is_there():
            try:
                return self._answer(self._reader, new, late)
            except Unavailable:
                pass
        self.close()
        self._reader = self._open_reader()
        self._snapshots, self._version = Snapshots(self._reader), None
        return self._answer(self._reader, new, late)

    def _answer(self, reader: Reader, new: Sequence[Waiting], late: Sequence[Waiting]) -> list[Waiting]:
        kept: Sequence[Waiting] = ()
        if late:
            version = reader.data_version()
            late, kept = ((), late) if version == self._version else (late, ())
            self._version = version
        answers, waiting = self._answers([*late, *new])
        tell_all(answers)
        return [*kept, *waiting]

    def _answers(self, group: Iterable[Waiting]) -> tuple[Answers, list[Waiting]]:
        left, answers, waiting = deque(group), Answers(), list[Waiting]()
        while left:
            with self._snapshots as snapshot:
                while left:
                    each = left.popleft()
                    try:
                        answer = read_in(snapshot, each.wanted, self._is_followed)
                    except Unavailable:
                        raise
                    except Exception as error:
                        answers.append((each.future, error))
                        break  # after a statement that failed, a database may read nothing more in this snapshot
                    if isinstance(answer, ReadResult) or not each.wanted.is_waiting or time.monotonic() >= each.until:
                        answers.append((each.future, answer))
                    else:
                        waiting.append(replace(each, late=answer))
        return answers, waiting


def without_overdue(late: list[Waiting]) -> list[Waiting]:
    """Refuses those whose time is up, and gives back the others."""
    now = time.monotonic()
    overdue = [each for each in late if now >= each.until]
    tell_all([(each.future, each.late or Unavailable("it was not answered in time; ask again")) for each in overdue])
    return [each for each in late if now < each.until] if overdue else late


def tell_all(answers: Answers) -> None:
    """Wakes each loop once for all that is waited for there."""
    by_loop: dict[asyncio.AbstractEventLoop, Answers] = {}
    for future, answer in answers:
        by_loop.setdefault(future.get_loop(), []).append((future, answer))
    for loop, told in by_loop.items():
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_tell, told)


def _tell(answers: Answers) -> None:
    """In the loop's thread. A caller that left meanwhile is told nothing."""
    for future, answer in answers:
        if future.done():
            continue
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)
