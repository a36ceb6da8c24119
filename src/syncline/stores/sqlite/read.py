"""The read store on SQLite: mirrors, views and the vector of checkpoints, changed by one writer, one batch a transaction.

The writer is the relay that holds the lease; everyone else only reads. The writer is also the only checkpointer of the
write-ahead log. A commit is durable after `sync`; before it, a power cut may bring back an older whole vector, never a torn one.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict

from syncline.errors import Fenced, NotFound, StoreError
from syncline.messages import Batch, DeadLetter, Key, Position, Relation, Row, Scalar
from syncline.read.definition import Definition
from syncline.read.maintain.schema import mirror_id
from syncline.stores.protocols import dump_key
from syncline.stores.sqlite.build import Builds
from syncline.stores.sqlite.connection import FORMAT, open_store_file, translated
from syncline.stores.sqlite.dead_letters import HeldBack, create_dead_letters
from syncline.stores.sqlite.definitions import Definitions, mirror_shape
from syncline.stores.sqlite.engine import Engine
from syncline.stores.sqlite.explain import scans
from syncline.stores.sqlite.marking import find_marked
from syncline.stores.sqlite.mirror import rows_between, rows_of
from syncline.stores.sqlite.program import changes_table, mirror_node
from syncline.stores.sqlite.tables import column_sql, create_stored, listed, quoted
from syncline.stores.statements import load_statements

KEPT_INCARNATIONS = 100
CHANGES_KEPT = 100_000
"""How many rows of a view's change feed are kept."""

_SQL = load_statements("syncline.stores.sqlite", "read.sql")


