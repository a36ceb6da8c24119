"""What the demo shows: the status of `syncline run` and some rows of its views, as a screen or as one line.

Everything shown of the views is read in one transaction of the read store, by plain SQL: one cut of all four services.
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from databases import connect_reader

READ_MODEL = "flights"

Rows = list[tuple[Any, ...]]

_NUMBERS = ("lag", "age", "rows", "flights", "left", "cancelled", "late", "arrived", "delay min", "°F")
_STYLES = {"live": "green", "failed": "bold red", "stopped": "red"}

_NOW_PLAYED = "SELECT coalesce(substr(max(b.sched_dep), 1, 10), ?) FROM flight_board b WHERE b.status = 'departed'"
_BOARD = """
SELECT substr(b.sched_dep, 12), b.carrier || ' ' || b.flight, b.origin, coalesce(b.dest_name, b.dest),
       b.dep_delay, b.model, b.temp
  FROM flight_board b WHERE b.status = 'departed' ORDER BY b.sched_dep DESC, b.flight_id LIMIT 5
"""
_DAILY = """
SELECT d.carrier, d.flights, d.left_ground, d.cancelled, d.late, d.mean_dep_delay
  FROM carrier_daily d WHERE d.flight_date = ? ORDER BY d.flights DESC, d.carrier LIMIT 5
"""
_WORST = """
SELECT w.place, w.origin || '-' || w.dest, w.mean_arr_delay, w.arrived
  FROM worst_routes w WHERE w.month = substr(?, 1, 7) ORDER BY w.place LIMIT 5
"""
_TOTALS = "SELECT (SELECT count(*) FROM idle_planes), (SELECT sum(booked) FROM airline_board)"


@dataclass(frozen=True, slots=True)
class Cut:
    """Rows of the views at one moment, for the day that is being played."""

    day: str
    board: Rows
    daily: Rows
    worst: Rows
    idle: int
    booked: int


@dataclass(frozen=True, slots=True)
class Look:
    """All that is shown at one moment. `status` is what `syncline status --json` printed."""

    title: str
    status: dict[str, Any] = field(default_factory=dict)
    cut: Cut | None = None
    changes: int = 0
    changes_per_s: float = 0.0


def read_cut(folder: Path, day: str) -> Cut:
    """The rows to show, all at one state; `day` is used until a flight is in the air."""
    with closing(connect_reader(folder, READ_MODEL)) as connection:
        now: str = connection.execute(_NOW_PLAYED, (day,)).fetchone()[0]
        board = connection.execute(_BOARD).fetchall()
        daily, worst = (connection.execute(sql, (now,)).fetchall() for sql in (_DAILY, _WORST))
        idle, booked = connection.execute(_TOTALS).fetchone()
        return Cut(now, board, daily, worst, int(idle), int(booked))


def as_screen(look: Look) -> RenderableType:
    """The look for a terminal."""
    title = Text(look.title, style="bold")
    if look.cut is None:
        return Group(title, _feeds(look), Text(), _views(look))
    cut = look.cut
    daily = _table(f"carrier_daily, {cut.day}", ("", "flights", "left", "cancelled", "late", "delay min"), cut.daily)
    worst = _table(f"worst_routes, {cut.day[:7]}", ("", "route", "delay min", "arrived"), cut.worst)
    board = _table("flight_board, in the air", ("", "flight", "from", "to", "delay min", "plane", "°F"), cut.board)
    status = _beside(_feeds(look), _views(look))
    return Group(title, status, _beside(daily, worst), Text(), board, Text(), Text(_totals(look)))


def as_line(look: Look) -> str:
    """The look for a log."""
    ages = [feed["staleness_s"] for feed in look.status.get("feeds", ()) if feed["staleness_s"] is not None]
    parts = [look.title, *_loading(look)]
    if look.cut is not None:
        parts += [f"playing {look.cut.day}", f"at most {max(ages, default=0):.1f} s old", _totals(look)]
        parts += [f"worst route {route}: {delay} min" for _, route, delay, _ in look.cut.worst[:1]]
    return "; ".join(parts)


def _totals(look: Look) -> str:
    assert look.cut is not None
    return (
        f"{look.changes:,} changes written, {look.changes_per_s:,.0f}/s; "
        f"{look.cut.idle:,} idle planes; {look.cut.booked:,} passengers (never another number)"
    )


def _loading(look: Look) -> list[str]:
    feeds = [f"{feed['service']} {feed['state']}" for feed in look.status.get("feeds", ()) if feed["state"] != "live"]
    views = [f"{view['view']} {view['state']}" for view in look.status.get("views", ()) if view["state"] != "live"]
    return [", ".join(feeds + views)] if feeds or views else []


def _feeds(look: Look) -> Table:
    table = _empty("service", "capture", "state", "lag", "age", "")
    for feed in look.status.get("feeds", ()):
        loading = "; ".join(f"{relation}: {how_far}" for relation, how_far in feed["loading"].items())
        note = feed["error"] or loading or feed["activity"]
        age = "" if feed["staleness_s"] is None else f"{feed['staleness_s']:.2f} s"
        table.add_row(feed["service"], feed["capture"], _state(feed["state"]), _cell(feed["lag"]), age, Text(note))
    return table


def _views(look: Look) -> Table:
    table = _empty("view", "state", "rows", "")
    for view in look.status.get("views", ()):
        table.add_row(view["view"], _state(view["state"]), _cell(view["rows"]), Text(view["error"] or view["activity"]))
    return table


def _beside(*tables: Table) -> Table:
    grid = Table.grid(padding=(1, 4, 0, 0))
    grid.add_row(*tables)
    return grid


def _state(state: str) -> Text:
    return Text(state, style=_STYLES.get(state, "yellow"))


def _table(title: str, columns: Sequence[str], rows: Rows) -> Table:
    table = _empty(*columns)
    table.title, table.title_justify = title, "left"
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    return table


def _empty(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in _NUMBERS else "left", no_wrap=True)
    return table


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else str(value)
