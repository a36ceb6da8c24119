"""View SQL in, plans of SQL statements out.

Pure. An inner SELECT (derived table, CTE, branch of a compound) becomes a hidden view of its own, kept by its own plan, so that
every plan is about one flat SELECT, or a compound of flat ones. See MAINTENANCE in docs/ for why this is exact.
"""

from collections.abc import Sequence
from dataclasses import replace

from sqlglot import exp

from syncline.errors import Fault, InvalidDefinition, UnsupportedQuery
from syncline.read.maintain import graph, keys, partition
from syncline.read.maintain.affected import all_keys, indexes_of, partition_columns, walks_of
from syncline.read.maintain.chance import refuse_chance
from syncline.read.maintain.compound import add_branch_key, keeps_duplicates, name_outputs, prove_compound, refuse_mixed_kinds
from syncline.read.maintain.dialect import Dialect
from syncline.read.maintain.dialects import DIALECTS
from syncline.read.maintain.inner import ROWS, flat_selects, refuse_column_list, split_rows, table_as
from syncline.read.maintain.parse import Parsed, parse, placeholder, plain
from syncline.read.maintain.partition import WHOLE
from syncline.read.maintain.plan import ViewPlan, without_prefixes
from syncline.read.maintain.query import Block, Use, build_block, line_of
from syncline.read.maintain.refuse import refuse_block, refuse_tree
from syncline.read.maintain.restriction import Branch, restricted
from syncline.read.maintain.schema import Catalog, Source
from syncline.read.maintain.stored import (
    add_key,
    columns_read,
    is_rowid_key,
    numbered_keys,
    output_column,
    outputs_of,
    spelling,
    stored_partition,
    values_of,
)
from syncline.read.maintain.values import kind_of
from syncline.read.view import View


def compile_view(view: View, catalog: Catalog) -> list[ViewPlan]:
    """The plans that keep `view` exact: hidden ones for its inner SELECTs first, its own last.

    Raises UnsupportedQuery, with the line in the view's file, when no plan can; never returns a plan that is only nearly right.
    """
    dialect = DIALECTS[catalog.dialect]
    try:
        return _Compiler(view, parse(view.sql, catalog, dialect), dialect).compile()
    except InvalidDefinition as error:
        if not isinstance(error, UnsupportedQuery):
            raise
        line = view.first_line + max(error.line, 1) - 1
        raise UnsupportedQuery(error.clause, error.reason, error.rewrite, line=line, file=view.file) from error


