"""The year's changes of each service as transactions in time order, and accidents that no schedule has.

A script reads its service's database once, before it begins. The same seed on the same database gives the same changes.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from heapq import heappop, heappush
from itertools import groupby
from random import Random

import data
from databases import Connection
from services import status_after

EXTRA_SECTION = 10_000
"""Added to the number of a flight for the extra section that helps it out."""

BUSY_AIRPORTS = ("ATL", "BOS", "CLT", "DCA", "DEN", "DTW", "FLL", "LAX", "MCO", "MIA", "ORD", "SFO")
SMALL_AIRLINES = ("AS", "F9", "HA", "YV")
NEW_AIRPORTS = {
    "BQN": ("Rafael Hernandez", 18.4949, -67.1294),
    "PSE": ("Mercedita", 18.0083, -66.5630),
    "SJU": ("Luis Munoz Marin Intl", 18.4394, -66.0018),
    "STT": ("Cyril E King", 18.3373, -64.9734),
}


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement and its values."""

    sql: str
    values: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Transaction:
    """Statements that take effect together. Not kept: whoever wrote them thinks better of it, and rolls back."""

    statements: tuple[Statement, ...]
    is_kept: bool = True


Script = Callable[[Connection, int, Random], Iterator[Transaction]]
"""A connection to read with, a number of days, and what decides about accidents."""


def play_operations(connection: Connection, days: int, rng: Random) -> Iterator[Transaction]:
    """Departures, arrivals, delays and cancellations as they happened, with swaps, moved passengers and extra sections.

    Passengers only ever move between flights, within one transaction: their total never changes.
    """
    planned = _planned(connection, days)
    moments = sorted(_moments(planned))
    dispatch = _Dispatch(planned, _number(connection, "SELECT max(flight_id) FROM flights"))
    at = 0
    while at < len(moments):
        several = moments[at : at + rng.randint(1, 6)]
        yield Transaction(tuple(statement for moment in several for statement in dispatch.statements(moment)))
        at += len(several)
        yield from dispatch.due(several[-1].minute)
        yield from dispatch.unplanned(several[-1].minute, rng)
    yield from dispatch.due(None)


def play_fleet(connection: Connection, days: int, rng: Random) -> Iterator[Transaction]:
    """Planes change hands, are bought, refitted, re-registered and retired; small airlines change name or code."""
    tailnums = [row[0] for row in connection.execute("SELECT tailnum FROM planes ORDER BY tailnum")]
    owners = dict(connection.execute("SELECT tailnum, owner FROM planes"))
    names = dict(connection.execute("SELECT carrier, name FROM airlines"))
    bought = _number(connection, "SELECT count(*) FROM planes WHERE tailnum LIKE 'N%SL'")
    carriers = sorted(names)
    for _ in range(days * 20):
        one, other = rng.sample(range(len(tailnums)), 2)
        chance = rng.random()
        if chance < 0.40:
            owners[tailnums[one]] = rng.choice(carriers)
            yield _one(_SELL, owners[tailnums[one]], tailnums[one])
        elif chance < 0.60:
            mine, theirs = tailnums[one], tailnums[other]
            owners[mine], owners[theirs] = owners.get(theirs), owners.get(mine)
            yield Transaction((_says(_SELL, owners[mine], mine), _says(_SELL, owners[theirs], theirs)))
        elif chance < 0.75:
            yield _one("UPDATE planes SET seats = ? WHERE tailnum = ?", rng.randint(20, 400), tailnums[one])
        elif chance < 0.83:
            bought += 1
            tailnums.append(f"N{bought}SL")
            yield _one(_BUY, tailnums[-1], rng.choice(carriers), rng.randint(100, 300))
        elif chance < 0.89:
            yield _one("DELETE FROM planes WHERE tailnum = ?", tailnums.pop(one))
        elif chance < 0.93:
            old, tailnums[one] = tailnums[one], f"{tailnums[one].rstrip('X')}X"
            yield _one("UPDATE planes SET tailnum = ? WHERE tailnum = ?", tailnums[one], old)
        elif chance < 0.97:
            carrier = rng.choice(SMALL_AIRLINES)
            names[carrier] = _renamed(names[carrier], (" Group",), rng)
            yield _one("UPDATE airlines SET name = ? WHERE carrier = ?", names[carrier], carrier)
        else:
            yield _recoded(names)


