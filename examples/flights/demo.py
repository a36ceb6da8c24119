"""Four services, their changes, and Syncline following them: `python demo.py [--days N] [--folder DIR] [--postgres]`.

Everything but making the databases is done by separate processes, as in earnest: `syncline run`, one replayer for each
service, and the other commands. None outlives the demo, nor does a PostgreSQL server or a database on one. Exit status 0
only if `verify` found no difference.
"""

import argparse
import importlib.util
import json
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from rich.console import Console
from rich.live import Live

import data
from changes import EXTRA_SECTION
from databases import Connection, DatabaseMissing, database_of, said_in_words
from screen import Cut, Look, as_line, as_screen, read_cut
from services import HERE, PLACES, SERVICES, FolderInUse, Slice, lay_out

DONE, DIFFERENT, WRONG_USE, INTERRUPTED = 0, 1, 2, 130

LIVE_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 20.0
LOOK_EVERY_S = 0.5
LINE_EVERY_S = 3.0
SHARES = {"operations": 0.92, "fleet": 0.03, "airports": 0.002, "weather": 0.048}
"""How much of the rate each service gets."""


class DemoFailed(Exception):
    """Something did not go as it must; says what, and where to look."""


@dataclass(frozen=True, slots=True)
class Child:
    """A process of the demo, and the file that its output goes to."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def last_json(self) -> dict[str, Any]:
        """The newest whole line of its output, or nothing."""
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - 65536))
            lines = file.read().split(b"\n")[:-1]
        found: dict[str, Any] = json.loads(lines[-1]) if lines and lines[-1].startswith(b"{") else {}
        return found


@dataclass(frozen=True, slots=True)
class Project:
    """The folder of the demo: databases, syncline.toml, views, and the logs of its processes.

    `urls` leads to those databases that are on PostgreSQL.
    """

    folder: Path
    slice_: Slice
    urls: Mapping[str, str] = field(default_factory=dict)

    @property
    def today(self) -> str:
        """The first day that is still to be played, or the last one."""
        return data.day(min(self.slice_.played + 1, self.slice_.days))

    def command(self, *args: str) -> list[str]:
        return [sys.executable, "-m", "syncline", *args, "--config", str(self.folder / "syncline.toml")]

    def ask(self, *args: str) -> dict[str, Any]:
        """What a command answers with --json. Raises DemoFailed with its error."""
        done = subprocess.run(self.command(*args, "--json"), capture_output=True, text=True, check=False)
        if done.returncode:
            raise DemoFailed(f"`syncline {' '.join(args)}` exited with {done.returncode}: {done.stderr.strip()}")
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer


class Display:
    """Shows looks: a screen where stdout is a terminal, else a line now and then."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._said = 0.0

    def say(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True, markup=False)

    def follow(self, look: Callable[[], Look], is_over: Callable[[Look], bool]) -> Look:
        """Shows one look after another until the last one is over, and returns it."""
        if not self.console.is_terminal:
            return self._follow_in_lines(look, is_over)
        with Live(console=self.console, auto_refresh=False, vertical_overflow="crop") as live:
            while not is_over(now := look()):
                live.update(as_screen(now), refresh=True)
                time.sleep(LOOK_EVERY_S)
            live.update(as_screen(now), refresh=True)
        return now

    def _follow_in_lines(self, look: Callable[[], Look], is_over: Callable[[Look], bool]) -> Look:
        self._said = time.monotonic()
        while not is_over(now := look()):
            if time.monotonic() - self._said >= LINE_EVERY_S:
                self._said = time.monotonic()
                self.say(as_line(now))
            time.sleep(LOOK_EVERY_S)
        self.say(as_line(now))
        return now


def demo(project: Project, options: argparse.Namespace, display: Display) -> None:
    """The whole demo in a folder of its own. Raises DemoFailed; no child is left, however it ends."""
    _make(project, display)
    with ExitStack() as children:
        # A free port: the one in syncline.toml may be taken by another demo.
        run = children.enter_context(_child(project, "run", project.command("run", "--listen", "127.0.0.1:0")))
        status = children.enter_context(
            _child(project, "status", project.command("status", "--watch", "--interval-s", "0.5", "--json"))
        )
        _wait_live(project, run, status, display)
        with ExitStack() as writers:
            replayers = [writers.enter_context(_replayer(project, each, options)) for each in SERVICES]
            _watch(project, run, status, replayers, options, display)
            _round_trip(project, display)
        written = ", ".join(f"{each.name} {each.last_json().get('changes', 0):,}" for each in replayers)
        display.say(f"the services have stopped; changes written: {written}")
        _verify(project, display)


def _make(project: Project, display: Display) -> None:
    began = time.monotonic()
    display.say("Making the databases of four services from the flights that left New York in 2013 ...")
    counts = lay_out(project.folder, project.slice_, project.urls)
    (project.folder / "logs").mkdir()
    rows = ", ".join(f"{number:,} {relation}" for relation, number in counts.items())
    display.say(f"{rows} in {time.monotonic() - began:.1f} s")


