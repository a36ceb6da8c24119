"""What the compiler writes means what the user wrote: expressions come back from the parser unchanged in value, names are quoted."""

import random
import sqlite3

import pytest
from tests.maintenance.mirror_world import Table, World, define, number, one_of, typed, view_of

from syncline.errors import UnsupportedQuery
from syncline.messages import Column, Relation
from syncline.read.maintain.dialects import DIALECTS
from syncline.read.maintain.parse import parse
from syncline.read.maintain.schema import catalog_of

SQLITE = DIALECTS["sqlite"]
COLUMNS = ("a", "b", "c", "d", "j", "n")
RELATION = Relation("s", "t", (Column("id", "INTEGER"), *(Column(name) for name in COLUMNS)), ("id",), is_rowid_key=True)
CREATE = "CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, b TEXT, c REAL, d TEXT, j TEXT, n)"

SCALARS = """
a + b; a - b; a * b; a / b; a % b; -a; ~a; a & b; a | b; a << 2; a >> 1; a || b; a = b; a == b; a <> b; a != b; a < b; a IS b; a IS NOT b
a IS NOT DISTINCT FROM b; a IS DISTINCT FROM b; a ISNULL; a NOTNULL; a NOT NULL; a IS NULL; a IS NOT NULL; NOT a; NOT a = b; NOT a IS NULL
a BETWEEN b AND c; a NOT BETWEEN b AND c; NOT a BETWEEN b AND c; a IN (1, 2, b); a NOT IN (1, 2, b); a IN (); a BETWEEN b AND c AND b
a LIKE b; a NOT LIKE b; a LIKE b ESCAPE 'x'; a NOT LIKE b ESCAPE 'x'; a GLOB b; a NOT GLOB b; a AND b OR c; a OR b AND c; (a OR b) AND c
a IS TRUE; a IS NOT TRUE; a IS FALSE; a IS NOT FALSE; TRUE; FALSE; CASE a WHEN 1 THEN b ELSE c END; CASE WHEN a THEN b END; iif(a, b, c)
ifnull(a, b); coalesce(a, b, c); nullif(a, b); max(a, b); min(a, b); max(a, b, c); abs(c); round(c); round(c, 1); sign(c)
substr(a, 1, 2); substring(a, 1, 2); substr(a, -1); substr(a, 2); upper(b); lower(b); trim(b); trim(b, 'x'); ltrim(b); rtrim(b); ltrim(b, 'x')
rtrim(b, 'x'); replace(b, 'x', 'y'); instr(b, 'x'); length(b); hex(b); quote(b); typeof(a); unicode(b); char(65, 66); printf('%d-%s', a, b)
format('%d', a); likelihood(a, 0.5); unlikely(a); likely(a); CAST(a AS INTEGER); CAST(a AS REAL); CAST(a AS TEXT); CAST(a AS BLOB)
CAST(n AS INT); a COLLATE NOCASE = b; a = b COLLATE NOCASE; 0x1F; x'00ff'; X'aB'; 1e3; .5; 5.; 1.0; 1e400; 9223372036854775807
9223372036854775808; -9223372036854775808; 'it''s'; ''; 'a\\b'; '%'; "a"; [a]; `a`; a / 2.0; 7 / 2; 7.0 / 2; (a + b) * c; a - (b - c)
a - b - c; a / b * c; a * b / c; a % b % c; -(-a); - -a; NOT (a AND b); (a = b) = c; a = b = c; a < b < c; a || b || c; (a || b) + c
a + b || c; a IS (b IS NULL); (a IS b) IS NULL; ~a & b; a & b | c; a << b + c; a < b = c; a = b < c; a | b & c; a <> b <> c; -a * b; a * -b
a - -b; NOT NOT a; ~-a; 1 IS 1.0; ifnull(a, b) || c; a IS NOT b COLLATE NOCASE; CAST(a AS TEXT) COLLATE NOCASE; CASE WHEN a IS NULL THEN 1 WHEN b THEN 2 ELSE 3 END IS 1
date(d); date(d, '+1 day'); date(d, 'start of month', '+1 month'); datetime(d); time(d); julianday(d); unixepoch(d); strftime('%Y-%m', d)
strftime('%s', d); strftime('%w', d); strftime('%j', d); datetime(d, 'unixepoch'); date(a, 'unixepoch'); datetime(d, '-1 hours')
json_extract(j, '$.x'); j -> '$.x'; j ->> '$.x'; j ->> 'x'; json_extract(j, '$.x', '$.y'); json_array(a, b); json_valid(j); json_type(j, '$.x')
json_array_length(j, '$.l'); json_set(j, '$.x', a); json_remove(j, '$.x'); json(j); json_patch(j, j); j -> 'x' ->> 'y'
sqrt(c); ln(c); log(c); log(2, c); log10(c); exp(c); sin(c); ceil(c); floor(c); trunc(c); pi(); degrees(c); pow(c, 2); atan2(a, c)
like('a%', b); like(b, b); glob('a*', b); like('ax%', b, 'x'); (a, b) = (b, c); (a, b) < (b, c); zeroblob(2)
""".strip()  # noqa: E501
AGGREGATES = """
count(*); count(a); count(DISTINCT a); sum(a); sum(DISTINCT a); total(a); avg(a); min(a); max(a); sum(a) FILTER (WHERE b > 1)
count(*) FILTER (WHERE a IS NULL); sum(a + b); max(a) + 1; total(DISTINCT a); avg(DISTINCT a)
""".strip()
WINDOWS = """
count(a) OVER (PARTITION BY b); sum(a) OVER (PARTITION BY b ORDER BY c, id); lag(a, 1, 0) OVER (PARTITION BY b ORDER BY c, id)
row_number() OVER (PARTITION BY b ORDER BY a, c DESC, id); ntile(2) OVER (PARTITION BY b ORDER BY id); nth_value(a, 2) OVER (PARTITION BY b ORDER BY id)
first_value(a) OVER (PARTITION BY b ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
sum(a) OVER (PARTITION BY b ORDER BY id GROUPS 1 PRECEDING); sum(a) FILTER (WHERE c > 0) OVER (PARTITION BY b ORDER BY id)
sum(a) OVER (PARTITION BY b ORDER BY id ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING EXCLUDE CURRENT ROW); rank() OVER (PARTITION BY b ORDER BY c COLLATE NOCASE)
sum(a) OVER (PARTITION BY b ORDER BY c DESC NULLS FIRST, id); sum(a) OVER (PARTITION BY b ORDER BY c NULLS LAST, id)
percent_rank() OVER (PARTITION BY b ORDER BY a); cume_dist() OVER (PARTITION BY b ORDER BY a); max(a) OVER (PARTITION BY b)
sum(a) OVER (PARTITION BY b ORDER BY id RANGE BETWEEN 1 PRECEDING AND CURRENT ROW); lead(a) OVER (PARTITION BY b ORDER BY id DESC)
""".strip()  # noqa: E501


