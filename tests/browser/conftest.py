"""A real Chromium on a shop that is followed and served, with data that would be script if it were markup."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from tests.serve.conftest import Shop, followed, served, shop_in
from tests.shop.orders import CancelOrder, PlaceOrder

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = ["--disable-gpu", "--disable-background-networking"]
SCRIPT = "<img src=x onerror=\"document.title='broken'\"></td><script>document.title='broken'</script>"


def find_chromium() -> str | None:
    """A Chromium on the PATH, or the one that SYNCLINE_CHROMIUM names."""
    named = os.environ.get("SYNCLINE_CHROMIUM")
    return named or next((found for name in NAMES if (found := shutil.which(name))), None)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    found = find_chromium()
    if found is None:
        pytest.skip("no Chromium on the PATH: `apt install chromium`, or name one with SYNCLINE_CHROMIUM")
    flags = [*FLAGS, "--no-sandbox"] if os.geteuid() == 0 else FLAGS
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=flags)
        yield started
        started.close()


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder: Path = tmp_path_factory.mktemp("browsed")
    with followed(shop_in(folder)) as app, served(app) as found:
        for number in range(60):
            app.send(
                PlaceOrder(f"o-{number:02}", f"Ada {number % 4}", {"tea": 1 + number % 5}), correlation_id=f"visit-{number // 2}"
            )
        app.send(PlaceOrder("odd, <b>key</b>/?#", SCRIPT, {"tea": 1}), correlation_id="visit-x")
        receipt = app.send(CancelOrder("o-05", SCRIPT))
        app.read("order_summary", "o-05", at_least=receipt)
        yield found


@dataclass(slots=True)
class Visit:
    """A page of the dashboard as someone sees it, and all that went wrong meanwhile."""

    page: Page
    url: str
    faults: list[str]

    def go(self, place: str) -> None:
        self.page.goto(f"{self.url}/#/{place}")
        self.page.reload()

    def see(self, text: str) -> None:
        self.page.get_by_text(text).first.wait_for(timeout=10_000)


@pytest.fixture
def visit(browser: Browser, shop: Shop, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """A wide, light page, unless a test says otherwise by parametrizing with a width and a scheme."""
    width, scheme = getattr(request, "param", (1280, "light"))
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce")
    page = context.new_page()
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    seen = Visit(page, shop.url, faults)
    page.on("request", lambda asked: faults.append(asked.url) if not asked.url.startswith((seen.url, "data:")) else None)
    yield seen
    context.close()
