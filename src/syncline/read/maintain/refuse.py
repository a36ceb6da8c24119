"""What cannot be kept exact, refused when it is defined: clause, line, reason, and a rewrite that works.

Pure. These are the refusals of single clauses and blocks; those that need the join graph are raised where the
partition is chosen (`partition.py`) and where the key is proven (`keys.py`).
"""

from collections.abc import Callable, Iterator

from sqlglot import exp

from syncline.errors import UnsupportedQuery
from syncline.read.maintain.dialect import Dialect
from syncline.read.maintain.keys import determines
from syncline.read.maintain.parse import plain
from syncline.read.maintain.query import Block, is_aggregate, is_window_order_dependent, line_of
from syncline.read.maintain.values import kind_of


def refuse_tree(tree: exp.Query, dialect: Dialect) -> None:
    """Raises UnsupportedQuery for the first clause anywhere in the query that no plan can keep exact."""
    for clause, text, advice in (
        ("order", "ORDER BY", "Leave it out; order when reading: `syncline read VIEW`, or ORDER BY on the view's table"),
        ("limit", "LIMIT", _TOP_N),
        ("offset", "OFFSET", _TOP_N),
    ):
        if (found := tree.args.get(clause)) is not None:
            raise UnsupportedQuery(text, "a stored view has no order", advice, line=line_of(found))
    for node in tree.walk():
        dialect.refuse_node(node)
        for check in _CHECKS:
            check(node, dialect)


def refuse_block(block: Block) -> None:
    """Raises UnsupportedQuery where the block's result is not determined by its rows."""
    for window in block.windows():
        if not window.args.get("partition_by"):
            name = window.args.get("alias")
            raise UnsupportedQuery(
                f"OVER {name or '()'}",
                "without PARTITION BY one changed row can change every row",
                "Add PARTITION BY, or a named window written out in OVER ( … )",
                line=line_of(window),
            )
    for node, what in _kept_of_equals(block):
        refuse_inexact(block, node, what)
    _refuse_many_rows(block)
    _refuse_outer_aggregates(block)
    block.dialect.refuse_block(block)


def refuse_inexact(block: Block, node: exp.Expr, what: str) -> None:
    """Raises UnsupportedQuery where one of several equal values is kept, and they may differ: `what` keeps them."""
    kind = kind_of(block, node)
    if kind.is_exact:
        return
    shown = plain(block.dialect.sql(node.unalias()))
    reason, advice = block.dialect.inexact_advice(kind, shown)
    raise UnsupportedQuery(
        f"{what} {shown}",
        f"{reason}, and which one is shown would be chance",
        f"Write {advice} for {shown} in it, and in SELECT as well",
        line=line_of(node),
    )


def _refuse_many_rows(block: Block) -> None:
    is_one = block.is_grouped and not block.group_expressions()
    if block.is_scalar and not is_one and not determines(block, []):
        raise UnsupportedQuery(
            plain(f"(SELECT {', '.join(block.dialect.sql(output) for output in block.select.expressions)} …)"),
            "several rows may match, and which one is taken would be chance",
            "Aggregate it (MAX(…), COUNT(*)), or tie a whole primary key of its table by equality",
            line=line_of(block.select),
        )


def _refuse_outer_aggregates(block: Block) -> None:
    if block.parent is None:
        return
    for node in block.aggregates():
        uses = {use for _, use in block.columns_in(node)}
        if uses and not uses & set(block.uses):
            raise UnsupportedQuery(
                plain(block.dialect.sql(node)),
                "an aggregate over columns of the query around it only belongs to that query",
                "Compute it there, or in an inner SELECT that the outer one reads",
                line=line_of(node),
            )


def order_dependent_windows(block: Block) -> Iterator[exp.Window]:
    """Windows whose values depend on the order of rows that tie: their ORDER BY must be proven total."""
    return (window for window in block.windows() if is_window_order_dependent(window))


_TOP_N = "For the first n of each group, filter ROW_NUMBER() OVER (PARTITION BY … ORDER BY …, key) <= n in an outer SELECT"


