"""Where sagas are kept, whatever database it is: what came for each, what each wants, and how far each service was read.

A step of a saga is one transaction: the events that came, the state that it is in, the commands and deadlines that it wants, and
the checkpoint. One process at a time runs the sagas of a store; whoever was taken over from is refused.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Literal, Protocol

from syncline.errors import Fenced, StoreError
from syncline.messages import Position
from syncline.stores.own_tables import Found

FORMAT = 1
TABLES = ("saga_store", "saga_feed", "saga", "saga_input", "saga_command", "saga_deadline", "saga_request")
INDEXES = ("saga_status_index", "saga_waiting_index", "saga_command_index", "saga_deadline_index")

Status = Literal["open", "ended", "parked", "given up"]


@dataclass(slots=True)
class StoredSaga:
    """One saga that was begun. `received` events have come for it, and it has reacted to the first `handled` of them.

    Times are seconds since 1970. `before` is the status that a parked one goes back to, `error` why it is parked.
    """

    saga: str
    key: str
    status: Status = "open"
    before: Status = "open"
    received: int = 0
    handled: int = 0
    correlation_id: str | None = None
    begun_at: float = 0.0
    changed_at: float = 0.0
    error: str | None = None


@dataclass(frozen=True, slots=True)
class StoredInput:
    """An event that came for a saga. `cause` is the id of the command that decided it, `hops` how many commands of sagas led to
    it, one after the other. `service` is the saga's own name for a rejection of one of its commands."""

    key: str
    number: int
    service: str
    position: int
    name: str
    shape: int
    data: str
    at: float
    cause: str | None
    hops: int


@dataclass(slots=True)
class StoredCommand:
    """A command that a saga wants sent, and what became of it. `payload` is JSON."""

    id: str
    saga: str
    key: str
    service: str
    name: str
    payload: str
    correlation_id: str | None
    causation_id: str | None
    hops: int
    at: float
    state: str = "waiting"
    attempts: int = 0
    error: str | None = None


@dataclass(frozen=True, slots=True)
class StoredDeadline:
    """A command that is to be sent at `due_at`."""

    saga: str
    key: str
    label: str
    due_at: float
    id: str
    name: str
    payload: str
    causation_id: str | None
    hops: int


@dataclass(frozen=True, slots=True)
class SagaRequest:
    """What a person asks for: `verb` is "retry" or "give up"."""

    id: int
    saga: str
    key: str
    verb: str


@dataclass(slots=True)
class Work:
    """What one step changes, to be stored together or not at all."""

    feeds: dict[tuple[str, str], Position] = field(default_factory=dict)
    sagas: dict[tuple[str, str], StoredSaga] = field(default_factory=dict)
    inputs: list[tuple[str, StoredInput]] = field(default_factory=list)
    commands: list[StoredCommand] = field(default_factory=list)
    outcomes: dict[str, StoredCommand] = field(default_factory=dict)
    deadlines: dict[tuple[str, str, str], StoredDeadline | None] = field(default_factory=dict)
    """By saga, key and label; None where it is withdrawn."""
    ended: list[tuple[str, str]] = field(default_factory=list)
    """Whose deadlines are all withdrawn, but for those above."""
    reopened: list[tuple[str, str]] = field(default_factory=list)
    dropped: list[tuple[str, str]] = field(default_factory=list)
    requests: list[int] = field(default_factory=list)

    @property
    def is_urgent(self) -> bool:
        """Whether it holds more than what can wait: checkpoints and outcomes, without which something is only done again."""
        return bool(self.sagas or self.inputs or self.commands or self.deadlines or self.requests)

    @property
    def is_nothing(self) -> bool:
        return not (self.is_urgent or self.feeds or self.outcomes)


class SagaDatabase(Protocol):
    """The database of a saga store, over one connection. Raises Unavailable or StoreError when it fails."""

    @property
    def shown(self) -> str: ...

    def run(self, statement: str, /, **values: object) -> Found: ...

    def run_many(self, statement: str, rows: Iterable[Mapping[str, object]], /) -> None: ...

    def transaction(self) -> AbstractContextManager[None]:
        """One write transaction, on disk when it ends, undone by an exception."""
        ...

    def making(self) -> AbstractContextManager[None]:
        """A transaction in which tables are made, by one process at a time."""
        ...

    def changed(self) -> bool:
        """Whether another connection may have written since this was asked last. Costs little."""
        ...

    def close(self) -> None: ...


