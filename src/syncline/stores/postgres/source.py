"""A service's PostgreSQL database as those who follow it describe it: its tables, columns and keys. Only reads catalogs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from syncline.errors import SourceChanged, StoreError
from syncline.messages import Column, Key, Relation, Row
from syncline.move.feed import in_pages
from syncline.stores.postgres.connection import Connection, load, quoted
from syncline.stores.postgres.values import as_parameter, escaped
from syncline.stores.translation import adapted

_SQL = load("source.sql")
_KINDS = {"v": "view", "m": "materialized view", "f": "foreign table"}
_INSTEAD = {
    "v": "name the tables that it reads instead",
    "m": "name the tables that it reads instead",
    "f": "follow the database that it is in as a service of its own",
}
_UNEQUAL = ("numeric", "jsonb", "bpchar")
"""Types of which two values can be equal and not the same: 1.0 and 1.00, 24 hours and 1 day."""
_INEXACT = {
    "money": "what it prints depends on lc_monetary; make it numeric",
    **dict.fromkeys(
        ("regclass", "regproc", "regprocedure", "regtype", "regrole", "regnamespace", "regconfig", "regoper", "regoperator"),
        "what it prints depends on names elsewhere in the database; make it text or oid",
    ),
}
KEYS_A_QUERY = 500


@dataclass(frozen=True, slots=True)
class Table:
    """A table that can be followed: its relation, and what the database knows it by.

    `columns` are all of them, with the database's own types; a relation that is followed may have its read store's.
    `key_types` are those that the key's columns were declared with: an enum or a domain, which is known by what it stands for.
    `key_enums` are the enums among these, in SQL, and nothing for the others.
    """

    relation: Relation
    oid: int
    schema: str
    columns: tuple[Column, ...]
    key_types: tuple[str, ...]
    key_enums: tuple[str, ...]

    @property
    def types(self) -> Mapping[str, str]:
        """The type of each column as its values travel."""
        return {column.name: column.declared_type for column in self.columns}

    @property
    def name(self) -> str:
        """In SQL."""
        return quoted(self.schema, self.relation.table)


def tables(connection: Connection) -> list[str]:
    """All tables that might be followed, by the names that `describe` takes."""
    found = connection.execute(_SQL["select_tables"]).fetchall()
    return [name if schema == "public" else f"{schema}.{name}" for schema, name in found]


def describe(connection: Connection, service: str, name: str) -> Table:
    """The table of this name (`table` or `schema.table`) as a relation, with all its columns.

    Types that are not PostgreSQL's own (enums, those of extensions) are text in the relation, domains what they stand for. Raises
    SourceChanged when there is no such table, StoreError when it cannot be followed, with the reason and what to do.
    """
    schema, _, table = name.rpartition(".")
    found = _find(connection, table, schema) or (None if schema else _find(connection, table, "public"))
    if found is None:
        known = tables(connection)
        near = [each for each in known if each.rpartition(".")[2].lower().rstrip("s") == table.lower().rstrip("s")]
        hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(known) or 'none'}"
        raise SourceChanged(f"service '{service}' has no table '{name}'; {hint}")
    oid, schema, table, kind, persistence, is_partition, inherits, may_enter, is_hiding = found
    full, role = f"{service}.{table}", quoted(connection.info.user)
    _refuse_kind(full, kind, persistence, is_partition=is_partition, inherits=inherits)
    if not may_enter:
        raise StoreError(f"{full}: the role may not use its schema; GRANT USAGE ON SCHEMA {quoted(schema)} TO {role}")
    found_columns = connection.execute(_SQL["select_columns"], {"oid": oid}).fetchall()
    unreadable = [each[0] for each in found_columns if not each[4]]
    if unreadable:
        grant = f"GRANT SELECT ON {quoted(schema, table)} TO {role}"
        raise StoreError(f"{full}: the role may not read column '{unreadable[0]}'; {grant}")
    if is_hiding:
        raise StoreError(f"{full}: row security hides rows from the role; ALTER ROLE {role} BYPASSRLS, or follow it with another")
    columns = _columns(full, found_columns)
    key, others = _keys(connection, full, quoted(schema, table), oid)
    _refuse_key(full, key, found_columns)
    whole = tuple(Column(c.name, c.declared_type, c.collation, c.not_null or c.name in key) for c in columns)
    relation = Relation(service, table, whole, key, others, False, "postgres", "" if schema == "public" else schema)
    declared = {each[0]: each[5] for each in found_columns}
    enums = {each[0]: each[7] for each in found_columns}
    return Table(
        relation,
        oid,
        schema,
        whole,
        tuple(declared[name] for name in key),
        tuple(enums[name] for name in key),
    )


def table_of(connection: Connection, relation: Relation) -> Table:
    """The table of a relation that is followed, as it is now, with the relation's columns.

    Raises SourceChanged when the table, a column or the key is gone or has another type.
    """
    found = describe(connection, relation.service, f"{relation.origin or 'public'}.{relation.table}")
    there = found.types
    for column in relation.columns:
        now = there.get(column.name)
        if now is None:
            raise SourceChanged(
                f"{relation.name} has no column '{column.name}' any more (it was dropped or renamed); "
                "add it again, or take it out of the views that read it"
            )
        kept = adapted(found.relation, "sqlite").columns[list(there).index(column.name)].declared_type
        if column.declared_type not in (now, kept):
            raise SourceChanged(
                f"{relation.name}.{column.name} is '{now}' now, it was '{column.declared_type}'; its mirror is loaded anew"
            )
    if found.relation.key != relation.key:
        was, is_now = ", ".join(relation.key), ", ".join(found.relation.key)
        raise SourceChanged(f"the primary key of {relation.name} is ({is_now}) now, it was ({was}); its mirror is loaded anew")
    return replace(found, relation=relation)


def lockers(connection: Connection, relation: Relation) -> list[tuple[int, int | None]]:
    """The processes that keep a relation's table from being read now, and how long their transactions have lasted, in seconds."""
    values = {"schema": relation.origin or "public", "name": relation.table}
    return [(pid, seconds) for pid, seconds in connection.execute(_SQL["select_lockers"], values)]


