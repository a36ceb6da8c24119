"""View SQL in, plans of SQL statements out.

Pure. An inner SELECT (derived table, CTE, branch of a compound) becomes a hidden view of its own, kept by its own plan, so that
every plan is about one flat SELECT, or a compound of flat ones. See MAINTENANCE in docs/ for why this is exact.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlglot import exp

from syncline.errors import Fault, InvalidDefinition, UnsupportedQuery
from syncline.messages import Column
from syncline.read.maintain import graph, keys, partition
from syncline.read.maintain.parse import Parsed, parse, placeholder, to_sql
from syncline.read.maintain.partition import WHOLE, Partition
from syncline.read.maintain.plan import DELTA, KEYS, Index, ViewPlan, Walk, without_prefixes
from syncline.read.maintain.query import Block, Use, build_block, folds, is_aggregate, line_of, may_fail, split_and
from syncline.read.maintain.refuse import order_dependent_windows, refuse_block, refuse_inexact, refuse_tree
from syncline.read.maintain.schema import Catalog, Classes, Source, affinity
from syncline.read.maintain.values import Kind, as_column, collation_of, has_column_collation, kind_of
from syncline.read.view import View


def compile_view(view: View, catalog: Catalog) -> list[ViewPlan]:
    """The plans that keep `view` exact: hidden ones for its inner SELECTs first, its own last.

    Raises UnsupportedQuery, with the line in the view's file, when no plan can; never returns a plan that is only nearly right.
    """
    try:
        return _Compiler(view, parse(view.sql, catalog)).compile()
    except UnsupportedQuery as error:
        line = view.first_line + max(error.line, 1) - 1
        raise UnsupportedQuery(error.clause, error.reason, error.rewrite, line=line, file=view.file) from error


_ROWS = "syncline_rows"
"""The name of a block's hidden inner rows in its FROM."""


@dataclass(slots=True)
class _Branch:
    """One SELECT of a (compound) query, with the P by which it is restricted."""

    block: Block
    edges: list[graph.Edge]
    partition: Partition


