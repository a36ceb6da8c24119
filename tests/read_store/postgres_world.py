"""A read store on PostgreSQL, fed by hand, and what tests compare it with: the rows given, and the views' own queries."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from typing import Any

import psycopg

from syncline.messages import Batch, Chunk, Column, DeadLetter, Key, Position, Relation, Row
from syncline.read.definition import Definition, columns_read, define_views
from syncline.read.maintain.parse import render
from syncline.read.maintain.schema import catalog_of, mirror_id
from syncline.read.view import parse_view
from syncline.stores.postgres.read import PostgresReadStore
from syncline.stores.postgres.reader import PostgresReader

Differences = list[tuple[str, list[Row], list[Row]]]


def relation(name: str, columns: str, key: str, dialect: str = "postgres") -> Relation:
    """A relation from declarations such as `id bigint not null, price numeric(10,2)`, where no type holds a comma and a space."""
    service, _, table = name.partition(".")
    keys = tuple(key.split(", "))
    found = []
    for declared in columns.split(", "):
        column, _, kind = declared.partition(" ")
        kind, is_not_null = kind.removesuffix(" not null"), kind.endswith(" not null")
        found.append(Column(column, kind, not_null=is_not_null or column in keys))
    return Relation(service, table, tuple(found), keys, dialect=dialect)


def define(views: dict[str, str], relations: Sequence[Relation]) -> list[Definition]:
    """Compiles views that must all be accepted."""
    parsed = [parse_view(name, text, f"{name}.sql") for name, text in views.items()]
    made, refused = define_views(parsed, catalog_of(relations, "postgres"))
    if refused:
        raise refused[0]
    return made


class World:
    """One read store, `shop`, over some relations. All that is given is kept beside, to be compared with."""

    def __init__(self, url: str, relations: Sequence[Relation], views: dict[str, str]) -> None:
        self.url = url
        self.relations = {each.name: each for each in relations}
        self.given: dict[str, dict[Key, Row]] = {name: {} for name in self.relations}
        self.store = PostgresReadStore(url, "shop")
        self.store.take_over("the test")
        self.views = views
        try:
            self.define(views)
        except BaseException:
            self.close()
            raise
        for service in self.services:
            self.store.start(service, Position("i", 1), 0.0)

    @property
    def services(self) -> list[str]:
        return sorted({each.service for each in self.relations.values()})

    def define(self, views: dict[str, str]) -> None:
        self.views = views
        definitions = define(views, list(self.relations.values()))
        used = columns_read([*definitions, *(d for d in self.store.needed_definitions() if d.view.name in views)])
        held = {mirror_id(each.service, each.table): each for each in self.relations.values()}
        mirrors = [held[source].pruned_to(names) for source, names in used.items() if source in held]
        self.store.define(dict.fromkeys(self.services, "triggers"), definitions, mirrors)

    def load(self) -> None:
        """The first copy of what was given, and the batch with which it goes live."""
        for service in self.services:
            for table, _ in self.store.loading(service):
                held = self.store.relations[table]
                self.store.load(table, self._pruned(held, self.given[held.name].values()), done=True)
            self.batch(service, live=self.store.loaded(service))

    def build(self, until: Callable[[], bool] = lambda: False) -> None:
        while self.store.build(0.0) and not until():
            pass

    def give(self, name: str, rows: Iterable[Row] = (), gone: Iterable[Key] = ()) -> None:
        """A batch of one relation."""
        self.batch(self.relations[name].service, (name, list(rows), list(gone)))

    def batch(
        self,
        service: str,
        *changes: tuple[str, list[Row], list[Key]],
        live: Sequence[str] = (),
        parked: Sequence[DeadLetter] = (),
        released: Sequence[str] = (),
    ) -> None:
        chunks = []
        for name, rows, gone in changes:
            whole = self.relations[name]
            held = self.store.relations.get(mirror_id(whole.service, whole.table))
            if held is not None:
                chunks.append(Chunk(held, self._pruned(held, rows), gone))
        before = self.store.checkpoint(service)
        assert before is not None
        after = Position("i", before.n + 1)
        self.store.apply(Batch(service, before, chunks, after, 1.0, parked=list(parked), released=list(released)), live)
        for name, rows, gone in changes:
            whole = self.relations[name]
            self.given[name].update({tuple(row[index] for index in whole.key_indexes): row for row in rows})
            for key in gone:
                self.given[name].pop(key, None)

    def differences(self) -> Differences:
        """What of the live mirrors and views is not as it should be: what lacks, and what is too much."""
        found: Differences = []
        with closing(PostgresReader(self.url)) as reader, reader.snapshot():
            for mirror in reader.mirrors():
                held = reader.held(mirror.relation, mirror.id, None, None)
                given = self._pruned(mirror.relation, self.given[mirror.relation.name].values())
                if mirror.state == "live" and sorted(map(repr, held)) != sorted(map(repr, given)):
                    lacking, extra = [row for row in given if row not in held], [row for row in held if row not in given]
                    found.append((mirror.id, lacking, extra))
            for name, view in reader.views().items():
                plans = view.live.plans if view.live is not None else ()
                tables = {source: reader.table(source) for plan in plans for source in (*plan.reads, plan.name)}
                for plan in plans:
                    query = render(plan.definition, tables)
                    _, missing, extra = reader.differences(plan.name, plan.visible, query, 10)
                    if missing or extra:
                        found.append((f"{name}: {plan.name}", missing, extra))
        return found

    def query(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """What a reader gets by plain SQL."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(sql, parameters or None)
            return cursor.fetchall() if cursor.description is not None else []

    def close(self) -> None:
        self.store.close()

    def _pruned(self, held: Relation, rows: Iterable[Row]) -> list[Row]:
        whole = self.relations[held.name]
        places = [whole.column_names.index(name) for name in held.column_names]
        return [tuple(row[place] for place in places) for row in rows]
