"""The statements that carry a batch through the read store, prepared as text once for each table.

Text only, no connection.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

from syncline.read.maintain.parse import render
from syncline.read.maintain.plan import ViewPlan
from syncline.read.maintain.schema import affinity
from syncline.stores.machine import WalkStep
from syncline.stores.read_definitions import Stored, changes_table
from syncline.stores.sqlite.tables import Shape, create_delta, create_keys, listed, quoted


@dataclass(frozen=True, slots=True)
class Program:
    """The statements of one stored table: how its delta is formed and written."""

    shape: Shape
    temporary: tuple[str, ...]
    stage: str
    stage_gone: str
    drop_equal: str
    drop_absent: str
    remove: str
    write: tuple[str, ...]
    clear: str


@dataclass(frozen=True, slots=True)
class ViewProgram(Program):
    """Those of a table whose delta is computed, besides: from its affected keys to its delta, and back for marks."""

    add_key: str
    has_key: str
    select_keys: str
    recompute: str
    find_gone: str
    clear_keys: str
    record: str | None
    fill: str
    pieces: str


def mirror_program(table: str, shape: Shape) -> Program:
    """The program of a mirror: rows arrive staged by their key."""
    return Program(**_common(table, shape))


def view_program(stored: Stored) -> ViewProgram:
    """The program of a view's table."""
    plan, table = stored.plan, stored.table
    shape = view_shape(plan)
    common = _common(table, shape)
    keys, delta = keys_table(table), delta_table(table)
    query = render(plan.recompute, as_sql({**stored.tables, "#keys": keys}))
    columns = listed(shape.names)
    parts = [column.name for column in plan.partition] or ["p1"]
    held = f"temp.{quoted(keys)} AS k CROSS JOIN {quoted(table)} AS v ON {in_piece(plan)}"
    spelled = ", ".join(f"v.{quoted(name)} COLLATE BINARY" for name in plan.partition_columns) or "1"
    common["temporary"] += tuple(create_keys(keys, plan.partition))
    return ViewProgram(
        **common,
        add_key=f"INSERT OR IGNORE INTO temp.{quoted(keys)} ({', '.join(parts)}) VALUES ({', '.join('?' * len(parts))})",
        has_key=f"SELECT 1 FROM temp.{quoted(keys)} WHERE {' AND '.join(f'{part} IS ?' for part in parts)}",
        select_keys=f"SELECT {', '.join(parts)} FROM temp.{quoted(keys)}",
        recompute=f"INSERT INTO temp.{quoted(delta)} (syncline_present, {columns}) SELECT 1, q.* FROM ({query}) AS q",
        find_gone=f"INSERT OR IGNORE INTO temp.{quoted(delta)} (syncline_present, {listed(shape.key)}) "
        f"SELECT 0, {listed(shape.key, 'v.')} FROM {held}",
        clear_keys=f"DELETE FROM temp.{quoted(keys)}",
        record=_record(plan, delta) if stored.is_live and not plan.is_hidden else None,
        fill=f"INSERT OR REPLACE INTO {quoted(table)} ({columns}) {query}",
        pieces=f"SELECT DISTINCT {spelled} FROM {held}",
    )


def walks_into(stored: Stored) -> Iterator[tuple[str, WalkStep]]:
    """The steps by which changes find a view's keys, each with the table whose changes they are."""
    into = f"INSERT OR IGNORE INTO temp.{quoted(keys_table(stored.table))} "
    for walk in stored.plan.walks:
        source = stored.tables[walk.source]
        names = as_sql({**stored.tables, "#delta": delta_table(source)})
        before = into + render(walk.before, names) if walk.before is not None else None
        yield source, WalkStep(stored.table, before, into + render(walk.after, names))


def leave(table: str, plan: ViewPlan, columns: Sequence[str]) -> str:
    """Puts the keys of a view's affected pieces into its delta as gone; `columns` give its key in terms of those pieces."""
    where = f" WHERE typeof({listed(columns)}) = 'integer'" if plan.is_rowid_key else ""
    into = f"INSERT OR IGNORE INTO temp.{quoted(delta_table(table))} (syncline_present, {listed(plan.key)})"
    return f"{into} SELECT 0, {listed(columns)} FROM temp.{quoted(keys_table(table))}{where}"


def _record(plan: ViewPlan, delta: str) -> str:
    return (
        f"INSERT INTO {quoted(changes_table(plan.name))} (op, {listed(plan.key)}) "
        f"SELECT CASE WHEN syncline_present THEN 'upsert' ELSE 'delete' END, {listed(plan.key)} "
        f"FROM temp.{quoted(delta)}"
    )


