"""The demo's storefront in a real browser: an order fills in as the services answer, and every button does what it says."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, Route, expect
from shop.customers import move
from shop.demo import Demo
from shop.seed import SOLD_OUT
from tests.browser.conftest import SCRIPT, Visit

from syncline.following import silent
from syncline.serve.server import Server

DEADLINE_S = 8.0
"""Long enough for a busy machine to take a payment, and short enough to be waited for."""
TIMEOUT_MS = 30_000
PAGES = {"window": "Assam", "basket": "Place the order", "orders": "confirmed", "stock": "Stock to reorder", "revenue": "sold"}
SHOTS = os.environ.get("SYNCLINE_SCREENSHOTS")

expect.set_options(timeout=TIMEOUT_MS)


@dataclass(frozen=True, slots=True)
class Open:
    """The shop at work, and where it answers."""

    demo: Demo
    url: str

    def in_cards(self, sql: str, *values: object) -> object:
        with closing(sqlite3.connect(self.demo.folder / "cards.db", timeout=30)) as connection:
            return connection.execute(sql, values).fetchone()[0]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    demo = Demo(tmp_path_factory.mktemp("open"), {}, DEADLINE_S)
    try:
        demo.begin(silent)
        with Server(demo.pages, "127.0.0.1", 0) as server:
            yield Open(demo, server.url)
        demo.check()
    finally:
        demo.close()


@pytest.fixture(autouse=True)
def as_it_was(shop: Open) -> Iterator[None]:
    """However a test leaves the shop, the next finds it open."""
    yield
    shop.demo.sell(0)
    shop.demo.switch_processor("charging")
    shop.demo.start_relay()


def fill_basket(page: Page, *titles: str) -> None:
    page.goto(page.url.partition("#")[0] + "#/")
    for title in titles:
        page.get_by_label(f"Add {title}").click()


def place(visit: Visit, *titles: str, card: str = "A good card") -> str:
    """Orders these products, and gives the order's id; its page is open then."""
    page = visit.page
    visit.go("")
    fill_basket(page, *titles)
    page.get_by_role("link", name="Basket").click()
    page.get_by_text(card).click()
    page.get_by_role("button", name="Place the order").click()
    page.wait_for_url("**/#/order/*")
    return page.url.rpartition("/")[2]


def steps(visit: Visit) -> list[str]:
    return visit.page.locator(".steps strong").all_inner_texts()


def see_steps(visit: Visit, *titles: str) -> None:
    expect(visit.page.locator(".steps strong")).to_have_text(list(titles))


WAYS = [(1440, "light"), (1440, "dark"), (360, "light"), (360, "dark")]


@pytest.mark.parametrize("visit", WAYS, indirect=True, ids=str)
def test_every_page_is_shown_without_a_fault_and_fits(visit: Visit, request: pytest.FixtureRequest) -> None:
    order = place(visit, "House Espresso 1 kg", "Moka Pot for Six Cups")
    see_steps(visit, "Placed", "Stock reserved", "Paid", "Confirmed")
    fill_basket(visit.page, "Pocket Scale 0.1 g")
    for path, sign in {**PAGES, f"order/{order}": "OrderConfirmed"}.items():
        visit.go(path)
        visit.see(sign)
        width = visit.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert width[0] <= width[1], f"{path} is wider than the window"
        if SHOTS:
            name = f"shop-{path.partition('/')[0]}-{request.node.callspec.id}.png"
            visit.page.screenshot(path=Path(SHOTS) / name, full_page=path != "window")
    assert visit.faults == []


def test_the_page_of_an_order_fills_in_as_the_services_answer(visit: Visit, shop: Open) -> None:
    shop.demo.switch_processor("paused")
    place(visit, "Assam Second Flush 100 g", "Stoneware Mug Slate")
    see_steps(visit, "Placed", "Stock reserved", "Taking the payment …", "Confirmation")
    shop.demo.switch_processor("charging")
    see_steps(visit, "Placed", "Stock reserved", "Paid", "Confirmed")
    expect(visit.page.locator(".lines .total")).to_contain_text("€23.40")
    expect(visit.page.locator(".did li span:last-child")).to_have_text(
        ["OrderPlaced", "StockReserved", "PaymentRequested", "CardCharged", "PaymentTaken", "OrderConfirmed"]
    )
    expect(visit.page.get_by_text("read with your order's token")).to_be_visible()
    assert visit.faults == []


