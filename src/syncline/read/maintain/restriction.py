"""A SELECT restricted to some partition keys: the same query, led by the view's table of affected keys.

Pure. Written such that the database starts at the keys and reaches every table through an index; what it means stays the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlglot import exp

from syncline.read.maintain import graph, keys
from syncline.read.maintain.dialect import KeyMatch
from syncline.read.maintain.inner import table_as
from syncline.read.maintain.partition import Partition
from syncline.read.maintain.plan import KEYS
from syncline.read.maintain.query import Block, Use, folds, operand
from syncline.read.maintain.values import collation_of, has_column_collation


@dataclass(slots=True)
class Branch:
    """One SELECT of a (compound) query, with the P by which it is restricted."""

    block: Block
    edges: list[graph.Edge]
    partition: Partition


def restricted(branch: Branch) -> exp.Select:
    """The branch's own SELECT, read only for the partition keys in the view's table of keys.

    Inner joins are put in the order in which equalities lead from the owner, with CROSS JOIN, which SQLite's planner keeps
    (https://sqlite.org/optoverview.html#crossjoin), and PostgreSQL's with `join_collapse_limit = 1`: left to itself it may begin
    by scanning a mirror.
    """
    select = branch.block.select.copy()
    owner = branch.partition.owner
    if owner is None:
        return select
    _turn_memberships(branch.block, select)
    ordered = join_order(branch, owner)
    dialect = branch.block.dialect
    matches = [
        KeyMatch(expression.copy(), exp.column(f"p{position}", table="syncline_keys"), is_not_null)
        for position, (expression, is_not_null) in enumerate(partition_nullability(branch), 1)
    ]
    first, conditions = dialect.join_owner(table_as(owner.table.name, owner.alias), matches)
    conditions += [
        part.copy()
        for use in branch.block.uses
        if use.join is not None and not use.joins_left and (part := use.join.args.get("on")) is not None
    ]
    where = select.args.get("where")
    if where is not None:
        conditions.append(where.this)
    select.set("from_", exp.From(this=table_as(KEYS, "syncline_keys")))
    select.set("joins", [first, *(_join(use) for use in ordered[1:])])
    select.set("where", exp.Where(this=exp.and_(*conditions, copy=False)) if conditions else None)
    dialect.keep_plan(select)
    return select


def join_order(branch: Branch, owner: Use) -> list[Use]:
    """Tables that are reached by equalities first, and of these such as have one row for each before such as may have many: then
    the others are looked up once for each row of the owner, and not once for each of its many."""
    placed = [owner]
    waiting = [use for use in branch.block.uses if use is not owner]
    while waiting:
        ready = [use for use in waiting if _needed_before(branch.block, use) <= set(placed)]
        linked = [u for u in ready if not u.joins_left and edges_into(branch, u, placed)]
        inner = [use for use in ready if not use.joins_left]
        left = [use for use in ready if use.joins_left]
        single = [use for use in [*linked, *left] if _has_one_row(branch, use, placed)]
        following = (single or linked or left or inner)[0]
        placed.append(following)
        waiting.remove(following)
    return placed


def _has_one_row(branch: Branch, use: Use, placed: Sequence[Use]) -> bool:
    """Whether equalities with what is placed tie a whole key of the table: there is one row of it, or none, for each before."""
    tied = {e.far_expression.name.lower() for e in edges_into(branch, use, placed) if isinstance(e.far_expression, exp.Column)}
    return any({name.lower() for name in key} <= tied for key in use.source.keys)


def edges_into(branch: Branch, use: Use, placed: Sequence[Use]) -> list[graph.Edge]:
    opened = {use, *placed}
    return [e for e in branch.edges if e.far is use and e.near in placed and e.is_open(opened)]


def partition_nullability(branch: Branch) -> list[tuple[exp.Expr, bool]]:
    block = branch.block
    return [(e, isinstance(e, exp.Column) and block.column_of(e).not_null) for e in branch.partition.expressions]


def _turn_memberships(block: Block, copy: exp.Select) -> None:
    """`x IN (SELECT y …)` as EXISTS (SELECT 1 … x = y): the database would read all of an IN that names nothing around it.

    Only where both say the same: where IN is an equality (`graph.is_equality`) by the collation that IN compares with.
    """
    copies = dict(zip(map(id, block.select.walk()), copy.walk(), strict=True))
    turned: list[tuple[exp.Expr, exp.Expr]] = []
    for part in block.everything_below():
        for child in part.children:
            membership = graph.membership_of(child)
            if (
                membership is None
                or not graph.is_equality(part, child, membership)
                or not _may_be_turned(part, child, membership)
            ):
                continue
            inner = copies[id(child.select)]
            assert isinstance(inner, exp.Select)
            equalities = [
                exp.EQ(this=operand(copies[id(mine)]), expression=operand(copies[id(theirs)]))
                for mine, theirs in graph.pairs_of(child, membership)
            ]
            turned.append((copies[id(membership)], inner))
            where = inner.args.get("where")
            conditions = [*equalities, *([exp.paren(where.this, copy=False)] if where is not None else [])]
            inner.set("where", exp.Where(this=exp.and_(*conditions, copy=False)))
    for membership_copy, inner in reversed(turned):
        inner.set("expressions", [exp.Literal.number(1)])
        inner.set("distinct", None)
        membership_copy.replace(exp.Exists(this=inner.copy()))


def _may_be_turned(block: Block, child: Block, membership: exp.In) -> bool:
    pairs = graph.pairs_of(child, membership)
    names = {use.alias.lower() for use in child.uses}
    groups = {keys.attribute(group) for group in child.group_expressions()}
    for mine, theirs in pairs:
        is_shadowed = any(column.table.lower() in names for column in mine.find_all(exp.Column))
        is_alike = has_column_collation(mine) or collation_of(child, theirs) == "BINARY"
        is_of_rows = not folds(theirs) and (not child.is_grouped or keys.attribute(theirs) in groups)
        if is_shadowed or not is_alike or not is_of_rows or folds(mine):
            return False
    return True


def _join(use: Use) -> exp.Join:
    table = table_as(use.table.name, use.alias)
    if use.joins_left and use.join is not None:
        on = use.join.args.get("on")
        return exp.Join(this=table, side="LEFT", on=on.copy() if on is not None else exp.true())
    return exp.Join(this=table, kind="CROSS")


def _needed_before(block: Block, use: Use) -> set[Use]:
    """The tables that the ON of a LEFT JOIN reads: they must stand before it. An inner join's ON goes to WHERE."""
    if not use.joins_left or use.join is None or use.join.args.get("on") is None:
        return set()
    return {found for _, found in block.columns_in(use.join.args["on"]) if found in block.uses} - {use}
