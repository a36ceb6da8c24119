"""What the values of an expression are: the type and collation the database gives it, and whether equal means identical.

Pure. Where a database keeps one of several equal values (GROUP BY, DISTINCT, MIN), which one it keeps is chance. An expression is
exact when its values cannot be equal and yet differ; when they can is the dialect's knowledge.
"""

from sqlglot import exp

from syncline.messages import Column
from syncline.read.maintain.dialect import Kind
from syncline.read.maintain.query import Block


def kind_of(block: Block, expression: exp.Expr) -> Kind:
    """The kind of an expression of the block."""
    return block.dialect.kind_of(block, expression.unalias())


def as_column(block: Block, expression: exp.Expr, name: str, *, not_null: bool = False) -> Column:
    """The column that stores an expression such that it compares as the expression does."""
    kind = kind_of(block, expression)
    return Column(name, kind.declared_type, kind.collation, not_null)


def is_exact(block: Block, expression: exp.Expr) -> bool:
    return kind_of(block, expression).is_exact


def collation_of(block: Block, expression: exp.Expr) -> str:
    """An explicit COLLATE anywhere inside counts; else the column's own, through parentheses, + and CAST."""
    explicit = next(block.own_nodes_of(expression, exp.Collate), None)
    if isinstance(explicit, exp.Collate):
        return block.dialect.collation(explicit)
    while isinstance(expression, exp.Paren | exp.Cast | exp.Alias):
        expression = expression.this
    return block.column_of(expression).collation.upper() if isinstance(expression, exp.Column) else "BINARY"


def has_column_collation(expression: exp.Expr) -> bool:
    """Whether an expression compares as a column does: it is one, but for parentheses and CAST."""
    while isinstance(expression, exp.Paren | exp.Cast):
        expression = expression.this
    return isinstance(expression, exp.Column)
