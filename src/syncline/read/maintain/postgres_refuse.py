"""What PostgreSQL alone must refuse: functions that are not known to give the same for the same arguments, what depends on the
time zone, and clauses whose rows no key decides. Pure.

Functions and operators are an allow-list: what is not known here is refused by its name.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NoReturn

from sqlglot import exp

from syncline.errors import UnsupportedQuery
from syncline.read.maintain.parse import plain
from syncline.read.maintain.postgres_known import CHANGING, IMMUTABLE, INSTEAD, MANY, OPERATORS, ORDERED, STRUCTURE, TYPES
from syncline.read.maintain.postgres_types import FLOATS, INTEGERS, STAMPS, TEXTS, base, canonical, type_of
from syncline.read.maintain.query import Block, line_of

_ISO = re.compile(r"-?\d{1,7}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d+)?)?)?( ?(Z|UTC|[+-]\d\d(:?\d\d)?))?|-?infinity", re.IGNORECASE)
_ZONED = re.compile(r".*(Z|UTC|[+-]\d\d(:?\d\d)?)", re.IGNORECASE)
_RELATIVE = {"now", "today", "tomorrow", "yesterday", "allballs"}
_KNOWN_TEXT = {*INTEGERS, *TEXTS, *FLOATS, "character", "bpchar", "boolean", "numeric", "uuid", "unknown", "jsonb"}


def refuse_node(node: exp.Expr) -> None:
    """Raises UnsupportedQuery for a clause, function or operator whose result the rows that are read do not decide."""
    _clauses(node)
    if isinstance(node, exp.Func) and not isinstance(node, OPERATORS + STRUCTURE):
        _function(node)
    elif isinstance(node, exp.Var):
        if not isinstance(node.parent, exp.Extract | exp.TimestampTrunc | exp.Interval | exp.IntervalSpan):
            raise _unknown(node.parent or node, plain((node.parent or node).sql("postgres")))
    elif not isinstance(node, OPERATORS + STRUCTURE):
        raise _unknown(node, plain(node.sql("postgres")))
    if isinstance(node, exp.Cast) and base(canonical(node.to.sql("postgres"))).removesuffix("[]") not in TYPES:
        raise UnsupportedQuery(
            f"CAST(… AS {node.to.sql('postgres')})",
            "this type is not known here, so nothing is known of its values",
            "Cast AS bigint, numeric(p, s), text, date or the like",
            line=line_of(node),
        )


def refuse_table(table: exp.Table) -> None:
    """Raises UnsupportedQuery for what may stand beside the name of a table."""
    if table.args.get("sample") is not None:
        _refuse(table, "TABLESAMPLE", "which rows it takes is chance", "Leave it out, and sample when reading")
    if table.args.get("only"):
        _refuse(table, "ONLY", "a mirror has no tables that inherit from it", "Leave it out")


def refuse_block(block: Block) -> None:
    """Raises UnsupportedQuery for conversions and functions that depend on settings by the types of what they are given."""
    for node in block.own_nodes():
        if isinstance(node, exp.Cast):
            _cast(block, node)
        elif isinstance(node, exp.TimestampTrunc | exp.Extract):
            _part_of_time(block, node)
        elif isinstance(node, exp.DPipe | exp.Concat | exp.ConcatWs):
            _text_of(block, node)
        elif isinstance(node, exp.Stddev | exp.StddevPop | exp.StddevSamp | exp.Variance | exp.VariancePop) and (
            base(type_of(block, node.this)) in (*FLOATS, "")
        ):
            raise UnsupportedQuery(
                plain(node.sql("postgres")),
                "its last digits depend on the order in which rows are read",
                f"Write {node.key}(CAST({plain(node.this.sql('postgres'))} AS numeric))",
                line=line_of(node),
            )
        elif isinstance(node, exp.Binary):
            _mixed_times(block, node)
    for literal, other in _compared_literals(block):
        if literal.name.strip().lower() in _RELATIVE and base(type_of(block, other)) not in (*TEXTS, "character", "bpchar"):
            raise _relative(literal)


def _clauses(node: exp.Expr) -> None:
    if isinstance(node, exp.Distinct) and node.args.get("on") is not None:
        advice = "Number the rows: ROW_NUMBER() OVER (PARTITION BY … ORDER BY …, key) AS n in an inner SELECT, and n = 1 outside"
        _refuse(node, "DISTINCT ON", "which row of each group remains depends on an ORDER BY that a view does not have", advice)
    if isinstance(node, exp.From | exp.Join) and isinstance(node.this, exp.Lateral):
        advice = "Write it as an inner SELECT with GROUP BY, or ROW_NUMBER(), and join that by an equality"
        _refuse(node, "LATERAL", "its rows are not those of a table that could be followed", advice)
    if isinstance(node, exp.Lock):
        _refuse(node.parent or node, "FOR UPDATE", "a view locks nothing", "Leave it out")
    if isinstance(node, exp.GroupingSets | exp.Rollup | exp.Cube) or (isinstance(node, exp.Group) and node.args.get("all")):
        advice = "Write one SELECT for each grouping, with a literal that tells them apart, and UNION ALL between them"
        _refuse(node, "GROUPING SETS, ROLLUP, CUBE", "one row belongs to several groups", advice)
    if isinstance(node, exp.Into):
        _refuse(node, "INTO", "a view is read, not stored by its query", "Leave it out")
    if isinstance(node, exp.WindowSpec) and node.args.get("exclude"):
        _refuse(node, "EXCLUDE", "it is not followed", "Leave it out, and subtract the row's own value")


def _refuse(node: exp.Expr, clause: str, reason: str, advice: str) -> NoReturn:
    raise UnsupportedQuery(clause, reason, advice, line=line_of(node) or line_of(node.parent))


def _function(node: exp.Func) -> None:
    shown = name_of(node)
    if shown in IMMUTABLE:
        if shown == "date_trunc" and node.args.get("zone") is not None:
            raise _zone(node, "date_trunc with a time zone", "date_trunc(unit, … AT TIME ZONE 'UTC')")
        return
    if shown in CHANGING:
        raise UnsupportedQuery(
            f"{shown}()",
            "its value changes although no row does",
            "Put the time into a table of a service, whose change is then a change like any other, or compare when reading",
            line=line_of(node),
        )
    if shown in ORDERED:
        raise UnsupportedQuery(
            f"{shown}()",
            "its value depends on the order in which rows are read",
            "Keep the rows in the view, and put them together when reading",
            line=line_of(node),
        )
    if shown in MANY:
        raise UnsupportedQuery(
            f"{shown}()",
            "it returns several rows, which have no key",
            "Keep the rows as a table of a service",
            line=line_of(node),
        )
    raise _unknown(node, f"{shown}()")


def name_of(node: exp.Func) -> str:
    """A function's name on PostgreSQL."""
    return str(node.sql("postgres")).partition("(")[0].partition("[")[0].strip().lower()


