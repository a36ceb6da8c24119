"""What a read store asks of its database, whichever it is: own tables, transactions, and what is done to mirrors and views."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from syncline.messages import Column, Key, Relation, Row
from syncline.read.definition import Definition
from syncline.stores.engine import Engine
from syncline.stores.own_tables import Found
from syncline.stores.read_definitions import Definitions

Transaction = Callable[[], AbstractContextManager[None]]


class Builds(Protocol):
    """Builds views beside what is live, in steps, and puts them in its place."""

    def begun(self) -> dict[str, tuple[int, int]]:
        """Each table being built, with how many partition keys there are and how many are done."""
        ...

    def step(
        self, engine: Engine, definitions: Definitions, group: Sequence[str], budget_s: float, transaction: Transaction
    ) -> bool | None:
        """Works for about `budget_s`. True: there is more; None: a table was begun, make the engine anew; False: all done."""
        ...

    def may_cut_over(self, definitions: Definitions, group: Sequence[str], transaction: Transaction) -> bool:
        """Prepares the switch of what is built; false while readers keep it from being done."""
        ...

    def cut_over(self, definitions: Definitions, group: Sequence[str]) -> dict[str, str]:
        """Puts the new tables in the place of the old ones, and returns them with their names; must run in one transaction."""
        ...

    def drop_unowned(self, definitions: Definitions) -> None:
        """Drops tables and indexes that no definition needs any more, as far as readers let it now; within a transaction."""
        ...


class StoreDatabase(Protocol):
    """The database of a read store, over the one connection that writes to it."""

    @property
    def path(self) -> str: ...

    @property
    def dialect(self) -> str: ...

    @property
    def builds(self) -> Builds: ...

    @property
    def remarks(self) -> list[str]:
        """What people should know of what was done to tables; whoever tells them empties it."""
        ...

    @property
    def is_cut(self) -> bool:
        """Whether the connection is gone for good: the store must be opened anew."""
        ...

    def run(self, statement: str, /, **values: object) -> Found: ...

    def translated(self) -> AbstractContextManager[None]:
        """Turns the driver's errors into the program's."""
        ...

    def transaction(self, epoch: int | None) -> AbstractContextManager[bool]:
        """One write transaction, committed at the end and undone by an exception. Tells whether the store's epoch is this one,
        and stays so until the transaction ends; None is any."""
        ...

    def durably(self) -> AbstractContextManager[None]:
        """A commit inside brings all commits before it to the disk."""
        ...

    def close(self) -> None: ...

    def engine(self, definitions: Definitions, begun: Mapping[str, tuple[int, int]]) -> Engine:
        """An engine over what is stored, in the place of the one made before."""
        ...

    def refuse(self, definitions: Mapping[str, Definition], relations: Sequence[Relation]) -> None:
        """Raises where the database cannot hold mirrors of these relations, or the views that are wanted, by their names."""
        ...

    def create_mirror(self, table: str, relation: Relation) -> None: ...

    def drop_mirror(self, table: str, relation: Relation) -> None: ...

    def add_column(self, table: str, relation: Relation, column: Column) -> None: ...

    def drop_column(self, table: str, relation: Relation, column: Column) -> None: ...

    def drop_view(self, name: str) -> None:
        """A view that is no longer wanted; its tables go with what nothing owns."""
        ...

    def copy(self, table: str, relation: Relation, rows: Sequence[Row]) -> None:
        """Writes rows of a first copy, over those of the same keys."""
        ...

    def fill(self, table: str, relation: Relation, names: Sequence[str], rows: Sequence[Row]) -> None:
        """Gives the rows of a mirror the values of columns that are new."""
        ...

    def rows_between(self, table: str, relation: Relation, after: Key | None, up_to: Key | None) -> list[Row]: ...

    def rows_of(self, table: str, relation: Relation, keys: Sequence[Key]) -> list[Row]: ...

    def trim(self, view: str, kept: int) -> None:
        """Forgets the oldest rows of a view's change feed."""
        ...

    def scans(self, engine: Engine, views: frozenset[str]) -> list[str]:
        """Which tables would be read from end to end when something that these stored views read changes."""
        ...
