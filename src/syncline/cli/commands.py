"""The program `syncline` and the commands that set up, follow and take away."""

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import get_completion_class

from syncline.cli.answering import answering, http_config
from syncline.cli.dead_letters import dead_letters
from syncline.cli.demo import demo
from syncline.cli.printing import as_cell, print_json
from syncline.cli.program import (
    ANSWER_IS_NO,
    DONE,
    PIPE_CLOSED,
    WRONG_USE,
    Program,
    complete_service,
    config_option,
    file_option,
    json_option,
    opened,
)
from syncline.cli.program import stopping_on_signals as stopping
from syncline.cli.progress import ProgressPrinter
from syncline.cli.questions import query, read, rebuild, token, verify
from syncline.cli.sagas import sagas
from syncline.cli.sending import send
from syncline.cli.status import has_failed, status, status_text

if TYPE_CHECKING:
    from syncline.app import ViewReport
    from syncline.config import Config


def _print_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted:
        return
    import platform
    import sqlite3
    from importlib.metadata import PackageNotFoundError, version

    try:
        own = version("syncline")
    except PackageNotFoundError:
        own = "(not installed)"
    click.echo(f"syncline {own} (SQLite {sqlite3.sqlite_version}, Python {platform.python_version()})")
    context.exit(DONE)


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@config_option
@click.option("--version", is_flag=True, expose_value=False, is_eager=True, callback=_print_version, help="Print the version.")
def main() -> None:
    """Keeps read models joined over several services' databases exact.

    `syncline demo` shows it. For services of yours write a `syncline.toml` (or let `syncline init` do it), and `syncline run`.

    Exit status: 0 done; 1 the answer is no (drift, stale, not ready, not found); 2 wrong use or refused definition.
    """


@click.command()
@click.argument("databases", nargs=-1, metavar="[DB|URL]...", type=click.Path())
@click.option("--dir", "folder", default=".", type=click.Path(file_okay=False), help="Where to write (default here).")
@click.option("--force", is_flag=True, help="Replace files that exist.")
@click.option("--wal", is_flag=True, help="Put the databases into WAL mode, so that nobody waits for a reader.")
@file_option
@json_option
def init(databases: tuple[str, ...], folder: str, force: bool, wal: bool, as_json: bool) -> int:
    """Looks at databases and writes a syncline.toml and a first view.

    URL is of a PostgreSQL database. Without any: all *.db, *.sqlite and *.sqlite3 files of the folder. Changes no database,
    except for --wal.
    """
    from syncline.starter import start_here

    started = start_here(databases, Path(folder), replace=force, use_wal=wal)
    if as_json:
        print_json(started)
    else:
        for line in started.report:
            click.echo(line)
    return DONE


@click.command()
@click.option("--sql", "with_sql", is_flag=True, help="Also print the SQL that each view is kept with.")
@config_option
@json_option
def check(with_sql: bool, as_json: bool) -> int:
    """Validates everything and explains each view's plan and cost class."""
    with opened() as (config, app):
        report = app.check()
    if as_json:
        print_json(report)
        return DONE
    for view in report.views:
        click.echo("\n".join(_explained(view, with_sql)) + "\n")
    for warning in report.warnings:
        click.echo(f"warning: {warning}")
    count = sum(len(view.warnings) for view in report.views) + len(report.warnings)
    warnings = f"{count} warning{'' if count == 1 else 's'}" if count else "no warning"
    click.echo(f"{config.path or 'the App'}: {_counted(config)}; {warnings}")
    return DONE


