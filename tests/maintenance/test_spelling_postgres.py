"""What the compiler writes for PostgreSQL means what the user wrote, and what it takes for immutable is."""

from collections.abc import Iterator
from contextlib import closing

import pytest
from sqlglot import exp

from syncline.errors import UnsupportedQuery
from syncline.messages import Column, Relation
from syncline.read.maintain.dialects import DIALECTS
from syncline.read.maintain.parse import parse
from syncline.read.maintain.postgres_known import IMMUTABLE
from syncline.read.maintain.postgres_types import base, type_of
from syncline.read.maintain.query import Block, build_block
from syncline.read.maintain.refuse import refuse_block, refuse_tree
from syncline.read.maintain.schema import catalog_of
from syncline.stores.postgres.connection import Connection, connect
from syncline.stores.postgres.values import as_parameter
from syncline.testing.postgres import Databases

POSTGRES = DIALECTS["postgres"]
COLUMNS = {
    "id": "integer", "a": "integer", "b": "text", "c": "numeric", "d": "date", "e": "double precision", "f": "boolean",
    "j": "jsonb", "n": "numeric(10,2)", "r": "integer[]", "t": "timestamp without time zone", "u": "uuid",
    "v": "character varying(5)", "w": "text[]", "x": "bytea", "y": "interval", "z": "timestamp with time zone", "h": "character(3)",
    "big": "bigint", "o": "json", "m": "smallint",
}  # fmt: skip
RELATION = Relation("s", "t", tuple(Column(name, kind) for name, kind in COLUMNS.items()), ("id",), dialect="postgres")
ROWS = [
    (1, 7, "abc", "1.50", "2024-02-29", 0.5, True, '{"x": {"y": 1}, "l": [1, 2], "a.b": "dot"}', "2.50", "{1,2}",
     "2024-02-29 12:34:56.7", "00000000-0000-0000-0000-00000000000a", "x-y-z", "{a,b}", b"\x00a", "1 mon 2 days",
     "2024-02-29 23:30:00+00", "ab", 2**40, '{"x": 1}', 3),
    (2, -7, "It's", "-2", "1999-12-31", -0.25, False, "[1, 2]", "-1.25", "{}", "1999-12-31 00:00:00",
     "ffffffff-ffff-ffff-ffff-ffffffffffff", "", "{}", b"", "-3 hours", "1999-12-31 00:00:00+00", "z", -1, "[]", -1),
    (3, *[None] * 20),
]  # fmt: skip

