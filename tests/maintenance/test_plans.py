"""The plans of every shape reach what they need through indexes, and one that would scan is reported."""

import random

import pytest
from tests.maintenance.mirror_world import World, define, number, table, view_of
from tests.maintenance.view_shapes import PARENTS, SHAPES, TABLES

from syncline.stores.sqlite.explain import scans

# Compared through a conversion, so that SQLite cannot use an index on one of the sides.
CONVERTING = {"mixed_types", "derived_cast", "derived_cast_text"}


@pytest.mark.parametrize("name", [name for name in SHAPES if name not in CONVERTING])
def test_no_walk_and_no_recomputation_reads_a_table_from_end_to_end(name: str) -> None:
    world = World(random.Random(1), TABLES, define([view_of(n, SHAPES[n]) for n in (*PARENTS.get(name, ()), name)], TABLES))
    world.build_all()
    nodes = world.store._engine.nodes.values()
    assert [line for node in nodes for line in scans(world.connection, world.store._engine.machine, node)] == []
    world.close()


def test_a_lost_index_is_reported_with_the_table_that_would_be_read_whole() -> None:
    tables = [
        table("shop.item", [("id INTEGER", number(1, 9)), ("name TEXT", number(1, 9))], ["id"]),
        table("shop.sale", [("id INTEGER", number(1, 9)), ("item_id INTEGER", number(1, 9))], ["id"]),
    ]
    text = "-- key: id\nSELECT s.id, i.name FROM shop.sale s JOIN shop.item i ON i.id = s.item_id"
    world = World(random.Random(1), tables, define([view_of("sold", text)], tables))
    world.build_all()
    item = world.store._engine.nodes["shop__item"]
    assert scans(world.connection, world.store._engine.machine, item) == []
    for (index,) in world.connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
    ).fetchall():
        world.connection.execute(f'DROP INDEX "{index}"')
    assert scans(world.connection, world.store._engine.machine, item) == [
        "shop__sale is read whole to find the rows of sold that a change of shop__item affects"
    ]
    world.close()
