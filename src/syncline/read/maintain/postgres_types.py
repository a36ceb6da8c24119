"""Types of expressions on PostgreSQL, as `format_type()` spells them, as far as they follow from the types of columns. Pure.

"" is a type that is not known here, and is then taken for one whose equal values may differ. Types without a length or precision
are those of values; `numeric(10,2)` says that all values have two digits after the point, so that equal ones are identical.
"""

import re
from collections.abc import Sequence

from sqlglot import exp

from syncline.read.maintain.query import Block

_SYNONYMS = {
    "int": "integer", "int4": "integer", "int8": "bigint", "int2": "smallint", "float8": "double precision", "float4": "real",
    "float": "double precision", "double": "double precision", "bool": "boolean", "decimal": "numeric",
    "varchar": "character varying",
    "char": "character", "timestamptz": "timestamp with time zone", "timestamp": "timestamp without time zone",
    "time": "time without time zone", "timetz": "time with time zone",
}  # fmt: skip
_TYPE = re.compile(r"([a-z_0-9 ]+?)\s*(\([\d, ]*\))?( with(?:out)? time zone)?\s*((?:\[\d*\])*)")
INTEGERS = ("smallint", "integer", "bigint")
FLOATS = ("real", "double precision")
TEXTS = ("text", "character varying", "name")
STAMPS = ("date", "timestamp without time zone", "timestamp with time zone")
_EXACT = {
    *INTEGERS, *TEXTS, "boolean", "uuid", "bytea", "date", "oid", "inet", "cidr", "macaddr", "macaddr8", "time without time zone",
    "time with time zone", "timestamp without time zone", "timestamp with time zone", "bit", "bit varying", "money", "pg_lsn",
    "int4range", "int8range", "daterange", "tsrange", "tstzrange",
}  # fmt: skip
_NO_EQUALITY = {"json", "xml", "point", "line", "box", "path", "polygon", "circle", "lseg", "jsonpath"}


def canonical(declared: str) -> str:
    """A type as `format_type()` spells it."""
    found = _TYPE.fullmatch(declared.strip().lower())
    if found is None:
        return declared.strip().lower()
    name, modifier, zone, array = found[1].strip(), (found[2] or "").replace(" ", ""), found[3] or "", found[4] or ""
    name = _SYNONYMS.get(name, name)
    if zone:
        name = name.removesuffix(" without time zone").removesuffix(" with time zone") + zone
    if name == "character" and not modifier:
        modifier = "(1)"
    if name == "numeric" and modifier and "," not in modifier:
        modifier = modifier.replace(")", ",0)")
    if modifier and name.endswith(("with time zone", "without time zone")):
        word, _, rest = name.partition(" ")
        return f"{word}{modifier} {rest}{'[]' if array else ''}"
    return f"{name}{modifier}{'[]' if array else ''}"


def base(declared: str) -> str:
    """A type without its length, precision or scale."""
    return re.sub(r"\([\d,]*\)", "", declared)


def is_exact_type(declared: str) -> bool:
    """Whether values of a type that are equal are identical: not 1.0 and 1.00, nor 0 and -0, nor 30 days and a month."""
    declared = canonical(declared)
    if declared.endswith("[]"):
        return is_exact_type(declared[:-2])
    if declared.startswith(("numeric(", "character(")):
        return True
    return base(declared) in _EXACT


def is_trimmed(node: exp.Expr) -> bool:
    """Whether a number is written in the one way without zeros at its end, whatever its type says."""
    inner = node.unnest()
    return isinstance(inner, exp.Anonymous) and inner.name.lower() == "trim_scale"


def has_equality(declared: str) -> bool:
    """Whether a type can be grouped by; a type that is not known here is taken for one that can."""
    return base(declared).removesuffix("[]") not in _NO_EQUALITY


def type_of(block: Block, node: exp.Expr | None) -> str:
    """The type of an expression of the block, "" if it is not known, "unknown" for NULL and untyped literals."""
    if node is None or isinstance(node, exp.Null):
        return "unknown"
    if isinstance(node, exp.Column):
        return canonical(block.column_of(node).declared_type)
    if isinstance(node, exp.Literal):
        return "unknown" if node.is_string else _number(node.name)
    if isinstance(node, exp.Cast):
        return canonical(node.to.sql("postgres"))
    if isinstance(
        node, exp.Paren | exp.Collate | exp.Alias | exp.Window | exp.Filter | exp.IgnoreNulls | exp.Distinct | exp.Order
    ):
        return type_of(block, node.expressions[0] if isinstance(node, exp.Distinct) else node.this)
    if isinstance(node, exp.Subquery):
        child = block.child_of(node)
        return result_of(child, child.select.expressions[0].unalias()) if child is not None else ""
    return _of_call(block, node)