@click.command()
@click.option("--listen", metavar="HOST:PORT", help="Where the dashboard and queries are answered, whatever [http] says.")
@click.option("--no-http", is_flag=True, help="Only follow: no query service, whatever [http] says.")
@config_option
@json_option
def run(listen: str | None, no_http: bool, as_json: bool) -> int:
    """Follows every service, and answers queries over HTTP, until stopped with Ctrl-C or SIGTERM.

    There is a query service where syncline.toml has a section [http], or with --listen. Prints a line for each event. With --json
    each line is an object with "time" and "event".
    """
    stop = threading.Event()
    lock = threading.Lock()
    is_unread = False

    with stopping(stop), opened() as (config, app), ProgressPrinter() as progress:

        def say(event: str) -> None:
            nonlocal is_unread
            progress.pause()
            try:
                with lock:
                    if as_json:
                        print_json({"time": time.time(), "event": event}, compact=True)
                    else:
                        click.echo(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {as_cell(event)}")
            except BrokenPipeError:
                is_unread = True
                stop.set()

        with answering(app, None if no_http else http_config(config.http, listen)) as url:
            if url is not None:
                say(f"dashboard and queries at {url}/")
            say(f"following {_counted(config, len(app.sagas.names))}; Ctrl-C stops")
            app.run(stop, on_progress=progress, on_event=say)
        if not is_unread:
            say("stopped")
    return PIPE_CLOSED if is_unread else DONE


@click.command()
@click.option("--once", is_flag=True, help="Exit when caught up: always so, `syncline run` is what goes on.")
@config_option
@json_option
def sync(once: bool, as_json: bool) -> int:
    """Catches every read model up with every service, then exits."""
    with opened() as (_, app), ProgressPrinter() as progress:
        app.sync(on_progress=progress)
        now = app.status()
    if as_json:
        print_json(now)
    else:
        click.echo(status_text(now))
    return ANSWER_IS_NO if has_failed(now) else DONE


@click.command()
@click.argument("service", shell_complete=complete_service)
@click.option("--read-store", metavar="PATH", type=click.Path(), help="Remove only what was put there for this one.")
@config_option
@json_option
def uninstall(service: str, read_store: str | None, as_json: bool) -> int:
    """Removes every trigger and table that Syncline put into SERVICE's database."""
    with opened() as (_, app):
        removed = app.uninstall(service, read_store=read_store)
    if as_json:
        print_json({"service": service, "removed": removed})
        return DONE
    for each in removed:
        click.echo(f"removed {each}")
    if not removed:
        click.echo(f"nothing to remove: Syncline has put nothing into the database of '{service}'")
    return DONE


@click.command()
@click.argument("service", shell_complete=complete_service)
@config_option
@json_option
def restored(service: str, as_json: bool) -> int:
    """Says that SERVICE's database was put back from a backup.

    Its history gets another name: tokens of before are refused, and every read store compares what it holds.
    """
    with opened() as (_, app):
        incarnation = app.restored(service)
    if as_json:
        print_json({"service": service, "incarnation": incarnation})
    elif incarnation is None:
        click.echo(f"nothing to do: what is held of '{service}' is compared with its database anyway")
    else:
        click.echo(f"'{service}' is at incarnation {incarnation} from now on; what is held of it is compared")
    return DONE


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> int:
    """Prints the script that completes commands, views and services in your shell.

    \b
    bash: syncline completion bash > ~/.local/share/bash-completion/completions/syncline
    zsh:  syncline completion zsh > DIR/_syncline   (a DIR of your $fpath)
    fish: syncline completion fish > ~/.config/fish/completions/syncline.fish
    """
    found = get_completion_class(shell)
    if found is None:
        click.echo(f"error: there is no completion for {shell}", err=True)
        return WRONG_USE
    click.echo(found(main, {}, "syncline", "_SYNCLINE_COMPLETE").source())
    return DONE


def _explained(view: "ViewReport", with_sql: bool) -> list[str]:
    by = f"by {', '.join(view.partition)}" if view.partition else "as one group"
    cost = f"changes recompute only what they touch, {by}" if view.cost_class == "keys" else "a change recomputes it all"
    lines = [
        f"{view.read_model}.{view.view}: {cost}",
        f"  key      {', '.join(view.key) or '(one row)'}",
        f"  reads    {', '.join(view.reads)}",
        *(f"  change   {walk}" for walk in view.walks),
        *(f"  index    {index}" for index in view.indexes),
        *(f"  warning: {warning}" for warning in view.warnings),
    ]
    if with_sql:
        lines += ["  sql", *("    " + line for line in view.sql.splitlines())]
    return lines


def _counted(config: "Config", sagas: int = 0) -> str:
    views = sum(len(model.views) for model in config.read_models)
    amounts = [(len(config.services), "service"), (len(config.read_models), "read model"), (views, "view")]
    amounts += [(sagas, "saga")] if sagas else []
    return ", ".join(f"{amount} {what}{'' if amount == 1 else 's'}" for amount, what in amounts)


for _command in (
    demo,
    init,
    check,
    run,
    sync,
    status,
    read,
    query,
    send,
    token,
    verify,
    rebuild,
    dead_letters,
    restored,
    uninstall,
    sagas,
    completion,
):
    main.add_command(_command)