class SQLiteReadStore:
    """The writing side of one read store. One thread owns it."""

    dialect = "sqlite"

    def __init__(self, path: str) -> None:
        self.path = path
        self._connection = open_store_file(path)
        with translated(path), self._transaction(is_fenced=False):
            for name, statement in _SQL.items():
                if name.startswith("create_"):
                    self._connection.execute(statement)
            create_dead_letters(self._connection)
            self._run("insert_meta", format=FORMAT)
        found, self.consumer, self._epoch, _ = self._run("select_meta").fetchone()
        if found != FORMAT:
            raise StoreError(
                f"'{path}' is a read store of format {found}, this version reads format {FORMAT}; "
                "delete the file to build it anew from the sources, or use the version that made it"
            )
        self.definitions = Definitions()
        self._incarnations: dict[str, str] = {}
        self._held_back = HeldBack(self._connection)
        self._engine = Engine(self._connection, ())
        self._builds = Builds(self._connection, self._run)
        self._load_definitions()

    # -- life --------------------------------------------------------------------------------------------------------

    def take_over(self, holder: str) -> None:
        """Fences every relay that wrote to this store before. `holder` is what `status` shows of this one."""
        with translated(self.path), self._transaction(is_fenced=False):
            self._run("raise_epoch", holder=holder)
            epoch = self._run("select_meta").fetchone()[2]
        self._epoch = epoch

    def sync(self) -> None:
        """Returns when all that was applied is on disk."""
        with translated(self.path):
            self._connection.execute("PRAGMA synchronous = FULL")
            try:
                with self._transaction():
                    self._connection.execute("UPDATE syncline_meta SET epoch = epoch")
            finally:
                self._connection.execute("PRAGMA synchronous = NORMAL")

    def close(self) -> None:
        self._connection.close()

    # -- definitions ---------------------------------------------------------------------------------------------------

    @property
    def relations(self) -> Mapping[str, Relation]:
        """The mirrors, by their ids, with the columns they hold."""
        return self.definitions.relations

    def define(self, captures: Mapping[str, str], definitions: Sequence[Definition], relations: Sequence[Relation]) -> None:
        """Makes the store hold these views, and mirrors of what they and those still live need.

        New and changed views begin to be built beside what is live; what nobody needs any more is dropped. One transaction.
        """
        with translated(self.path), self._transaction():
            for service, capture in captures.items():
                self._run("insert_feed", service=service, capture=capture)
            known = {row[0] for row in self._run("select_feeds")}
            for service in known - set(captures):
                self._run("delete_feed", service=service)
                self._held_back.forget(service)
            rebuilt = self._define_mirrors(relations)
            self._define_views(definitions, rebuilt)
        self._load_definitions()
        with translated(self.path), self._transaction():
            self._builds.drop_unowned(self.definitions)
        self._make_engine()

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

        Raises StoreError when this SQLite cannot run the view's statements at all.
        """
        own = {plan.name for plan in self.definitions.live[name].plans}
        with translated(self.path):
            lines = [line for node in self._engine.nodes.values() for line in scans(self._connection, node, own)]
        return list(dict.fromkeys(lines))

    def is_building(self) -> bool:
        """Whether a view is being built, or waits for what it reads."""
        return bool(self.definitions.next)

    def generation(self, name: str) -> int | None:
        """The number of the build that a view's live rows come from."""
        return self.definitions.generations.get(name)

    def rebuild(self, name: str) -> None:
        """Begins to build a view, and the views that read it, beside what is live."""
        self._refuse_unknown(name)
        with translated(self.path), self._transaction():
            self._begin_build({name})
        self._load_definitions()
        self._make_engine()

    def _refuse_unknown(self, name: str) -> None:
        if name not in self.definitions.wanted:
            raise NotFound(f"there is no view '{name}'; there are: {', '.join(sorted(self.definitions.wanted)) or 'none'}")

    def _define_mirrors(self, relations: Sequence[Relation]) -> set[str]:
        """Creates, widens and drops mirrors; returns those made anew, whose views must be built anew."""
        anew: set[str] = set()
        wanted = {mirror_id(relation.service, relation.table): relation for relation in relations}
        for table in set(self.definitions.relations) - set(wanted):
            self._connection.execute(f"DROP TABLE IF EXISTS {quoted(table)}")
            self._run("delete_relation", id=table)
        for table, relation in wanted.items():
            old = self.definitions.relations.get(table)
            if old is None or not _is_wider(relation, old):
                if old is not None:
                    anew.add(table)
                self._create_mirror(table, relation)
            elif relation != old:
                self._widen_mirror(table, old, relation)
        return anew

    def _create_mirror(self, table: str, relation: Relation) -> None:
        self._connection.execute(f"DROP TABLE IF EXISTS {quoted(table)}")
        for statement in create_stored(table, mirror_shape(relation)):
            self._connection.execute(statement)
        self._store_relation(table, relation, "loading", [])

    def _widen_mirror(self, table: str, old: Relation, relation: Relation) -> None:
        """Columns no longer wanted go, new ones come empty and are filled from the source while the rest stays live."""
        state, filling = self.definitions.states[table], set(self.definitions.filling[table])
        for column in old.columns:
            if column.name not in relation.column_names:
                self._drop_indexes(table)
                self._connection.execute(f"ALTER TABLE {quoted(table)} DROP COLUMN {quoted(column.name)}")
        new = [column for column in relation.columns if column.name not in old.column_names]
        for column in new:
            self._connection.execute(f"ALTER TABLE {quoted(table)} ADD COLUMN {column_sql(column)}")
        filling = (filling | {column.name for column in new}) & set(relation.column_names)
        if state == "loading":
            self._store_relation(table, relation, "loading", [])
        else:
            filled = "live" if state == "filling" else state  # the columns that were new are not wanted any more
            self._store_relation(table, relation, "filling" if filling else filled, sorted(filling))

    def _drop_indexes(self, table: str) -> None:
        for name, on in self._run("select_indexes").fetchall():
            if on == table:
                self._connection.execute(f"DROP INDEX {quoted(name)}")

    def _store_relation(self, table: str, relation: Relation, state: str, filling: Sequence[str]) -> None:
        self._run(
            "upsert_relation",
            id=table,
            service=relation.service,
            definition=json.dumps(asdict(relation)),
            state=state,
            filling=json.dumps(list(filling)),
            cursor=None,
            rows=0,
        )

    def _define_views(self, definitions: Sequence[Definition], mirrors_anew: set[str]) -> None:
        wanted = {definition.view.name: definition for definition in definitions}
        old = self.definitions
        for name in set(old.live) | set(old.next):
            if name not in wanted:
                self._run("delete_view", name=name)
        changed: set[str] = set()
        for name, definition in wanted.items():
            live, following = old.live.get(name), old.next.get(name)
            if live is not None and mirrors_anew & set(live.reads):
                live = None
            if live is None or (live.fingerprint != definition.fingerprint):
                if following is None or following.fingerprint != definition.fingerprint or live is not old.live.get(name):
                    changed.add(name)
            elif following is not None and following.fingerprint != definition.fingerprint:
                changed.add(name)
            self._run(
                "upsert_view",
                name=name,
                live=live.dumps() if live else None,
                live_generation=old.generations.get(name) if live else None,
                next=following.dumps() if following else None,
                next_generation=old.next_generations.get(name) if following else None,
                progress="",
                error=None,
            )
        self._load_definitions()
        self.definitions.wanted = wanted
        if changed:
            self._begin_build(changed)

    def _begin_build(self, names: set[str]) -> None:
        """Gives these views and all that read them, directly or not, new generations: one for those that read each other.

        Views that have nothing to do with each other are built and switched each by itself, so that none waits for a service that
        it does not read.
        """
        wanted = self.definitions.wanted
        group = _with_dependents(names, wanted)
        for name, number in self.definitions.next_generations.items():
            if name in group:
                group |= {other for other, its in self.definitions.next_generations.items() if its == number}
        for apart in _components({name for name in _with_dependents(group, wanted) if name in wanted}, wanted):
            self._run("next_generation")
            generation = self._run("select_meta").fetchone()[3]
            for name in apart:
                live = self.definitions.live.get(name)
                self._run(
                    "upsert_view",
                    name=name,
                    live=live.dumps() if live else None,
                    live_generation=self.definitions.generations.get(name),
                    next=wanted[name].dumps(),
                    next_generation=generation,
                    progress="",
                    error=None,
                )

    def _load_definitions(self) -> None:
        wanted = self.definitions.wanted
        self.definitions = Definitions.load(self._run("select_relations"), self._run("select_views"), wanted)

    def _make_engine(self) -> None:
        self._engine.close()
        mirrors = [mirror_node(table, mirror_shape(r)) for table, r in self.definitions.relations.items()]
        self._engine = Engine(self._connection, mirrors)
        for node in self.definitions.view_nodes(self._engine.nodes, self._builds.begun()):
            self._engine.add(node)

    # -- following -----------------------------------------------------------------------------------------------------

    def checkpoint(self, service: str) -> Position | None:
        """The last position of the service that was applied; None when nothing was."""
        row = self._run("select_checkpoint", service=service).fetchone()
        return None if row is None or row[0] is None else Position(*row)

    def is_continued(self, service: str) -> bool:
        """Whether the checkpoint is one of the capture by which the service is followed now."""
        row = self._run("select_incarnation", service=service).fetchone()
        return row is not None and row[0] == row[1]

    def start(self, service: str, position: Position, read_at: float) -> None:
        """Begins to follow a service of which nothing is held yet."""
        with translated(self.path), self._transaction():
            self._move(service, position, read_at, exact=True)

    def apply(self, batch: Batch, live: Iterable[str] = ()) -> None:
        """Applies a whole batch: mirrors, views and the checkpoint change in one transaction, or nothing does.

        `live` names mirrors whose first copy was complete before the batch was read: with it they are exact and go live.
        """
        with translated(self.path), self._transaction():
            staged = self._engine.stage(batch.chunks)
            self._engine.switch(staged)
            assert batch.after is not None, "a batch names its position once it is consumed"
            if self._held_back.record(batch, batch.after) or (staged and self._held_back.letters):
                self._mark()
            self._move(batch.service, batch.after, batch.read_at, exact=batch.exact)
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
        marked = find_marked(self._connection, self._engine, self.definitions.relations, letters) if letters else frozenset()
        self._held_back.mark(marked)

    def seen(self, services: Iterable[str], read_at: float) -> None:
        """Notes that these feeds were asked and had nothing new."""
        with translated(self.path), self._transaction():
            for service in services:
                self._run("set_read_at", service=service, read_at=read_at)

    def begun(self, service: str, number: int) -> None:
        """Stores, visibly before anything that follows, that a sweep begins."""
        with translated(self.path), self._transaction():
            self._run("set_begun", service=service, begun=number)

    def set_feed_state(self, service: str, state: str, activity: str, error: str | None) -> None:
        """Shows in `status` what a feed is doing."""
        with translated(self.path):
            self._run("set_feed_state", service=service, state=state, activity=activity, error=error)

    def held(self, relation: Relation, after: Key | None, up_to: Key | None) -> list[Row]:
        """The mirror's rows with `after < key <= up_to`, in key order, with the relation's columns."""
        table = mirror_id(relation.service, relation.table)
        return rows_between(self._connection, table, relation, after, up_to)

    def rows_of(self, relation: Relation, keys: Sequence[Key]) -> list[Row]:
        """Those of these keys' rows that the mirror has, with the relation's columns."""
        return rows_of(self._connection, mirror_id(relation.service, relation.table), relation, keys)

    def repair_view(self, table: str, keys: Iterable[tuple[Scalar, ...]]) -> None:
        """Recomputes these partition keys of a stored view, whether anything changed or not."""
        with translated(self.path), self._transaction():
            self._engine.recompute(table, keys)

    def _move(self, service: str, position: Position, read_at: float | None, *, exact: bool) -> None:
        is_new = self._incarnations.get(service) != position.incarnation
        before = self._run("select_incarnation", service=service).fetchone() if is_new else None
        moved = self._run(
            "move_checkpoint",
            service=service,
            incarnation=position.incarnation,
            n=position.n,
            proof=position.proof,
            read_at=read_at,
            exact=exact,
        )
        assert moved.rowcount == 1, f"service '{service}' was defined before it is followed"
        if is_new:
            self._new_incarnation(service, before, position.incarnation)

    def _new_incarnation(self, service: str, before: tuple[object, ...] | None, incarnation: str) -> None:
        """Remembers which incarnations are gone: tokens that name them are refused, or count as reached if only the capture
        was replaced."""
        if before is not None:
            capture, made_by, old, past, superseded = before
            gone = {"past": json.loads(str(past)), "superseded": json.loads(str(superseded))}
            if old is not None and old != incarnation:
                gone["past" if made_by == capture else "superseded"].append(old)
            self._run(
                "set_incarnation",
                service=service,
                made_by=capture,
                past=json.dumps(gone["past"][-KEPT_INCARNATIONS:]),
                superseded=json.dumps(gone["superseded"][-KEPT_INCARNATIONS:]),
            )
        self._incarnations[service] = incarnation

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

    def load(self, table: str, rows: Sequence[Row], *, done: bool) -> None:
        """Copies rows into a mirror and remembers how far the copy came, in one transaction."""
        relation = self.definitions.relations[table]
        indexes = relation.key_indexes
        cursor = tuple(rows[-1][index] for index in indexes) if rows else self.definitions.cursors[table]
        state = "loaded" if done else self.definitions.states[table]
        with translated(self.path), self._transaction():
            if self.definitions.states[table] == "filling":
                self._fill(table, relation, rows)
            else:
                marks = ", ".join("?" * len(relation.columns))
                columns = listed(relation.column_names)  # a column that came later stands last in the table
                self._connection.executemany(f"INSERT OR REPLACE INTO {quoted(table)} ({columns}) VALUES ({marks})", rows)
            self._run("move_cursor", id=table, cursor=dump_key(cursor), rows=len(rows), state=state)
        self.definitions.cursors[table] = cursor
        self.definitions.states[table] = state
        self.definitions.row_counts[table] += len(rows)

    def copied(self, table: str) -> int:
        """How many rows of a mirror's first copy are stored."""
        return self.definitions.row_counts[table]

    def _fill(self, table: str, relation: Relation, rows: Sequence[Row]) -> None:
        names = relation.column_names
        new = [name for name in self.definitions.filling[table] if name in names]
        sets = ", ".join(f"{quoted(name)} = ?" for name in new)
        where = " AND ".join(f"{quoted(name)} = ?" for name in relation.key)
        chosen = [*(names.index(name) for name in new), *relation.key_indexes]
        values = ([row[index] for index in chosen] for row in rows)
        self._connection.executemany(f"UPDATE {quoted(table)} SET {sets} WHERE {where}", values)

    # -- building ------------------------------------------------------------------------------------------------------

    def build(self, budget_s: float) -> bool:
        """Works on the builds under way for about this long; says whether there is more to do. Cuts over what is ready."""
        group = self._builds.next_group(self.definitions)
        if not group:
            return False
        with translated(self.path):
            more = self._builds.step(self._engine, self.definitions, group, budget_s, self._transaction)
            if more is None:
                self._make_engine()
            if more is None or more:
                return True
            with self._transaction():
                self._mark()
                self._held_back.rename_marked(self._builds.cut_over(self.definitions, group))
        self._load_definitions()
        with translated(self.path), self._transaction():
            self._builds.drop_unowned(self.definitions)
        self._make_engine()
        return True

    def building(self) -> list[tuple[str, int, int]]:
        """Each table of views being built: its name, and how many of its partition keys are done, and of how many."""
        return [(stored.rpartition("__g")[0], done, total) for stored, (total, done) in self._builds.begun().items()]

    def trim_changes(self) -> None:
        """Forgets the oldest rows of the change feeds beyond what is kept."""
        with translated(self.path), self._transaction():
            for name in self.definitions.live:
                feed = quoted(changes_table(name))
                oldest = f"(SELECT max(seq) FROM {feed}) - {CHANGES_KEPT}"
                self._connection.execute(f"DELETE FROM {feed} WHERE seq <= {oldest}")

    # -- connection ----------------------------------------------------------------------------------------------------

    def _run(self, statement: str, /, **values: object) -> sqlite3.Cursor:
        return self._connection.execute(_SQL[statement], values)

    @contextmanager
    def _transaction(self, *, is_fenced: bool = True) -> Iterator[None]:
        """One write transaction. Raises Fenced, before anything is written, when another relay took over since this one did.

        The one place that fences: the epoch cannot change while the transaction holds the store's write lock.
        """
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            if is_fenced and self._run("select_meta").fetchone()[2] != self._epoch:
                raise Fenced(f"another relay took over '{self.path}'; this one stops")
            yield
        except BaseException:
            self._incarnations.clear()
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            self._held_back.doubt()
            raise
        self._connection.execute("COMMIT")


def _is_wider(relation: Relation, old: Relation) -> bool:
    """Whether the mirror of `old` can become that of `relation` without its rows being copied again."""
    columns = {column.name: column for column in old.columns}
    same = all(columns.get(column.name, column) == column for column in relation.columns)
    return same and relation.key == old.key and relation.is_rowid_key == old.is_rowid_key


def _with_dependents(names: set[str], wanted: Mapping[str, Definition]) -> set[str]:
    """These views and all that read them, directly or through others."""
    group = set(names)
    while more := {name for name, definition in wanted.items() if name not in group and definition.reads & group}:
        group |= more
    return group


def _components(names: set[str], wanted: Mapping[str, Definition]) -> list[list[str]]:
    """These views in groups: two are in one group where one reads the other, directly or through others of them."""
    groups: list[set[str]] = []
    for name in sorted(names):
        joined = {name, *(wanted[name].reads & names)}
        apart = [group for group in groups if not group & joined]
        groups = [*apart, joined.union(*(group for group in groups if group & joined))]
    return [sorted(group) for group in groups]
