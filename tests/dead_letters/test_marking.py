"""Rows that depend on a stream held back are marked: whatever its rows become, no row changes that was not."""

import random
from collections.abc import Sequence

import pytest
from tests.maintenance.mirror_world import Table, World, define, number, one_of, table, view_of
from tests.maintenance.random_views import random_definitions, random_tables
from tests.maintenance.view_shapes import PARENTS, SHAPES, TABLES

from syncline.messages import Batch, Chunk, DeadLetter, Key, Position, Scalar
from syncline.stores.protocols import load_key

SHAPE_SEEDS, RANDOM_SEEDS = 60, 60


@pytest.mark.parametrize("seed", range(SHAPE_SEEDS))
def test_no_unmarked_row_of_any_shape_of_view_changes_with_the_rows_held_back(seed: int) -> None:
    rng = random.Random(seed)
    names = list(SHAPES)
    chosen = [names[seed % len(names)], *rng.sample(names, 5)]
    needed = dict.fromkeys(name for each in chosen for name in (*PARENTS.get(each, ()), each))
    hold_back_and_change(World(rng, TABLES, define([view_of(name, SHAPES[name]) for name in needed], TABLES)))


@pytest.mark.parametrize("seed", range(RANDOM_SEEDS))
def test_no_unmarked_row_of_random_views_changes_with_the_rows_held_back(seed: int) -> None:
    rng = random.Random(seed)
    tables = random_tables(rng)
    definitions, _ = random_definitions(rng, tables, 5)
    hold_back_and_change(World(rng, tables, definitions))


def hold_back_and_change(world: World) -> None:
    rng = world.rng
    service = rng.choice(world.services)
    tables = [each for each in world.tables if each.relation.service == service]
    held = {(each.relation.name, key) for each in tables for key in _some_keys(world, each)}
    park(world, service, frozenset(held))
    for _ in range(6):
        world.step()
    world.finish()
    marked = {name: marked_of(world, name) for name in world.store.definitions.live}
    before = {name: _by_key(world, name) for name in marked}
    is_deleted = rng.random() < 0.4
    change = _deleted if is_deleted else _changed
    world.apply(service, [change(world, each, key) for each in tables for name, key in held if name == each.relation.name])
    for name, (pieces, is_untold) in marked.items():
        after = _by_key(world, name)
        # A row that goes away comes to belong to no other piece: those it belonged to must be told.
        is_excused = is_untold and not (is_deleted and _reads_mirrors_only(world, name))
        for key, (piece, row) in before[name].items():
            is_marked = is_excused or piece in pieces
            assert is_marked or after.get(key) == (piece, row), f"{name}: {row} changed, unmarked; held back were {held}"
    world.store.apply(_batch(world, service, released=["s-1"]))
    assert {marked_of(world, name) for name in marked} == {(frozenset(), False)}
    world.close()


def park(world: World, service: str, keys: frozenset[tuple[str, Key]]) -> None:
    world.store.apply(_batch(world, service, parked=[DeadLetter(service, "s-1", 1, "Placed", "ValueError: no", 5.0, keys)]))


def marked_of(world: World, view: str) -> tuple[frozenset[Key], bool]:
    """The pieces of a view that are marked, and whether any row of it may be concerned."""
    found = {key for (key,) in world.connection.execute("SELECT key FROM syncline_marked WHERE view = ?", (view,))}
    return frozenset(load_key(key) or () for key in found if key), "" in found


def _batch(world: World, service: str, *, parked: Sequence[DeadLetter] = (), released: Sequence[str] = ()) -> Batch:
    n = world.positions[service]
    world.positions[service] = n + 1
    return Batch(service, Position("i", n), [], Position("i", n + 1), float(n), parked=list(parked), released=list(released))


def _some_keys(world: World, each: Table) -> list[Key]:
    """Keys of rows that are there, and of some that are not."""
    relation, rng = each.relation, world.rng
    names = ", ".join(relation.key)
    there = world.oracle.execute(f"SELECT {names} FROM {relation.name}").fetchall()
    drawn = [tuple(world._random_row(each)[index] for index in relation.key_indexes) for _ in range(2)]
    return [key for key in [*rng.sample(there, min(len(there), 2)), *drawn] if rng.random() < 0.5]


