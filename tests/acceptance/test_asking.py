"""Named queries on the command line, of a project as one writes it: values, freshness, faults."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from syncline.cli import main
from syncline.cli.questions import query

CONFIG = """
[service.orders]
database = "sqlite:///orders.db"
capture = "triggers"
tables = "*"
[read_model.shop]
database = "sqlite:///read.db"
views = "views/*.sql"
queries = "queries/*.sql"
"""
LARGE = """-- Orders that cost more than so much.
-- param: above_cents integer = 0
-- param: customer text?
-- limit: 3
SELECT * FROM order_board WHERE cents > :above_cents AND (:customer IS NULL OR customer = :customer) ORDER BY cents
"""
ORDERS = [(1, "Ada", 100), (2, "Bob", 200), (3, "Ada", 300), (4, "Cy", 400)]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, text in (("syncline.toml", CONFIG), ("queries/large.sql", LARGE)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "views").mkdir()
    (tmp_path / "views" / "order_board.sql").write_text("-- key: id\nSELECT id, customer, cents FROM orders.orders")
    add("CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT, cents INTEGER)")
    for row in ORDERS:
        add(f"INSERT INTO orders VALUES {row}")
    assert syncline("sync", "--once").exit_code == 0
    return tmp_path


def add(sql: str) -> None:
    with closing(sqlite3.connect("orders.db")) as connection:
        connection.execute(sql)
        connection.commit()


def syncline(*args: str) -> Result:
    result = CliRunner().invoke(main, list(args))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_rows_are_printed_and_their_age_and_token_said() -> None:
    result = syncline("query", "large", "customer=Ada", "above_cents=100")
    assert (result.exit_code, [line.split() for line in result.stdout.splitlines()]) == (
        0,
        [["id", "customer", "cents"], ["--", "--------", "-----"], ["3", "Ada", "300"]],
    )
    assert "1 row, at most" in result.stderr and "; token sl1." in result.stderr


def test_programs_are_told_all_of_it_and_that_there_is_more() -> None:
    told = json.loads(syncline("query", "large", "--json").stdout)
    assert [row["id"] for row in told["rows"]] == [1, 2, 3]
    assert (told["columns"], told["is_cut_short"], told["exact"]) == (["id", "customer", "cents"], True, True)
    told = json.loads(syncline("query", "large", "--json", "--limit", "1", "above_cents=300").stdout)
    assert ([row["id"] for row in told["rows"]], told["is_cut_short"]) == ([4], False)
    assert "more rows than were asked for" in syncline("query", "large", "--limit", "2").stderr


def test_what_is_not_as_new_as_a_token_is_refused() -> None:
    add("INSERT INTO orders VALUES (5, 'Ada', 500)")
    token = syncline("token", "orders").stdout.strip()
    late = syncline("query", "large", "--at-least", token, "--timeout-s", "0")
    assert (late.exit_code, late.stdout) == (1, "")
    assert "orders" in late.stderr
    syncline("sync", "--once")
    assert syncline("query", "large", "above_cents=400", "--at-least", token).stdout.splitlines()[2:] == [" 5  Ada         500"]


@pytest.mark.parametrize(
    ("args", "status", "said"),
    [
        (("large", "above_cents=x", "custommer=Ada"), 2, "did you mean 'customer'?"),
        (("large", "customer"), 2, "'customer' is not PARAM=VALUE"),
        (("large", "customer=a", "customer=b"), 2, "'customer' is given twice"),
        (("lrge",), 1, "did you mean 'large'?"),
    ],
)
def test_what_cannot_be_asked_is_said_and_is_the_exit_status(args: tuple[str, ...], status: int, said: str) -> None:
    result = syncline("query", *args)
    assert (result.exit_code, result.stdout) == (status, "")
    assert said in result.stderr


def test_faults_of_values_are_told_to_programs_one_by_one() -> None:
    told = json.loads(syncline("query", "large", "above_cents=x", "b=1", "--json").stdout)["error"]
    assert [fault["place"] for fault in told["faults"]] == ["b", "above_cents"]


def test_completion_knows_the_queries() -> None:
    with query.make_context("query", ["x"], parent=None) as context:
        assert [each.value for each in query.params[0].shell_complete(context, "la")] == ["large"]
