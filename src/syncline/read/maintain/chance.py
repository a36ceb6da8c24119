"""Values that a database takes from an arbitrary row, refused: bare columns beside GROUP BY, and windows over ties.

Pure.
"""

from collections.abc import Sequence

from sqlglot import exp

from syncline.errors import UnsupportedQuery
from syncline.read.maintain import keys
from syncline.read.maintain.parse import plain
from syncline.read.maintain.query import Block, is_aggregate, line_of
from syncline.read.maintain.refuse import order_dependent_windows


def refuse_chance(block: Block) -> None:
    """Refuses values that a database picks from an arbitrary row: bare columns beside GROUP BY, and ties in a window."""
    groups = block.group_expressions()
    for column in bare_columns(block):
        if not keys.is_determined(block, column, groups):
            raise UnsupportedQuery(
                plain(block.dialect.sql(column)),
                "it is neither grouped nor aggregated, so its value would come from any row of the group",
                f"Add it to GROUP BY, or write MAX({column.name})",
                line=line_of(column),
            )
    for window in order_dependent_windows(block):
        order = window.args.get("order")
        by = [ordered.this for ordered in order.expressions] if order is not None else []
        lacking = keys.missing(block, [*window.args["partition_by"], *by]) if not block.is_distinct else []
        if lacking:
            raise UnsupportedQuery(
                f"{block.dialect.sql(window.this)} OVER ( … ORDER BY … )",
                "rows that tie in its ORDER BY would be numbered by chance",
                f"Add {', '.join(plain(name.removeprefix('GROUP BY ')) for name in lacking)} at the end of its ORDER BY",
                line=line_of(window),
            )


def bare_columns(block: Block) -> list[exp.Column]:
    """The columns that are read for a group as a whole and are not grouped by."""
    if not block.is_grouped:
        return []
    groups = block.group_expressions()
    outputs = () if block.is_existence else block.select.expressions
    return [c for clause in (*outputs, block.select.args.get("having")) for c in _outside_aggregates(block, clause, groups)]


def _outside_aggregates(block: Block, clause: exp.Expr | None, groups: Sequence[exp.Expr]) -> list[exp.Column]:
    """The block's columns that are read for a group as a whole, in subqueries too."""
    if clause is None:
        return []
    known = {keys.attribute(group) for group in groups}
    found: list[exp.Column] = []

    def stop(node: exp.Expr) -> bool:
        return isinstance(node, exp.Query) or keys.attribute(node) in known or is_aggregate(node) and not _over(node)

    for node in clause.walk(prune=stop):
        if keys.attribute(node) in known or _within_aggregate(node, clause):
            continue
        if isinstance(node, exp.Column):
            found.append(node)
        elif isinstance(node, exp.Query):
            columns = block.columns_in(node)
            found += [c for c, use in columns if use in block.uses and keys.attribute(c) not in known]
    return found


def _over(node: exp.Expr) -> bool:
    return isinstance(node.parent, exp.Window) and node.parent.this is node


def _within_aggregate(node: exp.Expr, clause: exp.Expr) -> bool:
    at = node.parent
    while at is not None and at is not clause.parent:
        if isinstance(at, exp.Filter) or (is_aggregate(at) and not _over(at)):
            return True
        at = at.parent
    return False
