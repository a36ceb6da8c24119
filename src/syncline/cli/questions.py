"""The commands that ask about rows: read, query, token, verify; and rebuild, which mends what verify found."""

import csv
import math
import re
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from syncline.cli.printing import as_age, as_cell, as_table, print_json, stdout_width
from syncline.cli.program import (
    ANSWER_IS_NO,
    DONE,
    complete_query,
    complete_service,
    complete_view,
    config_option,
    json_option,
    opened,
)
from syncline.cli.progress import ProgressPrinter
from syncline.messages import parse_token

if TYPE_CHECKING:
    from syncline.config import Config
    from syncline.read.reader import QueryAnswer, ReadResult
    from syncline.read.verify import Difference


_COMPARED = re.compile(r"(?P<column>[^=<>!]+)(?P<comparison>!=|<=|>=|=|<|>)(?P<value>.*)", re.DOTALL)


def _seconds(_: click.Context, option: click.Parameter, value: float | None) -> float | None:
    if value is not None and math.isnan(value):
        raise click.BadParameter("it is not a number; write seconds, for example 2.5", param=option)
    return value


read_model_option = click.option("--read-model", metavar="NAME", help="Which read model, when several have it.")


at_least_option = click.option("--at-least", metavar="TOKEN", help="Only if at least as new as this token.")
timeout_option = click.option(
    "--timeout-s", default=5.0, type=click.FloatRange(min=0), callback=_seconds, help="How long to wait for it (default 5)."
)
staleness_option = click.option(
    "--max-staleness-s", type=click.FloatRange(min=0), callback=_seconds, help="Only if at most this old."
)
limit_option = click.option("--limit", type=click.IntRange(min=0), help="At most so many rows.")


@click.command()
@click.argument("view", shell_complete=complete_view)
@click.argument("key", nargs=-1, metavar="[KEY]...")
@click.option("--where", "conditions", multiple=True, metavar="COL=VAL", help="Only such rows; or !=, <, <=, >, >=; repeatable.")
@at_least_option
@timeout_option
@staleness_option
@click.option("--order-by", multiple=True, metavar="COL", help="Order by this column, -COL downwards; repeatable.")
@limit_option
@read_model_option
@config_option
@json_option
def read(
    view: str,
    key: tuple[str, ...],
    conditions: tuple[str, ...],
    at_least: str | None,
    timeout_s: float,
    max_staleness_s: float | None,
    order_by: tuple[str, ...],
    limit: int | None,
    read_model: str | None,
    as_json: bool,
) -> int:
    """Rows of VIEW, or the one with KEY.

    A KEY of several columns is written `a,b` or as several words; one that begins with a dash after `--`.

    Exits 1 when there is no such row, or when the view is not as new as asked. The line on stderr says how old the
    rows may be, and the token they were read at.
    """
    wanted = [_condition(text) for text in conditions]
    token = parse_token(at_least) if at_least is not None else None
    with opened() as (config, app):
        key_values = _key_values(config, view, read_model, key) if key else None
        result = app.rows(
            view,
            key=key_values,
            where=wanted,
            at_least=token,
            timeout_s=timeout_s,
            max_staleness_s=max_staleness_s,
            limit=limit,
            order_by=order_by,
            read_model=read_model,
        )
    if as_json:
        print_json({**_told(result), "marked": result.marked})
    else:
        _print_rows(result)
    if key_values is not None and not result.rows:
        click.echo(f"error: view '{view}' has no row with key {','.join(key_values)}", err=True)
        return ANSWER_IS_NO
    return DONE


@click.command()
@click.argument("name", shell_complete=complete_query)
@click.argument("values", nargs=-1, metavar="[PARAM=VALUE]...")
@at_least_option
@timeout_option
@staleness_option
@limit_option
@config_option
@json_option
def query(
    name: str,
    values: tuple[str, ...],
    at_least: str | None,
    timeout_s: float,
    max_staleness_s: float | None,
    limit: int | None,
    as_json: bool,
) -> int:
    """What the named query NAME gives for these values.

    A parameter that is left out has its default. Exits 1 when the views are not as new as asked, 2 when a value does
    not fit. The line on stderr says how old the rows may be, and the token they were read at.
    """
    given = _parameters(values)
    token = parse_token(at_least) if at_least is not None else None
    with opened() as (_, app):
        answer = app.query(name, given, at_least=token, timeout_s=timeout_s, max_staleness_s=max_staleness_s, limit=limit)
    if as_json:
        print_json({**_told(answer), "is_cut_short": answer.is_cut_short})
    else:
        _print_rows(answer)
        if answer.is_cut_short:
            click.echo("note: there are more rows than were asked for", err=True)
    return DONE


@click.command()
@click.argument("service", shell_complete=complete_service)
@read_model_option
@config_option
@json_option
def token(service: str, read_model: str | None, as_json: bool) -> int:
    """The token for everything committed in SERVICE up to now, for `read --at-least`."""
    with opened() as (_, app):
        found = app.token(service, read_model=read_model)
    if as_json:
        print_json({"service": service, "token": found})
    else:
        click.echo(str(found))
    return DONE


