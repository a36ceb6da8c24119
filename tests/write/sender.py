"""A process that sends commands through an App of its own, and tells each outcome when its future is done.

`python -m tests.write.sender PATH MODULE.NAME` opens the service placed in PATH, prints `ready`, reads a line of JSON, a list of
`[id, name, payload]`, submits all of them, and prints a line of JSON for each: `[id, "receipt", version, count, token]` or
`[id, error, message]`. It ends at the end of its input.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from syncline import App, Conflict, Receipt, SQLite

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}


class Sender:
    """Such a process. The end of the block ends it."""

    def __init__(self, path: str, service: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.write.sender", path, service],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
        )

    def wait_ready(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def send(self, commands: Iterable[tuple[str, Any]]) -> None:
        """Has it submit these commands, each with its id."""
        assert self.process.stdin is not None
        listed = [[command_id, type(command).__name__, asdict(command)] for command_id, command in commands]
        with suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(listed) + "\n")
            self.process.stdin.flush()

    def hear(self, count: int) -> dict[str, list[Any]]:
        """The next so many outcomes, by the ids of their commands."""
        assert self.process.stdout is not None
        return _outcomes(self.process.stdout.readline() for _ in range(count))

    def end(self) -> dict[str, list[Any]]:
        """Lets it answer everything and end; the outcomes not yet heard."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        rest = self._rest()
        assert self.process.wait() == 0
        return rest

    def kill(self) -> dict[str, list[Any]]:
        """kill -9; the outcomes that it had told, and that were not yet heard."""
        self.process.kill()
        return self._rest()

    def __enter__(self) -> "Sender":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            with suppress(BrokenPipeError):
                stream.close()

    def _rest(self) -> dict[str, list[Any]]:
        assert self.process.stdout is not None
        return _outcomes(self.process.stdout.read().splitlines(keepends=True))


def in_processes(path: str, service: str, batches: Sequence[Sequence[tuple[str, Any]]]) -> dict[str, list[Any]]:
    """The outcomes of these commands, each batch sent by a process of its own at the same time."""
    module = "ledger" if service == "ledger" else "campus"
    with ExitStack() as stack:
        senders = [stack.enter_context(Sender(path, f"tests.write.{module}.{service}")) for _ in batches]
        for sender in senders:
            sender.wait_ready()
        for sender, batch in zip(senders, batches, strict=True):
            sender.send(batch)
        return {command_id: outcome for sender in senders for command_id, outcome in sender.end().items()}


def _outcomes(lines: Iterable[str]) -> dict[str, list[Any]]:
    found = [json.loads(line) for line in lines if line.endswith("\n")]
    return {command_id: outcome for command_id, *outcome in found}


def main() -> None:
    path, name = sys.argv[1:]
    module, _, attribute = name.rpartition(".")
    service = getattr(import_module(module), attribute)
    unanswered = threading.Semaphore(0)
    app = App(service.on(SQLite(path)))

    def submit(command_id: str, command: object) -> None:
        app.submit(command, command_id=command_id).add_done_callback(lambda future: tell(command_id, command, future))

    def tell(command_id: str, command: object, future: "Future[Receipt]") -> None:
        error = future.exception()
        if isinstance(error, Conflict):
            submit(command_id, command)  # others were first again and again: it says to send it again
            return
        if error is not None:
            outcome: list[Any] = [type(error).__name__, str(error)]
        else:
            receipt = future.result()
            outcome = ["receipt", receipt.version, len(receipt.events), str(receipt.token)]
        os.write(1, (json.dumps([command_id, *outcome]) + "\n").encode())
        unanswered.release()

    os.write(1, b"ready\n")
    for line in sys.stdin:
        commands = json.loads(line)
        for command_id, kind, payload in commands:
            submit(command_id, app.command(kind, json.dumps(payload)))
        for _ in commands:
            unanswered.acquire()
    app.close()


if __name__ == "__main__":
    main()
