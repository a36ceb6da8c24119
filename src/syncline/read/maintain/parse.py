"""From a view's text to a tree whose tables are sources: reads the SQL, finds what each FROM names.

Pure. Names of sources become `syncline:ID`, so that the physical table can be filled in later without reading SQL again.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches

import sqlglot
from sqlglot import exp
from sqlglot.errors import ParseError, TokenError
from sqlglot.tokenizer_core import Token, TokenType

from syncline.errors import UnsupportedQuery
from syncline.read.maintain.query import line_of
from syncline.read.maintain.schema import Catalog, Source

_BEFORE_A_VALUE = {
    "SELECT", "DISTINCT", "ALL", "WHERE", "ON", "AND", "OR", "NOT", "BY", "HAVING", "WHEN", "THEN", "ELSE", "CASE", "BETWEEN",
    "IN", "IS", "LIKE", "GLOB", "ESCAPE", "FROM",
}  # fmt: skip
_AFTER_A_VALUE = {
    TokenType.VAR, TokenType.IDENTIFIER, TokenType.NUMBER, TokenType.STRING, TokenType.R_PAREN, TokenType.NULL, TokenType.TRUE,
    TokenType.FALSE, TokenType.END, TokenType.HEX_STRING,
}  # fmt: skip
_PLACEHOLDER = re.compile(r'"syncline:((?:[^"]|"")+)"')


@dataclass(frozen=True, slots=True)
class Parsed:
    """A view's query. `text` is what the user wrote with nothing but the names of tables changed: the definition
    of what is right. `tree` is the same, parsed; `sources` are those it names, by the names in the tree."""

    text: str
    tree: exp.Query
    sources: Mapping[str, Source]


def parse(sql: str, catalog: Catalog) -> Parsed:
    """Reads one SELECT. Raises UnsupportedQuery for a syntax error or a table that is not in the catalog."""
    tree = _read(sql)
    sources: dict[str, Source] = {}
    edits: list[tuple[int, int, str]] = []
    for table in list(tree.find_all(exp.Table)):
        if _names_a_cte(table) or not isinstance(table.this, exp.Identifier):
            continue
        source = catalog.find(_written_name(table))
        if source is None:
            raise _unknown_table(table, catalog)
        name = placeholder(source.id)
        edits.append(_edit(table, quoted(name)))
        alias = table.alias or table.name
        columns = table.args.get("alias")
        if columns is not None and columns.args.get("columns"):
            raise UnsupportedQuery("AS name(columns)", "columns of a table are renamed", "Rename them with AS in SELECT")
        identifier = exp.to_identifier(name, quoted=True)
        identifier.meta.update(table.this.meta)
        table.replace(exp.alias_(exp.Table(this=identifier), alias, table=True, quoted=True))
        sources[name] = source
    text = sql
    for start, end, replacement in sorted(edits, reverse=True):
        text = text[:start] + replacement + text[end:]
    return Parsed(text, tree, sources)


def names_read(sql: str) -> dict[str, int]:
    """The names without a service that the query's FROM clauses hold, with their lines; none if it cannot be read."""
    try:
        tree = _read(sql)
    except UnsupportedQuery:
        return {}
    tables = (table for table in tree.find_all(exp.Table) if not table.db and not _names_a_cte(table))
    return {table.name.lower(): line_of(table) for table in tables}


def placeholder(source_id: str) -> str:
    """How a source is written in generated SQL until the physical table is known."""
    return f"syncline:{source_id}"


def quoted(name: str) -> str:
    """An identifier, safe in SQL whatever characters it holds."""
    return '"' + name.replace('"', '""') + '"'


def render(template: str, tables: Mapping[str, str]) -> str:
    """Generated SQL with every placeholder replaced by its physical table, quoted."""
    return _PLACEHOLDER.sub(lambda found: quoted(tables[found[1].replace('""', '"')]), template)


def to_sql(node: exp.Expr) -> str:
    """A tree as SQLite's SQL."""
    return node.sql("sqlite", comments=False)


