"""PostgreSQL's SQL. Pure."""

import itertools
from collections.abc import Sequence
from typing import ClassVar

import sqlglot
from sqlglot import exp
from sqlglot.optimizer.normalize_identifiers import normalize_identifiers
from sqlglot.tokenizer_core import Token, TokenType

from syncline.errors import UnsupportedQuery
from syncline.messages import Column
from syncline.read.maintain import postgres_lookup, postgres_refuse, postgres_types
from syncline.read.maintain.chance import bare_columns
from syncline.read.maintain.dialect import Dialect, KeyMatch, Kind, Match
from syncline.read.maintain.parse import plain, quoted
from syncline.read.maintain.postgres_known import CHANGING, IMMUTABLE, MANY, ORDERED, OTHER_NAMES
from syncline.read.maintain.query import Block, line_of, operand
from syncline.read.maintain.reading import give_lines, read_one
from syncline.read.maintain.schema import Source
from syncline.read.maintain.values import collation_of

MOST_SPLIT = 3
"""How many parts of a partition key that may be NULL are looked up by an index each, in 2 to the power of that many ways."""
_DETERMINISTIC = ("C", "POSIX", "default", "ucs_basic", "unicode", "pg_c_utf8", "pg_unicode_fast")
_SPELLINGS = {
    TokenType.RAW_STRING: "$$…$$",
    TokenType.HEREDOC_STRING: "$$…$$",
    TokenType.BYTE_STRING: "E'…'",
    TokenType.UNICODE_STRING: "U&'…'",
    TokenType.NATIONAL_STRING: "N'…'",
}
_CALLED = IMMUTABLE | OTHER_NAMES | ORDERED | CHANGING | MANY | {"group", "materialized", "bernoulli", "system", "repeatable"}