def foreign_keys(connection: Connection, oid: int) -> list[tuple[str, str, str | None]]:
    return [(column, table, there) for column, table, there in connection.execute(_SQL["select_foreign_keys"], {"oid": oid})]


def is_captured(connection: Connection) -> bool:
    """Whether triggers log changes here for some read store."""
    return bool(connection.execute(_SQL["select_is_captured"]).fetchone() == (True,))


def estimated_rows(connection: Connection, oid: int) -> int | None:
    """About how many rows a table holds; None where nobody has counted yet."""
    found = connection.execute(_SQL["estimate_rows"], {"oid": oid}).fetchone()
    return found[0] or None if found is not None else None


def columns_of(table: Table, prefix: str = "") -> str:
    """The relation's columns, in SQL; text of types that are not PostgreSQL's own."""
    return ", ".join(prefix + quoted(name) for name in table.relation.column_names)


def printed(column: str) -> str:
    """A value as PostgreSQL prints it, in SQL, whatever casts its type has."""
    return f"CASE WHEN num_nulls({column}) = 0 THEN format('%s', {column}) END"


def lookup(connection: Connection, table: Table, keys: Sequence[Key]) -> list[Row]:
    """The rows of these keys that there are now."""
    names = table.relation.key
    left = escaped(", ".join(quoted(name) for name in names))
    one = f"({', '.join(['%s'] * len(names))})"
    found: list[Row] = []
    for page in in_pages(keys, KEYS_A_QUERY):
        sql = f"SELECT {escaped(columns_of(table))} FROM {escaped(table.name)} WHERE ({left}) IN ({', '.join([one] * len(page))})"
        found += connection.execute(sql, [as_parameter(value) for key in page for value in key]).fetchall()
    return found