VALUES = """
a + m; a - m; a * m; a / 2; a % 2; mod(a, 2); mod(a + 1, 2 + 1); -a; - -a; a - -m; a / 2 * 3; a * 2 / 3; a - (m - 1); c / 3; n * n; e / 3; a / 2.0; a ^ 2; a ^ 2 * 3
2 ^ m; -a ^ 2; a & 3; a | 4; a # 1; ~a; a << 2; a >> 1; ~a & 3; a & 3 | 4; a = 7; a <> 7; a != 7; a < m; NOT f; NOT a = 7; (a = 7) = f; a = 7 OR f AND NOT f
a = 7 AND (f OR NOT f); a BETWEEN 1 AND 7; a NOT BETWEEN m AND 7; a IN (1, 7, m); a NOT IN (1, 7); a IS NULL; a IS NOT NULL; a ISNULL; a NOTNULL; f IS TRUE
f IS NOT TRUE; f IS FALSE; f IS UNKNOWN; f IS NOT UNKNOWN; a IS DISTINCT FROM m; a IS NOT DISTINCT FROM m; NOT a IS NULL; (a IS NULL) IS FALSE; TRUE; NULL
b || 'x'; b || v; b || a; a || b; b || 'a' || 'c'; b LIKE 'a%'; b NOT LIKE '%''%'; b LIKE 'a!%' ESCAPE '!'; b ILIKE 'A%'; b NOT ILIKE 'A%'; b ~ '^a.c$'; b ~* '^A'; b !~ 'z'
b !~* 'z'; b SIMILAR TO '(a|b)%'; lower(b); upper(b); initcap(b); length(b); char_length(b); character_length(b); octet_length(b); bit_length(b); substr(b, 2); substr(b, 1, 2)
substring(b, 2, 1); substring(b FROM 2 FOR 1); substring(b FROM 2); substring(b FROM '[a-z]+'); trim(b); trim('a' FROM b); trim(BOTH 'a' FROM b); trim(LEADING FROM b)
trim(TRAILING 'c' FROM b); btrim(b, 'a'); ltrim(b); ltrim(b, 'a'); rtrim(b, 'c'); lpad(b, 5); lpad(b, 5, '*'); rpad(b, 5, '*'); left(b, 2); left(b, -1); right(b, 1); right(b, -1)
repeat(b, 2); replace(b, 'a', 'z'); reverse(b); position('b' IN b); strpos(b, 'b'); split_part(v, '-', 2); translate(b, 'ab', 'xy'); overlay(b PLACING 'zz' FROM 2 FOR 1)
ascii(b); chr(65); md5(b); sha256(x); encode(x, 'hex'); decode('YQ==', 'base64'); starts_with(b, 'a'); regexp_replace(b, 'a', 'z'); regexp_replace(b, '[a-z]', 'z', 'g')
regexp_count(b, 'a'); regexp_like(b, '^a'); regexp_substr(b, '[a-z]'); regexp_instr(b, 'b'); quote_ident(b); concat(a, b, NULL, f); concat_ws('-', a, b, NULL); 'it''s'; ''; 'a\\b'; '%'
coalesce(a, m, 0); nullif(a, 7); greatest(a, m, 1); least(a, m, NULL); num_nulls(a, b); num_nonnulls(a, b, c); CASE WHEN a > 1 THEN 'x' ELSE b END; CASE a WHEN 7 THEN 1 END
CASE WHEN a IS NULL THEN n WHEN f THEN 1 ELSE a END; abs(a); abs(n); ceil(c); ceiling(e); floor(c); floor(e); round(c); round(c, 1); round(e); round(c, -1); trunc(c); trunc(c, 1)
trunc(e); sign(c); sign(e); sqrt(4.0); cbrt(27.0); exp(1.0); ln(2.0); log(100.0); log(2.0, 8.0); power(a, 2); power(c, 2); pow(2.0, 3); gcd(a, 14); lcm(4, 6)
degrees(0.5); radians(90.0); pi(); width_bucket(5.35, 0.024, 10.06, 5); scale(c); min_scale(c); trim_scale(c); sin(e); cos(e); tan(e); asin(0.5); acos(0.5); atan(e); atan2(e, 2)
CAST(a AS text); a::text; a::bigint; a::smallint; a::numeric; a::numeric(10,2); c::numeric(5,1); c::integer; e::real; e::double precision; e::float; e::float4; b::varchar(2); b::char(2)
b::varchar; h::text; '5'::int; '1.5'::numeric; f::int; f::text; a::boolean; u::text; j::text; '{"a": 1}'::jsonb; '{1,2}'::int[]; '\\x61'::bytea; '1 day'::interval; n::text; e::text
CAST('2024-01-01' AS date); DATE '2024-01-01'; TIMESTAMP '2024-01-01 10:00:00'; TIMESTAMP WITH TIME ZONE '2024-01-01 10:00:00+02'; '2024-01-01 00:00+00'::timestamptz; TIME '10:00'
d::text; d::timestamp; t::date; t::time; t::text; t::timestamp(0); y::text; d + 1; d - 1; d - DATE '2024-01-01'; d + INTERVAL '1 month'; t + INTERVAL '1 day 2 hours'; t - INTERVAL '1' DAY
t - TIMESTAMP '2024-01-01 00:00:00'; z - TIMESTAMPTZ '2024-01-01 00:00:00+00'; y * 2; y + INTERVAL '1 day'; -y; INTERVAL '1 year 2 months'; INTERVAL 'P1Y2M3DT4H'; INTERVAL '-1 day'
INTERVAL '1-2' YEAR TO MONTH; INTERVAL '90' MINUTE; d + TIME '10:00'; z AT TIME ZONE 'UTC'; z AT TIME ZONE 'Europe/Berlin'; t AT TIME ZONE 'UTC'; (z AT TIME ZONE 'UTC')::date
date_trunc('month', t); date_trunc('month', d::timestamp)::date; date_trunc('MONTH', t); date_trunc('quarter', t); date_trunc('week', t); date_trunc('day', z AT TIME ZONE 'UTC')
date_trunc('hour', y); date_trunc('milliseconds', t); date_trunc('decade', t)
extract(year FROM d); extract(epoch FROM t); EXTRACT(dow FROM d); extract(isodow FROM d); extract(week FROM d); extract(quarter FROM t); extract(milliseconds FROM t)
extract(doy FROM d); extract(isoyear FROM d); extract(day FROM y); extract(century FROM d)
age(t, TIMESTAMP '2024-01-01 00:00:00'); make_date(2024, 2, 29); make_time(1, 2, 3.5); make_timestamp(2024, 1, 2, 3, 4, 5.5)
make_interval(1, 2); justify_days(y); justify_hours(y); justify_interval(y); isfinite(d)
j -> 'x'; j -> 'x' -> 'y'; j ->> 'x'; j -> 0; j ->> 1; j -> -1; j -> 'x' ->> 'y'; j ->> 'a.b'; j #> '{x,y}'; j #>> '{x,y}'; j @> '{"l": [1]}'; j <@ '{}'; j ? 'x'; j ?| ARRAY['x', 'q']
j ?& ARRAY['x', 'l']; j || '{"q": 1}'; j - 'x'; o -> 'x'; o ->> 'x'; (j ->> 'x') IS NULL; j -> 'l' -> 1; j ->> b; j -> a; jsonb_typeof(j); jsonb_array_length('[1]'::jsonb)
jsonb_extract_path(j, 'x', 'y'); jsonb_extract_path_text(j, 'x', 'y'); jsonb_strip_nulls(j); jsonb_path_exists(j, '$.x'); json_typeof(o); json_extract_path_text(o, 'x')
j ->> 'it''s'; j -> 'x' = '1'; (j ->> 'x')::text || 'q'
ARRAY[1, a]; ARRAY[a, m]; r[1]; r[1:1]; r[2]; w[1] || 'x'; r || 5; r || ARRAY[5]; r = ARRAY[1, 2]; a = ANY(r); 7 = ANY(ARRAY[7, a]); a <> ALL(r); a = ANY('{7,8}'); r @> ARRAY[1]; r <@ ARRAY[1, 2, 3]
r && ARRAY[1]; array_length(r, 1); cardinality(r); array_lower(r, 1); array_upper(r, 1); array_ndims(r); array_position(r, 2); array_append(r, 3); array_prepend(0, r); array_cat(r, r)
array_remove(r, 1); array_replace(r, 1, 9); '{a,b}'::text[]; ARRAY[]::integer[]; b LIKE ANY (ARRAY['a%', 'b%']); b ILIKE ALL (ARRAY['a%'])
(a, m) = (7, 3); (a, m) < (8, 0); (a, m) IN ((7, 3), (1, 1)); (a, b) IS NULL; b COLLATE "C" < 'b'; b = v COLLATE "C"; lower(b) COLLATE "C"; b < 'B' COLLATE "POSIX"
1e3; .5; 5.; 1.0; 1.50; 9223372036854775807; 9223372036854775808; 2147483648; 'x' = b; x || '\\x61'::bytea; a BETWEEN SYMMETRIC 8 AND 1; u = '00000000-0000-0000-0000-00000000000a'
(a < 3) IS NULL; NOT (a < 3 AND f); NOT f AND f; (a + m) * 2; a + m * 2; (a + m) || 'x'; a IN (m) = f
""".strip()  # noqa: E501
AGGREGATES = """
count(*); count(a); count(DISTINCT b); sum(a); sum(big); sum(n); sum(e); sum(y); avg(a); avg(n); min(b); max(d); min(a) FILTER (WHERE a > 0); count(*) FILTER (WHERE f); bool_and(f)
bool_or(f); every(f); bit_and(a); bit_or(a); bit_xor(a); sum(DISTINCT a); max(n); max(h); stddev(a); stddev_pop(n); stddev_samp(a); variance(a); var_pop(n); var_samp(a); max(v); min(z); avg(y)
sum(m); avg(m); sum(CASE WHEN f THEN 1 ELSE 0 END); count(*) * 2; coalesce(sum(a), 0); sum(a) / count(*); max(b) || 'x'; count(DISTINCT (a, m))
row_number() OVER (PARTITION BY f ORDER BY id); rank() OVER (PARTITION BY f ORDER BY a); dense_rank() OVER (PARTITION BY f ORDER BY a DESC NULLS LAST); ntile(2) OVER (PARTITION BY f ORDER BY id)
percent_rank() OVER (PARTITION BY f ORDER BY a); cume_dist() OVER (PARTITION BY f ORDER BY a); lag(a) OVER (PARTITION BY f ORDER BY id); lead(a, 1, 0) OVER (PARTITION BY f ORDER BY id)
first_value(a) OVER (PARTITION BY f ORDER BY id); last_value(a) OVER (PARTITION BY f ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
nth_value(a, 2) OVER (PARTITION BY f ORDER BY id); sum(a) OVER (PARTITION BY f ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW); count(*) OVER (PARTITION BY f)
sum(a) OVER (PARTITION BY f ORDER BY d RANGE BETWEEN INTERVAL '1 month' PRECEDING AND CURRENT ROW); sum(a) OVER (PARTITION BY f ORDER BY id GROUPS BETWEEN 1 PRECEDING AND 1 FOLLOWING)
sum(a) FILTER (WHERE a > 0) OVER (PARTITION BY f)
""".strip()  # noqa: E501


