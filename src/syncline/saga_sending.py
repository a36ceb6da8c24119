"""Sends the commands of sagas: in order, one after the other where they are of one saga to one service, again after a pause where
a service could not be reached. Knows no saga and no store."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeAlias

from syncline.messages import Receipt
from syncline.stores.saga_store import StoredCommand

IN_FLIGHT_MAX: Final = 2_000
"""How many commands may be without an outcome before no more events are taken. Those that rest do not count."""
FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 30.0

Submit: TypeAlias = Callable[..., "Future[Receipt]"]
Outcome: TypeAlias = Receipt | BaseException
Line: TypeAlias = tuple[str, str, str]
"""Commands that leave one after the other: those of a saga, with a key, to a service."""


class Sending:
    """What is on its way. One thread owns it."""

    def __init__(self, submit: Submit, command_of: Callable[[StoredCommand], Any], wake: threading.Event) -> None:
        """`command_of` gives the command that is stored; `wake` is set when an outcome is there."""
        self._submit, self._command_of, self._wake = submit, command_of, wake
        self._lines: dict[Line, deque[StoredCommand]] = {}
        self._resting: list[tuple[float, StoredCommand]] = []
        self._sent: set[str] = set()
        self._outcomes: SimpleQueue[tuple[StoredCommand, Outcome]] = SimpleQueue()

    def send(self, commands: Iterable[StoredCommand]) -> None:
        """Sends these, each when those before it in its line have an outcome."""
        added = list(commands)
        for command in added:
            self._lines.setdefault(line_of(command), deque()).append(command)
        for command in added:
            self._send_first(line_of(command))

    def outcomes(self) -> Iterator[tuple[StoredCommand, Outcome]]:
        """What became of commands since this was asked last. The line of each waits until one of the following is called."""
        while True:
            try:
                command, outcome = self._outcomes.get_nowait()
            except Empty:
                return
            self._sent.discard(command.id)
            yield command, outcome

    def finish(self, command: StoredCommand) -> None:
        """The command has its outcome, whatever it is: the next of its line may leave."""
        line = self._lines.get(line_of(command))
        if line is not None and line and line[0] is command:
            line.popleft()
            self._send_first(line_of(command))

    def send_again(self, command: StoredCommand) -> None:
        """Sends it again after a pause that grows with its attempts."""
        pause_s = min(FIRST_PAUSE_S * 2 ** min(command.attempts - 1, 16), LONGEST_PAUSE_S)
        self._resting.append((time.monotonic() + pause_s, command))

    def send_rested(self) -> None:
        """Sends what has rested long enough."""
        if self._resting:
            now = time.monotonic()
            due = [command for at, command in self._resting if at <= now]
            self._resting = [(at, command) for at, command in self._resting if at > now]
            for command in due:
                self._send_first(line_of(command))

    def reopen(self, saga: str, key: str) -> None:
        """What of a saga is stuck, and held up all behind it, is sent again."""
        for line in self._of(saga, key):
            first = self._lines[line][0]
            if first.state == "stuck":
                first.state, first.attempts = "waiting", 0
                self._send_first(line)

    def drop(self, saga: str, key: str) -> None:
        """Forgets what of a saga is not on its way yet."""
        for line in self._of(saga, key):
            del self._lines[line]
        self._resting = [(at, each) for at, each in self._resting if (each.saga, each.key) != (saga, key)]

    @property
    def is_full(self) -> bool:
        """Whether services are behind with what was sent."""
        return len(self._sent) >= IN_FLIGHT_MAX

    @property
    def is_idle(self) -> bool:
        """Whether nothing is on its way or waits to be sent again."""
        return not self._sent and not self._resting and self._outcomes.empty()

    def rest_s(self) -> float | None:
        """How long until something has rested long enough."""
        return max(0.0, min(at for at, _ in self._resting) - time.monotonic()) if self._resting else None

    def _of(self, saga: str, key: str) -> list[Line]:
        return [line for line in self._lines if line[:2] == (saga, key)]

    def _send_first(self, name: Line) -> None:
        line = self._lines.get(name)
        if not line:
            self._lines.pop(name, None)
        elif line[0].state == "waiting" and line[0].id not in self._sent:
            self._send(line[0])

    def _send(self, command: StoredCommand) -> None:
        self._sent.add(command.id)
        put, wake = self._outcomes.put, self._wake.set

        def done(future: "Future[Receipt]") -> None:
            put((command, future.exception() or future.result()))
            wake()

        try:
            future = self._submit(
                self._command_of(command),
                command_id=command.id,
                correlation_id=command.correlation_id,
                causation_id=command.causation_id,
                metadata={"saga": command.saga, "hops": command.hops},
            )
        except Exception as error:  # it could not even be sent: as any other outcome
            put((command, error))
            wake()
        else:
            future.add_done_callback(done)


def line_of(command: StoredCommand) -> Line:
    return command.saga, command.key, command.service