class _Compiler:
    """The plans made so far of one view, and the sources its trees may name."""

    def __init__(self, view: View, parsed: Parsed, dialect: Dialect) -> None:
        self.view = view
        self.parsed = parsed
        self.dialect = dialect
        self.sources: dict[str, Source] = dict(parsed.sources)
        self.plans: list[ViewPlan] = []
        self.hidden = 0

    def compile(self) -> list[ViewPlan]:
        refuse_tree(self.parsed.tree, self.dialect)
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
        selects = flat_selects(query)
        for select in selects:
            self._hoist_derived(select)
        definition = self.dialect.sql(query) if hidden else self.parsed.text
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
            refuse_column_list(cte)
            later = [other.this for other in with_.expressions[position + 1 :]]
            references = [
                table
                for tree in (query, *later)
                for table in tree.find_all(exp.Table)
                if not table.db and table.name.lower() == cte.alias.lower()
            ]
            if not references:
                raise UnsupportedQuery(f"WITH {cte.alias}", "nothing reads it", "Leave it out", line=line_of(cte))
            plan = self._hide(cte.this)
            for table in references:
                table.replace(table_as(placeholder(plan.name), table.alias or table.name))

    def _hoist_derived(self, select: exp.Select) -> None:
        for inner in list(select.find_all(exp.Query)):
            if inner is not select and inner.args.get("with_") is not None:
                raise UnsupportedQuery("WITH inside a subquery", "it is not followed", "Move it to the top", line=line_of(inner))
        for node in list(select.find_all(exp.From, exp.Join)):
            derived = node.this
            if isinstance(derived, exp.Subquery):
                refuse_column_list(derived)
                if not derived.alias:
                    raise UnsupportedQuery("FROM (SELECT …)", "it has no name", "Add AS name after it", line=line_of(derived))
                derived.replace(table_as(placeholder(self._hide(derived.this).name), derived.alias))

    def _over_rows(self, block: Block) -> exp.Select:
        """The block over a hidden view that holds its joined rows."""
        outer = block.select
        rows = self._hide(split_rows(block))
        outer.set("from_", exp.From(this=table_as(placeholder(rows.name), ROWS)))
        return outer

    # -- one SELECT --------------------------------------------------------------------------------------------------

    def _plan_select(self, select: exp.Select, name: str, key: tuple[str, ...], definition: str, *, hidden: bool) -> ViewPlan:
        block, selected = self._build(select), len(select.expressions)
        if hidden:
            key = add_key(block)
        outputs = outputs_of(block, hidden=hidden)
        key = self._proven_key(block, outputs, key)
        edges = graph.edges_of(block)
        wanted = [outputs[column.lower()] for column in key]
        chosen = WHOLE if self.view.whole else partition.choose(block, edges, wanted)
        if chosen is None:
            if block.uses[0].alias == ROWS:
                raise _no_partition(block)
            return self._plan_select(self._over_rows(block), name, key, definition, hidden=hidden)
        if chosen.owner is None and not self.view.whole:
            raise _refused_global(block)
        branch = Branch(block, edges, chosen)
        stored = stored_partition(branch, outputs)
        for column, expression in stored.items():
            if column.lower() not in outputs:
                block.select.append("expressions", exp.alias_(expression.copy(), column, quoted=True))
        if hidden and len(select.expressions) > selected:
            definition = self.dialect.sql(select)
        plan = self._assemble([branch], restricted(branch), name, key, tuple(stored), definition, hidden=hidden)
        return replace(plan, unique=numbered_keys(block))

    def _build(self, select: exp.Select) -> Block:
        if select.args.get("from_") is None:
            raise UnsupportedQuery("SELECT without FROM", "it reads no relation", "Leave the view out", line=1)
        block = build_block(select, self.sources, self.dialect)
        for part in block.everything_below():
            refuse_block(part)
        for part in block.everything_below():
            refuse_chance(part)
        for part in block.everything_below():
            self.dialect.complete(part)
        return block

    def _proven_key(self, block: Block, outputs: dict[str, exp.Expr], key: tuple[str, ...]) -> tuple[str, ...]:
        if not key:
            return self._found_key(block, outputs)
        self._check_key(key, list(outputs))
        lacking = keys.missing(block, [outputs[column.lower()] for column in key])
        if lacking:
            raise UnsupportedQuery(
                f"key: {', '.join(key)}",
                "rows with the same key could differ in " + ", ".join(plain(name) for name in lacking),
                "Add that to the SELECT and the key, join to at most one row (on a whole primary key), or GROUP BY the key",
                line=0,
            )
        return tuple(spelling(block.select, column) for column in key)

    def _check_key(self, key: tuple[str, ...], names: Sequence[str]) -> None:
        known = {name.lower() for name in names}
        for column in key:
            if column.lower() not in known:
                message = (
                    f"key: {column}: the view has no such column. It selects: {', '.join(names)}. Select it, or name another"
                )
                raise InvalidDefinition([Fault(self.view.file, 1, message)])

    def _found_key(self, block: Block, outputs: dict[str, exp.Expr]) -> tuple[str, ...]:
        names: list[str] = []
        for expression in keys.row_identity(block):
            name = next((n for n, e in outputs.items() if keys.attribute(e) == keys.attribute(expression)), None)
            if name is None:
                raise UnsupportedQuery(
                    "key",
                    f"none is declared, and {plain(self.dialect.sql(expression))}, which tells rows apart, is not selected",
                    f"Select it and add a line `-- key: {expression.name or '…'}` at the top",
                    line=0,
                )
            names.append(spelling(block.select, name))
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
            name_outputs(select, names)
        blocks = [self._build(select) for select in selects]
        is_all = all(keeps_duplicates(node) for node in query.find_all(exp.SetOperation))
        if hidden and is_all:
            key = add_branch_key(blocks)
            names += [column for column in key if column not in names]
            definition = self.dialect.sql(query)
        elif not key:
            key = tuple(names)
        outputs = [outputs_of(block, hidden=True) for block in blocks]
        self._check_key(key, names)
        prove_compound(query, blocks, outputs, key, names, is_all=is_all)
        wanted = [c for c in key if not all(isinstance(o[c.lower()], exp.Literal | exp.Null) for o in outputs)]
        branches = [self._branch(block, wanted) for block in blocks]
        for column in names:
            refuse_mixed_kinds(column, branches, keeps_all=is_all)
        tree = query.copy()
        for select, branch in zip(flat_selects(tree), branches, strict=True):
            if select is tree:
                raise AssertionError("a compound has several selects")
            select.replace(restricted(branch))
        key = tuple(next(n for n in names if n.lower() == column.lower()) for column in key)
        return self._assemble(branches, tree, name, key, tuple(wanted), definition, hidden=hidden)

    def _branch(self, block: Block, wanted: Sequence[str]) -> Branch:
        """The branch restricted by exactly the wanted outputs, through a hidden view if it cannot be as it stands."""
        if self.view.whole or not wanted:
            return Branch(block, graph.edges_of(block), WHOLE)
        edges = graph.edges_of(block)
        outputs = outputs_of(block, hidden=True)
        chosen = partition.exactly(block, edges, [outputs[column.lower()] for column in wanted])
        if chosen is None:
            names = [output.alias for output in block.select.expressions]
            source = self._hide(block.select.copy())
            over = exp.Select(
                expressions=[exp.alias_(exp.column(exp.to_identifier(n, quoted=True)), n, quoted=True) for n in names]
            )
            over.set("from_", exp.From(this=table_as(placeholder(source.name), ROWS)))
            return self._branch(self._build(over), wanted)
        return Branch(block, edges, chosen)

    # -- the plan ------------------------------------------------------------------------------------------------------

    def _assemble(
        self,
        branches: Sequence[Branch],
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
            output_column(first.block, output, all_not_null=len(branches) == 1) for output in first.block.select.expressions
        )
        visible = tuple(column.name for column in columns if hidden or not column.name.startswith("syncline_"))
        reads = {use.source.id: None for b in branches for part in b.block.everything_below() for use in part.uses}
        walks = [walk for branch in branches for walk in walks_of(branch)]
        table_keys = {source.id: source.key for source in self.sources.values()}
        indexes = [index for branch in branches for index in indexes_of(branch)]
        own = [tuple(spelling(first.block.select, c) for c in columns_) for columns_ in self.view.indexes if not hidden]
        if stored and stored != key[: len(stored)]:
            own.insert(0, stored)
        return ViewPlan(
            name=name,
            key=key,
            columns=columns,
            visible=visible,
            partition=tuple(partition_columns(branches)),
            partition_columns=stored,
            reads=tuple(reads),
            columns_read=columns_read(branches),
            walks=tuple(dict.fromkeys(walks)),
            recompute=self.dialect.sql(recompute),
            all_keys=" UNION ".join(all_keys(branch) for branch in branches),
            definition=definition,
            indexes=without_prefixes(indexes, table_keys),
            own_indexes=tuple(dict.fromkeys(own)),
            is_rowid_key=all(is_rowid_key(branch.block, key) for branch in branches),
            values=values_of(branches),
            is_hidden=hidden,
            warnings=tuple(_warnings(branches)),
        )