def scan(connection: Connection, table: Table, after: Key | None, limit: int) -> list[Row]:
    """At most `limit` rows with `key > after`, in the order that the table's own key has."""
    key = escaped(", ".join(quoted(name) for name in table.relation.key))
    where = f" WHERE ({key}) > ({', '.join(['%s'] * len(table.relation.key))})" if after is not None else ""
    sql = f"SELECT {escaped(columns_of(table))} FROM {escaped(table.name)}{where} ORDER BY {key} LIMIT {limit}"
    return connection.execute(sql, [as_parameter(value) for value in after or ()]).fetchall()


def _find(connection: Connection, table: str, schema: str) -> tuple[Any, ...] | None:
    """Without a schema, what the role finds by the name alone: nothing in one that it may not use."""
    return connection.execute(_SQL["select_table"], {"name": table, "schema": schema}).fetchone()


def _refuse_kind(full: str, kind: str, persistence: str, *, is_partition: bool, inherits: bool) -> None:
    if kind in _KINDS:
        raise StoreError(f"{full} is a {_KINDS[kind]}, expected a table; {_INSTEAD[kind]}")
    if persistence == "t":
        raise StoreError(f"{full} is a temporary table, which only its own session sees; leave it out of 'tables'")
    if is_partition:
        raise StoreError(f"{full} is a partition; name the table that it is a part of: all its partitions are followed then")
    if inherits:
        raise StoreError(
            f"{full} shares rows with other tables by INHERITS, so that statements on one change the other unseen; "
            "make it a partitioned table, or leave it out of 'tables'"
        )


def _columns(full: str, found: Sequence[Row]) -> tuple[Column, ...]:
    columns: list[Column] = []
    spelled: dict[str, str] = {}
    for name, declared, not_null, collation, *_ in cast(list[tuple[str, str, bool, str, bool]], found):
        other = spelled.setdefault(name.lower(), name)
        if other != name:
            raise StoreError(f"{full} has columns that differ only in case, '{other}' and '{name}'; rename one")
        if declared.partition("[")[0] in _INEXACT:
            reason = _INEXACT[declared.partition("[")[0]]
            raise StoreError(f"{full}.{name} is of type {declared}: {reason}, or leave the table out of 'tables'")
        columns.append(Column(name, declared, collation, not_null))
    return tuple(columns)


def _keys(connection: Connection, full: str, name: str, oid: int) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """The key that rows are told apart by, and what else is unique."""
    found = connection.execute(_SQL["select_keys"], {"oid": oid}).fetchall()
    sets = [tuple(json.loads(names)) for _, _, names, _ in found]
    usable = [each for each, (primary, identity, _, whole) in zip(sets, found, strict=True) if whole and (primary or identity)]
    if not usable:
        raise StoreError(
            f"{full} has no primary key, so its rows cannot be told apart; give it one, or a replica identity: "
            f"ALTER TABLE {name} REPLICA IDENTITY USING INDEX … (unique, of NOT NULL columns)"
        )
    return usable[0], tuple(each for each in sets if each != usable[0])


def _refuse_key(full: str, key: Sequence[str], found: Sequence[Row]) -> None:
    """Values of a key that are equal must be the same: else one row of the table would be two in a mirror."""
    for name, declared, _, collation, _, _, is_known, _ in cast(list[tuple[str, str, bool, str, bool, str, bool, str]], found):
        if name not in key:
            continue
        if collation != "BINARY":
            reason = f"has the collation {collation}, by which different texts are equal"
        elif not is_known:
            reason = "is of a type of which it is not known whether equal values are the same"
        elif declared in _UNEQUAL or declared.startswith("interval") or declared.endswith(("]", "range")):
            reason = f"is of type {declared}, of which equal values may look different"
        else:
            continue
        raise StoreError(
            f"{full}: '{name}', of its primary key, {reason}, so that rows cannot be told apart reliably; "
            "give it another type (numeric needs a precision), or leave the table out of 'tables'"
        )
