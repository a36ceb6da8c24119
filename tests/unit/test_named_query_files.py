"""Query files: parameters and options in the leading comments, one SELECT below; and the values that a query is asked with."""

import datetime
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncline.errors import InvalidDefinition, InvalidQueryValues, UnsupportedQuery
from syncline.read.maintain.asked import look_at
from syncline.read.named_query import NamedQuery, Parameter, bound, parse_query, query_values

VIEWS = ["order_board", "revenue"]


def parsed(text: str, name: str = "late_orders") -> NamedQuery:
    return parse_query(name, text, f"queries/{name}.sql")


def faults(text: str, name: str = "late_orders") -> list[str]:
    with pytest.raises(InvalidDefinition) as raised:
        parsed(text, name)
    return [str(fault) for fault in raised.value.faults]


def of_type(type_: str) -> NamedQuery:
    return parsed(f"-- param: value {type_}\nSELECT :value AS value")


def test_a_query_file_is_its_comments_and_its_select() -> None:
    query = parsed(
        "-- Orders that wait for their payment.\n"
        "-- param: since date = '2026-01-01'\n"
        "-- param: city text?\n"
        "-- param: above_cents integer\n"
        "-- limit: 50\n"
        "-- timeout_s: 1.5\n"
        "\n"
        "SELECT order_id FROM order_board\n"
        " WHERE placed_at >= :since AND total_cents > :above_cents AND (:city IS NULL OR city = :city)\n"
        "   AND customer_id = :claim_customer_id;\n"
    )
    assert query.parameters == (
        Parameter("since", "date", default="2026-01-01"),
        Parameter("city", "text", is_optional=True),
        Parameter("above_cents", "integer"),
    )
    assert (query.claims, query.limit, query.timeout_s, query.unfiltered) == (("customer_id",), 50, 1.5, False)
    assert (query.first_line, query.description) == (8, "Orders that wait for their payment.")
    assert query.sql.endswith(":claim_customer_id")


def test_every_fault_of_a_query_file_is_told_with_its_line() -> None:
    assert faults(
        "-- param: a txt\n-- param: b integer = 1.5\n-- param: c text? = 'x'\n-- param: Claim text\n-- param: claim_d text\n"
        "-- limit: 0\n-- timeout_s: -1\n-- unfiltered: no\n-- parm: e text\n-- param: f text\n-- param: f text\n-- param: g\n"
        "SELECT :a, :b, :c,\n  :z FROM order_board"
    ) == [
        "queries/late_orders.sql:1: parameter 'a' has the unknown type 'txt'; did you mean 'text'?",
        "queries/late_orders.sql:2: the default of 'b' is '1.5', expected a whole number of 64 bits",
        "queries/late_orders.sql:3: parameter 'c' has a default, so it is never NULL; remove '?' or the default",
        "queries/late_orders.sql:4: 'Claim' is not a parameter's name: use lower-case letters, digits and '_', "
        "and not 'claim_' at the beginning",
        "queries/late_orders.sql:4: parameter 'Claim' is not used; write :Claim in the SELECT, or remove the line",
        "queries/late_orders.sql:5: 'claim_d' is not a parameter's name: use lower-case letters, digits and '_', "
        "and not 'claim_' at the beginning",
        "queries/late_orders.sql:5: parameter 'claim_d' is not used; write :claim_d in the SELECT, or remove the line",
        "queries/late_orders.sql:6: 'limit: 0' is not a number of rows from 1 to 1000000",
        "queries/late_orders.sql:7: 'timeout_s: -1' is not a number of seconds above 0, and at most 3600",
        "queries/late_orders.sql:8: 'unfiltered: no' is unknown; write 'yes', or remove the line",
        "queries/late_orders.sql:9: unknown option 'parm:'; did you mean 'param:'?",
        "queries/late_orders.sql:11: parameter 'f' is declared twice; remove one of the lines",
        "queries/late_orders.sql:11: parameter 'f' is not used; write :f in the SELECT, or remove the line",
        "queries/late_orders.sql:12: 'param: g' cannot be read; write a name and a type, for example "
        "`-- param: since date = '2026-01-01'`, or `-- param: city text?`",
        "queries/late_orders.sql:14: ':z' is no parameter; declare it above: `-- param: z text`",
    ]