def result_of(block: Block, node: exp.Expr) -> str:
    """The type of an output: what is still unknown is text."""
    found = type_of(block, node)
    return "text" if found == "unknown" else found


def common(types: Sequence[str]) -> str:
    """The type of CASE, coalesce and the like over these: where all are one, or numbers of one family; else "" ."""
    known = [each for each in types if each != "unknown"]
    if not known:
        return "unknown"
    if len(set(known)) == 1:
        return known[0]
    bases = {base(each) for each in known}
    if bases <= set(INTEGERS):
        return INTEGERS[max(INTEGERS.index(each) for each in bases)]
    if bases <= {*INTEGERS, "numeric"}:
        return "numeric"
    if bases <= {*INTEGERS, "numeric", *FLOATS}:
        return "double precision" if bases & {"double precision"} or "real" not in bases else "real"
    if len(bases) == 1:
        return bases.pop()
    return "text" if bases <= {"text", "character varying", "bpchar", "character"} and "text" in bases else ""


def _number(text: str) -> str:
    if not text.isdigit():
        return "numeric"
    return "integer" if int(text) < 2**31 else "bigint" if int(text) < 2**63 else "numeric"


_CALLS: tuple[tuple[tuple[type[exp.Expr], ...], str], ...] = (
    (
        (
            exp.Predicate, exp.Connector, exp.Not, exp.Boolean, exp.Exists, exp.LogicalAnd, exp.LogicalOr, exp.StartsWith,
            exp.Escape,
        ),
        "boolean",
    ),
    (
        (
            exp.Upper, exp.Lower, exp.Initcap, exp.Trim, exp.Replace, exp.Chr, exp.MD5, exp.SplitPart, exp.Pad, exp.Left,
            exp.Right, exp.Repeat, exp.Reverse, exp.Translate, exp.RegexpReplace, exp.RegexpSubstr, exp.Overlay,
            exp.Concat, exp.ConcatWs,
            exp.JSONExtractScalar, exp.JSONBExtractScalar, exp.Encode,
        ),
        "text",
    ),
    ((exp.Length, exp.BitLength, exp.StrPosition, exp.Ascii, exp.Unicode, exp.ArraySize, exp.Ntile, exp.RegexpCount), "integer"),
    ((exp.Count, exp.RowNumber, exp.Rank, exp.DenseRank), "bigint"),
    ((exp.PercentRank, exp.CumeDist, exp.Degrees, exp.Radians, exp.Pi, exp.Sin, exp.Cos, exp.Tan), "double precision"),
    ((exp.Extract,), "numeric"),
    ((exp.Interval, exp.JustifyDays, exp.JustifyHours, exp.JustifyInterval), "interval"),
    ((exp.SHA2Digest, exp.Decode), "bytea"),
)  # fmt: skip
"""Calls and operators whose type does not depend on those of their arguments."""
_NAMED = {
    "btrim": "text", "ltrim": "text", "rtrim": "text", "quote_ident": "text", "jsonb_typeof": "text", "json_typeof": "text",
    "jsonb_extract_path_text": "text", "json_extract_path_text": "text", "cardinality": "integer",
    "jsonb_array_length": "integer", "json_array_length": "integer", "octet_length": "integer",
    "array_lower": "integer", "array_upper": "integer",
    "array_ndims": "integer", "num_nulls": "integer", "num_nonnulls": "integer", "make_date": "date", "age": "interval",
    "every": "boolean", "isfinite": "boolean", "jsonb_path_exists": "boolean", "jsonb_extract_path": "jsonb",
    "jsonb_strip_nulls": "jsonb", "trim_scale": "numeric",
}  # fmt: skip
_OF_FIRST = (
    exp.Nullif, exp.FirstValue, exp.LastValue, exp.NthValue, exp.ArrayAppend, exp.BitwiseAndAgg, exp.BitwiseOrAgg,
    exp.BitwiseXorAgg,
)  # fmt: skip


