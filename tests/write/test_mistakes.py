"""What people do by mistake: each is told, at the one command that it concerns, and nobody else's command is touched by it."""

import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from tests.write.ledger import Deposit, Deposited, decide, ledger, recorded

from syncline import App, EventService, InvalidCommand, InvalidDefinition, InvalidEvent, Query, QueryItem, Rejected, SQLite
from syncline.errors import SynclineError, Unavailable


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "ledger.db")


def group(app: App, commands: list[Any], **about: Any) -> list[BaseException | None]:
    """Sends commands that are handled together with others, and gives what each raised."""
    futures = [app.submit(Deposit(f"neighbour-{number}", 1)) for number in range(20)]
    mine = [app.submit(command, **about) for command in commands]
    futures += [app.submit(Deposit(f"neighbour-{number}", 1)) for number in range(20, 40)]
    done, _ = wait([*futures, *mine], timeout=30)
    assert len(done) == 40 + len(commands)
    assert [future.exception() for future in futures] == [None] * 40
    return [future.exception() for future in mine]


@pytest.mark.parametrize("raised", [SystemExit, GeneratorExit, KeyboardInterrupt, ZeroDivisionError])
def test_whatever_decide_raises_is_the_answer_of_that_command_alone(path: str, raised: type[BaseException]) -> None:
    def raising(state: Any, command: Any) -> Iterator[Any]:
        if command.account == "bad":
            raise raised("by mistake")
        yield from decide(state, command)

    with App(replace(ledger, decide=raising).on(SQLite(path))) as app:
        (error,) = group(app, [Deposit("bad", 1)])
        assert type(error) is raised
        app.send(Deposit("a", 1))


