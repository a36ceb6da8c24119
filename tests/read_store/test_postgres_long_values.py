"""A value that is too long for an index of PostgreSQL, in whatever column an index is over, is held like any other."""

import random
import re
from collections.abc import Iterator

import pytest
from tests.read_store.postgres_world import World, relation

from syncline.messages import DeadLetter, Row
from syncline.testing.postgres import Databases


def incompressible(length: int, seed: int = 1) -> str:
    return random.Random(seed).randbytes(length // 2 + 1).hex()[:length]


LONG = incompressible(10_000)
TEXTS = ("", "a", "ä", incompressible(3_000), LONG, LONG + "x", incompressible(40_000, 2))
DIGITS = "1" + "".join(random.Random(1).choices("0123456789", k=12_000))
BYTES = bytes.fromhex(LONG)
ITEMS = relation("stock.item", "sku text, shelf text, raw bytea, amount numeric", "sku")
LINES = relation("sales.line", "id bigint, sku text, note text", "id")
PAIRS = relation("sales.pair", "shop integer, code text, n integer", "shop, code")
VIEWS = {
    "items": "-- key: sku\n-- index: shelf, sku\nSELECT sku, shelf, raw, amount FROM stock.item",
    "lines": "-- key: id\nSELECT l.id, l.note, i.shelf FROM sales.line l LEFT JOIN stock.item i ON i.sku = l.sku",
    "notes": "-- key: note\nSELECT note, COUNT(*) AS n FROM sales.line GROUP BY note",
    "raws": "-- key: raw\nSELECT raw, COUNT(*) AS n FROM stock.item GROUP BY raw",
    "amounts": "-- key: amount\nSELECT trim_scale(amount) AS amount, COUNT(*) AS n FROM stock.item GROUP BY trim_scale(amount)",
    "pairs": "-- key: shop, code\nSELECT p.shop, p.code, p.n, i.shelf FROM sales.pair p JOIN stock.item i ON i.sku = p.code",
    "shelves": "-- key: shelf, note\nSELECT i.shelf, l.note, COUNT(*) AS n FROM sales.line l JOIN stock.item i ON i.sku = l.sku "
    "GROUP BY i.shelf, l.note",
    "over": "-- key: shelf\nSELECT shelf, COUNT(*) AS n, MAX(note) AS last FROM lines GROUP BY shelf",
    "overflows": "-- key: shelf\nSELECT i.shelf, SUM(p.n) * 2000000000 AS n FROM sales.pair p JOIN stock.item i "
    "ON i.sku = p.code GROUP BY i.shelf",
}


@pytest.fixture
def world(postgres: Databases) -> Iterator[World]:
    made = World(postgres.create("long"), [ITEMS, LINES, PAIRS], VIEWS)
    yield made
    made.close()


def made_live(world: World) -> World:
    world.load()
    world.build()
    return world


def item(rng: random.Random) -> Row:
    amount = rng.choice((None, "1", "1.0", DIGITS))
    return rng.choice(TEXTS), rng.choice((None, *TEXTS)), rng.choice((None, b"\x00", BYTES)), amount


def line(rng: random.Random) -> Row:
    return rng.randint(1, 9), rng.choice((None, *TEXTS)), rng.choice((None, *TEXTS))


def pair(rng: random.Random) -> Row:
    return rng.randint(1, 3), rng.choice(TEXTS), rng.randint(1, 9)


def random_batch(world: World, rng: random.Random) -> None:
    service = rng.choice(world.services)
    changes = []
    for name, make in (("stock.item", item), ("sales.line", line), ("sales.pair", pair)):
        if world.relations[name].service == service:
            rows = {row[: len(world.relations[name].key)]: row for row in (make(rng) for _ in range(rng.randint(0, 20)))}
            gone = [key for key in world.given[name] if key not in rows and rng.random() < 0.2]
            changes.append((name, list(rows.values()), gone))
    world.batch(service, *changes)


def remarks_of(world: World) -> str:
    return "\n".join(world.store.take_remarks())


@pytest.mark.parametrize("seed", range(4))
def test_all_stays_exact_whatever_is_long(world: World, seed: int) -> None:
    rng = random.Random(seed)
    if seed % 2:
        for name, make in (("stock.item", item), ("sales.line", line), ("sales.pair", pair)):
            rows = [make(rng) for _ in range(30)]
            world.given[name] = {row[: len(world.relations[name].key)]: row for row in rows}
    made_live(world)
    assert world.differences() == []
    for _ in range(5):
        random_batch(world, rng)
        assert world.differences() == []
        if rng.random() < 0.3:
            world.store.rebuild(rng.choice(list(VIEWS)))
            random_batch(world, rng)
            world.build()
            assert world.differences() == []


@pytest.mark.parametrize(
    ("name", "row", "told"),
    [
        ("stock.item", (LONG, "left", None, None), '"stock"."item" holds a value that is too long for a B-tree: .*[(]sku[)]'),
        ("stock.item", ("b", LONG, None, None), '"shop"."items__g.*[(]shelf, sku[)]'),
        ("stock.item", ("b", "left", BYTES, None), '"stock"."item".*[(]raw[)]'),
        ("sales.line", (2, LONG, "n"), '"sales"."line".*[(]sku[)]'),
        ("sales.line", (2, "a", LONG), '"shop"."notes__g.*[(]note[)]'),
        ("sales.pair", (1, LONG, 1), '"sales"."pair".*[(]shop, code[)]'),
    ],
    ids=["mirror's key", "index asked for", "bytes", "joined column", "view's key", "key of two columns"],
)
def test_it_and_what_comes_with_it_are_there_at_once_and_it_is_told(world: World, name: str, row: Row, told: str) -> None:
    made_live(world)
    world.give("stock.item", [("a", "left", None, None)])
    world.give("sales.line", [(1, "a", "n")])
    assert remarks_of(world) == ""
    key = world.relations[name].key
    others = {"stock.item": ("c", "right", None, None), "sales.line": (3, "a", "m"), "sales.pair": (2, "a", 2)}
    world.give(name, [row, others[name]])
    assert world.differences() == []
    assert re.search(told, remarks_of(world))
    world.give(name, [(*row[: len(key)], *others[name][len(key) :])], [])
    world.give(name, [], [row[: len(key)]])
    assert world.differences() == []
    assert remarks_of(world) == ""


def test_a_first_copy_that_repeats_rows_with_a_long_key_holds_each_once(world: World) -> None:
    table = "stock__item"
    world.store.load(table, [(LONG, None, None, None), ("b", "left", None, None)], done=False)
    again = [(LONG, "right", None, None), ("c", "left", None, None)]
    world.store.load(table, again, done=True)
    world.given["stock.item"] = {(row[0],): row for row in [("b", "left", None, None), *again]}
    world.load()
    world.build()
    assert world.differences() == []


def test_a_view_that_is_defined_over_long_values_later_is_built_of_them(world: World) -> None:
    first = {"items": VIEWS["items"]}
    world.define(first)
    world.given["stock.item"] = {(text,): (text, LONG + text, None, None) for text in TEXTS}
    made_live(world)
    world.define({**first, "shelves": "-- key: shelf\nSELECT shelf, COUNT(*) AS n FROM stock.item GROUP BY shelf"})
    world.build()
    assert world.differences() == []
    assert world.query("SELECT n FROM shop.shelves WHERE shelf = %s", LONG + "ä") == [(1,)]


def test_what_long_values_are_in_is_still_read_by_an_index(world: World) -> None:
    world.given["stock.item"] = {(f"i{n}",): (f"i{n}", f"s{n % 400}", bytes([n % 251, n % 7]), str(n)) for n in range(3_000)}
    world.given["sales.line"] = {(n,): (n, f"i{n}", f"n{n}") for n in range(3_000)}
    world.given["sales.pair"] = {(n % 9, f"i{n}"): (n % 9, f"i{n}", n) for n in range(3_000)}
    made_live(world)
    world.give("stock.item", [(LONG, LONG, BYTES, DIGITS)])
    world.give("sales.line", [(1, LONG, LONG)])
    world.give("sales.pair", [(1, LONG, 2)])
    assert {name: world.store.scans(name) for name in VIEWS} == {name: [] for name in VIEWS}


def test_a_piece_with_a_long_key_that_cannot_be_computed_is_parked_alone_and_comes_back(world: World) -> None:
    made_live(world)
    world.give("stock.item", [("a", LONG, None, None), ("b", "left", None, None)])
    world.give("sales.pair", [(1, "b", 1)])
    overflowing = [(shop, "a", 2_147_483_647) for shop in range(1, 4)]
    world.give("sales.pair", [*overflowing, (2, "b", 1)])
    parked = world.query("SELECT view, key::json ->> 0 FROM syncline.parked")
    assert parked == [("overflows", LONG)]
    assert world.query("SELECT shelf, n FROM shop.overflows") == [("left", 4_000_000_000)]
    world.give("sales.pair", [(1, "a", 2_147_483_646)])
    assert world.query("SELECT count(*) FROM syncline.parked") == [(1,)]
    world.give("sales.pair", [], [(1, "a"), (2, "a"), (3, "a")])
    assert world.query("SELECT count(*) FROM syncline.parked") == [(0,)]


def test_pieces_with_long_keys_are_marked_where_a_stream_is_held_back(world: World) -> None:
    world.given["sales.line"] = {(1,): (1, "a", LONG)}
    made_live(world)
    world.give("sales.line", [(2, "a", "short")])
    stream = "sales-" + LONG
    letter = DeadLetter("sales", stream, 7, "Shipped", "KeyError", 5.0, frozenset({("sales.line", (1,))}))
    world.batch("sales", parked=[letter])
    world.batch("sales", parked=[letter])
    assert list(world.store.dead_letters("sales")) == [letter]
    marked = "SELECT key::json ->> 0 FROM syncline.marked WHERE view = 'notes' AND key <> ''"
    assert world.query(marked) == [(LONG,)]
    world.batch("sales", released=[stream])
    assert world.query(marked) == []
