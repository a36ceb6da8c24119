"""The example as a project to test: its programs, `syncline` over its databases, and what each view must hold.

The oracle is SQLite: each view's own SELECT, run over the rows of the services' databases, whatever kind these are.
"""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
from tests import command_line

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "flights"
SERVICES = ("operations", "fleet", "airports", "weather")
VIEWS = sorted(path.stem for path in (EXAMPLE / "views").glob("*.sql"))
TABLES = {
    "operations": ("flights",),
    "fleet": ("airlines", "planes"),
    "airports": ("airports",),
    "weather": ("observations",),
}
DAYS, PLAYED = 4, 1
TIMEOUT_S = 60.0

Rows = list[tuple[Any, ...]]

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(EXAMPLE)])}

BOOKED = "SELECT sum(40 + flight_id * 7919 % 120) FROM flights WHERE flight < 10000"


def python(program: str, *args: str) -> str:
    """What an example's program prints."""
    command = [sys.executable, str(EXAMPLE / program), *args]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=ENVIRONMENT, timeout=TIMEOUT_S).stdout


def syncline(folder: Path, *args: str, status: int = 0) -> str:
    """What a command prints; it must exit with `status`."""
    done = command_line.syncline(folder, *args)
    assert done.status == status, f"{' '.join(args)}: {done.status}\n{done.text}"
    return done.out


def ask(folder: Path, *args: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(syncline(folder, *args, "--json"))
    return answer


@contextmanager
def process(log: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process whose output goes to `log`; asked to stop at the end, and killed if it does not."""
    with log.open("wb") as output:
        running = subprocess.Popen([sys.executable, *command], stdout=output, stderr=output, env=ENVIRONMENT)
    try:
        yield running
    finally:
        if running.poll() is None:
            running.send_signal(signal.SIGINT)
        try:
            running.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


@contextmanager
def following(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`syncline run`, from when it is live until it has stopped; it must stop with status 0."""
    log = folder / "run.log"
    listen = ["--listen", "127.0.0.1:0"]
    with process(log, "-m", "syncline", "run", *listen, "--config", str(folder / "syncline.toml")) as run:
        wait_until(lambda: is_live(folder) or run.poll() is not None)
        assert run.poll() is None, log.read_text()
        yield run
        assert run.poll() is None, log.read_text()
    assert run.returncode == 0, log.read_text()


def replayer(folder: Path, service: str, *args: str) -> list[str]:
    return [str(EXAMPLE / "replay.py"), "--folder", str(folder), "--service", service, *args]


def wait_until(condition: Callable[[], bool], timeout_s: float = TIMEOUT_S) -> None:
    """Asks again and again; each question is a program or a query of its own, so no pause is needed between them."""
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until, f"not so within {timeout_s:g} s"


def is_live(folder: Path) -> bool:
    status = ask(folder, "status")
    states = [each["state"] for kind in ("feeds", "views") for each in status[kind]]
    return bool(status["views"]) and set(states) == {"live"}


def has_ended(running: "subprocess.Popen[bytes]", within_s: float = 0.02) -> bool:
    try:
        running.wait(within_s)
    except subprocess.TimeoutExpired:
        return False
    return True


def database_of(folder: Path, name: str) -> str:
    """The path or URL of a service's database, or of the read store (`read`)."""
    configuration = tomllib.loads((folder / "syncline.toml").read_text())
    section = configuration["read_model"]["flights"] if name == "read" else configuration["service"][name]
    url: str = section["database"]
    return url if url.startswith("postgresql://") else str(folder / url.removeprefix("sqlite:///"))


def is_postgres(database: str) -> bool:
    return database.startswith("postgresql://")


def table_of(folder: Path, service: str, table: str) -> tuple[list[str], Rows]:
    """The columns of a service's table, and all its rows."""
    database = database_of(folder, service)
    with closing(psycopg.connect(database) if is_postgres(database) else sqlite3.connect(database)) as connection:
        cursor = connection.execute(f"SELECT * FROM {table}")
        return [column[0] for column in cursor.description], ordered(cursor.fetchall())


def wanted(folder: Path) -> dict[str, Rows]:
    """The rows of each view by its definition: its SELECT over the services' databases, attached under their names."""
    with closing(sqlite3.connect(":memory:")) as connection:
        for service in SERVICES:
            database = database_of(folder, service)
            connection.execute(f"ATTACH DATABASE ? AS {service}", (":memory:" if is_postgres(database) else database,))
            for table in TABLES[service] if is_postgres(database) else ():
                columns, rows = table_of(folder, service, table)
                connection.execute(f"CREATE TABLE {service}.{table} ({', '.join(columns)})")
                connection.executemany(f"INSERT INTO {service}.{table} VALUES ({', '.join('?' * len(columns))})", rows)
        for view in VIEWS:
            connection.execute(f"CREATE TEMP VIEW {view} AS {(folder / 'views' / f'{view}.sql').read_text()}")
        return {view: ordered(connection.execute(f"SELECT * FROM {view}").fetchall()) for view in VIEWS}


def kept(folder: Path) -> dict[str, Rows]:
    """The rows of each view in the read store, by plain SQL, all of one state."""
    database = database_of(folder, "read")
    if is_postgres(database):
        with psycopg.connect(database) as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            return {view: ordered(connection.execute(f"SELECT * FROM flights.{view}").fetchall()) for view in VIEWS}
    with closing(sqlite3.connect(f"{Path(database).as_uri()}?mode=ro", uri=True)) as store:
        columns = {view: columns_of(folder, view) for view in VIEWS}
        store.execute("BEGIN")
        return {view: ordered(store.execute(f"SELECT {columns[view]} FROM {view}").fetchall()) for view in VIEWS}


def columns_of(folder: Path, view: str) -> str:
    names = ask(folder, "read", view, "--limit", "0")["columns"]
    return ", ".join(names)


def ordered(rows: Sequence[tuple[Any, ...]]) -> Rows:
    return sorted(rows, key=repr)


def assert_exact(folder: Path) -> None:
    """Every view in the read store is what its SELECT over the services' databases gives."""
    expected, found = wanted(folder), kept(folder)
    for view in VIEWS:
        assert found[view] == expected[view], view
    assert all(expected.values()), "a view without a row proves nothing"
