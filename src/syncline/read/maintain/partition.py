"""Chooses the partition key P of a block: the columns by which its result falls apart into independent pieces.

Pure. Rows of the result with P = p depend only on source rows from which a walk reaches p. P must be read from one table that
every row comes from (not from the right of a LEFT JOIN), so that the query can be restricted at that table. Grouping, DISTINCT
and windows limit the choice: P must be among their columns, or a piece would cut through a group.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlglot import exp

from syncline.errors import UnsupportedQuery
from syncline.read.maintain.graph import Edge
from syncline.read.maintain.keys import attribute
from syncline.read.maintain.query import Block, Use, folds, line_of


@dataclass(frozen=True, slots=True)
class Partition:
    """P, as expressions over `owner`. No owner: one piece, recomputed whole."""

    owner: Use | None
    expressions: tuple[exp.Expr, ...]


WHOLE = Partition(None, ())


def choose(block: Block, edges: Sequence[Edge], wanted: Sequence[exp.Expr]) -> Partition | None:
    """The best P: as much of `wanted` (the view's key) as one table owns. None: only the block's inner rows have one.

    Raises UnsupportedQuery when two parts of the block admit no common P.
    """
    allowed = _allowed(block)
    if allowed is not None and not allowed:
        return WHOLE if not block.group_expressions() and not list(block.windows()) else None
    best = _best(block, edges, [e for e in wanted if _is_allowed(e, allowed)])
    if best is None and allowed is not None:
        best = _best(block, edges, allowed)
    if best is None and allowed is None:
        root = next(use for use in block.uses if not use.is_optional)
        best = Partition(root, tuple(root.column(name) for name in root.source.key))
    return best


def exactly(block: Block, edges: Sequence[Edge], wanted: Sequence[exp.Expr]) -> Partition | None:
    """P that is all of `wanted`, or None when the block cannot be split by just that."""
    allowed = _allowed(block)
    if not all(_is_allowed(expression, allowed) for expression in wanted):
        return None
    found = _best(block, edges, wanted)
    return found if found is not None and len(found.expressions) == len(wanted) else None


def equals(block: Block, edges: Sequence[Edge], expression: exp.Expr) -> list[tuple[Use, exp.Expr]]:
    """The expression and the columns that equal it in every row, each with the table it reads; none if it reads several."""
    found: list[tuple[Use, exp.Expr]] = []
    uses = {block.use_of(column) for column in expression.find_all(exp.Column)}
    if len(uses) == 1:
        found.append((uses.pop(), expression))
    for edge in edges:
        near, far = edge.near_expression, edge.far_expression
        if edge.after or near != expression or edge.far not in block.uses or edge.near not in block.uses:
            continue
        if isinstance(near, exp.Column) and isinstance(far, exp.Column):
            one, other = edge.near.source.column(near.name), edge.far.source.column(far.name)
            if one is not None and other is not None and block.dialect.is_same_kind(one, other):
                found.append((edge.far, far))
    return found


def _best(block: Block, edges: Sequence[Edge], wanted: Sequence[exp.Expr]) -> Partition | None:
    best: Partition | None = None
    for owner in block.uses:
        if owner.is_optional:
            continue
        expressions: list[exp.Expr] = []
        for expression in wanted:
            mine = next((other for use, other in equals(block, edges, expression) if use is owner), None)
            if mine is not None and mine not in expressions:
                expressions.append(mine)
        if expressions and (best is None or len(expressions) > len(best.expressions)):
            best = Partition(owner, tuple(expressions))
    return best


def _is_allowed(expression: exp.Expr, allowed: list[exp.Expr] | None) -> bool:
    if folds(expression):
        return False
    return allowed is None or attribute(expression) in {attribute(other) for other in allowed}


def _allowed(block: Block) -> list[exp.Expr] | None:
    """The expressions P may be made of; None is no limit."""
    limits: list[tuple[str, list[exp.Expr], exp.Expr]] = []
    if block.is_grouped:
        limits.append(("GROUP BY", block.group_expressions(), block.select))
    if block.is_distinct:
        limits.append(("SELECT DISTINCT", [output.unalias() for output in block.select.expressions], block.select))
    limits += [("PARTITION BY", list(window.args.get("partition_by") or ()), window) for window in block.windows()]
    if not limits:
        return None
    first, allowed, _ = limits[0]
    for name, expressions, node in limits[1:]:
        shared = [e for e in allowed if attribute(e) in {attribute(other) for other in expressions}]
        if not shared and allowed:
            raise UnsupportedQuery(
                name,
                f"it shares no column with the {first} of the same SELECT, so every row may depend on every other",
                f"Compute the {first} in an inner SELECT, or in a view of its own that this one reads",
                line=line_of(node),
            )
        allowed = shared
    return allowed
