"""Writers that contend for one event log, in threads or in processes of their own, for the conformance suite.

`python -m syncline.testing.contender` reads a line that says which log and what to do, prints `ready`, waits for the next line
before it begins (and before each round, where it is held), and prints a line for each outcome once that is certain.
"""

import base64
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from syncline.events import ANY, NO_STREAM, Append, AppendCondition, Appended, Conflicted, NewEvent, Query, QueryItem
from syncline.stores.event_log import EventLog

Hold: TypeAlias = Callable[[], object]
Kind: TypeAlias = Literal["version", "query", "decided"]


@dataclass(frozen=True)
class Race:
    """In each round every contender tries to be the first, under one condition: `shared`, or each under its own."""

    name: str
    rounds: int
    kind: Kind
    is_shared: bool = True
    is_held: bool = False

    def run(self, log: EventLog, hold: Hold) -> Iterator[str]:
        """For each round `won` or `lost`."""
        for number in range(self.rounds):
            prize = f"r-{number}" if self.is_shared else f"r-{number}-{self.name}"
            if self.is_held:
                hold()
            (outcome,) = log.append([self._attempt(log, prize)])
            yield "won" if isinstance(outcome, Appended) else "lost"

    def _attempt(self, log: EventLog, prize: str) -> Append:
        events = (NewEvent(self.name, "{}", (prize,)),)
        if self.kind == "version":
            return Append(prize, events, AppendCondition(NO_STREAM))
        asked = Query((QueryItem(tags=(prize,)),))
        if self.kind == "query":
            return Append("races", events, AppendCondition(ANY, asked))
        seen = log.head().n  # decided upon what is stored up to here, as a service does
        if log.read(up_to=seen, query=asked):
            return Append("races", events, AppendCondition(ANY, asked))
        return Append("races", events, AppendCondition(ANY, asked, seen), decided_at=seen)


@dataclass(frozen=True)
class Diary:
    """Appends one to three events at a time until it is killed; now and then one that must be refused, and says which."""

    name: str
    begin: int
    is_held: bool = False

    def run(self, log: EventLog, hold: Hold) -> Iterator[str]:
        number = self.begin
        while True:
            events = tuple(NewEvent(f"{self.name}-{number}", "{}", (self.name,)) for _ in range(1 + number % 3))
            expected = NO_STREAM if number % 5 == 4 else ANY
            append = Append(self.name, events, AppendCondition(expected), f"{self.name}-{number}")
            (outcome,) = log.append([append])
            # Repeated: the one that was killed before stored it and could not say so any more.
            yield f"{'refused' if isinstance(outcome, Conflicted) else 'accepted'} {number}"
            number += 1


class Contender:
    """A process at work on a log. Its end, or that of the block, ends the process."""

    def __init__(self, open_log: Callable[[], EventLog], work: Race | Diary) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "syncline.testing.contender"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self._say(base64.b64encode(pickle.dumps((open_log, work))).decode())

    def wait_ready(self) -> None:
        """Returns when it waits for `go`."""
        found = self.hear()
        assert found == "ready", f"a contender said {found!r}, expected 'ready'; its error is printed above"

    def go(self) -> None:
        self._say("go")

    def hear(self) -> str:
        """The next line that it prints; empty at its end."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def rest(self) -> list[str]:
        """All that it still prints."""
        assert self.process.stdout is not None
        return self.process.stdout.read().splitlines()

    def kill(self) -> None:
        self.process.kill()

    def __enter__(self) -> "Contender":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            with suppress(BrokenPipeError):
                stream.close()

    def _say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()


def main() -> None:
    open_log, work = pickle.loads(base64.b64decode(sys.stdin.readline()))
    log: EventLog = open_log()

    def hold() -> Any:
        print("ready", flush=True)
        return sys.stdin.readline()

    if not work.is_held:
        hold()
    for line in work.run(log, hold):
        print(line, flush=True)
    log.close()


if __name__ == "__main__":
    main()
