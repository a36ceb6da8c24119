"""The read store on PostgreSQL: one database, one connection that writes, kept from writing by the epoch once another took over.

Batches are committed without waiting for the disk; `sync` waits once for all before it. Every statement of the engine is planned
once, by its indexes in the order in which it is written: the settings below keep the planner to that.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager

from psycopg import errors

from syncline.errors import StoreError
from syncline.messages import Column, Key, Relation, Row
from syncline.read.definition import Definition
from syncline.stores.engine import Engine
from syncline.stores.machine import Node, ViewNode
from syncline.stores.parked import Parking
from syncline.stores.postgres.build import PostgresBuilds
from syncline.stores.postgres.connection import connect, quoted, shown, translated
from syncline.stores.postgres.explain import scans
from syncline.stores.postgres.indexes import has_primary_key, make_room
from syncline.stores.postgres.layout import LONGEST, LONGEST_VIEW, Layout
from syncline.stores.postgres.machine import PostgresMachine
from syncline.stores.postgres.mirror import key_terms, orders_by_bytes, rows_between, rows_of
from syncline.stores.postgres.own_tables import NOTICED_SOON, prepare, runner
from syncline.stores.postgres.planner import BY_INDEXES
from syncline.stores.postgres.program import Program, listed, merge, mirror_program, view_program, walks_into
from syncline.stores.postgres.values import is_text
from syncline.stores.read_definitions import Definitions, changes_table
from syncline.stores.read_store import StoredReadModel

FORMAT = 1
"""Which arrangement of the program's own tables this version reads and writes."""
DEFINED_WITHIN_MS = 5_000
"""How long a change of tables waits for those who read them."""
SETTINGS = {
    **BY_INDEXES,
    "synchronous_commit": "off",
    "default_transaction_isolation": "read\\ committed",
    "client_min_messages": "warning",
    **NOTICED_SOON,
}


