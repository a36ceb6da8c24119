"""From what a read store holds to what it is to hold: mirrors made, widened and dropped, builds begun. Within a transaction."""

import json
from collections.abc import Sequence
from dataclasses import asdict

from syncline.messages import Relation
from syncline.read.definition import Definition
from syncline.read.maintain.schema import mirror_id
from syncline.stores.read_definitions import Definitions, components, is_wider, with_dependents
from syncline.stores.store_database import StoreDatabase


def define_mirrors(database: StoreDatabase, held: Definitions, relations: Sequence[Relation]) -> set[str]:
    """Creates, widens and drops mirrors; returns those made anew, whose views must be built anew."""
    anew: set[str] = set()
    wanted = {mirror_id(relation.service, relation.table): relation for relation in relations}
    for table in set(held.relations) - set(wanted):
        database.drop_mirror(table, held.relations[table])
        database.run("delete_relation", id=table)
    for table, relation in wanted.items():
        old = held.relations.get(table)
        if old is None or not is_wider(relation, old):
            if old is not None:
                anew.add(table)
                database.drop_mirror(table, old)
            database.create_mirror(table, relation)
            _store_relation(database, table, relation, "loading", [])
        elif relation != old:
            _widen_mirror(database, held, table, old, relation)
    return anew


def define_views(database: StoreDatabase, held: Definitions, definitions: Sequence[Definition], anew: set[str]) -> set[str]:
    """Stores which views are wanted; returns those that must be built. `anew` are mirrors whose rows are copied again."""
    wanted = {definition.view.name: definition for definition in definitions}
    for name in set(held.live) | set(held.next):
        if name not in wanted:
            database.run("delete_view", name=name)
            database.drop_view(name)
    changed: set[str] = set()
    for name, definition in wanted.items():
        live, following = held.live.get(name), held.next.get(name)
        if live is not None and anew & set(live.reads):
            live = None
        if live is None or (live.fingerprint != definition.fingerprint):
            if following is None or following.fingerprint != definition.fingerprint or live is not held.live.get(name):
                changed.add(name)
        elif following is not None and following.fingerprint != definition.fingerprint:
            changed.add(name)
        _store_view(
            database,
            name,
            (live, held.generations.get(name) if live else None),
            (following, held.next_generations.get(name) if following else None),
        )
    return changed


def begin_builds(database: StoreDatabase, held: Definitions, names: set[str]) -> None:
    """Gives these views and all that read them, directly or not, new generations: one for those that read each other.

    Views that have nothing to do with each other are built and switched each by itself, so that none waits for a service that
    it does not read.
    """
    wanted = held.wanted
    group = with_dependents(names, wanted)
    for name, number in held.next_generations.items():
        if name in group:
            group |= {other for other, its in held.next_generations.items() if its == number}
    for apart in components({name for name in with_dependents(group, wanted) if name in wanted}, wanted):
        database.run("next_generation")
        generation = database.run("select_meta").fetchone()[3]
        for name in apart:
            _store_view(database, name, (held.live.get(name), held.generations.get(name)), (wanted[name], generation))


def put_live(database: StoreDatabase, definition: Definition, generation: int) -> None:
    """A view's build is what is live now."""
    _store_view(database, definition.view.name, (definition, generation), (None, None))


def _store_view(
    database: StoreDatabase,
    name: str,
    live: tuple[Definition | None, int | None],
    following: tuple[Definition | None, int | None],
) -> None:
    database.run(
        "upsert_view",
        name=name,
        live=live[0].dumps() if live[0] else None,
        live_generation=live[1],
        next=following[0].dumps() if following[0] else None,
        next_generation=following[1],
        progress="",
        error=None,
    )


def _widen_mirror(database: StoreDatabase, held: Definitions, table: str, old: Relation, relation: Relation) -> None:
    """Columns no longer wanted go, new ones come empty and are filled from the source while the rest stays live."""
    state, filling = held.states[table], set(held.filling[table])
    for column in old.columns:
        if column.name not in relation.column_names:
            database.drop_column(table, old, column)
    new = [column for column in relation.columns if column.name not in old.column_names]
    for column in new:
        database.add_column(table, relation, column)
    filling = (filling | {column.name for column in new}) & set(relation.column_names)
    if state == "loading":
        _store_relation(database, table, relation, "loading", [])
    else:
        filled = "live" if state == "filling" else state  # the columns that were new are not wanted any more
        _store_relation(database, table, relation, "filling" if filling else filled, sorted(filling))


def _store_relation(database: StoreDatabase, table: str, relation: Relation, state: str, filling: Sequence[str]) -> None:
    database.run(
        "upsert_relation",
        id=table,
        service=relation.service,
        definition=json.dumps(asdict(relation)),
        state=state,
        filling=json.dumps(list(filling)),
        cursor=None,
        rows=0,
    )
