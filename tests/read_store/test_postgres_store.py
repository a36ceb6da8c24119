"""The read store on PostgreSQL holds what it is given, and what its views' queries give of that, whatever comes."""

import random
from collections.abc import Callable, Iterator
from contextlib import closing
from urllib.parse import urlsplit

import psycopg
import pytest
from tests.read_store.postgres_world import World, relation

from syncline.errors import Fenced, StoreError, Unavailable
from syncline.messages import DeadLetter, Row
from syncline.read.maintain.schema import mirror_id
from syncline.stores.postgres.mirror import key_terms, orders_by_bytes
from syncline.stores.postgres.read import PostgresReadStore
from syncline.stores.postgres.read_role import trial_store
from syncline.testing.postgres import Databases

ORDERS = relation("orders.header", "id bigint, customer text, placed timestamp with time zone", "id")
LINES = relation("orders.line", "id bigint, sku text, quantity integer, price numeric", "id, sku")
STOCK = relation("stock.item", "sku text, shelf text, note json", "sku")
RELATIONS = [ORDERS, LINES, STOCK]
VIEWS = {
    "board": "-- key: id\nSELECT h.id, h.customer, SUM(l.quantity) AS pieces FROM orders.header h "
    "LEFT JOIN orders.line l ON l.id = h.id GROUP BY h.id, h.customer",
    "shelves": "-- key: id, sku\nSELECT l.id, l.sku, l.price, i.shelf FROM orders.line l JOIN stock.item i ON i.sku = l.sku",
    "boards": "-- key: id\nSELECT id, pieces + 0 AS p FROM board WHERE pieces > 2",
    "by_customer": "-- key: customer\nSELECT customer, COUNT(*) AS n FROM orders.header GROUP BY customer",
    "by_shelf": "-- key: shelf\nSELECT i.shelf, SUM(l.quantity) AS n FROM orders.line l JOIN stock.item i ON i.sku = l.sku "
    "GROUP BY i.shelf",
    "nested": "-- key: customer\nSELECT customer, MAX(pieces) AS most FROM (SELECT h.id, h.customer, COUNT(l.sku) AS pieces "
    "FROM orders.header h LEFT JOIN orders.line l ON l.id = h.id GROUP BY h.id, h.customer) AS d GROUP BY customer",
    "all_lines": "-- key:\n-- recompute: whole\nSELECT COUNT(*) AS n FROM orders.line",
    "items": "-- key: sku\nSELECT sku, shelf, note FROM stock.item",
}
SKUS, SHELVES = ("a", "B", "ä", "c d", ""), (None, "left", "right")


def order(rng: random.Random) -> Row:
    return rng.randint(1, 9), rng.choice((None, "ann", "Bob", "bób")), rng.choice((None, "2026-01-01 00:00:00+00"))


def line(rng: random.Random) -> Row:
    return rng.randint(1, 9), rng.choice(SKUS), rng.choice((None, 1, 2, 3)), rng.choice((None, "1.0", "1.00", "2", "NaN"))


def item(rng: random.Random) -> Row:
    return rng.choice(SKUS), rng.choice(SHELVES), rng.choice((None, '{"a":1}', '{"a": 1}'))


MAKE: dict[str, Callable[[random.Random], Row]] = {"orders.header": order, "orders.line": line, "stock.item": item}


@pytest.fixture
def world(postgres: Databases) -> Iterator[World]:
    made = World(postgres.create("store"), RELATIONS, VIEWS)
    yield made
    made.close()


def random_batch(world: World, rng: random.Random) -> None:
    """Several tables of one service change, some twice in one batch."""
    service = rng.choice(world.services)
    changes = []
    for name in (each for each in world.relations if world.relations[each].service == service):
        for _ in range(rng.choice((0, 1, 1, 2))):
            rows = [MAKE[name](rng) for _ in range(rng.choice((0, 1, 3, 25)))]
            places = world.relations[name].key_indexes
            net = {tuple(row[place] for place in places): row for row in rows}
            gone = rng.sample(list(world.given[name]), min(len(world.given[name]), rng.choice((0, 1, 2))))
            changes.append((name, list(net.values()), [key for key in gone if key not in net]))
    world.batch(service, *changes)


