"""Inner SELECTs, and what of a SELECT can be made one: the pieces that become hidden views.

Pure. Works on trees only; whoever calls plans the hidden view and gives the name it is read by.
"""

from sqlglot import exp

from syncline.errors import UnsupportedQuery
from syncline.read.maintain import keys
from syncline.read.maintain.query import Block, line_of

ROWS = "syncline_rows"


def flat_selects(query: exp.Query) -> list[exp.Select]:
    """The SELECTs of a compound, in order; one for a plain SELECT."""
    if isinstance(query, exp.Select):
        return [query]
    if isinstance(query, exp.SetOperation):
        right = query.expression
        if isinstance(right, exp.SetOperation | exp.Subquery):
            raise UnsupportedQuery("UNION ( … )", "parentheses in a compound", "Put the inner one into a view of its own")
        return [*flat_selects(query.this), *flat_selects(right)]
    raise UnsupportedQuery(
        query.key.upper(), "it is not a SELECT", "Keep constant rows as a table of a service", line=line_of(query)
    )


def table_as(name: str, alias: str) -> exp.Expr:
    return exp.alias_(exp.Table(this=exp.to_identifier(name, quoted=True)), alias, table=True, quoted=True)


def refuse_column_list(node: exp.Expr) -> None:
    alias = node.args.get("alias")
    if alias is not None and alias.args.get("columns"):
        raise UnsupportedQuery("AS name(columns)", "columns are renamed there", "Name them with AS in the inner SELECT")


def split_rows(block: Block) -> exp.Select:
    """Splits a block: returns the SELECT of its joined rows; what is left of it groups or windows those, and lacks its FROM."""
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
        column.set("table", exp.to_identifier(ROWS, quoted=True))
    if not inner.expressions:
        inner.append("expressions", exp.alias_(exp.Literal.number(1), "c1", quoted=True))
    outer.set("from_", None)
    return inner


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
