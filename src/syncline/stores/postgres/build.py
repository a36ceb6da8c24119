"""Builds views beside what is live and cuts them over by one row (see `serving`).

While no view of the store can be read yet, the rows of a table are computed in one statement, as fast as they can be. Later,
others are not to wait for that: a build then lists every partition key there is, and computes the rows of some of them at a time.
From its first step on, the table is a node of the engine like any other, so that changes that arrive meanwhile are applied to it;
keys that appear later are computed by those changes. Tables that are no longer read are dropped when no reader holds them.
"""

import hashlib
import time
from collections.abc import Mapping, Sequence

import psycopg

from syncline.stores.engine import Engine
from syncline.stores.own_tables import Run
from syncline.stores.postgres.connection import Connection, quoted
from syncline.stores.postgres.indexes import LENGTH, OURS, create_index
from syncline.stores.postgres.layout import Layout, stored_name
from syncline.stores.postgres.machine import PostgresMachine
from syncline.stores.postgres.planner import plan_by_indexes, plan_for_all_rows
from syncline.stores.postgres.program import all_keys, listed, recompute
from syncline.stores.postgres.serving import Serving
from syncline.stores.read_definitions import (
    Definitions,
    Stored,
    changes_table,
    generation_of,
    generation_table,
    index_name,
    list_table,
)
from syncline.stores.store_database import Transaction

FIRST_KEYS = 1024
STEP_S = 0.05
ASKED_AGAIN_S = 1.0
KEPT_S = 30.0
"""How long rows that were live are kept after a switch, for transactions whose snapshots are older."""
READERS_LOCK = (0x53796E63, 2)
"""The advisory lock that our readers share while they read, so that no table is dropped under them."""


