"""A query as a tree of blocks: one block per SELECT, with the tables it uses and every column resolved.

Pure. Column references are resolved by the database's rules (columns of the block, then of the blocks around it; in GROUP BY
a column wins over an output name) and are written back with their table, so that joins may be reordered
without changing what a name means. After `build_block` no star, USING, output-name reference or position is left.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

from sqlglot import exp

from syncline.errors import UnsupportedQuery
from syncline.messages import Column
from syncline.read.maintain.dialect import Dialect
from syncline.read.maintain.schema import Source


@dataclass(slots=True, eq=False)
class Use:
    """One table in one FROM clause. Optional: on the right of a LEFT JOIN, so that its columns may all be NULL."""

    alias: str
    source: Source
    table: exp.Table
    join: exp.Join | None
    is_optional: bool
    merged: frozenset[str] = frozenset()
    """Columns named in USING: written without a table, they mean the left table's."""

    @property
    def joins_left(self) -> bool:
        return self.join is not None and self.join.side == "LEFT"

    def column(self, name: str) -> exp.Column:
        """A fresh reference to a column of this use."""
        return exp.column(exp.to_identifier(name, quoted=True), table=exp.to_identifier(self.alias, quoted=True))


@dataclass(slots=True, eq=False)
class Block:
    """One SELECT: the tables it uses in order, and the blocks of the subqueries in its expressions."""

    select: exp.Select
    parent: "Block | None"
    dialect: Dialect
    uses: list[Use] = field(default_factory=list)
    children: list["Block"] = field(default_factory=list)

    @property
    def is_grouped(self) -> bool:
        return self.select.args.get("group") is not None or any(True for _ in self.aggregates())

    @property
    def is_distinct(self) -> bool:
        return self.select.args.get("distinct") is not None

    def own_nodes(self, *roots: exp.Expr | None) -> Iterator[exp.Expr]:
        """Every node of these parts (default: the whole select) that is not inside a subquery."""
        for root in roots or (self.select,):
            if root is not None:
                yield from root.walk(prune=lambda node: node is not self.select and isinstance(node, exp.Query))

    def own_nodes_of(self, root: exp.Expr, *kinds: type[exp.Expr]) -> Iterator[exp.Expr]:
        """The nodes of these kinds in an expression, without those inside subqueries."""
        for node in root.walk(prune=lambda node: isinstance(node, exp.Query)):
            if isinstance(node, kinds):
                yield node

    def columns_in(self, node: exp.Expr | None) -> Iterator[tuple[exp.Column, Use]]:
        """Every column in a part of this block, in its subqueries too, with the use it belongs to."""
        if node is None:
            return
        blocks = {id(block.select): block for block in self.everything_below()}
        for column in node.find_all(exp.Column):
            around = column.parent
            while around is not None and id(around) not in blocks:
                around = around.parent
            yield column, (blocks[id(around)] if around is not None else self).use_of(column)

    def child_of(self, node: exp.Expr) -> "Block | None":
        """The block of a subquery of this block."""
        inner = node.unnest() if isinstance(node, exp.Subquery) else node
        return next((child for child in self.children if child.select is inner), None)

    @property
    def is_scalar(self) -> bool:
        """Whether this is a subquery whose one value is used: not inside EXISTS or IN."""
        if self.parent is None or not isinstance(self.select.parent, exp.Subquery):
            return False
        around: exp.Expr = self.select.parent
        while isinstance(around.parent, exp.Subquery | exp.Paren):
            around = around.parent
        return not (isinstance(around.parent, exp.In) and around.arg_key == "query")

    @property
    def is_existence(self) -> bool:
        return self.parent is not None and isinstance(self.select.parent, exp.Exists)

    def aggregates(self) -> Iterator[exp.Expr]:
        """Aggregate calls of this block that are not window functions."""
        for node in self.own_nodes(*self.select.expressions, self.select.args.get("having")):
            if is_aggregate(node) and not _is_windowed(node):
                yield node

    def windows(self) -> Iterator[exp.Window]:
        for node in self.own_nodes(*self.select.expressions):
            if isinstance(node, exp.Window):
                yield node

    def group_expressions(self) -> list[exp.Expr]:
        group = self.select.args.get("group")
        return list(group.expressions) if group else []

    def conjuncts(self) -> Iterator[exp.Expr]:
        """Conditions that every joined row of this block fulfils: WHERE and the ON of inner joins, split at AND."""
        for use in self.uses:
            if use.join is not None and not use.joins_left:
                yield from split_and(use.join.args.get("on"))
        where = self.select.args.get("where")
        yield from split_and(where.this if where else None)

    def everything_below(self) -> Iterator["Block"]:
        """This block and all blocks of its subqueries."""
        yield self
        for child in self.children:
            yield from child.everything_below()

    def use_of(self, column: exp.Column) -> Use:
        """The use that a resolved column belongs to, in this block or one around it."""
        block: Block | None = self
        while block is not None:
            for use in block.uses:
                if use.alias.lower() == column.table.lower():
                    return use
            block = block.parent
        raise AssertionError(f"column {column.sql()} was not resolved")

    def column_of(self, column: exp.Column) -> Column:
        """The declared column behind a resolved reference."""
        found = self.use_of(column).source.column(column.name)
        assert found is not None, column.sql()
        return found


