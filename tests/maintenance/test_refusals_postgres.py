"""On PostgreSQL too, what cannot be kept exact is refused by clause and line, with a rewrite that is accepted and stays exact."""

import random

import pytest
from tests.maintenance.random_postgres import random_changes
from tests.maintenance.test_refusals import Refusal
from tests.read_store.postgres_world import World, relation

from syncline.errors import UnsupportedQuery
from syncline.read.definition import define_views
from syncline.read.maintain.schema import catalog_of
from syncline.read.view import parse_view
from syncline.testing.postgres import Databases

RELATIONS = [
    relation("sales.orders", "id bigint, customer integer, status text not null, total numeric, day date, note json, extra jsonb", "id"),
    relation("sales.lines", "order_id bigint, n integer, price numeric(10,2), weight double precision, at timestamp with time zone", "order_id, n"),
    relation("crm.customers", "id integer, name text, Region text, since timestamp without time zone, term interval", "id"),
]  # fmt: skip
CATALOG = catalog_of(RELATIONS, "postgres")

REFUSALS: dict[str, Refusal] = {
    "distinct on": Refusal(
        "-- key: customer\nSELECT\n DISTINCT ON (customer) customer, status FROM sales.orders",
        "DISTINCT ON",
        3,
        "ROW_NUMBER()",
        "-- key: customer\nSELECT customer, status FROM (SELECT customer, status, ROW_NUMBER() OVER (PARTITION BY customer ORDER BY day, id) AS n "
        "FROM sales.orders) AS w WHERE n = 1",
    ),
    "lateral": Refusal(
        "-- key: id\nSELECT o.id, l.price FROM sales.orders o\nCROSS JOIN LATERAL (SELECT max(x.price) AS price FROM sales.lines x WHERE x.order_id = o.id) l",
        "LATERAL",
        3,
        "inner SELECT with GROUP BY",
        "-- key: id\nSELECT o.id, l.price FROM sales.orders o LEFT JOIN (SELECT order_id, max(price) AS price FROM sales.lines GROUP BY order_id) AS l "
        "ON l.order_id = o.id",
    ),
    "tablesample": Refusal(
        "-- key: id\nSELECT id FROM sales.orders\nTABLESAMPLE BERNOULLI (10)", "TABLESAMPLE", 2, "Leave it out", "-- key: id\nSELECT id FROM sales.orders"
    ),
    "for update": Refusal("-- key: id\nSELECT id FROM sales.orders FOR UPDATE", "FOR UPDATE", 2, "Leave it out", "-- key: id\nSELECT id FROM sales.orders"),
    "grouping sets": Refusal(
        "-- key: customer, status\nSELECT customer, status, count(*) AS n FROM sales.orders GROUP BY GROUPING SETS ((customer), (status))",
        "GROUPING SETS",
        2,
        "UNION ALL",
        "-- key: kind, customer, status\nSELECT 'c' AS kind, customer, NULL::text AS status, count(*) AS n FROM sales.orders GROUP BY customer "
        "UNION ALL SELECT 's', NULL::integer, status, count(*) FROM sales.orders GROUP BY status",
    ),
    "rollup": Refusal(
        "-- key: customer\nSELECT customer, count(*) AS n FROM sales.orders GROUP BY ROLLUP (customer)",
        "ROLLUP",
        2,
        "UNION ALL",
        "-- key: customer\nSELECT customer, count(*) AS n FROM sales.orders GROUP BY customer",
    ),
    "only": Refusal("-- key: id\nSELECT id FROM ONLY sales.orders", "ONLY", 2, "Leave it out", "-- key: id\nSELECT id FROM sales.orders"),
    "fetch first": Refusal(
        "-- key: id\nSELECT id, status FROM sales.orders\nFETCH FIRST 3 ROWS ONLY",
        "LIMIT",
        3,
        "ROW_NUMBER()",
        "-- key: id\nSELECT id, status FROM (SELECT id, status, ROW_NUMBER() OVER (PARTITION BY status ORDER BY id) AS n FROM sales.orders) AS w WHERE n <= 3",
    ),
    "full join": Refusal(
        "-- key: a, b\nSELECT o.id AS a, c.id AS b FROM sales.orders o\nFULL JOIN crm.customers c ON c.id = o.customer",
        "FULL JOIN",
        3,
        "UNION ALL",
        "-- key: side, a, b\nSELECT 'o' AS side, o.id AS a, c.id AS b FROM sales.orders o LEFT JOIN crm.customers c ON c.id = o.customer "
        "UNION ALL SELECT 'c', NULL::bigint, c.id FROM crm.customers c WHERE NOT EXISTS (SELECT 1 FROM sales.orders o WHERE o.customer = c.id)",
    ),
    "many rows of a function": Refusal(
        "-- key: id\nSELECT id,\n jsonb_array_elements(extra) AS e FROM sales.orders",
        "jsonb_array_elements()",
        3,
        "a table of a service",
        "-- key: id\nSELECT id, extra -> 0 AS e FROM sales.orders",
    ),
    "now": Refusal(
        "-- key: id\nSELECT id FROM sales.orders\nWHERE day < current_date", "current_date", 3, "compare when reading", "-- key: id\nSELECT id, day FROM sales.orders"
    ),
    "string_agg": Refusal(
        "-- key: customer\nSELECT customer,\n string_agg(status, ',') AS s FROM sales.orders GROUP BY customer",
        "string_agg()",
        3,
        "put them together when reading",
        "-- key: customer, id\nSELECT customer, id, status AS s FROM sales.orders",
    ),
    "grouped numeric": Refusal(
        "-- key: total\nSELECT total, count(*) AS n FROM sales.orders\nGROUP BY total",
        "GROUP BY orders.total",
        3,
        "trim_scale(orders.total)",
        "-- key: total\nSELECT trim_scale(total) AS total, count(*) AS n FROM sales.orders GROUP BY trim_scale(orders.total)",
    ),
    "distinct double": Refusal(
        "-- key: weight\nSELECT DISTINCT weight FROM sales.lines",
        "SELECT DISTINCT lines.weight",
        2,
        "CAST(lines.weight AS text)",
        "-- key: weight\nSELECT DISTINCT CAST(weight AS text) AS weight FROM sales.lines",
    ),
    "grouped interval": Refusal(
        "-- key: term\nSELECT term, count(*) AS n FROM crm.customers GROUP BY term",
        "GROUP BY customers.term",
        2,
        "trim_scale(EXTRACT(EPOCH FROM customers.term))",
        "-- key: seconds\nSELECT trim_scale(EXTRACT(EPOCH FROM term)) AS seconds, count(*) AS n FROM crm.customers "
        "GROUP BY trim_scale(EXTRACT(EPOCH FROM customers.term))",
    ),
    "grouped jsonb": Refusal(
        "-- key: extra\nSELECT DISTINCT extra FROM sales.orders",
        "SELECT DISTINCT orders.extra",
        2,
        "CAST(orders.extra AS text)",
        "-- key: extra\nSELECT DISTINCT CAST(extra AS text) AS extra FROM sales.orders",
    ),
    "maximum of numeric": Refusal(
        "-- key: customer\nSELECT customer, max(total) AS top FROM sales.orders GROUP BY customer",
        "MAX orders.total",
        2,
        "trim_scale(orders.total)",
        "-- key: customer\nSELECT customer, max(trim_scale(total)) AS top FROM sales.orders GROUP BY customer",
    ),
    "time zone": Refusal(
        "-- key: day\nSELECT at::date AS day, count(*) AS n FROM sales.lines GROUP BY at::date",
        "lines.at",
        2,
        "(lines.at AT TIME ZONE 'UTC')",
        "-- key: day\nSELECT CAST(at AT TIME ZONE 'UTC' AS date) AS day, count(*) AS n FROM sales.lines GROUP BY CAST(at AT TIME ZONE 'UTC' AS date)",
    ),
    "month of a date": Refusal(
        "-- key: month\nSELECT date_trunc('month', day) AS month, count(*) AS n FROM sales.orders GROUP BY date_trunc('month', day)",
        "date_trunc of the date",
        2,
        "CAST(orders.day AS timestamp)",
        "-- key: month\nSELECT d.month, count(*) AS n FROM (SELECT id, date_trunc('month', CAST(day AS timestamp)) AS month FROM sales.orders) AS d GROUP BY d.month",
    ),
    "what may fail": Refusal(
        "-- key: m\nSELECT date_trunc('month', CAST(day AS timestamp)) AS m, count(*) AS n FROM sales.orders\nGROUP BY date_trunc('month', CAST(day AS timestamp))",
        "DATE_TRUNC",
        2,
        "inner SELECT",
        "-- key: m\nSELECT d.m, count(*) AS n FROM (SELECT id, date_trunc('month', CAST(day AS timestamp)) AS m FROM sales.orders) AS d GROUP BY d.m",
    ),
    "a name that folds": Refusal(
        "-- key: id\nSELECT id,\n Region FROM crm.customers", "column region", 3, '\'"Region"\'', '-- key: id\nSELECT id, "Region" FROM crm.customers'
    ),
    "output in having": Refusal(
        "-- key: customer\nSELECT customer, count(*) AS n FROM sales.orders GROUP BY customer\nHAVING n > 1",
        "column n",
        3,
        "",
        "-- key: customer\nSELECT customer, count(*) AS n FROM sales.orders GROUP BY customer HAVING count(*) > 1",
    ),
    "a column beside another key": Refusal(
        "-- key: customer\nSELECT c.id AS customer, o.status, count(*) AS n FROM crm.customers c JOIN sales.orders o ON o.customer = c.id GROUP BY c.id",
        "o.status",
        2,
        "Add it to GROUP BY",
        "-- key: customer\nSELECT c.id AS customer, c.name, count(*) AS n FROM crm.customers c JOIN sales.orders o ON o.customer = c.id GROUP BY c.id",
    ),
    "a column of json beside its key": Refusal(
        "-- key: id\nSELECT o.id, o.note, count(*) AS n FROM sales.orders o GROUP BY o.id",
        "o.note",
        2,
        "CAST(o.note AS jsonb)",
        "-- key: id\nSELECT o.id, o.extra, count(*) AS n FROM sales.orders o GROUP BY o.id",
    ),
    "union of two types": Refusal(
        "-- key: a\nSELECT status AS a FROM sales.orders UNION SELECT id FROM crm.customers",
        "column a",
        2,
        "CAST(a AS text)",
        "-- key: a\nSELECT status AS a FROM sales.orders UNION SELECT CAST(id AS text) FROM crm.customers",
    ),
    "a cast of text to a date": Refusal(
        "-- key: id\nSELECT id, CAST(status AS date) AS d FROM sales.orders",
        "CAST(orders.status AS date)",
        2,
        "make_date",
        "-- key: id\nSELECT id, status AS d FROM sales.orders",
    ),
    "with that nothing reads": Refusal(
        "-- key: id\nWITH x AS (SELECT id FROM crm.customers)\nSELECT id FROM sales.orders", "WITH x", 2, "Leave it out", "-- key: id\nSELECT id FROM sales.orders"
    ),
    "a function that only another database has": Refusal(
        "-- key: id\nSELECT id,\n ifnull(day, '2024-01-01') AS d FROM sales.orders",
        "ifnull()",
        3,
        "",
        "-- key: id\nSELECT id, coalesce(day, '2024-01-01') AS d FROM sales.orders",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_names_the_clause_its_line_and_what_to_write_instead(name: str) -> None:
    refusal = REFUSALS[name]
    _, refused = define_views([parse_view("refused", refusal.text, "refused.sql")], CATALOG)
    assert len(refused) == 1
    error = refused[0]
    assert isinstance(error, UnsupportedQuery), repr(error)
    assert refusal.clause.lower() in error.clause.lower()
    assert refusal.advice in error.rewrite
    assert error.faults[0].line == refusal.line


def test_the_rewrites_are_accepted_and_stay_exact(postgres: Databases) -> None:
    texts = {f"v{position}": refusal.rewrite for position, refusal in enumerate(REFUSALS.values())}
    rng = random.Random(1)
    world = World(postgres.create("rewrites"), RELATIONS, texts)
    try:
        world.load()
        world.build()
        for _ in range(4):
            service = rng.choice(world.services)
            world.batch(service, *random_changes(rng, world, service))
            assert world.differences() == []
    finally:
        world.close()
