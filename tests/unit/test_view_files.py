"""View files: options and description in the leading comments, one SELECT below, every fault with its line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncline.errors import InvalidDefinition
from syncline.read.view import View, parse_view


def parsed(text: str, name: str = "order_board") -> View:
    return parse_view(name, text, f"views/{name}.sql")


def faults(text: str, name: str = "order_board") -> list[str]:
    with pytest.raises(InvalidDefinition) as raised:
        parsed(text, name)
    return [str(fault) for fault in raised.value.faults]


def test_a_view_file_is_its_comments_and_its_select() -> None:
    view = parsed(
        "-- What the customer sees of an order.\n"
        "-- key: order_id\n"
        "-- index: customer_id, placed_at\n"
        "-- index: status\n"
        "\n"
        "SELECT o.order_id\n"
        "  FROM orders.orders o;\n"
    )
    assert view == View(
        name="order_board",
        sql="SELECT o.order_id\n  FROM orders.orders o",
        key=("order_id",),
        indexes=(("customer_id", "placed_at"), ("status",)),
        file="views/order_board.sql",
        first_line=6,
        whole=False,
        description="What the customer sees of an order.",
    )


def test_a_view_may_accept_that_all_of_it_is_recomputed() -> None:
    assert parsed("-- key: a\n-- recompute: whole\nSELECT a FROM s.t").whole


def test_an_empty_key_is_the_key_of_a_single_row() -> None:
    assert parsed("-- key:\nSELECT COUNT(*) AS n FROM s.t").key == ()


def test_a_key_column_may_hold_any_character_in_double_quotes() -> None:
    assert parsed('-- key: "Order, Id", b\nSELECT 1').key == ("Order, Id", "b")


def test_the_line_of_the_select_counts_windows_line_ends_and_a_byte_order_mark() -> None:
    view = parsed("\ufeff-- key: a\r\n\r\nSELECT a\r\n  FROM s.t\r\n")
    assert (view.first_line, view.sql) == (3, "SELECT a\n  FROM s.t")


def test_a_semicolon_inside_a_text_or_a_comment_ends_nothing() -> None:
    sql = "SELECT ';' AS a, \";\" -- ; here\n  FROM s.t /* ; */ WHERE b = 'it''s;'"
    assert parsed(f"-- key: a\n{sql} ; -- the end\n").sql == sql


def test_a_with_query_and_one_in_parentheses_are_queries() -> None:
    assert parsed("-- key: a\nWITH x AS (SELECT a FROM s.t) SELECT a FROM x").sql.startswith("WITH")
    assert parsed("-- key: a\n(SELECT a FROM s.t)").sql.startswith("(")


@pytest.mark.parametrize("option", ["keys", "Key", "kye", "indexes", "indices", "recomputes", "primary key"])
def test_a_misspelt_option_is_refused_with_a_suggestion(option: str) -> None:
    [fault] = faults(f"-- key: a\n-- {option}: b\nSELECT a FROM s.t")
    assert fault.startswith(f"views/order_board.sql:2: unknown option '{option}:'; did you mean '")


@pytest.mark.parametrize("line", ["Note: keyed by hand", "Hey: you", "one: two", "See https://example.org/", "-----"])
def test_other_comments_are_the_description(line: str) -> None:
    assert parsed(f"-- {line}\n-- key: a\nSELECT a FROM s.t").description.strip("- ") == line.strip("- ")


def test_all_faults_of_a_file_are_told_at_once_in_the_order_of_their_lines() -> None:
    assert faults("-- key: a b\n-- index:\n-- index: c\n-- index: c\n-- recompute: some\nDELETE FROM s.t") == [
        "views/order_board.sql:1: 'key: a b': 'a b' is not a column name; write column names separated by commas "
        '(one with other characters in "double quotes")',
        "views/order_board.sql:2: 'index:' names no column; write those of the index, for example `-- index: placed_at`",
        "views/order_board.sql:4: index on c is asked for twice; remove one of the lines",
        "views/order_board.sql:5: 'recompute: some' is unknown; the only choice is 'recompute: whole'",
        "views/order_board.sql:6: a view is one SELECT (or WITH … SELECT), found 'DELETE'; write only the query",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT a FROM s.t", ":1: the view has no key; write the columns"),
        ("-- key: a\n-- key: b\nSELECT a", ":2: a second 'key:'"),
        ("-- key: a, a\nSELECT a", ":1: 'key:' names column 'a' twice"),
        ("-- key: a,\nSELECT a", ":1: 'key: a,': '' is not a column name"),
        ("-- key: a\n", ":3: the file holds no query"),
        ("-- key: a\n  ;\n", ":2: the file holds no query"),
        ("-- key: a\n/* nothing */", ":2: the file holds no query"),
        ("-- key: a\nSELECT 1;\nSELECT 2", ":3: 'SELECT' after ';': a view is one SELECT"),
        ("-- key: a\nSELECT 1\n-- index: b\n", ":3: 'index:' stands below the beginning of the SELECT; move it above"),
    ],
)
def test_what_is_not_one_keyed_select_is_refused(text: str, expected: str) -> None:
    [fault] = faults(text)
    assert expected in fault


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Orders", "is not a name: use lower-case"),
        ("order-board", "is not a name"),
        ("1st", "is not a name"),
        ("syncline_views", "begins with 'syncline_'"),
        ("sqlite_stat", "begins with 'sqlite_'"),
        ("orders__lines", "contains '__'"),
    ],
)
def test_a_name_that_could_be_another_table_is_refused(name: str, expected: str) -> None:
    [fault] = faults("-- key: a\nSELECT a FROM s.t", name)
    assert expected in fault
    assert fault.endswith("rename the file")


@given(st.text(alphabet="-:; key'\"/*\n[]`SELECTab,()\r\ufeff", max_size=80))
def test_any_text_is_a_view_or_is_refused(text: str) -> None:
    try:
        view = parse_view("v", text, "v.sql")
    except InvalidDefinition as error:
        assert error.faults
    else:
        assert view.sql
        assert view.sql in text.removeprefix("\ufeff").replace("\r\n", "\n")