def _kept_of_equals(block: Block) -> Iterator[tuple[exp.Expr, str]]:
    for node in block.group_expressions():
        yield node, "GROUP BY"
    if block.is_distinct and not block.is_existence:
        for output in block.select.expressions:
            yield output.unalias(), "SELECT DISTINCT"
    for node in block.own_nodes(*block.select.expressions, block.select.args.get("having")):
        if isinstance(node, exp.Min | exp.Max):
            yield node.this, node.key.upper()
        elif is_aggregate(node) and isinstance(node.this, exp.Distinct) and not isinstance(node, exp.Count):
            yield node.this.expressions[0], f"{node.key.upper()}(DISTINCT …)"


def _star(node: exp.Expr, dialect: Dialect) -> None:
    if not isinstance(node, exp.Star) or isinstance(node.parent, exp.Count):
        return
    select = node.parent.parent if isinstance(node.parent, exp.Column) else node.parent
    if isinstance(select, exp.Select) and isinstance(select.parent, exp.Exists):
        return
    raise UnsupportedQuery(
        "SELECT *",
        "a column added at the source would change the view",
        "List the columns",
        line=line_of(node),
    )


def _limit_inside(node: exp.Expr, dialect: Dialect) -> None:
    if isinstance(node, exp.Query) and (found := node.args.get("limit") or node.args.get("offset")) is not None:
        if isinstance(node.parent, exp.Exists) and "offset" not in node.args:
            return
        raise UnsupportedQuery("LIMIT", "which rows remain would depend on all others", _TOP_N, line=line_of(found))


def _recursion(node: exp.Expr, dialect: Dialect) -> None:
    if isinstance(node, exp.With) and node.recursive:
        raise UnsupportedQuery(
            "WITH RECURSIVE",
            "a changed row may reach any other",
            "Leave out RECURSIVE if no part reads itself; else keep the closure as a table in its service",
            line=line_of(node),
        )


def _joins(node: exp.Expr, dialect: Dialect) -> None:
    if isinstance(node, exp.Join):
        if node.side == "FULL":
            raise UnsupportedQuery(
                "FULL JOIN",
                "it has no table that every row comes from",
                "Write A LEFT JOIN B, UNION ALL, B WHERE NOT EXISTS (SELECT 1 FROM A WHERE …), with a literal column "
                "that tells the two apart",
                line=line_of(node),
            )
        if node.method == "NATURAL":
            raise UnsupportedQuery(
                "NATURAL JOIN",
                "a column added at a source would change the join",
                "Write JOIN … USING (columns)",
                line=line_of(node),
            )
    if isinstance(node, exp.From | exp.Join):
        table = node.this
        if isinstance(table, exp.Table) and table.args.get("joins"):
            raise _nested_join(table)
        if isinstance(table, exp.Paren) or (isinstance(table, exp.Subquery) and isinstance(table.this, exp.Table)):
            raise _nested_join(table)
        if not isinstance(table, exp.Table | exp.Subquery) or (
            isinstance(table, exp.Table) and not isinstance(table.this, exp.Identifier)
        ):
            raise UnsupportedQuery(
                f"FROM {dialect.sql(table)}",
                "only relations, views and SELECTs can be followed",
                "Keep the rows as a table of a service",
                line=line_of(table),
            )


def _nested_join(table: exp.Expr) -> UnsupportedQuery:
    return UnsupportedQuery(
        "FROM ( … JOIN … )",
        "joins in parentheses are not followed",
        "Write the inner join as (SELECT columns FROM … JOIN …) AS name",
        line=line_of(table),
    )


def _parameters(node: exp.Expr, dialect: Dialect) -> None:
    if isinstance(node, exp.Placeholder | exp.Parameter):
        raise UnsupportedQuery(dialect.sql(node), "a view has no parameters", "Select the column, and filter when reading")


_CHECKS: tuple[Callable[[exp.Expr, Dialect], None], ...] = (_star, _limit_inside, _recursion, _joins, _parameters)
