"""A database that was put back, and `syncline restored`: no token of the lost history is served, and none of the new is lost."""

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests import command_line

from syncline import (
    App,
    DeadToken,
    EventService,
    ForeignService,
    Polling,
    Relation,
    SQLite,
    StaleRead,
    TableService,
    Token,
    Triggers,
    Unavailable,
    Upsert,
    View,
)

TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Put:
    name: str


@dataclass(frozen=True)
class WasPut:
    name: str


@dataclass(frozen=True)
class Thing:
    name: str


def put(tx: Any, command: Put) -> None:
    tx.execute("INSERT INTO thing VALUES (:name)", command)


SCHEMA = "CREATE TABLE thing (name TEXT PRIMARY KEY)"
EVENTS = EventService(
    "box",
    key="name",
    commands=Put,
    events=WasPut,
    initial=None,
    decide=lambda state, command: [WasPut(command.name)],
    evolve=lambda state, event: None,
    relations={"thing": Relation(Thing, "name")},
    rows=lambda event: [Upsert("thing", name=event.name)],
)
TABLES = TableService("box", schema=SCHEMA, publishes=["thing"], handles={Put: put})
KINDS = ("events", "tables by triggers", "tables by polling", "foreign by triggers")


class Box:
    """A service of one kind with a read model, and what is done to its file."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder, self.kind, self.path = folder, kind, folder / "box.db"
        if kind.startswith("foreign"):
            with closing(sqlite3.connect(self.path)) as db:
                db.execute(SCHEMA)
        self.app = self.open()

    def open(self) -> App:
        place = SQLite(str(self.path))
        placed = {
            "events": lambda: EVENTS.on(place),
            "tables by triggers": lambda: TABLES.on(place, Triggers()),
            "tables by polling": lambda: TABLES.on(place, Polling(every_s=0.01)),
            "foreign by triggers": lambda: ForeignService("box", ("thing",)).on(place, Triggers()),
        }[self.kind]()
        return App(placed, View("things", "name", "SELECT name FROM box.thing").on(SQLite(str(self.folder / "read.db"))))

    def put(self, *names: str) -> Token:
        """Stores these, and returns the token of the last."""
        token = Token({})
        for name in names:
            if self.kind.startswith("foreign"):
                with closing(sqlite3.connect(self.path)) as db, db:
                    db.execute("INSERT INTO thing VALUES (?)", (name,))
                token = self.app.token("box")
            else:
                token = self.app.send(Put(name)).token
        return token

    def back_up(self) -> None:
        with closing(sqlite3.connect(self.path)) as db, closing(sqlite3.connect(self.folder / "backup.db")) as backup:
            db.backup(backup)

    def restore(self) -> None:
        """As the procedure of the operations page says, up to `syncline restored`."""
        self.app.close()
        for suffix in ("-wal", "-shm", "-journal"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        (self.folder / "backup.db").replace(self.path)
        self.app = self.open()

    def names(self, token: Token | None = None) -> set[str]:
        return {name for (name,) in self.app.rows("things", at_least=token, timeout_s=0.3).rows}

    @contextmanager
    def running(self) -> Iterator[None]:
        stop = threading.Event()
        thread = threading.Thread(target=self.app.run, args=(stop,))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


@pytest.fixture(params=KINDS)
def box(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Box]:
    found = Box(tmp_path, request.param)
    yield found
    found.app.close()


def test_a_read_store_behind_the_backup_serves_no_token_of_the_lost_history(box: Box) -> None:
    box.app.sync()
    box.put("a", "b")
    box.app.sync()
    box.put("c")
    box.back_up()
    lost = box.put("lost")
    box.restore()
    assert box.app.restored("box")
    new = box.put("other", "more")
    with pytest.raises(StaleRead):
        box.names(lost)
    box.app.sync()
    with pytest.raises(DeadToken):
        box.names(lost)
    assert box.names(new) == {"a", "b", "c", "other", "more"}


def test_a_token_given_after_the_restore_before_a_relay_looked_is_reached_by_the_new_history_alone(box: Box) -> None:
    box.app.sync()
    box.put("a")
    box.app.sync()
    box.back_up()
    lost = box.put("lost")
    box.app.sync()
    assert box.names(lost) == {"a", "lost"}
    box.restore()
    assert box.app.restored("box")
    new = box.put("new")
    with pytest.raises(StaleRead):
        box.names(new)
    box.app.sync()
    assert box.names(new) == {"a", "new"}
    with pytest.raises(DeadToken):
        box.names(lost)


def test_a_relay_that_runs_compares_what_it_holds_and_goes_on(box: Box) -> None:
    box.app.sync()
    with box.running():
        old = box.put("a", "b")
        assert {name for (name,) in box.app.rows("things", at_least=old, timeout_s=TIMEOUT_S).rows} == {"a", "b"}
        name = box.app.restored("box")
        new = box.put("c")
        assert {position.incarnation for position in new.positions.values()} == {name}
        assert {name for (name,) in box.app.rows("things", at_least=new, timeout_s=TIMEOUT_S).rows} == {"a", "b", "c"}
        with pytest.raises(DeadToken):
            box.names(old)


def test_a_database_of_others_that_is_polled_needs_nothing_and_is_not_written_to(tmp_path: Path) -> None:
    path = tmp_path / "box.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute(SCHEMA)
    before = path.read_bytes()
    service = ForeignService("box", ("thing",)).on(SQLite(str(path)), Polling())
    assert App(service).restored("box") is None
    assert path.read_bytes() == before


def test_a_database_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="there is no database"):
        App(EVENTS.on(SQLite(str(tmp_path / "box.db")))).restored("box")
    assert list(tmp_path.iterdir()) == []


def test_the_command_prints_the_new_name_or_that_there_is_nothing_to_do(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "box.db")) as db:
        db.execute(SCHEMA)
    (tmp_path / "things.sql").write_text("-- key: name\nSELECT name FROM box.thing")
    config = '[service.box]\ndatabase = "sqlite:///box.db"\ncapture = "{0}"\ntables = ["thing"]\n'
    config += '[read_model.read]\ndatabase = "sqlite:///read.db"\nviews = "things.sql"\n'

    def syncline(*arguments: str) -> str:
        done = command_line.syncline(tmp_path, *arguments)
        assert done.status == 0, done.text
        return done.out

    (tmp_path / "syncline.toml").write_text(config.format("triggers"))
    assert "nothing to do" in syncline("restored", "box")
    syncline("sync")
    with closing(sqlite3.connect(tmp_path / "box.db")) as db:
        select = "SELECT incarnation FROM syncline_source"
        (before,) = db.execute(select).fetchone()
        told = json.loads(syncline("restored", "box", "--json"))
        assert (told["incarnation"],) == db.execute(select).fetchone() != (before,)
    assert "is at incarnation" in syncline("restored", "box")
    (tmp_path / "syncline.toml").write_text(config.format("polling"))
    assert json.loads(syncline("restored", "box", "--json")) == {"service": "box", "incarnation": None}
