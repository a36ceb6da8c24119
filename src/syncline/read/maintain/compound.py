"""UNION, INTERSECT and EXCEPT: their columns' names and kinds, and what is a key of them.

Pure.
"""

from collections.abc import Sequence

from sqlglot import exp

from syncline.errors import UnsupportedQuery
from syncline.read.maintain import keys
from syncline.read.maintain.parse import plain, to_sql
from syncline.read.maintain.query import Block, line_of
from syncline.read.maintain.refuse import refuse_inexact
from syncline.read.maintain.restriction import Branch
from syncline.read.maintain.schema import Classes, affinity
from syncline.read.maintain.values import Kind, kind_of


def name_outputs(select: exp.Select, names: Sequence[str]) -> None:
    """A compound's columns have the names of its first SELECT."""
    for output, name in zip(list(select.expressions), names, strict=True):
        output.replace(exp.alias_(output.unalias().copy(), name, quoted=True))


def keeps_duplicates(node: exp.SetOperation) -> bool:
    return isinstance(node, exp.Union) and not node.args.get("distinct")


def add_branch_key(blocks: Sequence[Block]) -> tuple[str, ...]:
    """A key for a hidden UNION ALL: the branch's number, and each branch's own key, padded with NULL."""
    identities = [keys.row_identity(block) for block in blocks]
    width = max(len(identity) for identity in identities)
    names = ["syncline_branch", *(f"syncline_k{position}" for position in range(1, width + 1))]
    for number, (block, identity) in enumerate(zip(blocks, identities, strict=True), 1):
        padding = [exp.Null() for _ in range(width - len(identity))]
        for column, expression in zip(names, [exp.Literal.number(number), *identity, *padding], strict=True):
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
        if len({to_sql(o[column]) for o in outputs if isinstance(o[column], exp.Literal)}) == len(blocks)
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
    kinds: dict[tuple[str, str], str] = {}
    classes: Classes = frozenset()
    for branch in branches:
        output = next(o for o in branch.block.select.expressions if o.alias_or_name.lower() == name.lower())
        kind = kind_of(branch.block, output)
        classes |= kind.classes
        if not keeps_all:
            refuse_inexact(branch.block, output, "UNION, INTERSECT or EXCEPT of")
        if kind.classes:
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