def build_block(select: exp.Select, sources: Mapping[str, Source], dialect: Dialect, parent: Block | None = None) -> Block:
    """The block of `select`, whose tables are named by the keys of `sources`. Rewrites `select` in place."""
    block = Block(select, parent, dialect)
    if (from_ := select.args.get("from_")) is not None:
        _add_use(block, from_.this, None, sources)
    for join in select.args.get("joins") or ():
        _add_use(block, join.this, join, sources)
    _expand_using(block)
    outputs = {output.alias.lower(): output.this for output in select.expressions if isinstance(output, exp.Alias)}
    for name in ("where", "group", "having"):
        _expand_output_names(block, select.args.get(name), outputs, is_group=name == "group")
    for column in [node for node in block.own_nodes() if isinstance(node, exp.Column)]:
        _resolve(block, column)
    subqueries = [node for node in block.own_nodes() if isinstance(node, exp.Query) and node is not select]
    for subquery in subqueries:
        inner = subquery.unnest() if isinstance(subquery, exp.Subquery) else subquery
        if not isinstance(inner, exp.Select):
            raise UnsupportedQuery(
                "UNION in a subquery",
                "a compound SELECT inside an expression is not followed",
                "Split it into two EXISTS or IN conditions joined by OR",
                line=line_of(inner),
            )
        block.children.append(build_block(inner, sources, dialect, block))
    return block


def split_and(condition: exp.Expr | None) -> Iterator[exp.Expr]:
    """The parts of a condition that must all be true."""
    if condition is None:
        return
    if isinstance(condition, exp.Paren):
        yield from split_and(condition.this)
    elif isinstance(condition, exp.And):
        yield from split_and(condition.this)
        yield from split_and(condition.expression)
    else:
        yield condition


def is_aggregate(node: exp.Expr) -> bool:
    """Whether a call folds many rows into one value. MIN and MAX of several arguments do not."""
    if isinstance(node, exp.Anonymous):
        return node.name.lower() in ("total", "json_group_array", "json_group_object", "string_agg")
    if isinstance(node, exp.Filter):
        return False
    return isinstance(node, exp.AggFunc) and not isinstance(node, exp.Greatest | exp.Least)


def folds(expression: exp.Expr) -> bool:
    """Whether an expression reads more than the columns of one joined row: a subquery, an aggregate or a window."""
    return any(isinstance(node, exp.Query | exp.Window) or is_aggregate(node) for node in expression.walk())


