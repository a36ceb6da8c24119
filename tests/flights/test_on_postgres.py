"""The same example on PostgreSQL: all of it, only the services, or only the read store. The views are the same files."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.flights.project import (
    BOOKED,
    DAYS,
    ENVIRONMENT,
    EXAMPLE,
    PLAYED,
    SERVICES,
    TABLES,
    TIMEOUT_S,
    ask,
    assert_exact,
    database_of,
    following,
    has_ended,
    process,
    python,
    replayer,
    syncline,
    table_of,
)

from syncline.testing.postgres import Databases

PLACES = {"all": (*SERVICES, "read"), "sources": SERVICES, "read": ("read",)}
DEMO_TIMEOUT_S = 100.0

# What a service's database holds besides rows: nothing of this may be left by `uninstall`.
OBJECTS = """
SELECT 'table', relnamespace::regnamespace::text, relname FROM pg_class WHERE relnamespace::regnamespace::text !~ '^pg_'
UNION ALL SELECT 'function', pronamespace::regnamespace::text, proname FROM pg_proc
           WHERE pronamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema')
UNION ALL SELECT 'trigger', tgrelid::regclass::text, tgname FROM pg_trigger
UNION ALL SELECT 'schema', '', nspname FROM pg_namespace WHERE nspname !~ '^pg_'
UNION ALL SELECT 'publication', '', pubname FROM pg_publication
UNION ALL SELECT 'slot', '', slot_name FROM pg_replication_slots WHERE database = current_database()
UNION ALL SELECT 'type', typnamespace::regnamespace::text, typname FROM pg_type WHERE typnamespace::regnamespace::text !~ '^pg_'
"""

# What each service writes, the column of a flight that it is about, and where and as what it is seen on the board.
WRITES = {
    "operations": ("UPDATE flights SET dep_delay = 77 WHERE flight_id = %s", "flight_id", "dep_delay", 77),
    "airports": ("UPDATE airports SET name = 'Here' WHERE faa = %s", "origin", "origin_name", "Here"),
    "fleet": ("UPDATE airlines SET name = 'Ours' WHERE carrier = %s", "carrier", "airline", "Ours"),
    "weather": ("UPDATE observations SET temp = -40.5 WHERE origin || time_hour = %s", "origin || time_hour", "temp", -40.5),
}

LAY_OUT = (
    "import json, sys; from pathlib import Path; from services import Slice, lay_out;"
    "lay_out(Path(sys.argv[1]), Slice(int(sys.argv[2]), int(sys.argv[3])), json.loads(sys.argv[4]))"
)
CONFIGURED = "import json, sys; from services import configured; print(configured(sys.stdin.read(), json.loads(sys.argv[1])))"

QUERIES = (
    ("next_departures", "origin=LGA", "after=2013-01-02"),
    ("plane_history", "tailnum=N14228"),
    ("late_airlines", "min_flights=100"),
)

Make = Callable[[str], Path]


@pytest.fixture(scope="module")
def in_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with SQLite files."""
    folder = tmp_path_factory.mktemp("flights") / "files"
    _run(LAY_OUT, str(folder), str(DAYS), str(PLAYED), "{}")
    return folder


@pytest.fixture(scope="module")
def on_server(tmp_path_factory: pytest.TempPathFactory, postgres: Databases) -> Path:
    """The project with databases on a server."""
    folder = tmp_path_factory.mktemp("flights") / "server"
    urls = {name: postgres.create(f"made_{name}") for name in PLACES["all"]}
    _run(LAY_OUT, str(folder), str(DAYS), str(PLAYED), json.dumps(urls))
    return folder


@pytest.fixture
def make(in_files: Path, on_server: Path, tmp_path: Path, postgres: Databases) -> Make:
    """Makes a project before anything is played: with what PLACES says on the server, and the rest in files."""

    def made(places: str) -> Path:
        urls = {name: postgres.create(name, like=database_of(on_server, name)) for name in PLACES[places]}
        folder = Path(shutil.copytree(in_files, tmp_path / places))
        for name in urls:
            (folder / f"{name}.db").unlink(missing_ok=True)
        configuration = folder / "syncline.toml"
        configuration.write_text(_run(CONFIGURED, json.dumps(urls), text=(EXAMPLE / "syncline.toml").read_text()))
        return folder

    return made


def test_the_same_changes_are_played_on_either_kind_of_database(make: Make, in_files: Path, tmp_path: Path) -> None:
    folders = [make("sources"), Path(shutil.copytree(in_files, tmp_path / "files"))]
    for service in SERVICES:
        for folder in folders:
            python("replay.py", "--folder", str(folder), "--service", service, "--days", "3", "--seed", "7")
        on_postgres, on_sqlite = ([table_of(folder, service, table) for table in TABLES[service]] for folder in folders)
        assert on_postgres == on_sqlite, service


