"""Readers of a read store on PostgreSQL, by plain SQL and by the program: what they see while views are built anew."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest
from psycopg import errors
from tests.read_store.postgres_world import World, relation

from syncline.errors import NotFound, StoreError, Unavailable
from syncline.messages import Batch, Position, Token
from syncline.read.reader import Wanted, read_view
from syncline.stores.paging import Condition, Sort
from syncline.stores.postgres.control import PostgresLease, PostgresRequests, is_leased
from syncline.stores.postgres.read import PostgresReadStore
from syncline.stores.postgres.reader import PostgresReader
from syncline.testing.postgres import Databases

ITEM = relation("stock.item", "sku text, shelf text, pieces integer", "sku")
TEXT = "-- key: sku\nSELECT sku, shelf FROM stock.item"
OTHER = "-- key: sku\nSELECT sku, shelf FROM stock.item WHERE pieces < 3"
WIDER = "-- key: sku\nSELECT sku, pieces, shelf FROM stock.item"
READ = "SELECT * FROM shop.items ORDER BY 1"
WAIT_S = 20.0


@pytest.fixture
def world(postgres: Databases) -> Iterator[World]:
    made = World(postgres.create("readers"), [ITEM], {"items": TEXT})
    made.given["stock.item"] = {(sku,): (sku, "left", n) for n, sku in enumerate("abcde")}
    made.load()
    made.build()
    yield made
    made.close()


@pytest.fixture
def reader(world: World) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    with psycopg.connect(world.url, autocommit=True) as connection:
        yield connection


def rows(count: int, shelf: str = "left") -> list[tuple[str, str]]:
    return [(sku, shelf) for sku in "abcde"[:count]]


def switch(world: World, view: str) -> None:
    """Has the view defined anew, copied and built, as far as readers let it."""
    before = world.store.generation("items")
    world.define({"items": view})
    world.load()
    wait_until(lambda: world.store.build(0.0) and world.store.generation("items") != before)


def clean(world: World) -> list[str]:
    """Lets the store drop now what readers let it drop; returns the tables of rows that it still has."""
    world.store._postgres.builds.kept_s = 0.0
    world.store.trim_changes()
    return [name for (name,) in world.query("SELECT name FROM syncline.made WHERE name ~ '^items__g[0-9]+$' ORDER BY name")]


def wait_until(is_done: Callable[[], bool]) -> None:
    """A connection that was closed holds its locks for some moments more."""
    until = time.monotonic() + WAIT_S
    while not is_done():
        assert time.monotonic() < until


def test_a_snapshot_taken_before_a_switch_shows_the_old_rows_or_says_that_it_cannot(world: World) -> None:
    """A reader who had the view in hand sees the old rows to the end; one who comes to it too late is told to begin anew."""
    with psycopg.connect(world.url) as early, psycopg.connect(world.url) as late:
        for connection in (early, late):
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            connection.execute("SELECT 1").fetchone()  # the snapshot is taken here
        world.give("stock.item", [("a", "right", 0)])
        switch(world, OTHER)
        assert early.execute(READ).fetchall() == rows(5)
        world.give("stock.item", [("b", "right", 0)])
        assert early.execute(READ).fetchall() == rows(5)
        assert world.query(READ) == [("a", "right"), ("b", "right"), ("c", "left")]
        early.rollback()
        wait_until(lambda: clean(world) == ["items__g2"])
        with pytest.raises(errors.SerializationFailure, match="view items was built anew after the snapshot"):
            late.execute(READ)
        late.rollback()
        assert len(late.execute(READ).fetchall()) == 3


def test_a_reader_who_holds_a_view_keeps_its_table_and_makes_nobody_wait(world: World) -> None:
    with psycopg.connect(world.url) as holder:
        holder.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        assert holder.execute(READ).fetchall() == rows(5)
        world.store.rebuild("items")
        began = time.monotonic()
        world.build()
        assert world.store.generation("items") == 1, "it cannot be switched while the view is held"
        assert time.monotonic() - began < 1.0
        world.give("stock.item", [("a", "right", 0)])
        began = time.monotonic()
        assert world.query(READ) == [("a", "right"), *rows(5)[1:]], "what is live goes on"
        assert time.monotonic() - began < 1.0
        assert holder.execute(READ).fetchall() == rows(5)
        assert clean(world) == ["items__g1", "items__g2"]
    wait_until(lambda: world.store.build(0.0) and world.store.generation("items") == 2)
    wait_until(lambda: clean(world) == ["items__g2"])
    assert world.differences() == []


def test_every_statement_sees_all_old_rows_or_all_new_ones_across_many_switches(world: World) -> None:
    """Readers in both isolation levels, by plain SQL and through the program, while the view is built anew again and again."""
    stop, problems, seen = threading.Event(), list[str](), set[int]()
    texts = (TEXT, OTHER)

    def read(isolation: str) -> None:
        with psycopg.connect(world.url) as connection:
            while not stop.is_set():
                connection.execute(f"SET TRANSACTION ISOLATION LEVEL {isolation}")
                try:
                    counts = [len(connection.execute(READ).fetchall()) for _ in range(2)]
                    connection.commit()
                except errors.SerializationFailure:
                    connection.rollback()
                    continue
                seen.update(counts)
                if not set(counts) <= {5, 3} or (isolation == "REPEATABLE READ" and counts[0] != counts[1]):
                    problems.append(f"{isolation}: {counts}")

    def ask() -> None:
        with closing(PostgresReader(world.url)) as reader:
            while not stop.is_set():
                found = read_view(reader, Wanted("items"), is_followed=lambda: True)
                if len(found.rows) not in (5, 3):
                    problems.append(f"program: {found.rows}")

    threads = [threading.Thread(target=read, args=(each,)) for each in ("REPEATABLE READ", "READ COMMITTED")]
    threads.append(threading.Thread(target=ask))
    for thread in threads:
        thread.start()
    try:
        for number in range(1, 13):
            switch(world, texts[number % 2])
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert problems == []
    assert seen == {3, 5}
    wait_until(lambda: len(clean(world)) == 1)


def test_a_view_whose_columns_change_keeps_the_grants_on_it(world: World, reader: psycopg.Connection[tuple[Any, ...]]) -> None:
    reader.execute("DROP ROLE IF EXISTS syncline_plain_reader")
    reader.execute("CREATE ROLE syncline_plain_reader LOGIN")
    try:
        reader.execute("GRANT USAGE ON SCHEMA shop TO syncline_plain_reader")
        reader.execute("GRANT SELECT ON shop.items TO syncline_plain_reader")
        reader.execute("SET ROLE syncline_plain_reader")
        assert reader.execute(READ).fetchall() == rows(5)
        switch(world, WIDER)
        assert reader.execute(READ).fetchall() == [(sku, n, "left") for n, sku in enumerate("abcde")]
        with pytest.raises(errors.InsufficientPrivilege):
            reader.execute("SELECT * FROM stock.item")
        with pytest.raises(errors.InsufficientPrivilege):
            reader.execute("SELECT * FROM shop.items__g2")
        reader.execute("RESET ROLE")
        reader.execute("GRANT USAGE ON SCHEMA syncline TO syncline_plain_reader")
        reader.execute("SET ROLE syncline_plain_reader")
        reader.execute("SELECT syncline.wait_for(%s)", (str(Token({"stock": Position("i", 1)})),))
    finally:
        reader.execute("RESET ROLE")
        reader.execute("DROP OWNED BY syncline_plain_reader")
        reader.execute("DROP ROLE syncline_plain_reader")


def test_a_view_that_is_not_complete_says_so_to_plain_readers(world: World, reader: psycopg.Connection[tuple[Any, ...]]) -> None:
    world.relations["stock.item"] = relation("stock.item", "sku text, shelf character varying, pieces integer", "sku")
    world.define({"items": WIDER})
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="view items cannot be read in this snapshot"):
        reader.execute(READ)
    world.load()
    world.build()
    assert reader.execute(READ).fetchall() == [(sku, n, "left") for n, sku in enumerate("abcde")]


def test_a_view_that_is_no_longer_wanted_goes_when_nobody_holds_it(world: World) -> None:
    with psycopg.connect(world.url) as holder:
        assert holder.execute(READ).fetchall() == rows(5)
        world.define({})
        assert clean(world) == ["items__g1"]
    wait_until(lambda: clean(world) == [])
    assert world.query("SELECT to_regclass('shop.items'), to_regclass('shop.items__changes')") == [(None, None)]
    assert world.query("SELECT count(*) FROM syncline.made") == [(0,)]


# -- tokens ------------------------------------------------------------------------------------------------------------


def test_plain_sql_waits_for_a_token(world: World, reader: psycopg.Connection[tuple[Any, ...]]) -> None:
    at = world.store.checkpoint("stock")
    assert at is not None
    token = str(Token({"stock": Position("i", at.n + 1), "elsewhere": Position("x", 9)}))
    with pytest.raises(errors.QueryCanceled, match=f"service stock is at {at.n}, the token asks for {at.n + 1}"):
        reader.execute("SELECT syncline.wait_for(%s, '20 ms')", (token,))
    with pytest.raises(errors.QueryCanceled, match="another place"):
        reader.execute("SELECT syncline.wait_for(%s, '0 s')", (str(Token({"stock": Position("j", 1)})),))
    found: list[object] = []

    def wait() -> None:
        with psycopg.connect(world.url, autocommit=True) as other:
            other.execute("SELECT syncline.wait_for(%s, '20 s')", (token,))
            found.extend(other.execute("SELECT shelf FROM shop.items WHERE sku = 'a'").fetchall())

    thread = threading.Thread(target=wait)
    thread.start()
    world.give("stock.item", [("a", "right", 0)])
    thread.join(WAIT_S)
    assert found == [("right",)]
    reader.execute("SELECT syncline.wait_for(%s)", (token,))


def test_a_token_with_transactions_that_were_open_is_reached_when_they_are_in(
    world: World, reader: psycopg.Connection[tuple[Any, ...]]
) -> None:
    at = world.store.checkpoint("stock")
    assert at is not None

    def reached(token: Position) -> bool:
        try:
            reader.execute("SELECT syncline.wait_for(%s, '0 s')", (str(Token({"stock": token})),))
        except errors.QueryCanceled:
            return False
        return True

    world.store.apply(Batch("stock", at, (), Position("i", 100, open=(90, 97)), 1.0))
    assert world.store.checkpoint("stock") == Position("i", 100, open=(90, 97))
    for wanted in (
        Position("i", 89),
        Position("i", 96, open=(90,)),
        Position("i", 100, open=(90, 97)),
        Position("i", 99, open=(90, 97)),
    ):
        assert reached(wanted), wanted
        assert Position("i", 100, open=(90, 97)).reaches(wanted), "the function and the program agree"
    for wanted in (Position("i", 90), Position("i", 101), Position("i", 98, open=(90,)), Position("i", 100)):
        assert not reached(wanted), wanted
        assert not Position("i", 100, open=(90, 97)).reaches(wanted), "the function and the program agree"


def test_what_is_no_token_is_refused_and_so_is_one_of_a_history_that_is_gone(
    world: World, reader: psycopg.Connection[tuple[Any, ...]]
) -> None:
    token = str(Token({"stock": Position("i", 1)}))
    for nonsense in (
        "",
        "sl1.",
        "sl1.%%%",
        "x" + token,
        token[:-3],
        token[:9] + ("A" if token[9] != "A" else "B") + token[10:],
        None,
    ):
        with pytest.raises(errors.InvalidParameterValue, match="consistency token"):
            reader.execute("SELECT syncline.wait_for(%s)", (nonsense,))
    at = world.store.checkpoint("stock")
    assert at is not None
    world.store.apply(Batch("stock", at, (), Position("j", 1), 1.0))
    with pytest.raises(errors.InvalidParameterValue, match="a history of service stock that is gone"):
        reader.execute("SELECT syncline.wait_for(%s)", (token,))


def test_waiting_in_a_snapshot_is_refused_with_the_reason(world: World, reader: psycopg.Connection[tuple[Any, ...]]) -> None:
    token = str(Token({"stock": Position("i", 1)}))
    for isolation in ("REPEATABLE READ", "SERIALIZABLE"):
        reader.execute(f"BEGIN ISOLATION LEVEL {isolation}")
        with pytest.raises(errors.InvalidTransactionState, match=f"in a transaction that is {isolation}"):
            reader.execute("SELECT syncline.wait_for(%s)", (token,))
        reader.execute("ROLLBACK")


# -- the program's own readers, and what is between processes ----------------------------------------------------------


def test_the_program_reads_rows_by_values_of_any_type_and_refuses_what_none_can_be(world: World) -> None:
    switch(world, WIDER)
    with closing(PostgresReader(world.url)) as reader:
        found = read_view(reader, Wanted("items", ["a"]), is_followed=lambda: True)
        assert (found.rows, found.columns) == ([("a", 0, "left")], ("sku", "pieces", "shelf"))
        assert found.token == Token({"stock": world.store.checkpoint("stock") or Position("", 0)})
        assert reader.count("items") == 5
        assert reader.count("stock__item") == 5
        downwards = [Sort("sku", is_down=True)]
        assert reader.rows("stock__item", ["sku"], [Condition("pieces", [3, "4"])], downwards) == [("e",), ("d",)]
        assert reader.rows("items", ["sku"], [Condition("shelf", [None])]) == []
        with pytest.raises(NotFound, match="no row can have pieces = 'many'"):
            reader.rows("stock__item", ["sku"], [Condition("pieces", ["many"])])
        before = reader.data_version()
        world.give("stock.item", [("a", None, 0)])
        assert reader.data_version() != before
        assert reader.rows("items", ["sku"], [Condition("shelf", [None])]) == [("a",)]


def test_a_reader_finds_no_store_where_there_is_none_yet(postgres: Databases) -> None:
    url = postgres.create("none")
    with pytest.raises(Unavailable, match="there is no read store"):
        PostgresReader(url)
    with closing(PostgresReadStore(url, "shop")), pytest.raises(StoreError, match="holds the read model 'shop'"):
        PostgresReadStore(url, "other")


def test_one_relay_at_a_time_has_the_lease_and_it_ends_with_its_connection(world: World) -> None:
    one, other = PostgresLease(world.url), PostgresLease(world.url)
    assert not is_leased(world.url)
    assert one.acquire()
    assert one.acquire()
    assert not other.acquire()
    assert is_leased(world.url)
    world.query("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = 1")
    wait_until(other.acquire)
    assert not one.acquire() or one._connection is not None
    other.release()
    one.release()
    assert not is_leased(world.url)


def test_requests_are_done_in_order_and_their_answers_found(postgres: Databases) -> None:
    url = postgres.create("requests")
    with closing(PostgresRequests(url)) as asking, closing(PostgresRequests(url)) as attending:
        assert attending.waiting() == []
        numbers = [asking.ask("rebuild", "board"), asking.ask("mark", {"keys": [1]})]
        assert [(each.id, each.verb, each.argument) for each in attending.waiting()] == [
            (numbers[0], "rebuild", "board"),
            (numbers[1], "mark", {"keys": [1]}),
        ]
        attending.answer(numbers[0], "failed", "no such view")
        found = asking.find(numbers[0])
        assert found is not None
        assert (found.state, found.answer) == ("failed", "no such view")
        assert [each.id for each in attending.waiting()] == numbers[1:]
        assert asking.find(10**6) is None
