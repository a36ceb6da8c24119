"""Which view keys a changed row can reach: walks along equalities, from a changed table to the one that owns them.

Pure. Theory: an output row that contains a row of table T fulfils every equality between T and the other tables that
was needed to join it, so following those equalities from T finds every output row T's row takes part in, or more. All
else (filters, inequalities, HAVING) is left out on the way: the set of keys may be too big, never too small. An
equality in the ON of a LEFT JOIN holds only for rows where the join found a match, and one inside a subquery only for rows
of the subquery: each such edge opens once a walk has come through one of the tables in `after`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlglot import exp

from syncline.read.maintain.dialect import Dialect, Match
from syncline.read.maintain.parse import quoted
from syncline.read.maintain.query import Block, Use, folds, operand, split_and
from syncline.read.maintain.values import collation_of, has_column_collation

_STRICT = (
    exp.Column, exp.Identifier, exp.Literal, exp.Paren, exp.Collate, exp.Var, exp.Cast, exp.DataType, exp.Neg, exp.Add, exp.Sub,
    exp.Mul, exp.Div, exp.Mod, exp.DPipe, exp.Upper, exp.Lower, exp.Substring, exp.Abs,
)  # fmt: skip
"""What is NULL when a column in it is."""


@dataclass(frozen=True, slots=True, eq=False)
class Edge:
    """`near = far`, where each side reads one table only. Usable when `after` is empty or one of them was visited.

    `is_turned`: it was written `far = near`. The left side of a comparison gives the collation, so it stays on the left.
    `index_term` is what an index on `far` must hold to serve it. `is_same_kind`: both are columns that store values alike.
    """

    near: Use
    near_expression: exp.Expr
    far: Use
    far_expression: exp.Expr
    after: frozenset[Use]
    is_turned: bool
    is_same_kind: bool
    index_term: str

    def is_open(self, visited: set[Use]) -> bool:
        return not self.after or bool(self.after & visited)


@dataclass(frozen=True, slots=True)
class Hop:
    """The next table of a walk, and the equalities that lead into it from tables before."""

    use: Use
    edges: tuple[Edge, ...]


@dataclass(frozen=True, slots=True)
class Path:
    """From a changed table, by hops, to expressions for the partition key, each with the table it reads."""

    start: Use
    hops: tuple[Hop, ...]
    partition: tuple[tuple[Use, exp.Expr], ...]


@dataclass(frozen=True, slots=True)
class WalkSql:
    """One walk as SQL over the delta `{delta}` of its start: on the state before, and on the state after, the change.

    `before` is None when the walk reads nothing that the change alters, so that once is enough. It may alter a key's
    spelling (case under NOCASE).
    """

    before: str | None
    after: str
    text: str


def edges_of(block: Block) -> list[Edge]:
    """Every edge of a block and its subqueries, in both directions."""
    found: list[Edge] = []
    for part in block.everything_below():
        inside = frozenset(part.uses) if part.parent is not None else frozenset()
        for condition in part.conjuncts():
            found += _edges(part, condition, inside)
        for use in part.uses:
            if use.joins_left and use.join is not None:
                for condition in split_and(use.join.args.get("on")):
                    found += _edges(part, condition, frozenset({use}))
        for child in part.children:
            found += _membership_edges(part, child)
    return found


def find_path(edges: Sequence[Edge], start: Use, owner: Use, partition: Sequence[exp.Expr]) -> Path | None:
    """The shortest walk from `start` to `owner`, or None when no equalities connect them."""
    route = _shortest_route(edges, start, owner)
    if route is None:
        return None
    hops: list[Hop] = []
    for index, use in enumerate(route[1:], 1):
        before = set(route[:index])
        usable = tuple(e for e in edges if e.far is use and e.near in before and e.is_open(before))
        hops.append(Hop(use, usable))
    return _without_last_hop(Path(start, tuple(hops), tuple((owner, expression) for expression in partition)))


def _shortest_route(edges: Sequence[Edge], start: Use, owner: Use) -> list[Use] | None:
    """By which tables to go. What opens an edge must lie on the route itself, so routes, not tables, are tried."""
    gates = frozenset[Use]().union(*(edge.after for edge in edges))
    routes, tried = [[start]], {(start, frozenset({start}) & gates)}
    while routes:
        longer: list[list[Use]] = []
        for route in routes:
            if route[-1] is owner:
                return route
            for edge in edges:
                if edge.near not in route or edge.far in route or not edge.is_open(set(route)):
                    continue
                state = (edge.far, frozenset({*route, edge.far}) & gates)
                if state not in tried:
                    tried.add(state)
                    longer.append([*route, edge.far])
        routes = longer
    return None


def walk_sql(path: Path, delta: str, dialect: Dialect) -> WalkSql:
    """The walk as SELECTs of the partition key; `delta` is the placeholder of the start's delta table."""
    names = {path.start: "w0"} | {hop.use: f"w{index}" for index, hop in enumerate(path.hops, 1)}
    leaving = [(edge.near, edge.near_expression) for hop in path.hops for edge in hop.edges]
    own = [
        column
        for use, expression in (*leaving, *path.partition)
        if use is path.start
        for column in expression.find_all(exp.Column)
    ]
    key = {name.lower() for name in path.start.source.key}
    needs_only_key = all(column.name.lower() in key and dialect.is_exact_column(path.start.source, column.name) for column in own)
    touches_itself = any(hop.use.source is path.start.source for hop in path.hops)
    columns = ", ".join(dialect.sql(_renamed(expression, names[use])) for use, expression in path.partition)
    hops = "".join(_hop_sql(hop, names, dialect) for hop in path.hops)
    row = [Match(f"w0.{quoted(n)}", f"d.{quoted(n)}", _not_null(path.start, n)) for n in path.start.source.key]
    changed = dialect.matched(quoted(path.start.table.name), "w0", row)
    old = f"SELECT {columns} FROM {quoted(delta)} AS d{changed}{hops}"
    if needs_only_key:
        once = f"SELECT {columns} FROM {quoted(delta)} AS w0{hops}"
        return WalkSql(once if touches_itself else None, once, _text(path, dialect))
    return WalkSql(old, f"SELECT {columns} FROM {quoted(delta)} AS w0{hops} WHERE w0.syncline_present", _text(path, dialect))