def expressions() -> list[str]:
    texts = [part.strip() for block in (SCALARS, AGGREGATES, WINDOWS) for line in block.splitlines() for part in line.split(";")]
    return [text for text in texts if text]


@pytest.fixture(scope="module")
def data() -> sqlite3.Connection:
    rng, connection = random.Random(1), sqlite3.connect(":memory:")
    connection.execute(CREATE)
    values = [1, 2, 0, -7, None, "x", "1", "01", "1.0", "aBc", "ABC", 3.5, 2.0, b"\x00x", "x%", 2**62]
    dates = ["2024-01-31", "2024-02-29 10:11:12", None, "1700000000"]
    documents = ['{"x": 1, "y": "s", "l": [1, 2]}', '{"x": {"y": 2}}', "[]", None]
    for position in range(120):
        row = [rng.choice(values) for _ in range(3)] + [rng.choice(dates), rng.choice(documents), rng.choice(values)]
        connection.execute("INSERT INTO t VALUES (?, ?, ?, ?, ?, ?, ?)", (position, *row))
    return connection


@pytest.mark.parametrize("text", expressions())
def test_an_expression_gives_what_it_gave_before_it_was_parsed(text: str, data: sqlite3.Connection) -> None:
    parsed = parse(f"SELECT {text} AS x FROM s.t", catalog_of([RELATION]), SQLITE)
    written = SQLITE.sql(parsed.tree).replace('"syncline:s__t"', "t")
    assert _result(data, written) == _result(data, f"SELECT {text} AS x FROM t")


@pytest.mark.parametrize("text", ["+a = b", "a = + b", "mod(a, b)", "CASE WHEN +a THEN 1 END", "a IN (+1)"])
def test_what_the_parser_would_change_is_refused(text: str) -> None:
    with pytest.raises(UnsupportedQuery):
        parse(f"SELECT {text} AS x FROM s.t", catalog_of([RELATION]), SQLITE)


def _result(data: sqlite3.Connection, sql: str) -> object:
    try:
        return typed(data.execute(sql))
    except sqlite3.Error as error:
        return str(error)


def test_any_name_that_sqlite_allows_works_quoted() -> None:
    rows = Relation(
        "shop",
        "order line",
        (Column("order", "INTEGER"), Column('the "n"', "INTEGER", not_null=True), Column("größe", "TEXT")),
        ("order", 'the "n"'),
    )
    create = 'CREATE TABLE shop."order line" ("order" INTEGER NOT NULL, "the ""n""" INTEGER NOT NULL, "größe" TEXT, PRIMARY KEY ("order", "the ""n"""))'
    tables = [Table(rows, (number(1, 3), number(1, 3), one_of("a", "b", None)), create)]
    plain = 'SELECT "order", "the ""n""" AS n, [größe] AS size FROM shop."order line" -- äöü ;\nWHERE "größe" IS NOT \'ü\''
    grouped = '-- key: size\nSELECT l."größe" AS size, count(*) AS "select", max("order") AS `top` FROM shop.[order line] l GROUP BY l.größe'
    views = [view_of("plain", f"-- key: order, n\n{plain}"), view_of("grouped", grouped)]
    world = World(random.Random(1), tables, define(views, tables))
    world.build_all()
    while world.batches < 40:
        world.step()
    world.finish()
    world.close()
