"""Pages of a view: filters, order, and cursors, against a plain Python list."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.serve.conftest import Shop, served

from syncline import App, ForeignService, PostgreSQL, SQLite, Triggers, View
from syncline.testing.postgres import Databases

ROWS: list[dict[str, Any]] = [
    {"id": number, "name": name, "cents": cents, "ratio": ratio}
    for number, (name, cents, ratio) in enumerate(
        (name, cents, ratio)
        for name in ("Ada", "ada", "Élan", "", None, "a,b", "100%", "Ada'; DROP TABLE thing --")
        for cents in (None, -5, 0, 7, 2**53)
        for ratio in (None, 0.5, 1.0)
    )
]
VIEW = View("things", "id", "SELECT t.id, t.name, t.cents, t.ratio FROM stock.thing t")
CREATE = "CREATE TABLE thing (id bigint PRIMARY KEY, name text{}, cents bigint, ratio double precision)"


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def things(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The rows in a view, on either store, behind the service."""
    folder: Path = tmp_path_factory.mktemp("things")
    rows = [tuple(row.values()) for row in ROWS]
    if request.param == "sqlite":
        import sqlite3

        with sqlite3.connect(folder / "stock.db") as connection:
            connection.execute(CREATE.format(""))
            connection.executemany("INSERT INTO thing VALUES (?, ?, ?, ?)", rows)
        source, store = SQLite(str(folder / "stock.db")), SQLite(str(folder / "read.db"))
    else:
        import psycopg

        databases: Databases = request.getfixturevalue("postgres")
        url = databases.create("stock")
        with psycopg.connect(url) as pg:
            pg.execute(CREATE.format(' COLLATE "C"'))
            pg.cursor().executemany("INSERT INTO thing VALUES (%s, %s, %s, %s)", rows)
        source, store = PostgreSQL(url), PostgreSQL(databases.create("read"))
    app = App(ForeignService("stock", ("thing",)).on(source, Triggers()), VIEW.on(store))
    app.sync()
    with served(app) as found:
        yield found


def pages(http: httpx.Client, query: list[tuple[str, str]]) -> list[list[dict[str, Any]]]:
    found: list[list[dict[str, Any]]] = []
    cursor: str | None = ""
    while cursor is not None:
        answer = http.get("/views/things", params=[*query, *([("after", cursor)] if cursor else [])])
        assert answer.status_code == 200, answer.text
        found.append(answer.json()["rows"])
        cursor = answer.json()["next"]
    return found


def ordered(rows: list[dict[str, Any]], sort: list[tuple[str, bool]]) -> list[dict[str, Any]]:
    for column, is_down in reversed([*sort, *([] if any(name == "id" for name, _ in sort) else [("id", False)])]):
        rows = sorted(rows, key=lambda row: (row[column] is not None, _bytes(row[column])), reverse=is_down)
    return rows


def _bytes(value: Any) -> Any:
    return value.encode() if isinstance(value, str) else 0 if value is None else value


COMPARE = {
    "eq": lambda one, other: one == other,
    "ne": lambda one, other: one != other,
    "gt": lambda one, other: one is not None and one > other,
    "gte": lambda one, other: one is not None and one >= other,
    "lt": lambda one, other: one is not None and one < other,
    "lte": lambda one, other: one is not None and one <= other,
}
VALUES = {column: sorted({row[column] for row in ROWS if row[column] is not None}) for column in ("id", "name", "cents", "ratio")}
conditions = st.sampled_from(list(VALUES)).flatmap(
    lambda column: st.tuples(st.just(column), st.sampled_from(list(COMPARE)), st.sampled_from(VALUES[column]))
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    wanted=st.lists(conditions, max_size=2),
    sort=st.lists(
        st.tuples(st.sampled_from(["id", "name", "cents", "ratio"]), st.booleans()), max_size=3, unique_by=lambda s: s[0]
    ),
    limit=st.integers(1, 60),
)
def test_the_pages_of_any_question_give_each_row_once_and_in_order(
    things: Shop, wanted: list[tuple[str, str, Any]], sort: list[tuple[str, bool]], limit: int
) -> None:
    query = [(f"{column}.{operator}", str(value)) for column, operator, value in wanted]
    query += [("sort", ",".join(f"{'-' * down}{name}" for name, down in sort))] if sort else []
    found = pages(things.http, [*query, ("limit", str(limit))])
    matching = [row for row in ROWS if all(COMPARE[operator](row[column], value) for column, operator, value in wanted)]
    assert [row for page in found for row in page] == ordered(matching, sort)
    assert all(len(page) == limit for page in found[:-1])


def test_lists_and_null_are_asked_for(things: Shop) -> None:
    assert {row["name"] for page in pages(things.http, [("name.in", "Ada,ada")]) for row in page} == {"Ada", "ada"}
    assert {row["name"] for page in pages(things.http, [("name.null", "true")]) for row in page} == {None}
    assert None not in {row["name"] for page in pages(things.http, [("name.null", "false")]) for row in page}


@pytest.mark.parametrize(
    ("query", "name", "detail"),
    [
        ("nmae=Ada", "unknown-column", "did you mean 'name'?"),
        ("sort=-nmae", "unknown-column", "did you mean 'name'?"),
        ("name.like=x", "bad-request", "unknown operator '.like'"),
        ("limit=0", "bad-value", "from 1 to 1000"),
        ("limit=5000", "bad-value", "from 1 to 1000"),
        ("limit=x", "bad-value", "from 1 to 1000"),
        ("after=x", "bad-cursor", "is no cursor"),
        ("after=WyJhIiwiWzFdIl0", "bad-cursor", "of another view"),
        ("name=%00", "bad-value", "holds a character"),
        ("name.null=maybe", "bad-value", "expected true or false"),
        ("sort=id&sort=name", "bad-request", "given twice"),
        ('id"%20OR%201=1--=1', "unknown-column", "has no column"),
        ("sort=id;DROP%20TABLE%20things", "unknown-column", "has no column"),
    ],
)
def test_a_question_that_cannot_be_understood_is_refused(things: Shop, query: str, name: str, detail: str) -> None:
    answer = things.http.get(f"/views/things?{query}")
    assert (answer.status_code, answer.json()["type"]) == (400, f"/problems/{name}"), answer.text
    assert detail in answer.json()["detail"]


def test_a_cursor_is_of_its_own_question_alone(things: Shop) -> None:
    cursor = things.http.get("/views/things?limit=3&sort=-cents").json()["next"]
    assert things.http.get(f"/views/things?limit=9&sort=-cents&after={cursor}").status_code == 200
    for other in (f"sort=cents&after={cursor}", f"after={cursor}", f"sort=-cents&name=Ada&after={cursor}"):
        assert things.http.get(f"/views/things?{other}").json()["type"] == "/problems/bad-cursor"


def test_what_there_is_is_told(things: Shop) -> None:
    (view,) = things.http.get("/views").json()["views"]
    assert (view["name"], view["key"], view["state"], view["reads"]) == ("things", ["id"], "live", ["stock"])
    assert [column["name"] for column in view["columns"]] == ["id", "name", "cents", "ratio"]
