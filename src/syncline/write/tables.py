"""Services whose truth is ordinary tables: a command is carried out by a handler, in one transaction on those tables.

Nothing is known here of databases: the store gives the transaction and says what became of each command.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from syncline.codec import CommandCodec, classes_of
from syncline.errors import Fault, InvalidCommand, InvalidDefinition
from syncline.messages import Receipt, Token
from syncline.places import WAL, Placed, Polling, Store, Triggers
from syncline.stores.service_tables import Done, TableOutcome, TableRequest, TableStore
from syncline.write.commit import Answer, Request


@dataclass(frozen=True, kw_only=True)
class TableService:
    """A service with tables of its own, of which it publishes some as they are.

    `handles` gives for each class of command the function that carries it out: `handler(tx, command)` runs SQL through
    `tx.execute` and `tx.query`, and raises Rejected to refuse, which undoes all that it did. A statement that breaks a constraint
    of the database raises Rejected as well. Handlers of one service never run at the same time. One may run more than once for
    one command, of which one run counts, so it must not do anything that `tx` cannot undo.

    `schema` is SQL that makes the tables. It is run once, in one transaction, on a database that has none of them. Foreign keys
    are enforced. All SQL is in the words of the store that the service is placed in. Raises InvalidDefinition, with every fault,
    for what does not fit together.
    """

    name: str = field(kw_only=False)
    schema: str
    handles: Mapping[type, Callable[[Any, Any], object]]
    publishes: Sequence[str]

    def __post_init__(self) -> None:
        faults = list(_faults(self))
        if faults:
            raise InvalidDefinition([Fault("", 0, f"service '{self.name}': {fault}") for fault in faults])

    def on(self, store: Store, capture: Triggers | WAL | Polling | None = None) -> Placed:
        """This service with its database `store`; `capture` says how changes leave it, by triggers unless it is given."""
        return Placed(self, store, capture or Triggers())

    @property
    def command_codec(self) -> CommandCodec:
        return CommandCodec(classes_of(tuple(self.handles)))


class TableHandler:
    """Handles the commands of one table service over its store. One thread owns it."""

    def __init__(self, service: TableService, store: TableStore, outbox: str = "") -> None:
        """`outbox` is the name of the one in the same database, if there is one."""
        self._service, self._store, self._outbox = service, store, outbox

    def handle(self, requests: Sequence[Request]) -> list[Answer]:
        """Carries out each command, accepted or refused alone. See `Handler`."""
        answers = {index: fault for index, request in enumerate(requests) if (fault := _fault(request)) is not None}
        asked = [(index, request) for index, request in enumerate(requests) if index not in answers]
        outcomes = self._store.handle([self._table_request(request) for _, request in asked])
        found = {index: self._answer(request, outcome) for (index, request), outcome in zip(asked, outcomes, strict=True)}
        return [answers[index] if index in answers else found[index] for index in range(len(requests))]

    def close(self) -> None:
        self._store.close()

    def _table_request(self, request: Request) -> TableRequest:
        kind = type(request.command)
        handler = self._service.handles[kind]
        return TableRequest(
            request.command_id, kind.__name__, request.digest, request.command, handler, request.is_fresh, request.metadata
        )

    def _answer(self, request: Request, outcome: TableOutcome) -> Answer:
        if not isinstance(outcome, Done):
            return outcome
        positions = {self._service.name: outcome.position}
        if outcome.recorded is not None:
            positions[self._outbox] = outcome.recorded
        return Receipt(request.command_id, Token(positions))


def _fault(request: Request) -> Exception | None:
    if request.expected_version is None:
        return None
    message = "a table service has no streams, so that there is no version to expect; leave it out"
    return InvalidCommand(type(request.command).__name__, [("expected_version", message)])


def _faults(service: TableService) -> Iterator[str]:
    """Everything about the definition that does not fit together."""
    if not service.handles:
        yield "it handles no command; name at least one: handles={AddProduct: add_product}"
    try:
        classes_of(tuple(service.handles))
    except (ValueError, TypeError) as error:
        yield f"handles: {error}"
    for kind, handler in service.handles.items():
        name = getattr(kind, "__name__", repr(kind))
        if not callable(handler):
            yield f"{name} is handled by {handler!r}, which cannot be called; name a function of a transaction and the command"
        elif inspect.isgeneratorfunction(handler) or inspect.iscoroutinefunction(handler):
            yield f"the handler of {name} is a generator or async function, which would never run; make it a plain function"
    if isinstance(service.publishes, str):
        yield f"'publishes' is the text {service.publishes!r}; write a list of tables: [{service.publishes!r}]"