@pytest.mark.parametrize(
    ("card", "end"),
    [
        ("One that is declined", ("Placed", "Stock given back", "Card declined", "Cancelled")),
        ("One that never answers", ("Placed", "Stock given back", "Nothing to pay", "Cancelled")),
        ("One that answers twice", ("Placed", "Stock reserved", "Paid", "Confirmed")),
    ],
)
def test_each_card_leads_to_its_end(visit: Visit, shop: Open, card: str, end: tuple[str, ...]) -> None:
    order = place(visit, "Masala Chai 200 g", card=card)
    see_steps(visit, *end)
    kept = shop.in_cards("SELECT COALESCE(SUM(cents), 0) FROM movement WHERE order_id = ?", order)
    assert kept == (990 if end[-1] == "Confirmed" else 0)
    assert visit.faults == []


def test_what_is_sold_out_is_found_out_when_the_stock_is_to_be_reserved(visit: Visit, shop: Open) -> None:
    title = shop.demo.app.read("products", SOLD_OUT)["title"]
    expect(visit.page.locator(".product", has_text=title)).to_have_count(0)
    place(visit, title)
    see_steps(visit, "Placed", "Not in stock", "No payment taken", "Cancelled")
    visit.see(f"{title}: 1 asked for, 0 left")
    assert visit.faults == []


def test_while_the_relay_is_stopped_an_order_is_taken_and_never_shown_as_older_than_it_is(visit: Visit) -> None:
    page = visit.page
    visit.go("")
    page.get_by_role("button", name="Stop the relay").click()
    page.get_by_role("button", name="Start the relay").wait_for()
    place(visit, "Moroccan Mint 80 g")
    visit.see("Your order is taken, and not to be seen yet.")
    expect(page.locator(".stale")).to_be_visible()
    expect(page.locator(".did")).to_contain_text("OrderConfirmed")  # the services know nothing of the relay
    see_steps(visit, "Placed")
    page.get_by_role("button", name="Start the relay").click()
    see_steps(visit, "Placed", "Stock reserved", "Paid", "Confirmed")
    expect(page.get_by_text("Your order is taken")).to_have_count(0)
    expect(page.locator(".panel h3 .badge")).to_have_text("running")
    assert {fault for fault in visit.faults if "503" not in fault} == set()


def test_payments_are_paused_and_orders_go_on_or_have_given_up(visit: Visit) -> None:
    page = visit.page
    visit.go("")
    page.get_by_role("button", name="Paused").click()
    expect(page.get_by_role("button", name="Paused")).to_have_attribute("aria-pressed", "true")
    place(visit, "Paper Filters (100 Pieces)")
    see_steps(visit, "Placed", "Stock reserved", "Taking the payment …", "Confirmation")
    expect(page.locator(".counts div").first).not_to_contain_text("0")
    visit.see("the payment took too long")
    page.get_by_role("button", name="Answers").click()
    see_steps(visit, "Placed", "Stock given back", "No payment", "Cancelled")
    assert visit.faults == []


def test_every_card_is_declined(visit: Visit) -> None:
    visit.go("")
    visit.page.get_by_role("button", name="Declines").click()
    expect(visit.page.get_by_role("button", name="Declines")).to_have_attribute("aria-pressed", "true")
    place(visit, "Jasmine Dragon Pearls 100 g")
    see_steps(visit, "Placed", "Stock given back", "Card declined", "Cancelled")
    assert visit.faults == []


def test_others_buy_as_fast_as_they_are_told(visit: Visit, shop: Open) -> None:
    visit.go("")
    before = shop.demo.orders()["confirmed"]
    visit.page.get_by_role("button", name="20", exact=True).click()
    expect(visit.page.locator(".left.changed").first).to_be_visible()  # a product's stock, as they buy it
    visit.page.wait_for_function(
        "before => Number(document.querySelectorAll('.counts dd')[1].textContent.replace(',', '')) > before + 5", arg=before
    )
    visit.page.get_by_role("button", name="none", exact=True).click()
    expect(visit.page.get_by_role("button", name="none", exact=True)).to_have_attribute("aria-pressed", "true")
    assert visit.faults == []


def test_an_order_is_placed_with_the_keyboard_alone(visit: Visit) -> None:
    page = visit.page
    visit.go("")
    page.get_by_role("button", name="Tools").focus()
    page.keyboard.press("Enter")
    page.get_by_label("Add Bamboo Matcha Whisk").focus()
    page.keyboard.press("Enter")
    page.get_by_label("One more: Bamboo Matcha Whisk").focus()
    page.keyboard.press("Space")
    page.get_by_role("link", name="Basket 2").focus()
    page.keyboard.press("Enter")
    page.get_by_role("radio").first.focus()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("radio").nth(1)).to_be_checked()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    see_steps(visit, "Placed", "Stock reserved", "Paid", "Confirmed")
    assert visit.faults == []


