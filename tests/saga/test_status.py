"""What `status` says of sagas that cannot go on, whichever process asks."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.saga.conftest import Trips
from tests.saga.trip import PlanTrip, build, travel

from syncline import NotFound, SQLite


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


@pytest.mark.parametrize("places", ["sqlite", "postgres"], indirect=True)
def test_those_of_one_name_are_listed_however_many_others_changed_since(trips: Trips) -> None:
    trips.app.send(PlanTrip("a", 7))
    trips.settle()
    trips.again(replace(travel, name="journey"))
    for key in ("b", "c"):
        trips.app.send(PlanTrip(key, 7))
    trips.settle()
    trips.clock.advance(1)
    trips.again()
    trips.settle()
    trips.again(replace(travel, name="journey"))
    newest = trips.app.sagas.listed(saga="journey", limit=2)
    assert len(newest) == 2
    assert {each.saga for each in newest} == {"journey"}


def test_who_asks_for_one_before_any_ran_makes_no_store(tmp_path: Path) -> None:
    with build(lambda name: SQLite(str(tmp_path / f"{name}.db"))) as app:
        for ask in (app.sagas.history, app.sagas.retry, app.sagas.give_up):
            with pytest.raises(NotFound, match="saga 'travel' was not begun for 'a'"):
                ask("travel", "a")
    assert not (tmp_path / "travel.db").exists()
