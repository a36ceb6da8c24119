"""A query's text as one tree, by the parser's rules for a database; what it cannot read is refused with its line. Pure."""

import sqlglot
from sqlglot import exp
from sqlglot.errors import ParseError, TokenError
from sqlglot.tokenizer_core import Token, TokenType

from syncline.errors import UnsupportedQuery

_BEFORE_A_VALUE = {
    "SELECT", "DISTINCT", "ALL", "WHERE", "ON", "AND", "OR", "NOT", "BY", "HAVING", "WHEN", "THEN", "ELSE", "CASE", "BETWEEN",
    "IN", "IS", "LIKE", "GLOB", "ESCAPE", "FROM",
}  # fmt: skip
_AFTER_A_VALUE = {
    TokenType.VAR, TokenType.IDENTIFIER, TokenType.NUMBER, TokenType.STRING, TokenType.R_PAREN, TokenType.NULL, TokenType.TRUE,
    TokenType.FALSE, TokenType.END, TokenType.HEX_STRING,
}  # fmt: skip


def read_one(sql: str, dialect: str, database: str, shell: str) -> exp.Query:
    """The one SELECT that the text is. Raises UnsupportedQuery for anything else."""
    try:
        statements = [statement for statement in sqlglot.parse(sql, read=dialect) if statement is not None]
    except (ParseError, TokenError) as error:
        errors = getattr(error, "errors", None) or [{}]
        what = errors[0].get("description") or str(error).splitlines()[0]
        near = errors[0].get("highlight") or ""
        raise UnsupportedQuery(
            f"near '{near}'" if near else "SQL",
            f"it cannot be read as {database}'s SQL: {what.rstrip('.')}",
            f"Try it in {shell} first",
            line=int(errors[0].get("line") or 1),
        ) from error
    if len(statements) != 1 or not isinstance(statements[0], exp.Query):
        found = "nothing" if not statements else f"{len(statements)} statements, the first a {statements[0].key.upper()}"
        raise UnsupportedQuery("view", f"found {found}", "A view is exactly one SELECT", line=1)
    return statements[0]


def give_lines(tree: exp.Query, tokens: list[Token]) -> None:
    """Gives each star that stands for columns or rows its line, which the parser does not keep."""
    stars = [
        token.line
        for before, token in zip([None, *tokens], tokens, strict=False)
        if token.token_type == TokenType.STAR and begins_a_value(before)
    ]
    for star, line in zip(tree.find_all(exp.Star, bfs=False), stars, strict=False):
        star.meta["line"] = line


def begins_a_value(before: Token | None) -> bool:
    """Whether a value, not an operator, stands after this token. A column may be named like a word that is not reserved."""
    if before is None:
        return True
    is_word = before.text[:1].isalpha() and before.text.upper() not in _BEFORE_A_VALUE
    return not is_word and before.token_type not in _AFTER_A_VALUE
