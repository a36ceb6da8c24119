"""`syncline run` and the hand-written relay as processes of their own, and what the system counts for them (Linux)."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from shop import Shop

from syncline.app import App
from syncline.config import load_config

LIVE_TIMEOUT_S = 600.0
STOP_TIMEOUT_S = 20.0


@contextmanager
def syncline_run(folder: Path, *, is_live: bool = True) -> Iterator[int]:
    """`syncline run` on the project in `folder`; gives its process id, once all is live unless told otherwise."""
    command = [sys.executable, "-m", "syncline", "run", "--config", str(folder / "syncline.toml")]
    with ended(command, folder / "run.log") as process:
        if is_live:
            wait_until_live(folder, process.pid)
        yield process.pid


@contextmanager
def hand_run(shop: Shop) -> Iterator[int]:
    """The hand-written relay on a shop; gives its process id once its view is built."""
    log = shop.folder / "hand.log"
    with ended(shop.command_by_hand(), log) as process:
        deadline = time.monotonic() + LIVE_TIMEOUT_S
        while "ready" not in log.read_text():
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the hand-written relay did not start: {log.read_text()}")
            time.sleep(0.05)
        yield process.pid


def wait_until_live(folder: Path, pid: int) -> None:
    """Returns when every feed and view of the project is live."""
    deadline = time.monotonic() + LIVE_TIMEOUT_S
    app = App(load_config(folder / "syncline.toml"))
    while True:
        now = app.status()
        states = [feed.state for feed in now.feeds] + [view.state for view in now.views]
        if now.relay.startswith("running") and states and set(states) == {"live"}:
            return
        if not Path(f"/proc/{pid}/stat").exists() or "failed" in states or time.monotonic() > deadline:
            raise SystemExit(f"`syncline run` did not become live: {now}\n{(folder / 'run.log').read_text()}")
        time.sleep(0.05)


def cpu_s(pid: int) -> float:
    """Seconds of processor time that a process has used, in its own code and the system's."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_mb(pid: int) -> float:
    """The most memory that a process has held at once, in MB (10^6 bytes)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 / 1e6


@contextmanager
def ended(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that writes to `log`, and is ended with the context."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