class PostgresDialect(Dialect):
    """Names fold to lower case unless quoted; values have the type of their column; no index serves IS NOT DISTINCT FROM."""

    name: ClassVar[str] = "postgres"
    knows_outputs_everywhere: ClassVar[bool] = False

    def read(self, sql: str) -> exp.Query:
        tree = read_one(sql, self.name, "PostgreSQL", "psql")
        tokens = sqlglot.tokenize(sql, read=self.name)
        for token, after in itertools.pairwise([*tokens, tokens[-1]]):
            _refuse_misread(token, is_call=after.token_type == TokenType.L_PAREN)
        give_lines(tree, tokens)
        folded = normalize_identifiers(tree, dialect=self.name)
        assert isinstance(folded, exp.Query)
        for table in folded.find_all(exp.Table):
            postgres_refuse.refuse_table(table)
        return folded

    def spells(self, written: str, name: str) -> bool:
        return written == name

    def written(self, name: str) -> str:
        return name if name == name.lower() and name.replace("_", "a").isalnum() else quoted(name)

    def refuse_node(self, node: exp.Expr) -> None:
        postgres_refuse.refuse_node(node)

    def refuse_block(self, block: Block) -> None:
        for use in block.uses:
            _refuse_twins(use.source, use.table)
        postgres_refuse.refuse_block(block)

    def complete(self, block: Block) -> None:
        """Columns that GROUP BY leaves out because it has their table's primary key are added: stored rows have no such key."""
        if not block.is_grouped or block.is_existence:
            return
        groups = block.group_expressions()
        for column in bare_columns(block):
            use = block.use_of(column)
            own = {group.name for group in groups if isinstance(group, exp.Column) and block.use_of(group) is use}
            if use.source.is_view or not set(use.source.key) <= own:
                raise UnsupportedQuery(
                    plain(self.sql(column)),
                    "it is neither grouped nor aggregated, and the primary key of its table is not in GROUP BY",
                    f"Add {plain(self.sql(column))} to GROUP BY",
                    line=line_of(column),
                )
            if not postgres_types.has_equality(postgres_types.type_of(block, column)):
                raise UnsupportedQuery(
                    plain(self.sql(column)),
                    f"{block.column_of(column).declared_type} has no equality to group by",
                    f"Write CAST({plain(self.sql(column))} AS jsonb), or select it in a query that joins the groups by their key",
                    line=line_of(column),
                )
            if column not in block.group_expressions():
                block.select.args["group"].append("expressions", column.copy())

    def kind_of(self, block: Block, expression: exp.Expr) -> Kind:
        declared = postgres_types.type_of(block, expression)
        classes = frozenset() if isinstance(expression, exp.Null) else frozenset({postgres_types.base(declared) or "any"})
        declared = "text" if declared == "unknown" else declared
        collation = "BINARY"
        if declared and postgres_types.base(declared) in (*postgres_types.TEXTS, "character", "bpchar"):
            kinds = (collation_of(block, node) for node in block.own_nodes_of(expression, exp.Column, exp.Collate))
            collation = next((each for each in kinds if each != "BINARY" and not _is_deterministic(each)), "BINARY")
        is_exact = postgres_types.is_exact_type(declared) or postgres_types.is_trimmed(expression)
        return Kind(declared, collation, classes, collation == "BINARY" and is_exact)

    def is_exact_column(self, source: Source, name: str) -> bool:
        column = source.column(name)
        return column is not None and column.collation == "BINARY" and postgres_types.is_exact_type(column.declared_type)

    def is_same_kind(self, one: Column, other: Column) -> bool:
        kinds = [(postgres_types.canonical(column.declared_type), column.collation) for column in (one, other)]
        return bool(one.declared_type) and kinds[0] == kinds[1]

    def family(self, kind: Kind) -> str:
        declared = postgres_types.base(kind.declared_type)
        if declared in postgres_types.INTEGERS:
            return "integer"
        return "text" if declared in postgres_types.TEXTS else kind.declared_type

    def shown_kind(self, kind: Kind) -> str:
        return kind.declared_type or "an expression"

    def inexact_advice(self, kind: Kind, shown: str) -> tuple[str, str]:
        declared = postgres_types.base(kind.declared_type)
        if kind.collation != "BINARY":
            return f"values that {kind.collation} takes for equal differ in spelling", f'lower({shown} COLLATE "C")'
        if declared == "numeric":
            return "it may hold 1.0 and 1.00, which are equal and differ", f"trim_scale({shown})"
        if declared in postgres_types.FLOATS:
            return "it may hold 0 and -0, which are equal and differ", f"CAST({shown} AS text)"
        if declared == "interval":
            reason = "it may hold a month and 30 days, which are equal and differ"
            return reason, f"trim_scale(EXTRACT(EPOCH FROM {shown}))"
        if declared in ("json", "jsonb"):
            return "it may hold 1.0 and 1.00, which are equal and differ", f"CAST({shown} AS text)"
        if not declared:
            return "its type is not known here, so values that are equal may differ", f"CAST({shown} AS …), the type that it has,"
        return f"values of type {declared} that are equal may differ", f"CAST({shown} AS text)"

    def cast_advice(self, shown: str) -> str:
        return f"CAST({shown} AS text) (or bigint, numeric(20, 2), …)"

    def may_mix(self, kinds: Sequence[Kind]) -> tuple[str, str] | None:
        """Values of one type do not mix."""
        return None

    def adds_by_order(self, kind: Kind) -> bool:
        return postgres_types.base(kind.declared_type) in (*postgres_types.FLOATS, "")

    def may_fail(self, block: Block, expression: exp.Expr) -> str | None:
        return postgres_lookup.why_no_key(block, expression)

    def collation(self, node: exp.Collate) -> str:
        return quoted(node.expression.name)

    def hop(self, table: str, alias: str, conditions: Sequence[str]) -> str:
        return f" JOIN {table} AS {alias} ON {' AND '.join(conditions)}"

    def matched(self, table: str, alias: str, matches: Sequence[Match]) -> str:
        if all(match.is_not_null for match in matches):
            return self.hop(table, alias, [f"{match.mine} = {match.theirs}" for match in matches])
        arms = [
            " AND ".join(_match_sql(match, is_null=is_null) for match, is_null in zip(matches, nulls, strict=True))
            for nulls in _null_patterns([match.is_not_null for match in matches])
        ]
        rows = " UNION ALL ".join(f"SELECT {alias}.* FROM {table} AS {alias} WHERE {arm}" for arm in arms)
        return f" CROSS JOIN LATERAL ({rows}) AS {alias}"

    def join_owner(self, owner: exp.Expr, matches: Sequence[KeyMatch]) -> tuple[exp.Join, list[exp.Expr]]:
        """The rows for each way in which parts of the key may be NULL are read apart, so that each is looked up in an index."""
        if all(match.is_not_null for match in matches):
            return exp.Join(this=owner, kind="CROSS"), [_matching(match, is_null=False) for match in matches]
        rows = [
            exp.select(exp.column(exp.Star(), table=exp.to_identifier(owner.alias, quoted=True)))
            .from_(owner.copy())
            .where(*(_matching(match, is_null=is_null) for match, is_null in zip(matches, nulls, strict=True)), copy=False)
            for nulls in _null_patterns([match.is_not_null for match in matches])
        ]
        union = exp.union(*rows, distinct=False, copy=False)
        alias = exp.TableAlias(this=exp.to_identifier(owner.alias, quoted=True))
        return exp.Join(this=exp.Lateral(this=exp.Subquery(this=union), alias=alias), kind="CROSS"), []

    def keep_plan(self, select: exp.Select) -> None:
        """OFFSET has each EXISTS looked up for one row at a time: else it may become a join that reads its whole table first."""
        for exists in select.find_all(exp.Exists):
            if isinstance(exists.this, exp.Select):
                exists.this.set("offset", exp.Offset(expression=exp.Literal.number(0)))

    def named_keys(self, expressions: Sequence[exp.Expr]) -> list[exp.Expr]:
        return [exp.alias_(expression.copy(), f"p{position}") for position, expression in enumerate(expressions, 1)]

    def slots(self, identities: Sequence[Sequence[tuple[Block, exp.Expr]]]) -> list[list[exp.Expr]]:
        """A column of a UNION has one type: identities of the same type share a column."""
        columns: list[tuple[str, dict[int, exp.Expr]]] = []
        for number, identity in enumerate(identities):
            for block, expression in identity:
                declared = postgres_types.result_of(block, expression)
                if not declared:
                    shown = plain(self.sql(expression))
                    raise UnsupportedQuery(
                        shown,
                        "its type is not known here, and a column of a UNION needs one",
                        f"Write CAST({shown} AS …)",
                        line=line_of(expression),
                    )
                free = next((held for of, held in columns if of == declared and number not in held), None)
                if free is None:
                    columns.append((declared, free := {}))
                free[number] = expression
        return [
            [held.get(number) or exp.cast(exp.Null(), declared, dialect="postgres") for declared, held in columns]
            for number in range(len(identities))
        ]


