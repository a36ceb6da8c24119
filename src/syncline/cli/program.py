"""What all commands share: `--config`, `--app`, `--json`, how errors, signals and a closed pipe end the program.

Exit status: 0 done; 1 the answer is no; 2 wrong use or refused definition; 130 interrupted; 141 stdout closed.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

import click

from syncline.cli.printing import error_as_json, print_json
from syncline.errors import InvalidCommand, InvalidDefinition, InvalidQueryValues, InvalidToken, SynclineError

if TYPE_CHECKING:
    from syncline.app import App
    from syncline.config import Config, Names

DONE, ANSWER_IS_NO, WRONG_USE, INTERRUPTED, PIPE_CLOSED = 0, 1, 2, 130, 141
WRONG_USES = (InvalidCommand, InvalidDefinition, InvalidQueryValues, InvalidToken)
"""The errors that say that something was written wrongly, not that the answer is no."""
DEFAULT_CONFIG = "syncline.toml"

_CONFIG_KEY = "syncline.config"
_APP_KEY = "syncline.app"

Command = TypeVar("Command", bound=Callable[..., Any])


class Program(click.Group):
    """A group of commands whose errors are one line on stderr and an exit status, never a traceback.

    Every command returns its exit status.
    """

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        given = list(sys.argv[1:] if args is None else args)
        with _terminable():
            try:
                status = super().main(given, "syncline", complete_var, False, **extra)
            except (Exception, KeyboardInterrupt) as error:
                status = _status_after(error, given)
        sys.exit(status)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            status = super().invoke(ctx)
            sys.stdout.flush()
            return status
        except BrokenPipeError as error:
            raise _OutputClosed from error


class _OutputClosed(Exception):
    """Nobody reads stdout any more. Not a BrokenPipeError, for which click has an exit status of its own."""


def _status_after(error: BaseException, args: list[str]) -> int:
    """Prints `error` and tells the exit status; raises it again where it is a mistake of this program."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return WRONG_USE
    if isinstance(error, KeyboardInterrupt | click.Abort):
        click.echo("stopped", err=True)
        return INTERRUPTED
    if isinstance(error, _OutputClosed):
        # What is still buffered would raise again when the interpreter flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    if isinstance(error, click.ClickException):
        if isinstance(error, click.UsageError) and error.ctx:
            click.echo(f"{error.ctx.get_usage()}\n`{error.ctx.command_path} --help` says more.", err=True)
        _print_error(error.format_message(), error, args)
        return WRONG_USE
    if isinstance(error, SynclineError):
        _print_error(str(error), error, args)
        return WRONG_USE if isinstance(error, WRONG_USES) else ANSWER_IS_NO
    raise error


def config_option(command: Command) -> Command:
    """Adds `--config FILE` and `--app MODULE:NAME`; the nearest to the command's own name wins."""
    of_module = click.option(
        "--app",
        metavar="MODULE:NAME",
        expose_value=False,
        callback=_remember(_APP_KEY),
        is_eager=True,
        help="The App in a Python module, in place of a configuration file.",
    )
    return file_option(of_module(command))


def file_option(command: Command) -> Command:
    """Adds `--config FILE` alone, for what is about the file itself."""
    return click.option(
        "--config",
        metavar="FILE",
        type=click.Path(),
        expose_value=False,
        callback=_remember(_CONFIG_KEY),
        is_eager=True,
        help=f"The configuration file (default ./{DEFAULT_CONFIG}).",
    )(command)


def _remember(key: str) -> Callable[[click.Context, click.Parameter, str | None], None]:
    def remember(context: click.Context, _: click.Parameter, value: str | None) -> None:
        if value is not None:
            context.meta[key] = value

    return remember


