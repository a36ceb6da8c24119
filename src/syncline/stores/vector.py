"""The vector of a read store: the checkpoint of each service, and which histories of it are gone. It moves with the rows."""

import json

from syncline.messages import Position
from syncline.stores.own_tables import Run

KEPT_INCARNATIONS = 100


class Vector:
    """The checkpoints of one read store. The thread that writes to the store owns it; changes must be in a transaction."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._incarnations: dict[str, str] = {}

    def doubt(self) -> None:
        """A transaction was undone: what is stored is read again when it is needed."""
        self._incarnations.clear()

    def checkpoint(self, service: str) -> Position | None:
        """The last position of the service that was applied; None when nothing was."""
        row = self._run("select_checkpoint", service=service).fetchone()
        return None if row is None else stored_position(*row)

    def is_continued(self, service: str) -> bool:
        """Whether the checkpoint is one of the capture by which the service is followed now."""
        row = self._run("select_incarnation", service=service).fetchone()
        return row is not None and row[0] == row[1]

    def move(self, service: str, position: Position, read_at: float | None, *, exact: bool) -> None:
        """Moves a checkpoint. Another incarnation than before is remembered as gone, or as superseded by another capture."""
        is_new = self._incarnations.get(service) != position.incarnation
        before = self._run("select_incarnation", service=service).fetchone() if is_new else None
        moved = self._run(
            "move_checkpoint",
            service=service,
            incarnation=position.incarnation,
            n=position.n,
            proof=position.proof,
            open=json.dumps(position.open),
            read_at=read_at,
            exact=exact,
        )
        assert moved.rowcount == 1, f"service '{service}' was defined before it is followed"
        if is_new:
            self._new_incarnation(service, before, position.incarnation)

    def _new_incarnation(self, service: str, before: tuple[object, ...] | None, incarnation: str) -> None:
        """Remembers which incarnations are gone: tokens that name them are refused, or count as reached if only the capture
        was replaced."""
        if before is not None:
            capture, made_by, old, past, superseded = before
            gone = {"past": json.loads(str(past)), "superseded": json.loads(str(superseded))}
            if old is not None and old != incarnation:
                gone["past" if made_by == capture else "superseded"].append(old)
            self._run(
                "set_incarnation",
                service=service,
                made_by=capture,
                past=json.dumps(gone["past"][-KEPT_INCARNATIONS:]),
                superseded=json.dumps(gone["superseded"][-KEPT_INCARNATIONS:]),
            )
        self._incarnations[service] = incarnation


def stored_position(incarnation: str | None, n: int, proof: int, open_: str) -> Position | None:
    """A position as it is stored: what is open in it as JSON."""
    return None if incarnation is None else Position(incarnation, n, proof, tuple(json.loads(open_)))
