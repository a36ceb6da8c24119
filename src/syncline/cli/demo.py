"""`syncline demo`: the shop of the examples at work, with its pages in a browser; or headless, with figures."""

import math
import os
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from syncline.cli.answering import listening
from syncline.cli.printing import print_json
from syncline.cli.program import ANSWER_IS_NO, DONE, json_option, stopping_on_signals
from syncline.cli.progress import ProgressPrinter

if TYPE_CHECKING:
    from syncline.places import Capture

CHECK_S = 0.25
ORDERS, RATE = 1_000, 2.0
"""Unless told otherwise: how many orders are placed headless; and how many others place in a second, with pages."""
DEADLINE_S, HEADLESS_DEADLINE_S = 15.0, 5.0
"""How long an order waits for its payment: short enough to watch it give up."""
WAYS = ("triggers", "polling")
POLL_S = 1.0

OPEN = """\
Fold & Leaf is open: orders, inventory, payments and a page that joins them, all in this process.

  shop       {url}/
  dashboard  {url}/syncline/
  databases  {folder} ({fate})

Try:
  1. Put something into the basket and place the order: its page fills in as the services answer.
  2. Order with the card that is declined, or the one that never answers: what was reserved is given back.
  3. Press "Stop the relay" and place an order: it is taken, and a read that carries its token is refused, never answered
     with something older. Press "Start the relay": all is caught up.
  4. Press "Paused" below "Card processor" and place an order: it waits, and gives up after {deadline_s:g} s.
  5. curl '{url}/syncline/views/order_details?status=cancelled&limit=3'

Ctrl-C stops."""

TOLD = """\
{0.orders} orders in {0.seconds:.1f} s ({0.orders_per_s:.0f}/s): {states}
from placing to its end in the view: p50 {0.latency_ms[p50]:.0f}, p90 {0.latency_ms[p90]:.0f}, p99 {0.latency_ms[p99]:.0f} ms
reconcile: {counts}
verify: compared {0.rows_compared:,} rows
{verdict}"""


@click.command()
@click.option(
    "--follow", "ways", metavar="SERVICE=WAY", multiple=True, help=f"Follow inventory or customers by: {', '.join(WAYS)}."
)
@click.option("--orders", type=click.IntRange(min=1), help=f"How many orders others place (no end; headless: {ORDERS}).")
@click.option("--rate", type=click.FloatRange(0, 10_000), help=f"How many a second ({RATE:g}; headless: as they go).")
@click.option("--folder", type=click.Path(file_okay=False), help="Keep the databases there, and go on with those that are there.")
@click.option("--port", type=click.IntRange(0, 65_535), help="Where the shop listens (8765, or a port that is free).")
@click.option("--no-browser", is_flag=True, help="Open no browser.")
@click.option("--headless", is_flag=True, help="No pages: place orders, prove that all is right, print figures.")
@json_option
def demo(
    ways: tuple[str, ...],
    orders: int | None,
    rate: float | None,
    folder: str | None,
    port: int | None,
    no_browser: bool,
    headless: bool,
    as_json: bool,
) -> int:
    """A shop of three services, all in one process: place an order, and watch its page fill in.

    Needs no server and no configuration. With --headless it exits 1 unless stock, money, orders and views are exactly right.
    """
    if headless and (port is not None or no_browser):
        raise click.UsageError("--headless has no pages: leave --port and --no-browser out")
    if rate is not None and (math.isnan(rate) or (headless and not rate)):
        raise click.BadParameter(f"{rate:g} orders a second: they would never be placed", param_hint="--rate")
    follow = dict(_way(each) for each in ways)
    with _place(folder) as place, ProgressPrinter() as progress:
        if headless:
            with _at_work(place, follow, HEADLESS_DEADLINE_S, progress) as shop:
                return _headless(shop, orders or ORDERS, rate, progress, as_json)
        stop = threading.Event()
        with (
            stopping_on_signals(stop),
            _at_work(place, follow, DEADLINE_S, progress) as shop,
            listening(shop.pages, port) as url,
        ):
            shop.sell(RATE if rate is None else rate, orders)
            if as_json:
                print_json({"shop": f"{url}/", "dashboard": f"{url}/syncline/", "folder": str(place)}, compact=True)
            else:
                fate = "removed at the end" if folder is None else "kept"
                click.echo(OPEN.format(url=url, folder=place, fate=fate, deadline_s=DEADLINE_S))
            if not no_browser and sys.stdout.isatty():
                _open_browser(f"{url}/")
            while not stop.wait(CHECK_S):
                shop.check()
            click.echo(f"stopped; orders: {_listed(shop.orders())}", err=True)
    return DONE


def _headless(shop: Any, orders: int, rate: float | None, progress: ProgressPrinter, as_json: bool) -> int:
    """Places orders, waits for their ends, proves everything, prints figures."""
    report = shop.report(orders, rate, progress)
    progress.pause()
    if as_json:
        print_json(report)
    else:
        verdict = "\n".join(report.faults) or "stock, money, orders and views are exactly right; no saga is open"
        click.echo(TOLD.format(report, states=_listed(report.states), counts=_listed(report.counts), verdict=verdict))
    return ANSWER_IS_NO if report.faults else DONE


@contextmanager
def _at_work(place: Path, follow: "dict[str, Capture]", deadline_s: float, progress: ProgressPrinter) -> Iterator[Any]:
    """The shop, at work until the block ends."""
    try:
        shop = _example().Demo(place, follow, deadline_s)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--follow") from error
    try:
        shop.begin(progress)
        progress.pause()
        yield shop
    finally:
        shop.close()


def _example() -> Any:
    """The module that runs the example: below the package where that is installed, beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "examples", package.parents[1] / "examples"):
        if (folder / "shop" / "demo.py").is_file():
            sys.path.insert(0, str(folder))
            return import_module("shop.demo")
    raise click.ClickException(f"the example is not there: {package / 'examples' / 'shop'}; install syncline anew")


def _way(text: str) -> "tuple[str, Capture]":
    from syncline.places import Polling, Triggers

    service, separator, way = text.partition("=")
    if not separator or way not in WAYS:
        raise click.BadParameter(f"{text!r}; write SERVICE=WAY, where WAY is one of: {', '.join(WAYS)}", param_hint="--follow")
    return service, Triggers() if way == "triggers" else Polling(every_s=POLL_S)


@contextmanager
def _place(folder: str | None) -> Iterator[Path]:
    """The folder of the databases: made where it is not, and removed at the end where nobody named it."""
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="syncline-demo-") as made:
            yield Path(made)
        return
    place = Path(folder).resolve()
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.BadParameter(f"{place} cannot be made: {error.strerror}", param_hint="--folder") from error
    yield place


def _open_browser(url: str) -> None:
    """Where there is a screen: elsewhere a browser of text would take the terminal."""
    if sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        webbrowser.open(url)


def _listed(counts: "dict[str, int]") -> str:
    return ", ".join(f"{number:,} {what}" for what, number in counts.items())
