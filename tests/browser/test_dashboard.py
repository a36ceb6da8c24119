"""Every page and action of the dashboard in a real browser: wide and narrow, light and dark, by keyboard, with harmful data."""

import os
from pathlib import Path

import pytest
from playwright.sync_api import expect
from tests.browser.conftest import SCRIPT, Visit
from tests.dead_letters import shop as failing
from tests.serve.conftest import Shop, followed, served, shop_in
from tests.shop.orders import CancelOrder, PlaceOrder

from syncline import SQLite, View
from syncline.serve import HttpConfig

PAGES = {
    "system": "order_summary",
    "views": "large_orders",
    "plots": "Staleness of feeds",
    "queries": "large_orders",
    "story/o-05": "OrderCancelled",
    "held": "No stream is held back.",
    "operations": "Verify and repair",
    "api": "/views/order_summary",
    "feed/read/orders": "Captured by",
    "view/order_summary": "Add a filter",
    "row/order_summary/o-05": "cancelled",
}
DARK_LINE = [0xA3, 0xA6, 0xFF]
"""The colour of a plot's third line, which is drawn over the others, in the dark scheme, as style.css has it."""
HAS_COLOUR = """(wanted) => {
    const canvas = document.querySelector(".uplot canvas");
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const isNear = (at) => data[at + 3] > 99 && wanted.every((each, part) => Math.abs(data[at + part] - each) < 8);
    return Array.from({ length: data.length / 4 }, (_, place) => 4 * place).some(isNear);
}"""

SHOTS = os.environ.get("SYNCLINE_SCREENSHOTS")


@pytest.mark.parametrize("visit", [(1280, "light"), (1280, "dark"), (360, "light"), (360, "dark")], indirect=True, ids=str)
def test_every_page_is_shown_without_a_fault_and_fits(visit: Visit, request: pytest.FixtureRequest) -> None:
    for place, sign in PAGES.items():
        visit.go(place)
        visit.see(sign)
        width = visit.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert width[0] <= width[1], f"{place} is wider than the window"
        if SHOTS:
            visit.page.screenshot(path=Path(SHOTS) / f"{place.replace('/', '-')}-{request.node.callspec.id}.png")
    assert visit.faults == []


def test_the_picture_leads_to_what_it_shows(visit: Visit) -> None:
    visit.go("system")
    visit.page.get_by_role("link", name="service orders, live").click()
    visit.see("Captured by")
    visit.page.get_by_role("link", name="order_summary").first.click()
    visit.see("Made of")
    assert visit.faults == []


def test_a_view_that_reads_a_view_hangs_on_it_in_the_picture(visit: Visit, tmp_path: Path) -> None:
    by_customer = View("by_customer", "customer", "SELECT s.customer, COUNT(*) AS n FROM order_summary s GROUP BY s.customer")
    with followed(shop_in(tmp_path, by_customer.on(SQLite(str(tmp_path / "read.db"))))) as app, served(app) as other:
        visit.page.goto(other.url)
        visit.see("by_customer")
        expect(visit.page.locator(".picture .edge")).to_have_count(4)
        boxes = [
            visit.page.get_by_role("link", name=f"view {name}, live").bounding_box() for name in ("order_summary", "by_customer")
        ]
    assert boxes[0] is not None and boxes[1] is not None
    assert boxes[0]["x"] + boxes[0]["width"] < boxes[1]["x"]


@pytest.mark.parametrize("visit", [(360, "light")], indirect=True)
def test_the_picture_fits_a_phone(visit: Visit) -> None:
    visit.go("system")
    visit.see("Feeds")
    width = visit.page.locator(".picture").evaluate("(box) => [box.scrollWidth, box.clientWidth]")
    assert width[0] <= width[1]


def test_rows_are_filtered_sorted_and_turned_page_by_page(visit: Visit) -> None:
    visit.go("view/order_summary")
    cells = visit.page.locator("tbody tr td:first-child")
    expect(cells).to_have_count(25)
    visit.page.get_by_role("button", name="Next").click()
    visit.see("page 2")
    visit.page.get_by_role("button", name="Back").click()
    visit.page.get_by_role("button", name="order_id", exact=True).click()
    visit.page.get_by_role("button", name="order_id ↑").click()
    expect(cells.first).to_contain_text("odd, <b>key</b>/?#")
    visit.page.get_by_role("button", name="Add a filter").click()
    visit.page.get_by_label("Column").select_option("customer")
    visit.page.get_by_label("Value").fill("Ada 1")
    expect(cells.first).to_contain_text("o-57")
    visit.page.get_by_label("Operator").select_option("null")
    visit.see("No row matches.")
    visit.page.get_by_label("Remove the filter").click()
    expect(cells).to_have_count(25)
    assert visit.faults == []


