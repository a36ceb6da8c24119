"""The pages of sagas in a real browser: found by status, told, tried again, given up only when that is confirmed."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect
from tests.browser.conftest import Visit
from tests.serve.conftest import Shop
from tests.serve.test_sagas import mended, trips

__all__ = ["trips"]


@pytest.fixture
def seen(visit: Visit, trips: Shop) -> Iterator[Visit]:
    visit.url = trips.url
    yield visit
    assert visit.faults == []


def test_a_parked_saga_is_found_and_goes_on(seen: Visit) -> None:
    seen.go("sagas")
    seen.page.get_by_role("link", name="parked 1").click()
    seen.see("ZeroDivisionError: oh")
    seen.page.get_by_role("link", name="c", exact=True).click()
    seen.see("It is parked")
    expect(seen.page.locator(".story li")).to_have_count(3)
    mended.add("c")
    seen.page.get_by_role("button", name="Try again").click()
    expect(seen.page.locator("h1 .badge")).to_have_text("ended", timeout=10_000)


def test_giving_up_asks_before_it_ends_anything(seen: Visit) -> None:
    seen.go("saga/travel/b")
    seen.page.get_by_role("button", name="Give up…").click()
    seen.page.get_by_role("button", name="Leave it").click()
    expect(seen.page.locator("h1 .badge")).to_have_text("open")
    seen.page.get_by_role("button", name="Give up…").click()
    seen.page.get_by_role("button", name="Give it up").click()
    expect(seen.page.locator("h1 .badge")).to_have_text("given up", timeout=10_000)
    seen.page.get_by_role("link", name="Its story in all services").click()
    seen.see("TripPlanned")


@pytest.mark.parametrize("visit", [(1280, "light"), (360, "dark")], indirect=True, ids=str)
def test_the_pages_fit(seen: Visit, request: pytest.FixtureRequest) -> None:

    for place, sign in {"sagas": "RoomsBooked, event 2", "saga/travel/c": "It is parked"}.items():
        seen.go(place)
        seen.see(sign)
        width = seen.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert width[0] <= width[1]
        if shots := os.environ.get("SYNCLINE_SCREENSHOTS"):
            seen.page.screenshot(path=Path(shots) / f"{place.replace('/', '-')}-{request.node.callspec.id}.png")


def test_the_picture_says_which_services_only_sagas_read(seen: Visit) -> None:
    seen.go("system")
    seen.page.get_by_role("link", name="service hotel_told, read by sagas").click()
    seen.see("running")
