"""What cannot be kept exact, refused when it is defined: clause, line, reason, and a rewrite that works.

Pure. These are the refusals of single clauses and blocks; those that need the join graph are raised where the
partition is chosen (`partition.py`) and where the key is proven (`keys.py`).
"""

from collections.abc import Callable, Iterator

from sqlglot import exp

from syncline.errors import UnsupportedQuery
from syncline.read.maintain.keys import determines
from syncline.read.maintain.query import Block, is_aggregate, is_window_order_dependent, line_of
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


def refuse_tree(tree: exp.Query) -> None:
    """Raises UnsupportedQuery for the first clause anywhere in the query that no plan can keep exact."""
    for clause, text, advice in (
        ("order", "ORDER BY", "Leave it out; order when reading: `syncline read VIEW`, or ORDER BY on the view's table"),
        ("limit", "LIMIT", _TOP_N),
        ("offset", "OFFSET", _TOP_N),
    ):
        if (found := tree.args.get(clause)) is not None:
            raise UnsupportedQuery(text, "a stored view has no order", advice, line=line_of(found))
    for node in tree.walk():
        for check in _CHECKS:
            check(node)


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
    for one, other in _comparisons(block):
        _refuse_untyped_comparison(block, one, other)
        _refuse_untyped_comparison(block, other, one)


def refuse_inexact(block: Block, node: exp.Expr, what: str) -> None:
    """Raises UnsupportedQuery where one of several equal values is kept, and they may differ: `what` keeps them."""
    kind = kind_of(block, node)
    if kind.is_exact:
        return
    shown = node.unalias().sql("sqlite").replace('"', "")
    if kind.collation != "BINARY":
        raise UnsupportedQuery(
            f"{what} {shown}",
            f"values that {kind.collation} takes for equal differ in spelling, and which one is shown would be chance",
            f"Write lower({shown}) for {shown} in it, and in SELECT as well"
            if kind.collation == "NOCASE"
            else f"Write CAST({shown} AS TEXT) COLLATE BINARY for {shown} in it, and in SELECT as well",
            line=line_of(node),
        )
    raise UnsupportedQuery(
        f"{what} {shown}",
        "it may hold 1 and 1.0, which are equal and differ, and which one is shown would be chance",
        f"Write CAST({shown} AS TEXT), or AS INTEGER or REAL, for {shown} in it, and in SELECT as well",
        line=line_of(node),
    )


def _refuse_many_rows(block: Block) -> None:
    is_one = block.is_grouped and not block.group_expressions()
    if block.is_scalar and not is_one and not determines(block, []):
        raise UnsupportedQuery(
            f"(SELECT {', '.join(o.sql('sqlite') for o in block.select.expressions)} …)".replace('"', ""),
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
                node.sql("sqlite").replace('"', ""),
                "an aggregate over columns of the query around it only belongs to that query",
                "Compute it there, or in an inner SELECT that the outer one reads",
                line=line_of(node),
            )


def order_dependent_windows(block: Block) -> Iterator[exp.Window]:
    """Windows whose values depend on the order of rows that tie: their ORDER BY must be proven total."""
    return (window for window in block.windows() if is_window_order_dependent(window))


_TOP_N = "For the first n of each group, filter ROW_NUMBER() OVER (PARTITION BY … ORDER BY …, key) <= n in an outer SELECT"


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


def _star(node: exp.Expr) -> None:
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


def _limit_inside(node: exp.Expr) -> None:
    if isinstance(node, exp.Query) and (found := node.args.get("limit") or node.args.get("offset")) is not None:
        if isinstance(node.parent, exp.Exists) and "offset" not in node.args:
            return
        raise UnsupportedQuery("LIMIT", "which rows remain would depend on all others", _TOP_N, line=line_of(found))


def _recursion(node: exp.Expr) -> None:
    if isinstance(node, exp.With) and node.recursive:
        raise UnsupportedQuery(
            "WITH RECURSIVE",
            "a changed row may reach any other",
            "Leave out RECURSIVE if no part reads itself; else keep the closure as a table in its service",
            line=line_of(node),
        )


def _joins(node: exp.Expr) -> None:
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
                f"FROM {table.sql('sqlite')}",
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


def _parameters(node: exp.Expr) -> None:
    if isinstance(node, exp.Placeholder | exp.Parameter):
        raise UnsupportedQuery(node.sql("sqlite"), "a view has no parameters", "Select the column, and filter when reading")


_CHECKS: tuple[Callable[[exp.Expr], None], ...] = (
    _star, _limit_inside, _recursion, _joins, _functions, _casts, _parameters,
)  # fmt: skip
