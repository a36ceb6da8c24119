"""`syncline sagas`: what is open and parked, what happened to one, and what a person makes of it."""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.saga.conftest import Trips
from tests.saga.trip import PlanTrip, RoomsBooked, react, travel

from syncline.cli import main


def syncline(*args: str) -> Result:
    sys.modules.pop("tests.saga.trip_app", None)
    return CliRunner().invoke(main, ["--app", "tests.saga.trip_app:app", *args])


@pytest.fixture
def parked(trips: Trips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trips]:
    """One trip that has ended, one that is open, one that is parked."""

    def stumble(state: Any, event: Any) -> Any:
        if event == RoomsBooked("c", 1):
            raise ZeroDivisionError("oh")
        return react(state, event)

    monkeypatch.setenv("TRIPS", str(tmp_path))
    trips.again(replace(travel, react=stumble))
    for key, rooms in (("a", 1), ("b", 7), ("c", 1)):
        trips.app.send(PlanTrip(key, rooms))
    trips.settle()
    trips.close()
    yield trips


def test_sagas_are_listed_by_status(parked: Trips) -> None:
    assert [line.split()[:3] for line in syncline("sagas", "--status", "parked").output.splitlines()[2:]] == [
        ["travel", "c", "parked"]
    ]
    found = json.loads(syncline("sagas", "--json").output)
    assert {each["key"]: each["status"] for each in found} == {"a": "ended", "b": "open", "c": "parked"}
    assert syncline("sagas", "--status", "given up").output == "there is no such saga\n"
    unknown = syncline("sagas", "--saga", "travels")
    assert (unknown.exit_code, "there is no saga 'travels'; there are: travel" in unknown.output) == (1, True)


def test_what_happened_to_one_is_shown(parked: Trips) -> None:
    shown = syncline("sagas", "show", "travel", "c").output
    assert shown.startswith("travel of c: parked: RoomsBooked, event 2, could not be reacted to: ZeroDivisionError: oh\n")
    history = json.loads(syncline("sagas", "show", "travel", "b", "--json").output)["history"]
    assert [(each["kind"], each["name"]) for each in history if each["kind"] != "event"] == [
        ("command", "BookRooms"),
        ("command", "BookSeats"),
        ("deadline", "CancelTrip"),
    ]
    assert syncline("sagas", "show", "travel", "x").exit_code == 1


def test_status_counts_them_and_says_what_to_look_at(parked: Trips) -> None:
    shown = syncline("status").output
    assert "1 parked: `syncline sagas`" in shown
    (found,) = json.loads(syncline("status", "--json").output)["sagas"]
    assert (found["open"], found["parked"], found["ended"], found["state"]) == (1, 1, 1, "stopped")


def test_a_parked_one_is_retried_when_they_run(parked: Trips) -> None:
    assert syncline("sagas", "retry", "travel", "--all").output == "travel of c: to be retried\n"
    parked.again()
    parked.settle()
    assert parked.of("c").status == "ended"
    assert syncline("sagas", "retry", "travel", "--all").output == "nothing is parked\n"


def test_giving_up_is_asked_for_twice(parked: Trips) -> None:
    refused = syncline("sagas", "give-up", "travel", "c")
    assert (refused.exit_code, "add --yes" in refused.output) == (2, True)
    assert syncline("sagas", "give-up", "travel", "c", "--yes").exit_code == 0
    parked.again()
    parked.settle()
    assert parked.of("c").status == "given up"
    assert syncline("sagas", "retry", "travel").exit_code == 2


def test_a_key_that_would_steer_the_terminal_is_shown_as_text(
    trips: Trips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumble(state: Any, event: Any) -> Any:
        raise ValueError("\x1b]0;owned\x07\ntravel of z: ended")

    monkeypatch.setenv("TRIPS", str(tmp_path))
    trips.again(replace(travel, react=stumble))
    key = "\x1b[2Jc"
    trips.app.send(PlanTrip(key, 1))
    trips.settle()
    trips.close()
    for words in (("sagas",), ("sagas", "show", "travel", key), ("sagas", "retry", "travel", key), ("status",)):
        shown = syncline(*words).output
        assert "\x1b" not in shown, words
        assert "\ntravel of z" not in shown, words
