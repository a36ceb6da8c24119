"""An SQL file that holds one SELECT below comments: where the comments end, what options they give, where the SELECT ends.

Knows nothing of what the SELECT means. Touches no file and no database.
"""

import difflib
import re
from collections.abc import Callable, Iterator, Sequence

OnFault = Callable[[int, str], None]
"""Told of each fault: on which line of the file, and what is wrong there."""

OPTION = re.compile(r"--\s*([A-Za-z][\w -]*?)\s*:(.*)")

_TOKEN = re.compile(
    r"""(?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))
      | (?P<quoted>'(?:[^']|'')*(?:'|\Z)|"(?:[^"]|"")*(?:"|\Z)|`(?:[^`]|``)*(?:`|\Z)|\[[^\]]*(?:\]|\Z))
      | (?P<end>;)
      | (?P<word>\w+)
      | (?P<other>[^\s])""",
    re.VERBOSE | re.DOTALL,
)


def split_header(text: str) -> tuple[list[str], str]:
    """The lines of leading comments (and empty ones), stripped, and the text below them."""
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    first = 0
    while first < len(lines) and (not lines[first].strip() or lines[first].lstrip().startswith("--")):
        first += 1
    return [line.strip() for line in lines[:first]], "\n".join(lines[first:])


def one_statement(text: str, first_line: int, what: str, options: Sequence[str], fault: OnFault) -> str:
    """`text` without its trailing semicolon and what follows it. Faults what is not one SELECT; `what` names it in messages."""

    def line_at(place: int) -> int:
        return first_line + text.count("\n", 0, place)

    end: int | None = None
    words: list[str] = []
    for kind, value, place in tokens(text):
        if kind == "comment":
            found = OPTION.fullmatch(value.strip())
            if found and found[1] in options:
                fault(line_at(place), f"'{found[1]}:' stands below the beginning of the SELECT; move it above")
        elif kind == "end" and end is None:
            end = place
        elif end is not None and kind != "end":
            fault(line_at(place), f"'{value}' after ';': a {what} is one SELECT; put each {what} into a file of its own")
            break
        else:
            words.append(value)
    if not words:
        fault(first_line, "the file holds no query; write one SELECT below the comments")
    elif words[0].upper() not in ("SELECT", "WITH", "("):
        fault(first_line, f"a {what} is one SELECT (or WITH … SELECT), found '{words[0]}'; write only the query")
    return text[:end].rstrip()


def suggestion(word: str, known: Sequence[str]) -> str | None:
    """The one of `known` that `word` was probably meant to be."""
    same_letters = [option for option in known if sorted(option) == sorted(word.lower())]
    near = same_letters or difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.7)
    return near[0] if near else None


def tokens(text: str) -> Iterator[tuple[str, str, int]]:
    """What the text is made of: the kind ("comment", "quoted", "end", "word", "other"), the text, and where it begins."""
    for found in _TOKEN.finditer(text):
        yield str(found.lastgroup), found[0], found.start()
