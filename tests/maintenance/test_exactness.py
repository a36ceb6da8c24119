"""Maintained views equal their queries after every batch. A failing seed is repeated by `pytest -k "test_name[seed]"`."""

import random

import pytest
from tests.maintenance.mirror_world import World, define, view_of
from tests.maintenance.random_views import random_definitions, random_tables
from tests.maintenance.view_shapes import PARENTS, SHAPES, TABLES

from syncline.read.definition import Definition

SHAPE_SEEDS, SHAPE_BATCHES = 100, 40
RANDOM_SEEDS, RANDOM_BATCHES = 70, 20
assert SHAPE_SEEDS * SHAPE_BATCHES + RANDOM_SEEDS * RANDOM_BATCHES >= 5_000


@pytest.mark.parametrize("seed", range(SHAPE_SEEDS))
def test_views_of_every_shape_stay_exact(seed: int) -> None:
    follow_shapes(seed, SHAPE_BATCHES)


@pytest.mark.parametrize("seed", range(RANDOM_SEEDS))
def test_random_views_over_random_schemas_stay_exact(seed: int) -> None:
    follow_random_views(seed, RANDOM_BATCHES)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10_000, 12_000))
def test_views_of_every_shape_stay_exact_for_long(seed: int) -> None:
    follow_shapes(seed, 100)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10_000, 15_000))
def test_random_views_over_random_schemas_stay_exact_for_long(seed: int) -> None:
    follow_random_views(seed, 40)


def test_every_shape_is_tried_by_the_seeds_that_always_run() -> None:
    tried = {definition.view.name for seed in range(SHAPE_SEEDS) for definition in _shapes(random.Random(seed), seed)}
    assert tried == set(SHAPES)


def follow_shapes(seed: int, batches: int) -> None:
    rng = random.Random(seed)
    world = World(rng, TABLES, _shapes(rng, seed))
    try:
        while world.batches < batches:
            if rng.random() < 0.01:
                world.redefine(_shapes(rng, rng.randrange(len(SHAPES))))
            world.step()
        world.finish()
    finally:
        world.close()


def follow_random_views(seed: int, batches: int) -> None:
    rng = random.Random(seed)
    tables = random_tables(rng)
    definitions, _ = random_definitions(rng, tables, 5)
    world = World(rng, tables, definitions)
    try:
        while world.batches < batches:
            world.step()
        world.finish()
    except AssertionError as error:
        error.add_note("\n".join(f"{d.view.name}: {d.view.sql}" for d in definitions))
        raise
    finally:
        world.close()


def _shapes(rng: random.Random, seed: int) -> list[Definition]:
    """A few shapes, one of them by turns, with the views that they read."""
    names = list(SHAPES)
    chosen = [names[seed % len(names)], *rng.sample(names, 5)]
    needed = dict.fromkeys(name for each in chosen for name in (*PARENTS.get(each, ()), each))
    return define([view_of(name, SHAPES[name]) for name in needed], TABLES)
