"""How changes find the partition keys they affect: the walks of a branch, the list of all its keys, and the indexes both need.

Pure. Raises UnsupportedQuery where a table that the branch reads has no way to its keys.
"""

from collections.abc import Sequence

from sqlglot import exp

from syncline.errors import UnsupportedQuery
from syncline.messages import Column
from syncline.read.maintain import graph
from syncline.read.maintain.inner import table_as
from syncline.read.maintain.parse import plain
from syncline.read.maintain.plan import DELTA, Index, Walk
from syncline.read.maintain.query import Block, Use, line_of
from syncline.read.maintain.restriction import Branch, edges_into, join_order, partition_nullability
from syncline.read.maintain.values import as_column, collation_of


def walks_of(branch: Branch) -> list[Walk]:
    walks: list[Walk] = []
    for part in branch.block.everything_below():
        for use in part.uses:
            owner = branch.partition.owner
            if owner is None:
                walks.append(Walk(use.source.id, None, f'SELECT 1 FROM "{DELTA}" AS w0 LIMIT 1', f"{use.alias} → everything"))
                continue
            path = graph.find_path(branch.edges, use, owner, branch.partition.expressions)
            if path is None:
                raise _no_path(branch.block, part, use, owner)
            sql = graph.walk_sql(path, DELTA, branch.block.dialect)
            walks.append(Walk(use.source.id, sql.before, sql.after, sql.text))
    return walks


def all_keys(branch: Branch) -> str:
    owner = branch.partition.owner
    if owner is None:
        return "SELECT 1"
    dialect = branch.block.dialect
    select = exp.Select(expressions=dialect.named_keys(branch.partition.expressions))
    select.set("distinct", exp.Distinct())
    select.set("from_", exp.From(this=table_as(owner.table.name, owner.alias)))
    return dialect.sql(select)


def partition_columns(branches: Sequence[Branch]) -> list[Column]:
    nullability = zip(*(partition_nullability(branch) for branch in branches), strict=True)
    return [
        as_column(branches[0].block, parts[0][0], f"p{position}", not_null=all(is_not_null for _, is_not_null in parts))
        for position, parts in enumerate(nullability, 1)
    ]


def indexes_of(branch: Branch) -> list[Index]:
    owner = branch.partition.owner
    if owner is None:
        return []
    wanted: list[Index] = []

    def add(use: Use, edges: Sequence[graph.Edge]) -> None:
        for edge in edges:
            _refuse_failing(_over(block, edge.near), [edge.near_expression])
            _refuse_failing(_over(block, edge.far), [edge.far_expression])
        if terms := tuple(dict.fromkeys(edge.index_term for edge in edges)):
            wanted.append(Index(use.source.id, terms))

    block, parts = branch.block, list(branch.block.everything_below())
    _refuse_failing(block, branch.partition.expressions)
    terms = (graph.index_term(block, e, collation_of(block, e)) for e in branch.partition.expressions)
    wanted.append(Index(owner.source.id, tuple(dict.fromkeys(terms))))
    for use in (use for part in parts for use in part.uses):
        path = graph.find_path(branch.edges, use, owner, branch.partition.expressions)
        for hop in path.hops if path is not None else ():
            add(hop.use, hop.edges)
    placed: list[Use] = []
    for use in join_order(branch, owner):
        add(use, edges_into(branch, use, placed))
        placed.append(use)
    for part in parts[1:]:
        inside = set(part.uses)
        for use in part.uses:
            add(use, [e for e in branch.edges if e.far is use and e.near not in inside])
            add(use, [e for e in branch.edges if e.far is use and e.near in inside])
    return wanted


def _refuse_failing(block: Block, expressions: Sequence[exp.Expr]) -> None:
    """What affected keys are found by must not fail, or one bad value would stop the whole read store."""
    for expression in expressions:
        if (why := block.dialect.may_fail(block, expression)) is not None:
            raise UnsupportedQuery(
                plain(block.dialect.sql(expression)),
                f"rows are grouped or joined by it, and {why}",
                "Compute it in an inner SELECT, (SELECT key, … AS name FROM …) AS d, and use d.name: only such rows wait then",
                line=line_of(expression),
            )


def _over(block: Block, use: Use) -> Block:
    """A block over one table, which may be one of a subquery."""
    return Block(exp.Select(), None, block.dialect, [use])


_EXISTS_INSTEAD = (
    "IN is no equality where NULL may stand on either side and unknown differs from false: write EXISTS or NOT EXISTS "
    "(SELECT 1 FROM … WHERE … = …). Else: "
)


def _no_path(block: Block, part: Block, use: Use, owner: Use) -> UnsupportedQuery:
    advice = (
        f"Add an equality that leads from {use.alias} to {owner.alias}, or add `-- recompute: whole` at the top "
        "if the tables are small: every change then recomputes the view"
    )
    if part is not block:
        return UnsupportedQuery(
            f"subquery over {use.alias}",
            "no equality ties its rows to the rows around it, so one change could alter every row",
            _EXISTS_INSTEAD + advice if graph.membership_of(part) is not None else advice,
            line=line_of(part.select),
        )
    return UnsupportedQuery(
        f"JOIN {use.alias}",
        f"no equality leads from it to {owner.alias}, so one change could alter every row",
        advice,
        line=line_of(use.join) or line_of(use.table),
    )
