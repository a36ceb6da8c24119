"""A read store, whichever its database: mirrors, views and the vector of checkpoints, changed by one writer in batches.

The writer is the relay that holds the lease; everyone else only reads. A commit is durable after `sync`; before it, a power cut
may bring back an older whole vector, never a torn one. What is done to tables is the database's; what must be done, and in
which order, is said here, once.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from syncline.errors import Fenced, NotFound
from syncline.messages import Batch, DeadLetter, Key, Position, Relation, Row, Scalar
from syncline.read.definition import Definition
from syncline.read.maintain.schema import mirror_id
from syncline.stores.dead_letters import HeldBack
from syncline.stores.marking import find_marked
from syncline.stores.protocols import dump_key
from syncline.stores.read_definitions import Definitions
from syncline.stores.redefining import begin_builds, define_mirrors, define_views, put_live
from syncline.stores.store_database import StoreDatabase
from syncline.stores.vector import Vector

CHANGES_KEPT = 100_000
"""How many rows of a view's change feed are kept."""


class StoredReadModel:
    """The writing side of one read store. One thread owns it."""

    def __init__(self, database: StoreDatabase) -> None:
        self._database = database
        self._run = database.run
        _, self.consumer, self._epoch, _ = self._run("select_meta").fetchone()
        self.definitions = Definitions()
        self._vector = Vector(database.run)
        self._held_back = HeldBack(database.run)
        self._load_definitions()
        self._engine = database.engine(Definitions(), {})

    @property
    def path(self) -> str:
        return self._database.path

    @property
    def dialect(self) -> str:
        return self._database.dialect

    @property
    def is_cut(self) -> bool:
        return self._database.is_cut

    # -- life --------------------------------------------------------------------------------------------------------

    def take_over(self, holder: str) -> None:
        """Fences every relay that wrote to this store before. `holder` is what `status` shows of this one."""
        with self._transaction(is_fenced=False):
            self._run("raise_epoch", holder=holder)
            epoch = self._run("select_meta").fetchone()[2]
        self._epoch = epoch

    def sync(self) -> None:
        """Returns when all that was applied is on disk."""
        with self._database.translated(), self._database.durably(), self._transaction():
            self._run("touch")

    def close(self) -> None:
        self._database.close()

    # -- definitions ---------------------------------------------------------------------------------------------------

    @property
    def relations(self) -> Mapping[str, Relation]:
        """The mirrors, by their ids, with the columns they hold."""
        return self.definitions.relations

    def define(self, captures: Mapping[str, str], definitions: Sequence[Definition], relations: Sequence[Relation]) -> None:
        """Makes the store hold these views, and mirrors of what they and those still live need.

        New and changed views begin to be built beside what is live; what nobody needs any more is dropped. One transaction.
        """
        wanted = {definition.view.name: definition for definition in definitions}
        self._database.refuse(wanted, relations)
        before = self.definitions
        try:
            self._redefine(captures, definitions, relations)
        except BaseException:
            self.definitions = before
            raise
        self._load_definitions()
        self._drop_unowned()
        self._make_engine()

    def _redefine(self, captures: Mapping[str, str], definitions: Sequence[Definition], relations: Sequence[Relation]) -> None:
        with self._transaction():
            for service, capture in captures.items():
                self._run("insert_feed", service=service, capture=capture)
            known = {row[0] for row in self._run("select_feeds")}
            for service in known - set(captures):
                self._run("delete_feed", service=service)
                self._held_back.forget(service)
            anew = define_mirrors(self._database, self.definitions, relations)
            changed = define_views(self._database, self.definitions, definitions, anew)
            self._load_definitions()
            self.definitions.wanted = {definition.view.name: definition for definition in definitions}
            if changed:
                begin_builds(self._database, self.definitions, changed)

    def stored_definitions(self) -> Mapping[str, Definition]:
        """What each view is or will be kept by, as stored."""
        return {**self.definitions.live, **self.definitions.next}

    def needed_definitions(self) -> Sequence[Definition]:
        """Those whose tables are kept up to date now: live ones, until another takes their place."""
        return [*self.definitions.live.values(), *self.definitions.next.values()]

    def mirrors_of(self, name: str) -> list[Relation]:
        """The relations that a view reads, itself or through other views. Raises NotFound for an unknown view."""
        self._refuse_unknown(name)
        return [self.definitions.relations[table] for table in sorted(self.definitions.mirrors_of(name))]

    def scans(self, name: str) -> list[str]:
        """Which tables would be read from end to end when something that a live view reads changes: its cost grows with them.

        Raises StoreError when this database cannot run the view's statements at all.
        """
        own = frozenset(plan.name for plan in self.definitions.live[name].plans)
        with self._database.translated():
            return list(dict.fromkeys(self._database.scans(self._engine, own)))

    def is_building(self) -> bool:
        """Whether a view is being built, or waits for what it reads."""
        return bool(self.definitions.next)

    def generation(self, name: str) -> int | None:
        """The number of the build that a view's live rows come from."""
        return self.definitions.generations.get(name)

    def rebuild(self, name: str) -> None:
        """Begins to build a view, and the views that read it, beside what is live."""
        self._refuse_unknown(name)
        with self._transaction():
            begin_builds(self._database, self.definitions, {name})
        self._load_definitions()
        self._make_engine()

    def _refuse_unknown(self, name: str) -> None:
        if name not in self.definitions.wanted:
            raise NotFound(f"there is no view '{name}'; there are: {', '.join(sorted(self.definitions.wanted)) or 'none'}")

    def _load_definitions(self) -> None:
        wanted = self.definitions.wanted
        self.definitions = Definitions.load(self._run("select_relations"), self._run("select_views"), wanted)

    def _drop_unowned(self) -> None:
        """Drops what no definition needs: tables, indexes, and what is known of pieces of views that are gone."""
        plans = self.definitions.stored_plans()
        with self._transaction():
            self._database.builds.drop_unowned(self.definitions)
            for stored in self._database.builds.begun():
                if stored not in plans:
                    self._run("delete_build", stored=stored)
            parking = self._engine.parking
            for view in parking.views - set(plans):
                parking.forget(view)

    def _make_engine(self) -> None:
        with self._database.translated():
            self._engine = self._database.engine(self.definitions, self._database.builds.begun())

    # -- following -----------------------------------------------------------------------------------------------------

    def checkpoint(self, service: str) -> Position | None:
        """The last position of the service that was applied; None when nothing was."""
        return self._vector.checkpoint(service)

    def is_continued(self, service: str) -> bool:
        """Whether the checkpoint is one of the capture by which the service is followed now."""
        return self._vector.is_continued(service)

    def start(self, service: str, position: Position, read_at: float) -> None:
        """Begins to follow a service of which nothing is held yet."""
        with self._transaction():
            self._vector.move(service, position, read_at, exact=True)

    def apply(self, batch: Batch, live: Iterable[str] = ()) -> None:
        """Applies a whole batch: mirrors, views and the checkpoint change in one transaction, or nothing does.

        `live` names mirrors whose first copy was complete before the batch was read: with it they are exact and go live.
        """
        with self._transaction():
            staged = self._engine.stage(batch.chunks)
            self._engine.switch(staged)
            assert batch.after is not None, "a batch names its position once it is consumed"
            if self._held_back.record(batch, batch.after) or (staged and self._held_back.letters):
                self._mark()
            self._vector.move(batch.service, batch.after, batch.read_at, exact=batch.exact)
            for table in live:
                self._run("set_relation_state", id=table, state="live")
        if live:
            self._load_definitions()
            self._make_engine()

    def dead_letters(self, service: str) -> Sequence[DeadLetter]:
        """The service's streams that are held back, those longest held first."""
        return self._held_back.of(service)

    def dropped(self, service: str) -> frozenset[int]:
        """Positions of events that were dropped, in the log that the service's checkpoint names: no replay brings their rows."""
        return self._held_back.dropped(service)

    def releasing(self, service: str, stream: str, *, skip: bool) -> None:
        """The feed is asked to try a stream again that is held back; with `skip`, without the event that it is held back by."""
        self._held_back.releasing(service, stream, skip=skip)

    def _mark(self) -> None:
        """Finds the rows that depend on what is held back now; costs nothing while nothing is."""
        letters = self._held_back.letters.values()
        relations, engine = self.definitions.relations, self._engine
        marked = engine.with_room(lambda: find_marked(engine, relations, letters)) if letters else frozenset()
        self._held_back.mark(marked)

    def seen(self, services: Iterable[str], read_at: float) -> None:
        """Notes that these feeds were asked and had nothing new."""
        with self._transaction():
            for service in services:
                self._run("set_read_at", service=service, read_at=read_at)

    def begun(self, service: str, number: int) -> None:
        """Stores, visibly before anything that follows, that a sweep begins."""
        with self._transaction():
            self._run("set_begun", service=service, begun=number)

    def set_feed_state(self, service: str, state: str, activity: str, error: str | None) -> None:
        """Shows in `status` what a feed is doing."""
        with self._database.translated():
            self._run("set_feed_state", service=service, state=state, activity=activity, error=error)

    def held(self, relation: Relation, after: Key | None, up_to: Key | None) -> list[Row]:
        """The mirror's rows with `after < key <= up_to`, in key order, with the relation's columns."""
        with self._database.translated():
            return self._database.rows_between(mirror_id(relation.service, relation.table), relation, after, up_to)

    def rows_of(self, relation: Relation, keys: Sequence[Key]) -> list[Row]:
        """Those of these keys' rows that the mirror has, with the relation's columns."""
        with self._database.translated():
            return self._database.rows_of(mirror_id(relation.service, relation.table), relation, keys)

    def repair_view(self, table: str, keys: Iterable[tuple[Scalar, ...]]) -> None:
        """Recomputes these partition keys of a stored view, whether anything changed or not."""
        with self._transaction():
            self._engine.recompute(table, keys)

    # -- loading -------------------------------------------------------------------------------------------------------

    def loading(self, service: str) -> list[tuple[str, Key | None]]:
        """The mirrors of a service whose rows are still being copied, and the last key copied."""
        return [
            (table, self.definitions.cursors[table])
            for table, relation in self.definitions.relations.items()
            if relation.service == service and self.definitions.states[table] in ("loading", "filling")
        ]

    def loaded(self, service: str) -> list[str]:
        """The mirrors of a service that are copied and wait for a batch to go live."""
        return [
            table
            for table, relation in self.definitions.relations.items()
            if relation.service == service and self.definitions.states[table] == "loaded"
        ]

    def is_empty(self, table: str) -> bool:
        """Whether nothing was copied into a mirror yet. One that gets further columns holds the others."""
        return self.definitions.states[table] == "loading" and self.definitions.cursors[table] is None

    def load(self, table: str, rows: Sequence[Row], *, done: bool) -> None:
        """Copies rows into a mirror and remembers how far the copy came, in one transaction."""
        held = self.definitions
        relation = held.relations[table]
        indexes = relation.key_indexes
        cursor = tuple(rows[-1][index] for index in indexes) if rows else held.cursors[table]
        state = "loaded" if done else held.states[table]
        with self._transaction():
            if rows and held.states[table] == "filling":
                new = [name for name in held.filling[table] if name in relation.column_names]
                self._database.fill(table, relation, new, rows)
            elif rows:
                self._database.copy(table, relation, rows)
            self._run("move_cursor", id=table, cursor=dump_key(cursor), rows=len(rows), state=state)
        held.cursors[table] = cursor
        held.states[table] = state
        held.row_counts[table] += len(rows)

    def copied(self, table: str) -> int:
        """How many rows of a mirror's first copy are stored."""
        return self.definitions.row_counts[table]

    # -- building ------------------------------------------------------------------------------------------------------

    def build(self, budget_s: float) -> bool:
        """Works on the builds under way for about this long; says whether there is more to do. Cuts over what is ready."""
        group = self.definitions.next_group()
        if not group:
            return False
        builds = self._database.builds
        with self._database.translated():
            more = builds.step(self._engine, self.definitions, group, budget_s, self._transaction)
            if more is None:
                self._make_engine()
            if more is None or more:
                return True
            if not builds.may_cut_over(self.definitions, group, self._transaction):
                return False
        self._cut_over(group)
        self._load_definitions()
        self._drop_unowned()
        self._make_engine()
        return True

    def _cut_over(self, group: Sequence[str]) -> None:
        generation = self.definitions.next_generations[group[0]]
        parking = self._engine.parking
        with self._transaction():
            self._mark()
            renamed = self._database.builds.cut_over(self.definitions, group)
            for name in group:
                old = self.definitions.live.get(name)
                for plan in old.plans if old is not None else ():
                    parking.forget(plan.name)
                put_live(self._database, self.definitions.next[name], generation)
            for stored, view in renamed.items():
                self._run("delete_build", stored=stored)
                parking.rename(stored, view)
            self._held_back.rename_marked(renamed)

    def building(self) -> list[tuple[str, int, int]]:
        """Each table of views being built: its name, and how many of its partition keys are done, and of how many."""
        begun = self._database.builds.begun()
        return [(stored.rpartition("__g")[0], done, total) for stored, (total, done) in begun.items()]

    def take_remarks(self) -> list[str]:
        """What people should know of what was done to tables since this was asked last."""
        remarks = list(self._database.remarks)
        self._database.remarks.clear()
        return remarks

    def trim_changes(self) -> None:
        """Forgets the oldest rows of the change feeds beyond what is kept, and drops what could not be dropped before."""
        with self._transaction():
            for name in self.definitions.live:
                self._database.trim(name, CHANGES_KEPT)
        self._drop_unowned()

    # -- transactions --------------------------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self, *, is_fenced: bool = True) -> Iterator[None]:
        """One write transaction. Raises Fenced, before anything is written, when another relay took over since this one did.

        The one place that fences: the epoch cannot change while the transaction lasts.
        """
        try:
            epoch = self._epoch if is_fenced else None
            with self._database.translated(), self._database.transaction(epoch) as is_current:
                if not is_current:
                    raise Fenced(f"another relay took over '{self.path}'; this one stops")
                yield
        except BaseException:
            self._vector.doubt()
            self._held_back.doubt()
            self._engine.parking.doubt()
            raise
