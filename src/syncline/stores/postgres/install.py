"""What capture by triggers puts into a service's PostgreSQL database, and how it is taken out again.

All of it is in the schema `syncline`, but for the triggers. Their functions log which keys are dirty, never what changed, and run
as whoever installed them, so that writers need no rights of their own. Every trigger fires once for a statement, and stands on
each partition as well, since a statement that names a partition fires no trigger of its table.
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from syncline.errors import StoreError
from syncline.messages import Relation
from syncline.stores.postgres import marks
from syncline.stores.postgres.connection import Connection, load, quoted, shown
from syncline.stores.postgres.source import Table

FORMAT = 1
SQL = load("capture.sql")
_OWN_TABLES = ("source", "consumer", "reading", "captured_table", "follow", "truncation")


@dataclass(frozen=True, slots=True)
class Part:
    """A table, or a partition of it: in which file its rows are, and the program's triggers on it with their states."""

    name: str
    is_leaf: bool
    file: str
    is_owned: bool
    triggers: Mapping[str, str]
    version: str


@dataclass(frozen=True, slots=True)
class Standing:
    """The functions of a table's triggers, its parts by oid, its columns with what decides their values, its key, and why
    it cannot be followed, if it cannot."""

    functions: str
    parts: Mapping[str, Part]
    columns: Mapping[str, str]
    key: str
    refusal: str

    def storage(self) -> str:
        """Text that changes when rows may have changed without a mark: `changed_since` tells which."""
        parts = {oid: f"{part.file} {part.version} {self.functions}" for oid, part in self.parts.items() if part.is_leaf}
        return json.dumps({"parts": parts, "columns": dict(self.columns)}, sort_keys=True)

    def changed_since(self, storage: str, relation: Relation) -> list[str] | None:
        """The partitions whose rows may all be new since the table was read in that state; None for the whole table."""
        if not storage:
            return None
        before = json.loads(storage)
        parts, columns = before["parts"], before["columns"]
        now = json.loads(self.storage())["parts"]
        is_same = all(now.get(oid) == state for oid, state in parts.items())
        if not is_same or any(columns.get(name) != self.columns.get(name) for name in relation.column_names):
            return None
        return [self.parts[oid].name for oid in now if oid not in parts]

    def with_columns_of(self, storage: str) -> str:
        """A stored state that knows further columns as they are now: who begins to follow them copies them."""
        before = json.loads(storage)
        return json.dumps({**before, "columns": {**self.columns, **before["columns"]}}, sort_keys=True)


def is_installed(connection: Connection) -> bool:
    """Whether the database holds all of the program's tables."""
    return _own_tables(connection) == len(_OWN_TABLES)


def refuse(connection: Connection, database: str) -> None:
    """Raises StoreError where nothing can be installed in this database, with what to do."""
    ((name, may_create, is_there, is_standby),) = connection.execute(SQL["select_rights"]).fetchall()
    role = quoted(connection.info.user)
    if is_standby:
        raise StoreError(
            f"{shown(database)} is a standby, which takes no writes, and capture by triggers must write; name the primary's "
            'address, or use capture = "polling", which only reads'
        )
    if not may_create:
        grant = (
            f"GRANT CREATE, USAGE ON SCHEMA syncline TO {role}"
            if is_there
            else f"GRANT CREATE ON DATABASE {quoted(name)} TO {role}"
        )
        raise StoreError(f"{shown(database)}: the role may not make the tables that marks are kept in; {grant}")


def refuse_table(connection: Connection, table: Table) -> list[str]:
    """Raises StoreError where triggers cannot capture a table, with what to do; returns what should be better."""
    role = quoted(connection.info.user)
    warnings: list[str] = []
    for schema, name, is_unlogged, may_trigger, is_owned, owner, is_subscribed in connection.execute(
        SQL["select_part_rights"], {"oid": table.oid}
    ).fetchall():
        if is_unlogged:
            what = table.relation.name if name == table.relation.table else f"{table.relation.name}: its partition {name}"
            raise StoreError(
                f"{what} is UNLOGGED: a crash empties it, and no trigger notices; ALTER TABLE {quoted(schema, name)} SET "
                'LOGGED, or use capture = "polling"'
            )
        if is_subscribed:
            raise StoreError(
                f"{table.relation.name} is written by a subscription, whose worker fires no triggers for statements; use "
                'capture = "wal" or "polling", or follow the database that publishes it'
            )
        if not may_trigger:
            raise StoreError(
                f"{table.relation.name}: the role may not put triggers on it; GRANT TRIGGER ON {quoted(schema, name)} TO {role}"
            )
        if not is_owned:
            warnings.append(
                f"{table.relation.name}: its triggers do not fire in sessions with session_replication_role = replica, since "
                f"only its owner may make them; GRANT {quoted(owner)} TO {role} lets the role do it"
            )
    return warnings[:1]


