"""What SQLite alone must refuse: functions whose value changes by itself or follows the order of rows, casts, comparisons that
convert. Pure.
"""

from collections.abc import Iterator

from sqlglot import exp

from syncline.errors import UnsupportedQuery
from syncline.read.maintain.query import Block, line_of
from syncline.read.maintain.schema import affinity
from syncline.read.maintain.values import kind_of

_VOLATILE = {
    "random", "rand", "randomblob", "changes", "total_changes", "last_insert_rowid", "sqlite_source_id",
    "sqlite_version", "sqlite_compileoption_get", "sqlite_compileoption_used", "sqlite_offset", "load_extension",
    "current_timestamp", "current_date", "current_time", "uuid",
}  # fmt: skip
_TIME = {"date", "time", "datetime", "julianday", "unixepoch", "strftime", "timetostr", "timediff"}
_CASTS = {"INT", "BIGINT", "FLOAT", "DOUBLE", "TEXT", "VARBINARY"}
_ORDERED = {
    "groupconcat", "group_concat", "string_agg", "json_group_array", "json_group_object", "arrayagg", "jsonarrayagg",
    "jsonobjectagg",
}  # fmt: skip


def refuse_node(node: exp.Expr) -> None:
    """Raises UnsupportedQuery for a function or cast that does not give the same for the same rows."""
    _functions(node)
    _casts(node)


def refuse_comparisons(block: Block) -> None:
    """Raises UnsupportedQuery where a comparison would depend on where a computed value is stored."""
    for one, other in _comparisons(block):
        _refuse_untyped_comparison(block, one, other)
        _refuse_untyped_comparison(block, other, one)


def _comparisons(block: Block) -> Iterator[tuple[exp.Expr, exp.Expr]]:
    """What is compared with what, as far as SQLite converts one side to suit the other."""
    for node in block.own_nodes():
        if isinstance(node, exp.EQ | exp.NEQ | exp.GT | exp.GTE | exp.LT | exp.LTE | exp.NullSafeEQ | exp.NullSafeNEQ | exp.Is):
            yield from zip(_parts(node.this), _parts(node.expression), strict=False)
        elif isinstance(node, exp.Between):
            yield from ((node.this, node.args["low"]), (node.this, node.args["high"]))
        elif isinstance(node, exp.Case) and node.this is not None:
            yield from ((node.this, branch.this) for branch in node.args["ifs"])
        elif isinstance(node, exp.In) and (query := node.args.get("query")) is not None:
            child = block.child_of(query)
            if child is not None:
                for mine, output in zip(_parts(node.this), child.select.expressions, strict=False):
                    _refuse_untyped_comparison(block, mine, output, child)
                    _refuse_untyped_comparison(child, output, mine, block)


def _parts(node: exp.Expr) -> list[exp.Expr]:
    inner = node.unnest()
    return list(inner.expressions) if isinstance(inner, exp.Tuple) else [node]


def _refuse_untyped_comparison(block: Block, one: exp.Expr, other: exp.Expr, others: Block | None = None) -> None:
    """SQLite makes text of a computed number that is compared with TEXT, but not once it is stored in a column without type."""
    plain = one.unalias()
    while isinstance(plain, exp.Paren | exp.Collate):
        plain = plain.this
    if not isinstance(plain, exp.Column) or not block.use_of(plain).source.is_view:
        return
    kind, with_ = kind_of(block, plain), kind_of(others or block, other)
    if kind.declared_type == "" and kind.classes - {"text", "blob"} and affinity(with_.declared_type) == "TEXT":
        shown = plain.sql("sqlite").replace('"', "")
        raise UnsupportedQuery(
            f"{shown} compared with {other.unalias().sql('sqlite')}".replace('"', ""),
            f"{plain.name} is computed and has no type, so comparing it with TEXT would depend on where it is stored",
            f"CAST it AS TEXT or INTEGER in the SELECT that computes {plain.name}",
            line=line_of(one) or line_of(other),
        )


def _functions(node: exp.Expr) -> None:
    if not isinstance(node, exp.Func):
        return
    name = (node.name if isinstance(node, exp.Anonymous) else node.key).lower()
    shown = node.sql("sqlite").partition("(")[0].lower()
    if name in _VOLATILE or name.startswith("current"):
        raise _volatile(node, shown)
    arguments = [argument for argument in node.find_all(exp.Literal) if argument.is_string]
    says_now = {"now", "localtime", "utc"} & {argument.name.lower() for argument in arguments}
    given = [value for value in node.args.values() if value]
    if name in _TIME and (says_now or not given or (name in ("strftime", "timetostr") and _has_no_time(node))):
        raise _volatile(node, shown)
    if name in _ORDERED:
        raise UnsupportedQuery(
            f"{shown}()",
            "its value depends on the order in which rows are read",
            "Keep the rows in the view, and put them together when reading",
            line=line_of(node),
        )


def _has_no_time(node: exp.Expr) -> bool:
    arguments = node.expressions if isinstance(node, exp.Anonymous) else [node.this]
    return len(arguments) < 2 if isinstance(node, exp.Anonymous) else arguments[0] is None


def _volatile(node: exp.Expr, name: str) -> UnsupportedQuery:
    return UnsupportedQuery(
        f"{name}()",
        "its value changes although no row does",
        "Put the time into a table of a service, whose change is then a change like any other, or compare when reading",
        line=line_of(node),
    )


def _casts(node: exp.Expr) -> None:
    if isinstance(node, exp.Cast) and (kind := node.to.this.name) not in _CASTS:
        raise UnsupportedQuery(
            f"CAST(… AS {kind})",
            "this type name means different things to different databases",
            "Cast AS INTEGER, REAL, TEXT or BLOB",
            line=line_of(node),
        )
