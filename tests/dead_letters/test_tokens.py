"""Rows are never quietly old while a stream is held back, though nobody can tell what its event would have changed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from syncline import App, EventService, NotReady, Patch, Relation, SQLite, Upsert, View


@dataclass(frozen=True)
class Add:
    account: str
    amount: int = 1


@dataclass(frozen=True)
class Added:
    account: str
    amount: int
    total: int


@dataclass(frozen=True)
class AddedAnew:
    account: str
    amount: int
    total: int


@dataclass(frozen=True)
class Balance:
    account: str
    total: int


def rows(event: Added | AddedAnew) -> Iterator[Upsert | Patch]:
    yield Upsert("balance", account=event.account, total=event.total)
    if event.amount == 13:
        raise ValueError("unlucky")


bank = EventService(
    "bank",
    key="account",
    commands=Add,
    events=Added,
    initial=0,
    decide=lambda total, command: [Added(command.account, command.amount, total + command.amount)],
    evolve=lambda total, event: total + event.amount,
    relations={"balance": Relation(Balance, "account")},
    rows=rows,
)


@pytest.fixture
def over(tmp_path: Path) -> Callable[[EventService], App]:
    """The application over the same files with one or the other version of the service."""

    def build(service: EventService) -> App:
        balances = View("balances", "account", "SELECT account, total FROM bank.balance")
        return App(service.on(SQLite(str(tmp_path / "bank.db"))), balances.on(SQLite(str(tmp_path / "read.db"))))

    return build


def test_a_release_whose_rows_fails_for_every_event_serves_no_token_of_one(over: Callable[[EventService], App]) -> None:
    with over(bank) as before:
        before.send(Add("ann"))
        before.sync()
        served = before.token("bank")

    def broken(event: Added) -> Iterator[Upsert]:
        raise NameError("name 'totl' is not defined")
        yield

    with over(replace(bank, rows=broken)) as app:
        receipt = app.send(Add("ann"))
        app.sync()
        with pytest.raises(NotReady, match="totl"):
            app.read("balances", "ann", at_least=receipt.token)
        assert app.read("balances", "ann") == {"account": "ann", "total": 1}
    with over(bank) as mended:
        mended.retry(mended.dead_letters())
        assert mended.read("balances", "ann", at_least=receipt.token)["total"] == 2
        assert mended.read("balances", "ann", at_least=served)["total"] == 2


def test_events_whose_class_was_renamed_without_saying_so_serve_no_token(over: Callable[[EventService], App]) -> None:
    with over(bank) as before:
        before.send(Add("ann"))
        before.sync()
        receipt = before.send(Add("ann"))
    with over(replace(bank, events=AddedAnew)) as app:
        app.sync()
        with pytest.raises(NotReady, match="dead-letters"):
            app.read("balances", "ann", at_least=receipt.token)


def test_an_event_that_would_have_changed_a_row_of_another_stream_serves_no_token_there(
    over: Callable[[EventService], App],
) -> None:
    with over(bank) as app:
        app.send(Add("ann"))
        older = app.send(Add("bob"))
        app.sync()
        receipt = app.send(Add("ann", 13))
        app.sync()
        with pytest.raises(NotReady, match="unlucky"):
            app.read("balances", "bob", at_least=receipt.token)
        assert app.read("balances", "bob", at_least=older.token)["total"] == 1


@pytest.mark.parametrize("raised", [SystemExit(3), GeneratorExit()])
def test_whatever_rows_raises_holds_back_a_stream_and_ends_nothing(
    over: Callable[[EventService], App], raised: BaseException
) -> None:
    def leaves(event: Added) -> Iterator[Upsert]:
        if event.amount == 13:
            raise raised
        yield from rows(event)  # type: ignore[misc]

    with over(replace(bank, rows=leaves)) as app:
        app.send(Add("ann", 13))
        app.send(Add("bob"))
        app.sync()
        assert [held.letter.stream for held in app.dead_letters()] == ["bank-ann"]
        assert type(raised).__name__ in app.dead_letters()[0].letter.error
        assert app.rows("balances").rows == [("bob", 1)]