def prepare(connection: Connection) -> None:
    """Makes the program's tables where they are not. Run inside a write transaction."""
    connection.execute(SQL["lock_install"])
    if not is_installed(connection):
        if connection.execute("SELECT to_regnamespace('syncline') IS NULL").fetchone() == (True,):
            connection.execute("CREATE SCHEMA syncline")
        _create_tables(connection)
    connection.execute(SQL["insert_source"], {"format": FORMAT, "cluster": cluster(connection)})
    (found,) = connection.execute(SQL["select_source"]).fetchall()
    if found[0] != FORMAT:
        raise StoreError(
            f"the capture in this database is of format {found[0]}, this version knows format {FORMAT}; "
            "remove it with `syncline uninstall` of the version that made it, or use that version"
        )


def cluster(connection: Connection) -> str:
    """What tells this database, and this branch of its history, from others."""
    (found,) = connection.execute(SQL["select_cluster"]).fetchall()
    return str(found[0])


def install(
    connection: Connection,
    consumer: str,
    read_store: str,
    tables: Sequence[Table],
    is_new: Callable[[Relation], bool] = lambda relation: False,
) -> dict[str, int]:
    """Makes triggers log every change of these tables for this read store. Run inside a write transaction; safe to repeat.

    Returns each table's number. A table that was captured already and has lost a trigger is to be compared by every read store;
    one that this read store did not follow yet is to be compared by it, but for one of which it holds nothing (`is_new`).
    """
    prepare(connection)
    connection.execute(SQL["delete_replaced_consumers"], {"read_store": read_store, "consumer": consumer})
    connection.execute(SQL["insert_consumer"], {"consumer": consumer, "read_store": read_store})
    known = {(schema, name): (number, types) for number, schema, name, types, _ in connection.execute(SQL["select_captured"])}
    numbers: dict[str, int] = {}
    for table in tables:
        number, types = known.get((table.schema, table.relation.table), (0, ""))
        if number and types != marks.key_types(table):
            _release(connection, number)
            number = 0
        numbers[table.relation.table] = number or _capture(connection, table)
    _make_missing(connection, tables, numbers)
    found = standing(connection, tables)
    follows: dict[int, str] = {n: at for n, at, _ in connection.execute(SQL["select_follows"], {"consumer": consumer})}
    for table in tables:
        number, now = numbers[table.relation.table], found[table.name]
        storage = follows.get(number)
        if is_new(table.relation):
            storage = now.with_columns_of(storage) if storage else now.storage()
        connection.execute(SQL["insert_follow"], {"consumer": consumer, "tbl": number, "storage": storage or ""})
    connection.execute(SQL["delete_other_follows"], {"consumer": consumer, "tables": list(numbers.values())})
    _release_unfollowed(connection)
    return numbers


def renew(connection: Connection) -> str | None:
    """Another name for the history that marks tell of: every read store compares everything. None where nothing is captured."""
    if not is_installed(connection):
        return None
    ((incarnation,),) = connection.execute(SQL["renew_incarnation"], {"cluster": cluster(connection)}).fetchall()
    return str(incarnation)


def standing(connection: Connection, tables: Sequence[Table]) -> dict[str, Standing]:
    """How these tables stand in the database now, by their names in SQL; a table that is gone has no parts."""
    found = connection.execute(SQL["select_standing"], {"names": [table.name for table in tables]}).fetchall()
    return {name: _standing(*of_table) for name, *of_table in found}


def lost(number: int, found: Standing, functions: str) -> bool:
    """Whether a table is not captured as it should be: a trigger is missing or disabled, or a function is another one."""
    names = set(_function_names(number))
    own = " ".join(each for each in found.functions.split() if each.partition(":")[0] in names)
    return own != functions or next(_missing(number, found), None) is not None