class PostgresDatabase:
    """The database of one read store. One thread owns it. In a trial, transactions are parts of one that is rolled back."""

    dialect = "postgres"

    def __init__(self, database: str, layout: Layout, *, is_trial: bool = False) -> None:
        self.path = shown(database).strip("'")
        self._url, self._layout, self._is_trial = database, layout, is_trial
        self.connection = connect(database, settings=SETTINGS)
        self.connection.prepared_max = None
        try:
            if is_trial:
                self.connection.execute("BEGIN")
            self._prepare()
        except BaseException:
            self.connection.close()
            raise
        self._by_bytes = orders_by_bytes(self.connection)
        self.run = runner(self.connection, layout, database)
        self.builds = PostgresBuilds(self.connection, layout, self.run)
        self.remarks: list[str] = []
        self._machine: PostgresMachine | None = None

    def close(self) -> None:
        self.connection.close()

    def translated(self) -> AbstractContextManager[None]:
        return translated(self._url)

    @property
    def is_cut(self) -> bool:
        return bool(self.connection.closed)

    @contextmanager
    def transaction(self, epoch: int | None) -> Iterator[bool]:
        """The row of the epoch stays locked until it ends."""
        begin, end, undo = _TRIAL if self._is_trial else _EARNEST
        machine, connection = self._machine, self.connection
        if machine is not None and not self._is_trial:
            machine.tend()
        if epoch is None:
            connection.execute(begin)
            is_current = True
        else:
            with connection.pipeline():
                connection.execute(begin, prepare=True)
                entered = self.run("enter", epoch=epoch)
            is_current = entered.rowcount == 1
        try:
            yield is_current
            if self._machine is not None:
                self._machine.flush(end)
            else:
                connection.execute(end)
        except BaseException:
            if machine is not None:
                machine.forget()
            if not connection.closed:
                connection.execute(undo)
            raise

    @contextmanager
    def durably(self) -> Iterator[None]:
        self.connection.execute("SET synchronous_commit = on")
        try:
            yield
        finally:
            if not self.connection.closed:
                self.connection.execute("SET synchronous_commit = off")

    def engine(self, definitions: Definitions, begun: Mapping[str, tuple[int, int]]) -> Engine:
        with self.transaction(None):
            return self._make_engine(definitions, begun)

    def _make_engine(self, definitions: Definitions, begun: Mapping[str, tuple[int, int]]) -> Engine:
        if self._machine is not None:
            self._machine.close()
            self._machine = None
        tables = self._layout.tables(definitions)
        numbers: dict[str, int] = {}
        programs: dict[str, Program] = {}
        nodes: dict[str, Node] = {}
        for table, relation in definitions.relations.items():
            numbers[table] = len(numbers) + 1
            programs[table], nodes[table] = mirror_program(numbers[table], tables[table], relation), Node(table)
        for stored in definitions.in_order(begun):
            number = numbers[stored.table] = len(numbers) + 1
            is_recorded = stored.is_live and not stored.plan.is_hidden
            changes = self._layout.of_views(changes_table(stored.table)) if is_recorded else None
            programs[stored.table] = view_program(number, stored, tables, changes)
            nodes[stored.table] = ViewNode(stored.table, plan=stored.plan)
            for source, walk in walks_into(stored, tables, number, numbers):
                nodes[source].walks.append(walk)
        self._machine = PostgresMachine(self.connection, programs, self._make_room)
        return Engine(self._machine, Parking(self.run), nodes.values())

    def scans(self, engine: Engine, views: frozenset[str]) -> list[str]:
        assert isinstance(engine.machine, PostgresMachine)
        return [line for node in engine.nodes.values() for line in scans(self.connection, engine.machine, node, views)]

    # -- mirrors and views ---------------------------------------------------------------------------------------------

    def refuse(self, definitions: Mapping[str, Definition], relations: Sequence[Relation]) -> None:
        for definition in definitions.values():
            for plan in definition.plans:
                _refuse_long("view", plan.name, LONGEST_VIEW)
                for column in plan.columns:
                    _refuse_long(f"column of view '{plan.name}'", column.name, LONGEST)
        for relation in relations:
            for name in (relation.service, relation.table, *relation.column_names):
                _refuse_long(f"name in {relation.name}", name, LONGEST)
            if relation.service == self._layout.name:
                raise StoreError(
                    f"service '{relation.service}' and the read model have the same name, and on PostgreSQL each needs a schema "
                    f"of its own in {self.path}; rename one of them"
                )

    def create_mirror(self, table: str, relation: Relation) -> None:
        mirror = self._layout.mirror(relation)
        columns = ", ".join(map(_column, relation.columns))
        self.connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(self._layout.schema_of(relation.service))}")
        try:
            self.connection.execute(
                f"CREATE TABLE {mirror} ({columns}, PRIMARY KEY ({listed(relation.key)})) WITH (fillfactor = 85)"
            )
        except errors.DuplicateTable as error:
            raise StoreError(
                f"{self.path} has a table {mirror} already, which is not this read store's; give the read model a database of "
                "its own, or the service another name"
            ) from error
        types = {column.name: column.declared_type for column in relation.columns}
        if any(is_text(types[name]) for name in relation.key) and not self._by_bytes:
            self.connection.execute(f"CREATE INDEX ON {mirror} ({', '.join(key_terms(relation, by_bytes=False))})")

    def drop_mirror(self, table: str, relation: Relation) -> None:
        self.connection.execute(f"SET LOCAL lock_timeout = {DEFINED_WITHIN_MS}")
        self.connection.execute(f"DROP TABLE IF EXISTS {self._layout.mirror(relation)}")

    def add_column(self, table: str, relation: Relation, column: Column) -> None:
        self.connection.execute(f"SET LOCAL lock_timeout = {DEFINED_WITHIN_MS}")
        self.connection.execute(f"ALTER TABLE {self._layout.mirror(relation)} ADD COLUMN {_column(column)}")

    def drop_column(self, table: str, relation: Relation, column: Column) -> None:
        self.connection.execute(f"SET LOCAL lock_timeout = {DEFINED_WITHIN_MS}")
        self.connection.execute(f"ALTER TABLE {self._layout.mirror(relation)} DROP COLUMN {quoted(column.name)}")

    def drop_view(self, name: str) -> None:
        """The SQL view goes with what nothing owns, when nobody reads it."""

    def copy(self, table: str, relation: Relation, rows: Sequence[Row]) -> None:
        """Rows of which none is there yet, as is usual, are copied into the mirror itself."""
        mirror, names, key = self._layout.mirror(relation), listed(relation.column_names), relation.key
        if has_primary_key(self.run, mirror):
            try:
                with self.connection.transaction():
                    self._copy(mirror, names, rows)
                return
            except errors.UniqueViolation:
                pass
            except errors.ProgramLimitExceeded:
                if not self._make_room(mirror):
                    raise
        with self._beside(mirror, names, rows) as beside:
            last = f"(SELECT DISTINCT ON ({listed(key)}) {names} FROM {beside} ORDER BY {listed(key)}, ctid DESC)"
            self.connection.execute(merge(mirror, last, relation.column_names, key, key, may_be_gone=False))

    def fill(self, table: str, relation: Relation, names: Sequence[str], rows: Sequence[Row]) -> None:
        mirror = self._layout.mirror(relation)
        sets = ", ".join(f"{quoted(name)} = n.{quoted(name)}" for name in names)
        same = " AND ".join(f"t.{quoted(name)} = n.{quoted(name)}" for name in relation.key)
        with self._beside(mirror, listed(relation.column_names), rows) as beside:
            self.connection.execute(f"UPDATE {mirror} AS t SET {sets} FROM {beside} AS n WHERE {same}")

    def rows_between(self, table: str, relation: Relation, after: Key | None, up_to: Key | None) -> list[Row]:
        mirror = self._layout.mirror(relation)
        return rows_between(self.connection, mirror, relation, after, up_to, by_bytes=self._by_bytes)

    def rows_of(self, table: str, relation: Relation, keys: Sequence[Key]) -> list[Row]:
        return rows_of(self.connection, self._layout.mirror(relation), relation, keys)

    def trim(self, view: str, kept: int) -> None:
        feed = self._layout.of_views(changes_table(view))
        self.connection.execute(f"DELETE FROM {feed} WHERE seq <= (SELECT max(seq) FROM {feed}) - {kept}")

    # -- the connection ------------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        with self.translated():
            try:
                prepare(self.connection, self._url, self._layout, FORMAT, is_trial=self._is_trial)
            except errors.InsufficientPrivilege as error:
                role, name = self.connection.info.user, self.connection.info.dbname
                raise StoreError(
                    f"{self.path}: the role may not make a read store there ({error.diag.message_primary}); "
                    f"GRANT CREATE, TEMPORARY ON DATABASE {quoted(name)} TO {quoted(role)}"
                ) from error

    def _make_room(self, table: str) -> bool:
        """Whether values of any length fit into a stored table now that did not before."""
        replaced = make_room(self.connection, self.run, table)
        if replaced:
            self.remarks.append(
                f"{table} holds a value that is too long for a B-tree: other indexes are in the place of those over "
                f"{', '.join(replaced)}; they find what is equal, but keep no order"
            )
        return bool(replaced)

    def _copy(self, table: str, names: str, rows: Sequence[Row]) -> None:
        with self.connection.cursor().copy(f"COPY {table} ({names}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)

    @contextmanager
    def _beside(self, mirror: str, names: str, rows: Sequence[Row]) -> Iterator[str]:
        """A temporary table of these rows."""
        beside = "pg_temp.syncline_beside"
        self.connection.execute(f"CREATE TEMP TABLE {beside} AS SELECT {names} FROM {mirror} WITH NO DATA")
        self._copy(beside, names, rows)
        yield beside
        self.connection.execute(f"DROP TABLE {beside}")


class PostgresReadStore(StoredReadModel):
    """The writing side of a read store that is a PostgreSQL database. `name` is the read model's, whose views are in a schema of
    that name."""

    def __init__(self, database: str, name: str) -> None:
        self._postgres = PostgresDatabase(database, Layout(name))
        super().__init__(self._postgres)


_EARNEST = ("BEGIN", "COMMIT", "ROLLBACK")
_TRIAL = (
    "SAVEPOINT syncline_trial",
    "RELEASE SAVEPOINT syncline_trial",
    "ROLLBACK TO SAVEPOINT syncline_trial",
)


def _column(column: Column) -> str:
    return f"{quoted(column.name)} {column.declared_type}"


def _refuse_long(what: str, name: str, longest: int) -> None:
    length = len(name.encode())
    if length > longest:
        raise StoreError(
            f"{what}: '{name}' has {length} bytes, and a read store on PostgreSQL takes {longest} at most there; shorten it"
        )