def as_sql(tables: Mapping[str, str]) -> dict[str, str]:
    """Names of tables as `render` wants them."""
    return {source: quoted(table) for source, table in tables.items()}


def view_shape(plan: ViewPlan) -> Shape:
    """How the rows of a view are stored."""
    return Shape(plan.columns, plan.key, plan.is_rowid_key)


def in_piece(plan: ViewPlan) -> str:
    """A condition that a row `v` of a view belongs to the piece of a partition key `k`."""
    return (
        " AND ".join(
            f"v.{quoted(name)} {'=' if column.not_null else 'IS'} k.{quoted(column.name)}"
            for name, column in zip(plan.partition_columns, plan.partition, strict=True)
        )
        or "1"
    )


def delta_table(table: str) -> str:
    return f"syncline_delta_{table}"


def keys_table(table: str) -> str:
    return f"syncline_keys_{table}"


def create_changes(plan: ViewPlan) -> str:
    """CREATE for a view's change feed. Rows are in the order of the batches that wrote them."""
    keys = ", ".join(quoted(name) for name in plan.key)
    return f"CREATE TABLE IF NOT EXISTS {quoted(changes_table(plan.name))} (seq INTEGER PRIMARY KEY, op TEXT NOT NULL, {keys})"


class _Common(TypedDict):
    shape: Shape
    temporary: tuple[str, ...]
    stage: str
    stage_gone: str
    drop_equal: str
    drop_absent: str
    remove: str
    write: tuple[str, ...]
    clear: str


def _common(table: str, shape: Shape) -> _Common:
    delta = f"temp.{quoted(delta_table(table))}"
    exists = f"EXISTS (SELECT 1 FROM {quoted(table)} AS t WHERE {shape.same_key('t', 'n')}"
    marks, key_marks = ", ".join("?" * len(shape.columns)), ", ".join("?" * len(shape.key))
    return {
        "shape": shape,
        "temporary": tuple(create_delta(delta_table(table), shape)),
        "stage": f"INSERT OR REPLACE INTO {delta} (syncline_present, {listed(shape.names)}) VALUES (1, {marks})",
        "stage_gone": f"INSERT OR REPLACE INTO {delta} (syncline_present, {listed(shape.key)}) VALUES (0, {key_marks})",
        "drop_equal": f"DELETE FROM {delta} AS n WHERE syncline_present AND {exists} AND {shape.same_row('t', 'n')})",
        "drop_absent": f"DELETE FROM {delta} AS n WHERE NOT syncline_present AND NOT {exists})",
        "remove": _remove(table, shape, delta, "WHERE NOT n.syncline_present"),
        "write": _write(table, shape, delta),
        "clear": f"DELETE FROM {delta}",
    }


def _remove(table: str, shape: Shape, delta: str, where: str) -> str:
    if shape.has_null_safe_key:
        rows = f"SELECT t.rowid FROM {delta} AS n CROSS JOIN {quoted(table)} AS t ON {shape.same_key('t', 'n')} {where}"
        return f"DELETE FROM {quoted(table)} WHERE rowid IN ({rows})"
    key = listed(shape.key)
    left = f"({key})" if len(shape.key) > 1 else key
    return f"DELETE FROM {quoted(table)} WHERE {left} IN (SELECT {listed(shape.key, 'n.')} FROM {delta} AS n {where})"


def _write(table: str, shape: Shape, delta: str) -> tuple[str, ...]:
    columns = listed(shape.names)
    select = f"SELECT {columns} FROM {delta} WHERE syncline_present"
    if shape.has_null_safe_key:
        return (_remove(table, shape, delta, "WHERE n.syncline_present"), f"INSERT INTO {quoted(table)} ({columns}) {select}")
    rest = [name for name in shape.names if name not in shape.key or _spelling_may_differ(shape, name)]
    updates = ", ".join(f"{quoted(name)} = excluded.{quoted(name)}" for name in rest)
    action = f"DO UPDATE SET {updates}" if updates else "DO NOTHING"
    return (f"INSERT INTO {quoted(table)} ({columns}) {select} ON CONFLICT ({listed(shape.key)}) {action}",)


def _spelling_may_differ(shape: Shape, name: str) -> bool:
    """Whether equal values of a column may differ: in case under NOCASE, as 1 and 1.0 where the column has no type."""
    column = next(c for c in shape.columns if c.name == name)
    return column.collation.upper() != "BINARY" or affinity(column.declared_type) == "BLOB"
