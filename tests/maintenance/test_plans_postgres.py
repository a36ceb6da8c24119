"""On PostgreSQL too, what a change costs does not grow with the tables: every walk and every recomputation goes by indexes."""

from collections.abc import Iterator

import pytest
from tests.read_store.postgres_world import World, relation

from syncline.read.definition import define_views, loads
from syncline.read.maintain.schema import catalog_of
from syncline.read.view import parse_view
from syncline.testing.postgres import Databases

RELATIONS = [
    relation("sales.orders", "id bigint, customer integer, status text, total numeric(10,2), at timestamp with time zone", "id"),
    relation("sales.lines", "order_id bigint, n integer, sku text, price numeric(10,2)", "order_id, n"),
    relation("crm.customers", "id integer, name text, region text, active boolean", "id"),
    relation("pay.payments", "order_id bigint, amount numeric(10,2), method text", "order_id"),
]
SHAPES = {
    "joined": "-- key: id\nSELECT o.id, c.name, p.amount FROM sales.orders o LEFT JOIN crm.customers c ON c.id = o.customer "
    "LEFT JOIN pay.payments p ON p.order_id = o.id",
    "inner": "-- key: id, n\nSELECT o.id, l.n, l.price, c.name FROM sales.lines l JOIN sales.orders o ON o.id = l.order_id "
    "JOIN crm.customers c ON c.id = o.customer WHERE c.active",
    "grouped": "-- key: customer\nSELECT o.customer, count(*) AS n, sum(l.price) AS price FROM sales.orders o "
    "JOIN sales.lines l ON l.order_id = o.id GROUP BY o.customer",
    "grouped_by_three": "-- key: region, active, name\nSELECT region, active, name, count(*) AS n FROM crm.customers GROUP BY 1, 2, 3",
    "grouped_by_four": "-- key: a, b, c, d\nSELECT sku AS a, price AS b, lower(sku) AS c, price IS NULL AS d, count(*) AS n FROM sales.lines "
    "GROUP BY sku, price, lower(sku), price IS NULL",
    "by_day": "-- key: day\nSELECT CAST(at AT TIME ZONE 'UTC' AS date) AS day, sum(total) AS total FROM sales.orders GROUP BY 1",
    "dependent": "-- key: id\nSELECT c.id, c.name, count(o.id) AS orders FROM crm.customers c LEFT JOIN sales.orders o ON o.customer = c.id GROUP BY c.id",
    "exists": "-- key: id\nSELECT id FROM sales.orders o WHERE EXISTS (SELECT 1 FROM pay.payments p WHERE p.order_id = o.id AND p.amount > 1)",
    "exists_or": "-- key: id\nSELECT id FROM sales.orders o WHERE status = 'new' OR EXISTS (SELECT 1 FROM pay.payments p WHERE p.order_id = o.id)",
    "not_exists": "-- key: id\nSELECT id, name FROM crm.customers c WHERE NOT EXISTS (SELECT 1 FROM sales.orders o WHERE o.customer = c.id)",
    "member": "-- key: id\nSELECT id FROM crm.customers WHERE id IN (SELECT customer FROM sales.orders WHERE status = 'paid')",
    "scalar": "-- key: id\nSELECT o.id, (SELECT sum(l.price) FROM sales.lines l WHERE l.order_id = o.id) AS price FROM sales.orders o",
    "distinct": "-- key: region, status\nSELECT DISTINCT c.region, o.status FROM sales.orders o JOIN crm.customers c ON c.id = o.customer",
    "union": "-- key: word\nSELECT name AS word FROM crm.customers UNION SELECT method FROM pay.payments",
    "except": "-- key: id\nSELECT id FROM sales.orders EXCEPT SELECT order_id FROM pay.payments",
    "union_all": "-- key: kind, id\nSELECT 'o' AS kind, id, status AS word FROM sales.orders UNION ALL SELECT 'c', id, name FROM crm.customers",
    "derived": "-- key: region\nSELECT d.region, count(*) AS n FROM (SELECT c.region, o.id, max(l.price) AS top FROM sales.orders o "
    "JOIN sales.lines l ON l.order_id = o.id JOIN crm.customers c ON c.id = o.customer GROUP BY c.region, o.id) AS d GROUP BY d.region",
    "derived_union": "-- key: word\nSELECT u.word, count(*) AS n FROM (SELECT name AS word FROM crm.customers UNION ALL SELECT sku FROM sales.lines) AS u "
    "GROUP BY u.word",
    "newest": "-- key: id\nSELECT id, customer, rn FROM (SELECT id, customer, row_number() OVER (PARTITION BY customer ORDER BY at DESC, id) AS rn "
    "FROM sales.orders) AS w WHERE rn <= 2",
    "over_view": "-- key: customer\nSELECT g.customer, c.name, g.n FROM grouped g JOIN crm.customers c ON c.id = g.customer",
}  # fmt: skip


@pytest.fixture(scope="module")
def world(postgres: Databases) -> Iterator[World]:
    world = World(postgres.create("plans"), RELATIONS, SHAPES)
    world.load()
    world.build()
    yield world
    world.close()


def test_no_walk_and_no_recomputation_reads_a_table_from_end_to_end(world: World) -> None:
    for name in SHAPES:
        assert world.store.scans(name) == [], name


def test_a_plan_is_the_same_after_it_was_stored_as_text() -> None:
    made, _ = define_views(
        [parse_view(name, text, f"{name}.sql") for name, text in SHAPES.items()], catalog_of(RELATIONS, "postgres")
    )
    assert len(made) == len(SHAPES)
    for definition in made:
        assert loads(definition.dumps()) == definition
        assert loads(definition.dumps()).fingerprint == definition.fingerprint


def test_a_part_of_a_key_that_may_be_null_is_looked_up_in_an_index_either_way() -> None:
    (made,), _ = define_views([parse_view("v", SHAPES["grouped"], "v.sql")], catalog_of(RELATIONS, "postgres"))
    recompute = made.own_plan.recompute
    assert 'LATERAL (SELECT "o".* FROM' in recompute
    assert recompute.count("UNION ALL") == 1
    assert "IS NOT DISTINCT FROM" not in recompute
