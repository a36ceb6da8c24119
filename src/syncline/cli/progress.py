"""Progress of long work on stderr: bars where that is a terminal, otherwise a line now and then.

Called from any thread. Nothing runs between calls, so an idle `syncline run` costs nothing here.
"""

import sys
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from syncline.app import Progress

LINE_EVERY_S = 5.0
REDRAW_EVERY_S = 0.1


class ProgressPrinter:
    """Shows each Progress it is called with; use it as a context manager, so that the terminal is left tidy."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._began: dict[str, float] = {}
        self._shown: dict[str, float] = {}
        self._bars: Any = None
        self._tasks: dict[str, Any] = {}
        self._drawn = 0.0

    def __enter__(self) -> "ProgressPrinter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._lock:
            self._stop_bars()

    def __call__(self, progress: "Progress") -> None:
        with self._lock:
            now = time.monotonic()
            began = self._began.setdefault(progress.what, now)
            finished = progress.total is not None and progress.done >= progress.total
            if sys.stderr.isatty():
                self._draw(progress, now, finished)
            elif finished or now - self._shown.get(progress.what, began) >= LINE_EVERY_S:
                self._shown[progress.what] = now
                click.echo(as_line(progress, now - began), err=True)
            else:
                self._shown.setdefault(progress.what, began)
            if finished:
                self._began.pop(progress.what, None)
                self._shown.pop(progress.what, None)

    def pause(self) -> None:
        """Takes bars off the terminal, until there is progress again: what they showed is over."""
        with self._lock:
            self._stop_bars()

    def _draw(self, progress: "Progress", now: float, finished: bool) -> None:
        if finished and progress.what not in self._tasks:
            return
        if self._bars is None:
            self._bars = _new_bars()
            self._bars.start()
        if progress.what not in self._tasks:
            self._tasks[progress.what] = self._bars.add_task(progress.what, total=progress.total, unit=progress.unit)
        self._bars.update(self._tasks[progress.what], completed=progress.done, total=progress.total, unit=progress.unit)
        if finished:
            self._bars.remove_task(self._tasks.pop(progress.what))
            if not self._tasks:
                self._stop_bars()
                return
        if finished or now - self._drawn >= REDRAW_EVERY_S:
            self._drawn = now
            self._bars.refresh()

    def _stop_bars(self) -> None:
        if self._bars is not None:
            self._bars.stop()
        self._bars, self._tasks = None, {}


def as_line(progress: "Progress", seconds: float) -> str:
    """One line of text, for logs."""
    if progress.total is None:
        amount = f"{progress.done:,} {progress.unit}"
    elif progress.done >= progress.total:
        amount = f"done, {progress.done:,} {progress.unit} in {seconds:.1f} s"
    else:
        share = 100 * progress.done // max(progress.total, 1)
        amount = f"{progress.done:,} of {progress.total:,} {progress.unit} ({share} %)"
    return f"{progress.what}: {amount}"


def _new_bars() -> Any:
    from rich import progress
    from rich.console import Console

    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.TextColumn("{task.completed:>12,} {task.fields[unit]}"),
        progress.TimeRemainingColumn(),
        console=Console(stderr=True),
        auto_refresh=False,
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
    )