class _Compiler:
    """The plans made so far of one view, and the sources its trees may name."""

    def __init__(self, view: View, parsed: Parsed) -> None:
        self.view = view
        self.parsed = parsed
        self.sources: dict[str, Source] = dict(parsed.sources)
        self.plans: list[ViewPlan] = []
        self.hidden = 0

    def compile(self) -> list[ViewPlan]:
        refuse_tree(self.parsed.tree)
        self._plan(self.parsed.tree, self.view.name, self.view.key, hidden=False)
        if self.view.whole and len(self.plans) > 1:
            raise UnsupportedQuery(
                "recompute: whole", "the view has inner SELECTs of its own", "Put each into a view of its own", line=0
            )
        return self.plans

    # -- inner SELECTs become hidden views ---------------------------------------------------------------------------

    def _plan(self, query: exp.Query, name: str, key: tuple[str, ...], *, hidden: bool) -> ViewPlan:
        inner = query.unnest() if isinstance(query, exp.Subquery) else query
        assert isinstance(inner, exp.Query)
        query = inner
        self._hoist_ctes(query)
        selects = _flat_selects(query)
        for select in selects:
            self._hoist_derived(select)
        definition = to_sql(query) if hidden else self.parsed.text
        if len(selects) == 1:
            plan = self._plan_select(selects[0], name, key, definition, hidden=hidden)
        else:
            plan = self._plan_compound(query, selects, name, key, definition, hidden=hidden)
        self.plans.append(plan)
        return plan

    def _hide(self, query: exp.Query) -> ViewPlan:
        """Plans an inner SELECT as a hidden view and makes it a source."""
        self.hidden += 1
        plan = self._plan(query, f"{self.view.name}__{self.hidden}", (), hidden=True)
        self.sources[placeholder(plan.name)] = plan.as_source()
        return plan

    def _hoist_ctes(self, query: exp.Query) -> None:
        with_ = query.args.get("with_")
        if with_ is None:
            return
        query.set("with_", None)
        for position, cte in enumerate(with_.expressions):
            _refuse_column_list(cte)
            later = [other.this for other in with_.expressions[position + 1 :]]
            references = [
                table
                for tree in (query, *later)
                for table in tree.find_all(exp.Table)
                if not table.db and table.name.lower() == cte.alias.lower()
            ]
            if references:
                plan = self._hide(cte.this)
                for table in references:
                    table.replace(_table(placeholder(plan.name), table.alias or table.name))

    def _hoist_derived(self, select: exp.Select) -> None:
        for inner in list(select.find_all(exp.Select)):
            if inner is not select and inner.args.get("with_") is not None:
                raise UnsupportedQuery("WITH inside a subquery", "it is not followed", "Move it to the top", line=line_of(inner))
        for node in list(select.find_all(exp.From, exp.Join)):
            derived = node.this
            if isinstance(derived, exp.Subquery):
                _refuse_column_list(derived)
                if not derived.alias:
                    raise UnsupportedQuery("FROM (SELECT …)", "it has no name", "Add AS name after it", line=line_of(derived))
                derived.replace(_table(placeholder(self._hide(derived.this).name), derived.alias))

    def _hoist_rows(self, block: Block) -> exp.Select:
        """Splits a block: its joined rows become a hidden view, and what is left groups or windows those."""
        inner = exp.Select(expressions=[])
        for part in ("from_", "joins", "where"):
            if (clause := block.select.args.get(part)) is not None:
                inner.set(part, [c.copy() for c in clause] if isinstance(clause, list) else clause.copy())
        outer = block.select
        outer.set("where", None)
        outer.set("joins", None)
        for output in list(outer.expressions):
            if isinstance(output, exp.Column):
                output.replace(exp.alias_(output.copy(), output.name, quoted=True))
        names: dict[str, str] = {}
        for column in _columns_of(block):
            name = names.setdefault(keys.attribute(column), f"c{len(names) + 1}")
            if len(names) > len(inner.expressions):
                inner.append("expressions", exp.alias_(column.copy(), name, quoted=True))
            column.set("this", exp.to_identifier(name, quoted=True))
            column.set("table", exp.to_identifier(_ROWS, quoted=True))
        if not inner.expressions:
            inner.append("expressions", exp.alias_(exp.Literal.number(1), "c1", quoted=True))
        outer.set("from_", exp.From(this=_table(placeholder(self._hide(inner).name), _ROWS)))
        return outer

    # -- one SELECT --------------------------------------------------------------------------------------------------

    def _plan_select(self, select: exp.Select, name: str, key: tuple[str, ...], definition: str, *, hidden: bool) -> ViewPlan:
        block = self._build(select)
        if hidden:
            key = _add_key(block)
        outputs = _outputs(block, hidden=hidden)
        key = self._proven_key(block, outputs, key)
        edges = graph.edges_of(block)
        wanted = [outputs[column.lower()] for column in key]
        chosen = WHOLE if self.view.whole else partition.choose(block, edges, wanted)
        if chosen is None:
            if block.uses[0].alias == _ROWS:
                raise _no_partition(block)
            return self._plan_select(self._hoist_rows(block), name, key, definition, hidden=hidden)
        if chosen.owner is None and not self.view.whole:
            raise _refused_global(block)
        branch = _Branch(block, edges, chosen)
        stored = _stored_partition(branch, outputs)
        for column, expression in stored.items():
            if column not in outputs:
                block.select.append("expressions", exp.alias_(expression.copy(), column, quoted=True))
        plan = self._assemble([branch], _restricted(branch), name, key, tuple(stored), definition, hidden=hidden)
        return replace(plan, unique=_numbered_keys(block))

    def _build(self, select: exp.Select) -> Block:
        if select.args.get("from_") is None:
            raise UnsupportedQuery("SELECT without FROM", "it reads no relation", "Leave the view out", line=1)
        block = build_block(select, self.sources)
        for part in block.everything_below():
            refuse_block(part)
            _refuse_chance(part)
        return block

    def _proven_key(self, block: Block, outputs: dict[str, exp.Expr], key: tuple[str, ...]) -> tuple[str, ...]:
        if not key:
            return self._found_key(block, outputs)
        for column in key:
            if column.lower() not in outputs:
                raise InvalidDefinition([_no_such_key_column(self.view, column, list(outputs))])
        lacking = keys.missing(block, [outputs[column.lower()] for column in key])
        if lacking:
            raise UnsupportedQuery(
                f"key: {', '.join(key)}",
                "rows with the same key could differ in " + ", ".join(_plain(name) for name in lacking),
                "Add that to the SELECT and the key, join to at most one row (on a whole primary key), or GROUP BY the key",
                line=0,
            )
        return tuple(_spelling(block.select, column) for column in key)

    def _found_key(self, block: Block, outputs: dict[str, exp.Expr]) -> tuple[str, ...]:
        names: list[str] = []
        for expression in keys.row_identity(block):
            name = next((n for n, e in outputs.items() if keys.attribute(e) == keys.attribute(expression)), None)
            if name is None:
                raise UnsupportedQuery(
                    "key",
                    f"none is declared, and {_plain(to_sql(expression))}, which tells rows apart, is not selected",
                    f"Select it and add a line `-- key: {expression.name or '…'}` at the top",
                    line=0,
                )
            names.append(_spelling(block.select, name))
        if not names:
            names = [block.select.expressions[0].alias_or_name]
        return tuple(names)

    # -- UNION, INTERSECT, EXCEPT -----------------------------------------------------------------------------------

    def _plan_compound(
        self,
        query: exp.Query,
        selects: Sequence[exp.Select],
        name: str,
        key: tuple[str, ...],
        definition: str,
        *,
        hidden: bool,
    ) -> ViewPlan:
        names = [output.alias_or_name for output in selects[0].expressions]
        for select in selects:
            if len(select.expressions) != len(names):
                raise UnsupportedQuery(
                    "UNION", f"one SELECT has {len(names)} columns, another {len(select.expressions)}", "Select as many"
                )
            _name_outputs(select, names)
        blocks = [self._build(select) for select in selects]
        is_all = all(_keeps_duplicates(node) for node in query.find_all(exp.SetOperation))
        if hidden and is_all:
            key = self._add_branch_key(blocks)
            names += [column for column in key if column not in names]
        elif not key:
            key = tuple(names)
        outputs = [_outputs(block, hidden=True) for block in blocks]
        self._prove_compound(query, blocks, outputs, key, names, is_all=is_all)
        wanted = [c for c in key if not all(isinstance(o[c.lower()], exp.Literal | exp.Null) for o in outputs)]
        branches = [self._branch(block, wanted) for block in blocks]
        for column in names:
            _refuse_mixed_kinds(column, branches, keeps_all=is_all)
        tree = query.copy()
        for select, branch in zip(_flat_selects(tree), branches, strict=True):
            if select is tree:
                raise AssertionError("a compound has several selects")
            select.replace(_restricted(branch))
        key = tuple(next(n for n in names if n.lower() == column.lower()) for column in key)
        return self._assemble(branches, tree, name, key, tuple(wanted), definition, hidden=hidden)

    def _branch(self, block: Block, wanted: Sequence[str]) -> _Branch:
        """The branch restricted by exactly the wanted outputs, through a hidden view if it cannot be as it stands."""
        if self.view.whole or not wanted:
            return _Branch(block, graph.edges_of(block), WHOLE)
        edges = graph.edges_of(block)
        outputs = _outputs(block, hidden=True)
        chosen = partition.exactly(block, edges, [outputs[column.lower()] for column in wanted])
        if chosen is None:
            names = [output.alias for output in block.select.expressions]
            source = self._hide(block.select.copy())
            over = exp.Select(
                expressions=[exp.alias_(exp.column(exp.to_identifier(n, quoted=True)), n, quoted=True) for n in names]
            )
            over.set("from_", exp.From(this=_table(placeholder(source.name), _ROWS)))
            return self._branch(self._build(over), wanted)
        return _Branch(block, edges, chosen)

    def _add_branch_key(self, blocks: Sequence[Block]) -> tuple[str, ...]:
        """A key for a hidden UNION ALL: the branch's number, and each branch's own key, padded with NULL."""
        identities = [keys.row_identity(block) for block in blocks]
        width = max(len(identity) for identity in identities)
        names = ["syncline_branch", *(f"syncline_k{position}" for position in range(1, width + 1))]
        for number, (block, identity) in enumerate(zip(blocks, identities, strict=True), 1):
            padding = [exp.Null() for _ in range(width - len(identity))]
            for column, expression in zip(names, [exp.Literal.number(number), *identity, *padding], strict=True):
                block.select.append("expressions", exp.alias_(expression.copy(), column, quoted=True))
        return tuple(names)

    def _prove_compound(
        self,
        query: exp.Query,
        blocks: Sequence[Block],
        outputs: Sequence[dict[str, exp.Expr]],
        key: tuple[str, ...],
        names: Sequence[str],
        *,
        is_all: bool,
    ) -> None:
        for column in key:
            if column.lower() not in outputs[0]:
                raise InvalidDefinition([_no_such_key_column(self.view, column, names)])
        wanted = [column.lower() for column in key]
        if not is_all:
            if any(_keeps_duplicates(node) for node in query.find_all(exp.SetOperation)):
                raise UnsupportedQuery(
                    "UNION ALL", "it is mixed with another set operation", "Put one of them into a view of its own"
                )
            only_fewer = not any(isinstance(node, exp.Union) for node in query.find_all(exp.SetOperation))
            if set(wanted) == {name.lower() for name in names}:
                return
            if only_fewer and keys.determines(blocks[0], [outputs[0][column] for column in wanted]):
                return
            raise UnsupportedQuery(
                f"key: {', '.join(key)}",
                "rows of a UNION, INTERSECT or EXCEPT are told apart by all their columns only",
                f"Write `-- key: {', '.join(names)}`",
                line=0,
            )
        literals = [
            column
            for column in wanted
            if len({to_sql(o[column]) for o in outputs if isinstance(o[column], exp.Literal)}) == len(blocks)
        ]
        lacking = [lack for block, o in zip(blocks, outputs, strict=True) for lack in keys.missing(block, [o[c] for c in wanted])]
        if not literals or lacking:
            raise UnsupportedQuery(
                f"key: {', '.join(key)}",
                "rows of two branches of UNION ALL could have the same key"
                if not literals
                else "rows of one branch could have the same key: it lacks " + ", ".join(map(_plain, lacking)),
                "Select a literal that differs in each branch ('a' AS kind), and put it and each branch's key into the key",
                line=0,
            )

    # -- the plan ------------------------------------------------------------------------------------------------------

    def _assemble(
        self,
        branches: Sequence[_Branch],
        recompute: exp.Query,
        name: str,
        key: tuple[str, ...],
        stored: tuple[str, ...],
        definition: str,
        *,
        hidden: bool,
    ) -> ViewPlan:
        first = branches[0]
        columns = tuple(
            _output_column(first.block, output, all_not_null=len(branches) == 1) for output in first.block.select.expressions
        )
        visible = tuple(column.name for column in columns if hidden or not column.name.startswith("syncline_"))
        reads = {use.source.id: None for b in branches for part in b.block.everything_below() for use in part.uses}
        walks = [walk for branch in branches for walk in _walks(branch)]
        table_keys = {source.id: source.key for source in self.sources.values()}
        indexes = [index for branch in branches for index in _indexes(branch)]
        own = [tuple(_spelling(first.block.select, c) for c in columns_) for columns_ in self.view.indexes if not hidden]
        if stored and stored != key[: len(stored)]:
            own.insert(0, stored)
        return ViewPlan(
            name=name,
            key=key,
            columns=columns,
            visible=visible,
            partition=tuple(_partition_columns(branches)),
            partition_columns=stored,
            reads=tuple(reads),
            columns_read=_columns_read(branches),
            walks=tuple(dict.fromkeys(walks)),
            recompute=to_sql(recompute),
            all_keys=" UNION ".join(_all_keys(branch) for branch in branches),
            definition=definition,
            indexes=without_prefixes(indexes, table_keys),
            own_indexes=tuple(dict.fromkeys(own)),
            is_rowid_key=all(_is_rowid_key(branch.block, key) for branch in branches),
            values=_values(branches),
            is_hidden=hidden,
            warnings=tuple(_warnings(branches)),
        )


