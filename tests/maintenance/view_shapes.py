"""Three services and views of every shape over them: the fixed part of what the maintenance tests try.

Small domains, so that collisions, moves between groups and lost matches are common.
"""

from tests.maintenance.mirror_world import Table, number, one_of, table

_IDS = number(1, 8)
_MAYBE_ID = number(1, 8, nulls=0.25)
_SKU = one_of("a", "A", "b", "B ", "c", "É", "é")
_WORD = one_of("x", "X", "y", "", None, "z ", "10")
_AMOUNT = one_of(0, 1, 2, 3, 10, -5, None, 2**53 + 1)
_HALVES = one_of(0.5, 1.0, 2, -0.25, None, 1e3)
_ANYTHING = one_of(1, 1.0, "1", b"1", "", b"", None, "a", "A", 0, -1, 2**60, 1.5, "1.0")

TABLES: tuple[Table, ...] = (
    table("shop.customer", [("id INTEGER", _IDS), ("name TEXT", _WORD), ("region TEXT", _WORD), ("rank INTEGER", _AMOUNT)], ["id"]),
    table(
        "shop.orders",
        [
            ("id INTEGER", _IDS),
            ("customer_id INTEGER", _MAYBE_ID),
            ("status TEXT NOT NULL", one_of("new", "paid", "")),
            ("placed INTEGER", number(1, 3, nulls=0.2)),
            ("note", _ANYTHING),
        ],
        ["id"],
    ),
    table(
        "shop.line",
        [
            ("order_id INTEGER NOT NULL", _IDS),
            ("n INTEGER NOT NULL", number(1, 3)),
            ("sku TEXT COLLATE NOCASE", _SKU),
            ("quantity INTEGER", number(0, 3, nulls=0.1)),
            ("price INTEGER", _AMOUNT),
        ],
        ["order_id", "n"],
        without_rowid=True,
    ),
    table(
        "stock.item",
        [
            ("sku TEXT COLLATE NOCASE NOT NULL", _SKU),
            ("title TEXT", _WORD),
            ("weight REAL", _HALVES),
            ("parent TEXT COLLATE NOCASE", one_of("a", "A", "b", "c", "É", None)),
        ],
        ["sku"],
    ),
    table(
        "stock.reservation",
        [("id INTEGER", _IDS), ("order_id INTEGER NOT NULL", _IDS), ("status TEXT", _WORD), ("sku TEXT", _SKU)],
        ["id"],
        [["order_id"]],
    ),
    table("stock.loose", [("k NOT NULL", one_of(1, 1.0, "1", b"1", "a", "A", 2, 2.5, "")), ("v", _ANYTHING), ("w NUMERIC", _ANYTHING)], ["k"]),
    table("pay.payment", [("order_id INTEGER", _IDS), ("amount INTEGER", _AMOUNT), ("method TEXT", _WORD), ("paid REAL", _HALVES)], ["order_id"]),
    table(
        "pay.refund",
        [("id TEXT NOT NULL", one_of("r1", "r2", "R1", "1", "é")), ("order_id INTEGER", _MAYBE_ID), ("amount INTEGER", _AMOUNT), ("day TEXT", one_of("2024-01-31", "2024-02-29", "2024-13-01", None))],
        ["id"],
        without_rowid=True,
    ),
)  # fmt: skip