CHANGED = {
    "now()": "current_timestamp()", "current_date": "current_date", "random()": "random()", "gen_random_uuid()": "gen_random_uuid()",
    "clock_timestamp()": "clock_timestamp()", "current_user": "current_user", "nextval('x')": "nextval()", "version()": "version()",
    "to_char(d, 'YYYY')": "to_char()", "to_date(b, 'YYYY')": "to_date()", "date_part('year', d)": "date_part()",
    "string_agg(b, ',')": "string_agg()", "array_agg(a)": "array_agg()", "json_agg(a)": "json_agg()", "any_value(a)": "any_value()",
    "unnest(r)": "unnest()", "generate_series(1, 2)": "generate_series()", "jsonb_array_elements(j)": "jsonb_array_elements()",
    "ifnull(a, 1)": "ifnull()", "nvl(a, 1)": "nvl()", "len(b)": "len()", "my_function(a)": "my_function()",
    "date_bin('1 day', t, t)": "date_bin()", "E'a\\n'": "E'…'", "$$a$$": "$$…$$", "$q$a$q$": "$$…$$", "U&'a'": "U&'…'",
    "CAST(b AS date)": "CAST(t.b AS date)", "CAST(z AS date)": "t.z", "CAST(t AS timestamptz)": "t.t", "CAST(d AS timestamptz)": "t.d",
    "z::text": "t.z", "'today'::date": "'today'", "DATE 'tomorrow'": "'tomorrow'", "'01/02/2024'::date": "'01/02/2024'",
    "TIMESTAMPTZ '2024-01-01 00:00'": "'2024-01-01 00:00'", "z + INTERVAL '1 day'": "t.z + INTERVAL '1 DAY'", "z > d": "t.z > t.d",
    "date_trunc('day', z)": "t.z", "date_trunc('day', d)": "date_trunc of the date t.d", "date_trunc('day', z, 'UTC')": "date_trunc",
    "extract(hour FROM z)": "t.z", "d = 'today'": "'today'", "z BETWEEN 'yesterday' AND 'now'": "'yesterday'", "b || z": "t.b || t.z",
    "concat(a, z)": "CONCAT(t.a, t.z)", "a::money": "CAST(… AS MONEY)", "a::my_type": "CAST(… AS", "stddev(e)": "STDDEV(t.e)",
    "make_interval(days => 2)": "days => 2", "mode() WITHIN GROUP (ORDER BY a)": "mode()", "j @@ '$.x == 1'": "j @@",
    "(t).a": "t", "count(*) OVER (PARTITION BY a ORDER BY id ROWS UNBOUNDED PRECEDING EXCLUDE TIES)": "EXCLUDE",
}  # fmt: skip
"""What is not followed, and the clause that says so."""
NOT_IN_ALL_FORMS = {
    "age": "of one argument, which is refused", "date_trunc": "over a time zone, which is refused", "concat": "over what prints by settings",
    "concat_ws": "over what prints by settings", "length": "of bytes in another encoding", "extract": "it is a part of the grammar",
}  # fmt: skip