def plain(sql: str) -> str:
    """SQL as a message shows it: without the quotes that generated names have."""
    return sql.replace('"', "")


def _read(sql: str) -> exp.Query:
    try:
        statements = [statement for statement in sqlglot.parse(sql, read="sqlite") if statement is not None]
    except (ParseError, TokenError) as error:
        errors = getattr(error, "errors", None) or [{}]
        what = errors[0].get("description") or str(error).splitlines()[0]
        near = errors[0].get("highlight") or ""
        raise UnsupportedQuery(
            f"near '{near}'" if near else "SQL",
            f"it cannot be read as SQLite's SQL: {what.rstrip('.')}",
            "Try it in the sqlite3 shell first",
            line=int(errors[0].get("line") or 1),
        ) from error
    stars = _refuse_misread(sql)
    if len(statements) != 1 or not isinstance(statements[0], exp.Query):
        found = "nothing" if not statements else f"{len(statements)} statements, the first a {statements[0].key.upper()}"
        raise UnsupportedQuery("view", f"found {found}", "A view is exactly one SELECT", line=1)
    for star, line in zip(statements[0].find_all(exp.Star, bfs=False), stars, strict=False):
        star.meta["line"] = line
    return statements[0]


def _refuse_misread(sql: str) -> list[int]:
    """Refuses the two spellings that the parser takes for something else: a plus sign before a value, and mod().

    Returns the line of each star that stands for columns or rows, which the parser does not keep.
    """
    before: Token | None = None
    stars: list[int] = []
    tokens = sqlglot.tokenize(sql, read="sqlite")
    for position, token in enumerate(tokens):
        if token.token_type == TokenType.PLUS and (before is None or not _ends_a_value(before)):
            raise UnsupportedQuery("+", "a sign without meaning but for SQLite's types", "Leave it out", line=token.line)
        follows = tokens[position + 1].token_type if position + 1 < len(tokens) else None
        if token.text.lower() == "mod" and follows == TokenType.L_PAREN:
            raise UnsupportedQuery("mod()", "it is not read as SQLite's", "Write a % b for integers", line=token.line)
        if token.token_type == TokenType.STAR and (before is None or not _ends_a_value(before)):
            stars.append(token.line)
        before = token
    return stars


def _ends_a_value(token: Token) -> bool:
    """A column may be named like a keyword that SQLite does not reserve."""
    is_word = token.text[:1].isalpha() and token.text.upper() not in _BEFORE_A_VALUE
    return is_word or token.token_type in _AFTER_A_VALUE


def _names_a_cte(table: exp.Table) -> bool:
    if table.args.get("db") is not None:
        return False
    node = table.parent
    while node is not None:
        with_ = node.args.get("with_")
        if with_ is not None and any(cte.alias.lower() == table.name.lower() for cte in with_.expressions):
            return True
        node = node.parent
    return False


def _written_name(table: exp.Table) -> str:
    return f"{table.db}.{table.name}" if table.db else table.name


def _edit(table: exp.Table, name: str) -> tuple[int, int, str]:
    """Where the name stands in the text, and what replaces it."""
    first = table.args["db"] if table.args.get("db") is not None else table.this
    alias = "" if table.args.get("alias") is not None else f" AS {quoted(table.name)}"
    return first.meta["start"], table.this.meta["end"] + 1, f"{name}{alias}"


def _unknown_table(table: exp.Table, catalog: Catalog) -> UnsupportedQuery:
    name = _written_name(table)
    near = get_close_matches(name.lower(), catalog.sources, 1)
    known = ", ".join(sorted(catalog.sources)) or "none"
    hint = f"Did you mean '{near[0]}'?" if near else f"There are: {known}"
    if not table.db and not near:
        hint = f"A relation is written service.table. {hint}"
    return UnsupportedQuery(
        f"FROM {name}", "no service publishes this relation and no view has this name", hint, line=line_of(table)
    )
