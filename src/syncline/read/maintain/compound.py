"""UNION, INTERSECT and EXCEPT: their columns' names and kinds, and what is a key of them.

Pure.
"""

from collections.abc import Sequence

from sqlglot import exp

from syncline.errors import UnsupportedQuery
from syncline.read.maintain import keys
from syncline.read.maintain.dialect import Kind
from syncline.read.maintain.parse import plain
from syncline.read.maintain.query import Block, line_of
from syncline.read.maintain.refuse import refuse_inexact
from syncline.read.maintain.restriction import Branch
from syncline.read.maintain.values import kind_of


def name_outputs(select: exp.Select, names: Sequence[str]) -> None:
    """A compound's columns have the names of its first SELECT."""
    for output, name in zip(list(select.expressions), names, strict=True):
        output.replace(exp.alias_(output.unalias().copy(), name, quoted=True))


def keeps_duplicates(node: exp.SetOperation) -> bool:
    return isinstance(node, exp.Union) and not node.args.get("distinct")


def add_branch_key(blocks: Sequence[Block]) -> tuple[str, ...]:
    """A key for a hidden UNION ALL: the branch's number, and each branch's own key, padded with NULL."""
    identities = [[(block, expression) for expression in keys.row_identity(block)] for block in blocks]
    slots = blocks[0].dialect.slots(identities)
    names = ["syncline_branch", *(f"syncline_k{position}" for position in range(1, len(slots[0]) + 1))]
    for number, (block, identity) in enumerate(zip(blocks, slots, strict=True), 1):
        for column, expression in zip(names, [exp.Literal.number(number), *identity], strict=True):
            block.select.append("expressions", exp.alias_(expression.copy(), column, quoted=True))
    return tuple(names)


def prove_compound(
    query: exp.Query,
    blocks: Sequence[Block],
    outputs: Sequence[dict[str, exp.Expr]],
    key: tuple[str, ...],
    names: Sequence[str],
    *,
    is_all: bool,
) -> None:
    """Raises UnsupportedQuery unless no two rows of the compound can have the same key, whose columns it has."""
    wanted = [column.lower() for column in key]
    dialect = blocks[0].dialect
    if not is_all:
        if any(keeps_duplicates(node) for node in query.find_all(exp.SetOperation)):
            raise UnsupportedQuery(
                "UNION ALL",
                "it is mixed with another set operation",
                "Put one of them into an inner SELECT, (SELECT …) AS name",
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
        if len({dialect.sql(o[column]) for o in outputs if isinstance(o[column], exp.Literal)}) == len(blocks)
    ]
    lacking = [lack for block, o in zip(blocks, outputs, strict=True) for lack in keys.missing(block, [o[c] for c in wanted])]
    if not literals or lacking:
        raise UnsupportedQuery(
            f"key: {', '.join(key)}",
            "rows of two branches of UNION ALL could have the same key"
            if not literals
            else "rows of one branch could have the same key: it lacks " + ", ".join(map(plain, lacking)),
            "Select a literal that differs in each branch ('a' AS kind), and put it and each branch's key into the key",
            line=0,
        )


def refuse_mixed_kinds(name: str, branches: Sequence[Branch], *, keeps_all: bool) -> None:
    dialect, kinds = branches[0].block.dialect, list[Kind]()
    for branch in branches:
        output = next(o for o in branch.block.select.expressions if o.alias_or_name.lower() == name.lower())
        if not keeps_all:
            refuse_inexact(branch.block, output, "UNION, INTERSECT or EXCEPT of")
        kinds.append(kind_of(branch.block, output))
    line = line_of(branches[-1].block.select)
    families = {dialect.family(kind): dialect.shown_kind(kind) for kind in kinds if kind.classes}
    if len(families) > 1:
        raise UnsupportedQuery(
            f"column {name} of the compound",
            f"the SELECTs give it different types or collations: {' and '.join(sorted(families.values()))}",
            f"Write {dialect.cast_advice(name)} in each",
            line=line,
        )
    if not keeps_all and (mix := dialect.may_mix(kinds)) is not None:
        reason, advice = mix
        raise UnsupportedQuery(f"column {name} of the compound", reason, f"Write {advice.format(name)} in each", line=line)
