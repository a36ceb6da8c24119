"""What cannot be kept exact is refused when it is defined: clause, line in the file, reason, and a rewrite that works."""

import random
from dataclasses import dataclass

import pytest
from tests.maintenance.mirror_world import World, define, view_of
from tests.maintenance.view_shapes import TABLES

from syncline.errors import InvalidDefinition, UnsupportedQuery
from syncline.read.definition import define_views
from syncline.read.maintain.schema import catalog_of

CATALOG = catalog_of(each.relation for each in TABLES)


@dataclass(frozen=True)
class Refusal:
    """A view, what its refusal must name, on which line of the file, and the view that follows its advice."""

    text: str
    clause: str
    line: int
    advice: str
    rewrite: str


REFUSALS: dict[str, Refusal] = {
    "order by": Refusal(
        "-- key: id\nSELECT id\nFROM shop.orders\nORDER BY id",
        "ORDER BY",
        4,
        "order when reading",
        "-- key: id\nSELECT id FROM shop.orders",
    ),
    "limit": Refusal(
        "-- key: id\nSELECT id, placed\nFROM shop.orders\nLIMIT 3",
        "LIMIT",
        4,
        "ROW_NUMBER()",
        "-- key: id\nSELECT id, placed FROM (SELECT id, placed, ROW_NUMBER() OVER (PARTITION BY placed ORDER BY id) AS n "
        "FROM shop.orders) AS w WHERE n <= 3",
    ),
    "limit inside": Refusal(
        "-- key: id\nSELECT o.id,\n (SELECT p.amount FROM pay.refund p\n  WHERE p.order_id = o.id LIMIT 1) AS amount\nFROM shop.orders o",
        "LIMIT",
        4,
        "ROW_NUMBER()",
        "-- key: id\nSELECT o.id, w.amount FROM shop.orders o LEFT JOIN (SELECT order_id, amount, ROW_NUMBER() OVER (PARTITION BY order_id "
        "ORDER BY amount, id) AS n FROM pay.refund WHERE order_id IS NOT NULL) AS w ON w.order_id = o.id AND w.n = 1",
    ),
    "star": Refusal(
        "-- key: id\nSELECT *\nFROM shop.orders",
        "SELECT *",
        2,
        "List the columns",
        "-- key: id\nSELECT id, customer_id, status, placed, note FROM shop.orders",
    ),
    "star of a table": Refusal(
        "-- key: id\nSELECT count(*) AS n, o.id, 2 * 3 AS six,\n o.*\nFROM shop.orders o GROUP BY o.id",
        "SELECT *",
        3,
        "List the columns",
        "-- key: id\nSELECT count(*) AS n, o.id, 2 * 3 AS six FROM shop.orders o GROUP BY o.id",
    ),
    "now": Refusal(
        "-- key: id\nSELECT id,\n date('now') AS today\nFROM pay.refund",
        "date()",
        3,
        "a table of a service",
        "-- key: id\nSELECT id, date(day) AS that_day FROM pay.refund",
    ),
    "current_timestamp": Refusal(
        "-- key: id\nSELECT id\nFROM pay.refund WHERE day < CURRENT_TIMESTAMP",
        "current",
        3,
        "compare when reading",
        "-- key: id\nSELECT id, day FROM pay.refund",
    ),
    "random": Refusal(
        "-- key: id\nSELECT id, random() AS r FROM pay.refund",
        "random",
        2,
        "a table of a service",
        "-- key: id\nSELECT id, amount AS r FROM pay.refund",
    ),
    "group_concat": Refusal(
        "-- key: status\nSELECT status,\n group_concat(id) AS ids FROM shop.orders GROUP BY status",
        "group",
        3,
        "put them together when reading",
        "-- key: status, id\nSELECT status, id FROM shop.orders",
    ),
    "json_group_array": Refusal(
        "-- key: status\nSELECT status, json_group_array(id) AS ids FROM shop.orders GROUP BY status",
        "json",
        2,
        "put them together when reading",
        "-- key: status, id\nSELECT status, id FROM shop.orders",
    ),
    "recursive": Refusal(
        "-- key: sku\nWITH RECURSIVE up AS (SELECT sku, parent FROM stock.item UNION SELECT i.sku, u.parent FROM stock.item i "
        "JOIN up u ON u.sku = i.parent)\nSELECT sku, parent FROM up",
        "WITH RECURSIVE",
        2,
        "Leave out RECURSIVE",
        "-- key: sku\nWITH up AS (SELECT sku, parent FROM stock.item) SELECT sku, parent FROM up",
    ),
    "full join": Refusal(
        "-- key: oid, pid\nSELECT o.id AS oid, p.order_id AS pid\nFROM shop.orders o\nFULL JOIN pay.payment p ON p.order_id = o.id",
        "FULL JOIN",
        4,
        "UNION ALL",
        "-- key: side, oid, pid\nSELECT 'o' AS side, o.id AS oid, p.order_id AS pid FROM shop.orders o LEFT JOIN pay.payment p ON p.order_id = o.id "
        "UNION ALL SELECT 'p', NULL, p.order_id FROM pay.payment p WHERE NOT EXISTS (SELECT 1 FROM shop.orders o WHERE o.id = p.order_id)",
    ),
    "natural join": Refusal(
        "-- key: order_id\nSELECT order_id FROM pay.payment\nNATURAL JOIN stock.reservation",
        "NATURAL JOIN",
        3,
        "USING",
        "-- key: order_id\nSELECT order_id FROM pay.payment JOIN stock.reservation USING (order_id)",
    ),
    "late right join": Refusal(
        "-- key: id\nSELECT c.id FROM shop.orders o JOIN pay.payment p ON p.order_id = o.id\nRIGHT JOIN shop.customer c ON c.id = o.customer_id",
        "RIGHT JOIN",
        3,
        "write LEFT JOIN",
        "-- key: id, oid\nSELECT c.id, d.id AS oid FROM shop.customer c LEFT JOIN (SELECT o.id, o.customer_id FROM shop.orders o "
        "JOIN pay.payment p ON p.order_id = o.id) AS d ON d.customer_id = c.id",
    ),
    "join in parentheses": Refusal(
        "-- key: id\nSELECT o.id FROM shop.orders o\nLEFT JOIN (pay.payment p JOIN stock.reservation r ON r.order_id = p.order_id) ON p.order_id = o.id",
        "FROM ( … JOIN … )",
        3,
        "(SELECT columns FROM … JOIN …) AS name",
        "-- key: id, rid\nSELECT o.id, d.rid FROM shop.orders o LEFT JOIN (SELECT p.order_id, r.id AS rid FROM pay.payment p JOIN stock.reservation r "
        "ON r.order_id = p.order_id) AS d ON d.order_id = o.id",
    ),
    "table function": Refusal(
        "-- key: id\nSELECT o.id FROM shop.orders o\nJOIN json_each(o.note) j ON j.value = o.id",
        "FROM",
        3,
        "a table of a service",
        "-- key: id\nSELECT o.id FROM shop.orders o WHERE o.note = o.id",
    ),
    "cross join": Refusal(
        "-- key: id, order_id\nSELECT o.id, p.order_id FROM shop.orders o\nJOIN pay.payment p ON p.amount > o.placed",
        "JOIN p",
        3,
        "Add an equality",
        "-- key: id, order_id\nSELECT o.id, p.order_id FROM shop.orders o JOIN pay.payment p ON p.amount > o.placed AND p.order_id = o.customer_id",
    ),
    "cross join, whole": Refusal(
        "-- key: id, order_id\nSELECT o.id, p.order_id FROM shop.orders o JOIN pay.payment p ON p.amount > o.placed",
        "JOIN p",
        2,
        "recompute: whole",
        "-- key: id, order_id\n-- recompute: whole\nSELECT o.id, p.order_id FROM shop.orders o JOIN pay.payment p ON p.amount > o.placed",
    ),
    "uncorrelated subquery": Refusal(
        "-- key: id\nSELECT id FROM shop.orders\nWHERE placed > (SELECT avg(l.n) FROM shop.line l)",
        "subquery over l",
        3,
        "recompute: whole",
        "-- key: id\n-- recompute: whole\nSELECT id FROM shop.orders WHERE placed > (SELECT avg(l.n) FROM shop.line l)",
    ),
    "global aggregate": Refusal(
        "-- key:\nSELECT count(*) AS n FROM shop.orders",
        "aggregate without GROUP BY",
        2,
        "recompute: whole",
        "-- key:\n-- recompute: whole\nSELECT count(*) AS n FROM shop.orders",
    ),
    "whole with an inner select": Refusal(
        "-- key:\n-- recompute: whole\nSELECT count(*) AS n FROM (SELECT DISTINCT status FROM shop.orders) AS d",
        "recompute: whole",
        3,
        "a view of its own",
        "-- key: status\nSELECT DISTINCT status FROM shop.orders",
    ),
    "not in with nulls": Refusal(
        "-- key: id\nSELECT id FROM shop.orders\nWHERE id NOT IN (SELECT r.order_id FROM pay.refund r)",
        "subquery over r",
        3,
        "NOT EXISTS",
        "-- key: id\nSELECT o.id FROM shop.orders o WHERE NOT EXISTS (SELECT 1 FROM pay.refund r WHERE r.order_id = o.id)",
    ),
    "in as a value": Refusal(
        "-- key: id\nSELECT id, customer_id IN (SELECT c.id FROM shop.customer c) AS known FROM shop.orders",
        "subquery over c",
        2,
        "EXISTS",
        "-- key: id\nSELECT o.id, EXISTS (SELECT 1 FROM shop.customer c WHERE c.id = o.customer_id) AS known FROM shop.orders o",
    ),
    "window without partition": Refusal(
        "-- key: id\nSELECT id,\n row_number() OVER (ORDER BY id) AS n FROM shop.orders",
        "OVER",
        3,
        "PARTITION BY",
        "-- key: id\nSELECT id, row_number() OVER (PARTITION BY status ORDER BY id) AS n FROM shop.orders",
    ),
    "window with ties": Refusal(
        "-- key: id\nSELECT id,\n row_number() OVER (PARTITION BY status ORDER BY placed) AS n FROM shop.orders",
        "ROW_NUMBER()",
        3,
        "Add orders.id",
        "-- key: id\nSELECT id, row_number() OVER (PARTITION BY status ORDER BY placed, id) AS n FROM shop.orders",
    ),
    "two partitions": Refusal(
        "-- key: id\nSELECT id, count(*) OVER (PARTITION BY status) AS a,\n count(*) OVER (PARTITION BY placed) AS b FROM shop.orders",
        "PARTITION BY",
        3,
        "inner SELECT",
        "-- key: id\nSELECT id, a, count(*) OVER (PARTITION BY placed) AS b FROM (SELECT id, placed, count(*) OVER (PARTITION BY status) AS a "
        "FROM shop.orders) AS w",
    ),
    "bare column": Refusal(
        "-- key: status\nSELECT status,\n placed FROM shop.orders GROUP BY status",
        "orders.placed",
        3,
        "MAX(placed)",
        "-- key: status\nSELECT status, MAX(placed) AS placed FROM shop.orders GROUP BY status",
    ),
    "bare column in a subquery": Refusal(
        "-- key: status\nSELECT o.status,\n (SELECT p.amount FROM pay.payment p WHERE p.order_id = o.id) AS amount FROM shop.orders o GROUP BY o.status",
        "o.id",
        3,
        "Add it to GROUP BY",
        "-- key: status, id\nSELECT o.status, o.id, (SELECT p.amount FROM pay.payment p WHERE p.order_id = o.id) AS amount FROM shop.orders o "
        "GROUP BY o.status, o.id",
    ),
    "several rows in a scalar subquery": Refusal(
        "-- key: id\nSELECT c.id,\n (SELECT o.placed FROM shop.orders o WHERE o.customer_id = c.id) AS placed FROM shop.customer c",
        "(SELECT o.placed",
        3,
        "MAX(",
        "-- key: id\nSELECT c.id, (SELECT MAX(o.placed) FROM shop.orders o WHERE o.customer_id = c.id) AS placed FROM shop.customer c",
    ),
    "outer aggregate": Refusal(
        "-- key: status\nSELECT o.status, (SELECT sum(o.placed) FROM pay.payment p WHERE p.order_id = 1) AS s FROM shop.orders o GROUP BY o.status",
        "SUM(o.placed)",
        2,
        "inner SELECT",
        "-- key: status\nSELECT d.status, d.s FROM (SELECT o.status, sum(o.placed) AS s FROM shop.orders o GROUP BY o.status) AS d",
    ),
    "grouped without case": Refusal(
        "-- key: sku\nSELECT sku, count(*) AS n FROM shop.line\nGROUP BY sku",
        "GROUP BY line.sku",
        3,
        "lower(",
        "-- key: sku\nSELECT lower(sku) AS sku, count(*) AS n FROM shop.line GROUP BY lower(line.sku)",
    ),
    "grouped by an explicit collation": Refusal(
        "-- key: name\nSELECT name COLLATE NOCASE AS name, count(*) AS n FROM shop.customer GROUP BY name COLLATE NOCASE",
        "GROUP BY",
        2,
        "lower(",
        "-- key: name\nSELECT lower(name) AS name, count(*) AS n FROM shop.customer GROUP BY lower(customer.name)",
    ),
    "grouped without a type": Refusal(
        "-- key: note\nSELECT note, count(*) AS n FROM shop.orders GROUP BY note",
        "GROUP BY orders.note",
        2,
        "CAST(orders.note AS TEXT)",
        "-- key: note\nSELECT CAST(note AS TEXT) AS note, count(*) AS n FROM shop.orders GROUP BY CAST(orders.note AS TEXT)",
    ),
    "maximum without case": Refusal(
        "-- key: order_id\nSELECT order_id, max(sku) AS last FROM shop.line GROUP BY order_id",
        "MAX",
        2,
        "lower(",
        "-- key: order_id\nSELECT order_id, max(lower(sku)) AS last FROM shop.line GROUP BY order_id",
    ),
    "distinct without a type": Refusal(
        "-- key: v\nSELECT DISTINCT v FROM stock.loose",
        "SELECT DISTINCT",
        2,
        "AS TEXT",
        "-- key: v\nSELECT DISTINCT CAST(v AS TEXT) AS v FROM stock.loose",
    ),
    "union of two types": Refusal(
        "-- key: a\nSELECT name AS a FROM shop.customer UNION SELECT amount FROM pay.payment",
        "column a",
        2,
        "CAST",
        "-- key: a\nSELECT CAST(name AS TEXT) AS a FROM shop.customer UNION SELECT CAST(amount AS TEXT) FROM pay.payment",
    ),
    "union of a count": Refusal(
        "-- key: a\nSELECT rank AS a FROM shop.customer UNION SELECT count(*) FROM pay.payment GROUP BY method",
        "column a",
        2,
        "CAST",
        "-- key: a\nSELECT rank AS a FROM shop.customer UNION SELECT CAST(count(*) AS INTEGER) FROM pay.payment GROUP BY method",
    ),
    "union all without a literal": Refusal(
        "-- key: id\nSELECT id FROM shop.customer UNION ALL SELECT id FROM shop.orders",
        "key: id",
        2,
        "a literal that differs in each branch",
        "-- key: kind, id\nSELECT 'a' AS kind, id FROM shop.customer UNION ALL SELECT 'b', id FROM shop.orders",
    ),
    "union key": Refusal(
        "-- key: id\nSELECT id, name AS n FROM shop.customer UNION SELECT id, status FROM shop.orders",
        "key: id",
        2,
        "-- key: id, n",
        "-- key: id, n\nSELECT id, name AS n FROM shop.customer UNION SELECT id, status FROM shop.orders",
    ),
    "mixed compound": Refusal(
        "-- key: id\nSELECT id FROM shop.customer UNION ALL SELECT id FROM shop.orders EXCEPT SELECT order_id FROM pay.payment",
        "UNION ALL",
        2,
        "an inner SELECT",
        "-- key: id\nSELECT d.id FROM (SELECT id FROM shop.customer UNION SELECT id FROM shop.orders) AS d EXCEPT SELECT order_id FROM pay.payment",
    ),
    "uneven compound": Refusal(
        "-- key: id\nSELECT id FROM shop.customer UNION SELECT id, status FROM shop.orders",
        "UNION",
        2,
        "Select as many",
        "-- key: id\nSELECT id FROM shop.customer UNION SELECT id FROM shop.orders",
    ),
    "compound in a subquery": Refusal(
        "-- key: id\nSELECT id FROM shop.orders WHERE id IN (SELECT order_id FROM pay.payment UNION SELECT order_id FROM shop.line)",
        "UNION in a subquery",
        2,
        "joined by OR",
        "-- key: id\nSELECT id FROM shop.orders WHERE id IN (SELECT order_id FROM pay.payment) OR id IN (SELECT order_id FROM shop.line)",
    ),
    "key not proven": Refusal(
        "-- key: id\nSELECT o.id, l.n FROM shop.orders o JOIN shop.line l ON l.order_id = o.id",
        "key: id",
        2,
        "Add that to the SELECT and the key",
        "-- key: id, n\nSELECT o.id, l.n FROM shop.orders o JOIN shop.line l ON l.order_id = o.id",
    ),
    "constant group": Refusal(
        "-- key: x\nSELECT 'all' AS x, count(*) AS n FROM shop.orders GROUP BY 'all'",
        "'all'",
        2,
        "recompute: whole",
        "-- key:\n-- recompute: whole\nSELECT count(*) AS n FROM shop.orders",
    ),
    "cast": Refusal(
        "-- key: id\nSELECT id, CAST(placed AS NUMERIC) AS p FROM shop.orders",
        "CAST",
        2,
        "INTEGER, REAL, TEXT or BLOB",
        "-- key: id\nSELECT id, CAST(placed AS REAL) AS p FROM shop.orders",
    ),
    "parameter": Refusal(
        "-- key: id\nSELECT id FROM shop.orders WHERE placed = :day",
        ":day",
        2,
        "filter when reading",
        "-- key: id\nSELECT id, placed FROM shop.orders",
    ),
    "values": Refusal(
        "-- key: a\nSELECT v.a FROM (VALUES (1)) AS v",
        "VALUES",
        2,
        "a table of a service",
        "-- key: a\nSELECT id AS a FROM shop.orders",
    ),
    "no from": Refusal("-- key: a\nSELECT 1 AS a", "SELECT without FROM", 2, "Leave the view out", "-- key: a\nSELECT id AS a FROM shop.orders"),
    "no name": Refusal(
        "-- key: id\nSELECT id,\n placed + 1 FROM shop.orders",
        "column 2",
        3,
        "Add AS name",
        "-- key: id\nSELECT id, placed + 1 AS p FROM shop.orders",
    ),
    "ambiguous column": Refusal(
        "-- key: id\nSELECT o.id,\n status FROM shop.orders o JOIN stock.reservation r ON r.order_id = o.id",
        "column status",
        3,
        "o.status or r.status",
        "-- key: id\nSELECT o.id, o.status FROM shop.orders o JOIN stock.reservation r ON r.order_id = o.id",
    ),
    "unknown column": Refusal(
        "-- key: id\nSELECT id,\n statis FROM shop.orders",
        "column statis",
        3,
        "Did you mean 'status'",
        "-- key: id\nSELECT id, status FROM shop.orders",
    ),
    "unknown table": Refusal(
        "-- key: id\nSELECT id FROM shop.order",
        "FROM shop.order",
        2,
        "Did you mean 'shop.orders'",
        "-- key: id\nSELECT id FROM shop.orders",
    ),
    "unary plus": Refusal(
        "-- key: id\nSELECT id FROM shop.orders\nWHERE +placed = 1",
        "+",
        3,
        "Leave it out",
        "-- key: id\nSELECT id FROM shop.orders WHERE placed = 1",
    ),
    "mod": Refusal(
        "-- key: id\nSELECT id, mod(placed, 2) AS odd FROM shop.orders",
        "mod()",
        2,
        "a % b",
        "-- key: id\nSELECT id, placed % 2 AS odd FROM shop.orders",
    ),
    "named window": Refusal(
        "-- key: id\nSELECT id, count(*) OVER w AS n FROM shop.orders WINDOW w AS (PARTITION BY status)",
        "OVER w",
        2,
        "written out in OVER",
        "-- key: id\nSELECT id, count(*) OVER (PARTITION BY status) AS n FROM shop.orders",
    ),
    "inner with": Refusal(
        "-- key: id\nSELECT d.id FROM (WITH x AS (SELECT id FROM shop.orders) SELECT id FROM x UNION SELECT id FROM shop.customer) AS d",
        "WITH inside",
        2,
        "Move it to the top",
        "-- key: id\nWITH x AS (SELECT id FROM shop.orders) SELECT d.id FROM (SELECT id FROM x UNION SELECT id FROM shop.customer) AS d",
    ),
    "with that nothing reads": Refusal(
        "-- key: id\nWITH x AS (SELECT id FROM shop.customer)\nSELECT id FROM shop.orders",
        "WITH x",
        2,
        "Leave it out",
        "-- key: id\nSELECT id FROM shop.orders",
    ),
    "with that reads itself": Refusal(
        "-- key: id\nWITH x AS (SELECT id FROM x) SELECT id FROM x",
        "FROM x",
        2,
        "before those that read it",
        "-- key: id\nWITH x AS (SELECT id FROM shop.orders) SELECT id FROM x",
    ),
    "computed value compared with text": Refusal(
        "-- key: id, n\nSELECT c.id, d.n FROM (SELECT status, count(*) AS n FROM shop.orders GROUP BY status) AS d\nJOIN shop.customer c ON c.name = d.n AND c.region = d.status",
        "d.n compared with c.name",
        3,
        "CAST it AS TEXT",
        "-- key: id, status\nSELECT c.id, d.status, d.n FROM (SELECT status, CAST(count(*) AS TEXT) AS n FROM shop.orders GROUP BY status) AS d "
        "JOIN shop.customer c ON c.name = d.n AND c.region = d.status",
    ),
    "grouped by what may fail": Refusal(
        "-- key: k\nSELECT CAST(json_extract(note, '$.k') AS TEXT) AS k, count(*) AS n FROM shop.orders\nGROUP BY CAST(json_extract(note, '$.k') AS TEXT)",
        "JSON_EXTRACT",
        2,
        "inner SELECT",
        "-- key: k\nSELECT d.k, count(*) AS n FROM (SELECT id, CAST(CASE WHEN json_valid(note) THEN json_extract(note, '$.k') END AS TEXT) AS k "
        "FROM shop.orders) AS d GROUP BY d.k",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_names_the_clause_its_line_and_what_to_write_instead(name: str) -> None:
    refusal = REFUSALS[name]
    _, refused = define_views([view_of("refused", refusal.text)], CATALOG)
    assert len(refused) == 1
    error = refused[0]
    assert isinstance(error, UnsupportedQuery), repr(error)
    assert refusal.clause.lower() in error.clause.lower()
    assert refusal.advice in error.rewrite
    assert error.faults[0].file == "refused.sql"
    assert error.faults[0].line == refusal.line


@pytest.mark.parametrize("name", REFUSALS)
def test_the_rewrite_is_accepted_and_stays_exact(name: str) -> None:
    world = World(random.Random(name), TABLES, define([view_of("rewritten", REFUSALS[name].rewrite)], TABLES))
    world.build_all()
    while world.batches < 8:
        world.step()
    world.finish()
    world.close()


def test_a_view_over_a_refused_view_says_so() -> None:
    views = [
        view_of("parent", "-- key: id\nSELECT id FROM shop.orders ORDER BY id"),
        view_of("child", "-- key: id\nSELECT id FROM parent"),
    ]
    made, refused = define_views(views, CATALOG)
    assert made == []
    assert [str(error).partition(":")[0] for error in refused] == ["parent.sql", "child.sql"]
    assert "'parent' is refused itself" in str(refused[1])


def test_views_that_read_each_other_are_refused_and_named() -> None:
    views = [
        view_of("one", "-- key: id\nSELECT id FROM two"),
        view_of("two", "-- key: id\nSELECT id FROM one"),
        view_of("itself", "-- key: id\nSELECT id FROM itself"),
    ]
    made, refused = define_views(views, CATALOG)
    assert made == []
    assert all("read each other" in str(error) for error in refused)


def test_no_views_at_all_are_no_error() -> None:
    assert define_views([], CATALOG) == ([], [])


def test_a_view_that_follows_what_it_reads_in_the_list_is_defined_all_the_same() -> None:
    views = [view_of("child", "-- key: id\nSELECT id FROM parent"), view_of("parent", "-- key: id\nSELECT id FROM shop.orders")]
    made, refused = define_views(views, CATALOG)
    assert [definition.view.name for definition in made] == ["parent", "child"]
    assert refused == []


def test_a_key_that_is_not_selected_is_refused() -> None:
    _, (error,) = define_views([view_of("v", "-- key: nr\nSELECT id FROM shop.orders")], CATALOG)
    assert isinstance(error, InvalidDefinition)
    assert "key: nr" in str(error)


def test_sums_that_may_count_a_row_twice_are_warned_about() -> None:
    text = (
        "-- key: id\nSELECT o.id, sum(p.amount) AS paid, count(l.n) AS lines FROM shop.orders o LEFT JOIN pay.refund p ON p.order_id = o.id "
        "LEFT JOIN shop.line l ON l.order_id = o.id GROUP BY o.id"
    )
    (definition,) = define([view_of("v", text)], TABLES)
    assert "may count a row more than once" in definition.own_plan.warnings[0]


@pytest.mark.parametrize("sum_", ["sum(paid)", "avg(paid)", "total(paid)", "sum(amount * 1.5)", "sum(DISTINCT paid)"])
def test_sums_whose_last_digits_depend_on_the_order_of_rows_are_warned_about(sum_: str) -> None:
    (definition,) = define([view_of("v", f"-- key: method\nSELECT method, {sum_} AS s FROM pay.payment GROUP BY method")], TABLES)
    assert "may add REAL values" in definition.own_plan.warnings[0]


@pytest.mark.parametrize(
    "sum_", ["sum(amount)", "avg(amount)", "total(amount + 1)", "sum(DISTINCT amount)", "count(paid)", "max(paid)"]
)
def test_sums_of_integers_are_not(sum_: str) -> None:
    (definition,) = define([view_of("v", f"-- key: method\nSELECT method, {sum_} AS s FROM pay.payment GROUP BY method")], TABLES)
    assert definition.own_plan.warnings == ()
