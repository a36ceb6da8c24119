"""SQL that a service's author wrote, as far as its words must be known: where a statement ends, what it begins with, and where
values go. Quoted texts, names and comments are passed over. Pure."""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from syncline.errors import Fault, InvalidDefinition
from syncline.stores.handler_sql import not_for_a_handler, shown_sql

_TOKEN = re.compile(
    r"""
      (?P<comment> --[^\n]* | /\*.*?(?:\*/|\Z) )
    | (?P<quoted> [eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*" | \$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$ )
    | (?P<word> [^\W\d][\w$]* | \d[\w.]* (?: :[^\W\d]\w* )? )
    | (?P<cast> :: | := )
    | :(?P<name> [^\W\d]\w* )
    | (?P<mark> \? )
    | (?P<percent> % )
    | (?P<end> ; )
    | (?P<space> \s+ | \ufeff )
    | (?P<other> . )
    """,
    re.VERBOSE | re.DOTALL,
)
_ENDS_IT: Final = {"BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT", "RELEASE"}
_ENDS_IT_WITH: Final = {("SET", "TRANSACTION"), ("SET", "SESSION"), ("PREPARE", "TRANSACTION")}
_COPIES: Final = "COPY"


@lru_cache(maxsize=1024)
def refuse_transactions(script: str) -> None:
    """Raises InvalidDefinition for a script with a statement that begins or ends a transaction, or that is not run but fed."""
    for words in _beginnings(script):
        if words[:1] and words[0] in _ENDS_IT:
            raise not_for_a_handler(words[0])
        if tuple(words) in _ENDS_IT_WITH:
            raise not_for_a_handler(" ".join(words))
        if words[:1] == [_COPIES]:
            raise InvalidDefinition([Fault("", 0, "COPY is not for a handler or a schema; use INSERT")])


@lru_cache(maxsize=1024)
def as_driver_takes(sql: str, by_name: bool | None) -> str:
    """One statement with its values' places as the driver writes them: `:name` where `by_name`, `?` where not, none for None.

    Raises InvalidDefinition for several statements.
    """
    if sum(1 for _ in _beginnings(sql)) > 1:
        raise InvalidDefinition([Fault("", 0, f"one statement at a time; these are several: {shown_sql(sql)}")])
    return "".join(_rewritten(sql, by_name))


def _rewritten(sql: str, by_name: bool | None) -> Iterator[str]:
    for found in _TOKEN.finditer(sql):
        if by_name and found["name"]:
            yield f"%({found['name']})s"
        elif by_name is False and found["mark"]:
            yield "%s"
        elif found[0] != "\ufeff":
            yield found[0].replace("%", "%%")


def _beginnings(script: str) -> Iterator[list[str]]:
    """The first two words of each statement, in capitals; fewer where it begins otherwise."""
    words: list[str] = []
    is_begun = is_open = False
    for found in _TOKEN.finditer(script):
        if found["end"]:
            if is_begun:
                yield words
            words, is_begun, is_open = [], False, False
        elif not (found["comment"] or found["space"]):
            is_open = bool(found["word"]) and (is_open or not is_begun)
            is_begun = True
            if is_open and len(words) < 2:
                words.append(found[0].upper())
    if is_begun:
        yield words