def uninstall(connection: Connection, named: Collection[str] | None) -> list[str]:
    """Removes what was put there, for the read store with one of these names, or for all. Returns what was removed."""
    if _own_tables(connection) == 0:
        return []
    connection.execute(SQL["lock_install"])
    _create_tables(connection)  # those that somebody dropped
    consumers = connection.execute(SQL["select_consumers"]).fetchall()
    mine = [consumer for consumer, name in consumers if named is None or consumer in named or name in named]
    if named is not None and not mine:
        return []
    for consumer in mine:
        connection.execute(SQL["delete_consumer"], {"consumer": consumer})
    removed = [f"consumer {consumer}" for consumer in mine]
    removed += _release_unfollowed(connection)
    if len(mine) == len(consumers):
        for name in reversed(_OWN_TABLES):
            connection.execute(f"DROP TABLE IF EXISTS syncline.{name}")
            removed.append(f"table syncline.{name}")
        if connection.execute(SQL["select_left"]).fetchone() == (False,):
            connection.execute("DROP SCHEMA syncline")
            removed.append("schema syncline")
    return removed


def _own_tables(connection: Connection) -> int:
    """How many of the program's tables are here."""
    ((count,),) = connection.execute(SQL["select_installed"], {"names": list(_OWN_TABLES)}).fetchall()
    return int(count)


def _create_tables(connection: Connection) -> None:
    for name in _OWN_TABLES:
        connection.execute(SQL[f"create_{name}"])


def _capture(connection: Connection, table: Table) -> int:
    values = {"schema": table.schema, "name": table.relation.table, "key_types": marks.key_types(table)}
    ((number,),) = connection.execute(SQL["insert_captured"], values).fetchall()
    for statement in marks.create_marks(table, number):
        connection.execute(statement)
    return int(number)


def _make_missing(connection: Connection, tables: Sequence[Table], numbers: Mapping[str, int]) -> None:
    """Puts triggers where they are missing. Where rows may have changed before that, who follows compares the table."""
    found = standing(connection, tables)
    known = {number: functions for number, _, _, _, functions in connection.execute(SQL["select_captured"])}
    for table in tables:
        number, now = numbers[table.relation.table], found[table.name]
        if _functions(connection, number) != known[number] or not known[number]:
            for event in marks.EVENTS:
                connection.execute(marks.create_function(table, number, event))
                connection.execute(f"REVOKE ALL ON FUNCTION {marks.function(number, event)}() FROM PUBLIC")
            connection.execute(SQL["set_functions"], {"id": number, "functions": _functions(connection, number)})
        for part in now.parts.values():
            # Those of a table that this one was taken for, or was a partition of.
            for name in part.triggers.keys() - {marks.trigger(number, event) for event in marks.EVENTS} if part.is_owned else ():
                connection.execute(f"DROP TRIGGER {quoted(name)} ON {part.name}")
        for part, event in list(_missing(number, now)):
            connection.execute(marks.create_trigger(part.name, number, event))
            if part.is_owned:
                connection.execute(f"ALTER TABLE {part.name} ENABLE ALWAYS TRIGGER {marks.trigger(number, event)}")


def _functions(connection: Connection, number: int) -> str:
    return str(connection.execute(SQL["select_functions"], {"names": _function_names(number)}).fetchall()[0][0])


def _function_names(number: int) -> list[str]:
    return [marks.function(number, event).partition(".")[2] for event in marks.EVENTS]


def _missing(number: int, found: Standing) -> Iterator[tuple[Part, str]]:
    for part in found.parts.values():
        for event in marks.EVENTS:
            state = part.triggers.get(marks.trigger(number, event), "D")
            if state != "A" and (state != "O" or part.is_owned):
                yield part, event


def _release_unfollowed(connection: Connection) -> list[str]:
    removed: list[str] = []
    for number, schema, name in connection.execute(SQL["select_unfollowed"]).fetchall():
        _release(connection, number)
        removed.append(f"triggers on {schema}.{name}")
    return removed


def _release(connection: Connection, number: int) -> None:
    for event in marks.EVENTS:
        # With its triggers, which only the owners of the tables could drop.
        connection.execute(f"DROP FUNCTION IF EXISTS {marks.function(number, event)}() CASCADE")
    connection.execute(f"DROP TABLE IF EXISTS {marks.mark_table(number)}")
    connection.execute(SQL["delete_captured"], {"id": number})


def _standing(functions: str, parts: str | None, columns: str | None, key: str | None, refusal: str | None) -> Standing:
    found: dict[str, Part] = {}
    for oid, schema, name, kind, file, is_owned, triggers in json.loads(parts or "[]"):
        states = {each[0]: each[1] for each in triggers or ()}
        versions = " ".join(":".join(each) for each in triggers or ())
        found[oid] = Part(quoted(schema, name), kind == "r", str(file), is_owned, states, versions)
    return Standing(functions, found, json.loads(columns or "{}"), key or "", refusal or "")
