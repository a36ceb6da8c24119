"""Sagas over HTTP: listed by status, told one by one, retried and given up by who may operate."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.saga.trip import PlanTrip, RoomsBooked, build, react, travel
from tests.serve.conftest import Shop, followed, served

from syncline import SQLite

mended: set[str] = set()


def stumbling(state: Any, event: Any) -> Any:
    """As it should be, but for one trip, until it is mended."""
    if event == RoomsBooked("c", 1) and "c" not in mended:
        raise ZeroDivisionError("oh")
    return react(state, event)


@pytest.fixture
def trips(tmp_path: Path) -> Iterator[Shop]:
    """One trip that has ended, one that is open, one that is parked."""
    mended.clear()
    app = build(lambda name: SQLite(str(tmp_path / f"{name}.db")), saga=replace(travel, react=stumbling))
    with followed(app), served(app) as found:
        for key, rooms in (("a", 1), ("b", 7), ("c", 1)):
            app.send(PlanTrip(key, rooms))
        wait_until(lambda: statuses(found) == {"a": "ended", "b": "open", "c": "parked"})
        yield found


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def statuses(trips: Shop) -> dict[str, str]:
    return {each["key"]: each["status"] for each in trips.http.get("/sagas").json()["sagas"]}


def test_sagas_are_listed_and_told(trips: Shop) -> None:
    (parked,) = trips.http.get("/sagas", params={"status": "parked", "saga": "travel"}).json()["sagas"]
    assert (parked["key"], parked["error"]) == ("c", "RoomsBooked, event 2, could not be reacted to: ZeroDivisionError: oh")
    told = trips.http.get("/sagas/travel/c").json()
    assert [(step["kind"], step["name"], step["state"]) for step in told["history"]] == [
        ("event", "TripPlanned", "handled"),
        ("command", "BookRooms", "done"),
        ("event", "RoomsBooked", "waiting"),
    ]


@pytest.mark.parametrize(
    ("path", "status", "name"),
    [
        ("/sagas?status=lost", 400, "bad-value"),
        ("/sagas?limit=0", 400, "bad-value"),
        ("/sagas?saga=travels", 404, "not-found"),
        ("/sagas/travel/x", 404, "not-found"),
        ("/sagas/travels/a", 404, "not-found"),
    ],
)
def test_what_is_asked_wrongly_is_told(trips: Shop, path: str, status: int, name: str) -> None:
    answer = trips.http.get(path)
    assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{name}")


def test_a_parked_one_goes_on_when_it_is_mended(trips: Shop) -> None:
    mended.add("c")
    assert trips.http.post("/sagas/retry", json={"saga": "travel", "key": "c"}).status_code == 202
    wait_until(lambda: statuses(trips)["c"] == "ended")
    refused = trips.http.post("/sagas/retry", json={"saga": "travel", "key": "c"})
    assert (refused.status_code, "is ended" in refused.json()["detail"]) == (404, True)


def test_one_is_given_up(trips: Shop) -> None:
    assert trips.http.post("/sagas/give-up", json={"saga": "travel", "key": "b"}).status_code == 202
    wait_until(lambda: statuses(trips)["b"] == "given up")
    assert trips.http.post("/sagas/give-up", json={"saga": "travel"}).status_code == 400


def test_they_are_in_the_status_and_in_the_metrics(trips: Shop) -> None:
    (found,) = trips.http.get("/status").json()["sagas"]
    assert (found["saga"], found["state"]) == ("travel", "running")
    assert 'syncline_sagas{saga="travel",status="parked"} 1.0' in trips.http.get("/metrics").text