def play_airports(connection: Connection, days: int, rng: Random) -> Iterator[Transaction]:
    """Airports are renamed, move to another time zone, open and close."""
    names = dict(connection.execute("SELECT faa, name FROM airports ORDER BY faa"))
    strips = sorted(faa for faa in names if faa.startswith("X") and faa[1:].isdigit())
    opening = sorted(set(NEW_AIRPORTS) - set(names))
    number = max((int(faa[1:]) for faa in strips), default=9)
    for _ in range(days * 4):
        chance = rng.random()
        faa = rng.choice(BUSY_AIRPORTS) if rng.random() < 0.2 else rng.choice(sorted(names))
        if chance < 0.15 and opening:
            opened = opening.pop(0)
            names[opened] = NEW_AIRPORTS[opened][0]
            yield _one(_OPEN, opened, *NEW_AIRPORTS[opened], 10, -4, "N", "America/Puerto_Rico")
        elif chance < 0.65:
            names[faa] = _renamed(names[faa], (" International", " Memorial", " Field"), rng)
            yield _one("UPDATE airports SET name = ? WHERE faa = ?", names[faa], faa)
        elif chance < 0.80:
            yield _one("UPDATE airports SET tz = ? WHERE faa = ?", rng.randint(-10, -5), faa)
        elif chance < 0.92 or not strips:
            number += 1
            strips.append(f"X{number}")
            place = (round(rng.uniform(25, 48), 7), round(rng.uniform(-120, -70), 7))
            yield _one(_OPEN, strips[-1], f"Airstrip {number}", *place, 100, -5, "A", None)
        else:
            yield _one("DELETE FROM airports WHERE faa = ?", strips.pop(0))


def play_weather(connection: Connection, days: int, rng: Random) -> Iterator[Transaction]:
    """Each hour's observations arrive; some earlier ones are corrected, sent again or withdrawn."""
    newest = _text(connection, "SELECT max(time_hour) FROM observations") or f"{data.YEAR}-01-01T00:00:00Z"
    last = (date.fromisoformat(newest[:10]) + timedelta(days=days)).isoformat() + newest[10:]
    coming = sorted((each for each in data.observations() if newest < each.time_hour <= last), key=_hour)
    seen: list[data.Observation] = []
    for _, observations in groupby(coming, key=_hour):
        hour = list(observations)
        seen = (seen + hour)[-150:]
        yield Transaction(tuple(_says(_OBSERVE, *each) for each in hour))
        one = rng.choice(seen)
        chance = rng.random()
        if chance < 0.30:
            values = (round(rng.uniform(10, 100), 2), round(rng.uniform(0, 30), 5), one.origin, one.time_hour)
            yield _one(_CORRECT, *values)
        elif chance < 0.35:
            yield _one(_OBSERVE, *one)
        elif chance < 0.38:
            yield _one("DELETE FROM observations WHERE origin = ? AND time_hour = ?", one.origin, one.time_hour)


SCRIPTS: dict[str, Script] = {
    "operations": play_operations,
    "fleet": play_fleet,
    "airports": play_airports,
    "weather": play_weather,
}

_SELL = "UPDATE planes SET owner = ? WHERE tailnum = ?"
_BUY = """
INSERT INTO planes VALUES (?, ?, 2013, 'Fixed wing multi engine', 'AIRBUS', 'A321-211', 2, ?, 'Turbo-fan')
ON CONFLICT DO NOTHING
"""
_RECODE = "REPLACE INTO airlines (carrier, name) VALUES (?, ?)"
_OPEN = """
INSERT INTO airports (faa, name, lat, lon, alt, tz, dst, tzone) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
"""
_OBSERVE = "INSERT OR REPLACE INTO observations VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_CORRECT = "UPDATE observations SET temp = ?, wind_speed = ? WHERE origin = ? AND time_hour = ?"

