"""The shop of the example in a folder of files in memory, with a look at its databases by plain SQL."""

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shop.app import build
from shop.reconcile import reconcile
from shop.seed import seed

from syncline import App, Receipt
from syncline.testing.memory import memory_folder


@dataclass(frozen=True)
class Shop:
    """A shop that is seeded, and that nobody follows but who asks it to."""

    app: App
    folder: Path

    def send(self, command: Any) -> Receipt:
        return self.app.send(command)

    def rows(self, service: str, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """What a service's database holds."""
        with closing(sqlite3.connect(self.folder / f"{service}.db")) as connection:
            return connection.execute(sql, values).fetchall()

    def told(self, service: str) -> list[str]:
        """The names of the events in a service's database, in their order."""
        return [name for (name,) in self.rows(service, "SELECT name FROM syncline_event ORDER BY position")]


@contextmanager
def shop_in_memory(**options: Any) -> Iterator[Shop]:
    """A shop as `build` makes it with these options; its files are gone at the end of the block."""
    with tempfile.TemporaryDirectory(prefix="syncline-shop-", dir=memory_folder()) as place, build(Path(place), **options) as app:
        seed(app, Path(place))
        yield Shop(app, Path(place))


def assert_books_match(shop: Shop) -> None:
    """At rest: nothing is under way, every order has its end, stock and money match, and so does every view."""
    with shop.app.settling() as settle:
        settle()
    assert reconcile(shop.folder).faults == ()
    assert not shop.app.verify().differences
    assert [(each.saga, each.open, each.parked, each.waiting) for each in shop.app.sagas.status()] == [
        ("checkout", 0, 0, 0),
        ("charging", 0, 0, 0),
    ]