def test_a_colon_in_a_text_a_comment_a_cast_or_a_slice_is_no_parameter() -> None:
    query = parsed("-- param: n integer\nSELECT ':x', \":y\", a::text, b[1:n], ARRAY[:n] -- :z\n  /* :w */ FROM order_board")
    assert bound(query.sql, lambda name: f"<{name}>") == (
        "SELECT ':x', \":y\", a::text, b[1:n], ARRAY[<n>] -- :z\n  /* :w */ FROM order_board"
    )


def test_every_value_that_does_not_fit_is_told_at_once() -> None:
    query = parsed(
        "-- param: since date\n-- param: n integer\n-- param: city text\nSELECT 1 FROM order_board WHERE :since = :n OR :city = 1"
    )
    with pytest.raises(InvalidQueryValues) as raised:
        query_values(query, {"since": "2026-02-30", "n": "5.5", "citi": "x"})
    assert raised.value.faults == (
        ("citi", "the query has no such parameter; did you mean 'city'?"),
        ("since", "it is '2026-02-30', expected a date as YYYY-MM-DD"),
        ("n", "it is '5.5', expected a whole number of 64 bits"),
        ("city", "it is missing, expected a text without the character NUL"),
    )


def test_a_parameter_left_out_is_its_default_or_null() -> None:
    query = parsed("-- param: n integer = 7\n-- param: city text?\nSELECT :n, :city")
    assert query_values(query, {}) == {"n": 7, "city": None}
    assert query_values(query, {"n": "-3", "city": ""}) == {"n": -3, "city": ""}


@given(st.integers(-(2**63), 2**63 - 1))
def test_every_integer_of_64_bits_is_read(value: int) -> None:
    assert query_values(of_type("integer"), {"value": str(value)}) == {"value": value}


@given(st.dates())
def test_every_date_is_read_and_no_other_day(value: datetime.date) -> None:
    assert query_values(of_type("date"), {"value": value.isoformat()}) == {"value": value.isoformat()}


@given(st.integers(1, 9999), st.integers(0, 13), st.integers(0, 32))
def test_a_day_is_read_if_the_calendar_has_it(year: int, month: int, day: int) -> None:
    text = f"{year:04}-{month:02}-{day:02}"
    try:
        datetime.date(year, month, day)
    except ValueError:
        with pytest.raises(InvalidQueryValues):
            query_values(of_type("date"), {"value": text})
    else:
        assert query_values(of_type("date"), {"value": text}) == {"value": text}


@given(st.datetimes(timezones=st.none() | st.just(datetime.UTC)))
def test_every_time_is_read(value: datetime.datetime) -> None:
    assert query_values(of_type("timestamp"), {"value": value.isoformat()}) == {"value": value.isoformat()}


@given(st.uuids())
def test_every_uuid_is_read(value: uuid.UUID) -> None:
    assert query_values(of_type("uuid"), {"value": str(value).upper()}) == {"value": str(value)}


@given(st.text())
def test_a_text_is_itself_or_refused(value: str) -> None:
    if "\0" in value:
        with pytest.raises(InvalidQueryValues):
            query_values(of_type("text"), {"value": value})
    else:
        assert query_values(of_type("text"), {"value": value}) == {"value": value}


@pytest.mark.parametrize(
    ("type_", "text"),
    [
        ("integer", "9223372036854775808"), ("integer", "1e3"), ("integer", " 1"), ("integer", "١"), ("integer", ""),
        ("number", "nan"), ("number", "1e400"), ("number", "inf"), ("number", "0x10"), ("number", "1_000"), ("number", ""),
        ("boolean", "yes"), ("boolean", "TRUE"), ("boolean", "1"),
        ("date", "2026-1-1"), ("date", "0000-01-01"), ("timestamp", "2026-01-01"), ("timestamp", "2026-01-01T25:00:00"),
        ("timestamp", "now"), ("uuid", "x"), ("text", "\ud800"),
    ],
)  # fmt: skip
def test_what_is_no_value_of_a_type_is_refused(type_: str, text: str) -> None:
    with pytest.raises(InvalidQueryValues, match="expected"):
        query_values(of_type(type_), {"value": text})


