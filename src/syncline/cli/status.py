"""`syncline status`: feeds, views and sagas as they are now, once or again and again."""

import sys
import time
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, NoReturn

import click

from syncline.cli.printing import as_age, as_rate, as_table, print_json
from syncline.cli.program import ANSWER_IS_NO, DONE, config_option, json_option, opened

if TYPE_CHECKING:
    from syncline.app import App
    from syncline.move.freshness import FeedStatus, SagaStatus, Status, ViewStatus
    from syncline.observed import Observed

_COLOURS = {"failed": "red", "stopped": "red", "loading": "yellow", "building": "yellow", "waiting": "yellow"}


@click.command()
@click.option("--watch", is_flag=True, help="Go on until Ctrl-C.")
@click.option("--interval-s", default=1.0, type=click.FloatRange(min=0.05), help="Time between looks (default 1).")
@config_option
@json_option
def status(watch: bool, interval_s: float, as_json: bool) -> int:
    """Feeds and views: state, position, lag, staleness, last error; how many commands each service handled; sagas.

    The lag is how much the source has that is not applied: events (capture "events"), marks ("triggers" on SQLite), transactions
    of the whole server ("triggers" on PostgreSQL) or bytes of its log ("wal"); of a polled service it is not known.

    Exits 1 when a feed or view has failed. --watch also tells how many changes a second there are; with --json each of its
    lines is one status.
    """
    with opened() as (_, app):
        if watch:
            return _watch(app, interval_s, as_json)
        now = app.status()
    if as_json:
        print_json(now)
    else:
        click.echo(status_text(now))
    return ANSWER_IS_NO if has_failed(now) else DONE


def has_failed(now: "Status") -> bool:
    """Whether anything needs a person."""
    return any(feed.state == "failed" for feed in now.feeds) or any(view.state == "failed" for view in now.views)


def status_text(now: "Status") -> str:
    """Feeds, views and services with commands as tables, coloured by state; a terminal that has no colours gets none.

    Rates have a column where one is known: one look alone knows none.
    """
    is_rated = any(rate is not None for rate in (*(each.rate for each in now.feeds), *(each.rate for each in now.views)))
    rates = ("changes",) if is_rated else ()
    feeds = [
        (
            *_feed_place(each),
            each.state,
            each.position,
            each.lag,
            *_rate(each.rate, is_rated),
            _age(each.staleness_s),
            _feed_note(each),
        )
        for each in now.feeds
    ]
    views = [
        (
            *_view_place(each),
            each.state,
            each.rows,
            each.generation,
            *_rate(each.rate, is_rated),
            _age(each.staleness_s),
            _view_note(each),
        )
        for each in now.views
    ]
    feed_columns = ("read model", "service", "capture", "state", "position", "lag", *rates, "age", "")
    view_columns = ("read model", "view", "state", "rows", "generation", *rates, "age", "")
    writing = [
        (each.service, each.kind, each.commands, each.events, _time(each.newest_at), each.error or "") for each in now.writing
    ]
    writing_columns = ("service", "kind", "commands", "events", "newest event", "")
    sagas = [
        (each.saga, each.state, each.open, each.parked, each.ended, each.given_up, each.waiting, _saga_note(each))
        for each in now.sagas
    ]
    saga_columns = ("saga", "state", "open", "parked", "ended", "given up", "to send", "")
    tables = (
        _coloured(feed_columns, feeds, [each.state for each in now.feeds]),
        _coloured(view_columns, views, [each.state for each in now.views]),
        _coloured(writing_columns, writing, ["failed" if each.error else "" for each in now.writing]),
        _coloured(saga_columns, sagas, ["failed" if each.parked else each.state for each in now.sagas]),
    )
    return "\n\n".join([f"relay: {now.relay}", *("\n".join(lines) for lines in tables if lines)])


def _feed_place(feed: "FeedStatus") -> tuple[str, ...]:
    return feed.read_model, feed.service, feed.capture


