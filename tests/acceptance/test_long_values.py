"""Services with values that are too long for an index of PostgreSQL, followed into a read store there: all is there, at once."""

import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.acceptance.following import followed
from tests.acceptance.test_open_transactions import is_live
from tests.crash.processes import wait_until

from syncline.app import App
from syncline.config import load_config
from syncline.testing.postgres import Databases

LONG = random.Random(1).randbytes(5_000).hex()
TABLES = (
    "CREATE TABLE item (sku {key}, shelf text)",
    "CREATE TABLE line (line_id integer PRIMARY KEY, sku text, note text)",
)
VIEWS = {
    "board": "-- key: line_id\n-- index: note\nSELECT l.line_id, l.note, i.shelf FROM shop.line l "
    "LEFT JOIN shop.item i ON i.sku = l.sku\n",
    "notes": "-- key: note\nSELECT note, count(*) AS n FROM shop.line GROUP BY note\n",
    "items": "-- key: sku\nSELECT sku, shelf FROM shop.item\n",
}
CONFIG = """
[service.shop]
database = "{source}"
capture = "{capture}"
tables = ["item", "line"]
{options}
[read_model.main]
database = "{read}"
views = "views/*.sql"
"""


@pytest.mark.parametrize("is_there_before", [True, False], ids=["first copy", "change"])
@pytest.mark.parametrize("source", ["sqlite triggers", "sqlite polling", "postgres triggers", "postgres wal", "postgres polling"])
def test_rows_with_values_of_any_length_keep_no_other_waiting(
    tmp_path: Path, postgres: Databases, source: str, is_there_before: bool
) -> None:
    kind, _, capture = source.partition(" ")
    read, database = postgres.create("read"), "sqlite:///shop.db" if kind == "sqlite" else postgres.create("shop")
    options = "every_s = 0.1" if capture == "polling" else ""
    (tmp_path / "syncline.toml").write_text(CONFIG.format(source=database, read=read, capture=capture, options=options))
    (tmp_path / "views").mkdir()
    for name, text in VIEWS.items():
        (tmp_path / "views" / f"{name}.sql").write_text(text)
    # A primary key of PostgreSQL has a B-tree of its own, so that no value there is longer; one of SQLite has not.
    key = LONG if kind == "sqlite" else "long"
    with closing(opened(database, tmp_path)) as owner:
        for table in TABLES:
            owner.execute(table.format(key="text NOT NULL PRIMARY KEY"))
        owner.execute("INSERT INTO item VALUES ('a', 'left')")
        owner.execute("INSERT INTO line VALUES (1, 'a', 'short')")
        app = App(load_config(tmp_path / "syncline.toml"))
        if is_there_before:
            write_long(owner, key)
        with followed(app) as lines:
            wait_until(lambda: all(is_live(app, view) for view in VIEWS), "the views are live")
            if not is_there_before:
                write_long(owner, key)
            owner.execute("INSERT INTO line VALUES (3, 'a', 'after')")
            wanted = [(1, "short", "left"), (2, LONG, LONG), (3, "after", "left"), (4, "n", None)]
            wait_until(rows_are(app, "board", wanted), "all lines are shown")
            assert app.rows("items", key=(key,)).rows == [(key, LONG)]
            assert app.rows("notes", key=(LONG,)).rows == [(LONG, 1)]
            wait_until(lambda: any("too long for a B-tree" in line for line in lines), "it is told")
            owner.execute("UPDATE line SET note = 'n', sku = 'a' WHERE line_id IN (2, 4)")
            owner.execute("DELETE FROM item WHERE sku <> 'a'")
            healed = [(1, "short", "left"), (2, "n", "left"), (3, "after", "left"), (4, "n", "left")]
            wait_until(rows_are(app, "board", healed), "what was shortened is shown")
            assert app.rows("items").rows == [("a", "left")]
            assert not [line for line in lines if "failed" in line]
        assert app.verify().differences == ()


def write_long(owner: Any, key: str) -> None:
    owner.execute(f"INSERT INTO item VALUES ('{key}', '{LONG}')")
    owner.execute(f"INSERT INTO line VALUES (2, '{key}', '{LONG}')")
    owner.execute(f"INSERT INTO line VALUES (4, '{LONG}x', 'n')")


def rows_are(app: App, view: str, wanted: list[tuple[object, ...]]) -> Callable[[], bool]:
    return lambda: app.rows(view, order_by=["line_id"]).rows == wanted


def opened(database: str, folder: Path) -> Any:
    if database.startswith("postgresql"):
        return psycopg.connect(database, autocommit=True)
    owner = sqlite3.connect(folder / "shop.db", isolation_level=None)
    owner.execute("PRAGMA journal_mode = wal")
    return owner