def _of_call(block: Block, node: exp.Expr) -> str:
    if isinstance(node, exp.Coalesce | exp.Greatest | exp.Least):
        return common([type_of(block, each) for each in (node.this, *node.expressions)])
    if isinstance(node, exp.Case):
        return common([type_of(block, each) for each in (*(b.args["true"] for b in node.args["ifs"]), node.args.get("default"))])
    if isinstance(node, exp.Lag | exp.Lead):
        return common([type_of(block, node.this), type_of(block, node.args.get("default"))])
    if isinstance(node, _OF_FIRST):
        return type_of(block, node.this)
    if isinstance(node, exp.Min | exp.Max | exp.AnyValue):
        found = base(type_of(block, node.this))
        return "text" if found == "character varying" else found
    if isinstance(node, exp.Sum | exp.Avg):
        return _of_sum(base(type_of(block, node.this)), is_sum=isinstance(node, exp.Sum))
    if isinstance(node, exp.TimestampTrunc):
        found = base(type_of(block, node.this))
        return found if found in (*STAMPS[1:], "interval") else "timestamp with time zone" if found == "date" else ""
    if isinstance(node, exp.AtTimeZone):
        found = base(type_of(block, node.this))
        return {STAMPS[1]: STAMPS[2], STAMPS[2]: STAMPS[1]}.get(found, "")
    if isinstance(node, exp.JSONExtract | exp.JSONBExtract | exp.JSONBDeleteAtPath) and not isinstance(node, _CALLS[1][0]):
        return base(type_of(block, node.this))
    if isinstance(node, exp.Array | exp.Bracket):
        return _of_array(block, node)
    if isinstance(node, exp.Substring):
        return "bytea" if base(type_of(block, node.this)) == "bytea" else "text"
    if isinstance(node, exp.DPipe):
        return _of_pipe(type_of(block, node.this), type_of(block, node.expression))
    if isinstance(node, exp.Neg | exp.Abs | exp.BitwiseNot):
        return base(type_of(block, node.this))
    if isinstance(node, exp.Round | exp.Ceil | exp.Floor | exp.Trunc | exp.Sign):
        found = base(type_of(block, node.this))
        return "double precision" if found in (*INTEGERS, *FLOATS) else found
    if isinstance(node, exp.Sqrt | exp.Exp | exp.Ln | exp.Log | exp.Cbrt):
        return (
            "numeric" if base(type_of(block, node.this)) == "numeric" and not isinstance(node, exp.Cbrt) else "double precision"
        )
    if (found := next((declared for classes, declared in _CALLS if isinstance(node, classes)), "")) != "":
        return found
    if isinstance(node, exp.Binary):
        return _of_arithmetic(node, base(type_of(block, node.this)), base(type_of(block, node.expression)))
    return _NAMED.get(node.name.lower(), "") if isinstance(node, exp.Anonymous) else ""


def _of_array(block: Block, node: exp.Expr) -> str:
    if isinstance(node, exp.Array):
        element = common([type_of(block, each) for each in node.expressions])
        return f"{base('text' if element == 'unknown' else element)}[]" if element and node.expressions else ""
    found = type_of(block, node.this)
    is_slice = any(isinstance(each, exp.Slice) for each in node.expressions)
    return found if is_slice or not found.endswith("[]") else found.removesuffix("[]")


def _of_sum(argument: str, *, is_sum: bool) -> str:
    if argument in FLOATS:
        return argument if is_sum else "double precision"
    if argument == "interval":
        return argument
    if argument in ("smallint", "integer") and is_sum:
        return "bigint"
    return "numeric" if argument in (*INTEGERS, "numeric") else ""


def _of_pipe(left: str, right: str) -> str:
    left, right = base(left), base(right)
    arrays = [each for each in (left, right) if each.endswith("[]")]
    if arrays:
        return arrays[0]
    whole = [each for each in (left, right) if each in ("jsonb", "bytea", "bit varying")]
    if whole and {left, right} <= {whole[0], "unknown"}:
        return whole[0]
    texts = {"text", "character varying", "bpchar", "character", "unknown", "name"}
    return "text" if left in texts or right in texts else ""


def _of_arithmetic(node: exp.Expr, left: str, right: str) -> str:
    if left == "jsonb" and isinstance(node, exp.Sub):
        return "jsonb"
    numbers = {*INTEGERS, "numeric", *FLOATS}
    left, right = (right if left == "unknown" else left), (left if right == "unknown" else right)
    if left in numbers and right in numbers:
        found = common([left, right])
        return (
            "double precision"
            if found == "real" and left != right or (isinstance(node, exp.Pow) and found != "numeric")
            else found
        )
    if not isinstance(node, exp.Add | exp.Sub):
        return "interval" if "interval" in (left, right) and isinstance(node, exp.Mul | exp.Div) else ""
    if left == "date" and right == "date":
        return "integer" if isinstance(node, exp.Sub) else ""
    if left == "date" and right in INTEGERS:
        return "date"
    if left in STAMPS and right == "interval":
        return STAMPS[1] if left == "date" else left
    if left in STAMPS[1:] and left == right and isinstance(node, exp.Sub):
        return "interval"
    return "interval" if left == right == "interval" else ""
