"""Makes the four services' databases and the project around them: `python services.py FOLDER [--days N] [--played N]`.

Each service owns one database and knows nothing of the others: no foreign key, no shared table. Of the SQLite files three
are in WAL mode; `airports` keeps SQLite's default, the rollback journal, so that both are shown. `--postgres URL` makes
databases on that server instead.
"""

import argparse
import re
import shutil
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import data
from databases import READ_STORE, Connection, DatabaseMissing, database_of, is_postgres, said_in_words

HERE = Path(__file__).resolve().parent
SERVICES = ("operations", "fleet", "airports", "weather")
PLACES = {"all": (*SERVICES, READ_STORE), "sources": SERVICES, "read": (READ_STORE,)}
"""Which databases can be on PostgreSQL; the others are SQLite files."""

SQL = ("views", "queries")

# `booked` is made up, for the data has no passengers: their total is the same in every state that really existed.
OPERATIONS = """
CREATE TABLE flights (
    flight_id      INTEGER PRIMARY KEY,
    flight_date    TEXT NOT NULL,
    sched_dep      TEXT NOT NULL,
    sched_arr_time INTEGER NOT NULL,
    carrier        TEXT NOT NULL,
    flight         INTEGER NOT NULL,
    origin         TEXT NOT NULL,
    dest           TEXT NOT NULL,
    tailnum        TEXT,
    distance       INTEGER NOT NULL,
    time_hour      TEXT NOT NULL,
    booked         INTEGER NOT NULL CHECK (booked >= 0),
    status         TEXT NOT NULL DEFAULT 'scheduled'
                   CHECK (status IN ('scheduled', 'departed', 'arrived', 'diverted', 'cancelled')),
    dep_delay      INTEGER,
    arr_delay      INTEGER,
    air_time       INTEGER
);
"""
OPERATIONS_INDEXES = "CREATE INDEX flights_by_date ON flights (flight_date);"

FLEET = """
CREATE TABLE airlines (
    carrier TEXT NOT NULL PRIMARY KEY,
    name    TEXT NOT NULL UNIQUE
);
CREATE TABLE planes (
    tailnum      TEXT NOT NULL PRIMARY KEY,
    owner        TEXT,
    year         INTEGER,
    type         TEXT NOT NULL,
    manufacturer TEXT NOT NULL,
    model        TEXT NOT NULL,
    engines      INTEGER NOT NULL,
    seats        INTEGER NOT NULL,
    engine       TEXT NOT NULL
) WITHOUT ROWID;
"""

AIRPORTS = """
CREATE TABLE airports (
    faa   TEXT NOT NULL PRIMARY KEY,
    name  TEXT NOT NULL,
    lat   DOUBLE PRECISION NOT NULL,
    lon   DOUBLE PRECISION NOT NULL,
    alt   INTEGER NOT NULL,
    tz    INTEGER NOT NULL,
    dst   TEXT NOT NULL,
    tzone TEXT,
    UNIQUE (lat, lon)
);
"""

WEATHER = """
CREATE TABLE observations (
    origin     TEXT NOT NULL,
    time_hour  TEXT NOT NULL,
    temp       DOUBLE PRECISION,
    dewp       DOUBLE PRECISION,
    humid      DOUBLE PRECISION,
    wind_dir   INTEGER,
    wind_speed DOUBLE PRECISION,
    wind_gust  DOUBLE PRECISION,
    precip     DOUBLE PRECISION NOT NULL,
    pressure   DOUBLE PRECISION,
    visib      DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (origin, time_hour)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Slice:
    """How much of the year there is: its first `days` days, of which the first `played` have happened already."""

    days: int = data.DAYS
    played: int = 180

    def __post_init__(self) -> None:
        if not 1 <= self.days <= data.DAYS:
            raise ValueError(f"{self.days} days: the data has 1 to {data.DAYS}")
        if not 0 <= self.played <= self.days:
            raise ValueError(f"{self.played} days cannot have happened of {self.days}; choose 0 to {self.days}")


class FolderInUse(Exception):
    """The folder holds files of these names already; they are somebody's, so nothing was written."""


def lay_out(folder: Path, slice_: Slice, urls: Mapping[str, str] | None = None) -> dict[str, int]:
    """Makes `folder` a project for `syncline run`: databases, syncline.toml, views, queries. Returns each relation's rows.

    `urls` leads to an empty PostgreSQL database for each service that is to be there, and for READ_STORE.
    """
    refuse_used(folder)
    folder.mkdir(parents=True, exist_ok=True)
    configuration = folder / "syncline.toml"
    configuration.touch(mode=0o600 if urls else 0o666)  # a URL may hold a password
    configuration.write_text(configured((HERE / "syncline.toml").read_text("utf-8"), urls or {}), "utf-8")
    for name in SQL:
        shutil.copytree(HERE / name, folder / name)
    return build(folder, slice_)


def refuse_used(folder: Path) -> None:
    """Raises FolderInUse where `lay_out` would."""
    ours = ("syncline.toml", *SQL, "logs", "read.db", *(f"{service}.db" for service in SERVICES))
    taken = [name for name in ours if (folder / name).exists()]
    if taken:
        raise FolderInUse(f"{folder} holds {', '.join(taken)} already; choose another folder, or remove it")