UNKNOWN = "it is not known to give the same for the same rows, whatever the settings of the session that computes it"


def instead_of(function: str) -> str:
    """What to write instead of a function that is not known here."""
    instead = INSTEAD.get(function)
    return f"Write {instead}" if instead is not None else "Leave it out, and compute it when reading, or in the service"


def _unknown(node: exp.Expr, shown: str) -> UnsupportedQuery:
    return UnsupportedQuery(shown, UNKNOWN, instead_of(shown.removesuffix("()")), line=line_of(node))


def _cast(block: Block, node: exp.Cast) -> None:
    source, target = base(type_of(block, node.this)), base(canonical(node.to.sql("postgres")))
    shown = plain(node.this.sql("postgres"))
    if isinstance(node.this, exp.Literal) and node.this.is_string:
        text = node.this.name.strip()
        if target in STAMPS and not _ISO.fullmatch(text):
            raise _relative(node.this)
        if target == STAMPS[2] and not _ZONED.fullmatch(text) and "infinity" not in text.lower():
            raise _zone(node, f"'{text}'", f"'{text}+00'")
        return
    zoned = (STAMPS[2], "time with time zone")
    if source in zoned and target not in zoned and target not in ("", source):
        raise _zone(node, shown, f"({shown} AT TIME ZONE 'UTC')")
    if target in zoned and source != target:
        instead = f"({shown} AT TIME ZONE 'UTC')" if source == STAMPS[1] else f"(CAST({shown} AS timestamp) AT TIME ZONE 'UTC')"
        raise _zone(node, shown, instead)
    if target in (*STAMPS, "time without time zone", "interval") and source not in (
        *STAMPS,
        target,
        "time without time zone",
        "unknown",
    ):
        raise UnsupportedQuery(
            f"CAST({shown} AS {target})",
            "what text means as a time depends on settings, and 'today' on the day",
            "Write make_date(CAST(substr(x, 1, 4) AS integer), …), or keep it as text, which sorts alike if written 2024-12-31",
            line=line_of(node),
        )
    if target in (*TEXTS, "character") and source == "":
        raise UnsupportedQuery(
            f"CAST({shown} AS {target})",
            f"the type of {shown} is not known here, and the text of some types depends on settings",
            f"CAST {shown} to its own type first",
            line=line_of(node),
        )


