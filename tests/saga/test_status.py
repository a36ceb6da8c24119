"""What `status` says of sagas that cannot go on, whichever process asks."""

from dataclasses import replace
from pathlib import Path

from tests.saga.conftest import Trips
from tests.saga.trip import PlanTrip, travel


def test_a_service_that_sagas_cannot_read_is_told_to_who_asks(trips: Trips, tmp_path: Path) -> None:
    trips.app.send(PlanTrip("a", 7))
    trips.settle()
    trips.close()
    (tmp_path / "flights.db").rename(tmp_path / "away.db")
    (tmp_path / "trips.db").rename(tmp_path / "trips.away.db")
    trips.again()
    trips.app.send(PlanTrip("b", 7))  # makes a new log
    (status,) = trips.app.status().sagas
    assert "cannot read trips: its log is not the one that sagas were begun by" in str(status.error)
    assert "restore that, or" in str(status.error)
    assert not (tmp_path / "flights.db").exists()  # who looks makes nothing


def test_sagas_of_a_name_that_is_defined_no_more_are_told(trips: Trips) -> None:
    trips.app.send(PlanTrip("a", 7))
    trips.settle()
    trips.again(replace(travel, name="journey", new_events_only=True))
    found = {each.saga: each for each in trips.app.status().sagas}
    assert (found["journey"].error, found["travel"].open, found["travel"].state) == (None, 1, "failed")
    assert "no saga of this name is defined" in str(found["travel"].error)