def expressions() -> list[str]:
    texts = [part.strip() for block in (VALUES, AGGREGATES) for line in block.splitlines() for part in line.split("; ")]
    return [text for text in texts if text]


@pytest.fixture(scope="module")
def data(postgres: Databases) -> Iterator[Connection]:
    with closing(connect(postgres.create("spelling"))) as connection:
        columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
        connection.execute(f"CREATE TABLE t ({columns}, PRIMARY KEY (id))")
        for row in ROWS:
            connection.execute(f"INSERT INTO t VALUES ({', '.join(['%s'] * len(row))})", list(map(as_parameter, row)))
        yield connection


def test_an_expression_gives_what_it_gave_before_it_was_parsed(data: Connection) -> None:
    for text in expressions():
        written = POSTGRES.sql(_compiled(text)[1])
        assert _result(data, written) == _result(data, text), text


def test_a_type_that_is_known_is_the_type_that_it_has(data: Connection) -> None:
    for text in expressions():
        block, output = _compiled(text)
        refuse_block(block)
        known = type_of(block, output)
        if known not in ("", "unknown"):
            (found,) = data.execute(f"SELECT pg_typeof({text})::text FROM t LIMIT 1").fetchone() or ("",)
            assert base(known).replace("bpchar", "character") == base(found), text


