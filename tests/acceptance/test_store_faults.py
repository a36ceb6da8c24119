"""What a read store that cannot be written to for the moment does to the relay: it is told, and nothing stops."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from syncline.app import App
from syncline.config import load_config
from syncline.errors import Unavailable
from syncline.stores.sqlite.read import SQLiteReadStore

CONFIG = """
[service.shop]
database = "sqlite:///shop.db"
capture = "triggers"
tables = ["orders"]

[read_model.main]
database = "sqlite:///read.db"
views = "views/*.sql"
"""


def test_a_change_feed_that_cannot_be_trimmed_now_is_told_in_the_programs_words(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "shop.db")) as owner:
        owner.execute("CREATE TABLE orders (order_id INTEGER PRIMARY KEY, status TEXT)")
    (tmp_path / "syncline.toml").write_text(CONFIG)
    (tmp_path / "views").mkdir()
    (tmp_path / "views" / "board.sql").write_text("-- key: order_id\nSELECT o.order_id, o.status FROM shop.orders o")
    App(load_config(tmp_path / "syncline.toml")).sync()
    path = str(tmp_path / "read.db")
    with closing(SQLiteReadStore(path)) as store, closing(sqlite3.connect(path, isolation_level=None)) as other:
        store._connection.execute("PRAGMA busy_timeout = 0")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="another program holds it"):
            store.trim_changes()
        other.execute("ROLLBACK")
        store.trim_changes()
