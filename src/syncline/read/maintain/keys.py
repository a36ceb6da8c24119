"""Proves that columns are a key, from primary keys, UNIQUE, equalities and GROUP BY.

Pure. A functional dependency says that rows which agree on some attributes agree on another. An attribute is a column
of one use, or the SQL of an expression. Columns determine what they are equal to, a key of a table determines the table's
row, and a set of attributes is a key when it determines everything that tells two output rows apart. (Closure of a set
of attributes: Maier, The Theory of Relational Databases, 1983, chapter 4.)
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from sqlglot import exp

from syncline.read.maintain.query import Block, Use, folds, is_window_order_dependent, split_and
from syncline.read.maintain.values import is_exact

Attribute = str
_STRING = re.compile("('(?:[^']|'')*')")


@dataclass(frozen=True, slots=True)
class Dependency:
    """Whatever agrees on all of `given` agrees on all of `gives`."""

    given: frozenset[Attribute]
    gives: frozenset[Attribute]


def determines(block: Block, given: Iterable[exp.Expr]) -> bool:
    """Whether no two rows of the block's result agree on all of these expressions (of its SELECT)."""
    return not missing(block, given)


def missing(block: Block, given: Iterable[exp.Expr]) -> list[str]:
    """What tells rows of the result apart but does not follow from `given`: empty when `given` is a key."""
    reached = _closure(block, given)
    return [name for name, needed in _identity(block) if needed not in reached]


def is_determined(block: Block, expression: exp.Expr, given: Iterable[exp.Expr]) -> bool:
    """Whether rows before grouping that agree on `given` agree on `expression`."""
    reached = _closure(block, given)
    return attribute(expression) in reached or _columns(expression) <= reached


def row_identity(block: Block) -> list[exp.Expr]:
    """A minimal set of expressions that tells the block's rows apart (groups, if it is grouped)."""
    chosen: list[exp.Expr]
    if block.is_grouped:
        chosen = [expression.copy() for expression in block.group_expressions()]
    elif block.is_distinct:
        chosen = [output.unalias().copy() for output in block.select.expressions]
    else:
        chosen = [use.column(name) for use in block.uses for name in use.source.key]
    for candidate in list(reversed(chosen)):
        rest = [expression for expression in chosen if expression is not candidate]
        if determines(block, rest):
            chosen = rest
    return chosen


def attribute(expression: exp.Expr) -> Attribute:
    """The name of an expression as an attribute: its SQL, for all spellings of one column the same."""
    parts = _STRING.split(expression.unalias().sql(comments=False))
    return "".join(part if part.startswith("'") else part.lower() for part in parts)


def same_kind(block: Block, left: exp.Expr, right: exp.Expr) -> bool:
    """Whether two columns compare and store values alike, so that equal means the same."""
    if not (isinstance(left, exp.Column) and isinstance(right, exp.Column)):
        return False
    return block.dialect.is_same_kind(block.column_of(left), block.column_of(right))


def _closure(block: Block, given: Iterable[exp.Expr]) -> set[Attribute]:
    reached = {attribute(expression) for expression in given}
    dependencies = list(_dependencies(block))
    grew = True
    while grew:
        grew = False
        for dependency in dependencies:
            if dependency.given <= reached and not dependency.gives <= reached:
                reached |= dependency.gives
                grew = True
    return reached


def _identity(block: Block) -> list[tuple[str, Attribute]]:
    """What must follow from a key: each group expression, each distinct output, or each table's row."""
    if block.is_grouped:
        return [(f"GROUP BY {block.dialect.sql(e)}", attribute(e)) for e in block.group_expressions()]
    if block.is_distinct:
        return [(f"SELECT DISTINCT {block.dialect.sql(o)}", attribute(o)) for o in block.select.expressions]
    return [(f"{use.alias}.{name}", attribute(use.column(name))) for use in block.uses for name in use.source.key]


