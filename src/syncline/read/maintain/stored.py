"""What of a query's result is stored: its columns by name, how their values are kept, and the columns added to hold P and keys.

Pure.
"""

from collections.abc import Sequence

from sqlglot import exp

from syncline.errors import UnsupportedQuery
from syncline.messages import Column
from syncline.read.maintain import keys, partition
from syncline.read.maintain.parse import plain
from syncline.read.maintain.query import Block, line_of
from syncline.read.maintain.restriction import Branch
from syncline.read.maintain.values import as_column, kind_of


def outputs_of(block: Block, *, hidden: bool) -> dict[str, exp.Expr]:
    """Each output's expression by its name in lower case. Raises for outputs without a name of their own."""
    outputs: dict[str, exp.Expr] = {}
    for position, output in enumerate(block.select.expressions, 1):
        name = output.alias_or_name if isinstance(output, exp.Alias | exp.Column) else ""
        if not name:
            raise UnsupportedQuery(
                f"column {position} ({plain(block.dialect.sql(output))})", "it has no name", "Add AS name", line=line_of(output)
            )
        if name.lower() in outputs:
            raise UnsupportedQuery(f"AS {name}", "two columns have this name", "Rename one with AS", line=line_of(output))
        if name.lower().startswith("syncline_") and not hidden:
            raise UnsupportedQuery(f"AS {name}", "names that begin with syncline_ are taken", "Rename it")
        outputs[name.lower()] = output.unalias()
    return outputs


def spelling(select: exp.Select, name: str) -> str:
    """The output's name as it is written in SELECT."""
    names = (output.alias_or_name for output in select.expressions)
    found = next((other for other in names if other.lower() == name.lower()), None)
    if found is None:
        raise UnsupportedQuery(f"index: {name}", "the view has no such column", "Name columns that it selects", line=0)
    return str(found)


def add_key(block: Block) -> tuple[str, ...]:
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


def stored_partition(branch: Branch, outputs: dict[str, exp.Expr]) -> dict[str, exp.Expr]:
    """The stored column that holds each part of P: an output that equals it, or a hidden column added for it."""
    stored: dict[str, exp.Expr] = {}
    for expression in branch.partition.expressions:
        alike = {keys.attribute(expression)} | {
            keys.attribute(other) for _, other in partition.equals(branch.block, branch.edges, expression)
        }
        found = next((name for name, output in outputs.items() if keys.attribute(output) in alike), None)
        name = spelling(branch.block.select, found) if found else f"syncline_p{len(stored) + 1}"
        stored[name] = expression
    return stored


def output_column(block: Block, output: exp.Expr, *, all_not_null: bool) -> Column:
    expression = output.unalias()
    is_not_null = isinstance(expression, exp.Count | exp.Literal) or (
        isinstance(expression, exp.Window) and keys.is_row_number(expression)
    )
    if isinstance(expression, exp.Column):
        is_not_null = block.column_of(expression).not_null and not block.use_of(expression).is_optional and all_not_null
    return as_column(block, output, output.alias_or_name, not_null=is_not_null)


def columns_read(branches: Sequence[Branch]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    used: dict[str, set[str]] = {}
    for branch in branches:
        for part in branch.block.everything_below():
            for node in part.own_nodes():
                if isinstance(node, exp.Column):
                    used.setdefault(part.use_of(node).source.id, set()).add(node.name)
    return tuple((source, tuple(sorted(names))) for source, names in sorted(used.items()))


def values_of(branches: Sequence[Branch]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """What each stored column may hold, as a source that other queries read."""
    first = branches[0].block.select.expressions
    found: list[tuple[str, tuple[str, ...]]] = []
    for position, output in enumerate(first):
        each = [kind_of(branch.block, branch.block.select.expressions[position]).classes for branch in branches]
        found.append((output.alias_or_name, tuple(sorted(frozenset[str]().union(*each)))))
    return tuple(found)


def numbered_keys(block: Block) -> tuple[tuple[str, ...], ...]:
    """Further keys of a block that numbers its rows: each ROW_NUMBER with the columns it is partitioned by."""
    names = {keys.attribute(output): output.alias_or_name for output in block.select.expressions}
    found: list[tuple[str, ...]] = []
    for window in block.windows():
        parts = [keys.attribute(part) for part in (*window.args["partition_by"], window)]
        if keys.is_row_number(window) and all(part in names for part in parts):
            found.append(tuple(names[part] for part in parts))
    return tuple(found)


def is_rowid_key(block: Block, key: tuple[str, ...]) -> bool:
    if len(key) != 1:
        return False
    output = next(o for o in block.select.expressions if o.alias_or_name.lower() == key[0].lower())
    expression = output.unalias()
    if not isinstance(expression, exp.Column):
        return False
    use = block.use_of(expression)
    own = use.source.is_rowid_key and expression.name.lower() == use.source.key[0].lower()
    return own and not use.is_optional and block.parent is None
