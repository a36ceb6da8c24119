"""Builds views beside what is live, in short steps, and cuts them over in one transaction.

A build first lists every partition key there is, then computes the rows of some of them at a time. From its first step on, the
table is a node of the engine like any other, so that changes that arrive meanwhile are applied to it; keys that appear later
are computed by those changes. Where several views are built together (a view and those that read it) each begins when
what it reads is complete, and all are switched in the same transaction.
"""

import hashlib
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from syncline.read.maintain.parse import render
from syncline.read.maintain.plan import ViewPlan
from syncline.stores.sqlite.definitions import Definitions
from syncline.stores.sqlite.engine import Engine
from syncline.stores.sqlite.parked import Parking
from syncline.stores.sqlite.program import ViewNode, changes_table, create_changes, keys_table, view_shape
from syncline.stores.sqlite.tables import column_sql, create_index, create_stored, quoted

FIRST_KEYS = 256
STEP_S = 0.05

Transaction = Callable[[], AbstractContextManager[None]]


class Builds:
    """The builds under way in one read store."""

    def __init__(self, connection: sqlite3.Connection, run: Callable[..., sqlite3.Cursor]) -> None:
        self._connection = connection
        self._run = run
        self._keys_a_step = FIRST_KEYS

    def begun(self) -> dict[str, tuple[int, int]]:
        """Each table being built, with how many partition keys there are and how many are done."""
        return {stored: (total, done) for stored, _, total, done in self._run("select_builds").fetchall()}

    def next_group(self, definitions: Definitions) -> list[str]:
        """The views of the oldest generation all of whose mirrors are live: those to be built, and cut over, together."""
        for generation in sorted(set(definitions.next_generations.values())):
            names = [name for name, its in definitions.next_generations.items() if its == generation]
            mirrors = {s for n in names for s in definitions.next[n].reads if s in definitions.relations}
            views = {s for n in names for s in definitions.next[n].reads} - set(definitions.relations) - set(names)
            if all(definitions.states[m] == "live" for m in mirrors) and views <= set(definitions.live):
                return names
        return []

    def step(
        self, engine: Engine, definitions: Definitions, group: Sequence[str], budget_s: float, transaction: Transaction
    ) -> bool | None:
        """Works for about `budget_s`. True: there is more; None: a table was begun, make the engine anew; False: all done."""
        until = time.monotonic() + budget_s
        plans = definitions.stored_plans()
        generation = definitions.next_generations[group[0]]
        mine = [t for t, (plan, _, is_live) in plans.items() if not is_live and t.endswith(f"__g{generation}")]
        begun = self.begun()
        complete = {table for table, (total, done) in begun.items() if done >= total}
        for table in mine:
            plan, tables, _ = plans[table]
            if table not in begun and all(source in complete or source not in mine for source in tables.values()):
                with transaction():
                    self._begin(table, generation, plan, tables)
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

    def cut_over(self, definitions: Definitions, group: Sequence[str]) -> dict[str, str]:
        """Puts the new tables in the place of the old ones, and returns them with their names; must run in one transaction."""
        generation = definitions.next_generations[group[0]]
        parking = Parking(self._connection)
        for name in group:
            old = definitions.live.get(name)
            for plan in old.plans if old is not None else ():
                self._connection.execute(f"DROP TABLE IF EXISTS {quoted(plan.name)}")
                parking.forget(plan.name)
        renamed: dict[str, str] = {}
        for name in group:
            definition = definitions.next[name]
            for plan in definition.plans:
                stored = f"{plan.name}__g{generation}"
                renamed[stored] = plan.name
                self._connection.execute(f"DROP TABLE IF EXISTS {quoted(plan.name)}")
                self._connection.execute(f"ALTER TABLE {quoted(stored)} RENAME TO {quoted(plan.name)}")
                self._connection.execute(f"DROP TABLE IF EXISTS {quoted(_list_table(stored))}")
                self._run("delete_build", stored=stored)
                parking.rename(stored, plan.name)
            self._reset_changes(definition.own_plan)
            self._run(
                "upsert_view",
                name=name,
                live=definition.dumps(),
                live_generation=generation,
                next=None,
                next_generation=None,
                progress="",
                error=None,
            )
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
        plans = definitions.stored_plans()
        owned = {*definitions.relations, *plans, *(_list_table(table) for table in plans)}
        owned |= {changes_table(name) for name in (*definitions.live, *definitions.next)}
        for (table,) in self._run("select_tables").fetchall():
            if table not in owned and not table.startswith("syncline_"):
                self._connection.execute(f"DROP TABLE {quoted(table)}")
        for stored in self.begun():
            if stored not in plans:
                self._run("delete_build", stored=stored)
        parking = Parking(self._connection)
        for view in parking.views - set(plans):
            parking.forget(view)
        needed = {_index_name(table, terms) for table, terms in self._needed_indexes(definitions)}
        for name, table in self._run("select_indexes").fetchall():
            if name not in needed and table in definitions.relations:
                self._connection.execute(f"DROP INDEX {quoted(name)}")

    def _needed_indexes(self, definitions: Definitions) -> list[tuple[str, tuple[str, ...]]]:
        return [
            (tables[index.source], index.expressions)
            for plan, tables, _ in definitions.stored_plans().values()
            for index in plan.indexes
        ]

    def _begin(self, table: str, generation: int, plan: ViewPlan, tables: dict[str, str]) -> None:
        for index in plan.indexes:
            name = _index_name(tables[index.source], index.expressions)
            self._create_index(name, tables[index.source], index.expressions)
        self._connection.execute(f"DROP TABLE IF EXISTS {quoted(table)}")
        for statement in create_stored(table, view_shape(plan)):
            self._connection.execute(statement)
        for terms in plan.own_indexes:
            self._create_index(_index_name(table, terms), table, terms)
        listing = quoted(_list_table(table))
        columns = ", ".join(column_sql(column) for column in plan.partition) or "p1"
        self._connection.execute(f"DROP TABLE IF EXISTS {listing}")
        self._connection.execute(f"CREATE TABLE {listing} ({columns})")
        self._connection.execute(f"INSERT INTO {listing} {render(plan.all_keys, tables)}")
        total = self._connection.execute(f"SELECT count(*) FROM {listing}").fetchone()[0]
        self._run("upsert_build", stored=table, generation=generation, total=total, done=0)

    def _create_index(self, name: str, table: str, terms: Sequence[str]) -> None:
        known = {found for found, _ in self._run("select_indexes").fetchall()}
        if name not in known:
            self._connection.execute(create_index(name, table, terms))

    def _fill(self, engine: Engine, table: str, total: int, done: int) -> int:
        node = engine.nodes[table]
        assert isinstance(node, ViewNode)
        started = time.monotonic()
        up_to = min(done + self._keys_a_step, total)
        listing, keys = quoted(_list_table(node.table)), f"temp.{quoted(keys_table(node.table))}"
        self._connection.execute(f"INSERT INTO {keys} SELECT * FROM {listing} WHERE rowid > ? AND rowid <= ?", (done, up_to))
        engine.parking.compute(node, node.fill)
        self._connection.execute(node.clear_keys)
        generation = int(node.table.rpartition("__g")[2])
        self._run("upsert_build", stored=node.table, generation=generation, total=total, done=up_to)
        spent = time.monotonic() - started
        if spent < STEP_S / 2:
            self._keys_a_step = min(self._keys_a_step * 2, 65_536)
        elif spent > STEP_S * 2:
            self._keys_a_step = max(self._keys_a_step // 2, 1)
        return up_to


def _list_table(stored: str) -> str:
    return f"{stored}__list"


def _index_name(table: str, terms: Sequence[str]) -> str:
    return f"ix_{table}_{hashlib.sha256(repr(tuple(terms)).encode()).hexdigest()[:8]}"