@pytest.mark.parametrize("seed", range(4))
def test_mirrors_and_views_are_exact_after_every_batch(world: World, seed: int) -> None:
    rng = random.Random(seed)
    for name, make in MAKE.items():
        rows = [make(rng) for _ in range(rng.choice((0, 5, 12)))]
        world.given[name] = {tuple(row[place] for place in world.relations[name].key_indexes): row for row in rows}
    world.load()
    if rng.random() < 0.5:
        world.build()
    for _ in range(16):
        chance = rng.random()
        if chance < 0.1:
            world.store.rebuild(rng.choice(list(VIEWS)))
        elif chance < 0.3:
            world.store.build(0.0)
        else:
            random_batch(world, rng)
        assert world.differences() == []
    world.build()
    assert world.differences() == []
    assert set(world.store.definitions.live) == set(VIEWS)
    world.store._postgres.builds.kept_s = 0.0
    world.store.trim_changes()
    leftovers = world.query("SELECT count(*) FROM syncline.made WHERE kind = 'table'")
    assert leftovers == [(len(VIEWS) * 2 + 1,)], "rows and a change feed for each view, and the rows of the inner SELECT"


def test_no_statement_reads_a_table_from_end_to_end(world: World) -> None:
    world.load()
    world.build()
    assert {name: world.store.scans(name) for name in VIEWS} == dict.fromkeys(VIEWS, [])


def test_a_row_written_with_other_digits_or_other_text_of_the_same_value_is_a_change(world: World) -> None:
    world.load()
    world.build()
    world.give("stock.item", [("a", "left", '{"a":1}')])
    world.give("orders.line", [(1, "a", 1, "1.0")])
    before = world.query("SELECT max(seq) FROM shop.shelves__changes")[0][0]
    world.give("orders.line", [(1, "a", 1, "1.0")])
    assert world.query("SELECT max(seq) FROM shop.shelves__changes")[0][0] == before, "nothing changed"
    world.give("orders.line", [(1, "a", 1, "1.00")])
    world.give("stock.item", [("a", "left", '{"a": 1}')])
    assert world.query("SELECT price::text FROM shop.shelves") == [("1.00",)]
    assert world.query("SELECT note::text FROM shop.items") == [('{"a": 1}',)]
    changes = world.query("SELECT op, id, sku FROM shop.shelves__changes WHERE seq > %s ORDER BY seq", before)
    assert changes == [("upsert", 1, "a")]


def test_the_change_feed_tells_rows_written_and_rows_gone_and_begins_anew_after_a_switch(world: World) -> None:
    world.load()
    world.build()
    world.give("orders.header", [(1, "ann", None), (2, "bob", None)])
    world.give("orders.header", [(1, "eve", None)], [(2,)])
    found = world.query("SELECT op, id FROM shop.board__changes ORDER BY seq")
    assert found[0] == ("reset", None)
    assert set(found[1:3]) == {("upsert", 1), ("upsert", 2)}
    assert set(found[3:]) == {("upsert", 1), ("delete", 2)}
    last = world.query("SELECT max(seq) FROM shop.board__changes")[0][0]
    world.store.rebuild("board")
    world.build()
    assert world.query("SELECT seq > %s, op FROM shop.board__changes", last) == [(True, "reset")]


def test_names_with_capitals_quotes_and_percent_signs_are_kept(postgres: Databases) -> None:
    odd = relation('stock.Odd "Name"', 'Key bigint, The_"Value" text, per%cent integer', "Key")
    view = '-- key: Key\nSELECT o."Key", o."The_""Value""", o."per%cent" AS "100 %" FROM stock."Odd ""Name""" o'
    with closing(World(postgres.create("names"), [odd], {"odd": view})) as world:
        world.given[odd.name] = {(n,): (n, f"{n}%", None) for n in range(40)}
        world.load()
        world.build()
        world.give(odd.name, [(3, "three", 3), (41, "%s", 4)], [(7,)])
        assert world.differences() == []
        held = world.store.rows_of(world.store.relations[mirror_id("stock", odd.table)], [(3,), (7,), (41,)])
        assert sorted(held, key=repr) == [(3, "three", 3), (41, "%s", 4)]