# That all of it on the server is exact, another test here shows while everything is written.
@pytest.mark.parametrize("places", [*(pytest.param(each, marks=pytest.mark.long) for each in ("all", "sources")), "read"])
def test_views_are_exact_wherever_the_databases_are(make: Make, places: str) -> None:
    folder = make(places)
    syncline(folder, "sync", "--once")
    for service in SERVICES:
        python("replay.py", "--folder", str(folder), "--service", service, "--days", "3", "--seed", "9")
    syncline(folder, "sync", "--once")
    assert_exact(folder)
    assert "no difference" in syncline(folder, "verify")


def test_the_queries_answer_alike_from_either_kind_of_read_store(make: Make, in_files: Path, tmp_path: Path) -> None:
    folders = [make("read"), Path(shutil.copytree(in_files, tmp_path / "files"))]
    for folder in folders:
        syncline(folder, "sync", "--once")
    for asked in QUERIES:
        of_postgres, of_sqlite = (ask(folder, "query", *asked)["rows"] for folder in folders)
        assert of_postgres == of_sqlite, asked
        assert of_sqlite, asked
    assert {name for name, *_ in QUERIES} == {path.stem for path in (EXAMPLE / "queries").glob("*.sql")}


def test_on_postgres_views_stay_exact_while_every_service_writes_and_nothing_is_left_by_uninstall(make: Make) -> None:
    folder = make("all")
    urls = {name: database_of(folder, name) for name in PLACES["all"]}
    booked = one(urls["operations"], BOOKED)
    before = {service: contents(urls[service]) for service in SERVICES}
    with following(folder), ExitStack() as stack:
        seeds = {"operations": "3", "fleet": "4", "airports": "5", "weather": "6"}
        replayers = [
            stack.enter_context(process(folder / f"{each}.log", *replayer(folder, each, "--days", str(DAYS), "--seed", seed)))
            for each, seed in seeds.items()
        ]
        totals = set()
        with closing(psycopg.connect(urls["read"], autocommit=True)) as reader:
            while not all(has_ended(each) for each in replayers):
                totals.update(int(total) for (total,) in reader.execute("SELECT sum(booked) FROM flights.airline_board"))
        assert [each.returncode for each in replayers] == [0, 0, 0, 0]
        assert totals == {booked}, "somebody saw half a transaction"
        for service in SERVICES:
            assert_read_back(folder, service)
        assert_exact(folder)
        syncline(folder, "verify")
    for service in SERVICES:
        syncline(folder, "uninstall", service)
        assert contents(urls[service]) == before[service], service


def test_the_demo_on_postgres_ends_with_a_proof_and_leaves_no_database(tmp_path: Path, postgres: Databases) -> None:
    before = contents(postgres.url, "SELECT datname FROM pg_database UNION ALL SELECT slot_name FROM pg_replication_slots")
    command = [sys.executable, str(EXAMPLE / "demo.py"), "--postgres", "--days", "4", "--seconds", "3"]
    environment = {**ENVIRONMENT, "TMPDIR": str(tmp_path), "SYNCLINE_PG_DSN": postgres.url}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=DEMO_TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the write is seen" in done.stdout
    assert "no difference" in done.stdout
    assert list(tmp_path.iterdir()) == []
    after = contents(postgres.url, "SELECT datname FROM pg_database UNION ALL SELECT slot_name FROM pg_replication_slots")
    assert after == before


def assert_read_back(folder: Path, service: str) -> None:
    """What a service writes about the first flight of a plane is in a read with the token asked for afterwards."""
    sql, key, column, value = WRITES[service]
    operations = database_of(folder, "operations")
    flight = one(operations, "SELECT min(flight_id) FROM flights WHERE tailnum = 'N14228'")
    of = one(operations, f"SELECT {key} FROM flights WHERE flight_id = %s", flight)
    with psycopg.connect(database_of(folder, service)) as connection:
        assert connection.execute(sql, [of]).rowcount == 1
    token = ask(folder, "token", service)["token"]
    answer = ask(folder, "read", "flight_board", str(flight), "--at-least", token, "--timeout-s", "30")
    assert answer["rows"][0][column] == value, service


def one(database: str, sql: str, *values: object) -> Any:
    with closing(psycopg.connect(database)) as connection:
        row = connection.execute(sql, values or None).fetchone()
        assert row is not None
        return row[0]


def contents(database: str, sql: str = OBJECTS) -> list[tuple[Any, ...]]:
    with closing(psycopg.connect(database)) as connection:
        return sorted(connection.execute(sql).fetchall())


def _run(program: str, *args: str, text: str = "") -> str:
    command = [sys.executable, "-c", program, *args]
    return subprocess.run(
        command, input=text, capture_output=True, text=True, check=True, env=ENVIRONMENT, timeout=TIMEOUT_S
    ).stdout