def operand(expression: exp.Expr) -> exp.Expr:
    """A copy of an expression to be compared: in parentheses if it would fall apart otherwise, as `NOT a` and `a = b` do."""
    copy = expression.copy()
    return exp.paren(copy, copy=False) if isinstance(copy, exp.Not | exp.Connector | exp.Predicate) else copy


def line_of(node: exp.Expr | None) -> int:
    """The line of the query's text on which a node begins, as far as the parser kept it; 0 if unknown."""
    if node is None:
        return 0
    lines = [found.meta["line"] for found in node.walk() if "line" in found.meta]
    if not lines and node.parent is not None and not isinstance(node.parent, exp.Select):
        return line_of(node.parent)
    return min(lines, default=0)


def is_window_order_dependent(window: exp.Window) -> bool:
    """Whether rows that tie in the window's ORDER BY may get different values from one run to the next."""
    function = window.this.this if isinstance(window.this, exp.Filter | exp.IgnoreNulls) else window.this
    name = function.name.lower() if isinstance(function, exp.Anonymous) else function.sql_name().lower()
    spec = window.args.get("spec")
    by_rows = spec is not None and str(spec.args.get("kind", "")).upper() != "RANGE"
    positional = {"row_number", "ntile", "lag", "lead", "first_value", "last_value", "nth_value"}
    return name in positional or by_rows


def _is_windowed(node: exp.Expr) -> bool:
    parent = node.parent
    while isinstance(parent, exp.Filter | exp.IgnoreNulls):
        node, parent = parent, parent.parent
    return isinstance(parent, exp.Window) and parent.this is node


def _add_use(block: Block, table: exp.Expr, join: exp.Join | None, sources: Mapping[str, Source]) -> None:
    assert isinstance(table, exp.Table)
    alias = table.alias or table.name
    if any(use.alias.lower() == alias.lower() for use in block.uses):
        raise UnsupportedQuery(
            f"FROM … {alias}", "the name is used for two tables", "Give each its own name with AS", line=line_of(table)
        )
    if join is not None and join.side == "RIGHT":
        _turn_right_join(block, table, alias, join, sources)
        return
    if table.name not in sources:
        raise UnsupportedQuery(
            f"FROM {alias}",
            "it names a WITH that stands after it, or itself",
            "Put each WITH before those that read it",
            line=line_of(table),
        )
    optional = join is not None and join.side == "LEFT"
    block.uses.append(Use(alias, sources[table.name], table, join, optional))


def _turn_right_join(block: Block, table: exp.Table, alias: str, join: exp.Join, sources: Mapping[str, Source]) -> None:
    """`A RIGHT JOIN B ON c` is `B LEFT JOIN A ON c`; the names of columns are written out, so their order is free."""
    if len(block.uses) != 1 or join.args.get("using"):
        raise UnsupportedQuery(
            "RIGHT JOIN",
            "it follows other joins, or has USING",
            f"Begin the FROM clause with {alias} and write LEFT JOIN … ON for the tables before it",
            line=line_of(join),
        )
    left = block.uses[0]
    turned = exp.Join(this=left.table.copy(), side="LEFT", on=join.args["on"].copy())
    root = Use(alias, sources[table.name], table, None, False)
    optional = Use(left.alias, left.source, turned.this, turned, True)
    joins = block.select.args["joins"]
    block.select.set("from_", exp.From(this=table.copy()))
    block.select.set("joins", [turned, *(other for other in joins if other is not join)])
    block.uses[:] = [root, optional]


