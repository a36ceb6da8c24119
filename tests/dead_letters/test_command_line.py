"""`syncline dead-letters` as a person or a script uses it, with a relay that runs and without, killed in between or not."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from tests import command_line
from tests.dead_letters import shop
from tests.dead_letters.shop import PlaceOrder, RemoveLine, ShipOrder

from syncline import App, SynclineError

ROOT = Path(__file__).resolve().parents[2]
SHOP_APP = "tests.dead_letters.shop_app:app"
TIMEOUT_S = 60.0


class Shop:
    """The shop's files, and processes over them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shop.make(folder)
        self.app = shop.build(folder)
        self.app.send(PlaceOrder(1, "ann", {"pen": 1}))
        self.app.send(PlaceOrder(2, "ann", {"pen": 2, "ink": 3}))

    def __call__(self, *arguments: str, status: int = 0) -> str:
        """What a command prints on stdout, or on stderr if it fails."""
        done = self._ask(*arguments, status=status)
        return done.out if status == 0 else done.text

    def json(self, *arguments: str, status: int = 0) -> Any:
        return json.loads(self._ask(*arguments, "--json", status=status).out)

    def _ask(self, *arguments: str, status: int) -> command_line.Said:
        sys.modules.pop(SHOP_APP.partition(":")[0], None)  # each command makes the App anew, as in a process of its own
        environment = {"SHOP_FOLDER": str(self.folder)}
        done = command_line.syncline(ROOT, *arguments, "--app", SHOP_APP, environment=environment)
        assert done.status == status, f"{arguments}: {done.status}\n{done.text}"
        return done

    @contextmanager
    def running(self) -> Iterator["subprocess.Popen[str]"]:
        """`syncline run`, killed at the end."""
        process = subprocess.Popen(
            self._command("run"), env=self._environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        try:
            wait_until(lambda: self.app.status().relay == f"running (pid {process.pid})" or process.poll() is not None)
            yield process
        finally:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)
            process.communicate()

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "syncline", *arguments, "--app", SHOP_APP]

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "SHOP_FOLDER": str(self.folder)}


def wait_until(condition: Callable[[], Any]) -> Any:
    until = time.monotonic() + TIMEOUT_S
    while not (found := condition()):
        assert time.monotonic() < until
        time.sleep(0.01)
    return found


@pytest.fixture
def orders(tmp_path: Path) -> Iterator[Shop]:
    found = Shop(tmp_path)
    yield found
    found.app.close()


def test_the_list_names_each_stream_with_event_position_and_error(orders: Shop) -> None:
    assert orders("dead-letters") == "no stream is held back\n"
    orders.app.send(ShipOrder(2, "poison"))
    orders("sync")
    for arguments in (["dead-letters"], ["dead-letters", "list"], ["dead-letters", "list", "--service", "orders"]):
        listed = orders(*arguments)
        assert all(part in listed for part in ("orders-2", "OrderShipped", "LookupError", "no rate for poison", " 3 "))
    assert orders("dead-letters", "--service", "customers") == "no stream is held back\n"
    (letter,) = orders.json("dead-letters")
    assert (letter["service"], letter["stream"], letter["position"], letter["read_model"]) == ("orders", "orders-2", 3, "read")
    assert {"relation": "orders.line", "key": [2, "ink"]} in letter["rows"]


def test_a_read_prints_the_note_and_the_keys_that_are_marked(orders: Shop) -> None:
    orders.app.send(ShipOrder(2, "poison"))
    orders("sync")
    read = orders.json("read", "board")
    assert read["marked"] == [[2]]
    assert "orders-2" in read["notes"][0]
    token = orders("token", "orders").strip()
    assert "dead-letters retry" in orders("read", "board", "2", "--at-least", token, status=1)
    assert "may change any row" in orders("read", "board", "1", "--at-least", token, status=1)
    orders("read", "board", "1")


def test_status_prints_that_streams_are_held_back(orders: Shop) -> None:
    orders.app.send(ShipOrder(2, "poison"))
    assert "1 stream held back since" in orders("sync")


@pytest.mark.parametrize("is_running", [False, True])
def test_a_retry_exits_1_while_it_fails_and_0_when_it_is_mended(orders: Shop, is_running: bool) -> None:
    orders.app.send(ShipOrder(2, "poison"))
    orders.app.send(ShipOrder(1, "poison"))
    orders("sync")
    if is_running:
        with orders.running():
            _retry(orders)
    else:
        _retry(orders)


