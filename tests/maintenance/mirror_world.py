"""Services with random data, a read store that follows them, and the oracle: the user's own SELECT over the services' tables.

The oracle database attaches one database for each service, so that a view's text runs there exactly as it was written;
views are views of SQLite there. Nothing of it goes through the code under test.
"""

import random
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from string import ascii_lowercase, ascii_uppercase

from syncline.messages import Batch, Chunk, Column, Position, Relation, Scalar
from syncline.read.definition import Definition, columns_read, define_views
from syncline.read.maintain.parse import render
from syncline.read.maintain.plan import ViewPlan
from syncline.read.maintain.schema import catalog_of, mirror_id
from syncline.read.view import View, parse_view
from syncline.stores.read_definitions import changes_table
from syncline.stores.sqlite.read import SQLiteReadStore
from syncline.stores.sqlite.tables import listed, quoted

_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)

Value = Callable[[random.Random], Scalar]


@dataclass(frozen=True)
class Table:
    """A service's table: how it is created there, what the program is told of it, and how its values are drawn."""

    relation: Relation
    values: tuple[Value, ...]
    create: str

    @property
    def id(self) -> str:
        return mirror_id(self.relation.service, self.relation.table)


def table(
    name: str,
    columns: Sequence[tuple[str, Value]],
    key: Sequence[str],
    unique: Sequence[Sequence[str]] = (),
    *,
    without_rowid: bool = False,
) -> Table:
    """A table from column declarations such as `sku TEXT COLLATE NOCASE NOT NULL`."""
    service, _, short = name.partition(".")
    found: list[Column] = []
    for declaration, _ in columns:
        words = declaration.split()
        collation = words[words.index("COLLATE") + 1] if "COLLATE" in words else "BINARY"
        kind = " ".join(w for w in words[1:] if w not in ("COLLATE", collation, "NOT", "NULL"))
        found.append(Column(words[0], kind, collation, "NOT" in words))
    only = next(column for column in found if column.name == key[0])
    is_rowid = len(key) == 1 and only.declared_type == "INTEGER" and not without_rowid
    relation = Relation(service, short, tuple(found), tuple(key), tuple(map(tuple, unique)), is_rowid)
    declared = ", ".join(declaration for declaration, _ in columns)
    rules = "".join(f", UNIQUE ({', '.join(names)})" for names in unique)
    tail = " WITHOUT ROWID" if without_rowid else ""
    create = f"CREATE TABLE {name} ({declared}, PRIMARY KEY ({', '.join(key)}){rules}){tail}"
    return Table(relation, tuple(value for _, value in columns), create)


def one_of(*values: Scalar) -> Value:
    return lambda rng: rng.choice(values)


def number(low: int, high: int, nulls: float = 0.0) -> Value:
    return lambda rng: None if rng.random() < nulls else rng.randint(low, high)


def define(views: Iterable[View], tables: Sequence[Table]) -> list[Definition]:
    """Compiles views that must all be accepted."""
    made, refused = define_views(list(views), catalog_of(t.relation for t in tables))
    if refused:
        raise refused[0]
    return made


@lru_cache(maxsize=4096)
def view_of(name: str, text: str) -> View:
    return parse_view(name, text, f"{name}.sql")


Rows = Counter[tuple[tuple[type, Scalar], ...]]


def typed(rows: Iterable[Sequence[Scalar]], loose: bool = False) -> Rows:
    """Rows as a multiset that tells 1 from 1.0 (unless `loose`) and '1' from 1."""
    return Counter(tuple((float if loose and type(value) is int else type(value), value) for value in row) for row in rows)


class Difference(AssertionError):
    """A maintained view is not what its query gives."""