def _expand_using(block: Block) -> None:
    """USING (x) becomes ON left.x = right.x, where left is the first table that has x."""
    for position, use in enumerate(block.uses):
        names = use.join.args.get("using") if use.join is not None else None
        if not names or use.join is None:
            continue
        conditions: list[exp.Expr] = []
        for identifier in names:
            left = next((other for other in block.uses[:position] if other.source.column(identifier.name)), None)
            if left is None or use.source.column(identifier.name) is None:
                raise UnsupportedQuery(
                    f"USING ({identifier.name})",
                    f"not both sides have a column '{identifier.name}'",
                    "Write the condition with ON",
                    line=line_of(identifier),
                )
            conditions.append(exp.EQ(this=left.column(identifier.name), expression=use.column(identifier.name)))
        use.merged = frozenset(identifier.name.lower() for identifier in names)
        use.join.set("using", None)
        use.join.set("on", exp.and_(*conditions, copy=False))


def _expand_output_names(block: Block, clause: exp.Expr | None, outputs: dict[str, exp.Expr], *, is_group: bool) -> None:
    if clause is None:
        return
    if is_group:
        for item in list(clause.expressions):
            if isinstance(item, exp.Literal) and not item.is_string and item.name.isdigit():
                output = _output_at(block, item)
                item.replace(output.this.copy() if isinstance(output, exp.Alias) else output.copy())
    everywhere = (node for node in block.own_nodes(clause) if isinstance(node, exp.Column))
    alone = (item for item in clause.expressions if isinstance(item, exp.Column)) if is_group else ()
    for node in list(everywhere if block.dialect.knows_outputs_everywhere else alone):
        meant = outputs.get(node.name.lower())
        if not node.table and meant is not None and not any(use.source.column(node.name) for use in block.uses):
            copy = meant.copy()
            node.replace(copy if isinstance(copy, exp.Column | exp.Func) else exp.paren(copy, copy=False))


def _output_at(block: Block, item: exp.Literal) -> exp.Expr:
    index = int(item.name)
    if not 1 <= index <= len(block.select.expressions):
        raise UnsupportedQuery(
            f"GROUP BY {index}", f"there are {len(block.select.expressions)} columns", "Name the column instead"
        )
    output: exp.Expr = block.select.expressions[index - 1]
    return output


def _resolve(block: Block, column: exp.Column) -> None:
    around: Block | None = block
    while around is not None:
        uses = [
            use
            for use in around.uses
            if (not column.table or use.alias.lower() == column.table.lower()) and _has(block, use, column.name)
        ]
        if not column.table:
            uses = [use for use in uses if column.name.lower() not in use.merged]
        if len(uses) > 1:
            raise UnsupportedQuery(
                f"column {column.name}",
                f"both {uses[0].alias} and {uses[1].alias} have it",
                f"Write {uses[0].alias}.{column.name} or {uses[1].alias}.{column.name}",
                line=line_of(column),
            )
        if uses:
            found = uses[0].source.column(column.name)
            assert found is not None
            name = exp.to_identifier(found.name, quoted=True)
            name.meta.update(column.this.meta)
            column.set("table", exp.to_identifier(uses[0].alias, quoted=True))
            column.set("db", None)
            column.set("this", name)
            return
        around = around.parent
    raise _unknown_column(block, column)


def _has(block: Block, use: Use, name: str) -> bool:
    found = use.source.column(name)
    return found is not None and block.dialect.spells(name, found.name)


def _unknown_column(block: Block, column: exp.Column) -> UnsupportedQuery:
    known: list[str] = []
    around: Block | None = block
    while around is not None:
        for use in around.uses:
            if not column.table or use.alias.lower() == column.table.lower():
                known += [block.dialect.written(found.name) for found in use.source.columns]
        around = around.parent
    near = get_close_matches(column.name, known, 1)
    if column.table and not known:
        return UnsupportedQuery(
            f"column {column.table}.{column.name}",
            f"no table of this query is called '{column.table}'",
            "Use the name that follows AS in the FROM clause",
            line=line_of(column),
        )
    hint = f"Did you mean '{near[0]}'?" if near else f"There are: {', '.join(known) or 'none'}"
    return UnsupportedQuery(
        f"column {column.sql()}", "there is no such column in the tables of this query", hint, line=line_of(column)
    )