def test_a_basket_is_changed_searched_for_and_kept(visit: Visit) -> None:
    page = visit.page
    visit.go("")
    page.get_by_label("Search").fill("teapot")
    expect(page.locator(".product")).to_have_count(4)
    page.locator(".add").first.click()
    page.reload()
    expect(page.locator(".basket-link .count")).to_have_text("1")
    page.get_by_role("link", name="Basket").click()
    page.locator(".lines button").first.click()
    visit.see("It is empty.")
    assert visit.faults == []


def test_a_customers_orders_and_name_are_as_others_change_them(visit: Visit, shop: Open) -> None:
    order = place(visit, "Tasting Box with Twelve Teas")
    see_steps(visit, "Placed", "Stock reserved", "Paid", "Confirmed")
    customer = shop.demo.app.read("order_details", order)["customer_id"]
    move(shop.demo.folder / "customers.db", customer, SCRIPT)
    visit.see(SCRIPT)
    visit.page.get_by_role("link", name="Orders").click()
    expect(visit.page.locator("tbody tr").filter(has_text=order)).to_contain_text("confirmed")
    assert visit.page.title() == "Fold & Leaf"
    move(shop.demo.folder / "customers.db", customer, "Lagos")
    assert visit.faults == []


def test_what_is_short_is_reordered(visit: Visit, shop: Open) -> None:
    left = shop.demo.app.read("products", "coffee-geisha")["available"]
    visit.go("")
    fill_basket(visit.page, "Panama Geisha 100 g")
    for _ in range(left - 3):
        visit.page.get_by_label("One more: Panama Geisha 100 g").click()
    visit.page.get_by_role("link", name="Basket").click()
    visit.page.get_by_role("button", name="Place the order").click()
    see_steps(visit, "Placed", "Stock reserved", "Paid", "Confirmed")
    visit.page.get_by_role("link", name="Stock").click()
    visit.page.get_by_label("100 more: Panama Geisha 100 g").click()
    expect(visit.page.get_by_label("100 more: Panama Geisha 100 g")).to_have_count(0)
    assert visit.faults == []


def test_the_dashboard_is_one_link_away(visit: Visit) -> None:
    order = place(visit, "Three-Glass Tea Timer")
    visit.page.get_by_role("link", name="its row").click()
    visit.see("Its story across the services")
    assert f"row/order_details/{order}" in visit.page.url
    assert visit.faults == []


def test_an_order_that_was_never_placed_is_said_not_to_be_there(visit: Visit) -> None:
    visit.go("order/nothing%2Flike%20it")
    visit.see("There is no such order.")
    assert visit.faults == []


@pytest.mark.parametrize("path", ["relay/stop", "processor/declining", "buyers/2"])
def test_another_site_cannot_press_the_buttons(shop: Open, path: str) -> None:
    refused = httpx.post(f"{shop.url}/demo/{path}", headers={"Origin": "http://elsewhere.example"})
    assert (refused.status_code, refused.json()["type"]) == (403, "/problems/cross-site")
    state = httpx.get(f"{shop.url}/demo/state").json()
    assert (state["relay"], state["processor"], state["rate"]) == ("running", "charging", 0)


@pytest.mark.parametrize("path", ["processor/broken", "buyers/many", "buyers/-1", "buyers/nan", "buyers/1e9"])
def test_what_the_shop_cannot_do_is_refused_in_words(shop: Open, path: str) -> None:
    refused = httpx.post(f"{shop.url}/demo/{path}")
    assert (refused.status_code, refused.headers["Content-Type"]) == (400, "application/problem+json")
    assert refused.json()["detail"]


def test_only_the_pages_own_files_are_given_out(shop: Open) -> None:
    for path in ("page/../application.py", "page/%2e%2e/application.py", "page/nothing.js", "page/"):
        assert httpx.get(f"{shop.url}/{path}").status_code == 404


def test_an_order_whose_answer_was_lost_is_placed_once(shop: Open, visit: Visit) -> None:
    """The service had it; the page says that it failed, and the visitor presses again, as people do."""
    page = visit.page
    visit.go("")
    fill_basket(page, "Masala Chai")
    page.get_by_role("link", name="Basket").click()
    sent: list[Any] = []

    def lose(route: Route) -> None:
        sent.append(route.request.post_data_json)
        if len(sent) == 1:
            route.fetch()
            route.abort()
        else:
            route.continue_()

    page.route("**/commands/PlaceOrder", lose)
    button = page.get_by_role("button", name="Place the order")
    button.click()
    expect(page.get_by_role("alert")).to_be_visible()
    button.click()
    page.wait_for_url("**/#/order/*")
    assert [each["order_id"] for each in sent] == [page.url.rpartition("/")[2]] * 2