def _part_of_time(block: Block, node: exp.Expr) -> None:
    argument = node.expression if isinstance(node, exp.Extract) else node.this
    found, shown = base(type_of(block, argument)), plain(argument.sql("postgres"))
    if isinstance(node, exp.TimestampTrunc) and found == "date":
        raise _zone(node, f"date_trunc of the date {shown}", f"date_trunc(…, CAST({shown} AS timestamp))")
    if found == STAMPS[2]:
        raise _zone(node, shown, f"({shown} AT TIME ZONE 'UTC')")
    if found in ("", "unknown"):
        raise UnsupportedQuery(
            plain(node.sql("postgres")),
            f"the type of {shown} is not known here, and with a time zone the result would depend on settings",
            f"Write CAST({shown} AS date) or timestamp, or what it is",
            line=line_of(node),
        )


def _text_of(block: Block, node: exp.Expr) -> None:
    parts = [node.this, node.expression] if isinstance(node, exp.DPipe) else node.expressions
    types = [base(type_of(block, part)) for part in parts]
    if isinstance(node, exp.DPipe) and len(set(types)) == 1:
        return
    for part, found in zip(parts, types, strict=True):
        if found not in _KNOWN_TEXT and not found.endswith("[]"):
            shown = plain(part.sql("postgres"))
            reason = f"the text of {shown} depends on settings, or its type is not known here"
            raise UnsupportedQuery(
                plain(node.sql("postgres")), reason, f"Write CAST({shown} AS text), if it may be", line=line_of(node)
            )


def _mixed_times(block: Block, node: exp.Binary) -> None:
    left, right = base(type_of(block, node.this)), base(type_of(block, node.expression))
    for one, other, side in ((left, right, node.this), (right, left, node.expression)):
        shown = plain(side.sql("postgres"))
        if one == STAMPS[2] and (other in STAMPS[:2] or (other == "interval" and isinstance(node, exp.Add | exp.Sub))):
            raise _zone(node, plain(node.sql("postgres")), f"({shown} AT TIME ZONE 'UTC') in it")


def _compared_literals(block: Block) -> Iterator[tuple[exp.Expr, exp.Expr]]:
    for node in block.own_nodes():
        others: Sequence[exp.Expr] = ()
        if isinstance(node, exp.Binary):
            others = (node.this, node.expression)
        elif isinstance(node, exp.Between):
            others = (node.this, node.args["low"], node.args["high"])
        elif isinstance(node, exp.In | exp.Coalesce | exp.Greatest | exp.Least):
            others = (node.this, *node.expressions)
        for literal in others:
            if isinstance(literal, exp.Literal) and literal.is_string:
                yield from ((literal, other) for other in others if not isinstance(other, exp.Literal))


def _relative(literal: exp.Expr) -> UnsupportedQuery:
    return UnsupportedQuery(
        literal.sql("postgres"),
        "as a time it may mean another one each day, or by other settings",
        "Write it as '2024-12-31' or '2024-12-31 12:00:00', with +00 for a timestamp with time zone",
        line=line_of(literal),
    )


def _zone(node: exp.Expr, shown: str, instead: str) -> UnsupportedQuery:
    reason = "it depends on the time zone of whoever computes it"
    return UnsupportedQuery(shown, reason, f"Write {instead}", line=line_of(node))
