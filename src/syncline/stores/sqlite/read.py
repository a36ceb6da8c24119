"""The read store on SQLite: one file, one connection that writes, which is also the only checkpointer of the write-ahead log."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager

from syncline.errors import StoreError
from syncline.messages import Column, Key, Relation, Row
from syncline.read.definition import Definition
from syncline.stores.engine import Engine
from syncline.stores.machine import Node, ViewNode
from syncline.stores.parked import Parking
from syncline.stores.read_definitions import Definitions, changes_table
from syncline.stores.read_store import StoredReadModel
from syncline.stores.sqlite.build import SQLiteBuilds
from syncline.stores.sqlite.connection import FORMAT, open_store_file, translated
from syncline.stores.sqlite.explain import scans
from syncline.stores.sqlite.machine import SQLiteMachine
from syncline.stores.sqlite.mirror import rows_between, rows_of
from syncline.stores.sqlite.own_tables import STATEMENTS, runner
from syncline.stores.sqlite.program import Program, mirror_program, view_program, walks_into
from syncline.stores.sqlite.tables import column_sql, create_stored, listed, mirror_shape, quoted


class SQLiteDatabase:
    """The file of one read store. One thread owns it."""

    dialect = "sqlite"
    is_cut = False  # a file's connection is never cut

    def __init__(self, path: str) -> None:
        self.path = path
        self.connection = open_store_file(path)
        self.run = runner(self.connection)
        with translated(path), self.transaction(None):
            for name, statement in STATEMENTS.items():
                if name.startswith("create_"):
                    self.connection.execute(statement)
            if "open" not in {name for (name,) in self.run("select_feed_columns")}:
                self.run("add_open")
            self.run("insert_meta", format=FORMAT)
        found = self.run("select_meta").fetchone()[0]
        if found != FORMAT:
            raise StoreError(
                f"'{path}' is a read store of format {found}, this version reads format {FORMAT}; "
                "delete the file to build it anew from the sources, or use the version that made it"
            )
        self.remarks: list[str] = []
        self.builds = SQLiteBuilds(self.connection, self.run)

    def close(self) -> None:
        self.connection.close()

    def translated(self) -> AbstractContextManager[None]:
        return translated(self.path)

    @contextmanager
    def transaction(self, epoch: int | None) -> Iterator[bool]:
        """It holds the write lock, so no other can raise the epoch."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield epoch is None or self.run("select_meta").fetchone()[2] == epoch
        except BaseException:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")

    @contextmanager
    def durably(self) -> Iterator[None]:
        self.connection.execute("PRAGMA synchronous = FULL")
        try:
            yield
        finally:
            self.connection.execute("PRAGMA synchronous = NORMAL")

    def refuse(self, definitions: Mapping[str, Definition], relations: Sequence[Relation]) -> None:
        """SQLite takes any name."""

    def engine(self, definitions: Definitions, begun: Mapping[str, tuple[int, int]]) -> Engine:
        programs: dict[str, Program] = {}
        nodes: dict[str, Node] = {}
        for table, relation in definitions.relations.items():
            programs[table], nodes[table] = mirror_program(table, mirror_shape(relation)), Node(table)
        for stored in definitions.in_order(begun):
            programs[stored.table] = view_program(stored)
            nodes[stored.table] = ViewNode(stored.table, plan=stored.plan)
            for source, walk in walks_into(stored):
                nodes[source].walks.append(walk)
        return Engine(SQLiteMachine(self.connection, programs), Parking(self.run), nodes.values())

    def scans(self, engine: Engine, views: frozenset[str]) -> list[str]:
        assert isinstance(engine.machine, SQLiteMachine)
        return [line for node in engine.nodes.values() for line in scans(self.connection, engine.machine, node, views)]

    # -- mirrors and views ---------------------------------------------------------------------------------------------

    def create_mirror(self, table: str, relation: Relation) -> None:
        for statement in create_stored(table, mirror_shape(relation)):
            self.connection.execute(statement)

    def drop_mirror(self, table: str, relation: Relation) -> None:
        self.connection.execute(f"DROP TABLE IF EXISTS {quoted(table)}")

    def add_column(self, table: str, relation: Relation, column: Column) -> None:
        self.connection.execute(f"ALTER TABLE {quoted(table)} ADD COLUMN {column_sql(column)}")

    def drop_column(self, table: str, relation: Relation, column: Column) -> None:
        for name, on in self.run("select_indexes").fetchall():
            if on == table:
                self.connection.execute(f"DROP INDEX {quoted(name)}")
        self.connection.execute(f"ALTER TABLE {quoted(table)} DROP COLUMN {quoted(column.name)}")

    def drop_view(self, name: str) -> None:
        """Its tables are all there is of it."""

    def copy(self, table: str, relation: Relation, rows: Sequence[Row]) -> None:
        marks = ", ".join("?" * len(relation.columns))
        columns = listed(relation.column_names)  # a column that came later stands last in the table
        self.connection.executemany(f"INSERT OR REPLACE INTO {quoted(table)} ({columns}) VALUES ({marks})", rows)

    def fill(self, table: str, relation: Relation, names: Sequence[str], rows: Sequence[Row]) -> None:
        sets = ", ".join(f"{quoted(name)} = ?" for name in names)
        where = " AND ".join(f"{quoted(name)} = ?" for name in relation.key)
        chosen = [*(relation.column_names.index(name) for name in names), *relation.key_indexes]
        values = ([row[index] for index in chosen] for row in rows)
        self.connection.executemany(f"UPDATE {quoted(table)} SET {sets} WHERE {where}", values)

    def rows_between(self, table: str, relation: Relation, after: Key | None, up_to: Key | None) -> list[Row]:
        return rows_between(self.connection, table, relation, after, up_to)

    def rows_of(self, table: str, relation: Relation, keys: Sequence[Key]) -> list[Row]:
        return rows_of(self.connection, table, relation, keys)

    def trim(self, view: str, kept: int) -> None:
        feed = quoted(changes_table(view))
        self.connection.execute(f"DELETE FROM {feed} WHERE seq <= (SELECT max(seq) FROM {feed}) - {kept}")


class SQLiteReadStore(StoredReadModel):
    """The writing side of a read store that is an SQLite file."""

    def __init__(self, path: str) -> None:
        database = SQLiteDatabase(path)
        self._connection: sqlite3.Connection = database.connection
        super().__init__(database)
