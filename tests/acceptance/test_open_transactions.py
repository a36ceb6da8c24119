"""A write transaction that stays open on the server, in a service's database or another, holds up no commit of others."""

import time
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.acceptance.following import followed
from tests.crash.processes import wait_until
from tests.write.outbox_shop import OrderPlaced, shop

from syncline import App, PostgreSQL, View
from syncline.config import load_config
from syncline.errors import NotReady, Unavailable
from syncline.testing.postgres import Databases

USUALLY_WITHIN_S, ALWAYS_WITHIN_S = 1.0, 5.0
"""Other programs on the machine of a test have their share of it."""
CONFIG = """
[service.shop]
database = "{source}"
capture = "{capture}"
tables = ["order"]
{options}
[read_model.main]
database = "{read}"
views = "views/*.sql"
"""
BOARD = 'SELECT o.order_id, o.cents FROM shop."order" o'
CAPTURES = ["triggers", "wal", "polling", "outbox"]


def follower_of(folder: Path, databases: Databases, capture: str) -> tuple[App, str]:
    """The App that follows a service, and the service's database."""
    source, read = databases.create("source"), databases.create("read")
    with psycopg.connect(source) as owner:
        if capture == "outbox":
            shop.install(owner)
            return App(shop.on(PostgreSQL(source)), View("board", "order_id", BOARD).on(PostgreSQL(read))), source
        owner.execute('CREATE TABLE "order" (order_id text PRIMARY KEY, cents integer)')
    options = "every_s = 0.1" if capture == "polling" else ""
    (folder / "syncline.toml").write_text(CONFIG.format(source=source, read=read, capture=capture, options=options))
    (folder / "views").mkdir()
    (folder / "views" / "board.sql").write_text(f"-- key: order_id\n{BOARD}\n")
    return App(load_config(folder / "syncline.toml")), source


def write(connection: psycopg.Connection[Any], capture: str, number: int) -> None:
    if capture == "outbox":
        shop.record(connection, OrderPlaced(str(number), number))
    else:
        connection.execute('INSERT INTO "order" VALUES (%s, %s)', (str(number), number))


def visible_after_s(app: App, number: int) -> float:
    """How long it takes until the row is read, from now on."""
    begun = time.monotonic()
    wait_until(lambda: shown(app, number), f"order {number} is visible")
    return time.monotonic() - begun


def shown(app: App, number: int) -> bool:
    return bool(app.rows("board", key=(str(number),)).rows)


def is_live(app: App, view: str = "board") -> bool:
    try:
        app.rows(view)
    except (NotReady, Unavailable):
        return False
    return True


def hold_open(folder: Path, databases: Databases, capture: str, open_s: float) -> None:
    """Commits go on, and are seen, while a transaction in each database has written and does not end."""
    app, source = follower_of(folder, databases, capture)
    with app, closing(psycopg.connect(source)) as own, closing(psycopg.connect(databases.create("other"))) as other:
        with psycopg.connect(source) as writer, followed(app) as lines:
            write(writer, capture, 0)
            writer.commit()
            wait_until(lambda: is_live(app) and shown(app, 0), "the first order is visible")
            write(own, capture, -1)
            other.execute("CREATE TABLE left_open (id integer)")
            until, waits = time.monotonic() + open_s, list[float]()
            while time.monotonic() < until:
                number = len(waits) + 1
                write(writer, capture, number)
                writer.commit()
                waits.append(visible_after_s(app, number))
            assert not shown(app, -1), "it is not committed"
            own.commit()
            waits.append(visible_after_s(app, -1))
            other.rollback()
        failed = [line for line in lines if "failed" in line]
    waits.sort()
    print(
        f"{capture}: {len(waits)} commits in {open_s:g} s, seen after {waits[len(waits) // 2]:.4f} s, at most {waits[-1]:.4f} s"
    )
    assert failed == []
    assert waits[len(waits) // 2] < USUALLY_WITHIN_S and waits[-1] < ALWAYS_WITHIN_S


@pytest.mark.parametrize("capture", CAPTURES)
def test_commits_are_visible_while_others_stay_open(tmp_path: Path, postgres: Databases, capture: str) -> None:
    hold_open(tmp_path, postgres, capture, 2)


@pytest.mark.long
@pytest.mark.parametrize("capture", CAPTURES)
def test_commits_are_visible_while_others_stay_open_for_half_a_minute(tmp_path: Path, postgres: Databases, capture: str) -> None:
    hold_open(tmp_path, postgres, capture, 30)