def _hop_sql(hop: Hop, names: dict[Use, str], dialect: Dialect) -> str:
    conditions: list[str] = []
    for edge in hop.edges:
        far = dialect.sql(operand(_renamed(edge.far_expression, names[hop.use])))
        near = dialect.sql(operand(_renamed(edge.near_expression, names[edge.near])))
        conditions.append(f"{far} = {near}" if edge.is_turned else f"{near} = {far}")
    return dialect.hop(quoted(hop.use.table.name), names[hop.use], conditions)


def _text(path: Path, dialect: Dialect) -> str:
    steps = [path.start.alias]
    for hop in path.hops:
        by = ", ".join(f"{dialect.sql(e.near_expression)} = {dialect.sql(e.far_expression)}" for e in hop.edges)
        steps.append(f"{hop.use.alias} by {by}")
    key = ", ".join(dialect.sql(expression) for _, expression in path.partition)
    return f"{' → '.join(steps)} → {key}".replace('"', "")


def _without_last_hop(path: Path) -> Path:
    """Leaves out the owner where the equalities into it already give its key: fewer look-ups, a key too many at worst."""
    if not path.hops:
        return path
    last = path.hops[-1]
    swapped: list[tuple[Use, exp.Expr]] = []
    for _, expression in path.partition:
        equal = next((e for e in last.edges if e.far_expression == expression and e.is_same_kind), None)
        if equal is None:
            return path
        swapped.append((equal.near, equal.near_expression))
    return Path(path.start, path.hops[:-1], tuple(swapped))


def _edges(block: Block, condition: exp.Expr, after: frozenset[Use]) -> Iterator[Edge]:
    if isinstance(condition, exp.EQ):
        yield from _pair(block, condition.this, block, condition.expression, after)


def _membership_edges(block: Block, child: Block) -> Iterator[Edge]:
    """`x IN (SELECT y …)` is an equality of x and y for the subquery's rows."""
    membership = membership_of(child)
    if membership is not None and is_equality(block, child, membership):
        for mine, theirs in pairs_of(child, membership):
            yield from _pair(block, mine, child, theirs, frozenset(child.uses))


def membership_of(child: Block) -> exp.In | None:
    """The IN that a subquery stands in."""
    parent = child.select.parent
    around = parent.parent if isinstance(parent, exp.Subquery) else parent
    return around if isinstance(around, exp.In) else None