def test_a_row_is_live_and_a_new_one_appears(visit: Visit, shop: Shop) -> None:
    shop.app.read("order_summary", "new-1", at_least=shop.app.send(PlaceOrder("new-1", "Bea", {"tea": 1})))
    visit.go("row/order_summary/new-1")
    visit.see("placed")
    shop.app.send(CancelOrder("new-1", "no"))
    visit.see("cancelled")
    visit.go("view/order_summary")
    visit.page.get_by_role("button", name="Add a filter").click()
    visit.page.get_by_label("Column").select_option("customer")
    visit.page.get_by_label("Value").fill("Cyd")
    visit.see("No row matches.")
    shop.app.send(PlaceOrder("new-2", "Cyd", {"tea": 1}))
    visit.see("new-2")
    assert visit.faults == []


def test_what_would_be_script_is_text_and_odd_keys_lead_to_their_rows(visit: Visit) -> None:
    visit.go("view/order_summary")
    visit.page.get_by_role("button", name="order_id", exact=True).click()
    visit.page.get_by_role("button", name="order_id ↑").click()
    visit.page.get_by_role("link", name="odd, <b>key</b>/?#").click()
    visit.see(SCRIPT)
    visit.page.get_by_role("link", name="Its story across the services").click()
    visit.see("OrderPlaced")
    visit.page.get_by_text("What it says, and why it happened").first.click()
    assert SCRIPT in visit.page.locator("pre").first.inner_text().replace('\\"', '"')
    assert visit.page.title() == "Syncline"
    assert visit.faults == []


def test_an_address_that_was_mistyped_still_shows_a_page(visit: Visit) -> None:
    visit.go("row/order_summary/100%")
    visit.see("There is no row with this key now.")
    visit.page.get_by_role("link", name="System").click()
    visit.see("Feeds")


def test_a_view_is_verified_and_rebuilt_and_repair_is_asked_about_first(visit: Visit) -> None:
    visit.go("operations")
    visit.page.get_by_role("button", name="Verify", exact=True).click()
    visit.see("No difference")
    visit.page.get_by_text("Each step").first.click()
    expect(visit.page.locator("progress").first).to_be_visible()
    expect(visit.page.locator("progress:not([value])")).to_have_count(0)  # of an empty table too
    visit.page.get_by_role("button", name="Verify and repair…").click()
    visit.page.get_by_role("button", name="Leave it").click()
    expect(visit.page.get_by_text("with repair")).to_have_count(0)
    visit.page.get_by_role("combobox").select_option("order_summary")
    visit.page.get_by_role("button", name="Rebuild…").click()
    visit.page.get_by_role("button", name="Rebuild", exact=True).click()
    expect(visit.page.locator("article", has_text="rebuild order_summary").get_by_text("done")).to_be_visible(timeout=15_000)
    assert visit.faults == []


