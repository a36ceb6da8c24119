"""The configured services as the relay, the check and the verification use them: what they publish, and how they are followed."""

from collections.abc import Callable
from dataclasses import dataclass

from syncline.config import ServiceConfig
from syncline.errors import StoreError
from syncline.messages import Position, Relation
from syncline.move.feed import Feed
from syncline.rows import Published
from syncline.stores.protocols import Reader, ReadStore
from syncline.stores.roles import Described, Look, source_role


@dataclass(frozen=True, slots=True)
class FollowedService:
    """One configured service. `published` is what one that is followed by its event log makes of its events."""

    config: ServiceConfig
    published: Published | None = None

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def capture(self) -> str:
        return self.config.capture

    def describe(self) -> list[Relation]:
        """The relations that can be followed. Raises StoreError when the database, or a table that is named, cannot.

        Those of an event-sourced service are as its definition says, whether there is a log yet or not.

        Waits only briefly for an owner who holds the database: the relay asks again, and has others to follow meanwhile.
        """
        found = self.look(briefly=True)
        if found.refused and self.config.tables != ("*",):
            raise StoreError("; ".join(reason for _, reason in found.refused))
        return list(found.relations)

    def look(self, *, briefly: bool = False) -> Described:
        """Everything that can be told of the service. Raises Unavailable when its database cannot be read."""
        if self.published is not None:
            return Described(tuple(self.published.relations.values()))
        return source_role(self.config.database).look(self.config, briefly=briefly)

    def open_feed(self, store: ReadStore) -> Feed:
        """A feed for one read store. Raises Unavailable when the database cannot be used."""
        return source_role(self.config.database).open_feed(self.config, self.published, store)

    def head(self) -> Position | None:
        """The newest position; None where it cannot be told: of a polled service, or one that is not captured yet."""
        return source_role(self.config.database).head(self.config)

    def renew(self) -> str | None:
        """Gives the history that the database holds another name, and returns it; None where there is none to be named.

        Raises Unavailable where there is no database, or its owner is writing.
        """
        return source_role(self.config.database).renew(self.config)

    def uninstall(self, read_store: str | None) -> list[str]:
        """Removes what was put into the database to follow it, for one read store or all; returns what was removed."""
        return source_role(self.config.database).uninstall(self.config, read_store)

    def open_look(self, reader: Reader, ask: Callable[[], object], swept: Callable[[], int]) -> Look:
        """How verification looks at the service's database; `reader` is of the read store that is compared with it."""
        return source_role(self.config.database).open_look(self.config, self.published, reader, ask, swept)
