"""Long work that operators ask for: rebuilding, verifying, repairing. Each runs in a thread of its own, and is remembered.

One at a time of a view: another that is asked for meanwhile is refused, and told which one runs.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from itertools import count

from syncline.app import App
from syncline.errors import SynclineError
from syncline.messages import Progress
from syncline.read.verify import VerifyReport

KEPT = 100
MOST_DIFFERENCES = 200
KINDS = ("rebuild", "verify")

log = logging.getLogger("syncline.serve")


@dataclass(frozen=True, slots=True)
class Operation:
    """Work that was asked for. `state` is running, done or failed; times are seconds since 1970."""

    id: str
    kind: str
    view: str | None
    repair: bool
    asked_by: str
    state: str
    started_at: float
    ended_at: float | None = None
    progress: tuple[Progress, ...] = ()
    result: dict[str, object] | None = None
    error: str | None = None


@dataclass(slots=True)
class _Running:
    operation: Operation
    progress: dict[str, Progress] = field(default_factory=dict)


class Busy(SynclineError):
    """The same work runs already."""

    def __init__(self, running: Operation) -> None:
        self.running = running
        super().__init__(
            f"a {running.kind} of {running.view or 'everything'} runs already, as operation {running.id}; wait for it"
        )


class Operations:
    """The work of one service, the newest last. Any thread may use it."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._numbers = count(1)
        self._all: dict[str, _Running] = {}
        self._lock = threading.Lock()
        self._is_closed = False

    def start(self, kind: str, view: str | None, *, repair: bool, asked_by: str) -> Operation:
        """Begins work, and tells it as it began. Raises Busy."""
        with self._lock:
            for each in self._all.values():
                found = each.operation
                if found.state == "running" and (found.kind == kind or found.view == view):
                    raise Busy(found)
            operation = Operation(str(next(self._numbers)), kind, view, repair, asked_by, "running", time.time())
            running = self._all[operation.id] = _Running(operation)
            for id_ in [id_ for id_, each in self._all.items() if each.operation.state != "running"][: -KEPT or None]:
                del self._all[id_]
        work = self._rebuild if kind == "rebuild" else self._verify
        threading.Thread(target=self._run, args=(running, work), name=f"operation-{operation.id}", daemon=True).start()
        return operation

    def all(self) -> list[Operation]:
        """Every one that is remembered, the newest first."""
        with self._lock:
            return [self._shown(each) for each in reversed(self._all.values())]

    def find(self, id_: str) -> Operation | None:
        with self._lock:
            found = self._all.get(id_)
            return self._shown(found) if found is not None else None

    def close(self) -> None:
        """What runs is not waited for: the relay goes on with it, or it is asked for again."""
        self._is_closed = True

    def _shown(self, running: _Running) -> Operation:
        return replace(running.operation, progress=tuple(running.progress.values()))

    def _run(self, running: _Running, work: Callable[[_Running], dict[str, object]]) -> None:
        operation = running.operation
        try:
            result = work(running)
            running.operation = replace(operation, state="done", ended_at=time.time(), result=result)
        except SynclineError as error:
            running.operation = replace(operation, state="failed", ended_at=time.time(), error=str(error))
        except Exception:
            log.exception("operation %s (%s) failed", operation.id, operation.kind)
            running.operation = replace(operation, state="failed", ended_at=time.time(), error="see the service's log")

    def _rebuild(self, running: _Running) -> dict[str, object]:
        assert running.operation.view is not None
        self._app.rebuild(running.operation.view, on_progress=_keeping(running))
        return {"view": running.operation.view}

    def _verify(self, running: _Running) -> dict[str, object]:
        operation = running.operation
        report = self._app.verify(operation.view, repair=operation.repair, on_progress=_keeping(running))
        return _as_result(report)


def _keeping(running: _Running) -> Callable[[Progress], None]:
    def keep(progress: Progress) -> None:
        running.progress[progress.what] = progress

    return keep


def _as_result(report: VerifyReport) -> dict[str, object]:
    return {
        "differences": [asdict(each) for each in report.differences[:MOST_DIFFERENCES]],
        "count": len(report.differences),
        "is_cut_short": report.is_cut_short or len(report.differences) > MOST_DIFFERENCES,
        "checked": [{"name": name, "rows": rows} for name, rows in report.checked],
        "held_back": len(report.held_back),
        "token": str(report.token),
    }