@pytest.mark.parametrize("text", CHANGED)
def test_what_may_change_by_itself_or_would_be_read_as_something_else_is_refused_by_name(text: str) -> None:
    with pytest.raises(UnsupportedQuery) as refused:
        refuse_block(_compiled(text)[0])
    assert CHANGED[text] in refused.value.clause
    assert refused.value.rewrite


def test_functions_that_are_taken_for_immutable_are_immutable_on_the_server(data: Connection) -> None:
    catalog = "pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND NOT proretset AND proname = ANY(%s)"
    query = f"SELECT DISTINCT proname FROM {catalog} AND provolatile <> 'i'"
    changing = {name for (name,) in data.execute(query, [list(IMMUTABLE)])}
    assert changing - NOT_IN_ALL_FORMS.keys() == set()
    known = {name for (name,) in data.execute(f"SELECT DISTINCT proname FROM {catalog}", [list(IMMUTABLE)])}
    grammar = {"all", "any", "array", "case", "cast", "coalesce", "exists", "greatest", "least", "nullif", "trim"}
    assert IMMUTABLE - known == grammar


def _compiled(text: str) -> tuple[Block, exp.Expr]:
    parsed = parse(f"SELECT {text} AS x FROM s.t", catalog_of([RELATION], "postgres"), POSTGRES)
    refuse_tree(parsed.tree, POSTGRES)
    assert isinstance(parsed.tree, exp.Select)
    block = build_block(parsed.tree, parsed.sources, POSTGRES)
    return block, parsed.tree.expressions[0].unalias()


def _result(data: Connection, text: str) -> object:
    return data.execute(f"SELECT {text} AS x, pg_typeof({text})::text FROM t").fetchall()