class SagaStore:
    """Sagas in one database. One thread at a time uses it."""

    def __init__(self, database: SagaDatabase) -> None:
        """Makes the tables where they are not. Raises StoreError for those of another format."""
        self._database, self._epoch = database, -1
        try:
            if not database.run("is_made").fetchone()[0]:  # whoever only looks writes nothing
                self._make()
            found = database.run("select_format").fetchone()[0]
            if found != FORMAT:
                raise StoreError(
                    f"{database.shown} holds sagas of format {found}, this version reads format {FORMAT}; use the version of "
                    "Syncline that made them, or a newer one"
                )
        except BaseException:
            database.close()
            raise

    def close(self) -> None:
        self._database.close()

    def take_over(self, holder: str) -> None:
        """Begins to write. Whoever did before is refused from now on."""
        with self._database.transaction():
            self._database.run("take_over", holder=holder)
            _, self._epoch, _ = self._database.run("select_store").fetchone()

    def commit(self, work: Work) -> None:
        """Stores a step. Raises Fenced when another process runs these sagas by now."""
        run, many = self._database.run, self._database.run_many
        with self._writing():
            many("upsert_feed", (_feed(saga, service, at) for (saga, service), at in work.feeds.items()))
            many("upsert_saga", map(_row, work.sagas.values()))
            many("insert_input", ({"saga": saga, **_row(each)} for saga, each in work.inputs))
            for saga, key in work.reopened:
                run("reopen_commands", saga=saga, key=key)
            many("update_command", map(_row, work.outcomes.values()))
            many("insert_command", map(_row, work.commands))
            for saga, key in work.dropped:
                run("drop_commands", saga=saga, key=key)
            for saga, key in (*work.ended, *work.dropped):
                run("delete_deadlines", saga=saga, key=key)
            withdrawn = [of for of, deadline in work.deadlines.items() if deadline is None]
            many("delete_deadline", ({"saga": saga, "key": key, "label": label} for saga, key, label in withdrawn))
            many("upsert_deadline", (_row(each) for each in work.deadlines.values() if each is not None))
            many("delete_request", ({"id": number} for number in work.requests))

    def feeds(self) -> dict[tuple[str, str], Position]:
        """Where each saga goes on in each service."""
        found = self._database.run("select_feeds").fetchall()
        return {(saga, service): Position(incarnation, n, proof) for saga, service, incarnation, n, proof in found}

    def sagas(self, saga: str, keys: Sequence[str]) -> dict[str, StoredSaga]:
        """Those of these keys that were begun."""
        found = self._database.run("select_sagas", saga=saga, keys=list(keys)).fetchall()
        return {row[1]: StoredSaga(*row) for row in found}

    def inputs(self, saga: str, keys: Sequence[str]) -> dict[str, list[StoredInput]]:
        """All that came for these, in order."""
        found: dict[str, list[StoredInput]] = {}
        for row in self._database.run("select_inputs", saga=saga, keys=list(keys)).fetchall():
            found.setdefault(row[0], []).append(StoredInput(*row))
        return found

    def waiting(self) -> list[StoredCommand]:
        """The commands that are still to be sent, in order, with those that are stuck."""
        return [StoredCommand(*row[1:]) for row in self._database.run("select_waiting").fetchall()]

    def commands(self, saga: str, key: str) -> list[StoredCommand]:
        """All commands of one saga, in order."""
        return [StoredCommand(*row[1:]) for row in self._database.run("select_commands", saga=saga, key=key).fetchall()]

    def due(self, sagas: Iterable[str], now: float, limit: int) -> list[StoredDeadline]:
        """Deadlines of sagas of these names whose time has come, of those that are neither parked nor given up."""
        found = self._database.run("select_due", sagas=list(sagas), now=now, limit=limit).fetchall()
        return [StoredDeadline(*row) for row in found]

    def next_due(self, sagas: Iterable[str]) -> float | None:
        """When the next deadline of these comes."""
        found = self._database.run("select_next_due", sagas=list(sagas)).fetchone()
        return found[0] if found is not None else None

    def deadlines(self, saga: str, key: str) -> list[StoredDeadline]:
        """The deadlines of one saga."""
        return [StoredDeadline(*row) for row in self._database.run("select_deadlines", saga=saga, key=key).fetchall()]

    def changed(self) -> bool:
        """Whether another process may have asked for something since this was asked last."""
        return self._database.changed()

    def requests(self) -> list[SagaRequest]:
        """What people ask of whoever runs the sagas."""
        return [SagaRequest(*row) for row in self._database.run("select_requests").fetchall()]

    def ask(self, saga: str, key: str, verb: str) -> None:
        """Asks whoever runs the sagas, now or next, for something."""
        with self._database.transaction():
            self._database.run("insert_request", saga=saga, key=key, verb=verb)

    def counts(self) -> dict[str, dict[str, int]]:
        """How many there are, by saga and status."""
        found: dict[str, dict[str, int]] = {}
        for saga, status, count in self._database.run("select_counts").fetchall():
            found.setdefault(saga, {})[status] = count
        return found

    def outgoing(self) -> dict[str, tuple[int, float]]:
        """How many commands wait to be sent, by saga, and since when the oldest."""
        return {saga: (count, at) for saga, count, at in self._database.run("select_outgoing").fetchall()}

    def listed(self, status: str | None, saga: str | None, limit: int) -> list[StoredSaga]:
        """The newest sagas, of one status or of any, of one name or of any."""
        found = self._database.run("select_listed", status=status, saga=saga, limit=limit).fetchall()
        return [StoredSaga(*row) for row in found]

    def _make(self) -> None:
        with self._database.making():
            for name in (*TABLES, *INDEXES):
                self._database.run(f"create_{name}")
            self._database.run("insert_store", format=FORMAT)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._database.transaction():
            _, epoch, holder = self._database.run("select_store").fetchone()
            if epoch != self._epoch:
                raise Fenced(f"{holder} runs the sagas in {self._database.shown} by now; this process stops running them")
            yield


def _row(record: StoredSaga | StoredInput | StoredCommand | StoredDeadline) -> dict[str, object]:
    """Its fields by name. (`dataclasses.asdict` copies deeply, which took most of a step's time.)"""
    names, values_of = _FIELDS[type(record)]
    return dict(zip(names, values_of(record), strict=True))


_FIELDS = {
    kind: (kind.__slots__, attrgetter(*kind.__slots__)) for kind in (StoredSaga, StoredInput, StoredCommand, StoredDeadline)
}


def _feed(saga: str, service: str, at: Position) -> dict[str, object]:
    return {"saga": saga, "service": service, "incarnation": at.incarnation, "n": at.n, "proof": at.proof}
