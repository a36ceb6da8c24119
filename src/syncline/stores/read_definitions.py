"""What a read store holds and is about to hold: its mirrors, its live views, and those being built beside them."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from syncline.messages import Column, Key, Relation
from syncline.read.definition import Definition, loads
from syncline.read.maintain.plan import ViewPlan
from syncline.stores.protocols import load_key


@dataclass(frozen=True, slots=True)
class Stored:
    """A table of view rows: its name, its plan, the stored table of each source of it, and whether it is live."""

    table: str
    plan: ViewPlan
    tables: Mapping[str, str]
    is_live: bool


@dataclass(slots=True)
class Definitions:
    """By mirror's id: definition, state, new columns, last key copied. By view: what is live and what comes next."""

    relations: dict[str, Relation] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    filling: dict[str, list[str]] = field(default_factory=dict)
    cursors: dict[str, Key | None] = field(default_factory=dict)
    row_counts: dict[str, int] = field(default_factory=dict)
    live: dict[str, Definition] = field(default_factory=dict)
    next: dict[str, Definition] = field(default_factory=dict)
    generations: dict[str, int] = field(default_factory=dict)
    next_generations: dict[str, int] = field(default_factory=dict)
    wanted: Mapping[str, Definition] = field(default_factory=dict)

    @staticmethod
    def load(
        relations: Iterable[tuple[Any, ...]], views: Iterable[tuple[Any, ...]], wanted: Mapping[str, Definition]
    ) -> "Definitions":
        """From the rows of syncline_relation and syncline_view."""
        found = Definitions(wanted=wanted)
        for table, _, definition, state, filling, cursor, rows in relations:
            found.relations[table] = load_relation(definition)
            found.states[table] = state
            found.filling[table] = json.loads(filling)
            found.cursors[table] = load_key(cursor)
            found.row_counts[table] = rows
        for name, live, generation, following, next_generation, *_ in views:
            if live is not None:
                found.live[name] = loads(live)
                found.generations[name] = generation
            if following is not None:
                found.next[name] = loads(following)
                found.next_generations[name] = next_generation
        return found

    def stored_plans(self) -> dict[str, Stored]:
        """Every table of view rows there may be, by its name: a live one is named as its plan, one that is being built with
        its generation."""
        live = {plan.name: plan.name for definition in self.live.values() for plan in definition.plans}
        mirrors = {table: table for table in self.relations}
        found: dict[str, Stored] = {}
        for definition in self.live.values():
            for plan in definition.plans:
                found[plan.name] = Stored(plan.name, plan, _pick({**mirrors, **live}, plan), True)
        for name, definition in self.next.items():
            generation = self.next_generations[name]
            beside = {
                plan.name: generation_table(plan.name, generation)
                for other, its in self.next.items()
                if self.next_generations[other] == generation
                for plan in its.plans
            }
            for plan in definition.plans:
                table = beside[plan.name]
                found[table] = Stored(table, plan, _pick({**mirrors, **live, **beside}, plan), False)
        return found

    def next_group(self) -> list[str]:
        """The views of the oldest generation all of whose mirrors are live: those to be built, and cut over, together."""
        for generation in sorted(set(self.next_generations.values())):
            names = [name for name, its in self.next_generations.items() if its == generation]
            sources = {source for name in names for source in self.next[name].reads}
            views = sources - set(self.relations) - set(names)
            if all(self.states[m] == "live" for m in sources & set(self.relations)) and views <= set(self.live):
                return names
        return []

    def mirrors_of(self, name: str) -> set[str]:
        """The mirrors that a view reads, itself or through other views."""
        reads = self.wanted[name].reads
        return {*reads & set(self.relations)}.union(*(self.mirrors_of(each) for each in reads & set(self.wanted)))

    def built_for(self, group: Sequence[str]) -> dict[str, Stored]:
        """The tables of a group of views that are built together, by their names."""
        generation = self.next_generations[group[0]]
        plans = self.stored_plans().values()
        return {each.table: each for each in plans if not each.is_live and generation_of(each.table) == generation}

    def owned_tables(self) -> set[str]:
        """The names of all tables that are needed: mirrors, rows of views, lists of keys, change feeds."""
        plans = self.stored_plans()
        feeds = (changes_table(name) for name in (*self.live, *self.next))
        return {*self.relations, *plans, *map(list_table, plans), *feeds}

    def needed_indexes(self) -> set[str]:
        """The names of the indexes that plans need on what they read."""
        stored = self.stored_plans().values()
        return {index_name(each.tables[index.source], index.expressions) for each in stored for index in each.plan.indexes}

    def in_order(self, begun: Iterable[str]) -> Iterator[Stored]:
        """The tables of the live views and of the builds that have begun, each after those that it reads."""
        plans = self.stored_plans()
        present = [t for t, stored in plans.items() if stored.is_live] + [t for t in begun if t in plans]
        waiting = list(dict.fromkeys(present))
        while waiting:
            ready = [t for t in waiting if not any(source in waiting for source in plans[t].tables.values())]
            if not ready:
                raise AssertionError(f"views read each other: {waiting}")
            yield from (plans[table] for table in ready)
            waiting = [table for table in waiting if table not in ready]


def is_wider(relation: Relation, old: Relation) -> bool:
    """Whether the mirror of `old` can become that of `relation` without its rows being copied again."""
    columns = {column.name: column for column in old.columns}
    same = all(columns.get(column.name, column) == column for column in relation.columns)
    kind, old_kind = (relation.is_rowid_key, relation.dialect), (old.is_rowid_key, old.dialect)
    return same and relation.key == old.key and kind == old_kind


def with_dependents(names: set[str], wanted: Mapping[str, Definition]) -> set[str]:
    """These views and all that read them, directly or through others."""
    group = set(names)
    while more := {name for name, definition in wanted.items() if name not in group and definition.reads & group}:
        group |= more
    return group


def components(names: set[str], wanted: Mapping[str, Definition]) -> list[list[str]]:
    """These views in groups: two are in one group where one reads the other, directly or through others of them."""
    groups: list[set[str]] = []
    for name in sorted(names):
        joined = {name, *(wanted[name].reads & names)}
        apart = [group for group in groups if not group & joined]
        groups = [*apart, joined.union(*(group for group in groups if group & joined))]
    return [sorted(group) for group in groups]


def load_relation(text: str) -> Relation:
    body = json.loads(text)
    return Relation(
        body["service"],
        body["table"],
        tuple(Column(**column) for column in body["columns"]),
        tuple(body["key"]),
        tuple(tuple(names) for names in body["unique"]),
        body["is_rowid_key"],
        body.get("dialect", "sqlite"),
        body.get("origin", ""),
    )


def generation_table(name: str, generation: int) -> str:
    """How the rows of a plan that a build makes are called."""
    return f"{name}__g{generation}"


def generation_of(table: str) -> int:
    """The generation of a table that is being built."""
    return int(table.rpartition("__g")[2])


def list_table(stored: str) -> str:
    """The table of all partition keys, from which the rows of `stored` are built."""
    return f"{stored}__list"


def index_name(table: str, terms: Sequence[str]) -> str:
    """How an index that a plan needs is called."""
    return f"ix_{table}_{hashlib.sha256(repr(tuple(terms)).encode()).hexdigest()[:8]}"


def changes_table(view: str) -> str:
    """The change feed of a view: what was written, in order."""
    return f"{view}__changes"


def _pick(tables: Mapping[str, str], plan: ViewPlan) -> dict[str, str]:
    return {source: tables.get(source, source) for source in plan.reads}