def pairs_of(child: Block, membership: exp.In) -> list[tuple[exp.Expr, exp.Expr]]:
    """What is compared: each expression on the left of IN with the subquery's output in its place."""
    left = membership.this.unnest()
    lefts = left.expressions if isinstance(left, exp.Tuple) else [left]
    return list(zip(lefts, (output.unalias() for output in child.select.expressions), strict=False))


def is_equality(block: Block, child: Block, membership: exp.In) -> bool:
    """Whether IN may be read as "a row of the subquery is equal".

    Where more than its truth shows (NOT IN, or IN as a value), a NULL on either side lets any row of the subquery decide between
    false and unknown: then it may be only if no NULL can be there.
    """
    is_certain = all(
        _is_never_null(block, mine) and _is_never_null(child, theirs) for mine, theirs in pairs_of(child, membership)
    )
    return is_certain or _only_truth_counts(membership)


def _only_truth_counts(condition: exp.Expr) -> bool:
    """Whether unknown does the same as false: the condition is joined by AND and OR only, up to a WHERE, HAVING or ON."""
    at = condition.parent
    while isinstance(at, exp.And | exp.Or | exp.Paren):
        at = at.parent
    return isinstance(at, exp.Where | exp.Having | exp.Join)


def _is_never_null(block: Block, expression: exp.Expr) -> bool:
    if not isinstance(expression, exp.Column):
        return isinstance(expression, exp.Literal)
    use = block.use_of(expression)
    return _not_null(use, expression.name) and not use.is_optional


def _pair(left_block: Block, left: exp.Expr, right_block: Block, right: exp.Expr, after: frozenset[Use]) -> Iterator[Edge]:
    one, other = _only_use(left_block, left, after), _only_use(right_block, right, after)
    if one is not None and other is not None and one is not other:
        collation = _compared_by(left_block, left, right_block, right)
        alike = _are_same_kind(left_block, left, right_block, right)
        yield Edge(one, left, other, right, after, False, alike, index_term(right_block, right, collation))
        yield Edge(other, right, one, left, after, True, alike, index_term(left_block, left, collation))


def _are_same_kind(left_block: Block, left: exp.Expr, right_block: Block, right: exp.Expr) -> bool:
    if not (isinstance(left, exp.Column) and isinstance(right, exp.Column)):
        return False
    return left_block.dialect.is_same_kind(left_block.column_of(left), right_block.column_of(right))


def _compared_by(left_block: Block, left: exp.Expr, right_block: Block, right: exp.Expr) -> str:
    """The collation of `left = right`: an explicit one, else a column's, the left side first."""
    sides = ((left_block, left), (right_block, right))
    explicit = (collation_of(block, side) for block, side in sides if side.find(exp.Collate) is not None)
    of_columns = (collation_of(block, side) for block, side in sides if has_column_collation(side))
    return next(explicit, None) or next(of_columns, "BINARY")


def index_term(block: Block, expression: exp.Expr, collation: str) -> str:
    """An expression over one table as an index on that table spells it: the bare name for a column with its own collation."""
    bare = expression.copy()
    for column in bare.find_all(exp.Column):
        column.set("table", None)
    own = collation_of(block, expression) if has_column_collation(expression) or expression.find(exp.Collate) else "BINARY"
    if own != collation:
        return f"({block.dialect.sql(bare)}) COLLATE {collation}"
    return expression.name if isinstance(expression, exp.Column) else f"({block.dialect.sql(bare)})"


def _only_use(block: Block, expression: exp.Expr, after: frozenset[Use]) -> Use | None:
    """The one table that the side of an equality reads.

    None also if the side may be something although the table's join found no match (`coalesce(b.x, 1)`): such a row
    fulfils the equality without any row of the table.
    """
    if folds(expression):
        return None
    uses = {block.use_of(column) for column in expression.find_all(exp.Column)}
    if len(uses) != 1:
        return None
    use = uses.pop()
    is_null_without_row = all(isinstance(node, _STRICT) for node in expression.walk())
    return use if is_null_without_row or not use.is_optional or use in after else None


def _renamed(expression: exp.Expr, name: str) -> exp.Expr:
    """The expression, which reads one table only, over that table's name in the walk."""
    copy = expression.copy()
    for column in list(copy.find_all(exp.Column)):
        column.set("table", exp.to_identifier(name))
    return copy


def _not_null(use: Use, name: str) -> bool:
    column = use.source.column(name)
    return column is not None and column.not_null