_DELAY = "UPDATE flights SET dep_delay = ? WHERE flight_id = ? AND status = 'scheduled'"
_DEPART = "UPDATE flights SET status = 'departed', dep_delay = ? WHERE flight_id = ? AND status = 'scheduled'"
_LAND = "UPDATE flights SET status = ?, arr_delay = ?, air_time = ? WHERE flight_id = ? AND status = 'departed'"
_CANCEL = "UPDATE flights SET status = 'cancelled' WHERE flight_id = ? AND status = 'scheduled'"
_CANCEL_EMPTY = "UPDATE flights SET status = 'cancelled', booked = 0 WHERE flight_id = ? AND status = 'scheduled'"
_REBOOK = """
UPDATE flights SET booked = booked + (SELECT c.booked FROM flights c WHERE c.flight_id = ?)
 WHERE flight_id = ? AND EXISTS (SELECT 1 FROM flights c WHERE c.flight_id = ? AND c.status = 'scheduled')
"""
_BOOK = "UPDATE flights SET booked = booked + ? WHERE flight_id = ?"
_ASSIGN = "UPDATE flights SET tailnum = ? WHERE flight_id = ?"
_ADD_SECTION = """
INSERT INTO flights (flight_id, flight_date, sched_dep, sched_arr_time, carrier, flight,
                     origin, dest, distance, time_hour, booked)
SELECT ?, flight_date, sched_dep, sched_arr_time, carrier, flight + ?, origin, dest, distance, time_hour, 0
  FROM flights WHERE flight_id = ?
"""
_GIVE_BACK = """
UPDATE flights SET booked = booked + (SELECT x.booked FROM flights x WHERE x.flight_id = ?) WHERE flight_id = ?
"""
_DROP_SECTION = "DELETE FROM flights WHERE flight_id = ?"

IN_POSTGRES = {
    _RECODE: """
INSERT INTO airlines (carrier, name) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET carrier = excluded.carrier
""",
    _OBSERVE: """
INSERT INTO observations VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (origin, time_hour) DO UPDATE
   SET temp = excluded.temp, dewp = excluded.dewp, humid = excluded.humid, wind_dir = excluded.wind_dir,
       wind_speed = excluded.wind_speed, wind_gust = excluded.wind_gust, precip = excluded.precip,
       pressure = excluded.pressure, visib = excluded.visib
""",
}
"""What PostgreSQL says otherwise: it has no REPLACE. The first changes a row's key, by an upsert."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A flight in the database, and what the data says of it."""

    flight_id: int
    tailnum: str | None
    minute: int
    outcome: data.Flight


@dataclass(frozen=True, slots=True, order=True)
class Moment:
    """Something happens to a flight. Minutes are counted from the first day of the calendar."""

    minute: int
    flight_id: int
    what: str
    outcome: data.Flight = field(compare=False)


class _Dispatch:
    """The operations room: who stands in for whom. What it remembers is true while nobody else writes."""

    def __init__(self, planned: Sequence[Planned], newest_id: int) -> None:
        self.planned = planned
        self.tailnums = {each.flight_id: each.tailnum for each in planned}
        self.newest_id = newest_id
        self.later: list[tuple[int, int, Transaction]] = []
        self.ahead = 0
        self.next_on_route: dict[int, int] = {}
        last: dict[tuple[str, str], int] = {}
        for each in reversed(planned):
            route = (each.outcome.origin, each.outcome.dest)
            if route in last:
                self.next_on_route[each.flight_id] = last[route]
            last[route] = each.flight_id

    def statements(self, moment: Moment) -> Iterator[Statement]:
        """What is written when it happens. Passengers of a cancelled flight go with the next one on its route."""
        flight_id, outcome = moment.flight_id, moment.outcome
        if moment.what == "delay":
            yield _says(_DELAY, outcome.dep_delay, flight_id)
        elif moment.what == "depart":
            yield _says(_DEPART, outcome.dep_delay, flight_id)
        elif moment.what == "land":
            yield _says(_LAND, status_after(outcome), outcome.arr_delay, outcome.air_time, flight_id)
        elif flight_id in self.next_on_route:
            yield _says(_REBOOK, flight_id, self.next_on_route[flight_id], flight_id)
            yield _says(_CANCEL_EMPTY, flight_id)
        else:
            yield _says(_CANCEL, flight_id)

    def due(self, minute: int | None) -> Iterator[Transaction]:
        """What was put off until `minute`; everything, when there is none."""
        while self.later and (minute is None or self.later[0][0] <= minute):
            yield heappop(self.later)[2]

    def unplanned(self, minute: int, rng: Random) -> Iterator[Transaction]:
        """Now and then something that no schedule has."""
        while self.ahead < len(self.planned) and self.planned[self.ahead].minute <= minute:
            self.ahead += 1
        if len(self.planned) - self.ahead < 2:
            return
        one, other = (each.flight_id for each in rng.sample(self.planned[self.ahead : self.ahead + 200], 2))
        chance, is_kept = rng.random(), rng.random() > 0.1
        if chance < 0.06:
            yield self._swap(one, other, is_kept)
        elif chance < 0.14:
            count = rng.randint(1, 90)
            yield Transaction((_says(_BOOK, -count, one), _says(_BOOK, count, other)), is_kept)
        elif chance < 0.17:
            yield self._add_section(one, minute, rng)

    def _swap(self, one: int, other: int, is_kept: bool) -> Transaction:
        """Two flights exchange their planes."""
        mine, theirs = self.tailnums[one], self.tailnums[other]
        if is_kept:
            self.tailnums[one], self.tailnums[other] = theirs, mine
        return Transaction((_says(_ASSIGN, theirs, one), _says(_ASSIGN, mine, other)), is_kept)

    def _add_section(self, original: int, minute: int, rng: Random) -> Transaction:
        """A second plane takes some of a flight's passengers. Every other one never leaves, and gives them back."""
        self.newest_id += 1
        extra, count = self.newest_id, rng.randint(5, 40)
        if rng.random() < 0.5:
            back = Transaction((_says(_GIVE_BACK, extra, original), _says(_DROP_SECTION, extra)))
            heappush(self.later, (minute + rng.randint(5, 60), extra, back))
        else:
            minutes = rng.randint(30, 90)
            heappush(self.later, (minute + minutes, extra, _one(_DEPART, 0, extra)))
            heappush(self.later, (minute + 3 * minutes, extra, _one(_LAND, "arrived", 0, 2 * minutes, extra)))
        return Transaction(
            (
                _says(_ADD_SECTION, extra, EXTRA_SECTION, original),
                _says(_BOOK, -count, original),
                _says(_BOOK, count, extra),
            )
        )


