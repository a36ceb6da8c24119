"""From the configured views and what the services publish to definitions in a read store."""

from collections.abc import Mapping, Sequence

from syncline.errors import Fault, InvalidDefinition
from syncline.messages import Relation
from syncline.move.relay import Define
from syncline.read.definition import Definition, columns_read, define_views
from syncline.read.maintain.schema import catalog_of, mirror_id
from syncline.read.view import View
from syncline.stores.protocols import ReadStore
from syncline.stores.translation import adapted, refuse_untyped


def definer(views: Sequence[View], captures: Mapping[str, str]) -> Define:
    """A function that compiles `views` against the relations there are, and defines them in a store.

    Where a service cannot be described now, or no longer has what a live view reads, the view stays as it is stored. Raises
    InvalidDefinition when a view was never stored and cannot be compiled although every service is there.
    """

    def define(store: ReadStore, relations: Mapping[str, Sequence[Relation]]) -> None:
        unreachable = set(captures) - set(relations)
        published = [adapted(relation, store.dialect) for each in relations.values() for relation in each]
        stored = [relation for relation in store.relations.values() if relation.service in unreachable]
        definitions, refused = define_views(views, catalog_of([*published, *stored], store.dialect))
        made = {definition.view.name for definition in definitions}
        kept = [
            definition
            for name, definition in store.stored_definitions().items()
            if name not in made and any(view.name == name for view in views)
        ]
        if refused and not unreachable and len(made) + len(kept) < len(views):
            raise InvalidDefinition(all_faults(refused))
        wanted = [*definitions, *kept]
        mirrors = mirrors_needed(store, wanted, published)
        for mirror in mirrors:
            refuse_untyped(mirror, store.dialect)
        store.define(captures, wanted, mirrors)

    return define


def all_faults(errors: Sequence[Exception]) -> list[Fault]:
    """The faults of several refusals; an error of another kind is a mistake of ours, and is raised."""
    faults: list[Fault] = []
    for error in errors:
        if not isinstance(error, InvalidDefinition):
            raise error
        faults += error.faults
    return faults


def mirrors_needed(store: ReadStore, wanted: Sequence[Definition], published: Sequence[Relation]) -> list[Relation]:
    """The mirrors that these definitions need, and those still live: with the columns that are used."""
    names = {definition.view.name for definition in wanted}
    still_needed = [definition for definition in store.needed_definitions() if definition.view.name in names]
    used = columns_read([*wanted, *still_needed])
    by_id = {mirror_id(relation.service, relation.table): relation for relation in published}
    mirrors: list[Relation] = []
    for table, columns in used.items():
        held = store.relations.get(table)
        relation = by_id.get(table)
        if relation is not None and {name.lower() for name in columns} <= {name.lower() for name in relation.column_names}:
            mirrors.append(relation.pruned_to(_spelled(relation, columns)))
        elif held is not None:
            mirrors.append(held)
    return mirrors


def _spelled(relation: Relation, columns: frozenset[str]) -> list[str]:
    lowered = {name.lower() for name in columns}
    return [name for name in relation.column_names if name.lower() in lowered]
