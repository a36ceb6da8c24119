"""`syncline init`: what it finds in databases, and that what it writes is accepted as it is."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from syncline.config import load_config
from syncline.errors import InvalidDefinition
from syncline.first_view import FirstView, Found, as_name, first_view
from syncline.messages import Column, Relation
from syncline.read.maintain.compiler import compile_view
from syncline.read.maintain.schema import Catalog, mirror_source
from syncline.read.view import View, parse_view
from syncline.starter import start_here

SHOP = {
    "orders.db": (
        "CREATE TABLE orders (order_id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL, status TEXT);"
        'CREATE TABLE lines (order_id INTEGER, line INTEGER, "unit price" REAL, PRIMARY KEY (order_id, line));'
        "CREATE TABLE audit (message TEXT);"
        "INSERT INTO orders VALUES (1, 7, 'open');"
    ),
    "Customer-Data.sqlite": (
        "CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT, status TEXT);INSERT INTO customers VALUES (7, 'Ada', 'gold');"
    ),
    "billing.sqlite3": "CREATE TABLE invoice (order_id INTEGER PRIMARY KEY, status TEXT);",
}


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    for name, script in SHOP.items():
        make_database(tmp_path / name, script)
    return tmp_path


def make_database(file: Path, script: str) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(script)


def relation(name: str, columns: str, key: str) -> Relation:
    """`columns` are `name TYPE, …`."""
    service, table = name.split(".")
    typed = [column.strip().rpartition(" ") for column in columns.split(",")]
    keys = tuple(each.strip() for each in key.split(","))
    return Relation(service, table, tuple(Column(name, kind, not_null=name in keys) for name, _, kind in typed), keys)


def accepted(view: FirstView, relations: Sequence[Relation]) -> View:
    """The view, compiled as the read store would."""
    parsed = parse_view(view.name, view.text, f"{view.name}.sql")
    catalog = Catalog({each.name.lower(): mirror_source(each) for each in relations})
    assert compile_view(parsed, catalog)
    return parsed


def joined(*found: Found | Relation) -> tuple[View, tuple[str, ...]]:
    all_found = [each if isinstance(each, Found) else Found(each) for each in found]
    view = first_view(all_found)
    return accepted(view, [each.relation for each in all_found]), view.joined


def test_init_writes_a_configuration_and_a_view_that_are_accepted_as_they_are(shop: Path) -> None:
    started = start_here([], shop)
    config = load_config(shop / "syncline.toml")
    assert {service.name: service.tables for service in config.services} == {
        "customer_data": ("customers",),
        "billing": ("invoice",),
        "orders": ("lines", "orders"),
    }
    assert {Path(service.database).name for service in config.services} == set(SHOP)
    assert all(service.capture == "triggers" for service in config.services)
    assert config.http is not None and (config.http.host, config.http.port) == ("127.0.0.1", 8765)
    assert any("http://127.0.0.1:8765/" in line for line in started.report)
    [model] = config.read_models
    [view] = model.views
    assert view.name == "orders_overview"
    assert view.key == ("order_id",)
    assert set(started.joined) == {"customer_data.customers", "billing.invoice"}
    assert model.services == ("customer_data", "billing", "orders") or set(model.services) == set(started.services)


def test_the_first_view_runs_as_a_plain_query_too(shop: Path) -> None:
    start_here([], shop)
    [view] = load_config(shop / "syncline.toml").read_models[0].views
    with closing(sqlite3.connect(":memory:")) as connection:
        for service in load_config(shop / "syncline.toml").services:
            connection.execute(f"ATTACH '{service.database}' AS {service.name}")
        cursor = connection.execute(view.sql)
        [row] = [dict(zip([each[0] for each in cursor.description], row, strict=True)) for row in cursor]
    assert row == {
        "order_id": 1,
        "customer_id": 7,
        "status": "open",
        "name": "Ada",
        "customer_status": "gold",
        "invoice_status": None,
    }


def test_a_table_without_a_key_is_left_out_with_the_reason(shop: Path) -> None:
    started = start_here([], shop)
    assert list(started.left_out) == ["orders.audit"]
    assert "# not followed: audit: " in (shop / "syncline.toml").read_text()
    assert any(line.startswith("not followed: orders.audit: ") for line in started.report)


def test_a_file_that_exists_is_never_replaced_unless_asked(shop: Path) -> None:
    (shop / "syncline.toml").write_text("mine")
    with pytest.raises(InvalidDefinition, match="the file exists and is left as it is; `syncline init --force`"):
        start_here([], shop)
    assert (shop / "syncline.toml").read_text() == "mine"
    assert not (shop / "views").exists()
    start_here([], shop, replace=True)
    assert load_config(shop / "syncline.toml").services


def test_the_databases_are_only_changed_when_wal_is_asked_for(shop: Path) -> None:
    before = {name: (shop / name).read_bytes() for name in SHOP}
    started = start_here([], shop)
    assert {name: (shop / name).read_bytes() for name in SHOP} == before
    assert any("PRAGMA journal_mode=WAL" in line for line in started.report)
    started = start_here([], shop, replace=True, use_wal=True)
    assert not any("hint" in line for line in started.report)
    with closing(sqlite3.connect(shop / "orders.db")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_database_elsewhere_is_named_by_its_whole_path(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("elsewhere")
    start_here([str(shop / "orders.db")], folder)
    config = load_config(folder / "syncline.toml")
    assert config.services[0].database == str(shop / "orders.db")
    assert config.read_models[0].database == str(folder / "read.db")


def test_a_source_that_is_called_like_the_read_store_keeps_its_file(tmp_path: Path) -> None:
    make_database(tmp_path / "read.db", "CREATE TABLE t (a INTEGER PRIMARY KEY)")
    start_here([str(tmp_path / "read.db")], tmp_path)
    assert load_config(tmp_path / "syncline.toml").read_models[0].database == str(tmp_path / "read_model.db")


def test_what_is_no_database_is_skipped_in_a_folder_and_refused_by_name(shop: Path) -> None:
    (shop / "notes.db").write_text("these are notes, and long enough to be no database header at all" * 20)
    assert any(line.startswith("skipped ") and "notes.db" in line for line in start_here([], shop).report)
    with pytest.raises(InvalidDefinition, match=r"notes\.db"):
        start_here([str(shop / "notes.db")], shop, replace=True)
    with pytest.raises(InvalidDefinition, match=r"absent\.db"):
        start_here([str(shop / "absent.db")], shop, replace=True)
    assert not (shop / "absent.db").exists()


def test_a_folder_without_databases_says_how_to_name_them(tmp_path: Path) -> None:
    with pytest.raises(InvalidDefinition, match="no database here"):
        start_here([], tmp_path)
    make_database(tmp_path / "a.db", "CREATE TABLE t (a)")
    with pytest.raises(InvalidDefinition, match="no table that can be followed"):
        start_here([], tmp_path)


def test_a_column_that_is_named_like_another_key_is_joined() -> None:
    flights = relation("ops.flights", "flight_id INTEGER, tailnum TEXT, carrier TEXT", "flight_id")
    planes = relation("fleet.planes", "tailnum TEXT, year INTEGER", "tailnum")
    airlines = relation("partners.airlines", "carrier TEXT, name TEXT", "carrier")
    view, parents = joined(planes, airlines, flights)
    assert parents == ("fleet.planes", "partners.airlines")
    assert view.key == ("flight_id",)


@pytest.mark.parametrize("table", ["customer", "customers", "Customers"])
def test_a_column_that_is_named_after_a_table_is_joined_with_its_id(table: str) -> None:
    orders = relation("orders.orders", "id INTEGER, customer_id INTEGER", "id")
    _, parents = joined(orders, relation(f"crm.{table}", "id INTEGER, name TEXT", "id"))
    assert parents == (f"crm.{table}",)


def test_a_declared_foreign_key_is_joined_whatever_its_name() -> None:
    flights = Found(
        relation("ops.flights", "id INTEGER, origin TEXT, dest TEXT", "id"),
        [("origin", "airports", "faa"), ("dest", "airports", None)],
    )
    view, parents = joined(flights, relation("ops.airports", "faa TEXT, name TEXT", "faa"))
    assert parents == ("ops.airports", "ops.airports")
    assert "AS dest_name" in view.sql


def test_ids_alone_and_values_of_other_kinds_are_not_joined() -> None:
    a = relation("a.a", "id INTEGER, b_id TEXT", "id")
    _, parents = joined(a, relation("b.b", "id INTEGER, a_name TEXT", "id"))
    assert parents == ()


def test_a_composite_key_and_strange_names_are_quoted_where_needed() -> None:
    lines = relation("s.Order Lines", "order TEXT, Line No INTEGER, group TEXT, x-y TEXT", "order, Line No")
    view, parents = joined(lines, relation("s.group", "group TEXT, select TEXT, x-y TEXT", "group"))
    assert parents == ("s.group",)
    assert view.key == ("order", "Line No")


@pytest.mark.parametrize(
    ("text", "name"),
    [("Customer-Data", "customer_data"), ("OrderLines", "order_lines"), ("2024", "s_2024"), ("main", "main_db")],
)
def test_a_file_name_becomes_a_service_name(text: str, name: str) -> None:
    assert as_name(text) == name
