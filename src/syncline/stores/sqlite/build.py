"""Builds views beside what is live, in short steps, and cuts them over in one transaction.

A build first lists every partition key there is, then computes the rows of some of them at a time. From its first step on, the
table is a node of the engine like any other, so that changes that arrive meanwhile are applied to it; keys that appear later
are computed by those changes. Where several views are built together (a view and those that read it) each begins when
what it reads is complete, and all are switched in the same transaction.
"""

import sqlite3
import time
from collections.abc import Sequence

from syncline.read.maintain.parse import render
from syncline.read.maintain.plan import ViewPlan
from syncline.stores.engine import Engine
from syncline.stores.own_tables import Run
from syncline.stores.read_definitions import (
    Definitions,
    Stored,
    changes_table,
    generation_of,
    generation_table,
    index_name,
    list_table,
)
from syncline.stores.sqlite.program import as_sql, create_changes, keys_table, view_shape
from syncline.stores.sqlite.tables import column_sql, create_index, create_stored, quoted
from syncline.stores.store_database import Transaction

FIRST_KEYS = 256
STEP_S = 0.05


class SQLiteBuilds:
    """The builds under way in one read store."""

    def __init__(self, connection: sqlite3.Connection, run: Run) -> None:
        self._connection = connection
        self._run = run
        self._keys_a_step = FIRST_KEYS

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
                    self._begin(stored)
                return None
        for table in mine:
            while table in begun and table not in complete:
                with transaction():
                    done = self._fill(engine, table, *begun[table])
                begun[table] = (begun[table][0], done)
                if done >= begun[table][0]:
                    complete.add(table)
                if time.monotonic() >= until:
                    return True
        return len(complete & set(mine)) < len(mine)

    def may_cut_over(self, definitions: Definitions, group: Sequence[str], transaction: Transaction) -> bool:
        """A reader's snapshot keeps the tables as they were."""
        return True

    def cut_over(self, definitions: Definitions, group: Sequence[str]) -> dict[str, str]:
        """Puts the new tables in the place of the old ones, and returns them with their names; must run in one transaction."""
        generation = definitions.next_generations[group[0]]
        for name in group:
            old = definitions.live.get(name)
            for plan in old.plans if old is not None else ():
                self._connection.execute(f"DROP TABLE IF EXISTS {quoted(plan.name)}")
        renamed: dict[str, str] = {}
        for name in group:
            definition = definitions.next[name]
            for plan in definition.plans:
                stored = generation_table(plan.name, generation)
                renamed[stored] = plan.name
                self._connection.execute(f"DROP TABLE IF EXISTS {quoted(plan.name)}")
                self._connection.execute(f"ALTER TABLE {quoted(stored)} RENAME TO {quoted(plan.name)}")
                self._connection.execute(f"DROP TABLE IF EXISTS {quoted(list_table(stored))}")
            self._reset_changes(definition.own_plan)
        return renamed

    def _reset_changes(self, plan: ViewPlan) -> None:
        """Begins the change feed anew with a reset, numbered on, so that a reader who remembers a number sees it."""
        feed = quoted(changes_table(plan.name))
        exists = (changes_table(plan.name),) in self._run("select_tables").fetchall()
        last = self._connection.execute(f"SELECT max(seq) FROM {feed}").fetchone()[0] if exists else None
        self._connection.execute(f"DROP TABLE IF EXISTS {feed}")
        self._connection.execute(create_changes(plan))
        self._connection.execute(f"INSERT INTO {feed} (seq, op) VALUES (?, 'reset')", ((last or 0) + 1,))

    def drop_unowned(self, definitions: Definitions) -> None:
        """Drops tables and indexes that no definition needs any more."""
        owned = definitions.owned_tables()
        for (table,) in self._run("select_tables").fetchall():
            if table not in owned and not table.startswith("syncline_"):
                self._connection.execute(f"DROP TABLE {quoted(table)}")
        needed = definitions.needed_indexes()
        for name, table in self._run("select_indexes").fetchall():
            if name not in needed and table in definitions.relations:
                self._connection.execute(f"DROP INDEX {quoted(name)}")

    def _begin(self, stored: Stored) -> None:
        plan, table, tables = stored.plan, stored.table, stored.tables
        for index in plan.indexes:
            self._create_index(tables[index.source], index.expressions)
        self._connection.execute(f"DROP TABLE IF EXISTS {quoted(table)}")
        for statement in create_stored(table, view_shape(plan)):
            self._connection.execute(statement)
        for terms in plan.own_indexes:
            self._create_index(table, terms)
        listing = quoted(list_table(table))
        columns = ", ".join(column_sql(column) for column in plan.partition) or "p1"
        self._connection.execute(f"DROP TABLE IF EXISTS {listing}")
        self._connection.execute(f"CREATE TABLE {listing} ({columns})")
        self._connection.execute(f"INSERT INTO {listing} {render(plan.all_keys, as_sql(tables))}")
        total = self._connection.execute(f"SELECT count(*) FROM {listing}").fetchone()[0]
        self._run("upsert_build", stored=table, generation=generation_of(table), total=total, done=0)

    def _create_index(self, table: str, terms: Sequence[str]) -> None:
        name = index_name(table, terms)
        if name not in {found for found, _ in self._run("select_indexes").fetchall()}:
            self._connection.execute(create_index(name, table, terms))

    def _fill(self, engine: Engine, table: str, total: int, done: int) -> int:
        started = time.monotonic()
        up_to = min(done + self._keys_a_step, total)
        listing, keys = quoted(list_table(table)), f"temp.{quoted(keys_table(table))}"
        self._connection.execute(f"INSERT INTO {keys} SELECT * FROM {listing} WHERE rowid > ? AND rowid <= ?", (done, up_to))
        engine.fill(table)
        self._run("upsert_build", stored=table, generation=generation_of(table), total=total, done=up_to)
        spent = time.monotonic() - started
        if spent < STEP_S / 2:
            self._keys_a_step = min(self._keys_a_step * 2, 65_536)
        elif spent > STEP_S * 2:
            self._keys_a_step = max(self._keys_a_step // 2, 1)
        return up_to
