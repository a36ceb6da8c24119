"""On PostgreSQL too, maintained views equal their queries after every batch. A failing seed is repeated by `-k "test_name[seed]"`."""

import random

import psycopg
import pytest
from tests.maintenance.random_postgres import PostgresQuery, key_of, random_changes, random_relations, random_row, readable
from tests.read_store.postgres_world import World

from syncline.errors import StoreError, UnsupportedQuery
from syncline.messages import Relation
from syncline.read.maintain.compiler import compile_view
from syncline.read.maintain.schema import catalog_of
from syncline.read.view import parse_view
from syncline.testing.postgres import Databases

SEEDS, BATCHES, VIEWS = 6, 6, 4


@pytest.mark.parametrize("seed", range(SEEDS))
def test_random_views_over_random_schemas_stay_exact_on_postgresql(seed: int, postgres: Databases) -> None:
    follow(seed, BATCHES, postgres)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10_000, 10_500))
def test_random_views_over_random_schemas_stay_exact_on_postgresql_for_long(seed: int, postgres: Databases) -> None:
    follow(seed, 15, postgres)


def follow(seed: int, batches: int, postgres: Databases) -> None:
    rng = random.Random(seed)
    relations = random_relations(rng)
    views = random_texts(rng, relations, VIEWS, postgres.create("oracle"))
    world = World(postgres.create("random"), relations, views)
    try:
        for relation in relations:
            for row in (random_row(rng, relation) for _ in range(rng.randint(0, 8))):
                world.given[relation.name][key_of(relation, row)] = row
        world.load()
        world.build()
        for number in range(batches + 1):
            if number > 0:
                service = rng.choice(world.services)
                world.batch(service, *random_changes(rng, world, service))
            if not is_exact(world):
                return
        assert world.query("SELECT view, key, error FROM syncline.parked") == []
    except Exception as error:
        error.add_note("\n".join(f"{name}: {text}" for name, text in views.items()))
        error.add_note("\n".join(f"{r.name}: {[(c.name, c.declared_type) for c in r.columns]} {r.key}" for r in relations))
        raise
    finally:
        world.close()


def is_exact(world: World) -> bool:
    """False where a view's own query fails (a sum, a cast that overflows): keys must be parked then, and there is nothing to compare
    with. That all other keys stay exact, test_poison.py shows."""
    try:
        assert world.differences() == []
    except StoreError:
        assert world.query("SELECT view, key, error FROM syncline.parked") != []
        return False
    return True


def random_texts(rng: random.Random, relations: list[Relation], count: int, oracle: str) -> dict[str, str]:
    """Views that PostgreSQL itself takes and that were accepted, some reading others."""
    catalog = catalog_of(relations, "postgres")
    readables = [readable(each.name, each.columns, each.key) for each in relations]
    texts: dict[str, str] = {}
    with psycopg.connect(oracle, autocommit=True) as connection:
        for each in relations:
            columns = ", ".join(f'"{c.name}" {c.declared_type}{" NOT NULL" if c.not_null else ""}' for c in each.columns)
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {each.service}")
            connection.execute(f"CREATE TABLE {each.name} ({columns}, PRIMARY KEY ({', '.join(each.key)}))")
        for _ in range(400):
            name = f"v{len(texts)}"
            text = PostgresQuery(rng, readables).text()
            view = parse_view(name, text, f"{name}.sql")
            try:
                connection.execute(f"CREATE VIEW {name} AS {view.sql}")
            except psycopg.Error:
                continue
            try:
                plan = compile_view(view, catalog)[-1]
            except UnsupportedQuery as error:
                assert error.clause and error.reason and error.rewrite, text
                connection.execute(f"DROP VIEW {name}")
                continue
            texts[name] = text
            catalog = catalog.with_source(name, plan.as_source())
            readables.append(readable(name, [c for c in plan.columns if c.name in plan.visible], plan.key))
            if len(texts) == count:
                break
    return texts
