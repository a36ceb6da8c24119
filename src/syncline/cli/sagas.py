"""`syncline sagas`: lists sagas, shows what happened to one, lets parked ones go on, or gives them up."""

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from syncline.cli.printing import as_cell, as_table, print_json, stdout_width
from syncline.cli.program import DONE, complete_saga, config_option, json_option, opened
from syncline.codec import to_json

if TYPE_CHECKING:
    from syncline.app import App
    from syncline.sagas import BegunSaga, SagaStep

LISTED = 100
STATUSES = ("open", "parked", "ended", "given up")


saga_argument = click.argument("saga", shell_complete=complete_saga)


@click.group("sagas", invoke_without_command=True)
@click.option("--status", type=click.Choice(STATUSES), help="Only sagas of this status.")
@click.option("--saga", metavar="NAME", shell_complete=complete_saga, help="Only this saga.")
@click.option("--limit", default=LISTED, type=click.IntRange(min=1), help=f"At most so many (default {LISTED}).")
@config_option
@json_option
@click.pass_context
def sagas(context: click.Context, status: str | None, saga: str | None, limit: int, as_json: bool) -> int:
    """Sagas: which are open, which are parked and why.

    Lists those that changed last; `show` tells what happened to one, `retry` and `give-up` say what becomes of a parked one.
    """
    if context.invoked_subcommand:
        return DONE
    with opened() as (_, app):
        found = app.sagas.listed(status=status, saga=saga, limit=limit)
    if as_json:
        print_json(found)
    elif found:
        columns = ("saga", "key", "status", "events", "begun", "changed", "error")
        click.echo(as_table(columns, [_row(each) for each in found], width=stdout_width()))
    else:
        click.echo("there is no such saga")
    return DONE


@sagas.command()
@saga_argument
@click.argument("key")
@config_option
@json_option
def show(saga: str, key: str, as_json: bool) -> int:
    """What happened to the saga of KEY: the events that came, the commands that it sent, deadlines to come."""
    with opened() as (_, app):
        begun, steps = app.sagas.history(saga, key)
    if as_json:
        print_json({"saga": begun, "history": steps})
        return DONE
    click.echo(as_cell(f"{begun.saga} of {begun.key}: {begun.status}" + (f": {begun.error}" if begun.error else "")))
    columns = ("time", "", "service", "name", "state", "data", "error")
    click.echo(as_table(columns, [_step(each) for each in steps], width=stdout_width()))
    return DONE


@sagas.command()
@saga_argument
@click.argument("keys", nargs=-1, metavar="[KEY]...")
@click.option("--all", "everything", is_flag=True, help="Every one that is parked.")
@config_option
@json_option
def retry(saga: str, keys: tuple[str, ...], everything: bool, as_json: bool) -> int:
    """Lets parked sagas go on: what they could not react to, or could not deliver, is tried again.

    Whoever runs the sagas does so at once, with the code that it was started with; where nobody does, it is done when they run.
    """
    with opened() as (_, app):
        chosen = _chosen(app, saga, keys, everything=everything)
        for key in chosen:
            app.sagas.retry(saga, key)
    return _say(saga, chosen, "retried", as_json)


@sagas.command("give-up")
@saga_argument
@click.argument("keys", nargs=-1, metavar="[KEY]...")
@click.option("--all", "everything", is_flag=True, help="Every one that is parked.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@config_option
@json_option
def give_up(saga: str, keys: tuple[str, ...], everything: bool, yes: bool, as_json: bool) -> int:
    """Ends sagas as they are, for good: what they wanted to send is dropped, their deadlines are withdrawn."""
    with opened() as (_, app):
        chosen = _chosen(app, saga, keys, everything=everything)
        if chosen and not yes:
            if not sys.stdin.isatty():
                raise click.UsageError("giving up is for good: add --yes to do it without being asked")
            click.confirm(f"Give up {saga} of {', '.join(chosen)} for good?", abort=True, err=True)
        for key in chosen:
            app.sagas.give_up(saga, key)
    return _say(saga, chosen, "given up", as_json)


def _chosen(app: "App", saga: str, keys: Sequence[str], *, everything: bool) -> list[str]:
    if everything == bool(keys):
        raise click.UsageError("name the keys, or say --all; `syncline sagas --status parked` lists them")
    if not everything:
        return list(keys)
    return [each.key for each in app.sagas.listed(status="parked", saga=saga, limit=1_000_000)]


def _say(saga: str, keys: Sequence[str], what: str, as_json: bool) -> int:
    if as_json:
        print_json([{"saga": saga, "key": key, "asked": what} for key in keys])
    for key in () if as_json else keys:
        click.echo(as_cell(f"{saga} of {key}: to be {what}"))
    if not keys and not as_json:
        click.echo("nothing is parked")
    return DONE


def _row(each: "BegunSaga") -> tuple[object, ...]:
    return each.saga, each.key, each.status, each.events, _time(each.begun_at), _time(each.changed_at), each.error or ""


def _step(each: "SagaStep") -> tuple[object, ...]:
    data = to_json(each.data).decode()
    return _time(each.at), each.kind, each.service, each.name, each.state, data, each.error or ""


def _time(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
