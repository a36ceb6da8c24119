"""The statements that carry a batch through a read store on PostgreSQL, as text, prepared once for each table. No connection.

A delta is a temporary table of the stored table's columns with more: whether the row is there or gone, and which part of the
batch it came with. Temporary tables are read by an index on a column that is always true, since the planner is kept from reading
tables from end to end. That affected keys are unique is for the planner to know, by an index with a condition that no query has,
so that it never looks them up for every row of a mirror; keys that are there already are left out by EXCEPT, since the index is
dropped where a value is too long for it. Rows are compared by their images (`*=`): a number with other digits is a difference.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

from syncline.messages import Column, Relation
from syncline.read.maintain.parse import render
from syncline.read.maintain.plan import ViewPlan
from syncline.stores.machine import WalkStep
from syncline.stores.postgres.connection import quoted
from syncline.stores.postgres.values import is_text
from syncline.stores.read_definitions import Stored

PRESENT, PART, ALL, ONCE = '"syncline_present"', '"syncline_part"', '"syncline_all"', '"syncline_once"'


@dataclass(frozen=True, slots=True)
class Program:
    """The statements of one stored table: how its delta is formed and written. `columns` are those that rows arrive with."""

    table: str
    delta: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    temporary: tuple[str, ...]
    last_only: str
    net: str
    write: str
    clear: str


@dataclass(frozen=True, slots=True)
class ViewProgram(Program):
    """Those of a table whose delta is computed, besides: from its affected keys to its delta, and back for marks."""

    parts: tuple[str, ...]
    keys: str
    add_key: str
    has_key: str
    select_keys: str
    clear_keys: str
    compute: str
    recompute: str
    find_gone: str
    drop_equal: str
    record: str | None
    fill: str
    stored: str
    pieces: str


def mirror_program(number: int, table: str, relation: Relation) -> Program:
    """The program of a mirror, stored as `table`: rows arrive staged by their key."""
    return Program(**_common(number, table, relation.columns, relation.key, set(relation.key)))


def view_program(number: int, stored: Stored, tables: Mapping[str, str], changes: str | None) -> ViewProgram:
    """The program of a view's table. `tables` name each table as SQL; `changes` is its change feed, if it has one."""
    plan, table = stored.plan, tables[stored.table]
    common = _common(number, table, plan.columns, plan.key, _not_null(plan))
    delta, keys = common["delta"], keys_table(number)
    query = recompute(stored, tables, all_of(keys))
    names, key = common["columns"], plan.key
    parts = tuple(column.name for column in plan.partition) or ("p1",)
    common["temporary"] += (
        f"CREATE TEMP TABLE {keys} AS "
        f"SELECT *, true AS {ALL}, true AS {ONCE} FROM ({all_keys(stored, tables)}) AS p WITH NO DATA",
        f"ALTER TABLE {keys} ALTER {ALL} SET DEFAULT true, ALTER {ONCE} SET DEFAULT true",
        f"CREATE INDEX ON {keys} ({ALL})",
        f"CREATE UNIQUE INDEX ON {keys} ({listed(parts)}) NULLS NOT DISTINCT WHERE {ONCE}",
    )
    held = _in_pieces(plan, all_of(keys), table)
    not_null = _not_null(plan)

    def stored_as(row: str) -> str:
        same = f"{same_key(key, not_null, 't', row)} AND {_same_image(names, row)}"
        return f"EXISTS (SELECT FROM {table} AS t WHERE {same})"

    gone = ", ".join(f"x.{quoted(name)}" if name in key else "NULL" for name in names)
    marks = ", ".join(["%s"] * len(parts))
    return ViewProgram(
        **common,
        parts=parts,
        keys=keys,
        add_key=add_keys(number, plan, f"SELECT {marks}"),
        has_key=f"SELECT 1 FROM {keys} WHERE {' AND '.join(f'{quoted(part)} IS NOT DISTINCT FROM %s' for part in parts)}",
        select_keys=f"SELECT {listed(parts)} FROM {keys}",
        clear_keys=f"DELETE FROM {keys}",
        compute=f"WITH q AS MATERIALIZED ({query}) INSERT INTO {delta} ({PRESENT}, {listed(names)}) "
        f"SELECT true, q.* FROM q WHERE NOT {stored_as('q')} UNION ALL "
        f"SELECT false, {gone} FROM (SELECT {listed(key, 'v.')} FROM {held} EXCEPT SELECT {listed(key, 'q.')} FROM q) AS x",
        recompute=f"INSERT INTO {delta} ({PRESENT}, {listed(names)}) SELECT true, q.* FROM ({query}) AS q",
        find_gone=f"INSERT INTO {delta} ({PRESENT}, {listed(key)}) SELECT false, x.* FROM "
        f"(SELECT {listed(key, 'v.')} FROM {held} EXCEPT SELECT {listed(key)} FROM {delta} WHERE {ALL} AND {PRESENT}) AS x",
        drop_equal=f"DELETE FROM {delta} AS n WHERE {ALL} AND {PRESENT} AND {stored_as('n')}",
        record=_record(delta, changes, key) if changes is not None else None,
        fill=merge(table, f"({query})", names, key, not_null, may_be_gone=False),
        stored=f"INSERT INTO {delta} ({PRESENT}, {listed(key)}) SELECT false, {listed(key, 'v.')} FROM {held}",
        pieces=f"SELECT DISTINCT {listed(plan.partition_columns, 'v.') or '1'} FROM {held}",
    )


