"""What a read store holds and is about to hold: its mirrors, its live views, and those being built beside them."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from syncline.messages import Column, Key, Relation
from syncline.read.definition import Definition, loads
from syncline.read.maintain.plan import ViewPlan
from syncline.stores.protocols import load_key
from syncline.stores.sqlite.program import Node, ViewNode, connect_walks, view_node
from syncline.stores.sqlite.tables import Shape


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

    def stored_plans(self) -> dict[str, tuple[ViewPlan, dict[str, str], bool]]:
        """Every table of view rows there may be: its plan, the stored table of each source, and whether it is live."""
        live = {plan.name: plan.name for definition in self.live.values() for plan in definition.plans}
        mirrors = {table: table for table in self.relations}
        found: dict[str, tuple[ViewPlan, dict[str, str], bool]] = {}
        for definition in self.live.values():
            for plan in definition.plans:
                found[plan.name] = (plan, _pick({**mirrors, **live}, plan), True)
        for name, definition in self.next.items():
            generation = self.next_generations[name]
            beside = {
                plan.name: f"{plan.name}__g{generation}"
                for other, its in self.next.items()
                if self.next_generations[other] == generation
                for plan in its.plans
            }
            for plan in definition.plans:
                found[beside[plan.name]] = (plan, _pick({**mirrors, **live, **beside}, plan), False)
        return found

    def mirrors_of(self, name: str) -> set[str]:
        """The mirrors that a view reads, itself or through other views."""
        reads = self.wanted[name].reads
        return {*reads & set(self.relations)}.union(*(self.mirrors_of(each) for each in reads & set(self.wanted)))

    def view_nodes(self, nodes: Mapping[str, Node], begun: Iterable[str]) -> Iterator[ViewNode]:
        """Nodes for the live views and the builds that have begun, each after what it reads, walks connected."""
        plans = self.stored_plans()
        present = [t for t, (_, _, is_live) in plans.items() if is_live] + [t for t in begun if t in plans]
        known: dict[str, Node] = dict(nodes)
        waiting = list(dict.fromkeys(present))
        while waiting:
            ready = [t for t in waiting if not any(source in waiting for source in plans[t][1].values())]
            if not ready:
                raise AssertionError(f"views read each other: {waiting}")
            for table in ready:
                plan, tables, is_live = plans[table]
                node = view_node(plan, table, tables, records=is_live and not plan.is_hidden)
                connect_walks(node, known, tables)
                known[table] = node
                yield node
            waiting = [table for table in waiting if table not in ready]


def mirror_shape(relation: Relation) -> Shape:
    """How the rows of a mirror are stored: a row without a whole key is refused, so its key may be the primary key."""
    columns = tuple(Column(c.name, c.declared_type, c.collation, c.not_null or c.name in relation.key) for c in relation.columns)
    return Shape(columns, relation.key, relation.is_rowid_key)


def load_relation(text: str) -> Relation:
    body = json.loads(text)
    return Relation(
        body["service"],
        body["table"],
        tuple(Column(**column) for column in body["columns"]),
        tuple(body["key"]),
        tuple(tuple(names) for names in body["unique"]),
        body["is_rowid_key"],
    )


def _pick(tables: Mapping[str, str], plan: ViewPlan) -> dict[str, str]:
    return {source: tables.get(source, source) for source in plan.reads}
