"""Reads as callers write them: keys and conditions of every type, tokens in every form, a read store that is only being made."""

import math
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from datetime import time as clock_time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from syncline import App, EventService, InvalidToken, NotFound, NotReady, Relation, SQLite, StaleRead, Unavailable, Upsert, View
from syncline.cli import main
from syncline.move.freshness import Checkpoint, staleness

TIMEOUT_S = 30.0
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@dataclass(frozen=True)
class Note:
    at: datetime
    day: date
    hour: clock_time
    text: str
    is_read: bool


@dataclass(frozen=True)
class Noted:
    at: datetime
    text: str


diary = EventService(
    "diary",
    key="text",
    commands=Noted,
    events=Noted,
    initial=None,
    decide=lambda state, command: [command],
    evolve=lambda state, event: None,
    relations={"note": Relation(Note, "at")},
    rows=lambda event: [
        Upsert("note", at=event.at, day=event.at.date(), hour=event.at.time(), text=event.text, is_read=True),
    ],
)


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    notes = View("notes", "at", "SELECT at, day, hour, text, is_read FROM diary.note")
    with App(diary.on(SQLite(str(tmp_path / "diary.db"))), notes.on(SQLite(str(tmp_path / "read.db")))) as app:
        yield app


@contextmanager
def running(app: App) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=app.run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_a_key_and_a_condition_are_stored_and_asked_for_alike(app: App) -> None:
    app.send(Noted(AT, "new year"))
    app.sync()
    row = app.read("notes", AT)
    assert row["text"] == "new year"
    for column, value in (("at", AT), ("day", AT.date()), ("hour", AT.time()), ("text", "new year"), ("is_read", True)):
        assert len(app.rows("notes", where=[(column, value)]).rows) == 1, column
    assert app.read("notes", AT.isoformat()) == row
    assert app.rows("notes", where=[("day", date(2020, 1, 1))]).rows == []


@pytest.mark.parametrize("value", [uuid.uuid4(), 2**63, "\ud800", ["a"]])
def test_a_value_that_no_column_can_hold_is_told(app: App, value: object) -> None:
    app.send(Noted(AT, "new year"))
    app.sync()
    with pytest.raises(NotFound, match="no row has .* in 'text'"):
        app.rows("notes", where=[("text", value)])


def test_a_token_may_be_given_as_such_as_text_and_as_the_receipt_that_it_came_with(app: App) -> None:
    receipt = app.send(Noted(AT, "new year"))
    with pytest.raises(Unavailable):
        app.read("notes", AT, at_least=receipt, timeout_s=0)
    app.sync()
    later = app.send(Noted(datetime(2027, 1, 1, tzinfo=UTC), "another"))
    for given, newer in ((receipt, later), (receipt.token, later.token), (str(receipt.token), str(later.token))):
        assert app.read("notes", AT, at_least=given)["text"] == "new year"
        with pytest.raises(StaleRead):
            app.rows("notes", at_least=newer, timeout_s=0)


@pytest.mark.parametrize("given", ["", "sl1.nonsense", 5, b"sl1."])
def test_what_is_no_token_is_refused_by_name(app: App, given: Any) -> None:
    with pytest.raises(InvalidToken, match="is not a consistency token"):
        app.rows("notes", at_least=given)


def test_times_that_are_not_numbers_are_refused(app: App) -> None:
    receipt = app.send(Noted(AT, "new year"))
    app.sync()
    with pytest.raises(ValueError, match="timeout_s is nan"):
        app.rows("notes", at_least=receipt, timeout_s=math.nan)
    with pytest.raises(ValueError, match="max_staleness_s is nan"):
        app.rows("notes", max_staleness_s=math.nan)
    for option in ("--timeout-s", "--max-staleness-s"):
        found = CliRunner().invoke(main, ["read", "notes", option, "nan"])
        assert found.exit_code == 2
        assert "it is not a number" in found.output


def test_a_read_with_a_token_waits_for_a_read_store_that_is_only_being_made(app: App) -> None:
    receipt = app.send(Noted(AT, "new year"))
    found: list[object] = []

    def read() -> None:
        found.append(app.read("notes", AT, at_least=receipt, timeout_s=TIMEOUT_S)["text"])

    reading = threading.Thread(target=read)
    reading.start()
    with running(app):
        reading.join(TIMEOUT_S)
    assert found == ["new year"]


