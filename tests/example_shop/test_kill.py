"""kill -9 of any process of the shop, again and again: the books match, and no order is without an end."""

import random
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from shop.app import build
from shop.reconcile import reconcile
from shop.seed import seed
from tests.crash.processes import ENVIRONMENT, ROOT, Process, is_over, kill, wait_until
from tests.example_shop.at_work import DEADLINE_S, placed
from tests.example_shop.shop_at import Shop, assert_books_match

from syncline.testing.memory import memory_folder

REST_S = 120.0
"""How long what is left may take, once nobody is killed any more: deadlines, and what they lead to."""


class Processes:
    """The process that runs the shop, and the one that buys in it, each begun anew after it was killed."""

    def __init__(self, folder: Path, orders: int, rate: float) -> None:
        self._folder, self._orders, self._rate = folder, orders, rate
        self._stack = ExitStack()
        self.log = self._stack.enter_context((folder / "processes.log").open("w+"))
        self.running = self._start("run")
        self.buying = self._start("buy", str(orders), str(rate))

    def kill_one(self, draw: random.Random, within_s: float) -> None:
        """Kills either, at a moment drawn at random. What ends by itself before has done what it had to."""
        if draw.random() < 0.5:
            assert not is_over(self.running, draw.uniform(0, within_s)), self.told()
            kill(self.running)
            self.running = self._start("run")
        else:
            if is_over(self.buying, draw.uniform(0, within_s)):
                assert self.buying.returncode == 0, self.told()
            kill(self.buying)
            self.buying = self._start("buy", str(self._orders), str(self._rate))

    def told(self) -> str:
        self.log.seek(0)
        return self.log.read()

    def close(self) -> None:
        kill(self.running)
        kill(self.buying)
        self._stack.close()

    def _start(self, verb: str, *options: str) -> Process:
        command = [sys.executable, "-m", "tests.example_shop.at_work", str(self._folder), verb, *options]
        path = f"{ENVIRONMENT['PYTHONPATH']}:{ROOT / 'examples'}"
        environment = {**ENVIRONMENT, "PYTHONPATH": path}
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=self.log, stderr=self.log, text=True)


def kill_again_and_again(*, orders: int, kills: int, rate: float, within_s: float) -> None:
    draw = random.Random(kills)
    with tempfile.TemporaryDirectory(prefix="syncline-shop-", dir=memory_folder()) as place:
        folder = Path(place)
        with build(folder, deadline_s=DEADLINE_S) as app:
            seed(app, folder)
            app.sync()
            processes = Processes(folder, orders, rate)
            try:
                for _ in range(kills):
                    processes.kill_one(draw, within_s)
                wait_until(lambda: is_over(processes.buying, 0.1), "all is bought", REST_S + 2 * orders / rate)
                assert processes.buying.returncode == 0, processes.told()
                wait_until(lambda: is_quiet(Shop(app, folder)), "no saga is open", REST_S)
                assert processes.running.poll() is None, processes.told()
            finally:
                processes.close()
            assert placed(folder) == orders
            assert_books_match(Shop(app, folder))
            counts = reconcile(folder).counts
            assert counts["confirmed"] > orders / 10 and counts["declined"] > 0 and counts["refunded cents"] > 0


def is_quiet(shop: Shop) -> bool:
    return all(each.open == each.waiting == 0 for each in shop.app.sagas.status())


def test_the_books_match_whichever_process_is_killed_and_when() -> None:
    kill_again_and_again(orders=120, kills=6, rate=40, within_s=1.5)


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_the_same_two_hundred_times_during_ten_thousand_orders() -> None:
    kill_again_and_again(orders=10_000, kills=200, rate=30, within_s=3)