def _wait_live(project: Project, run: Child, status: Child, display: Display) -> None:
    """Until every feed and every view is live for the first time."""
    began = time.monotonic()
    display.say(f"\n$ cd {project.folder} && syncline run")

    def is_live(look: Look) -> bool:
        _check(run)
        _check(status)
        if time.monotonic() - began > LIVE_TIMEOUT_S:
            raise DemoFailed(f"not live after {LIVE_TIMEOUT_S:g} s; {run.log} says why")
        states = {each["state"] for kind in ("feeds", "views") for each in look.status.get(kind, ())}
        return states == {"live"}

    display.follow(lambda: Look("loading", status.last_json()), is_live)
    display.say(f"live after {time.monotonic() - began:.1f} s; now the services begin to write\n")
    if found := re.search(r"dashboard and queries at (\S+)/$", run.log.read_text("utf-8"), re.MULTILINE):
        display.say(
            f"Dashboard and API, until the demo ends (`--seconds 600` gives more time): {found[1]}/\n"
            f"    curl '{found[1]}/queries/late_airlines?min_flights=1000'\n"
        )


def _watch(
    project: Project,
    run: Child,
    status: Child,
    replayers: Sequence[Child],
    options: argparse.Namespace,
    display: Display,
) -> None:
    """Shows the views changing, until the time is over or the flights have all been played."""
    until = time.monotonic() + options.seconds
    before: list[tuple[float, int]] = []
    passengers: set[int] = set()

    def look() -> Look:
        changes = sum(int(each.last_json().get("changes", 0)) for each in replayers)
        before.append((time.monotonic(), changes))
        (then, had), (now, have) = before[max(0, len(before) - 6)], before[-1]
        per_s = (have - had) / (now - then) if now > then else 0.0
        cut = _cut(project)
        return Look("live", status.last_json(), cut, changes, per_s)

    def is_over(now: Look) -> bool:
        _check(run)
        _check(status)
        passengers.update([now.cut.booked] if now.cut is not None else [])
        if len(passengers) > 1:
            raise DemoFailed(f"somebody saw half a transaction: the total of passengers was {passengers}")
        for each in replayers:
            if each.has_ended and each.process.returncode:
                raise DemoFailed(f"the replayer of {each.name} failed: {_tail(each)}")
        return replayers[0].has_ended or (not options.full and time.monotonic() >= until)

    display.follow(look, is_over)


def _round_trip(project: Project, display: Display) -> None:
    """A change, the token for it, and a read that is at least that new, while everyone else goes on writing."""
    with closing(Connection(database_of(project.folder, "operations"))) as connection:
        flight_id, was = connection.execute(
            f"SELECT flight_id, sched_arr_time FROM flights WHERE flight < {EXTRA_SECTION} ORDER BY flight_id DESC LIMIT 1"
        ).fetchone()
        retimed = was + 1 if was % 100 < 59 else was - 1
        connection.execute("UPDATE flights SET sched_arr_time = ? WHERE flight_id = ?", (retimed, flight_id))
    began = time.monotonic()
    token = project.ask("token", "operations")["token"]
    rows = project.ask("read", "flight_board", str(flight_id), "--at-least", token, "--timeout-s", "30")["rows"]
    seconds = time.monotonic() - began
    display.say(f"\nUPDATE flights SET sched_arr_time = {retimed} WHERE flight_id = {flight_id}  -- was {was}")
    display.say(f"$ syncline token operations\n{token}")
    display.say(f"$ syncline read flight_board {flight_id} --at-least {token}")
    if [row["sched_arr_time"] for row in rows] != [retimed]:
        raise DemoFailed(f"read your writes is broken: the read with the token gave {rows}")
    display.say(f"sched_arr_time {retimed}: the write is seen ({seconds:.1f} s with the start of two programs)\n")


def _verify(project: Project, display: Display) -> None:
    display.say("\n$ syncline verify")
    began = time.monotonic()
    status = subprocess.run(project.command("verify"), check=False).returncode
    if status:
        raise DemoFailed(f"verify exited with {status}: the read model is not what it must be")
    display.say(f"the views equal their queries over the four databases ({time.monotonic() - began:.1f} s)")


def _cut(project: Project) -> Cut | None:
    """The rows to show; none while SQLite switches a view."""
    try:
        return read_cut(project.folder, project.today)
    except sqlite3.OperationalError:
        return None


def _replayer(project: Project, service: str, options: argparse.Namespace) -> AbstractContextManager[Child]:
    days = max(project.slice_.days - project.slice_.played, 1)
    args = ["--folder", project.folder, "--service", service, "--days", days, "--rate", options.rate * SHARES[service]]
    command = [sys.executable, str(HERE / "replay.py"), *map(str, args), "--json"]
    return _child(project, service, command)