def test_names_that_postgresql_would_cut_are_refused_by_name(postgres: Databases) -> None:
    with pytest.raises(StoreError, match=rf"view: '{'v' * 50}' has 50 bytes"):
        World(postgres.create("names"), [STOCK], {"v" * 50: "-- key: sku\nSELECT sku FROM stock.item"})
    long = relation("stock.item", f"sku text, {'ä' * 32} text", "sku")
    with pytest.raises(StoreError, match="has 64 bytes"):
        World(postgres.create("names"), [long], {"v": f'-- key: sku\nSELECT sku, "{"ä" * 32}" AS x FROM stock.item'})


def test_a_table_that_is_not_ours_is_never_touched(postgres: Databases) -> None:
    url = postgres.create("taken")
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute("CREATE SCHEMA stock CREATE TABLE item (sku text)")
        owner.execute("CREATE SCHEMA shop CREATE TABLE ours (a int)")
        with pytest.raises(StoreError, match='has a table "stock"."item" already'):
            World(url, [STOCK], {"items": VIEWS["items"]})
        world = World(url, [ORDERS], {"by_customer": VIEWS["by_customer"]})
        world.load()
        world.build()
        world.define({})
        assert owner.execute("SELECT count(*) FROM shop.ours").fetchone() == (0,)
        assert owner.execute("SELECT to_regclass('shop.by_customer'), to_regclass('orders.header')").fetchone() == (None, None)
        world.close()


def test_columns_of_a_mirror_come_and_go_while_its_views_stay_readable(world: World) -> None:
    world.given["stock.item"] = {("a",): ("a", "left", None), ("B",): ("B", None, '{"x":2}')}
    world.load()
    world.build()
    slim = {"items": "-- key: sku\nSELECT sku, shelf FROM stock.item"}
    world.define(slim)
    world.build()
    assert world.query("SELECT * FROM shop.items ORDER BY sku") == [("B", None), ("a", "left")]
    assert [c.name for c in world.store.relations["stock__item"].columns] == ["sku", "shelf", "note"]
    world.define(slim)
    assert [c.name for c in world.store.relations["stock__item"].columns] == ["sku", "shelf"]
    world.define({**slim, "notes": "-- key: sku\nSELECT sku, note FROM stock.item"})
    assert world.store.definitions.states["stock__item"] == "filling"
    world.give("stock.item", [("a", "right", '{"y":1}')])
    assert world.query("SELECT shelf FROM shop.items WHERE sku = 'a'") == [("right",)]
    world.load()
    world.build()
    assert world.differences() == []
    assert world.query("SELECT sku, note::text FROM shop.notes ORDER BY sku") == [("B", '{"x":2}'), ("a", '{"y":1}')]


def test_a_first_copy_that_meets_rows_that_are_there_replaces_them(world: World) -> None:
    rows: list[Row] = [(str(n), "left", None) for n in range(50)]
    world.store.load("stock__item", rows, done=False)
    world.store.load("stock__item", [(str(n), "right", None) for n in range(40, 60)], done=False)
    assert world.store.copied("stock__item") == 70
    world.given["stock.item"] = {(str(n),): (str(n), "left" if n < 40 else "right", None) for n in range(60)}
    world.store.load("stock__item", [], done=True)
    world.load()
    assert world.differences() == []