def test_a_callback_that_raises_or_waits_ends_nothing(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    found: list[BaseException] = []

    def leave(_: object) -> None:
        raise SystemExit(3)

    def send_and_wait(_: object) -> None:
        try:
            app.send(Deposit("b", 1))
        except SynclineError as error:
            found.append(error)

    with App(ledger.on(SQLite(path))) as app:
        for callback in (leave, send_and_wait, lambda _: app.submit(Deposit("c", 1))):
            future = app.submit(Deposit("a", 1))
            future.add_done_callback(callback)
            future.result(30)
        app.send(Deposit("a", 1))
    assert [args.exc_type for args in told] in ([SystemExit], [])  # none where it was done before the callback came
    assert all("must not be called where commands are handled" in str(error) for error in found)


def test_to_send_where_a_command_is_decided_is_refused(path: str) -> None:
    def sending(state: Any, command: Any) -> Iterator[Any]:
        if command.account == "outer":
            app.send(Deposit("inner", 1))
        yield from decide(state, command)

    with App(replace(ledger, decide=sending).on(SQLite(path))) as app:
        with pytest.raises(SynclineError, match="`send` waits, and must not be called where commands are handled"):
            app.send(Deposit("outer", 1))
        app.send(Deposit("a", 1))


def test_a_failure_in_a_later_round_is_told_to_those_alone_that_are_not_stored(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("syncline.stores.sqlite.write_lock.LOCK_TIMEOUT_S", 0.2)
    tried: list[int] = []
    gate = threading.Event()

    def slow(state: Any, command: Any) -> Iterator[Any]:
        match command.account:
            case "gate":
                gate.wait(30)
            case "hot":
                tried.append(1)
                if len(tried) == 1:
                    other.send(Deposit("hot", 1))
                else:
                    fcntl.flock(locks[0], fcntl.LOCK_EX)
        yield from decide(state, command)

    with App(ledger.on(SQLite(path))) as other, App(replace(ledger, decide=slow).on(SQLite(path))) as app:
        other.send(Deposit("first", 1))
        locks = [os.open(f"{path}-lock", os.O_RDWR)]
        held = app.submit(Deposit("gate", 1))
        futures = [app.submit(Deposit(account, 1)) for account in ("a", "hot", "b")]
        gate.set()
        held.result(30)
        assert [type(future.exception(30)) for future in futures] == [type(None), Unavailable, type(None)]
        os.close(locks[0])
    assert sorted(each.stream for each in recorded(path)) == ["ledger-a", "ledger-b", "ledger-first", "ledger-gate", "ledger-hot"]


def test_a_log_that_is_put_back_in_place_is_noticed_before_anything_is_decided_upon_what_is_gone(path: str) -> None:
    with (
        App(ledger.on(SQLite(path))) as app,
        closing(sqlite3.connect(path)) as db,
        closing(sqlite3.connect(":memory:")) as backup,
    ):
        app.send(Deposit("a", 1))
        db.backup(backup)
        for _ in range(3):
            app.send(Deposit("a", 2))
        backup.backup(db)
        with pytest.raises(Unavailable, match="has another history than it had"):
            app.send(Deposit("a", 4))
        assert app.send(Deposit("a", 8)).events == (Deposited(8, 9),)
    assert [each.version for each in recorded(path)] == [1, 2]


@pytest.mark.parametrize("command_id", [5, True, 1.5, b"c-1", "", "\ud800", ("c", 1)])
def test_an_id_that_is_none_is_refused_alone(path: str, command_id: Any) -> None:
    with App(ledger.on(SQLite(path))) as app:
        (error,) = group(app, [Deposit("a", 1)], command_id=command_id)
        assert isinstance(error, InvalidCommand) and "command_id" in str(error)


def test_a_uuid_is_an_id(path: str) -> None:
    number = uuid4()
    with App(ledger.on(SQLite(path))) as app:
        assert app.send(Deposit("a", 1), command_id=number) == app.send(Deposit("a", 1), command_id=str(number))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "about", [{"metadata": {"command_id": "other"}}, {"correlation_id": 5}, {"causation_id": b"x"}, {"metadata": {1: 2}}]
)
def test_metadata_cannot_take_the_place_of_the_ids(path: str, about: dict[str, Any]) -> None:
    with App(ledger.on(SQLite(path))) as app, pytest.raises(InvalidCommand):
        app.send(Deposit("a", 1), **about)


@dataclass(frozen=True)
class Claim:
    name: str


@dataclass(frozen=True)
class Claimed:
    name: str


def claims(query: Callable[[Any], Any], tags: Callable[[Any], Any] = lambda event: (f"name:{event.name}",)) -> EventService:
    def claim(is_taken: bool, command: Claim) -> Iterator[Claimed]:
        if is_taken:
            raise Rejected(f"'{command.name}' is taken")
        yield Claimed(command.name)

    return EventService(
        "names", commands=Claim, events=Claimed, initial=False, decide=claim, evolve=lambda *_: True, query=query, tags=tags
    )


@pytest.mark.parametrize(
    "query",
    [
        lambda command: Query([QueryItem(tags=[f"name:{command.name}"])]),  # type: ignore[arg-type]
        lambda command: Query((QueryItem(types=(Claimed,), tags=(f"name:{command.name}",)),)),
        lambda command: Query(tuple(QueryItem(tags=(f"{kind}:{command.name}",)) for kind in ("name", *range(700)))),
    ],
)
def test_a_query_may_be_spelt_in_several_ways(path: str, query: Callable[[Any], Any]) -> None:
    with App(claims(query).on(SQLite(path))) as app:
        app.send(Claim("ada"))
        with pytest.raises(Rejected, match="'ada' is taken"):
            app.send(Claim("ada"))


@pytest.mark.parametrize(
    ("query", "told"),
    [
        (lambda command: Query((QueryItem(types="Claimed"),)), "are 'Claimed', expected several"),  # type: ignore[arg-type]
        (lambda command: Query((QueryItem(types=("Claimd",)),)), "of type Claimd, which it has not; it has: Claimed"),
        (lambda command: Query((QueryItem(tags=("",)),)), "expected a text that is not empty"),
        (lambda command: Query(("name",)), "expected a QueryItem"),  # type: ignore[arg-type]
        (lambda command: None, "expected a Query"),
    ],
)
def test_a_query_that_would_never_match_is_refused_and_lets_nothing_pass(
    path: str, query: Callable[[Any], Any], told: str
) -> None:
    with App(claims(query).on(SQLite(path))) as app, pytest.raises(InvalidDefinition, match=told):
        app.send(Claim("ada"))
    assert recorded(path) == []


def test_a_text_in_place_of_several_tags_is_refused(path: str) -> None:
    service = claims(lambda command: Query((QueryItem(tags=(f"name:{command.name}",)),)), lambda event: f"name:{event.name}")
    with App(service.on(SQLite(path))) as app, pytest.raises(InvalidEvent, match="give several texts"):
        app.send(Claim("ada"))


@dataclass
class Mutable:
    entries: list[int] = field(default_factory=list)


def test_a_state_that_is_changed_in_place_is_noticed_before_it_decides_for_another_stream(path: str) -> None:
    def append_in_place(state: Mutable, event: Any) -> Mutable:
        state.entries.append(event.cents)
        return state

    service = replace(
        ledger,
        initial=Mutable(),
        decide=lambda state, command: [Deposited(command.cents, sum(state.entries))],
        evolve=append_in_place,
    )
    with App(service.on(SQLite(path))) as app:
        for account in ("a", "b"):
            with pytest.raises(InvalidDefinition, match="changed the initial state in place; return another value"):
                app.send(Deposit(account, 1))
    assert recorded(path) == []


def test_a_damaged_snapshot_is_passed_over(path: str) -> None:
    service = replace(ledger, snapshot_every=2)
    with App(service.on(SQLite(path))) as app:
        for _ in range(4):
            app.send(Deposit("a", 1))
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("UPDATE syncline_snapshot SET state = '{'").rowcount == 1
        db.commit()
    with App(service.on(SQLite(path))) as app:
        assert group(app, [Deposit("a", 1)]) == [None]
    assert recorded(path)[-1].name == "Deposited"


def test_a_fingerprint_of_evolve_is_the_same_in_every_process(path: str) -> None:
    from syncline.codec import StateCodec

    def with_sets(order: str) -> Callable[[Any, Any], Any]:
        found: dict[str, Any] = {}
        exec(f"def evolve(state, event):\n    return state in {{{order}}}", found)
        return found["evolve"]  # type: ignore[no-any-return]

    fingerprints = {StateCodec(0, with_sets(order), 1).fingerprint for order in ("'p', 'q', 'r'", "'r', 'q', 'p'")}
    assert len(fingerprints) == 1