class PostgresBuilds:
    """The builds under way in one read store."""

    def __init__(self, connection: Connection, layout: Layout, run: Run) -> None:
        self._connection, self._layout, self._run = connection, layout, run
        self._serving = Serving(connection, layout, run)
        self._keys_a_step = FIRST_KEYS
        self._ask_at = 0.0
        self._unowned: dict[str, float] = {}
        self.kept_s = KEPT_S

    def begun(self) -> dict[str, tuple[int, int]]:
        """Each table being built, with how many partition keys there are and how many are done."""
        return {stored: (total, done) for stored, _, total, done in self._run("select_builds").fetchall()}

    def step(
        self, engine: Engine, definitions: Definitions, group: Sequence[str], budget_s: float, transaction: Transaction
    ) -> bool | None:
        """Works for about `budget_s`. True: there is more; None: a table was begun, make the engine anew; False: all done."""
        until = time.monotonic() + budget_s
        mine = definitions.built_for(group)
        begun = self.begun()
        complete = {table for table, (total, done) in begun.items() if done >= total}
        for table, stored in mine.items():
            if table not in begun and all(source in complete or source not in mine for source in stored.tables.values()):
                with transaction():
                    self._begin(definitions, stored)
                return None
        for table, stored in mine.items():
            while table in begun and table not in complete:
                with transaction():
                    done = self._fill(engine, stored, *begun[table])
                begun[table] = (begun[table][0], done)
                if done >= begun[table][0]:
                    complete.add(table)
                if time.monotonic() >= until:
                    return True
        return len(complete & set(mine)) < len(mine)

    def may_cut_over(self, definitions: Definitions, group: Sequence[str], transaction: Transaction) -> bool:
        """Lets the SQL views show the old rows or the new; false while a reader holds one of them."""
        if time.monotonic() < self._ask_at:
            return False
        is_done = True
        for name in group:
            old, new = definitions.generations.get(name), definitions.next_generations[name]
            if old is not None and self._serving.columns(name):
                with transaction():
                    is_done &= self._serving.shows_both(name, definitions.next[name].own_plan.visible, old, new)
        if not is_done:
            self._ask_at = time.monotonic() + ASKED_AGAIN_S
        return is_done

    def cut_over(self, definitions: Definitions, group: Sequence[str]) -> dict[str, str]:
        """Puts the new tables in the place of the old ones, and returns them with their names; must run in one transaction."""
        generation = definitions.next_generations[group[0]]
        renamed: dict[str, str] = {}
        for name in group:
            definition = definitions.next[name]
            for plan in definition.plans:
                renamed[generation_table(plan.name, generation)] = plan.name
            self._reset_changes(name, definition.own_plan.key, generation)
            self._serving.switch(name, definition.own_plan.visible, generation)
        return renamed

    def drop_unowned(self, definitions: Definitions) -> None:
        """Drops tables and indexes that no definition needs any more, but for those that a reader may be reading now."""
        self._drop_indexes(definitions)
        plans = definitions.stored_plans().values()
        owned = {stored_name(definitions, stored) for stored in plans}
        owned |= {list_table(stored.table) for stored in plans if not stored.is_live}
        owned |= {changes_table(name) for name in (*definitions.live, *definitions.next)}
        made = self._run("select_made").fetchall()
        tables = self._long_unowned([name for name, kind in made if kind == "table" and name not in owned])
        views = [name for name, kind in made if kind == "view" and name not in (*definitions.live, *definitions.next)]
        if not (tables or views) or not self._is_free():
            return
        stale = [name for name in definitions.live if any(table.startswith(f"{name}__g") for table in tables)]
        for name in stale:
            plan = definitions.live[name].own_plan
            if not self._serving.shows_one(name, plan.visible, definitions.generations[name]):
                return
        for name, kind in [*((name, "view") for name in views), *((name, "table") for name in tables)]:
            if not self._serving.drop(name, kind):
                return

    def _long_unowned(self, names: Sequence[str]) -> list[str]:
        """Those of the tables that have not been needed for a while; the others serve transactions that began before."""
        now = time.monotonic()
        self._unowned = {name: self._unowned.get(name, now) for name in names}
        return [name for name, since in self._unowned.items() if now - since >= self.kept_s]

    def _is_free(self) -> bool:
        """Whether none of our readers has a snapshot now; none can take one until the transaction ends without waiting for it."""
        return bool(self._connection.execute("SELECT pg_try_advisory_xact_lock(%s, %s)", READERS_LOCK).fetchone()[0])  # type: ignore[index]

    def _drop_indexes(self, definitions: Definitions) -> None:
        needed = {_short(name) for name in definitions.needed_indexes()}
        for relation in definitions.relations.values():
            for (name,) in self._indexes(self._layout.mirror(relation)):
                if name.startswith(OURS) and name[:LENGTH] not in needed:
                    self._connection.execute(f"DROP INDEX {quoted(self._layout.schema_of(relation.service), name)}")

    def _indexes(self, table: str) -> list[tuple[str]]:
        return self._connection.execute(
            "SELECT relname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid WHERE indrelid = to_regclass(%s)", (table,)
        ).fetchall()

    def _reset_changes(self, name: str, key: Sequence[str], generation: int) -> None:
        """Begins the change feed anew with a reset, numbered on, so that a reader who remembers a number sees it."""
        table = changes_table(name)
        feed, rows = self._layout.of_views(table), generation_table(name, generation)
        columns = self._serving.columns(rows)
        wanted = [(name, columns[name]) for name in key]
        held = list(self._serving.columns(table).items())
        last = self._connection.execute(f"SELECT max(seq) FROM {feed}").fetchone()[0] if held else None  # type: ignore[index]
        if held[2:] != wanted or not held:
            self._connection.execute(f"DROP TABLE IF EXISTS {feed}")
            self._connection.execute(
                f"CREATE TABLE {feed} AS SELECT 0::bigint AS seq, ''::text AS op, {listed(key)} "
                f"FROM {self._layout.of_views(rows)} WITH NO DATA"
            )
            self._connection.execute(
                f"ALTER TABLE {feed} ALTER seq SET NOT NULL, ALTER op SET NOT NULL, ADD PRIMARY KEY (seq), "
                "ALTER seq ADD GENERATED ALWAYS AS IDENTITY"
            )
            self._connection.execute(f"ALTER TABLE {feed} ALTER seq RESTART {(last or 0) + 1}")
            self._run("insert_made", name=table, kind="table")
        else:
            self._connection.execute(f"DELETE FROM {feed}")
        self._connection.execute(f"INSERT INTO {feed} (op) VALUES ('reset')")

    def _begin(self, definitions: Definitions, stored: Stored) -> None:
        plan, tables = stored.plan, self._layout.tables(definitions)
        table = tables[stored.table]
        for index in plan.indexes:
            source = stored.tables[index.source]
            self._create_index(source, tables[source], index.expressions)
        self._connection.execute(f"DROP TABLE IF EXISTS {table}")
        self._connection.execute(
            f"CREATE TABLE {table} WITH (fillfactor = 85) AS "
            f"{recompute(stored, tables, f'({all_keys(stored, tables)})')} WITH NO DATA"
        )
        for column in plan.columns:
            if column.name in plan.key and column.not_null:
                self._connection.execute(f"ALTER TABLE {table} ALTER {quoted(column.name)} SET NOT NULL")
        self._run("insert_made", name=stored.table, kind="table")
        total = self._compute_whole(stored, tables) if not definitions.live else None
        create_index(
            self._connection, _short(index_name(stored.table, plan.key)), table, [quoted(n) for n in plan.key], unique=True
        )
        for terms in plan.own_indexes:
            self._create_index(stored.table, table, terms)
        if total is None:
            total = self._list_keys(stored, tables)
            done = 0
        else:
            if total:  # of a table that is known to be empty, the planner expects that it stays so
                self._connection.execute(f"ANALYZE {table}")
            done = total
        generation = generation_of(stored.table)
        self._run("upsert_build", stored=stored.table, generation=generation, total=total, done=done)

    def _compute_whole(self, stored: Stored, tables: Mapping[str, str]) -> int | None:
        """All rows in one statement; None, with nothing written, where the data of some key does not allow it."""
        query = recompute(stored, tables, f"({all_keys(stored, tables)})")
        columns = listed(column.name for column in stored.plan.columns)
        self._connection.execute("SAVEPOINT syncline_whole")
        plan_for_all_rows(self._connection)
        try:
            total = self._connection.execute(f"INSERT INTO {tables[stored.table]} ({columns}) {query}").rowcount
        except (psycopg.DataError, psycopg.IntegrityError):
            self._connection.execute("ROLLBACK TO SAVEPOINT syncline_whole")
            return None
        plan_by_indexes(self._connection)
        return total

    def _list_keys(self, stored: Stored, tables: Mapping[str, str]) -> int:
        """Makes the numbered list of all partition keys; returns how many there are."""
        table = list_table(stored.table)
        listing = self._layout.of_views(table)
        self._connection.execute(f"DROP TABLE IF EXISTS {listing}")
        query = f"SELECT row_number() OVER () AS syncline_number, p.* FROM ({all_keys(stored, tables)}) AS p"
        made = self._connection.execute(f"CREATE TABLE {listing} AS {query}")
        self._connection.execute(f"CREATE UNIQUE INDEX ON {listing} (syncline_number)")
        self._run("insert_made", name=table, kind="table")
        return made.rowcount

    def _create_index(self, name: str, table: str, terms: Sequence[str]) -> None:
        index = _short(index_name(name, terms))
        if not any(there.startswith(index) for (there,) in self._indexes(table)):
            create_index(self._connection, index, table, [term if term.startswith("(") else quoted(term) for term in terms])

    def _fill(self, engine: Engine, stored: Stored, total: int, done: int) -> int:
        started = time.monotonic()
        up_to = min(done + self._keys_a_step, total)
        machine = engine.machine
        assert isinstance(machine, PostgresMachine)
        program = machine.view_program(engine.view(stored.table))
        listing, parts = self._layout.of_views(list_table(stored.table)), listed(program.parts)
        numbered = f"WHERE syncline_number > {done} AND syncline_number <= {up_to}"
        machine.list_keys(program, f"SELECT {parts} FROM {listing} {numbered}")
        engine.fill(stored.table)
        self._run("upsert_build", stored=stored.table, generation=generation_of(stored.table), total=total, done=up_to)
        spent = time.monotonic() - started
        if spent < STEP_S / 2:
            self._keys_a_step = min(self._keys_a_step * 2, 65_536)
        elif spent > STEP_S * 2:
            self._keys_a_step = max(self._keys_a_step // 2, 1)
        return up_to


def _short(index: str) -> str:
    """The name of an index, as long as PostgreSQL keeps it: a digest of the whole."""
    return f"{OURS}{hashlib.sha256(index.encode()).hexdigest()[: LENGTH - len(OURS)]}"