@pytest.mark.parametrize("dialect", ["sqlite", "postgres"])
def test_the_views_that_a_query_reads_are_found(dialect: str) -> None:
    query = parsed(
        "WITH late AS (SELECT order_id FROM order_board)\n"
        "SELECT late.order_id, (SELECT max(total) FROM revenue) FROM late JOIN order_board o USING (order_id) ORDER BY 1 LIMIT 3"
    )
    asked = look_at(query, VIEWS, dialect)
    assert asked.reads == ("order_board", "revenue")
    assert 'FROM "syncline:order_board" AS "order_board"' in asked.template
    assert "FROM late" in asked.template


@pytest.mark.parametrize("dialect", ["sqlite", "postgres"])
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM orders.orders",
        "SELECT * FROM syncline_meta",
        "SELECT * FROM order_board__changes",
        "WITH gone AS (DELETE FROM order_board RETURNING order_id) SELECT * FROM gone",
        "SELECT order_id FROM order_board FOR UPDATE",
        "SELECT order_id INTO other FROM order_board",
        "SELECT FROM WHERE",
    ],
)
def test_a_query_that_does_more_than_read_views_is_refused_with_its_line(sql: str, dialect: str) -> None:
    with pytest.raises(UnsupportedQuery, match="queries/late_orders.sql:2: "):
        look_at(parsed(f"-- A query.\n{sql}"), VIEWS, dialect)


@pytest.mark.parametrize(
    "call",
    [
        "pg_read_file('/etc/passwd')", "pg_sleep(10)", "set_config('a', 'b', false)", "current_setting('a')", "dblink('x', 'y')",
        "lo_import('/etc/passwd')", "query_to_xml('SELECT 1', true, true, '')", "pg_catalog.pg_sleep(1)", '"pg_sleep"(1)',
        "nextval('s')", "pg_notify('a', 'b')", "pg_advisory_lock(1)", "pg_terminate_backend(1)", "my_own_function(1)",
    ],
)  # fmt: skip
def test_a_function_that_may_do_more_than_compute_is_refused_on_postgresql(call: str) -> None:
    with pytest.raises(UnsupportedQuery, match="a function may do more than compute"):
        look_at(parsed(f"SELECT {call} FROM order_board"), VIEWS, "postgres")
    with pytest.raises(UnsupportedQuery, match="a function may do more than compute"):
        look_at(parsed(f"SELECT 1 FROM order_board JOIN {call} AS f(x) ON true"), VIEWS, "postgres")


def test_functions_of_reports_are_allowed_on_postgresql() -> None:
    sql = (
        "SELECT to_char(placed_at, 'YYYY-MM'), count(*) FILTER (WHERE paid), percentile_cont(0.5) WITHIN GROUP (ORDER BY cents), "
        "string_agg(name, ', ' ORDER BY name), now() - max(placed_at), jsonb_build_object('a', 1) FROM order_board, "
        "LATERAL generate_series(1, 3) AS n WHERE name ILIKE '%a' AND id = ANY(string_to_array('a,b', ',')) GROUP BY ROLLUP (1)"
    )
    assert look_at(parsed(sql), VIEWS, "postgres").reads == ("order_board",)


def test_of_a_filtered_view_a_query_sees_only_the_rows_of_the_caller() -> None:
    filters = {"order_board": {"customer_id": "customer", "tenant": "tenant"}, "other": {"a": "b"}}
    asked = look_at(parsed("SELECT 1 FROM order_board o JOIN revenue USING (day)"), VIEWS, "sqlite", filters)
    assert asked.claims == ("customer", "tenant")
    assert asked.sql({"order_board": '"order_board"', "revenue": '"revenue"'}) == (
        'SELECT 1 FROM (SELECT * FROM "order_board" WHERE "customer_id" = :claim_customer AND "tenant" = :claim_tenant) o '
        'JOIN "revenue" AS "revenue" USING (day)'
    )


def test_a_query_that_says_so_sees_all_rows_of_a_filtered_view() -> None:
    query = parsed("-- unfiltered: yes\nSELECT 1 FROM order_board")
    asked = look_at(query, VIEWS, "sqlite", {"order_board": {"customer_id": "customer"}})
    assert asked.claims == ()
    assert asked.sql({"order_board": '"order_board"'}) == 'SELECT 1 FROM "order_board" AS "order_board"'
