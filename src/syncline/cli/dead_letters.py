"""`syncline dead-letters`: streams whose events could not be made rows; lists them, has them tried again, or drops events."""

import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from syncline.cli.printing import as_cell, as_table, print_json, stdout_width
from syncline.cli.program import ANSWER_IS_NO, DONE, complete_service, config_option, json_option, opened
from syncline.cli.progress import ProgressPrinter
from syncline.errors import NotFound

if TYPE_CHECKING:
    from syncline.parked_streams import HeldStream, Outcome

Command = TypeVar("Command", bound=Callable[..., Any])

service_option = click.option("--service", metavar="NAME", shell_complete=complete_service, help="Only streams of this service.")


def _chosen_options(command: Command) -> Command:
    """Which streams: by name, or all of them."""
    everything = click.option("--all", "everything", is_flag=True, help="Every stream that is held back.")
    return click.argument("streams", nargs=-1, metavar="[STREAM]...")(everything(service_option(command)))


@click.group("dead-letters", invoke_without_command=True)
@service_option
@config_option
@json_option
@click.pass_context
def dead_letters(context: click.Context, service: str | None, as_json: bool) -> int:
    """Streams that are held back because an event of them could not be made rows.

    Lists them; `retry` and `drop` let them go on. Rows that depend on such a stream are as they were before that event, and
    marked on every read.
    """
    return DONE if context.invoked_subcommand else _list(service, as_json)


@dead_letters.command("list")
@service_option
@config_option
@json_option
def list_held(service: str | None, as_json: bool) -> int:
    """Lists the streams that are held back, from which event on and why."""
    return _list(service, as_json)


@dead_letters.command()
@_chosen_options
@config_option
@json_option
def retry(streams: tuple[str, ...], service: str | None, everything: bool, as_json: bool) -> int:
    """Tries STREAMs again, after what makes rows of their events was mended.

    A relay that runs uses the code it was started with: start it again first. Exits 1 when a stream is still held back.
    """
    with opened() as (_, app), ProgressPrinter() as progress:
        chosen = _chosen(app.dead_letters(service), streams, everything=everything)
        outcomes = app.retry(chosen, on_progress=progress)
    return _print_outcomes(outcomes, as_json)


@dead_letters.command()
@_chosen_options
@click.option("--yes", is_flag=True, help="Do not ask.")
@config_option
@json_option
def drop(streams: tuple[str, ...], service: str | None, everything: bool, yes: bool, as_json: bool) -> int:
    """Leaves out the event that each STREAM is held back by, for good, and goes on with what follows it.

    The event stays in its log, but no read model here makes rows of it again, nor does a rebuild. Exits 1 when a stream is held
    back again, by another event.
    """
    with opened() as (_, app), ProgressPrinter() as progress:
        chosen = _chosen(app.dead_letters(service), streams, everything=everything)
        if chosen and not yes:
            _confirm(chosen)
        outcomes = app.drop(chosen, on_progress=progress)
    return _print_outcomes(outcomes, as_json)


def _list(service: str | None, as_json: bool) -> int:
    with opened() as (_, app):
        held = app.dead_letters(service)
    if as_json:
        print_json([_as_object(each) for each in held])
    elif held:
        columns = ("read model", "service", "stream", "position", "event", "since", "rows", "error")
        click.echo(as_table(columns, [_as_row(each) for each in held], width=stdout_width()))
    else:
        click.echo("no stream is held back")
    return DONE


def _as_row(held: "HeldStream") -> tuple[object, ...]:
    letter = held.letter
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(letter.since))
    return (
        held.read_model, letter.service, letter.stream, letter.position, letter.event, since, len(letter.keys), letter.error,
    )  # fmt: skip


def _as_object(held: "HeldStream") -> dict[str, object]:
    letter = held.letter
    return {
        "read_model": held.read_model,
        "service": letter.service,
        "stream": letter.stream,
        "position": letter.position,
        "event": letter.event,
        "error": letter.error,
        "since": letter.since,
        "rows": [{"relation": relation, "key": key} for relation, key in sorted(letter.keys, key=repr)],
    }


def _chosen(held: "Sequence[HeldStream]", streams: Sequence[str], *, everything: bool) -> "list[HeldStream]":
    """Those that the command line names."""
    if everything == bool(streams):
        raise click.UsageError("name the streams, or say --all; `syncline dead-letters` lists them")
    known = {each.letter.stream for each in held}
    for stream in streams:
        if stream not in known:
            there = ", ".join(sorted(known)[:5]) + (", …" if len(known) > 5 else "")
            raise NotFound(f"stream '{stream}' is not held back; those that are: {there or 'none'}")
    return [each for each in held if everything or each.letter.stream in streams]


def _confirm(chosen: "Sequence[HeldStream]") -> None:
    """Asks on a terminal; elsewhere nobody could answer, and what is lost for good is not done by the way."""
    if not sys.stdin.isatty():
        raise click.UsageError("dropping events is for good: add --yes to do it without being asked")
    for each in chosen:
        letter = each.letter
        click.echo(as_cell(f"{letter.stream}: {letter.event} at position {letter.position}: {letter.error}"), err=True)
    amount = "this event" if len(chosen) == 1 else f"these {len(chosen)} events"
    click.confirm(f"Leave {amount} out of the read models for good?", abort=True, err=True)


def _print_outcomes(outcomes: "Sequence[Outcome]", as_json: bool) -> int:
    if as_json:
        print_json(outcomes)
    for each in () if as_json else outcomes:
        if each.is_released:
            click.echo(as_cell(f"{each.read_model} {each.service} {each.stream}: followed again"))
        else:
            why = f"{each.event} at position {each.position}: {each.error}"
            click.echo(as_cell(f"{each.read_model} {each.service} {each.stream}: still held back: {why}"))
    if not outcomes and not as_json:
        click.echo("no stream is held back")
    return DONE if all(each.is_released for each in outcomes) else ANSWER_IS_NO
