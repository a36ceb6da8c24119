"""Where a read store on PostgreSQL keeps what: schemas and names of tables, as SQL. Pure.

A mirror is the table "service"."table". The rows of a view are those of "read_model"."view__gN", N being the build that made
them; "read_model"."view" is an SQL view over the live ones, for readers. The program's own tables are in the schema "syncline".
"""

from collections.abc import Mapping
from dataclasses import dataclass

from syncline.messages import Relation
from syncline.stores.postgres.connection import quoted
from syncline.stores.read_definitions import Definitions, Stored, generation_table

OWN = "syncline"
LONGEST = 63
"""How many bytes of a name PostgreSQL keeps."""
LONGEST_VIEW = LONGEST - len("__g99999999__list")


@dataclass(frozen=True, slots=True)
class Layout:
    """The schemas of one read store. A trial has others than the store that it is tried beside: `prefix` is put before each."""

    name: str
    prefix: str = ""

    @property
    def own(self) -> str:
        return self.prefix + OWN

    @property
    def views(self) -> str:
        return self.prefix + self.name

    def schema_of(self, service: str) -> str:
        return self.prefix + service

    def mirror(self, relation: Relation) -> str:
        """A mirror's table, as SQL."""
        return quoted(self.schema_of(relation.service), relation.table)

    def of_views(self, table: str) -> str:
        """A table, or an SQL view, in the schema of the views, as SQL."""
        return quoted(self.views, table)

    def tables(self, definitions: Definitions) -> Mapping[str, str]:
        """All stored tables as SQL, by the names that the rest of the program has for them."""
        found = {table: self.mirror(relation) for table, relation in definitions.relations.items()}
        for stored in definitions.stored_plans().values():
            found[stored.table] = self.of_views(stored_name(definitions, stored))
        return found


def stored_name(definitions: Definitions, stored: Stored) -> str:
    """The name of the table of a live view's rows, or of those of a build: both end in the number of the build."""
    if not stored.is_live:
        return stored.table
    view = next(name for name, live in definitions.live.items() if any(plan.name == stored.table for plan in live.plans))
    return generation_table(stored.table, definitions.generations[view])