@contextmanager
def _child(project: Project, name: str, command: Sequence[str]) -> Iterator[Child]:
    """A process that is stopped at the end: asked first, then killed.

    It has its own session, so that Ctrl-C reaches the demo alone, which then stops the others in order.
    """
    log = project.folder / "logs" / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield Child(name, process, log)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _check(child: Child) -> None:
    """Raises DemoFailed when a process that goes on until it is stopped has ended by itself."""
    if child.has_ended:
        raise DemoFailed(f"`syncline {child.name}` ended with {child.process.returncode}: {_tail(child)}")


def _tail(child: Child) -> str:
    lines = child.log.read_text("utf-8", errors="replace").splitlines()
    return "\n".join(["", *lines[-15:]])


@contextmanager
def _folder(options: argparse.Namespace, display: Display) -> Iterator[Path]:
    """The folder to work in. A temporary one is removed at the end, unless it is asked for or something went wrong."""
    if options.folder is not None:
        yield options.folder.resolve()
        return
    folder = Path(tempfile.mkdtemp(prefix="syncline-flights-"))
    is_done = False
    try:
        yield folder
        is_done = True
    except KeyboardInterrupt:
        is_done = True
        raise
    finally:
        if is_done and not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            display.say(f"kept: {folder}")


@contextmanager
def _urls(options: argparse.Namespace) -> Iterator[dict[str, str]]:
    """New databases on PostgreSQL for what the command line wants there. At the end they are gone, and so is the server."""
    if options.postgres is None:
        yield {}
        return
    # Only here: needs the driver, which the demo on SQLite does without.
    from syncline.testing.postgres import postgres_databases

    with ExitStack() as stack:
        with said_in_words():
            server = stack.enter_context(postgres_databases())
            urls = {name: server.create(f"flights_{name}") for name in PLACES[options.postgres]}
        yield urls


def _how_to_go_on(folder: Path, is_kept: bool, display: Display) -> None:
    if not is_kept:
        display.say("\nTo keep it and add a view of your own, run it again with `--folder flights-demo`.")
        return
    command = "syncline" if shutil.which("syncline") else f"{sys.executable} -m syncline"
    display.say(
        f"\nGo on: write {folder / 'views' / 'my_view.sql'}, for example\n"
        "    -- key: origin\n"
        "    SELECT f.origin, COUNT(*) AS flights FROM operations.flights f GROUP BY f.origin\n"
        f"then in {folder}:\n"
        f"    {command} run                 (dashboard and API at http://127.0.0.1:8765/)\n"
        f"    {command} read my_view        (in another terminal)\n"
        f"    {sys.executable} {HERE / 'replay.py'} --folder . --service operations --days 10"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Four services, their changes, and Syncline following them.", allow_abbrev=False)
    parser.add_argument("--days", type=int, default=data.DAYS, metavar="N", help="only the first N days of the year")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="work in this new folder, and keep it")
    parser.add_argument("--keep", action="store_true", help="keep the temporary folder")
    parser.add_argument("--seconds", type=float, default=15.0, help="how long the services write (default 15)")
    parser.add_argument("--rate", type=float, default=600.0, help="changes per second, about (default 600)")
    parser.add_argument("--full", action="store_true", help="play to the end of the year, however long it takes")
    parser.add_argument(
        "--postgres",
        nargs="?",
        const="all",
        choices=sorted(PLACES),
        help="on PostgreSQL: everything, or only the four sources, or only the read store (a server of its own, which "
        "is gone at the end, or SYNCLINE_PG_DSN: a role that may create databases)",
    )
    options = parser.parse_args()
    if options.postgres and (options.keep or options.folder):
        parser.error("--postgres drops its databases at the end; to keep some, make them with services.py --postgres URL")
    return options


def main() -> int:
    """Runs the demo that the command line asks for."""
    options = _options()
    display = Display(Console())
    for module, needs_it in (("syncline", True), ("psycopg", options.postgres is not None)):
        if needs_it and importlib.util.find_spec(module) is None:
            advice = "use `./do demo flights`, or `pip install -e '.[postgres]'`"
            print(f"error: {module} is not installed here; {advice}", file=sys.stderr)
            return WRONG_USE
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        slice_ = Slice(options.days, options.days // 2)
        with _urls(options) as urls, _folder(options, display) as folder:
            demo(Project(folder, slice_, urls), options, display)
            if options.postgres is None:
                _how_to_go_on(folder, options.keep or options.folder is not None, display)
        return DONE
    except KeyboardInterrupt:
        display.say("stopped")
        return INTERRUPTED
    except (FolderInUse, DatabaseMissing, data.DataMissing, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return WRONG_USE
    except DemoFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return DIFFERENT


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