def json_option(command: Command) -> Command:
    """Adds `--json`, given to the command as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def config_path(context: click.Context | None = None) -> str:
    """The configuration file that the command line names, or the default one."""
    context = context or click.get_current_context()
    return str(context.meta.get(_CONFIG_KEY, DEFAULT_CONFIG))


@contextmanager
def opened() -> "Iterator[tuple[Config, App]]":
    """The configuration and the App of it, closed at the end."""
    context = click.get_current_context()
    if _APP_KEY in context.meta:
        if _CONFIG_KEY in context.meta:
            raise click.UsageError("--app and --config say two things; give one of them")
        app = load_app(str(context.meta[_APP_KEY]))
    else:
        from syncline.app import App
        from syncline.config import load_config

        app = App(load_config(config_path()))
    try:
        yield app.config, app
    finally:
        app.close()


def load_app(place: str) -> "App":
    """The App that `MODULE:NAME` names; modules are looked for in the working directory first."""
    from syncline.app import App

    module_name, _, name = place.partition(":")
    if not module_name or not name:
        raise click.UsageError(f"--app is '{place}', expected MODULE:NAME, for example --app shop.app:app")
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = import_module(module_name)
    except SynclineError:
        raise
    except (Exception, SystemExit) as error:
        raise click.UsageError(f"module '{module_name}' cannot be imported: {type(error).__name__}: {error}") from error
    found = getattr(module, name, None)
    if not isinstance(found, App):
        apps = [each for each, value in vars(module).items() if isinstance(value, App)]
        hint = f"its Apps are: {', '.join(apps)}" if apps else "it has no App"
        raise click.UsageError(f"'{place}' is {type(found).__name__ if found is not None else 'not there'}; {hint}")
    return found


def complete_view(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """The configured views that begin with what is typed."""
    return [name for name in _names(context).views if name.startswith(incomplete)]


def complete_service(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """The configured services that begin with what is typed."""
    return [name for name in _names(context).services if name.startswith(incomplete)]


def complete_query(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """The configured queries that begin with what is typed."""
    return [name for name in _names(context).queries if name.startswith(incomplete)]


def complete_saga(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """The sagas of the App that begin with what is typed."""
    app = _named_app(context)
    return [name for name in app.sagas.names if name.startswith(incomplete)] if app is not None else []


def complete_command(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """The commands of the App that begin with what is typed."""
    app = _named_app(context)
    return [name for name in app.command_names if name.startswith(incomplete)] if app is not None else []


def _names(context: click.Context) -> "Names":
    from syncline.config import Names, default_names

    app = _named_app(context)
    if app is None:
        return default_names(config_path(context))
    models = app.config.read_models
    return Names(
        [service.name for service in app.config.services],
        sorted(view.name for model in models for view in model.views),
        sorted(query.name for model in models for query in model.queries),
    )


def _named_app(context: click.Context) -> "App | None":
    """The App that the command line names so far; while it is being typed nothing of it is told."""
    try:
        return load_app(str(context.meta[_APP_KEY])) if _APP_KEY in context.meta else None
    except Exception:
        return None


@contextmanager
def stopping_on_signals(stop: threading.Event) -> Iterator[None]:
    """SIGINT and SIGTERM set `stop`; a second one ends the process at once, which loses nothing."""

    def ask(_number: int, _frame: FrameType | None) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        stop.set()
        # A handler may interrupt a print, so it must not print through the same buffer.
        os.write(2, b"stopping after this batch; the same again stops at once\n")

    with _handling({signal.SIGINT: ask, signal.SIGTERM: ask}):
        yield


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends a command as Ctrl-C does: what is open is closed first."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with _handling({signal.SIGTERM: interrupt}):
        yield


@contextmanager
def _handling(handlers: dict[signal.Signals, Callable[[int, FrameType | None], None]]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _print_error(message: str, error: Exception, args: list[str]) -> None:
    """Further lines of a message stand below its first word, not below `error:`."""
    indented = message.replace("\n", "\n       ")
    click.echo(f"error: {indented}", err=True)
    if "--json" in args:
        print_json({"error": error_as_json(error)})