def _refuse_misread(token: Token, *, is_call: bool) -> None:
    """Refuses what the parser takes for something else, or for something that PostgreSQL does not have."""
    if (spelling := _SPELLINGS.get(token.token_type)) is not None:
        advice = "Write '…', with '' for a quote in it"
        raise UnsupportedQuery(spelling, "this spelling of text is not followed", advice, line=token.line)
    name = token.text.lower()
    if is_call and token.token_type == TokenType.VAR and name not in _CALLED:
        raise UnsupportedQuery(f"{name}()", postgres_refuse.UNKNOWN, postgres_refuse.instead_of(name), line=token.line)


def _null_patterns(not_null: Sequence[bool]) -> list[tuple[bool | None, ...]]:
    """Each way in which parts of a key may be NULL; None for a part that is compared as it is, without an index."""
    nullable = [place for place, never in enumerate(not_null) if not never][:MOST_SPLIT]
    ways = [[False, True] if place in nullable else [False if never else None] for place, never in enumerate(not_null)]
    return list(itertools.product(*ways))


def _matching(match: KeyMatch, *, is_null: bool | None) -> exp.Expr:
    mine, key = operand(match.expression), match.key.copy()
    if is_null is None:
        return exp.NullSafeEQ(this=mine, expression=key)
    if not is_null:
        return exp.EQ(this=mine, expression=key)
    return exp.and_(*(exp.Is(this=side, expression=exp.Null()) for side in (mine, key)), copy=False)


def _match_sql(match: Match, *, is_null: bool | None) -> str:
    if is_null is None:
        return f"{match.mine} IS NOT DISTINCT FROM {match.theirs}"
    return f"{match.mine} IS NULL AND {match.theirs} IS NULL" if is_null else f"{match.mine} = {match.theirs}"


def _is_deterministic(collation: str) -> bool:
    name = collation.strip('"')
    return name in _DETERMINISTIC or name.endswith(("-x-icu", ".utf8", ".UTF-8"))


def _refuse_twins(source: Source, table: exp.Table) -> None:
    names: dict[str, str] = {}
    for column in source.columns:
        if (other := names.setdefault(column.name.lower(), column.name)) != column.name:
            raise UnsupportedQuery(
                f"FROM {source.id}",
                f"its columns {other} and {column.name} differ in case only",
                "Rename one in the service, or publish only one of them",
                line=line_of(table),
            )