def _dependencies(block: Block) -> Iterable[Dependency]:
    conditions = list(block.conjuncts())
    yield Dependency(frozenset(), frozenset(_outer_columns(block)))
    for use in block.uses:
        everything = frozenset(attribute(use.column(column.name)) for column in use.source.columns)
        for key in use.source.keys:
            # A row that a LEFT JOIN filled with NULL would agree with a row whose key is NULL.
            if not use.is_optional or all(_is_not_null(use, name) for name in key):
                yield Dependency(frozenset(attribute(use.column(name)) for name in key), everything)
        if not use.is_optional:
            yield from _one_row(block, use, conditions, everything)
        elif use.joins_left and use.join is not None:
            yield from _one_row(block, use, list(split_and(use.join.args.get("on"))), everything)
    for condition in conditions:
        yield from _equality(block, condition)
    for window in block.windows():
        if is_row_number(window):
            partition = {attribute(part) for part in window.args.get("partition_by") or ()}
            groups = (attribute(expression) for expression in block.group_expressions())
            yield Dependency(frozenset({attribute(window), *partition}), frozenset([*_all_columns(block), *groups]))
    for expression in _derived_expressions(block):
        if columns := _columns(expression):
            yield Dependency(frozenset(columns), frozenset({attribute(expression)}))
        else:
            yield Dependency(frozenset(), frozenset({attribute(expression)}))


def is_row_number(window: exp.Window) -> bool:
    """Whether a window numbers the rows of its partition, each with its own number."""
    return isinstance(window.this, exp.RowNumber) and is_window_order_dependent(window)


def _one_row(block: Block, use: Use, conditions: list[exp.Expr], everything: frozenset[Attribute]) -> Iterable[Dependency]:
    """Conditions that fix a whole key of a table by columns of others let them decide its row (or that there is none)."""
    bound: set[str] = set()
    others: set[Attribute] = set()
    for condition in conditions:
        # For a LEFT JOIN the rest of its ON decides as well whether there is a match.
        if use.is_optional:
            others |= {attribute(c) for c, whose in block.columns_in(condition) if whose in block.uses and whose is not use}
        if not isinstance(condition, exp.EQ):
            continue
        for mine, other in ((condition.this, condition.expression), (condition.expression, condition.this)):
            if not isinstance(mine, exp.Column) or block.use_of(mine) is not use or _reads(block, other, use):
                continue
            # A comparison that converts (text with number, NOCASE with BINARY) may match several keys.
            if isinstance(other, exp.Literal) or same_kind(block, mine, other):
                bound.add(mine.name.lower())
                others |= _columns(other)
    if any({name.lower() for name in key} <= bound for key in use.source.keys):
        yield Dependency(frozenset(others), everything)


def _is_not_null(use: Use, name: str) -> bool:
    column = use.source.column(name)
    return column is not None and column.not_null


def _outer_columns(block: Block) -> Iterable[Attribute]:
    """The columns of the blocks around a subquery: constant while it is evaluated."""
    hidden = {use.alias.lower() for use in block.uses}
    around = block.parent
    while around is not None:
        for use in around.uses:
            if use.alias.lower() not in hidden:
                yield from (attribute(use.column(column.name)) for column in use.source.columns)
        hidden |= {use.alias.lower() for use in around.uses}
        around = around.parent


def _reads(block: Block, expression: exp.Expr, use: Use) -> bool:
    return any(whose is use for _, whose in block.columns_in(expression))


def _equality(block: Block, condition: exp.Expr) -> Iterable[Dependency]:
    if isinstance(condition, exp.Is) and isinstance(condition.expression, exp.Null) and not condition.args.get("negate"):
        yield Dependency(frozenset(), frozenset({attribute(condition.this)}))
    if not isinstance(condition, exp.EQ | exp.NullSafeEQ):
        return
    left, right = condition.this, condition.expression
    for one, other in ((left, right), (right, left)):
        # What is equal need not be identical: 1 and 1.0, or 'a' and 'A' under NOCASE.
        if not isinstance(one, exp.Column) or not is_exact(block, one):
            continue
        if isinstance(other, exp.Literal):
            yield Dependency(frozenset(), frozenset({attribute(one)}))
        elif same_kind(block, one, other):
            yield Dependency(frozenset({attribute(other)}), frozenset({attribute(one)}))


def _derived_expressions(block: Block) -> Iterable[exp.Expr]:
    for expression in (*block.group_expressions(), *(output.unalias() for output in block.select.expressions)):
        if not isinstance(expression, exp.Column) and not folds(expression):
            yield expression


def _columns(expression: exp.Expr) -> set[Attribute]:
    return {attribute(column) for column in expression.find_all(exp.Column)}


def _all_columns(block: Block) -> Iterable[Attribute]:
    return (attribute(use.column(column.name)) for use in block.uses for column in use.source.columns)