@dataclass
class World:
    """One read store over random services. Every step is drawn from `rng`, so a seed repeats it."""

    rng: random.Random
    tables: Sequence[Table]
    definitions: list[Definition]
    loose: frozenset[str] = frozenset()
    rows_at_start: int = 12
    batches: int = 0
    positions: dict[str, int] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = SQLiteReadStore(":memory:")
        self.connection: sqlite3.Connection = self.store._connection
        self.oracle = sqlite3.connect(":memory:", isolation_level=None, cached_statements=512)
        if any(column.collation == "RTRIM" for each in self.tables for column in each.relation.columns):
            # Before SQLite 3.41 the Bloom filter of an automatic index loses rows that are equal under RTRIM only.
            for connection in (self.connection, self.oracle):
                connection.execute("PRAGMA automatic_index = OFF")
        for service in self.services:
            self.oracle.execute(f"ATTACH ':memory:' AS {service}")
        for each in self.tables:
            self.oracle.execute(each.create)
            for _ in range(self.rng.randint(0, self.rows_at_start)):
                self._write_oracle(each, self._random_row(each))
        self._create_oracle_views()
        self.define()
        for service in self.services:
            self.positions[service] = 1
            self.store.start(service, Position("i", 1), 0.0)
        self._load()
        if self.rng.random() < 0.7:
            self.build_all()

    @property
    def services(self) -> list[str]:
        return sorted({each.relation.service for each in self.tables})

    def close(self) -> None:
        self.store.close()
        self.oracle.close()

    # -- what happens ------------------------------------------------------------------------------------------------

    def define(self) -> None:
        used = columns_read(self.definitions)
        relations = [t.relation.pruned_to(used[t.id]) for t in self.tables if t.id in used]
        self.store.define(dict.fromkeys(self.services, "triggers"), self.definitions, relations)

    def redefine(self, definitions: list[Definition]) -> None:
        self.log.append("redefine")
        self.definitions = definitions
        self._create_oracle_views()
        self.define()
        self._load()

    def rebuild(self) -> None:
        name = self.rng.choice(self.definitions).view.name
        self.log.append(f"rebuild {name}")
        self.store.rebuild(name)

    def build_a_step(self) -> bool:
        self.store._database.builds._keys_a_step = self.rng.choice((1, 2, 5))
        return self.store.build(0.0)

    def build_all(self) -> None:
        self.store._database.builds._keys_a_step = 1000
        for _ in range(1000):
            if not self.store.build(1.0):
                return
        raise AssertionError(f"builds do not come to an end: {self.store._database.builds.begun()}")

    def batch(self, changes: int | None = None) -> None:
        """Changes several tables of one service at random and applies that as one batch."""
        self.batches += 1
        service = self.rng.choice(self.services)
        mine = [each for each in self.tables if each.relation.service == service]
        chunks: list[Chunk] = []
        for _ in range(changes or self.rng.choice((1, 1, 2, 4, 9))):
            each = self.rng.choice(mine)
            chunk = self._change(each)
            if chunk is not None:
                chunks.append(chunk)
        self.apply(service, chunks)

    def apply(self, service: str, chunks: Sequence[Chunk], live: Sequence[str] = ()) -> None:
        if self.rng.random() < 0.5:
            chunks = _merged(chunks)
        n = self.positions[service]
        self.positions[service] = n + 1
        batch = Batch(service, Position("i", n), self._pruned(chunks), Position("i", n + 1), float(n))
        before = self._live_rows()
        try:
            self.store.apply(batch, live)
        except Exception as error:
            error.add_note(self.shown(chunks))
            raise
        try:
            self.check(before)
        except AssertionError as error:
            error.add_note(self.shown(chunks))
            raise

    def shown(self, chunks: Iterable[Chunk]) -> str:
        lines = [f"  {c.relation.name}: rows {c.rows} deleted {c.deleted}" for c in chunks]
        return "\n".join([f"after batch {self.batches}, {', '.join(self.log[-5:])}; the batch:", *lines])

    def step(self) -> None:
        """Anything that may happen to a read store: mostly a batch."""
        chance = self.rng.random()
        if chance < 0.03:
            self.rebuild()
        elif chance < 0.25:
            self.build_a_step()
            self.check(None)
        else:
            self.batch()

    def finish(self) -> None:
        """Completes all builds, so that every view has been compared at least once."""
        self.build_all()
        self.check(None)
        assert set(self.store.definitions.live) == {definition.view.name for definition in self.definitions}

    # -- random rows ---------------------------------------------------------------------------------------------------

    def _random_row(self, each: Table) -> tuple[Scalar, ...]:
        return tuple(value(self.rng) for value in each.values)

    def _change(self, each: Table) -> Chunk | None:
        relation = each.relation
        name = _at_home(relation)
        names = listed(relation.column_names)
        rows = self.oracle.execute(f"SELECT {names} FROM {name}").fetchall()
        old = [self.rng.choice(rows)] if rows else []
        chance = self.rng.random()
        if old and chance < 0.25:
            key = tuple(old[0][index] for index in relation.key_indexes)
            self._delete_oracle(each, key)
            return Chunk(relation, [], [key])
        if chance < 0.30:
            row = self._random_row(each)
            key = tuple(row[index] for index in relation.key_indexes)
            self._delete_oracle(each, key)
            return Chunk(relation, [], [key])
        if old and chance < 0.65:
            row = list(old[0])
            for index in range(len(row)):
                if index not in relation.key_indexes and self.rng.random() < 0.4:
                    row[index] = each.values[index](self.rng)
            written = self._write_oracle(each, tuple(row))
        else:
            written = self._write_oracle(each, self._random_row(each))
        return Chunk(relation, [written], []) if written is not None else None

    def _write_oracle(self, each: Table, row: tuple[Scalar, ...]) -> tuple[Scalar, ...] | None:
        """Stores a row as the service would; None if its UNIQUE refuses it."""
        relation = each.relation
        key = tuple(row[index] for index in relation.key_indexes)
        name = _at_home(relation)
        self.oracle.execute("SAVEPOINT row")
        try:
            self._delete_oracle(each, key)
            self.oracle.execute(f"INSERT INTO {name} VALUES ({', '.join('?' * len(row))})", row)
        except sqlite3.IntegrityError:
            self.oracle.execute("ROLLBACK TO row")
            return None
        finally:
            self.oracle.execute("RELEASE row")
        where = " AND ".join(f"{quoted(n)} = ?" for n in relation.key)
        return self.oracle.execute(f"SELECT {listed(relation.column_names)} FROM {name} WHERE {where}", key).fetchone()

    def _delete_oracle(self, each: Table, key: Sequence[Scalar]) -> None:
        where = " AND ".join(f"{quoted(n)} = ?" for n in each.relation.key)
        self.oracle.execute(f"DELETE FROM {_at_home(each.relation)} WHERE {where}", key)

    # -- first copy ----------------------------------------------------------------------------------------------------

    def _load(self) -> None:
        for service in self.services:
            for name, _ in self.store.loading(service):
                relation = self.store.relations[name]
                columns = listed(relation.column_names)
                rows = self.oracle.execute(f"SELECT {columns} FROM {_at_home(relation)}").fetchall()
                self.store.load(name, rows, done=True)
            loaded = self.store.loaded(service)
            if loaded:
                self.apply(service, [], loaded)

    def _pruned(self, chunks: Iterable[Chunk]) -> list[Chunk]:
        pruned: list[Chunk] = []
        for chunk in chunks:
            relation = self.store.relations.get(mirror_id(chunk.relation.service, chunk.relation.table))
            if relation is None:
                continue
            indexes = [chunk.relation.column_names.index(name) for name in relation.column_names]
            pruned.append(Chunk(relation, [tuple(row[i] for i in indexes) for row in chunk.rows], chunk.deleted))
        return pruned

    # -- the oracle ------------------------------------------------------------------------------------------------

    def _create_oracle_views(self) -> None:
        for (name,) in self.oracle.execute("SELECT name FROM temp.sqlite_master WHERE type = 'view'").fetchall():
            self.oracle.execute(f'DROP VIEW temp."{name}"')
        for definition in self.definitions:
            self.oracle.execute(f'CREATE TEMP VIEW "{definition.view.name}" AS {definition.view.sql}')

    def _live_rows(self) -> dict[str, tuple[int, list[tuple[Scalar, ...]]]]:
        found: dict[str, tuple[int, list[tuple[Scalar, ...]]]] = {}
        for name, definition in self.store.definitions.live.items():
            last = self.connection.execute(f"SELECT max(seq) FROM {quoted(changes_table(name))}").fetchone()[0]
            found[name] = (last or 0, self._stored(definition.own_plan))
        return found

    def _stored(self, plan: ViewPlan, names: Sequence[str] | None = None) -> list[tuple[Scalar, ...]]:
        columns = ", ".join(quoted(name) for name in names or [column.name for column in plan.columns])
        return self.connection.execute(f"SELECT {columns} FROM {quoted(plan.name)}").fetchall()

    def check(self, before: dict[str, tuple[int, list[tuple[Scalar, ...]]]] | None) -> None:
        """Raises Difference unless every mirror, live view, hidden view and change feed is exactly right."""
        for name, relation in self.store.relations.items():
            columns = ", ".join(quoted(c) for c in relation.column_names)
            stored = typed(self.connection.execute(f"SELECT {columns} FROM {quoted(name)}"))
            wanted = typed(self.oracle.execute(f"SELECT {columns} FROM {_at_home(relation)}"))
            if self.store.definitions.states[name] == "live":
                _same(f"mirror {name}", stored, wanted)
        current = {definition.view.name: definition for definition in self.definitions}
        for name, definition in self.store.definitions.live.items():
            plan, is_loose = definition.own_plan, name in self.loose
            if current.get(name) is not None and current[name].fingerprint == definition.fingerprint:
                wanted = typed(self.oracle.execute(f'SELECT * FROM temp."{name}"'), is_loose)
                _same(f"view {name}", typed(self._stored(plan, plan.visible), is_loose), wanted)
            tables = {source: quoted(source) for each in definition.plans for source in each.reads}
            for hidden in definition.plans[:-1]:
                rows = self.connection.execute(render(hidden.definition, tables)).fetchall()
                stored = self._stored(hidden, hidden.visible)
                _same(f"hidden view {hidden.name}", typed(stored, is_loose), typed(rows, is_loose))
            if before is not None and name in before:
                self._check_changes(plan, *before[name])

    def _check_changes(self, plan: ViewPlan, last: int, rows: list[tuple[Scalar, ...]]) -> None:
        keys = ", ".join(quoted(name) for name in plan.key)
        changes = quoted(changes_table(plan.name))
        found = self.connection.execute(f"SELECT op, {keys} FROM {changes} WHERE seq > ? ORDER BY seq", (last,)).fetchall()
        old, new = _by_key(plan, rows), _by_key(plan, self._stored(plan))
        expected = {("delete", key) for key in old.keys() - new.keys()}
        for key, row in new.items():
            if key not in old or typed([old[key]]) != typed([row]):
                expected.add(("upsert", key))
        got = [(op, _folded(plan, key)) for op, *key in found]
        if set(got) != expected or len(got) != len(expected):
            raise Difference(f"change feed of {plan.name}: recorded {got}, the difference is {expected}")

    def parked(self) -> list[tuple[str, str, str]]:
        return self.connection.execute("SELECT view, key, error FROM syncline_parked ORDER BY view, key").fetchall()