def _retry(orders: Shop) -> None:
    failed = orders("dead-letters", "retry", "orders-2", status=1)
    assert "orders-2: still held back: OrderShipped at position 3: " in failed
    shop.mend(orders.folder, "poison")
    assert "orders-2: followed again" in orders("dead-letters", "retry", "orders-2")
    assert [letter["stream"] for letter in orders.json("dead-letters")] == ["orders-1"]
    (outcome,) = orders.json("dead-letters", "retry", "--all")
    assert (outcome["stream"], outcome["is_released"]) == ("orders-1", True)
    assert orders("dead-letters", "retry", "--all") == "no stream is held back\n"


def test_a_drop_asks_first_and_leaves_only_that_event_out(orders: Shop) -> None:
    orders.app.send(ShipOrder(2, "poison"))
    orders.app.send(RemoveLine(2, "ink"))
    orders("sync")
    assert "--yes" in orders("dead-letters", "drop", "orders-2", status=2)
    assert len(orders.json("dead-letters")) == 1
    assert "followed again" in orders("dead-letters", "drop", "orders-2", "--yes")
    (row,) = orders.json("read", "board", "2")["rows"]
    assert (row["carrier"], row["pieces"]) == (None, 2)
    shop.mend(orders.folder, "poison")
    orders("rebuild", "board")
    assert orders.json("read", "board", "2")["rows"] == [row]


def test_wrong_use_is_told_with_what_to_do(orders: Shop) -> None:
    orders.app.send(ShipOrder(2, "poison"))
    orders("sync")
    assert "name the streams, or say --all" in orders("dead-letters", "retry", status=2)
    assert "name the streams, or say --all" in orders("dead-letters", "retry", "orders-2", "--all", status=2)
    told = orders("dead-letters", "retry", "orders-9", status=1)
    assert "stream 'orders-9' is not held back; those that are: orders-2" in told
    assert "is not held back" in orders("dead-letters", "drop", "orders-9", "--yes", status=1)
    assert "there is no service 'nobody'" in orders("dead-letters", "list", "--service", "nobody", status=1)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 3))])
def test_a_relay_killed_while_streams_are_held_back_retried_and_dropped_ends_as_one_that_was_not(
    orders: Shop, tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    for number in range(3, 8):
        orders.app.send(PlaceOrder(number, "bob", {"cap": number}))
    for turn in range(7):
        for number in rng.sample(range(1, 8), 3):
            orders.app.send(ShipOrder(number, rng.choice(("van", "poison-a", "poison-b"))))
            orders.app.send(PlaceOrder(10 + number, "bob", {"cap": turn}))
        if turn == 3:
            shop.mend(tmp_path, "poison-a")
        with orders.running() as process:
            asked = threading.Thread(target=_ask, args=(orders.app, rng.choice((orders.app.retry, orders.app.drop))))
            asked.start()
            asked.join(rng.random() * 0.2)
            process.send_signal(signal.SIGKILL)
            asked.join()
    shop.mend(tmp_path, "poison-a", "poison-b")
    orders.app.sync()
    assert all(outcome.is_released for outcome in orders.app.retry(orders.app.dead_letters()))
    assert orders.app.verify().differences == ()
    assert [tuple(row[:3]) for row in orders.app.rows("board").rows] == _folded(tmp_path)


def _ask(app: App, release: Callable[..., Any]) -> None:
    with suppress(SynclineError):  # the relay is killed while it is asked
        release(app.dead_letters())


def _folded(folder: Path) -> list[tuple[int, str, str | None]]:
    """What the log makes of the orders, without the events that were dropped."""
    with closing(sqlite3.connect(folder / "read.db")) as connection:
        dropped = {position for (position,) in connection.execute("SELECT position FROM syncline_dropped")}
    found: dict[int, tuple[int, str, str | None]] = {}
    with closing(sqlite3.connect(folder / "orders.db")) as connection:
        for position, name, data in connection.execute("SELECT position, name, data FROM syncline_event ORDER BY position"):
            event = json.loads(data)
            number = event["order_id"]
            if position in dropped:
                assert event["carrier"].startswith("poison")
            elif name == "OrderPlaced":
                found[number] = (number, event["customer"], None)
            elif number in found:
                found[number] = (number, found[number][1], event["carrier"])
    return sorted(found.values())
