"""Which expressions affected keys may be looked up by on PostgreSQL: those that never fail, and that an index may hold. Pure."""

from sqlglot import exp

from syncline.read.maintain.parse import plain
from syncline.read.maintain.postgres_types import FLOATS, INTEGERS, STAMPS, TEXTS, base, canonical, is_trimmed, type_of
from syncline.read.maintain.query import Block

_PRINTED = (*INTEGERS, *TEXTS, *FLOATS, "character", "bpchar", "boolean", "numeric", "uuid", "json", "jsonb", "unknown")
"""Types whose text no setting changes."""


def why_no_key(block: Block, expression: exp.Expr) -> str | None:
    """Why an expression cannot be what keys are looked up by; None if it can: it never fails, and an index may hold it."""
    for node in expression.walk():
        if not _is_total(block, node):
            return f"{plain(node.sql('postgres'))} may fail for some values, or cannot be indexed"
    return None


def _is_total(block: Block, node: exp.Expr) -> bool:
    """Whether this node, given what is below it, has a value for all values that columns may hold, whatever the session."""
    if isinstance(node, exp.Column | exp.Identifier | exp.Literal | exp.Null | exp.Boolean | exp.Paren | exp.Collate | exp.Var):
        return True
    if isinstance(
        node,
        exp.Lower | exp.Upper | exp.Trim | exp.Initcap | exp.Length | exp.MD5 | exp.Coalesce | exp.Nullif | exp.Case | exp.If,
    ):
        return True
    if isinstance(node, exp.DataType | exp.DataTypeParam | exp.JSONPath | exp.JSONPathPart):
        return True
    if isinstance(node, exp.EQ | exp.NEQ | exp.GT | exp.GTE | exp.LT | exp.LTE | exp.Is | exp.And | exp.Or | exp.Not):
        return True
    if isinstance(node, exp.JSONExtractScalar | exp.JSONBExtractScalar):
        return True
    if isinstance(node, exp.DPipe):
        return all(base(type_of(block, side)) in (*TEXTS, "unknown") for side in (node.this, node.expression))
    if isinstance(node, exp.Div | exp.Mod):
        divisor = node.expression.unnest()
        return (
            base(type_of(block, node.this)) in INTEGERS and isinstance(divisor, exp.Literal) and divisor.name.strip("0").isdigit()
        )
    if isinstance(node, exp.Substring | exp.Left | exp.Right):
        numbers = [node.args.get(name) for name in ("start", "length", "expression")]
        return all(number is None or (isinstance(number, exp.Literal) and number.name.isdigit()) for number in numbers)
    if isinstance(node, exp.TimestampTrunc | exp.Extract) or is_trimmed(node):
        return True
    if isinstance(node, exp.AtTimeZone):
        return isinstance(node.args["zone"], exp.Literal) and node.args["zone"].name == "UTC"
    if isinstance(node, exp.Cast):
        source, target = base(type_of(block, node.this)), canonical(node.to.sql("postgres"))
        return _widens(source, target)
    return False


def _widens(source: str, target: str) -> bool:
    if source in INTEGERS and target in INTEGERS:
        return INTEGERS.index(source) <= INTEGERS.index(target)
    if base(target) in (*TEXTS[:2], "character"):
        return source in _PRINTED
    if target == "boolean" or (source, target) == (STAMPS[1], "date"):
        return source in ("boolean", "integer", STAMPS[1])
    return source == target or (source in INTEGERS and target == "numeric") or (source == "boolean" and target == "integer")
