"""A command of a saga takes effect once, also where the sagas' store is lost, or an older copy of it is put back."""

from dataclasses import dataclass
from pathlib import Path

from syncline import App, EventService, Saga, SQLite


@dataclass(frozen=True)
class Start:
    id: str


@dataclass(frozen=True)
class Started:
    id: str


@dataclass(frozen=True)
class Charge:
    id: str


@dataclass(frozen=True)
class Charged:
    id: str


@dataclass(frozen=True)
class Notify:
    id: str


@dataclass(frozen=True)
class Notified:
    id: str


def _service(name: str, command: type, event: type) -> EventService:
    """One that does what it is told as often as it is told: nothing but the command's id keeps it from doing it twice."""
    return EventService(
        name,
        key="id",
        commands=command,
        events=event,
        initial=0,
        decide=lambda state, command: [event(command.id)],
        evolve=lambda state, event: state + 1,
    )


def _react(event: object) -> object:
    match event:
        case Started(id):
            yield Charge(id)
        case Charged(id):
            yield Notify(id)


def _app(folder: Path, *names: str) -> App:
    sagas = [
        Saga(name, key="id", starts_on=Started, events=Started | Notified | Charged, commands=Charge | Notify, react=_react)
        for name in names
    ]
    return App(
        _service("starts", Start, Started).on(SQLite(str(folder / "starts.db"))),
        _service("notices", Notify, Notified).on(SQLite(str(folder / "notices.db"))),
        _service("charges", Charge, Charged).on(SQLite(str(folder / "charges.db"))),
        *(saga.on(SQLite(str(folder / "sagas.db"))) for saga in sagas),
    )


def _counts(folder: Path) -> dict[str, int]:
    with _app(folder, "pay") as app:
        return {status.service: status.events for status in app.status().writing}


def test_a_store_of_sagas_that_is_lost_sends_all_again_without_effect(tmp_path: Path) -> None:
    """The services are read in another order the second time: each event is then another in the saga's own counting."""
    with _app(tmp_path, "pay") as app, app.settling() as settle:
        for number in range(5):
            app.send(Start(f"k{number}"))
            settle()
    before = _counts(tmp_path)
    for file in tmp_path.glob("sagas.db*"):
        file.unlink()
    with _app(tmp_path, "pay") as app, app.settling() as settle:
        settle()
        assert {each.status for each in app.sagas.listed()} == {"open"}
        _, steps = app.sagas.history("pay", "k0")
        assert [step.name for step in steps if step.kind == "event"] == ["Started", "Notified", "Charged"]
    assert _counts(tmp_path) == before


def test_two_sagas_never_give_one_id_to_two_commands(tmp_path: Path) -> None:
    with _app(tmp_path, "a", "a-b") as app, app.settling() as settle:
        app.send(Start("b-1"))
        app.send(Start("1"))
        settle()
        for saga in ("a", "a-b"):
            for key in ("b-1", "1"):
                _, steps = app.sagas.history(saga, key)
                sent = [(step.name, step.state) for step in steps if step.kind == "command"]
                assert ("Charge", "done") in sent, (saga, key)
