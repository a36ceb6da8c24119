"""What the values of an expression are on SQLite: its type, the classes of values it may have, and which of them may be equal
and differ, as 1 and 1.0 are, or 'a' and 'A' under NOCASE. Pure.
"""

from collections.abc import Iterable

from sqlglot import exp

from syncline.read.maintain.dialect import Kind
from syncline.read.maintain.query import Block
from syncline.read.maintain.schema import Classes, Source, classes_of
from syncline.read.maintain.values import collation_of

_CASTS = {"INT": "INTEGER", "BIGINT": "INTEGER", "FLOAT": "REAL", "DOUBLE": "REAL", "TEXT": "TEXT", "VARBINARY": "BLOB"}
_INT, _REAL, _TEXT = frozenset({"int"}), frozenset({"real"}), frozenset({"text", "blob"})
_ANY = frozenset({"any"})
_INTEGERS = (
    exp.Predicate, exp.Connector, exp.Not, exp.Count, exp.Length, exp.StrPosition, exp.Unicode, exp.RowNumber, exp.Rank,
    exp.DenseRank, exp.Ntile, exp.BitwiseAnd, exp.BitwiseOr, exp.BitwiseNot, exp.BitwiseLeftShift, exp.BitwiseRightShift,
    exp.Boolean, exp.Exists, exp.Sign,
)  # fmt: skip
_REALS = (exp.Avg, exp.Round, exp.PercentRank, exp.CumeDist, exp.Sqrt)
_TEXTS = (
    exp.DPipe, exp.Upper, exp.Lower, exp.Trim, exp.Substring, exp.Replace, exp.Hex, exp.Typeof, exp.Chr, exp.TimeToStr,
    exp.Format, exp.HexString,
)  # fmt: skip
_NAMED = {
    "printf": _TEXT, "quote": _TEXT, "date": _TEXT, "time": _TEXT, "datetime": _TEXT, "ltrim": _TEXT, "rtrim": _TEXT,
    "json_type": _TEXT, "json": _TEXT, "json_array": _TEXT, "json_object": _TEXT, "zeroblob": _TEXT, "soundex": _TEXT,
    "total": _REAL, "julianday": _REAL, "unixepoch": _INT, "json_valid": _INT, "json_array_length": _INT,
}  # fmt: skip


def kind_of(block: Block, expression: exp.Expr) -> Kind:
    """The kind of an expression of the block."""
    classes, collation = _classes(block, expression), collation_of(block, expression)
    return Kind(_declared(block, expression), collation, classes, are_exact(classes, collation))


def are_exact(classes: Classes, collation: str) -> bool:
    """Whether values of these classes that are equal are identical."""
    mixes = "real" in classes and bool(classes & {"int", "numeric"})
    return collation == "BINARY" and "any" not in classes and not mixes


def is_exact_column(source: Source, name: str) -> bool:
    """Whether values of the column that are equal are identical."""
    column = source.column(name)
    assert column is not None, name
    return are_exact(source.classes(name), column.collation.upper())


def may_fail(expression: exp.Expr) -> bool:
    """Whether an expression may raise an error for some values, not just give NULL."""
    failing = (exp.JSONExtract, exp.JSONExtractScalar, exp.JSONObject, exp.JSONArray, exp.Abs, exp.ParseJSON, exp.JSONType)
    return any(
        isinstance(node, failing)
        or (isinstance(node, exp.Anonymous) and node.name.lower().startswith("json") and node.name.lower() != "json_valid")
        for node in expression.walk()
    )


def _declared(block: Block, node: exp.Expr) -> str:
    """As SQLite finds the affinity of an expression: https://sqlite.org/datatype3.html#affinity_of_expressions."""
    if isinstance(node, exp.Paren | exp.Collate):
        return _declared(block, node.this)
    if isinstance(node, exp.Column):
        return block.column_of(node).declared_type
    if isinstance(node, exp.Cast):
        return _CASTS.get(node.to.this.name, "")
    if isinstance(node, exp.Subquery) and (child := block.child_of(node)) is not None:
        return _declared(child, child.select.expressions[0].unalias())
    return ""


def _classes(block: Block, node: exp.Expr | None) -> Classes:
    if node is None or isinstance(node, exp.Null):
        return frozenset()
    if isinstance(node, exp.Column):
        return block.use_of(node).source.classes(node.name)
    if isinstance(node, exp.Literal):
        return _TEXT if node.is_string else _INT if node.name.isdigit() else _REAL
    if isinstance(node, exp.Cast):
        return classes_of(_CASTS.get(node.to.this.name, "")) if node.to.this.name != "VARBINARY" else _TEXT
    if isinstance(node, exp.Subquery):
        child = block.child_of(node)
        return _classes(child, child.select.expressions[0].unalias()) if child is not None else _ANY
    if isinstance(node, exp.Coalesce | exp.Greatest | exp.Least):
        return _any_of(block, [node.this, *node.expressions])
    if isinstance(node, exp.Case):
        return _any_of(block, [*(branch.args["true"] for branch in node.args["ifs"]), node.args.get("default")])
    if isinstance(node, exp.If):
        return _any_of(block, [node.args.get("true"), node.args.get("false")])
    if isinstance(node, exp.Lag | exp.Lead):
        return _any_of(block, [node.this, node.args.get("default")])
    if isinstance(node, exp.Paren | exp.Collate | exp.Alias | exp.Window | exp.Filter | exp.Min | exp.Max | exp.Nullif):
        return _classes(block, node.this)
    if isinstance(node, exp.FirstValue | exp.LastValue | exp.NthValue | exp.IgnoreNulls):
        return _classes(block, node.this)
    return _of_operation(block, node)


def _of_operation(block: Block, node: exp.Expr) -> Classes:
    if isinstance(node, exp.Add | exp.Sub | exp.Mul | exp.Div | exp.Mod | exp.Neg | exp.Abs | exp.Sum):
        argument = node.this.expressions[0] if isinstance(node.this, exp.Distinct) else node.this
        operands = [_classes(block, argument)]
        if isinstance(node, exp.Binary):
            operands.append(_classes(block, node.expression))
        if all(operand <= _INT for operand in operands):
            return _INT
        return _REAL if any(operand and operand <= _REAL for operand in operands) else _ANY
    for kinds, classes in ((_INTEGERS, _INT), (_REALS, _REAL), (_TEXTS, _TEXT)):
        if isinstance(node, kinds):
            return classes
    return _NAMED.get(node.name.lower(), _ANY) if isinstance(node, exp.Anonymous) else _ANY


def _any_of(block: Block, nodes: Iterable[exp.Expr | None]) -> Classes:
    return frozenset().union(*(_classes(block, node) for node in nodes))