SHAPES: dict[str, str] = {
    # -- filter and projection
    "filtered": "-- key: id\nSELECT id, status, placed FROM shop.orders WHERE status <> '' AND (placed > 1 OR placed IS NULL)",
    "untyped_rows": "-- key: k\nSELECT k, v, w, typeof(v) AS kind, v IS NULL AS lacks FROM stock.loose",
    "untyped_filter": "-- key: k\nSELECT k, w FROM stock.loose WHERE v = 1 OR v = '1' OR w >= 1.5",
    "renamed_key": "-- key: number\n-- index: s\nSELECT id AS number, upper(status) AS s, note FROM shop.orders",
    "computed": (
        "-- key: order_id, n\nSELECT order_id, n, quantity * price AS cents, coalesce(quantity, 0) + 1 AS more, "
        "CASE WHEN price > 2 THEN 'dear' WHEN price IS NULL THEN NULL ELSE 'cheap' END AS band, sku || '!' AS loud "
        "FROM shop.line WHERE quantity BETWEEN 1 AND 3"
    ),
    "composite_where": "-- key: n, order_id\nSELECT order_id, n, sku FROM shop.line WHERE sku IN ('A', 'b ') OR sku LIKE 'é'",
    "nocase_key": "-- key: sku\nSELECT sku, title, weight, round(weight * 2) AS twice FROM stock.item WHERE title IS NOT NULL",
    "text_key": "-- key: id\nSELECT id, date(day, '+1 day') AS next, strftime('%m', day) AS month FROM pay.refund",
    "constant_row": "-- key: id\nSELECT id, 'fixed' AS kind, NULL AS nil, x'00ff' AS bytes FROM shop.customer",
    # -- inner joins
    "two_services": (
        "-- key: order_id\nSELECT p.order_id, p.amount, o.status FROM pay.payment p JOIN shop.orders o ON o.id = p.order_id"
    ),
    "three_inner": (
        "-- key: order_id, n\nSELECT l.order_id, l.n, o.status, c.name FROM shop.line l JOIN shop.orders o ON o.id = l.order_id "
        "JOIN shop.customer c ON c.id = o.customer_id WHERE c.name <> ''"
    ),
    "comma_join": "-- key: id, rid\nSELECT o.id, r.id AS rid FROM shop.orders o, pay.refund r WHERE r.order_id = o.id AND r.amount > 0",
    "many_to_many": (
        "-- key: id, order_id\nSELECT r.id, p.order_id, p.method FROM pay.refund r JOIN pay.payment p ON p.amount = r.amount"
    ),
    "nocase_join": (
        "-- key: order_id, n\nSELECT l.order_id, l.n, l.sku, i.sku AS item, i.title FROM shop.line l JOIN stock.item i ON i.sku = l.sku"
    ),
    "mixed_collation": (
        "-- key: id, sku\nSELECT r.id, i.sku, i.title FROM stock.reservation r JOIN stock.item i ON i.sku = r.sku"
    ),
    "mixed_collation_other": (
        "-- key: id, sku\nSELECT r.id, i.sku, i.title FROM stock.item i JOIN stock.reservation r ON r.sku = i.sku"
    ),
    "mixed_collation_left": (
        "-- key: sku, id\nSELECT i.sku, r.id, r.status FROM stock.item i LEFT JOIN stock.reservation r ON r.sku = i.sku"
    ),
    "explicit_collation": (
        "-- key: id, cid\nSELECT o.id, c.id AS cid FROM shop.orders o JOIN shop.customer c ON c.name = o.status COLLATE NOCASE "
        "OR (c.name = o.status) JOIN stock.reservation r ON r.id = o.id AND r.id = c.id"
    ),
    "mixed_types": (
        "-- key: k, id\nSELECT l.k, o.id, o.note FROM stock.loose l JOIN shop.orders o ON o.id = l.k"
    ),
    "untyped_join": "-- key: k, id\nSELECT l.k, o.id FROM stock.loose l JOIN shop.orders o ON o.note = l.v",
    "using_join": (
        "-- key: order_id\nSELECT order_id, p.amount, r.id AS rid FROM pay.payment p JOIN stock.reservation r USING (order_id)"
    ),
    "expression_join": (
        "-- key: id, order_id\nSELECT c.id, p.order_id FROM shop.customer c JOIN pay.payment p ON p.order_id + 1 = c.id * 2"
    ),
    "is_join": "-- key: id, rid\nSELECT o.id, r.id AS rid FROM shop.orders o JOIN pay.refund r ON r.order_id = o.id AND r.amount IS o.placed",
    # -- self joins
    "self_parent": (
        "-- key: sku\nSELECT i.sku, i.title, p.title AS parent_title FROM stock.item i JOIN stock.item p ON p.sku = i.parent"
    ),
    "self_three": (
        "-- key: sku\nSELECT i.sku, p.title AS up, g.title AS top FROM stock.item i "
        "LEFT JOIN stock.item p ON p.sku = i.parent LEFT JOIN stock.item g ON g.sku = p.parent"
    ),
    "self_pairs": (
        "-- key: a, b\nSELECT x.id AS a, y.id AS b FROM shop.customer x JOIN shop.customer y ON y.region = x.region AND y.id > x.id"
    ),
    # -- outer joins
    "left_one": "-- key: id\nSELECT o.id, o.status, p.amount, p.paid FROM shop.orders o LEFT JOIN pay.payment p ON p.order_id = o.id",
    "left_extra_on": (
        "-- key: id\nSELECT o.id, p.amount, p.order_id IS NULL AS unpaid FROM shop.orders o "
        "LEFT JOIN pay.payment p ON p.order_id = o.id AND p.amount > o.placed AND o.status <> 'new'"
    ),
    "left_chain": (
        "-- key: id\nSELECT o.id, c.name, p.method, r.status AS reserved FROM shop.orders o "
        "LEFT JOIN shop.customer c ON c.id = o.customer_id LEFT JOIN pay.payment p ON p.order_id = c.rank "
        "LEFT JOIN stock.reservation r ON r.order_id = p.amount"
    ),
    "left_many": (
        "-- key: id, rid\nSELECT o.id, r.id AS rid, r.amount FROM shop.orders o LEFT JOIN pay.refund r ON r.order_id = o.id"
    ),
    "left_then_inner": (
        "-- key: id\nSELECT o.id, p.amount, c.name FROM shop.orders o LEFT JOIN pay.payment p ON p.order_id = o.id "
        "JOIN shop.customer c ON c.id = p.amount"
    ),
    "left_where_null": (
        "-- key: id\nSELECT c.id, c.name FROM shop.customer c LEFT JOIN shop.orders o ON o.customer_id = c.id WHERE o.id IS NULL"
    ),
    "left_gated": (
        "-- key: id\nSELECT o.id, c.name, c2.name AS other FROM shop.orders o LEFT JOIN shop.customer c ON c.id = o.customer_id "
        "LEFT JOIN shop.customer c2 ON c2.id = o.placed AND c.rank = c2.rank"
    ),
    "right_join": "-- key: oid\nSELECT c.id, o.id AS oid, o.status FROM shop.customer c RIGHT JOIN shop.orders o ON o.customer_id = c.id",
    "right_then_left": (
        "-- key: id\nSELECT o.id, c.name, p.amount FROM shop.customer c RIGHT JOIN shop.orders o ON o.customer_id = c.id AND c.rank > 0 "
        "LEFT JOIN pay.payment p ON p.order_id = o.id WHERE o.status <> 'x'"
    ),
    # -- groups
    "grouped": (
        "-- key: status\nSELECT status, count(*) AS n, count(placed) AS known, sum(placed) AS total, min(placed) AS low, "
        "max(placed) AS high, avg(placed) AS mean, total(placed) AS sure FROM shop.orders GROUP BY status"
    ),
    "grouped_nulls": (
        "-- key: region, name\nSELECT region, name, count(*) AS n, sum(rank) AS ranks, group_count.more FROM shop.customer "
        "GROUP BY 1, 2"
    ).replace(", group_count.more", ""),
    "having_filter": (
        "-- key: customer_id\nSELECT customer_id, count(*) FILTER (WHERE status = 'paid') AS paid, count(DISTINCT placed) AS days, "
        "sum(DISTINCT placed) AS odd FROM shop.orders GROUP BY customer_id HAVING count(*) > 1 AND max(placed) IS NOT NULL"
    ),
    "grouped_expression": (
        "-- key: letter, big\nSELECT lower(substr(sku, 1, 1)) AS letter, quantity > 1 AS big, count(*) AS n, sum(price) AS cents "
        "FROM shop.line GROUP BY lower(substr(sku, 1, 1)), quantity > 1"
    ),
    "grouped_alias": "-- key: kind\nSELECT coalesce(name, '-') AS kind, count(*) AS n FROM shop.customer GROUP BY kind HAVING n < 4",
    "grouped_two_tables": (
        "-- key: place, status\nSELECT coalesce(c.region, 'none') || o.status AS place, o.status, count(*) AS n "
        "FROM shop.orders o LEFT JOIN shop.customer c ON c.id = o.customer_id GROUP BY coalesce(c.region, 'none') || o.status, o.status"
    ),
    "grouped_optional": (
        "-- key: name\nSELECT c.name, count(*) AS n, sum(p.amount) AS paid FROM pay.payment p LEFT JOIN shop.orders o ON o.id = p.order_id "
        "LEFT JOIN shop.customer c ON c.id = o.customer_id GROUP BY c.name"
    ),
    "grouped_sums_real": "-- key: method\nSELECT method, sum(paid) AS paid, avg(paid) AS mean, max(paid) AS most FROM pay.payment GROUP BY method",
    "issue_view": (
        "-- key: order_id\nSELECT o.id AS order_id, c.name, o.status, SUM(l.quantity * l.price) AS total, COUNT(l.n) AS lines, "
        "r.status AS reservation, p.amount AS payment FROM shop.orders o LEFT JOIN shop.customer c ON c.id = o.customer_id "
        "LEFT JOIN shop.line l ON l.order_id = o.id LEFT JOIN stock.reservation r ON r.order_id = o.id "
        "LEFT JOIN pay.payment p ON p.order_id = o.id GROUP BY o.id, c.name, o.status, r.status, p.amount"
    ),
    "grouped_negation": "-- key: g\nSELECT NOT placed AS g, count(*) AS n FROM shop.orders GROUP BY NOT placed",
    "grouped_either": "-- key: g\nSELECT placed > 1 OR customer_id IS NULL AS g, count(*) AS n FROM shop.orders GROUP BY placed > 1 OR customer_id IS NULL",
    "grouped_between": "-- key: g\nSELECT placed BETWEEN 1 AND 2 AS g, count(*) AS n FROM shop.orders GROUP BY placed BETWEEN 1 AND 2",
    "joined_by_null": (
        "-- key: id, order_id\nSELECT o.id, p.order_id FROM shop.orders o JOIN pay.payment p ON (o.placed IS NULL) = (p.amount IS NULL) AND p.order_id = o.customer_id"
    ),
    "grouped_dependent": (
        "-- key: id\nSELECT c.id, c.name, count(o.id) AS orders FROM shop.customer c LEFT JOIN shop.orders o ON o.customer_id = c.id GROUP BY c.id"
    ),
    "whole_sum": "-- key:\n-- recompute: whole\nSELECT sum(placed) AS total, count(*) AS n, max(status) AS last FROM shop.orders",
    "whole_count": "-- key:\n-- recompute: whole\nSELECT count(*) AS n FROM pay.payment WHERE amount > 1",
    "whole_joined": (
        "-- key:\n-- recompute: whole\nSELECT sum(p.amount) AS paid, avg(o.placed) AS mean FROM pay.payment p JOIN shop.orders o ON o.placed < p.amount "
    ),
    "whole_unlinked": (
        "-- key: id\n-- recompute: whole\nSELECT o.id, (SELECT count(*) FROM pay.payment) AS payments FROM shop.orders o"
    ),
    # -- distinct
    "distinct_one": "-- key: region\nSELECT DISTINCT region FROM shop.customer",
    "distinct_joined": (
        "-- key: region, status\nSELECT DISTINCT c.region, o.status FROM shop.orders o JOIN shop.customer c ON c.id = o.customer_id"
    ),
    "distinct_expression": "-- key: m, low\nSELECT DISTINCT strftime('%Y', day) AS m, amount < 2 AS low FROM pay.refund",
    # -- compounds
    "union_all": (
        "-- key: kind, id\nSELECT 'c' AS kind, id, name FROM shop.customer UNION ALL SELECT 'r', id, status FROM stock.reservation WHERE status <> 'x'"
    ),
    "union_all_three": (
        "-- key: kind, id, n\nSELECT 1 AS kind, order_id AS id, n, quantity AS q FROM shop.line UNION ALL "
        "SELECT 2, o.id, o.id, p.amount FROM shop.orders o JOIN pay.payment p ON p.order_id = o.id UNION ALL "
        "SELECT 3, id, id, rank FROM shop.customer"
    ),
    "union_distinct": "-- key: word\nSELECT name AS word FROM shop.customer UNION SELECT method FROM pay.payment",
    "union_two_columns": (
        "-- key: a, b\nSELECT region AS a, rank AS b FROM shop.customer WHERE rank IS NOT NULL UNION SELECT method, amount FROM pay.payment"
    ),
    "intersection": "-- key: order_id\nSELECT order_id FROM pay.payment INTERSECT SELECT order_id FROM pay.refund WHERE order_id IS NOT NULL",
    "difference": "-- key: id\nSELECT id FROM shop.orders EXCEPT SELECT order_id FROM pay.payment",
    "difference_chain": (
        "-- key: id, c\nSELECT id, customer_id AS c FROM shop.orders EXCEPT SELECT order_id, amount FROM pay.payment "
        "EXCEPT SELECT order_id, amount FROM pay.refund"
    ),
    "union_grouped": (
        "-- key: who, n\nSELECT name AS who, count(*) AS n FROM shop.customer GROUP BY name UNION SELECT method, count(*) FROM pay.payment GROUP BY method"
    ),
    # -- subqueries in expressions
    "exists": "-- key: id\nSELECT id, status FROM shop.orders o WHERE EXISTS (SELECT 1 FROM pay.payment p WHERE p.order_id = o.id AND p.amount > 1)",
    "not_exists": "-- key: id\nSELECT id FROM shop.orders o WHERE NOT EXISTS (SELECT * FROM shop.line l WHERE l.order_id = o.id AND l.price > o.placed)",
    "exists_or": (
        "-- key: id\nSELECT id, note FROM shop.orders o WHERE placed = 1 OR EXISTS (SELECT 1 FROM pay.refund r JOIN pay.payment p "
        "ON p.order_id = r.order_id WHERE r.order_id = o.customer_id)"
    ),
    "exists_selected": (
        "-- key: id\nSELECT c.id, EXISTS (SELECT 1 FROM shop.orders o WHERE o.customer_id = c.id AND o.status = 'new') AS busy FROM shop.customer c"
    ),
    "in_plain": "-- key: id\nSELECT id, name FROM shop.customer WHERE id IN (SELECT customer_id FROM shop.orders WHERE status = 'paid')",
    "in_correlated": (
        "-- key: id\nSELECT o.id FROM shop.orders o WHERE o.placed IN (SELECT l.n FROM shop.line l WHERE l.order_id = o.id) "
    ),
    "in_tuple": (
        "-- key: id\nSELECT r.id, r.status FROM stock.reservation r WHERE (r.order_id, r.id) IN (SELECT l.order_id, l.n FROM shop.line l)"
    ),
    "in_grouped": (
        "-- key: id\nSELECT id FROM shop.customer WHERE region IN (SELECT method FROM pay.payment GROUP BY method HAVING count(*) > 1)"
    ),
    "not_in": "-- key: order_id\nSELECT order_id, amount FROM pay.payment WHERE order_id NOT IN (SELECT l.order_id FROM shop.line l WHERE l.quantity > 1)",
    "scalar_sum": (
        "-- key: id\nSELECT c.id, (SELECT sum(o.placed) FROM shop.orders o WHERE o.customer_id = c.id) AS total, "
        "(SELECT count(*) FROM shop.orders o WHERE o.customer_id = c.id AND o.status = c.name) AS alike FROM shop.customer c"
    ),
    "scalar_row": (
        "-- key: id\nSELECT o.id, (SELECT c.name FROM shop.customer c WHERE c.id = o.customer_id) AS name, "
        "coalesce((SELECT p.amount FROM pay.payment p WHERE p.order_id = o.id), 0) + 1 AS paid FROM shop.orders o"
    ),
    "scalar_where": (
        "-- key: id\nSELECT o.id FROM shop.orders o WHERE o.placed > (SELECT avg(x.n) FROM shop.line x WHERE x.order_id = o.id)"
    ),
    "nested_exists": (
        "-- key: id\nSELECT c.id FROM shop.customer c WHERE EXISTS (SELECT 1 FROM shop.orders o WHERE o.customer_id = c.id AND "
        "NOT EXISTS (SELECT 1 FROM pay.payment p WHERE p.order_id = o.id AND p.amount >= c.rank))"
    ),
    "grouped_subquery": (
        "-- key: status\nSELECT status, count(*) AS n, sum((SELECT p.amount FROM pay.payment p WHERE p.order_id = o.id)) AS paid "
        "FROM shop.orders o GROUP BY status"
    ),
    "subquery_in_on": (
        "-- key: id\nSELECT o.id, p.amount FROM shop.orders o LEFT JOIN pay.payment p ON p.order_id = o.id "
        "AND EXISTS (SELECT 1 FROM shop.line l WHERE l.order_id = p.order_id AND l.quantity = 1)"
    ),
    # -- derived tables and CTEs
    "derived": (
        "-- key: customer_id\nSELECT d.customer_id, d.n, c.name FROM (SELECT customer_id, count(*) AS n FROM shop.orders GROUP BY customer_id) AS d "
        "LEFT JOIN shop.customer c ON c.id = d.customer_id WHERE d.n > 1"
    ),
    "derived_cast": (
        "-- key: id, k\nSELECT o.id, d.k FROM (SELECT k, CAST(w AS INTEGER) AS i FROM stock.loose) AS d JOIN shop.orders o ON d.i = o.status "
        "JOIN shop.customer c ON c.id = o.customer_id AND d.k = c.id"
    ),
    "derived_cast_text": (
        "-- key: id, k\nSELECT c.id, d.k FROM (SELECT k, CAST(v AS INTEGER) AS i FROM stock.loose) AS d JOIN shop.customer c ON d.i = c.name"
    ),
    "derived_collation": (
        "-- key: id, other\nSELECT d.id, c.id AS other FROM (SELECT id, name COLLATE NOCASE AS word FROM shop.customer) AS d "
        "JOIN shop.customer c ON d.word = c.region"
    ),
    "cte": (
        "-- key: id\nWITH big AS (SELECT order_id, sum(quantity) AS q FROM shop.line GROUP BY order_id HAVING sum(quantity) > 2), "
        "paid AS (SELECT order_id FROM pay.payment WHERE amount > 0) "
        "SELECT o.id, b.q FROM shop.orders o JOIN big b ON b.order_id = o.id LEFT JOIN paid ON paid.order_id = o.id WHERE paid.order_id IS NULL"
    ),
    "cte_twice": (
        "-- key: a, b\nWITH t AS (SELECT region, count(*) AS n FROM shop.customer GROUP BY region) "
        "SELECT x.region AS a, y.region AS b, x.n FROM t x JOIN t y ON y.n = x.n AND y.region > x.region"
    ),
    "average_of_maxima": (
        "-- key: customer_id\nSELECT customer_id, avg(top) AS mean FROM (SELECT o.customer_id, o.id, max(l.quantity) AS top FROM shop.orders o "
        "JOIN shop.line l ON l.order_id = o.id GROUP BY o.customer_id, o.id) AS t GROUP BY customer_id"
    ),
    "derived_union": (
        "-- key: name\nSELECT u.name, count(*) AS n FROM (SELECT name FROM shop.customer UNION ALL SELECT method FROM pay.payment) AS u GROUP BY u.name"
    ),
    "derived_in_exists": (
        "-- key: id\nSELECT o.id FROM shop.orders o WHERE EXISTS (SELECT 1 FROM (SELECT order_id, count(*) AS n FROM shop.line GROUP BY order_id) AS d "
        "WHERE d.order_id = o.id AND d.n > 1)"
    ),
    "derived_distinct": (
        "-- key: method\nSELECT d.method, count(*) AS n FROM (SELECT DISTINCT method, amount FROM pay.payment) AS d GROUP BY d.method"
    ),
    # -- windows
    "top_two": (
        "-- key: id\nSELECT id, customer_id, rn FROM (SELECT id, customer_id, row_number() OVER (PARTITION BY customer_id ORDER BY placed DESC, id) AS rn "
        "FROM shop.orders) AS w WHERE rn <= 2"
    ),
    "ranked": (
        "-- key: id\nSELECT id, rank() OVER (PARTITION BY region ORDER BY rank) AS r, dense_rank() OVER (PARTITION BY region ORDER BY name) AS d, "
        "sum(rank) OVER (PARTITION BY region ORDER BY id) AS running, count(*) OVER (PARTITION BY region) AS n FROM shop.customer WHERE rank < 100"
    ),
    "neighbours": (
        "-- key: order_id, n\nSELECT order_id, n, lag(price) OVER (PARTITION BY order_id ORDER BY n) AS before, "
        "sum(quantity) OVER (PARTITION BY order_id ORDER BY n ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS two FROM shop.line"
    ),
    "window_joined": (
        "-- key: id\nSELECT o.id, c.region, row_number() OVER (PARTITION BY c.region ORDER BY o.id) AS rn FROM shop.orders o "
        "LEFT JOIN shop.customer c ON c.id = o.customer_id"
    ),
    "window_nocase": (
        "-- key: order_id, n\nSELECT order_id, n, count(*) OVER (PARTITION BY sku) AS same, sku FROM shop.line"
    ),
    "window_over_groups": (
        "-- key: region, name\nSELECT region, name, count(*) AS n, sum(count(*)) OVER (PARTITION BY region) AS of_region "
        "FROM shop.customer GROUP BY region, name"
    ),
    # -- views over views
    "paid_orders": "-- key: id\nSELECT o.id, o.customer_id, o.status, p.amount FROM shop.orders o JOIN pay.payment p ON p.order_id = o.id",
    "paid_by_customer": (
        "-- key: customer_id\nSELECT customer_id, count(*) AS n, sum(amount) AS total FROM paid_orders GROUP BY customer_id"
    ),
    "paying_customers": (
        "-- key: id\nSELECT c.id, c.name, v.total, coalesce(v.n, 0) AS n FROM shop.customer c LEFT JOIN paid_by_customer v ON v.customer_id = c.id"
    ),
    "view_and_mirror": (
        "-- key: id\nSELECT v.id, v.amount, o.placed, (SELECT count(*) FROM shop.line l WHERE l.order_id = v.id) AS lines "
        "FROM paid_orders v JOIN shop.orders o ON o.id = v.id WHERE o.placed IS NOT NULL"
    ),
    "over_nullable_key": (
        "-- key: n\nSELECT g.n, count(*) AS groups, sum(g.ranks) AS ranks FROM grouped_nulls g GROUP BY g.n"
    ),
    "over_expression_key": "-- key: letter\nSELECT letter, sum(cents) AS cents, count(*) AS n FROM grouped_expression GROUP BY letter",
}  # fmt: skip

PARENTS: dict[str, tuple[str, ...]] = {
    "paid_by_customer": ("paid_orders",),
    "paying_customers": ("paid_orders", "paid_by_customer"),
    "view_and_mirror": ("paid_orders",),
    "over_nullable_key": ("grouped_nulls",),
    "over_expression_key": ("grouped_expression",),
}
