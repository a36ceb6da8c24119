"""A service for tests of one command and one event, of which a test says what is otherwise."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from syncline import App, EventService, SQLite


@dataclass(frozen=True)
class Line:
    sku: str
    quantity: int


@dataclass(frozen=True)
class Place:
    order_id: str
    lines: list[Line]
    note: str | None = None


@dataclass(frozen=True)
class Placed:
    order_id: str
    lines: list[Line] = field(default_factory=list)


def service(**other: Any) -> EventService:
    """A service of one command and one event, and what a test says otherwise."""
    usual: dict[str, Any] = {
        "key": "order_id",
        "commands": Place,
        "events": Placed,
        "initial": 0,
        "decide": lambda state, command: [Placed(command.order_id, command.lines)],
        "evolve": lambda state, event: state + 1,
    }
    return EventService("orders", **{**usual, **other})


def app_of(path: str, **other: Any) -> App:
    return App(service(**other).on(SQLite(path)))


def stored(path: str, sql: str = "SELECT name FROM syncline_event ORDER BY position") -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()