def test_what_is_held_back_is_seen_tried_again_and_dropped_only_when_that_is_confirmed(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    failing.make(tmp_path)
    app = failing.build(tmp_path)
    for number in (1, 2):
        app.send(failing.PlaceOrder(number, "ann", {"tea": 1}))
        app.send(failing.ShipOrder(number, f"{failing.POISON}-{number}"))
    with followed(app), served(app) as other:
        page.goto(other.url)
        page.get_by_role("link", name="orders: 2 streams are held back").click()
        one, two = (page.get_by_role("row", name=f"orders-{number}") for number in (1, 2))
        one.get_by_role("button", name="Try again").click()
        expect(page.get_by_role("status")).to_contain_text("orders-1 in read: still held back")
        failing.mend(tmp_path, f"{failing.POISON}-1")
        one.get_by_role("button", name="Try again").click()
        expect(page.get_by_role("status")).to_have_text("orders-1 in read: goes on")
        expect(one).to_have_count(0)
        two.get_by_role("button", name="Drop…").click()
        page.get_by_role("button", name="Leave it").click()
        assert len(app.dead_letters()) == 1
        two.get_by_role("button", name="Drop…").click()
        page.get_by_role("button", name="Drop it").click()
        visit.see("No stream is held back.")
        assert app.dead_letters() == []
    assert [fault for fault in visit.faults if not fault.startswith(other.url)] == []


def test_a_query_is_asked_and_its_faults_are_told(visit: Visit) -> None:
    visit.go("queries")
    visit.page.get_by_label("customer").fill("Ada 1")
    visit.page.get_by_role("button", name="Ask").click()
    visit.see("o-01")
    visit.page.get_by_label("above_cents").fill("many")
    visit.page.get_by_role("button", name="Ask").click()
    visit.see("cannot be asked with these values")
    assert [fault for fault in visit.faults if "400" not in fault] == []


def test_the_explorer_sends_what_is_filled_in(visit: Visit) -> None:
    visit.page.goto(f"{visit.url}/docs")
    visit.page.get_by_text("/views/order_summary/{key}").click()
    visit.page.locator("details[open] input[name='path.key']").fill("o-07")
    visit.page.locator("details[open]").get_by_role("button", name="Send").click()
    visit.see('"order_id": "o-07"')
    visit.see("consistency-token")
    assert visit.faults == []


def test_it_is_used_by_keyboard_alone(visit: Visit) -> None:
    visit.go("system")
    visit.see("Feeds")
    page = visit.page
    page.keyboard.press("?")
    expect(page.get_by_role("heading", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("heading", name="Keys")).to_have_count(0)
    page.keyboard.press("g")
    page.keyboard.press("o")
    expect(page.get_by_role("heading", name="Operations")).to_be_visible()
    page.reload()
    visit.see("Verify and repair")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the page"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    assert visit.faults == []


def test_light_and_dark_are_chosen_and_kept(visit: Visit) -> None:
    visit.go("system")
    visit.page.get_by_role("button", name="Dark").click()
    visit.page.reload()
    visit.page.get_by_role("button", name="Light").wait_for()
    assert visit.page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_who_is_not_known_is_asked_for_a_token_which_is_forgotten_with_the_tab(visit: Visit, tmp_path: Path) -> None:
    token = "a token that is long enough"
    (tmp_path / "tokens.toml").write_text(f'[[token]]\nname = "boss"\nsecret = "{token}"\nroles = ["read", "operate"]')
    with followed(shop_in(tmp_path)) as app, served(app, HttpConfig(tokens=str(tmp_path / "tokens.toml"))) as guarded:
        page = visit.page
        page.goto(guarded.url)
        page.get_by_role("heading", name="Who is asking?").wait_for()
        page.get_by_label("Token").fill("wrong")
        page.get_by_role("button", name="Go on").click()
        page.get_by_role("heading", name="Who is asking?").wait_for()
        page.get_by_label("Token").fill(token)
        page.get_by_role("button", name="Go on").click()
        page.get_by_text("boss (operate, read)").wait_for()
        assert page.context.cookies() == []
        page.get_by_role("button", name="forget token").click()
        page.get_by_role("heading", name="Who is asking?").wait_for()


def test_a_reader_is_shown_the_views_and_nothing_that_it_may_not_see(visit: Visit, tmp_path: Path) -> None:
    callers = {"reader": "a token to read with", "writer": "a token to write with"}
    text = "".join(f'[[token]]\nname = "{name}"\nsecret = "{token}"\nroles = ["{name[:4]}"]\n' for name, token in callers.items())
    (tmp_path / "tokens.toml").write_text(text.replace('"writ"', '"write"'))
    page = visit.page
    with followed(shop_in(tmp_path)) as app, served(app, HttpConfig(tokens=str(tmp_path / "tokens.toml"))) as guarded:
        app.read("order_summary", "r-1", at_least=app.send(PlaceOrder("r-1", "Ada", {"tea": 1})))
        page.goto(guarded.url)
        page.get_by_label("Token").fill(callers["reader"])
        visit.faults.clear()  # that nobody was known yet
        page.get_by_role("button", name="Go on").click()
        expect(page.get_by_role("navigation").get_by_role("link")).to_have_text(["Views", "Queries", "API"])
        row = page.get_by_role("row", name="order_summary")
        expect(row).to_contain_text("live")
        expect(row).to_contain_text(" ms")
        page.get_by_role("link", name="order_summary").click()
        page.get_by_role("link", name="r-1").click()
        visit.see("placed")
        expect(page.get_by_role("link", name="Its story across the services")).to_have_count(0)
        page.goto(f"{guarded.url}/#/system")
        visit.see("This page takes the role operate, and reader has: read.")
        page.get_by_role("main").get_by_role("link", name="Views").click()
        visit.see("large_orders")
        own = [fault for fault in visit.faults if not fault.startswith(guarded.url)]
        assert own == []
        page.get_by_role("button", name="forget token").click()
        page.get_by_label("Token").fill(callers["writer"])
        page.get_by_role("button", name="Go on").click()
        visit.see("Nothing to look at")


def test_a_plot_goes_on_where_one_points_at_it_and_has_the_colours_of_the_scheme(visit: Visit) -> None:
    visit.go("plots")
    plot = visit.page.locator(".uplot").first
    plot.evaluate("(box) => { box.dataset.seen = 'yes'; }")
    box = plot.locator(".u-over").bounding_box()
    assert box is not None
    visit.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    pointed = plot.locator(".u-value").first
    expect(pointed).to_contain_text(":")
    before = pointed.inner_text()
    expect(pointed).not_to_have_text(before, timeout=20_000)  # there is more to see, and it is still told
    expect(pointed).to_contain_text(":")
    assert plot.get_attribute("data-seen") == "yes"
    assert not visit.page.evaluate(HAS_COLOUR, DARK_LINE)
    visit.page.get_by_role("button", name="Dark").click()
    expect(visit.page.locator(".uplot[data-seen]")).to_have_count(0)
    visit.page.wait_for_function(HAS_COLOUR, arg=DARK_LINE, timeout=10_000)
    assert visit.faults == []


@pytest.mark.long
def test_a_service_that_is_silent_is_said_to_be(visit: Visit, tmp_path: Path) -> None:
    with followed(shop_in(tmp_path)) as app:
        with served(app) as other:
            visit.page.goto(other.url)
            visit.see("Feeds")
        visit.page.get_by_text("No news for").wait_for(timeout=20_000)