@click.command()
@click.argument("view", required=False, shell_complete=complete_view)
@click.option("--repair", is_flag=True, help="Mend the keys that differ, then compare again.")
@config_option
@json_option
def verify(view: str | None, repair: bool, as_json: bool) -> int:
    """Proves read models equal to the services' databases; prints each difference.

    Exits 1 when something differs; with --repair, when something still differs after it.
    """
    with opened() as (_, app), ProgressPrinter() as progress:
        report = app.verify(view, repair=repair, on_progress=progress)
        again = app.verify(view, on_progress=progress) if repair and report.differences else None
    remaining = report.differences if again is None else again.differences
    if as_json:
        print_json({"report": report, "remaining": remaining})
        return ANSWER_IS_NO if remaining else DONE
    _print_differences(report.differences)
    rows = sum(count for _, count in report.checked)
    found = f"{_amount(len(report.differences), 'difference')}" if report.differences else "no difference"
    click.echo(f"compared {rows:,} rows of {_amount(len(report.checked), 'relation or view', 'relations and views')}: {found}")
    if report.held_back:
        streams = _amount(len(report.held_back), "stream")
        click.echo(f"{streams} held back: rows that depend on them are as before; see `syncline dead-letters`", err=True)
    if again is not None:
        click.echo(f"repaired, and compared again: {_amount(len(remaining), 'difference')}" if remaining else "repaired")
        _print_differences(remaining)
    elif remaining:
        click.echo("`syncline verify --repair` mends these keys", err=True)
    return ANSWER_IS_NO if remaining else DONE


@click.command()
@click.argument("view", shell_complete=complete_view)
@config_option
@json_option
def rebuild(view: str, as_json: bool) -> int:
    """Builds VIEW anew beside the old rows, which are read until it has caught up."""
    with opened() as (_, app), ProgressPrinter() as progress:
        began = time.monotonic()
        app.rebuild(view, on_progress=progress)
        seconds = time.monotonic() - began
    if as_json:
        print_json({"view": view, "rebuilt": True, "seconds": round(seconds, 3)})
    else:
        click.echo(f"rebuilt '{view}' in {seconds:.1f} s")
    return DONE


def _condition(text: str) -> tuple[str, str] | tuple[str, str, str]:
    found = _COMPARED.fullmatch(text)
    if found is None or not found["column"].strip():
        advice = "write for example --where status=open, or --where 'total_cents>=500'"
        raise click.BadParameter(f"'{text}' is not COL=VAL; {advice}", param_hint="--where")
    column, comparison, value = found["column"].strip(), found["comparison"], found["value"]
    return (column, value) if comparison == "=" else (column, comparison, value)


def _parameters(texts: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, is_given, value = text.partition("=")
        if not is_given or not name:
            raise click.BadParameter(f"'{text}' is not PARAM=VALUE; write for example city=Oslo", param_hint="PARAM=VALUE")
        if name in found:
            raise click.BadParameter(f"'{name}' is given twice", param_hint="PARAM=VALUE")
        found[name] = value
    return found


def _key_values(config: "Config", name: str, read_model: str | None, given: Sequence[str]) -> Sequence[str]:
    """One text for each column of the view's key. A view that is not configured is for the App to refuse."""
    models = [model for model in config.read_models if read_model in (None, model.name)]
    columns = next((view.key for model in models for view in model.views if view.name == name), None)
    if columns is None or len(given) == len(columns):
        return given
    parts = next(csv.reader([given[0]], strict=True)) if len(given) == 1 else list(given)
    if len(parts) != len(columns):
        wanted = f"is {', '.join(columns)}: {_amount(len(columns), 'value')}" if columns else "has no column: leave KEY out"
        raise click.BadParameter(f"found {_amount(len(parts), 'value')}, but the key of '{name}' {wanted}", param_hint="KEY")
    return parts


def _told(result: "ReadResult | QueryAnswer") -> dict[str, object]:
    """Rows and what is known of them, for programs."""
    return {
        "columns": result.columns,
        "rows": [dict(zip(result.columns, row, strict=True)) for row in result.rows],
        "token": result.token,
        "staleness_s": result.staleness_s,
        "exact": result.exact,
        "notes": result.notes,
    }


def _print_rows(result: "ReadResult | QueryAnswer") -> None:
    click.echo(as_table(result.columns, result.rows, width=stdout_width()))
    if result.staleness_s is None:
        age = "of unknown age: a service was not read to its end yet"
    else:
        age = f"at most {as_age(result.staleness_s)}"
    inexact = "" if result.exact else "; inexact: a service is between two full sweeps, so deleted rows may still be here"
    click.echo(f"{_amount(len(result.rows), 'row')}, {age}{inexact}; token {result.token}", err=True)
    for note in result.notes:
        click.echo(f"note: {note}", err=True)


def _print_differences(differences: "Sequence[Difference]") -> None:
    if differences:
        rows = [(each.where, ",".join(map(as_cell, each.key)), each.kind, each.detail) for each in differences]
        click.echo(as_table(("where", "key", "kind", "detail"), rows) + "\n")


def _amount(count: int, one: str, several: str | None = None) -> str:
    return f"{count:,} {one if count == 1 else several or one + 's'}"
