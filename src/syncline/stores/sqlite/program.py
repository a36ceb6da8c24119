"""The statements that carry a batch through the read store, prepared as text once for each table.

Text only, no connection. A node is one stored table that changes: a mirror, or a view computed from other nodes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypedDict

from syncline.read.maintain.parse import render
from syncline.read.maintain.plan import ViewPlan
from syncline.read.maintain.schema import affinity
from syncline.stores.sqlite.tables import Shape, create_delta, create_keys, listed, quoted


@dataclass(frozen=True, slots=True)
class WalkStep:
    """Adds the keys of view node `view` that a change of another node affects."""

    view: str
    before: str | None
    after: str


@dataclass(slots=True)
class Node:
    """One stored table, how its delta is formed and written, and which views its changes reach."""

    table: str
    shape: Shape
    temporary: tuple[str, ...]
    stage: str
    stage_gone: str
    drop_equal: str
    drop_absent: str
    remove: str
    write: tuple[str, ...]
    clear: str
    walks: list[WalkStep] = field(default_factory=list)


@dataclass(slots=True)
class ViewNode(Node):
    """A node whose delta is computed: the query for the affected keys, compared with what is stored for them."""

    plan: ViewPlan = field(kw_only=True)
    add_key: str = field(kw_only=True)
    has_key: str = field(kw_only=True)
    select_keys: str = field(kw_only=True)
    recompute: str = field(kw_only=True)
    find_gone: str = field(kw_only=True)
    clear_keys: str = field(kw_only=True)
    record: str | None = field(kw_only=True)
    fill: str = field(kw_only=True)


def mirror_node(table: str, shape: Shape) -> Node:
    """The node of a mirror: rows arrive staged by their key."""
    return Node(**_common(table, shape))


def view_node(plan: ViewPlan, table: str, tables: Mapping[str, str], *, records: bool) -> ViewNode:
    """The node of a view stored as `table`; `tables` gives the stored table of each source that it reads."""
    shape = view_shape(plan)
    keys, delta = keys_table(table), delta_table(table)
    names = {**tables, "#keys": keys}
    query = render(plan.recompute, names)
    columns = listed(shape.names)
    parts = [column.name for column in plan.partition] or ["p1"]
    stored = f"temp.{quoted(keys)} AS k CROSS JOIN {quoted(table)} AS v ON {in_piece(plan)}"
    node = ViewNode(
        **_common(table, shape),
        plan=plan,
        add_key=f"INSERT OR IGNORE INTO temp.{quoted(keys)} ({', '.join(parts)}) VALUES ({', '.join('?' * len(parts))})",
        has_key=f"SELECT 1 FROM temp.{quoted(keys)} WHERE {' AND '.join(f'{part} IS ?' for part in parts)}",
        select_keys=f"SELECT {', '.join(parts)} FROM temp.{quoted(keys)}",
        recompute=f"INSERT INTO temp.{quoted(delta)} (syncline_present, {columns}) SELECT 1, q.* FROM ({query}) AS q",
        find_gone=f"INSERT OR IGNORE INTO temp.{quoted(delta)} (syncline_present, {listed(shape.key)}) "
        f"SELECT 0, {listed(shape.key, 'v.')} FROM {stored}",
        clear_keys=f"DELETE FROM temp.{quoted(keys)}",
        record=None,
        fill=f"INSERT OR REPLACE INTO {quoted(table)} ({columns}) {query}",
    )
    node.temporary += tuple(create_keys(keys, plan.partition))
    if records:
        node.record = (
            f"INSERT INTO {quoted(changes_table(plan.name))} (op, {listed(shape.key)}) "
            f"SELECT CASE WHEN syncline_present THEN 'upsert' ELSE 'delete' END, {listed(shape.key)} "
            f"FROM temp.{quoted(delta)}"
        )
    return node


def connect_walks(view: ViewNode, nodes: Mapping[str, Node], tables: Mapping[str, str]) -> None:
    """Makes changes of the nodes that `view` reads find its keys."""
    for walk in view.plan.walks:
        source = nodes[tables[walk.source]]
        names = {**tables, "#delta": delta_table(source.table)}
        into = f"INSERT OR IGNORE INTO temp.{quoted(keys_table(view.table))} "
        before = into + render(walk.before, names) if walk.before is not None else None
        source.walks.append(WalkStep(view.table, before, into + render(walk.after, names)))


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


def changes_table(view: str) -> str:
    """The change feed of a view: what was written, in order."""
    return f"{view}__changes"


def create_changes(plan: ViewPlan) -> str:
    """CREATE for a view's change feed. Rows are in the order of the batches that wrote them."""
    keys = ", ".join(quoted(name) for name in plan.key)
    return f"CREATE TABLE IF NOT EXISTS {quoted(changes_table(plan.name))} (seq INTEGER PRIMARY KEY, op TEXT NOT NULL, {keys})"


class _Common(TypedDict):
    table: str
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
        "table": table,
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