def test_a_piece_that_cannot_be_computed_is_parked_and_the_rest_goes_on(postgres: Databases) -> None:
    lines = relation("orders.line", "id bigint, amount bigint", "id")
    views = {"products": "-- key: id\nSELECT id, amount * 4000000000000000000 AS part FROM orders.line"}
    world = World(postgres.create("poison"), [lines], views)
    world.given["orders.line"] = {(n,): (n, n % 5) for n in range(1, 20)}
    world.load()
    world.build()
    parked = "SELECT key, error FROM syncline.parked ORDER BY length(key), key"
    assert world.query(parked) == [(f"[{n}]", "bigint out of range") for n in (3, 4, 8, 9, 13, 14, 18, 19)]
    world.give("orders.line", [(1, 9), (2, 1), (3, 1)])
    assert world.query(parked) == [(f"[{n}]", "bigint out of range") for n in (1, 4, 8, 9, 13, 14, 18, 19)]
    rows = world.query("SELECT id, part / 4000000000000000000 FROM shop.products WHERE id < 6 ORDER BY id")
    assert rows == [(1, 1), (2, 1), (3, 1), (5, 0)], "a parked piece keeps the rows it had"
    world.give("orders.line", [], [(n,) for n in (1, 13, 14, 18, 19, 4, 8, 9)])
    assert world.query(parked) == []
    assert world.differences() == []
    world.close()


def test_rows_of_a_stream_that_is_held_back_are_marked_through_all_views(world: World) -> None:
    world.given["orders.header"] = {(1,): (1, "ann", None), (2,): (2, "bob", None)}
    world.load()
    world.build()
    letter = DeadLetter("orders", "order-2", 7, "Shipped", "KeyError", 5.0, frozenset({("orders.header", (2,))}))
    world.batch("orders", parked=[letter])
    assert list(world.store.dead_letters("orders")) == [letter]
    marked = world.query("SELECT view, key FROM syncline.marked WHERE view IN ('board', 'boards') ORDER BY 1, 2")
    assert ("board", "[2]") in marked
    assert ("board", "[1]") not in marked
    world.store.rebuild("board")
    world.build()
    assert ("board", "[2]") in world.query("SELECT view, key FROM syncline.marked")
    world.batch("orders", released=["order-2"])
    assert world.query("SELECT count(*) FROM syncline.marked") == [(0,)]


def test_a_relay_that_another_took_over_from_writes_nothing_any_more(world: World) -> None:
    world.load()
    other = PostgresReadStore(world.url, "shop")
    other.take_over("another")
    for write in (
        lambda: world.give("stock.item", [("a", None, None)]),
        lambda: world.store.load("stock__item", [("a", None, None)], done=False),
        lambda: world.store.seen(["stock"], 9.0),
        lambda: world.store.begun("stock", 9),
        lambda: world.define(VIEWS),
        lambda: world.store.build(1.0),
        world.store.sync,
        world.store.trim_changes,
    ):
        with pytest.raises(Fenced):
            write()
    assert world.query("SELECT count(*) FROM stock.item") == [(0,)]
    other.close()


def test_a_connection_cut_in_the_middle_of_a_batch_leaves_nothing_of_it(world: World) -> None:
    world.load()
    world.build()
    world.give("stock.item", [("a", "left", None)])
    before = world.store.checkpoint("orders")
    (pid,) = world.store._postgres.connection.execute("SELECT pg_backend_pid()").fetchone() or (0,)

    class Cutting(list[Row]):
        """Rows of which the second is read when the connection is gone."""

        def __iter__(self) -> Iterator[Row]:
            yield 5, "cut", None
            world.query("SELECT pg_terminate_backend(%s)", pid)
            yield from ((n, "cut", None) for n in range(100, 200))

    held = world.store.relations["orders__header"]
    rows = Cutting((5, "cut", None)[: len(held.columns)] for _ in range(101))
    with pytest.raises((Unavailable, StoreError)):
        world.batch("orders", ("orders.header", [(1, "ann", None)], []), ("orders.header", rows, []))
    world.store.close()
    world.store = PostgresReadStore(world.url, "shop")
    world.store.take_over("again")
    world.define(VIEWS)
    assert world.store.checkpoint("orders") == before
    assert world.query("SELECT count(*) FROM orders.header") == [(0,)]
    world.give("orders.header", [(1, "ann", None)])
    assert world.differences() == []


