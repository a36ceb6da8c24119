"""Named queries over HTTP, from Python and on the command line: typed values, limits, and nothing but data."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.serve.conftest import Shop, followed, served, shop_in
from tests.shop.orders import PlaceOrder

from syncline import InvalidDefinition, NamedQuery, SQLite
from syncline.errors import InvalidQueryValues, TookTooLong
from syncline.serve import HttpConfig, Limits

ECHO = NamedQuery(
    "echo",
    "-- param: a text?\n-- param: b integer?\n-- param: c number?\n-- param: d boolean?\n-- param: e date?\n"
    "SELECT :a AS a, :b AS b, :c AS c, :d AS d, :e AS e FROM (SELECT 1) LEFT JOIN order_summary ON false",
)
ENDLESS = NamedQuery(
    "endless", "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n, order_summary"
)
FEW = NamedQuery("few", "-- limit: 2\nSELECT * FROM order_summary ORDER BY order_id")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("queries")
    store = SQLite(str(folder / "read.db"))
    with (
        followed(shop_in(folder, ECHO.on(store), ENDLESS.on(store), FEW.on(store))) as app,
        served(app, HttpConfig(limits=Limits(query_s=0.3))) as found,
    ):
        for number, tea in enumerate((1, 3, 5)):
            receipt = app.send(PlaceOrder(f"q-{number}", "Ada" if number else "Bob", {"tea": tea}))
        app.read("order_summary", "q-2", at_least=receipt)
        yield found


def test_a_query_is_asked_with_values_and_as_new_as_a_token(shop: Shop) -> None:
    receipt = shop.app.send(PlaceOrder("q-9", "Ada", {"cup": 9}))
    headers = {"At-Least": str(receipt.token)}
    answer = shop.http.get("/queries/large_orders?above_cents=1000&customer=Ada", headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.json()["rows"] == [
        {"order_id": "q-9", "customer": "Ada", "total_cents": 8100},
        {"order_id": "q-2", "customer": "Ada", "total_cents": 2250},
        {"order_id": "q-1", "customer": "Ada", "total_cents": 1350},
    ]
    assert answer.headers["Consistency-Token"].startswith("sl1.")


def test_a_query_is_asked_from_python(shop: Shop) -> None:
    answer = shop.app.query("large_orders", {"above_cents": 2000, "customer": "Ada"})
    assert [row[0] for row in answer.rows][-1] == "q-2"
    with pytest.raises(InvalidQueryValues, match="above_cents: it is 'x', expected a whole number"):
        shop.app.query("large_orders", {"above_cents": "x"})


def test_what_can_be_asked_is_told(shop: Shop) -> None:
    found = {each["name"]: each for each in shop.http.get("/queries").json()["queries"]}
    assert found["large_orders"]["parameters"] == [
        {"name": "above_cents", "type": "integer", "optional": False, "default": "0"},
        {"name": "customer", "type": "text", "optional": True, "default": None},
    ]


def test_values_that_do_not_fit_are_all_named(shop: Shop) -> None:
    answer = shop.http.get("/queries/large_orders?above_cents=1.5&custommer=x")
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/bad-value")
    assert {fault["place"] for fault in answer.json()["errors"]} == {"above_cents", "custommer"}


def test_an_unknown_query_is_not_found(shop: Shop) -> None:
    answer = shop.http.get("/queries/large_order")
    assert (answer.status_code, answer.json()["detail"]) == (404, "there is no query 'large_order'; did you mean 'large_orders'?")


def test_more_rows_than_the_limit_are_said_to_be_there(shop: Shop) -> None:
    answer = shop.http.get("/queries/few").json()
    assert ([row["order_id"] for row in answer["rows"]], answer["is_cut_short"]) == (["q-0", "q-1"], True)
    assert "syncline" not in str(answer["columns"])


def test_a_query_that_takes_too_long_is_ended_and_others_are_answered(shop: Shop) -> None:
    answer = shop.http.get("/queries/endless")
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/took-too-long")
    assert shop.http.get("/queries/few").status_code == 200
    with pytest.raises(TookTooLong):
        shop.app.query("endless", limit_s=0.1)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text().filter(lambda text: "\0" not in text) | st.sampled_from(["'; DROP TABLE order_summary --", "%s", ":b", "?1"]))
def test_a_text_comes_back_as_it_was_given(shop: Shop, text: str) -> None:
    assert shop.http.get("/queries/echo", params={"a": text}).json()["rows"][0]["a"] == text


def test_a_query_that_cannot_be_asked_is_refused_when_it_is_defined(tmp_path: Path) -> None:
    store = SQLite(str(tmp_path / "read.db"))
    bad = NamedQuery("bad", "-- Reads what it may not.\nSELECT * FROM syncline_feed").on(store)
    with shop_in(tmp_path, bad) as app, pytest.raises(InvalidDefinition, match="query bad:2: FROM syncline_feed"):
        app.check()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT name FROM pragma_table_info('order_summary') LEFT JOIN order_summary ON false",
        "SELECT load_extension('x') FROM (SELECT 1) LEFT JOIN order_summary ON false",
    ],
)
def test_the_database_itself_refuses_what_a_query_may_not_do(tmp_path: Path, sql: str) -> None:
    with shop_in(tmp_path, NamedQuery("sly", sql).on(SQLite(str(tmp_path / "read.db")))) as app:
        app.sync()
        with pytest.raises(Exception, match="not authorized|prohibited"):
            app.query("sly")


def test_json_functions_may_be_used(tmp_path: Path) -> None:
    query = NamedQuery(
        "sums", "-- param: list text\nSELECT sum(value) AS n FROM json_each(:list) LEFT JOIN order_summary ON false"
    )
    with shop_in(tmp_path, query.on(SQLite(str(tmp_path / "read.db")))) as app:
        app.sync()
        assert app.query("sums", {"list": "[1, 2, 3]"}).rows == [(6,)]
