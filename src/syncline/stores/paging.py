"""Which rows of a stored view, in which order, from where on: the part of a SELECT after FROM, the same for every database.

NULL is less than every value, on every database and in either direction; so it comes first upwards, and last downwards.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

from syncline.messages import Scalar

Quoted = Callable[[str], str]
OPERATORS = (">", ">=", "<", "<=")


class Condition(NamedTuple):
    """What a column must be: one of `values` (NULL among them means NULL) for "in", none of them for "not in", or above or below
    the one value."""

    column: str
    values: Sequence[object]
    operator: str = "in"


def is_plain(condition: Condition) -> bool:
    """Whether it is that a column equals one value, which is not NULL."""
    return condition.operator == "in" and len(condition.values) == 1 and condition.values[0] is not None


class Sort(NamedTuple):
    """A column to sort by. `may_be_null` False lets an index be used that has no place for NULL first."""

    column: str
    is_down: bool = False
    may_be_null: bool = True


class Selected(NamedTuple):
    """SQL to put after FROM, and the values of its parameters."""

    sql: str
    values: list[object]


def select_after(
    where: Sequence[Condition],
    order: Sequence[Sort],
    after: Sequence[Scalar] | None,
    limit: int | None,
    *,
    quoted: Quoted,
    parameter: str,
    orders_nulls: bool,
) -> Selected:
    """WHERE, ORDER BY and LIMIT. `after` holds the values of the sorted columns of the row after which to go on; together they
    must tell rows apart. `orders_nulls` says that the database must be told where NULL belongs."""
    if after is None and all(each.operator == "in" and len(each.values) == 1 and each.values[0] is not None for each in where):
        names = tuple(each.column for each in where)
        return Selected(
            _equal_in(names, tuple(order), limit, quoted, parameter, orders_nulls), [each.values[0] for each in where]
        )
    values: list[object] = []

    def bind(value: object) -> str:
        values.append(value)
        return parameter

    terms = [_condition(quoted(each.column), each, bind) for each in where]
    if after is not None:
        terms.append(_beyond([(quoted(sort.column), sort, value) for sort, value in zip(order, after, strict=True)], bind))
    return Selected(_ended(terms, order, limit, quoted, orders_nulls), values)


@lru_cache(maxsize=512)
def _equal_in(
    names: tuple[str, ...], order: tuple[Sort, ...], limit: int | None, quoted: Quoted, parameter: str, orders_nulls: bool
) -> str:
    """The same for columns that each equal one value: what is asked most, so the text is made once."""
    return _ended([f"{quoted(name)} = {parameter}" for name in names], order, limit, quoted, orders_nulls)


def _ended(terms: Sequence[str], order: Sequence[Sort], limit: int | None, quoted: Quoted, orders_nulls: bool) -> str:
    sql = f" WHERE {' AND '.join(terms)}" if terms else ""
    if order:
        sql += f" ORDER BY {', '.join(_sorted(quoted(sort.column), sort, orders_nulls=orders_nulls) for sort in order)}"
    return sql + (f" LIMIT {int(limit)}" if limit is not None else "")


Bind = Callable[[object], str]


def _condition(column: str, condition: Condition, bind: Bind) -> str:
    if condition.operator in OPERATORS:
        return f"{column} {condition.operator} {bind(condition.values[0])}"
    any_of = " OR ".join(_equal(column, value, bind) for value in condition.values) or "1 = 0"
    # What is neither true nor false is a column that is NULL: it is none of the values, unless NULL is among them.
    return f"({any_of})" if condition.operator == "in" else f"({any_of}) IS NOT TRUE"


def _equal(column: str, value: object, bind: Bind) -> str:
    return f"{column} IS NULL" if value is None else f"{column} = {bind(value)}"


def _beyond(sorted_by: Sequence[tuple[str, Sort, Scalar]], bind: Bind) -> str:
    """Rows after the one with these values: equal in the first columns, and beyond in the next. Binds as the text goes."""
    column, sort, at = sorted_by[0]
    terms: list[str] = []
    if at is not None:  # what an index can begin at
        nulls = f" OR {column} IS NULL" if sort.is_down else ""
        terms.append(f"({column} {'<=' if sort.is_down else '>='} {bind(at)}{nulls})")
    options: list[str] = []
    for place, (column, sort, at) in enumerate(sorted_by):
        if at is None and sort.is_down:
            continue  # nothing is below NULL
        equal = [_equal(name, held, bind) for name, _, held in sorted_by[:place]]
        options.append(f"({' AND '.join([*equal, _further(column, at, bind, is_down=sort.is_down)])})")
    terms.append(f"({' OR '.join(options) or '1 = 0'})")
    return " AND ".join(terms)


def _further(column: str, at: Scalar, bind: Bind, *, is_down: bool) -> str:
    if at is None:
        return f"{column} IS NOT NULL"
    return f"({column} < {bind(at)} OR {column} IS NULL)" if is_down else f"{column} > {bind(at)}"


def _sorted(column: str, sort: Sort, *, orders_nulls: bool) -> str:
    nulls = (" NULLS LAST" if sort.is_down else " NULLS FIRST") if orders_nulls and sort.may_be_null else ""
    return f"{column}{' DESC' if sort.is_down else ''}{nulls}"
