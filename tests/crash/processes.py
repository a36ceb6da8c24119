"""The processes of a crash test: `syncline run`, the services' writers and the reader, over one folder made by `bank.make`."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Self

from tests.command_line import syncline
from tests.crash import bank

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
TIMEOUT_S = 60.0
POLL_S = 0.003

Process = subprocess.Popen[str]


def wait_until(condition: Callable[[], Any], what: str, timeout_s: float = TIMEOUT_S) -> Any:
    """The first true answer of `condition`; fails after the timeout."""
    until = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < until, f"not within {timeout_s:g} s: {what}"
        time.sleep(POLL_S)
    return found


def is_over(process: Process, within_s: float) -> bool:
    """Whether the process ends within this time."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(within_s)
    return process.returncode is not None


def _is_free(path: Path) -> bool:
    """Whether anyone can write to a database within a moment: longer than a writer's own transaction takes."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=0.2)) as db:
        try:
            db.execute("BEGIN EXCLUSIVE")  # without a write-ahead log whoever reads keeps a commit waiting, too
        except sqlite3.OperationalError:
            return False
        db.execute("ROLLBACK")
    return True


def is_readable(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


class Bank:
    """One folder with three services and a read model, and the processes at work on it. Its end ends those that are left."""

    def __init__(
        self, folder: Path, seed: int, *, archive: int, pause_s: float, captures: Mapping[str, str] = bank.CAPTURES
    ) -> None:
        self.folder, self.seed, self.pause_s = folder, seed, pause_s
        self.store = folder / "read.db"
        self.writers: dict[str, Process] = {}
        self.reader: Process | None = None
        self._started: list[Process] = []
        self._logs = 0
        bank.make(folder, archive, captures)

    # -- syncline ------------------------------------------------------------------------------------------------------

    def run(self) -> "Run":
        """Starts `syncline run`."""
        self._logs += 1
        log = self.folder / f"run-{self._logs}.log"
        return Run(self._start(self._command("run"), log), log)

    def ask(self, *arguments: str) -> Process:
        """Starts another command of `syncline`; its output goes to a log."""
        self._logs += 1
        return self._start(self._command(*arguments), self.folder / f"ask-{self._logs}-{arguments[0]}.log")

    def command(self, *arguments: str) -> str:
        """What a command prints; it must end with status 0."""
        done = syncline(self.folder, *arguments)
        assert done.status == 0, f"{' '.join(arguments)}: {done.status}\n{done.text}"
        return done.out

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "syncline", *arguments, "--config", str(self.folder / "syncline.toml")]

    # -- writers and reader --------------------------------------------------------------------------------------------

    def start_writers(self) -> None:
        for service in bank.SERVICES:
            command = [sys.executable, bank.__file__, "write", str(self.folder), service, str(self.seed), str(self.pause_s)]
            self.writers[service] = self._start(command, self.folder / f"writer-{service}.log", stdin=subprocess.PIPE)

    def stop_writers(self) -> dict[str, int]:
        """Lets them end between two transactions; returns the steps they came to."""
        for writer in self.writers.values():
            assert writer.stdin is not None
            writer.stdin.close()
        for service, writer in self.writers.items():
            assert writer.wait(TIMEOUT_S) == 0, (self.folder / f"writer-{service}.log").read_text()
        self.writers = {}
        return bank.steps_now(self.folder)

    def kill_writers(self) -> None:
        for writer in self.writers.values():
            kill(writer)
        self.writers = {}

    def start_reader(self) -> None:
        """Starts the reading process; returns when it looks."""
        log = self.folder / "reader.log"
        command = [sys.executable, bank.__file__, "read", str(self.folder), str(self.seed)]
        self.reader = self._start(command, log, stdin=subprocess.PIPE)
        wait_until(lambda: log.stat().st_size or self.reader_fault(), "the reader begins")

    def reader_fault(self) -> str:
        """Why the reader ended, if it did."""
        assert self.reader is not None
        return (self.folder / "reader.log").read_text() if self.reader.poll() is not None else ""

    def stop_reader(self) -> dict[str, Any]:
        """What the reader saw. Fails when it saw a state that it should not have seen."""
        assert self.reader is not None and self.reader.stdin is not None
        with suppress(BrokenPipeError):
            self.reader.stdin.close()
        status = self.reader.wait(TIMEOUT_S)
        text = (self.folder / "reader.log").read_text()
        assert status == 0, text
        return dict(json.loads(text.splitlines()[-1]))

    # -- looking at the store ------------------------------------------------------------------------------------------

    def pause(self, run: "Run") -> None:
        """Stops a relay at a moment when it locks no database: with a lock in hand it would keep everyone waiting."""
        files = [self.store, *(self.folder / f"{name}.db" for name in bank.CAPTURES)]

        def is_paused() -> bool:
            run.process.send_signal(signal.SIGSTOP)
            if all(map(_is_free, files)):
                return True
            run.process.send_signal(signal.SIGCONT)
            is_over(run.process, 0.03)  # time to come to the end of what has gathered, or it is met in the midst of it again
            return False

        wait_until(is_paused, "the relay is stopped without a lock")

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of the read store by plain SQL; none while the store or the table is not there."""
        if not is_readable(self.store):
            return []
        with closing(sqlite3.connect(f"{self.store.as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=20)) as db:
            try:
                return db.execute(sql).fetchall()
            except sqlite3.OperationalError as error:
                if "no such table" in str(error):
                    return []
                raise

    def phase(self) -> str:
        """What the relay is at, or was when it was killed."""
        views = self.query("SELECT live IS NOT NULL, next IS NOT NULL FROM syncline_view")
        if not views or any(state in ("loading", "loaded") for (state,) in self.query("SELECT state FROM syncline_relation")):
            return "loading"
        if not all(is_live for is_live, _ in views):
            return "first build"
        return "rebuild" if any(is_building for _, is_building in views) else "live"

    def is_live(self) -> bool:
        """Whether every view is shown and none is being built."""
        return self.phase() == "live"

    def generation(self, view: str) -> int:
        """Which build the view's rows are of; 0 while it has none."""
        rows = self.query(f"SELECT ifnull(live_generation, 0) FROM syncline_view WHERE name = '{view}'")
        return int(rows[0][0]) if rows else 0

    def progress(self) -> list[tuple[int, int]]:
        """Of each table that is being built, how many keys are done, of how many."""
        return self.query("SELECT done, total FROM syncline_build")

    def shown(self) -> dict[str, int]:
        """The steps of the services that the view of them shows."""
        rows = self.query("SELECT ledger, shop, people FROM clock")
        return dict(zip(bank.SERVICES, rows[0], strict=True)) if rows else {}

    def wait_for(self, steps: dict[str, int]) -> None:
        wait_until(lambda: self.reader_fault() or (self.shown() == steps and self.is_live()), f"the read store shows {steps}")
        assert not self.reader_fault(), self.reader_fault()

    def assert_exact(self) -> None:
        """At rest: mirrors hold just what the services hold, views what the oracle tells."""
        assert bank.all_differences(self.folder, self.seed) == []

    def delete_store(self) -> None:
        """The file first, so that nobody opens it without its log."""
        for ending in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                os.remove(f"{self.store}{ending}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._started:
            kill(process)

    def _start(self, command: list[str], log: Path, stdin: int = subprocess.DEVNULL) -> Process:
        with log.open("w") as output:
            process = subprocess.Popen(command, stdin=stdin, stdout=output, stderr=output, env=ENVIRONMENT, text=True)
        self._started.append(process)
        return process


class Run:
    """A `syncline run` and what it prints."""

    def __init__(self, process: Process, log: Path) -> None:
        self.process, self._log = process, log

    def output(self) -> str:
        return self._log.read_text()

    def wait_for(self, text: str) -> None:
        wait_until(lambda: text in self.output() or self.process.poll() is not None, f"`syncline run` says '{text}'")
        self.assert_runs()

    def is_live(self) -> bool:
        """Whether it has said of every service that it follows it; the read store may have been left live by another."""
        return all(f"{service}: live" in self.output() for service in bank.SERVICES)

    def assert_runs(self) -> None:
        assert self.process.poll() is None, f"`syncline run` ended with {self.process.returncode}:\n{self.output()}"

    def kill_after(self, delay_s: float) -> None:
        """kill -9 after this time, during which it must not end by itself."""
        assert not is_over(self.process, delay_s), f"`syncline run` ended with {self.process.returncode}:\n{self.output()}"
        kill(self.process)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Asks it to stop; it must end with status 0."""
        self.assert_runs()
        self.process.send_signal(number)
        assert self.process.wait(TIMEOUT_S) == 0, self.output()


def kill(process: Process) -> None:
    """kill -9, also of one that is paused, and takes note of its end."""
    if process.poll() is None:
        process.kill()
    process.wait()
    if process.stdin is not None:
        with suppress(BrokenPipeError):
            process.stdin.close()