def _no_partition(block: Block) -> UnsupportedQuery:
    first = next(iter([*block.group_expressions(), *block.windows()]), block.select)
    return UnsupportedQuery(
        plain(block.dialect.sql(first)),
        "groups are told apart by it, and no column of one row gives it",
        "Leave constants out of it (with none left: no GROUP BY, and `-- recompute: whole` at the top), and compute "
        "subqueries in an inner SELECT",
        line=line_of(first),
    )


def _refused_global(block: Block) -> UnsupportedQuery:
    return UnsupportedQuery(
        "aggregate without GROUP BY",
        "every change would recompute it from all rows",
        "Add GROUP BY, or add `-- recompute: whole` at the top if the tables are small",
        line=line_of(block.select),
    )


def _warnings(branches: Sequence[Branch]) -> list[str]:
    warnings: list[str] = []
    for branch in branches:
        shown = branch.block.dialect.sql
        many = [use for use in branch.block.uses if use.join is not None and not _joins_one(branch.block, use)]
        sums = [node for node in branch.block.aggregates() if isinstance(node, exp.Sum | exp.Avg | exp.Count)]
        if len(many) > 1 and sums:
            names = ", ".join(use.alias for use in many)
            warnings.append(
                f"several rows of each of {names} may join to one row, so {shown(sums[0])} may count a row more than "
                "once: aggregate each in its own subquery"
            )
        inexact = (node for node in branch.block.aggregates() if _adds_reals(branch.block, node))
        warnings += [
            f"{plain(shown(node))} may add REAL values: its last digits then depend on the order in which rows are read, "
            "so two computations of the same sum may differ there: add up whole numbers (cents) where that matters"
            for node in inexact
        ]
    return list(dict.fromkeys(warnings))


def _adds_reals(block: Block, node: exp.Expr) -> bool:
    is_sum = isinstance(node, exp.Sum | exp.Avg) or (isinstance(node, exp.Anonymous) and node.name.lower() == "total")
    argument = node.expressions[0] if isinstance(node, exp.Anonymous) and node.expressions else node.this
    if isinstance(argument, exp.Distinct):
        argument = argument.expressions[0]
    return is_sum and isinstance(argument, exp.Expr) and block.dialect.adds_by_order(kind_of(block, argument))


def _joins_one(block: Block, use: Use) -> bool:
    others = [other.column(column.name) for other in block.uses if other is not use for column in other.source.columns]
    return all(keys.is_determined(block, use.column(name), others) for name in use.source.key)