def recompute(stored: Stored, tables: Mapping[str, str], keys: str) -> str:
    """The view's query for the keys in `keys`, which may be a subquery."""
    return render(stored.plan.recompute, {**_sources(stored, tables), "#keys": keys})


def all_keys(stored: Stored, tables: Mapping[str, str]) -> str:
    """A query for every partition key there is, with the names p1, p2, …; any one where the view is one piece."""
    return render(stored.plan.all_keys, _sources(stored, tables)) if stored.plan.partition else "SELECT 1 AS p1"


def walks_into(
    stored: Stored, tables: Mapping[str, str], number: int, numbers: Mapping[str, int]
) -> Iterator[tuple[str, WalkStep]]:
    """The steps by which changes find a view's keys, each with the table whose changes they are. `numbers` are those of the
    temporary tables."""
    for walk in stored.plan.walks:
        source = stored.tables[walk.source]
        names = {**_sources(stored, tables), "#delta": all_of(delta_table(numbers[source]))}
        before, after = (
            add_keys(number, stored.plan, f"SELECT * FROM ({render(text, names)}) AS w") if text is not None else None
            for text in (walk.before, walk.after)
        )
        assert after is not None
        yield source, WalkStep(stored.table, before, after)


def add_keys(number: int, plan: ViewPlan, keys: str) -> str:
    """Adds what a query gives to the affected keys of a view, but those that are affected already.

    Their collation is said, since that of the query's columns may be another; where text is equal, it is so by any that we take.
    """
    held = ", ".join(
        f'p.{quoted(c.name)} COLLATE "C"' if is_text(c.declared_type) else f"p.{quoted(c.name)}" for c in plan.partition
    )
    parts = listed([column.name for column in plan.partition] or ["p1"])
    return (
        f"INSERT INTO {keys_table(number)} ({parts}) {keys} EXCEPT SELECT {held or 'p.p1'} FROM {all_of(keys_table(number))} AS p"
    )


def leave(program: ViewProgram, columns: Sequence[str]) -> str:
    """Puts the keys of a view's affected pieces into its delta as gone; `columns` give its key in terms of those pieces."""
    return f"INSERT INTO {program.delta} ({PRESENT}, {listed(program.key)}) SELECT false, {listed(columns)} FROM {program.keys}"


def all_of(table: str) -> str:
    """A temporary table to be read."""
    return f"(SELECT * FROM {table} WHERE {ALL})"


def listed(names: Iterable[str], prefix: str = "") -> str:
    """Identifiers in a list, each with the prefix (`t.`) before it."""
    return ", ".join(prefix + quoted(name) for name in names)


def same_key(key: Sequence[str], not_null: Iterable[str], left: str, right: str) -> str:
    """A condition that two rows have the same key, NULL being a value: such that an index can be used."""
    known = set(not_null)
    return " AND ".join(_same(f"{left}.{quoted(name)}", f"{right}.{quoted(name)}", not_null=name in known) for name in key)


