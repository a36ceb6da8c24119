"""SQLite's SQL. Pure."""

from collections.abc import Sequence
from typing import ClassVar

import sqlglot
from sqlglot import exp
from sqlglot.tokenizer_core import TokenType

from syncline.errors import UnsupportedQuery
from syncline.messages import Column
from syncline.read.maintain import sqlite_refuse, sqlite_values
from syncline.read.maintain.dialect import Dialect, KeyMatch, Kind, Match
from syncline.read.maintain.query import Block, operand, split_and
from syncline.read.maintain.reading import begins_a_value, give_lines, read_one
from syncline.read.maintain.schema import Source, affinity

_COMPOUND_MIX = "it may hold 1 and 1.0, which are equal and differ, and which one is shown would be chance"


class SQLiteDialect(Dialect):
    """Names in any case; types of values, not of columns; joins in the order of CROSS JOIN; IS, which uses an index."""

    name: ClassVar[str] = "sqlite"
    knows_outputs_everywhere: ClassVar[bool] = True

    def read(self, sql: str) -> exp.Query:
        tree = read_one(sql, self.name, "SQLite", "the sqlite3 shell")
        tokens = sqlglot.tokenize(sql, read=self.name)
        for position, (before, token) in enumerate(zip([None, *tokens], tokens, strict=False)):
            if token.token_type == TokenType.PLUS and begins_a_value(before):
                raise UnsupportedQuery("+", "a sign without meaning but for SQLite's types", "Leave it out", line=token.line)
            follows = tokens[position + 1].token_type if position + 1 < len(tokens) else None
            if token.text.lower() == "mod" and follows == TokenType.L_PAREN:
                raise UnsupportedQuery("mod()", "it is not read as SQLite's", "Write a % b for integers", line=token.line)
        give_lines(tree, tokens)
        return tree

    def spells(self, written: str, name: str) -> bool:
        return written.lower() == name.lower()

    def written(self, name: str) -> str:
        return name

    def refuse_node(self, node: exp.Expr) -> None:
        sqlite_refuse.refuse_node(node)

    def refuse_block(self, block: Block) -> None:
        sqlite_refuse.refuse_comparisons(block)

    def complete(self, block: Block) -> None:
        """Nothing: SQLite takes a column beside GROUP BY from any row, and all rows of a group agree on it."""

    def kind_of(self, block: Block, expression: exp.Expr) -> Kind:
        return sqlite_values.kind_of(block, expression)

    def is_exact_column(self, source: Source, name: str) -> bool:
        return sqlite_values.is_exact_column(source, name)

    def is_same_kind(self, one: Column, other: Column) -> bool:
        return affinity(one.declared_type) == affinity(other.declared_type) and one.collation.upper() == other.collation.upper()

    def family(self, kind: Kind) -> str:
        return f"{affinity(kind.declared_type)} {kind.collation}"

    def shown_kind(self, kind: Kind) -> str:
        return "BLOB" if kind.declared_type and affinity(kind.declared_type) == "BLOB" else kind.declared_type or "an expression"

    def inexact_advice(self, kind: Kind, shown: str) -> tuple[str, str]:
        if kind.collation == "BINARY":
            return "it may hold 1 and 1.0, which are equal and differ", f"CAST({shown} AS TEXT), or AS INTEGER or REAL,"
        advice = f"lower({shown})" if kind.collation == "NOCASE" else f"CAST({shown} AS TEXT) COLLATE BINARY"
        return f"values that {kind.collation} takes for equal differ in spelling", advice

    def cast_advice(self, shown: str) -> str:
        return f"CAST({shown} AS TEXT) (or INTEGER, REAL)"

    def may_mix(self, kinds: Sequence[Kind]) -> tuple[str, str] | None:
        classes = frozenset[str]().union(*(kind.classes for kind in kinds))
        if sqlite_values.are_exact(classes, "BINARY"):
            return None
        return _COMPOUND_MIX, "CAST({} AS INTEGER) (or REAL, TEXT)"

    def adds_by_order(self, kind: Kind) -> bool:
        return not kind.classes <= {"int"}

    def may_fail(self, block: Block, expression: exp.Expr) -> str | None:
        return "it fails for some values, for example malformed JSON" if sqlite_values.may_fail(expression) else None

    def collation(self, node: exp.Collate) -> str:
        return str(node.expression.name).upper()

    def hop(self, table: str, alias: str, conditions: Sequence[str]) -> str:
        return f" CROSS JOIN {table} AS {alias} ON {' AND '.join(conditions)}"

    def matched(self, table: str, alias: str, matches: Sequence[Match]) -> str:
        return self.hop(table, alias, [f"{m.mine} {'=' if m.is_not_null else 'IS'} {m.theirs}" for m in matches])

    def join_owner(self, owner: exp.Expr, matches: Sequence[KeyMatch]) -> tuple[exp.Join, list[exp.Expr]]:
        conditions: list[exp.Expr] = [
            (exp.EQ if match.is_not_null else exp.NullSafeEQ)(this=_left(match.expression), expression=match.key)
            for match in matches
        ]
        return exp.Join(this=owner, kind="CROSS"), conditions

    def keep_plan(self, select: exp.Select) -> None:
        for clause in list(select.find_all(exp.Where)):
            clause.set("this", exp.and_(*map(_guarded, split_and(clause.this)), copy=False))

    def named_keys(self, expressions: Sequence[exp.Expr]) -> list[exp.Expr]:
        return [expression.copy() for expression in expressions]

    def slots(self, identities: Sequence[Sequence[tuple[Block, exp.Expr]]]) -> list[list[exp.Expr]]:
        width = max(len(identity) for identity in identities)
        return [[*(e for _, e in identity), *(exp.Null() for _ in range(width - len(identity)))] for identity in identities]


def _left(expression: exp.Expr) -> exp.Expr:
    """The left side of IS, where all that SQLite groups from the left may stand as it is."""
    return operand(expression) if isinstance(expression, exp.Not | exp.Connector | exp.Between) else expression


def _guarded(condition: exp.Expr) -> exp.Expr:
    """`column = constant` as `(column = constant) IS TRUE`, so that SQLite does not put the constant in the place of the column.

    Where an index on an expression over that column is used, SQLite 3.40 then loses rows.
    """
    sides = (condition.this, condition.expression) if isinstance(condition, exp.EQ) else ()
    if sides and not all(side.find(exp.Column, exp.Query) for side in sides):
        return exp.Is(this=exp.paren(condition.copy(), copy=False), expression=exp.true())
    return condition.copy()
