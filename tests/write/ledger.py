"""A service for tests: accounts whose events tell the balance that they led to, so that any two in a wrong order are seen."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from syncline import EventService, Rejected
from syncline.events import Recorded
from syncline.stores.event_log import StoredRow
from syncline.stores.sqlite.events import SQLiteEventLog
from syncline.write.event_service import decided, fold


@dataclass(frozen=True)
class Deposit:
    account: str
    cents: int


@dataclass(frozen=True)
class Withdraw:
    account: str
    cents: int


@dataclass(frozen=True)
class Close:
    account: str


@dataclass(frozen=True)
class Deposited:
    cents: int
    balance: int


@dataclass(frozen=True)
class Rewarded:
    cents: int
    balance: int


@dataclass(frozen=True)
class Withdrawn:
    cents: int
    balance: int


@dataclass(frozen=True)
class Closed:
    entries: int


@dataclass(frozen=True)
class Account:
    balance: int = 0
    entries: int = 0
    is_open: bool = True


Command = Deposit | Withdraw | Close
Event = Deposited | Rewarded | Withdrawn | Closed


def decide(account: Account, command: Command) -> Iterator[Event]:
    match command:
        case Close():
            if account.is_open:
                yield Closed(account.entries)
        case _ if not account.is_open:
            raise Rejected("the account is closed")
        case Deposit(cents=cents):
            yield Deposited(cents, account.balance + cents)
            if cents % 5 == 0:
                yield Rewarded(1, account.balance + cents + 1)
        case Withdraw(cents=cents) if cents > account.balance:
            raise Rejected(f"there are {account.balance}, not {cents}")
        case Withdraw(cents=cents):
            yield Withdrawn(cents, account.balance - cents)


def evolve(account: Account, event: Event) -> Account:
    match event:
        case Closed():
            return replace(account, is_open=False)
        case Deposited(balance=balance) | Rewarded(balance=balance) | Withdrawn(balance=balance):
            return replace(account, balance=balance, entries=account.entries + 1)


ledger = EventService("ledger", key="account", commands=Command, events=Event, initial=Account(), decide=decide, evolve=evolve)


def recorded(path: str) -> list[Recorded]:
    """Everything in a log."""
    with closing(SQLiteEventLog(path)) as log:
        return log.read(limit=-1)


def assert_is_serial(service: EventService, events: list[Recorded], sent: Mapping[str, Any]) -> dict[str, Any]:
    """The log is what deciding its commands one after the other, in its order, gives. Returns the states, by stream.

    `sent` holds every command by its id. A service over a query decides over all earlier events that match.
    """
    codec = service.event_codec
    before: list[tuple[Recorded, Any]] = []
    states: dict[str, Any] = {}
    handled: set[str] = set()
    for group in appends_of(events):
        values = tuple(codec.decode_recorded(each) for each in group)
        command_id = str(group[0].metadata["command_id"])
        assert command_id not in handled, f"{command_id} took effect twice"
        handled.add(command_id)
        command = sent[command_id]
        stream = service.stream_of(command)
        assert {each.stream for each in group} == {stream}
        state = states.get(stream, service.initial)
        if service.query is not None:
            query = service.query(command)
            state = fold(service, service.initial, [value for each, value in before if query.matches(each.name, each.tags)])
        assert decided(service, state, command) == values, f"at position {group[0].position}"
        states[stream] = fold(service, states.get(stream, service.initial), values)
        before += zip(group, values, strict=True)
    assert [each.position for each in events] == list(range(1, len(events) + 1))
    return states


def appends_of(events: list[Recorded]) -> Iterator[list[Recorded]]:
    """The events that were appended together."""
    rest = events
    while rest:
        size = rest[0].append_end - rest[0].position + 1
        yield rest[:size]
        rest = rest[size:]


class Counting(SQLiteEventLog):
    """Counts how often it is asked for streams, and the events that it gives to be folded."""

    reads = read_rows = 0

    def read_streams(self, after: Mapping[str, int]) -> dict[str, list[StoredRow]]:
        found = super().read_streams(after)
        self.reads += 1
        self.read_rows += sum(map(len, found.values()))
        return found
