"""Tries views on an empty read store: whether its database can run their SQL, and whether a plan would scan a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from syncline.config import ReadModelConfig
from syncline.defining import mirrors_needed
from syncline.errors import Fault, StoreError, Unavailable
from syncline.messages import Batch, Position, Relation
from syncline.places import is_postgres
from syncline.read.definition import Definition
from syncline.stores.protocols import ReadStore
from syncline.stores.roles import read_role

STEP_S = 1.0
_START = Position("trial", 0)


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of it: SQL that cannot be run, and by view the tables that a change would scan."""

    faults: tuple[Fault, ...]
    scans: Mapping[str, tuple[str, ...]]


def try_views(
    model: ReadModelConfig, captures: Mapping[str, str], definitions: Sequence[Definition], published: Sequence[Relation]
) -> Trial:
    """Defines and builds the views one after the other (each after those that it reads) over empty mirrors."""
    faults: list[Fault] = []
    scans: dict[str, tuple[str, ...]] = {}
    tried: list[Definition] = []
    database = "PostgreSQL" if is_postgres(model.database) else "SQLite"
    with read_role(model.database).trial_store(model.database, model.name) as store:
        for definition in definitions:
            try:
                _build(store, captures, [*tried, definition], published)
                scans[definition.view.name] = tuple(store.scans(definition.view.name))
            except Unavailable:
                raise  # of no view
            except StoreError as error:
                view = definition.view
                reason = str(error.__cause__ or error)
                faults.append(Fault(view.file, view.first_line, f"this {database} cannot run the SELECT: {reason}; correct it"))
            else:
                tried.append(definition)
    return Trial(tuple(faults), scans)


def _build(
    store: ReadStore, captures: Mapping[str, str], definitions: Sequence[Definition], published: Sequence[Relation]
) -> None:
    store.define(captures, definitions, mirrors_needed(store, definitions, published))
    for service in captures:
        if store.checkpoint(service) is None:
            store.start(service, _START, 0.0)
        for table, _ in store.loading(service):
            store.load(table, [], done=True)
        if loaded := store.loaded(service):
            store.apply(Batch(service, _START, (), _START), loaded)
    while store.is_building():
        store.build(STEP_S)
