"""Bytes over HTTP: written in base64, and asked for as they are written, by key, in conditions, streams and history."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from tests.serve.conftest import Shop, followed, served
from tests.serve.test_live import following

from syncline import App, ForeignService, PostgreSQL, SQLite, Triggers, View
from syncline.testing.postgres import Databases

ROWS = [(b"\xfb\xff\x00", "odd"), (b"\xfb\xff\x01", "next"), (b"\xd7m\xf8", "1234"), (b"", "empty")]
WRITTEN = {"odd": "+/8A", "next": "+/8B", "1234": "1234", "empty": ""}
VIEW = View("blobs", "data", "SELECT b.data, b.name FROM stock.blob b")


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def blobs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder: Path = tmp_path_factory.mktemp("blobs")
    if request.param == "sqlite":
        import sqlite3

        with sqlite3.connect(folder / "stock.db") as connection:
            connection.execute("CREATE TABLE blob (data BLOB NOT NULL PRIMARY KEY, name TEXT)")
            connection.executemany("INSERT INTO blob VALUES (?, ?)", ROWS)
        source, store = SQLite(str(folder / "stock.db")), SQLite(str(folder / "read.db"))
    else:
        import psycopg

        databases: Databases = request.getfixturevalue("postgres")
        url = databases.create("stock")
        with psycopg.connect(url) as pg:
            pg.execute("CREATE TABLE blob (data bytea NOT NULL PRIMARY KEY, name text)")
            pg.cursor().executemany("INSERT INTO blob VALUES (%s, %s)", ROWS)
        source, store = PostgreSQL(url), PostgreSQL(databases.create("read"))
    with (
        followed(App(ForeignService("stock", ("blob",)).on(source, Triggers()), VIEW.on(store))) as app,
        served(app) as found,
    ):
        yield found


def names(shop: Shop, **query: str) -> list[str]:
    answer = shop.http.get("/views/blobs", params={key.replace("__", "."): value for key, value in query.items()})
    assert answer.status_code == 200, answer.text
    assert all(row["data"] == WRITTEN[row["name"]] for row in answer.json()["rows"])
    return sorted(row["name"] for row in answer.json()["rows"])


def test_a_condition_on_bytes_is_base64(blobs: Shop) -> None:
    assert [names(blobs, data=WRITTEN[name]) for name in WRITTEN] == [[name] for name in WRITTEN]
    assert names(blobs, data="-_8A") == ["odd"]
    assert names(blobs, data__in="+/8A,-_8B") == ["next", "odd"]
    assert names(blobs, data__ne="+/8A") == ["1234", "empty", "next"]
    assert names(blobs, data__gte="+/8A") == ["next", "odd"]
    assert names(blobs, data__lt="1234") == ["empty"]


def test_pages_go_on_after_bytes(blobs: Shop) -> None:
    first = blobs.http.get("/views/blobs?limit=3").json()
    second = blobs.http.get(f"/views/blobs?limit=3&after={first['next']}").json()
    assert [row["name"] for row in (*first["rows"], *second["rows"])] == ["empty", "1234", "odd", "next"]


def test_a_row_is_found_by_a_key_of_bytes_with_its_history(blobs: Shop) -> None:
    for name in ("odd", "1234"):
        key = quote(WRITTEN[name], safe="")
        assert blobs.http.get(f"/views/blobs/{key}").json() == {"data": WRITTEN[name], "name": name}
        assert blobs.http.get("/views/blobs/history", params={"key": key}).json() == {"changes": []}
    assert blobs.http.get("/views/blobs/%2B%2F8C").status_code == 404


def test_a_stream_follows_a_row_with_bytes(blobs: Shop) -> None:
    for spelling in ("+/8A", "-_8A"):
        with following(blobs, f"?data={quote(spelling, safe='')}", "blobs") as told:
            told.until(lambda: len(told.events) > 1)
            assert [kind for _, kind, _ in told.events] == ["reset", "upsert"]
            assert told.events[1][2]["row"] == {"data": "+/8A", "name": "odd"}


@pytest.mark.parametrize("blobs", ["postgres"], indirect=True)
def test_what_is_no_base64_is_refused_by_the_columns_name(blobs: Shop) -> None:
    for path in ("/views/blobs?data=x", "/views/blobs/x", "/views/blobs/changes?data=x"):
        answer = blobs.http.get(path)
        assert (answer.status_code, answer.json()["type"]) == (400, "/problems/bad-value"), path
        assert answer.json()["detail"] == "'data' holds bytes, which are written in base64; 'x' is not"