def _view_place(view: "ViewStatus") -> tuple[str, ...]:
    return view.read_model, view.view


def _feed_note(feed: "FeedStatus") -> str:
    loading = [f"{relation}: {how_far}" for relation, how_far in feed.loading.items()]
    inexact = [] if feed.exact else ["inexact until the next full sweep"]
    return "; ".join(filter(None, [_held_note(feed), feed.error, feed.activity, *loading, *inexact]))


def _held_note(feed: "FeedStatus") -> str:
    if feed.held_since is None:
        return ""
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(feed.held_since))
    return f"{feed.held_back} stream{'' if feed.held_back == 1 else 's'} held back since {since}: `syncline dead-letters`"


def _saga_note(saga: "SagaStatus") -> str:
    parked = f"{saga.parked} parked: `syncline sagas`" if saga.parked else ""
    return "; ".join(filter(None, [saga.error, parked]))


def _view_note(view: "ViewStatus") -> str:
    return "; ".join(filter(None, [view.error, view.activity]))


def _time(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at).isoformat(" ", "seconds")


def _age(staleness_s: float | None) -> str:
    return "" if staleness_s is None else as_age(staleness_s)


def _rate(rate: float | None, is_rated: bool) -> tuple[str, ...]:
    """The cell of a rate, where rates have a column."""
    return (("-" if rate is None else as_rate(rate)),) if is_rated else ()


def _coloured(columns: Sequence[str], rows: Sequence[Sequence[object]], states: Sequence[str]) -> list[str]:
    if not rows:
        return []
    lines = as_table(columns, rows, null="-").split("\n")
    return [
        *lines[:2],
        *(click.style(line, fg=_COLOURS.get(state)) for line, state in zip(lines[2:], states, strict=True)),
    ]


def _watch(app: "App", interval_s: float, as_json: bool) -> int:
    """Looks again and again; Ctrl-C is how it is meant to end."""
    from syncline.observed import Observed

    observed = Observed(app)
    try:
        if as_json:
            while True:
                print_json(observed.look(with_counts=True), compact=True)
                time.sleep(interval_s)
        if sys.stdout.isatty():
            _redraw(observed, interval_s)
        else:
            _print_changes(observed, interval_s)
    except KeyboardInterrupt:
        return DONE


def _redraw(observed: "Observed", interval_s: float) -> NoReturn:
    from rich.live import Live
    from rich.text import Text

    with Live(auto_refresh=False, screen=True) as live:
        while True:
            live.update(Text.from_ansi(status_text(observed.look(with_counts=True))), refresh=True)
            time.sleep(interval_s)


def _print_changes(observed: "Observed", interval_s: float) -> NoReturn:
    """A line for each feed and view at first, then for each whose state, position or note has changed."""
    shown: dict[tuple[str, ...], str] = {}
    while True:
        now = observed.look(with_counts=True)
        lines = {_feed_place(feed): (_feed_line(feed), feed.rate) for feed in now.feeds}
        lines |= {_view_place(view): (_view_line(view), view.rate) for view in now.views}
        for place, (line, rate) in lines.items():
            if shown.get(place) != line:
                per_s = f"; {as_rate(rate)}" if rate else ""
                click.echo(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {line}{per_s}")
        shown = {place: line for place, (line, _) in lines.items()}
        time.sleep(interval_s)


def _feed_line(feed: "FeedStatus") -> str:
    position = "" if feed.position is None else f" at {feed.position}"
    lag = f", {feed.lag} behind" if feed.lag else ""
    return _with_note(f"{feed.read_model} {feed.service}: {feed.state}{position}{lag}", _feed_note(feed))


def _view_line(view: "ViewStatus") -> str:
    rows = "" if view.rows is None else f", {view.rows} rows"
    return _with_note(f"{view.read_model} {view.view}: {view.state}{rows}", _view_note(view))


def _with_note(line: str, note: str) -> str:
    return f"{line}; {note}" if note else line