def _changed(world: World, each: Table, key: Key) -> Chunk:
    row: list[Scalar] = list(world._random_row(each))
    for index, value in zip(each.relation.key_indexes, key, strict=True):
        row[index] = value
    written = world._write_oracle(each, tuple(row)) if world.rng.random() < 0.7 else None
    if written is None:
        return _deleted(world, each, key)
    return Chunk(each.relation, [written])


def _deleted(world: World, each: Table, key: Key) -> Chunk:
    world._delete_oracle(each, key)
    return Chunk(each.relation, [], [key])


def _reads_mirrors_only(world: World, name: str) -> bool:
    return all(source in world.store.relations for plan in world.store.definitions.live[name].plans for source in plan.reads)


def _by_key(world: World, name: str) -> dict[Key, tuple[Key, tuple[Scalar, ...]]]:
    """Visible rows by key, with the partition keys of their pieces."""
    plan = world.store.definitions.live[name].own_plan
    parts, keys = len(plan.partition_columns), len(plan.key)
    rows = world._stored(plan, (*plan.partition_columns, *plan.key, *plan.visible))
    return {row[parts : parts + keys]: (row[:parts], row[parts + keys :]) for row in rows}


HEADER = table(
    "orders.header", [("id INTEGER NOT NULL", number(1, 9)), ("customer TEXT COLLATE NOCASE", one_of("a", "A", "b"))], ["id"]
)
LOOSE = table("orders.loose", [("line INTEGER NOT NULL", number(1, 9)), ("header INTEGER", one_of(1, "abc"))], ["line"])


def test_rows_of_a_view_over_a_view_are_marked_through_all_rows_of_the_pieces_between() -> None:
    world = _quiet_world(
        pairs="-- key: a, b\nSELECT x.id AS a, y.id AS b, x.customer FROM orders.header x "
        "JOIN orders.header y ON y.customer = x.customer AND y.id >= x.id",
        second="-- key: b\nSELECT b, count(*) AS n FROM pairs GROUP BY b",
    )
    world.apply("orders", [Chunk(HEADER.relation, [(1, "a"), (2, "A"), (3, "b"), (4, "a")])])
    park(world, "orders", frozenset({("orders.header", (2,))}))
    assert marked_of(world, "second")[0] >= {(2,), (4,)}
    assert (3,) not in marked_of(world, "second")[0]
    world.close()


def test_pieces_are_marked_as_their_rows_spell_them() -> None:
    world = _quiet_world(
        ranks="-- key: id\nSELECT id, customer, count(*) OVER (PARTITION BY customer) AS n FROM orders.header",
    )
    world.apply("orders", [Chunk(HEADER.relation, [(1, "a"), (2, "A"), (3, "b")])])
    park(world, "orders", frozenset({("orders.header", (2,))}))
    assert marked_of(world, "ranks")[0] == {("a",), ("A",)}
    world.close()


def test_a_value_that_can_be_no_row_number_leads_to_no_row() -> None:
    world = _quiet_world(
        per="-- key: id\nSELECT h.id, count(l.line) AS n FROM orders.header h LEFT JOIN orders.loose l ON l.header = h.id "
        "GROUP BY h.id",
        over="-- key: id\nSELECT id, n + 1 AS more FROM per",
    )
    world.apply("orders", [Chunk(HEADER.relation, [(1, "a")]), Chunk(LOOSE.relation, [(1, 1), (2, "abc"), (3, None)])])
    park(world, "orders", frozenset({("orders.loose", (1,)), ("orders.loose", (2,)), ("orders.loose", (3,))}))
    assert marked_of(world, "over") == (frozenset({(1,)}), True)
    world.close()


def _quiet_world(**views: str) -> World:
    tables = [HEADER, LOOSE]
    world = World(random.Random(1), tables, define([view_of(name, text) for name, text in views.items()], tables))
    world.build_all()
    world.check = lambda before: None  # type: ignore[method-assign]
    for each in tables:
        if each.id in world.store.relations:
            gone = world.connection.execute(f"SELECT {each.relation.key[0]} FROM {each.id}").fetchall()
            world.apply("orders", [Chunk(each.relation, [], gone)])
    return world