def _at_home(relation: Relation) -> str:
    """The relation's table in the oracle, where each service is a database of its own."""
    return f"{relation.service}.{quoted(relation.table)}"


def _merged(chunks: Sequence[Chunk]) -> list[Chunk]:
    """The same net changes with one chunk of each relation, later ones having won."""
    by_relation: dict[str, tuple[Relation, dict[tuple[Scalar, ...], tuple[Scalar, ...] | None]]] = {}
    for chunk in chunks:
        _, net = by_relation.setdefault(chunk.relation.name, (chunk.relation, {}))
        for row in chunk.rows:
            key = tuple(row[index] for index in chunk.relation.key_indexes)
            net.pop(key, None)
            net[key] = row
        for key in chunk.deleted:
            net.pop(key, None)
            net[key] = None
    merged: list[Chunk] = []
    for relation, net in by_relation.values():
        # Keys that differ only in spelling must keep their order, so each such run is a chunk of its own.
        for key, row in net.items():
            is_row = row is not None
            last = merged[-1] if merged and merged[-1].relation is relation else None
            if last is None or (is_row and last.deleted):
                last = Chunk(relation, [], [])
                merged.append(last)
            if is_row:
                last.rows.append(row)
            else:
                last.deleted.append(key)
    return merged


def _by_key(plan: ViewPlan, rows: list[tuple[Scalar, ...]]) -> dict[tuple[Scalar, ...], tuple[Scalar, ...]]:
    names = [column.name for column in plan.columns]
    indexes = [names.index(name) for name in plan.key]
    found = {_folded(plan, [row[index] for index in indexes]): row for row in rows}
    if len(found) != len(rows):
        raise Difference(f"{plan.name} holds two rows of one key")
    return found


def _folded(plan: ViewPlan, key: Sequence[Scalar]) -> tuple[Scalar, ...]:
    collations = {column.name: column.collation.upper() for column in plan.columns}
    folded: list[Scalar] = []
    for name, value in zip(plan.key, key, strict=True):
        if isinstance(value, str) and collations[name] == "NOCASE":
            value = value.translate(_LOWER)
        if isinstance(value, str) and collations[name] == "RTRIM":
            value = value.rstrip(" ")
        folded.append(value)
    return tuple(folded)


def _same(what: str, stored: Rows, wanted: Rows) -> None:
    if stored != wanted:
        lacking, extra = list((wanted - stored).elements()), list((stored - wanted).elements())
        raise Difference(f"{what}: lacks {_plain(lacking)}, has too much {_plain(extra)}")


def _plain(rows: Iterable[tuple[tuple[type, Scalar], ...]]) -> list[tuple[Scalar, ...]]:
    return [tuple(value for _, value in row) for row in rows]