def test_a_trial_tells_whether_views_can_be_run_and_leaves_nothing(world: World) -> None:
    schemas = "SELECT nspname FROM pg_namespace ORDER BY 1"
    before = world.query(schemas)
    with trial_store(world.url, "shop") as trial:
        twin = World.__new__(World)
        twin.relations, twin.given, twin.store = world.relations, {name: {} for name in world.relations}, trial  # type: ignore[assignment]
        twin.define(VIEWS)
        for service in twin.services:
            trial.start(service, world.store.checkpoint(service), 0.0)  # type: ignore[arg-type]
        twin.load()
        twin.build()
        assert trial.scans("board") == []
    assert world.query(schemas) == before


def test_what_was_applied_is_on_the_disk_after_a_sync(world: World) -> None:
    world.load()
    written = world.query("SELECT pg_current_wal_insert_lsn()")[0][0]
    world.store.sync()
    assert world.query("SELECT pg_current_wal_flush_lsn() >= %s", written) == [(True,)]
    assert world.store._postgres.connection.execute("SHOW synchronous_commit").fetchone() == ("off",)


def test_a_definition_that_the_database_refuses_leaves_the_store_as_it_was(world: World) -> None:
    world.load()
    world.build()
    wrong = relation("stock.other", "sku text, shape no_such_type", "sku")
    world.relations["stock.other"], world.given["stock.other"] = wrong, {}
    with pytest.raises(StoreError, match="no_such_type"):
        world.define({**VIEWS, "others": "-- key: sku\nSELECT sku, shape FROM stock.other"})
    world.relations["stock.other"] = relation("stock.other", "sku text, shape text", "sku")
    world.define({**VIEWS, "others": "-- key: sku\nSELECT sku, shape FROM stock.other"})
    world.load()
    world.build()
    world.give("stock.other", [("a", "round")])
    assert world.query("SELECT * FROM shop.others") == [("a", "round")]
    assert world.differences() == []


def test_a_role_without_the_right_to_make_schemas_is_told_which_grant_it_lacks(postgres: Databases) -> None:
    url = postgres.create("rights")
    role = f"poor_{url.rpartition('_')[2]}"
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'poor'")
        try:
            poor = urlsplit(url)._replace(netloc=f"{role}:poor@{urlsplit(url).netloc.rpartition('@')[2]}").geturl()
            with pytest.raises(StoreError, match="GRANT CREATE, TEMPORARY ON DATABASE") as raised:
                PostgresReadStore(poor, "shop")
            assert ":poor" not in str(raised.value), "the password is not shown"
            owner.execute(str(raised.value).rpartition("; ")[2])
            PostgresReadStore(poor, "shop").close()
        finally:
            owner.execute(f"DROP OWNED BY {role} CASCADE")
            owner.execute(f"DROP ROLE {role}")


@pytest.mark.parametrize("collation", ["C", "C.UTF-8"])
def test_ranges_of_a_mirror_are_in_the_order_of_bytes_and_read_by_an_index(postgres: Databases, collation: str) -> None:
    url = postgres.create("order")
    name, twin = f"{url.rpartition('/')[2]}_twin", f"{url}_twin"
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute(f"CREATE DATABASE \"{name}\" TEMPLATE template0 LOCALE_PROVIDER libc LOCALE '{collation}'")
    try:
        with closing(World(twin, [STOCK], {"items": VIEWS["items"]})) as world:
            skus = ["a", "B", "b", "Z", "ä", "é", "ab", "a b", "_", ""]
            world.given["stock.item"] = {(sku,): (sku, None, None) for sku in skus}
            world.load()
            held = world.store.relations["stock__item"]
            assert [row[0] for row in world.store.held(held, None, None)] == sorted(skus, key=str.encode)
            assert [row[0] for row in world.store.held(held, ("Z",), ("b",))] == ["_", "a", "a b", "ab", "b"]
            key = ", ".join(key_terms(held, by_bytes=orders_by_bytes(world.store._postgres.connection)))
            explained = world.store._postgres.connection.execute(
                f"EXPLAIN SELECT sku FROM stock.item WHERE ({key}) > ('B') ORDER BY {key}"
            ).fetchall()
            assert "Index Cond" in str(explained)
    finally:
        with psycopg.connect(url, autocommit=True) as owner:
            owner.execute(f'DROP DATABASE "{name}"')