def test_a_read_without_a_token_and_one_whose_time_is_over_are_told_that_there_is_no_store(app: App) -> None:
    receipt = app.send(Noted(AT, "new year"))
    began = time.monotonic()
    with pytest.raises(Unavailable, match="there is no read store"):
        app.rows("notes", timeout_s=TIMEOUT_S)
    assert time.monotonic() - began < TIMEOUT_S / 2
    with pytest.raises(Unavailable, match="there is no read store"):
        app.rows("notes", at_least=receipt, timeout_s=0.05)


def test_a_read_with_a_token_waits_for_a_view_that_is_only_being_built(app: App, tmp_path: Path) -> None:
    receipt = app.send(Noted(AT, "new year"))
    app.sync()
    texts = View("texts", "at", "SELECT at, text FROM diary.note").on(SQLite(str(tmp_path / "read.db")))
    with App(*app.parts, texts) as more:
        with pytest.raises(NotReady, match="does not know it yet"):
            more.rows("texts", timeout_s=TIMEOUT_S)
        with pytest.raises(NotReady, match="does not know it yet"):
            more.rows("texts", at_least=receipt, timeout_s=0.05)
        with running(more):
            assert more.rows("texts", at_least=receipt, timeout_s=TIMEOUT_S).rows == [(AT.isoformat(), "new year")]


def test_slow_rows_of_one_service_do_not_hold_up_the_others(tmp_path: Path) -> None:
    is_slow = threading.Event()

    def slowly(event: Noted) -> list[Upsert]:
        time.sleep(0.01 if is_slow.is_set() else 0.0)
        return [Upsert("note", at=event.at, day=event.at.date(), hour=event.at.time(), text=event.text, is_read=False)]

    def parts(name: str, service: EventService) -> list[Any]:
        view = View(f"{name}_notes", "at", f"SELECT at, text FROM {name}.note")
        return [service.on(SQLite(str(tmp_path / f"{name}.db"))), view.on(SQLite(str(tmp_path / "read.db")))]

    @dataclass(frozen=True)
    class Quick(Noted):
        pass

    fields = {"relations": diary.relations, "key": "text", "initial": None, "evolve": lambda state, event: None}
    slow = EventService("slow", commands=Noted, events=Noted, decide=lambda s, c: [c], rows=slowly, **fields)
    quick = EventService("quick", commands=Quick, events=Quick, decide=lambda s, c: [c], rows=diary.rows, **fields)
    with App(*parts("slow", slow), *parts("quick", quick)) as app:
        app.sync()
        sent = [app.submit(Noted(datetime(2000 + number, 1, 1, tzinfo=UTC), "x")) for number in range(1_000)]
        last = [future.result() for future in sent][-1]
        is_slow.set()
        with running(app):
            receipt = app.send(Quick(AT, "now"))
            assert app.read("quick_notes", AT, at_least=receipt, timeout_s=TIMEOUT_S)["text"] == "now"
            with pytest.raises(StaleRead):
                app.rows("slow_notes", at_least=last, timeout_s=0)
            is_slow.clear()


def test_a_time_to_come_tells_no_age() -> None:
    vector = {"a": Checkpoint(None, 90.0), "b": Checkpoint(None, 101.0)}
    assert staleness(vector, ["a"], 100.0) == 10.0
    assert staleness(vector, ["a", "b"], 100.0) is None
    assert staleness(vector, ["a", "b"], 101.0) == 11.0


def test_rows_read_by_a_clock_that_was_set_back_since_are_of_unknown_age(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time
    app.send(Noted(AT, "new year"))
    monkeypatch.setattr(time, "time", lambda: now() + 3600)
    app.sync()
    monkeypatch.setattr(time, "time", now)
    assert app.rows("notes").staleness_s is None
    with pytest.raises(StaleRead, match="a clock was set back"):
        app.rows("notes", max_staleness_s=60, timeout_s=0)
    app.sync()
    assert app.rows("notes", max_staleness_s=60).rows