def _columns_read(branches: Sequence[_Branch]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    used: dict[str, set[str]] = {}
    for branch in branches:
        for part in branch.block.everything_below():
            for node in part.own_nodes():
                if isinstance(node, exp.Column):
                    used.setdefault(part.use_of(node).source.id, set()).add(node.name)
    return tuple((source, tuple(sorted(names))) for source, names in sorted(used.items()))


def _flat_selects(query: exp.Query) -> list[exp.Select]:
    """The SELECTs of a compound, in order; one for a plain SELECT."""
    if isinstance(query, exp.Select):
        return [query]
    if isinstance(query, exp.SetOperation):
        right = query.expression
        if isinstance(right, exp.SetOperation | exp.Subquery):
            raise UnsupportedQuery("UNION ( … )", "parentheses in a compound", "Put the inner one into a view of its own")
        return [*_flat_selects(query.this), *_flat_selects(right)]
    raise UnsupportedQuery(
        query.key.upper(), "it is not a SELECT", "Keep constant rows as a table of a service", line=line_of(query)
    )


def _table(name: str, alias: str) -> exp.Expr:
    return exp.alias_(exp.Table(this=exp.to_identifier(name, quoted=True)), alias, table=True, quoted=True)


def _refuse_column_list(node: exp.Expr) -> None:
    alias = node.args.get("alias")
    if alias is not None and alias.args.get("columns"):
        raise UnsupportedQuery("AS name(columns)", "columns are renamed there", "Name them with AS in the inner SELECT")


def _keeps_duplicates(node: exp.SetOperation) -> bool:
    return isinstance(node, exp.Union) and not node.args.get("distinct")


def _columns_of(block: Block) -> list[exp.Column]:
    """Every column of the block's own tables that is read above its FROM and WHERE, in subqueries too."""
    found: list[exp.Column] = []
    for part in block.everything_below():
        clauses = [part.select] if part is not block else _upper_clauses(block.select)
        if part is not block and _is_below_where(part, block):
            continue
        for clause in clauses:
            for column in part.own_nodes(clause):
                if isinstance(column, exp.Column) and part.use_of(column) in block.uses:
                    found.append(column)
    return found


def _is_below_where(part: Block, block: Block) -> bool:
    node = part.select.parent
    while node is not None and node is not block.select:
        if isinstance(node, exp.Where | exp.Join) and node.parent is block.select:
            return True
        node = node.parent
    return False


def _upper_clauses(select: exp.Select) -> list[exp.Expr]:
    return [*select.expressions, *(select.args[c] for c in ("group", "having") if select.args.get(c) is not None)]


def _outputs(block: Block, *, hidden: bool) -> dict[str, exp.Expr]:
    """Each output's expression by its name in lower case. Raises for outputs without a name of their own."""
    outputs: dict[str, exp.Expr] = {}
    for position, output in enumerate(block.select.expressions, 1):
        name = output.alias_or_name if isinstance(output, exp.Alias | exp.Column) else ""
        if not name:
            raise UnsupportedQuery(
                f"column {position} ({_plain(to_sql(output))})", "it has no name", "Add AS name", line=line_of(output)
            )
        if name.lower() in outputs:
            raise UnsupportedQuery(f"AS {name}", "two columns have this name", "Rename one with AS", line=line_of(output))
        if name.lower().startswith("syncline_") and not hidden:
            raise UnsupportedQuery(f"AS {name}", "names that begin with syncline_ are taken", "Rename it")
        outputs[name.lower()] = output.unalias()
    return outputs


def _name_outputs(select: exp.Select, names: Sequence[str]) -> None:
    """A compound's columns have the names of its first SELECT."""
    for output, name in zip(list(select.expressions), names, strict=True):
        output.replace(exp.alias_(output.unalias().copy(), name, quoted=True))


def _add_key(block: Block) -> tuple[str, ...]:
    """Selects what tells a hidden view's rows apart, and names it as the key."""
    key: list[str] = []
    for expression in keys.row_identity(block):
        known = (o for o in block.select.expressions if keys.attribute(o) == keys.attribute(expression))
        output = next(known, None)
        if output is None:
            output = exp.alias_(expression.copy(), f"syncline_k{len(key) + 1}", quoted=True)
            block.select.append("expressions", output)
        key.append(output.alias_or_name)
    return tuple(key)


def _stored_partition(branch: _Branch, outputs: dict[str, exp.Expr]) -> dict[str, exp.Expr]:
    """The stored column that holds each part of P: an output that equals it, or a hidden column added for it."""
    stored: dict[str, exp.Expr] = {}
    for expression in branch.partition.expressions:
        alike = {keys.attribute(expression)} | {
            keys.attribute(other) for _, other in partition.equals(branch.block, branch.edges, expression)
        }
        found = next((name for name, output in outputs.items() if keys.attribute(output) in alike), None)
        name = _spelling(branch.block.select, found) if found else f"syncline_p{len(stored) + 1}"
        stored[name] = expression
    return stored


def _spelling(select: exp.Select, name: str) -> str:
    """The output's name as it is written in SELECT."""
    names = (output.alias_or_name for output in select.expressions)
    found = next((other for other in names if other.lower() == name.lower()), None)
    if found is None:
        raise UnsupportedQuery(f"index: {name}", "the view has no such column", "Name columns that it selects", line=0)
    return str(found)


def _restricted(branch: _Branch) -> exp.Select:
    """The branch's own SELECT, read only for the partition keys in the view's table of keys.

    Inner joins are put in the order in which equalities lead from the owner, with CROSS JOIN, which SQLite's planner
    keeps (https://sqlite.org/optoverview.html#crossjoin): left to itself it may begin by scanning a mirror.
    """
    select = branch.block.select.copy()
    owner = branch.partition.owner
    if owner is None:
        return select
    _turn_memberships(branch.block, select)
    ordered = _join_order(branch, owner)
    conditions = [
        (exp.EQ if is_not_null else exp.NullSafeEQ)(
            this=expression.copy(), expression=exp.column(f"p{position}", table="syncline_keys")
        )
        for position, (expression, is_not_null) in enumerate(_partition_nullability(branch), 1)
    ]
    conditions += [
        part.copy()
        for use in branch.block.uses
        if use.join is not None and not use.joins_left and (part := use.join.args.get("on")) is not None
    ]
    where = select.args.get("where")
    if where is not None:
        conditions.append(where.this)
    select.set("from_", exp.From(this=_table(KEYS, "syncline_keys")))
    select.set("joins", [_join(use) for use in ordered])
    select.set("where", exp.Where(this=exp.and_(*conditions, copy=False)))
    for clause in list(select.find_all(exp.Where)):
        clause.set("this", exp.and_(*map(_guarded, split_and(clause.this)), copy=False))
    return select


def _guarded(condition: exp.Expr) -> exp.Expr:
    """`column = constant` as `(column = constant) IS TRUE`, so that SQLite does not put the constant in the place of the column.

    Where an index on an expression over that column is used, SQLite 3.40 then loses rows.
    """
    if isinstance(condition, exp.EQ) and not all(
        side.find(exp.Column, exp.Query) for side in (condition.this, condition.expression)
    ):
        return exp.Is(this=exp.paren(condition.copy(), copy=False), expression=exp.true())
    return condition.copy()


def _turn_memberships(block: Block, copy: exp.Select) -> None:
    """`x IN (SELECT y …)` as EXISTS (SELECT 1 … x = y): SQLite would read all of an IN that names nothing around it.

    Only where both say the same: where IN is an equality (`graph.is_equality`) by the collation that IN compares with.
    """
    copies = dict(zip(map(id, block.select.walk()), copy.walk(), strict=True))
    turned: list[tuple[exp.Expr, exp.Expr]] = []
    for part in block.everything_below():
        for child in part.children:
            membership = graph.membership_of(child)
            if (
                membership is None
                or not graph.is_equality(part, child, membership)
                or not _may_be_turned(part, child, membership)
            ):
                continue
            inner = copies[id(child.select)]
            assert isinstance(inner, exp.Select)
            equalities = [
                exp.EQ(this=copies[id(mine)].copy(), expression=copies[id(theirs)].copy())
                for mine, theirs in graph.pairs_of(child, membership)
            ]
            turned.append((copies[id(membership)], inner))
            where = inner.args.get("where")
            conditions = [*equalities, *([exp.paren(where.this, copy=False)] if where is not None else [])]
            inner.set("where", exp.Where(this=exp.and_(*conditions, copy=False)))
    for membership_copy, inner in reversed(turned):
        inner.set("expressions", [exp.Literal.number(1)])
        inner.set("distinct", None)
        membership_copy.replace(exp.Exists(this=inner.copy()))


def _may_be_turned(block: Block, child: Block, membership: exp.In) -> bool:
    pairs = graph.pairs_of(child, membership)
    names = {use.alias.lower() for use in child.uses}
    groups = {keys.attribute(group) for group in child.group_expressions()}
    for mine, theirs in pairs:
        is_shadowed = any(column.table.lower() in names for column in mine.find_all(exp.Column))
        is_alike = has_column_collation(mine) or collation_of(child, theirs) == "BINARY"
        is_of_rows = not folds(theirs) and (not child.is_grouped or keys.attribute(theirs) in groups)
        if is_shadowed or not is_alike or not is_of_rows or folds(mine):
            return False
    return True


def _join(use: Use) -> exp.Join:
    table = _table(use.table.name, use.alias)
    if use.joins_left and use.join is not None:
        on = use.join.args.get("on")
        return exp.Join(this=table, side="LEFT", on=on.copy() if on is not None else exp.true())
    return exp.Join(this=table, kind="CROSS")


def _join_order(branch: _Branch, owner: Use) -> list[Use]:
    placed = [owner]
    waiting = [use for use in branch.block.uses if use is not owner]
    while waiting:
        ready = [use for use in waiting if _needed_before(branch.block, use) <= set(placed)]
        linked = [u for u in ready if not u.joins_left and _edges_into(branch, u, placed)]
        inner = [use for use in ready if not use.joins_left]
        left = [use for use in ready if use.joins_left]
        following = (linked or left or inner)[0]
        placed.append(following)
        waiting.remove(following)
    return placed


def _needed_before(block: Block, use: Use) -> set[Use]:
    """The tables that the ON of a LEFT JOIN reads: they must stand before it. An inner join's ON goes to WHERE."""
    if not use.joins_left or use.join is None or use.join.args.get("on") is None:
        return set()
    return {found for _, found in block.columns_in(use.join.args["on"]) if found in block.uses} - {use}


def _edges_into(branch: _Branch, use: Use, placed: Sequence[Use]) -> list[graph.Edge]:
    opened = {use, *placed}
    return [e for e in branch.edges if e.far is use and e.near in placed and e.is_open(opened)]


def _partition_nullability(branch: _Branch) -> list[tuple[exp.Expr, bool]]:
    block = branch.block
    return [(e, isinstance(e, exp.Column) and block.column_of(e).not_null) for e in branch.partition.expressions]


def _partition_columns(branches: Sequence[_Branch]) -> list[Column]:
    nullability = zip(*(_partition_nullability(branch) for branch in branches), strict=True)
    return [
        as_column(branches[0].block, parts[0][0], f"p{position}", not_null=all(is_not_null for _, is_not_null in parts))
        for position, parts in enumerate(nullability, 1)
    ]


def _all_keys(branch: _Branch) -> str:
    owner = branch.partition.owner
    if owner is None:
        return "SELECT 1"
    select = exp.Select(expressions=[expression.copy() for expression in branch.partition.expressions])
    select.set("distinct", exp.Distinct())
    select.set("from_", exp.From(this=_table(owner.table.name, owner.alias)))
    return to_sql(select)


def _walks(branch: _Branch) -> list[Walk]:
    walks: list[Walk] = []
    for part in branch.block.everything_below():
        for use in part.uses:
            owner = branch.partition.owner
            if owner is None:
                walks.append(Walk(use.source.id, None, f'SELECT 1 FROM "{DELTA}" LIMIT 1', f"{use.alias} → everything"))
                continue
            path = graph.find_path(branch.edges, use, owner, branch.partition.expressions)
            if path is None:
                raise _no_path(branch.block, part, use, owner)
            sql = graph.walk_sql(path, DELTA)
            walks.append(Walk(use.source.id, sql.before, sql.after, sql.text))
    return walks


def _no_path(block: Block, part: Block, use: Use, owner: Use) -> UnsupportedQuery:
    advice = (
        f"Add an equality that leads from {use.alias} to {owner.alias}, or add `-- recompute: whole` at the top "
        "if the tables are small: every change then recomputes the view"
    )
    if part is not block:
        return UnsupportedQuery(
            f"subquery over {use.alias}",
            "no equality ties its rows to the rows around it, so one change could alter every row",
            advice,
            line=line_of(part.select),
        )
    return UnsupportedQuery(
        f"JOIN {use.alias}",
        f"no equality leads from it to {owner.alias}, so one change could alter every row",
        advice,
        line=line_of(use.join) or line_of(use.table),
    )


def _indexes(branch: _Branch) -> list[Index]:
    owner = branch.partition.owner
    if owner is None:
        return []
    wanted: list[Index] = []

    def add(use: Use, edges: Sequence[graph.Edge]) -> None:
        _refuse_failing([e for edge in edges for e in (edge.near_expression, edge.far_expression)])
        if terms := tuple(dict.fromkeys(edge.index_term for edge in edges)):
            wanted.append(Index(use.source.id, terms))

    block, parts = branch.block, list(branch.block.everything_below())
    _refuse_failing(branch.partition.expressions)
    terms = (graph.index_term(block, e, collation_of(block, e)) for e in branch.partition.expressions)
    wanted.append(Index(owner.source.id, tuple(dict.fromkeys(terms))))
    for use in (use for part in parts for use in part.uses):
        path = graph.find_path(branch.edges, use, owner, branch.partition.expressions)
        for hop in path.hops if path is not None else ():
            add(hop.use, hop.edges)
    placed: list[Use] = []
    for use in _join_order(branch, owner):
        add(use, _edges_into(branch, use, placed))
        placed.append(use)
    for part in parts[1:]:
        inside = set(part.uses)
        for use in part.uses:
            add(use, [e for e in branch.edges if e.far is use and e.near not in inside])
            add(use, [e for e in branch.edges if e.far is use and e.near in inside])
    return wanted


def _refuse_failing(expressions: Sequence[exp.Expr]) -> None:
    """What affected keys are found by must not fail, or one bad value would stop the whole read store."""
    for expression in expressions:
        if may_fail(expression):
            raise UnsupportedQuery(
                _plain(to_sql(expression)),
                "rows are grouped or joined by it, and it fails for some values, for example malformed JSON",
                "Compute it in an inner SELECT, (SELECT key, … AS name FROM …) AS d, and use d.name: only such rows wait then",
                line=line_of(expression),
            )


def _output_column(block: Block, output: exp.Expr, *, all_not_null: bool) -> Column:
    expression = output.unalias()
    is_not_null = isinstance(expression, exp.Count | exp.Literal) or (
        isinstance(expression, exp.Window) and keys.is_row_number(expression)
    )
    if isinstance(expression, exp.Column):
        is_not_null = block.column_of(expression).not_null and not block.use_of(expression).is_optional and all_not_null
    return as_column(block, output, output.alias_or_name, not_null=is_not_null)


def _values(branches: Sequence[_Branch]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """What each stored column may hold, as a source that other queries read."""
    first = branches[0].block.select.expressions
    found: list[tuple[str, tuple[str, ...]]] = []
    for position, output in enumerate(first):
        each = [kind_of(branch.block, branch.block.select.expressions[position]).classes for branch in branches]
        found.append((output.alias_or_name, tuple(sorted(frozenset[str]().union(*each)))))
    return tuple(found)


def _numbered_keys(block: Block) -> tuple[tuple[str, ...], ...]:
    """Further keys of a block that numbers its rows: each ROW_NUMBER with the columns it is partitioned by."""
    names = {keys.attribute(output): output.alias_or_name for output in block.select.expressions}
    found: list[tuple[str, ...]] = []
    for window in block.windows():
        parts = [keys.attribute(part) for part in (*window.args["partition_by"], window)]
        if keys.is_row_number(window) and all(part in names for part in parts):
            found.append(tuple(names[part] for part in parts))
    return tuple(found)


def _is_rowid_key(block: Block, key: tuple[str, ...]) -> bool:
    if len(key) != 1:
        return False
    output = next(o for o in block.select.expressions if o.alias_or_name.lower() == key[0].lower())
    expression = output.unalias()
    if not isinstance(expression, exp.Column):
        return False
    use = block.use_of(expression)
    own = use.source.is_rowid_key and expression.name.lower() == use.source.key[0].lower()
    return own and not use.is_optional and block.parent is None


def _refuse_chance(block: Block) -> None:
    """Refuses values that SQLite picks from an arbitrary row: bare columns beside GROUP BY, and ties in a window."""
    groups = block.group_expressions()
    if block.is_grouped:
        outputs = () if block.is_existence else block.select.expressions
        for clause in (*outputs, block.select.args.get("having")):
            for column in _outside_aggregates(block, clause, groups):
                if not keys.is_determined(block, column, groups):
                    raise UnsupportedQuery(
                        _plain(column.sql("sqlite")),
                        "it is neither grouped nor aggregated, so its value would come from any row of the group",
                        f"Add it to GROUP BY, or write MAX({column.name})",
                        line=line_of(column),
                    )
    for window in order_dependent_windows(block):
        order = window.args.get("order")
        by = [ordered.this for ordered in order.expressions] if order is not None else []
        lacking = keys.missing(block, [*window.args["partition_by"], *by]) if not block.is_distinct else []
        if lacking:
            raise UnsupportedQuery(
                f"{window.this.sql('sqlite')} OVER ( … ORDER BY … )",
                "rows that tie in its ORDER BY would be numbered by chance",
                f"Add {', '.join(_plain(name.removeprefix('GROUP BY ')) for name in lacking)} at the end of its ORDER BY",
                line=line_of(window),
            )


def _outside_aggregates(block: Block, clause: exp.Expr | None, groups: Sequence[exp.Expr]) -> list[exp.Column]:
    """The block's columns that are read for a group as a whole, in subqueries too."""
    if clause is None:
        return []
    known = {keys.attribute(group) for group in groups}
    found: list[exp.Column] = []

    def stop(node: exp.Expr) -> bool:
        return isinstance(node, exp.Query) or keys.attribute(node) in known or is_aggregate(node) and not _over(node)

    for node in clause.walk(prune=stop):
        if keys.attribute(node) in known or _within_aggregate(node, clause):
            continue
        if isinstance(node, exp.Column):
            found.append(node)
        elif isinstance(node, exp.Query):
            columns = block.columns_in(node)
            found += [c for c, use in columns if use in block.uses and keys.attribute(c) not in known]
    return found


def _over(node: exp.Expr) -> bool:
    return isinstance(node.parent, exp.Window) and node.parent.this is node


def _within_aggregate(node: exp.Expr, clause: exp.Expr) -> bool:
    at = node.parent
    while at is not None and at is not clause.parent:
        if isinstance(at, exp.Filter) or (is_aggregate(at) and not _over(at)):
            return True
        at = at.parent
    return False


def _no_partition(block: Block) -> UnsupportedQuery:
    first = next(iter([*block.group_expressions(), *block.windows()]), block.select)
    return UnsupportedQuery(
        f"{_plain(to_sql(first))}",
        "groups are told apart by it, and no column of one row gives it",
        "Leave constants out of GROUP BY, DISTINCT and PARTITION BY, and compute subqueries in an inner SELECT",
        line=line_of(first),
    )


def _refused_global(block: Block) -> UnsupportedQuery:
    return UnsupportedQuery(
        "aggregate without GROUP BY",
        "every change would recompute it from all rows",
        "Add GROUP BY, or add `-- recompute: whole` at the top if the tables are small",
        line=line_of(block.select),
    )


def _refuse_mixed_kinds(name: str, branches: Sequence[_Branch], *, keeps_all: bool) -> None:
    kinds: dict[tuple[str, str], str] = {}
    classes: Classes = frozenset()
    for branch in branches:
        output = next(o for o in branch.block.select.expressions if o.alias_or_name.lower() == name.lower())
        kind = kind_of(branch.block, output)
        classes |= kind.classes
        if not keeps_all:
            refuse_inexact(branch.block, output, "UNION, INTERSECT or EXCEPT of")
        if not isinstance(output.unalias(), exp.Null):
            is_typed = affinity(kind.declared_type) != "BLOB"
            shown = kind.declared_type or "an expression"
            kinds[affinity(kind.declared_type), kind.collation] = shown if is_typed or not kind.declared_type else "BLOB"
    line = line_of(branches[-1].block.select)
    if len(kinds) > 1:
        raise UnsupportedQuery(
            f"column {name} of the compound",
            f"the SELECTs give it different types or collations: {' and '.join(sorted(kinds.values()))}",
            f"Write CAST({name} AS TEXT) (or INTEGER, REAL) in each",
            line=line,
        )
    if not keeps_all and not Kind("", "BINARY", classes).is_exact:
        raise UnsupportedQuery(
            f"column {name} of the compound",
            "it may hold 1 and 1.0, which are equal and differ, and which one is shown would be chance",
            f"Write CAST({name} AS INTEGER) (or REAL, TEXT) in each",
            line=line,
        )


def _warnings(branches: Sequence[_Branch]) -> list[str]:
    warnings: list[str] = []
    for branch in branches:
        many = [use for use in branch.block.uses if use.join is not None and not _joins_one(branch.block, use)]
        sums = [node for node in branch.block.aggregates() if isinstance(node, exp.Sum | exp.Avg | exp.Count)]
        if len(many) > 1 and sums:
            names = ", ".join(use.alias for use in many)
            warnings.append(
                f"several rows of each of {names} may join to one row, so {to_sql(sums[0])} may count a row more than "
                "once: aggregate each in its own subquery"
            )
    return warnings


def _joins_one(block: Block, use: Use) -> bool:
    others = [other.column(column.name) for other in block.uses if other is not use for column in other.source.columns]
    return all(keys.is_determined(block, use.column(name), others) for name in use.source.key)


def _no_such_key_column(view: View, column: str, names: Sequence[str]) -> Fault:
    return Fault(
        view.file, 1, f"key: {column}: the view has no such column. It selects: {', '.join(names)}. Select it, or name another"
    )


def _plain(sql: str) -> str:
    return sql.replace('"', "")