def _planned(connection: Connection, days: int) -> list[Planned]:
    """The flights of `days` days, from the first on which something is still to happen."""
    first = _text(
        connection,
        f"SELECT min(flight_date) FROM flights WHERE status IN ('scheduled', 'departed') AND flight < {EXTRA_SECTION}",
    )
    if first is None:
        return []
    last = (date.fromisoformat(first) + timedelta(days=days - 1)).isoformat()
    outcomes = {_name(each): each for each in data.flights() if first <= each.flight_date <= last}
    rows = connection.execute(
        "SELECT flight_id, tailnum, carrier, flight, origin, dest, sched_dep FROM flights"
        " WHERE flight_date BETWEEN ? AND ? AND flight < ? ORDER BY sched_dep, flight_id",
        (first, last, EXTRA_SECTION),
    )
    return [Planned(row[0], row[1], _minute(row[6]), outcomes[tuple(row[2:])]) for row in rows]


def _hour(observation: data.Observation) -> str:
    return observation.time_hour


def _name(flight: data.Flight) -> tuple[object, ...]:
    return flight.carrier, flight.flight, flight.origin, flight.dest, flight.sched_dep


def _moments(planned: Sequence[Planned]) -> Iterator[Moment]:
    for each in planned:
        outcome = each.outcome
        if outcome.dep_delay is None:
            yield Moment(each.minute, each.flight_id, "cancel", outcome)
            continue
        if outcome.dep_delay > 30:
            yield Moment(each.minute, each.flight_id, "delay", outcome)
        left = each.minute + outcome.dep_delay
        yield Moment(left, each.flight_id, "depart", outcome)
        yield Moment(left + (outcome.air_time or 240) + 20, each.flight_id, "land", outcome)


def _minute(moment: str) -> int:
    return date.fromisoformat(moment[:10]).toordinal() * 1440 + int(moment[11:13]) * 60 + int(moment[14:])


def _recoded(names: dict[str, str]) -> Transaction:
    """SkyWest changes its code. SQLite's REPLACE removes the row of the old code because of its name, and no trigger fires."""
    old, new = ("OO", "O2") if "OO" in names else ("O2", "OO")
    names[new] = names.pop(old)
    return _one(_RECODE, new, names[new])


def _renamed(name: str, additions: Sequence[str], rng: Random) -> str:
    """The name with one of the additions; without it, if it has one."""
    plain = next((name.removesuffix(each) for each in additions if name.endswith(each)), name)
    return name + rng.choice(additions) if plain == name else plain


def _says(sql: str, *values: object) -> Statement:
    return Statement(sql, values)


def _one(sql: str, *values: object) -> Transaction:
    return Transaction((Statement(sql, values),))


def _number(connection: Connection, sql: str) -> int:
    return int(connection.execute(sql).fetchone()[0] or 0)


def _text(connection: Connection, sql: str) -> str | None:
    value: str | None = connection.execute(sql).fetchone()[0]
    return value
