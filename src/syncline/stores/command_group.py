"""Commands on a service's own tables: many in one durable transaction, each undone alone when it is refused. Knows no database.

Theory of operation. All commands of a group run in one transaction, each within a savepoint; what is remembered of those that
took effect is written at its end, with a place in the capture's log that contains them all. Two things reach beyond a
savepoint: a database may resolve a conflict by undoing the whole transaction, so the group is run again without the command
that met it; and a deferred constraint is checked at COMMIT, when nobody can tell whose it is, so the commands are then run one by
one. A handler may therefore run more than once, and only what it does through its transaction counts. A group of which anything
was committed is never run again: where a handler got past its transaction and ended it, all are told.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from syncline.errors import CommandReused, StoreError, Unavailable
from syncline.stores.service_tables import Carried, Done, TableOutcome, TableRequest, Transaction


class Known(NamedTuple):
    """What is remembered of a command that took effect."""

    name: str
    digest: int
    done: Done


class HandlerTransaction(Transaction, Protocol):
    """What a handler gets, as who runs it sees it. `failure` is an error of the database itself, which no command is to blame
    for; `is_undone` says that a statement made the database undo the whole transaction. `carried` is the command it is for."""

    carried: Carried | None

    @property
    def failure(self) -> Exception | None: ...

    @property
    def is_undone(self) -> bool: ...

    def end(self) -> None:
        """Nothing can be done through it from now on."""
        ...


class GroupDatabase(Protocol):
    """A service's database, while its writer's right is held."""

    @property
    def service(self) -> str: ...

    def errors(self) -> AbstractContextManager[None]:
        """Turns the driver's errors into Unavailable and StoreError; all other methods let them pass."""
        ...

    def begin(self) -> None: ...

    def commit(self) -> None:
        """Raises Deferred where a constraint that is checked only now is broken."""
        ...

    def roll_back(self) -> None:
        """Undoes the transaction, if one is open."""
        ...

    def begin_command(self) -> HandlerTransaction:
        """Sets a savepoint. From now on nobody may end the transaction."""
        ...

    def end_command(self, *, is_refused: bool) -> bool:
        """Forgets the savepoint, with what was done since where it was refused. False: it is gone, the transaction was ended."""
        ...

    def known(self, command_ids: Sequence[str]) -> dict[str, Known]: ...

    def place(self, *, is_new: bool) -> Done:
        """Where the capture's log stands with what this transaction did; `is_new`: it carried out a command."""
        ...

    def remember(self, requests: Iterable[TableRequest], done: Done) -> None: ...

    def committed(self, done: Done) -> Done:
        """What only can be told of the place once the transaction is committed."""
        ...


class Deferred(Exception):
    """A constraint was broken that is checked at COMMIT; nothing is stored. `refusal` says so in words."""

    def __init__(self, refusal: Exception) -> None:
        self.refusal = refusal
        super().__init__(str(refusal))


def handle_group(database: GroupDatabase, requests: Sequence[TableRequest]) -> list[TableOutcome]:
    """See `TableStore.handle`."""
    undone: dict[int, BaseException] = {}
    while True:
        try:
            with database.errors():
                return _transact(database, requests, undone)
        except _Undone as lost:
            undone[lost.index] = lost.error
        except _Ended as ended:
            return [_told(requests[ended.index], is_over=index <= ended.index) for index in range(len(requests))]


def _transact(database: GroupDatabase, requests: Sequence[TableRequest], undone: dict[int, BaseException]) -> list[TableOutcome]:
    database.begin()
    try:
        answer = _carry_out_all(database, requests, undone)
        database.commit()
    except Deferred as error:
        database.roll_back()
        return [error.refusal] if len(requests) == 1 else [_alone(database, request) for request in requests]
    except BaseException:
        database.roll_back()
        raise
    return answer()


def _alone(database: GroupDatabase, request: TableRequest) -> TableOutcome:
    try:
        return handle_group(database, [request])[0]
    except Exception as error:  # those before it are stored, and must be answered as such
        return error


def _carry_out_all(
    database: GroupDatabase, requests: Sequence[TableRequest], undone: dict[int, BaseException]
) -> Callable[[], list[TableOutcome]]:
    """Runs all commands; what becomes of each is told once that is committed."""
    asked = [request.command_id for request in requests if not request.is_fresh]
    known = database.known(asked) if asked else {}
    new: dict[str, TableRequest] = {}
    refused = dict(undone)
    for index, request in enumerate(requests):
        if index in undone:
            continue
        first = known.get(request.command_id) or new.get(request.command_id)
        if first is not None and (first.name, first.digest) != (request.name, request.digest):
            refused[index] = CommandReused(request.command_id, request.name, first.name)
        elif first is None and (error := _carry_out(database, request, index)) is not None:
            refused[index] = error
        elif first is None:
            new[request.command_id] = request
    place = database.place(is_new=bool(new))
    database.remember(new.values(), place)

    def answer() -> list[TableOutcome]:
        now = database.committed(place)
        return [
            refused[index] if index in refused else _first_time(known.get(request.command_id), now)
            for index, request in enumerate(requests)
        ]

    return answer


def _carry_out(database: GroupDatabase, request: TableRequest, index: int) -> BaseException | None:
    """Runs one command's handler. Returns why it was refused, with everything that it did undone; None if it was not."""
    refusal: BaseException | None = None
    transaction = database.begin_command()
    transaction.carried = Carried(request.command_id, request.metadata)
    try:
        request.handler(transaction, request.command)
    except BaseException as error:  # of a user's function, whatever it raises: it is this command's alone
        error.add_note(f"raised while service '{database.service}' handled {request.name}")
        refusal = error
    finally:
        transaction.end()
    if transaction.failure is not None:
        raise transaction.failure
    if transaction.is_undone:
        raise _Undone(index, refusal or _swallowed(request))
    if not database.end_command(is_refused=refusal is not None):
        raise _Ended(index)
    return refusal


def _first_time(known: Known | None, now: Done) -> Done:
    """What the first receipt said; a position of a history that is gone is today's, which contains the command as well."""
    if known is None:
        return now
    then = known.done
    is_gone = then.position.incarnation != now.position.incarnation
    recorded = now.recorded
    if recorded is not None and then.recorded is not None and then.recorded.incarnation == recorded.incarnation:
        recorded = then.recorded
    return Done(now.position if is_gone else then.position, recorded)


class _Undone(Exception):
    """The database undid the whole transaction for the sake of one command."""

    def __init__(self, index: int, error: BaseException) -> None:
        self.index, self.error = index, error


class _Ended(Exception):
    """A handler ended the whole transaction by itself, and committed what was done up to then."""

    def __init__(self, index: int) -> None:
        self.index = index


def _told(culprit: TableRequest, *, is_over: bool) -> StoreError:
    who = (
        f"the handler of {culprit.name} (command id '{culprit.command_id}') ended the transaction of its group, which it must not"
    )
    if not is_over:
        return Unavailable(f"{who}; this command of the group was not carried out, send it again")
    return StoreError(
        f"{who}: what it and the commands before it in the group did is stored, but not that they did it, so that any of them "
        "sent again takes effect twice; look at the tables first, and mend the handler"
    )


def _swallowed(request: TableRequest) -> Exception:
    return StoreError(
        f"{request.name}: the database undid the whole transaction (ON CONFLICT ROLLBACK), and the handler did not let the error "
        "pass on; nothing of the command was stored"
    )