def configured(text: str, urls: Mapping[str, str]) -> str:
    """The example's syncline.toml with other URLs: nothing else changes, but that `fleet` is followed by its WAL."""
    for name, url in urls.items():
        text = text.replace(f'"sqlite:///{name}.db"', f'"{url}"')
    if "fleet" in urls:
        text = re.sub(r'(\[service\.fleet\]\n.*\ncapture *= )"triggers"', r'\1"wal"', text)
    return text


def build(folder: Path, slice_: Slice) -> dict[str, int]:
    """Fills the four databases of `folder`: the same rows for the same slice, and the same keys in a longer one."""
    today = data.day(slice_.played + 1) if slice_.played < data.DAYS else f"{data.YEAR + 1}-01-01"
    end = data.day(slice_.days)
    flights = sorted(data.flights(), key=_place_in_time)
    owners = _owners(flights)
    with closing(_create(folder, "operations", OPERATIONS, use_wal=True)) as operations:
        rows = (_flight_row(number, flight, today) for number, flight in enumerate(_until(flights, end), 1))
        operations.insert("flights", 16, rows)
        operations.execute(OPERATIONS_INDEXES)
    with closing(_create(folder, "fleet", FLEET, use_wal=True)) as fleet:
        fleet.insert("airlines", 2, data.airlines())
        fleet.insert("planes", 9, ((plane.tailnum, owners.get(plane.tailnum), *plane[1:]) for plane in data.planes()))
    with closing(_create(folder, "airports", AIRPORTS, use_wal=False)) as airports:
        airports.insert("airports", 8, data.airports())
    with closing(_create(folder, "weather", WEATHER, use_wal=True)) as weather:
        weather.insert("observations", 11, (each for each in data.observations() if each.time_hour < today))
    return count(folder)


def count(folder: Path) -> dict[str, int]:
    """How many rows each relation has now."""
    relations = ("operations.flights", "fleet.planes", "fleet.airlines", "airports.airports", "weather.observations")
    counts: dict[str, int] = {}
    for relation in relations:
        service, table = relation.split(".")
        with closing(Connection(database_of(folder, service))) as connection:
            counts[relation] = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    return counts


def status_after(flight: data.Flight) -> str:
    """What has become of a flight in the end."""
    if flight.dep_delay is None:
        return "cancelled"
    return "diverted" if flight.arr_delay is None else "arrived"


def _place_in_time(flight: data.Flight) -> tuple[str, str, int, str, str]:
    return flight.sched_dep, flight.carrier, flight.flight, flight.origin, flight.dest


def _until(flights: Iterable[data.Flight], end: str) -> Iterator[data.Flight]:
    return (flight for flight in flights if flight.flight_date <= end)


def _flight_row(flight_id: int, flight: data.Flight, today: str) -> tuple[object, ...]:
    booked = 40 + flight_id * 7919 % 120
    if flight.flight_date < today:
        return flight_id, *flight[:10], booked, status_after(flight), *flight[10:]
    return flight_id, *flight[:10], booked, "scheduled", None, None, None


def _owners(flights: Iterable[data.Flight]) -> dict[str, str]:
    """Each plane belongs to the carrier that flew it most that year."""
    flown = Counter((flight.tailnum, flight.carrier) for flight in flights if flight.tailnum)
    owners: dict[str, str] = {}
    for (tailnum, carrier), _ in sorted(flown.items(), key=lambda each: (-each[1], str(each[0]))):
        owners.setdefault(str(tailnum), carrier)
    return owners


def _create(folder: Path, service: str, schema: str, *, use_wal: bool) -> Connection:
    """The service's database with its tables. Of SQLite the file is made as well."""
    database = database_of(folder, service)
    if is_postgres(database):
        connection = Connection(database)
        connection.execute(schema.replace(" WITHOUT ROWID", ""))
        return connection
    with closing(sqlite3.connect(database)) as made:
        if use_wal:
            made.execute("PRAGMA journal_mode = wal")
        made.executescript(schema)
    return Connection(database)


def _databases(options: argparse.Namespace) -> dict[str, str]:
    """New databases for all on the server that the command line names, if it names one."""
    if options.postgres is None:
        return {}
    from syncline.testing.postgres import Databases  # needs the driver, and nothing of the program

    server = Databases(options.postgres)
    with said_in_words():
        return {name: server.create(f"flights_{name}") for name in PLACES["all"]}


def main() -> int:
    """Makes the folder that the command line names, and tells what is in it."""
    parser = argparse.ArgumentParser(description="Make the four services' databases, with syncline.toml and views.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--days", type=int, default=data.DAYS, help="only the first N days of the year (default all)")
    parser.add_argument("--played", type=int, help="days that have happened already (default about half)")
    parser.add_argument("--postgres", metavar="URL", help="make databases on this server, and not SQLite files")
    options = parser.parse_args()
    began = time.monotonic()
    try:
        slice_ = Slice(options.days, options.days // 2 if options.played is None else options.played)
        refuse_used(options.folder)
        counts = lay_out(options.folder, slice_, _databases(options))
    except (data.DataMissing, DatabaseMissing, FolderInUse, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    rows = ", ".join(f"{number:,} {relation}" for relation, number in counts.items())
    print(f"{rows} in {time.monotonic() - began:.1f} s; now `cd {options.folder}` and `syncline run`")
    return 0


if __name__ == "__main__":
    sys.exit(main())