def _in_pieces(plan: ViewPlan, keys: str, table: str) -> str:
    """The affected keys `k`, each with the rows `v` of its piece; rows without a value are sought only where a key has none."""
    pairs = [
        (f"v.{quoted(n)}", f"k.{quoted(p.name)}", p.not_null) for n, p in zip(plan.partition_columns, plan.partition, strict=True)
    ]
    equal = " AND ".join(f"{one} = {other}" for one, other, _ in pairs) or "true"
    lacking = " OR ".join(f"{other} IS NULL" for _, other, not_null in pairs if not not_null)
    if not lacking:
        return f"{keys} AS k CROSS JOIN {table} AS v WHERE {equal}"
    alike = " AND ".join(_same(one, other, not_null=not_null) for one, other, not_null in pairs)
    rows = f"SELECT * FROM {table} AS v WHERE"
    return f"{keys} AS k CROSS JOIN LATERAL ({rows} {equal} UNION ALL {rows} ({lacking}) AND {alike}) AS v"


def delta_table(number: int) -> str:
    return f"pg_temp.syncline_delta_{number}"


def keys_table(number: int) -> str:
    return f"pg_temp.syncline_keys_{number}"


class _Common(TypedDict):
    table: str
    delta: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    temporary: tuple[str, ...]
    last_only: str
    net: str
    write: str
    clear: str


def _common(number: int, table: str, columns: Sequence[Column], key: tuple[str, ...], not_null: set[str]) -> _Common:
    delta, names = delta_table(number), tuple(column.name for column in columns)
    there = f"EXISTS (SELECT FROM {table} AS t WHERE {same_key(key, not_null, 't', 'n')}"
    later = f"row_number() OVER (PARTITION BY {listed(key)} ORDER BY {PART} DESC, ctid DESC)"
    return {
        "table": table,
        "delta": delta,
        "columns": names,
        "key": key,
        "temporary": (
            f"CREATE TEMP TABLE {delta} AS "
            f"SELECT true AS {ALL}, true AS {PRESENT}, 0 AS {PART}, {listed(names)} FROM {table} WITH NO DATA",
            f"ALTER TABLE {delta} ALTER {ALL} SET DEFAULT true",
            f"CREATE INDEX ON {delta} ({ALL})",
        ),
        "last_only": f"DELETE FROM {delta} WHERE ctid = ANY(ARRAY("
        f"SELECT ctid FROM (SELECT ctid, {later} AS later FROM {delta}) AS n WHERE later > 1))",
        "net": f"DELETE FROM {delta} AS n "
        f"WHERE {ALL} AND CASE WHEN {PRESENT} THEN {there} AND {_same_image(names, 'n')}) ELSE NOT {there}) END",
        "write": merge(table, all_of(delta), names, key, not_null, may_be_gone=True),
        "clear": f"DELETE FROM {delta}",
    }


def merge(table: str, rows: str, names: Sequence[str], key: Sequence[str], not_null: Iterable[str], *, may_be_gone: bool) -> str:
    """Writes rows to a table, over those of the same keys; of those that may be gone, the others are deleted."""
    present = f" AND n.{PRESENT}" if may_be_gone else ""
    delete = f" WHEN MATCHED AND NOT n.{PRESENT} THEN DELETE" if may_be_gone else ""
    sets = ", ".join(f"{quoted(name)} = n.{quoted(name)}" for name in names)
    return (
        f"MERGE INTO {table} AS t USING {rows} AS n ON {same_key(key, not_null, 't', 'n')}{delete} "
        f"WHEN MATCHED THEN UPDATE SET {sets} "
        f"WHEN NOT MATCHED{present} THEN INSERT ({listed(names)}) VALUES ({listed(names, 'n.')})"
    )


def _record(delta: str, changes: str, key: Sequence[str]) -> str:
    kind = f"CASE WHEN {PRESENT} THEN 'upsert' ELSE 'delete' END"
    return f"INSERT INTO {changes} (op, {listed(key)}) SELECT {kind}, {listed(key)} FROM {delta}"


def _same_image(names: Sequence[str], right: str) -> str:
    return f"ROW({listed(names, 't.')})::record *= ROW({listed(names, f'{right}.')})::record"


def _same(one: str, other: str, *, not_null: bool) -> str:
    return f"{one} = {other}" if not_null else f"({one} = {other} OR ({one} IS NULL AND {other} IS NULL))"


def _not_null(plan: ViewPlan) -> set[str]:
    return {column.name for column in plan.columns if column.not_null}


def _sources(stored: Stored, tables: Mapping[str, str]) -> dict[str, str]:
    return {source: tables[table] for source, table in stored.tables.items()}
