"""dashboard: how soon the page shows something in a real Chromium on this machine, and how many bytes it takes.

The page of a shop that is followed and served, opened again and again, each time in a new browser context whose cache is empty.
First paint is the browser's own entry `first-contentful-paint`, from the beginning of the navigation; "all shown" is when the
picture of the system is there, which waits for the first look at it. Bytes are those of bodies and heads, by the browser's count.
"""

import shutil
from contextlib import ExitStack
from statistics import median

import followed
from figures import Table, percentile, say
from http_reads import free_port
from playwright.sync_api import sync_playwright
from running import syncline_run
from shop import Ground

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ASKED = "first paint at most 300 ms on localhost; at most 200 kB transferred"
_PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
_BYTES = "performance.getEntries().reduce((sum, each) => sum + (each.transferSize || 0), 0)"


def measure(ground: Ground, *, quick: bool) -> list[Table]:
    orders, visits = (2_000, 3) if quick else (100_000, 25)
    chromium = next((found for name in NAMES if (found := shutil.which(name))), None)
    if chromium is None:
        raise SystemExit("there is no Chromium on the PATH: apt install chromium")
    paints, shown, sizes = list[float](), list[float](), list[float]()
    with ExitStack() as stack:
        shop = stack.enter_context(ground.shop(orders))
        port = free_port()
        project = followed.write_project(shop)
        project.write_text(f'{project.read_text()}\n[http]\nlisten = "127.0.0.1:{port}"\n')
        stack.enter_context(syncline_run(shop.folder))
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        stack.callback(browser.close)
        for number in range(visits + 1):
            say(f"visit {number} of {visits}")
            context = browser.new_context()
            page = context.new_page()
            page.goto(f"http://127.0.0.1:{port}/")
            page.wait_for_selector("svg .node")
            if number:  # the first one starts the browser's own processes
                shown.append(page.evaluate("performance.now()"))
                paints.append(page.evaluate(_PAINT))
                sizes.append(page.evaluate(_BYTES) / 1000)
            context.close()
    rows = [
        (name, median(values), percentile(values, 90), max(values))
        for name, values in (("first paint, ms", paints), ("all shown, ms", shown), ("transferred, kB", sizes))
    ]
    return [Table(f"The dashboard, {visits} visits", ("", "median", "p90", "highest"), rows, ASKED)]
