"""Texts of any characters in columns of PostgreSQL, which takes all but NUL. An ordinary text is stored as it is.

A NUL, and the character that stands for it, are stored as two characters each: every text comes back, and no two are alike.
"""

from collections.abc import Iterable, Sequence
from typing import Final, TypeVar

_NUL: Final = "\x00"
_MARK: Final = "\x1a"  # SUBSTITUTE
_BETWEEN: Final = "\x1f"  # UNIT SEPARATOR

_Text = TypeVar("_Text", str, str | None)


def storable(text: str) -> str:
    """The text as it is stored."""
    if _NUL in text or _MARK in text:
        return text.replace(_MARK, _MARK + "1").replace(_NUL, _MARK + "0")
    return text


def original(text: _Text) -> _Text:
    """The text that was stored; None for none."""
    if text is not None and _MARK in text:
        return text.replace(_MARK + "0", _NUL).replace(_MARK + "1", _MARK)
    return text


def are_ordinary(stored: Iterable[str]) -> bool:
    """Whether each of these texts is the one that was stored. Costs little."""
    return _MARK not in "".join(stored)


def text_array(texts: Sequence[str | None]) -> str:
    """A column of texts, as they are stored, in PostgreSQL's spelling of an array. Costs little where all are ordinary."""
    if None in texts:
        return "{" + ",".join("NULL" if each is None else f'"{_escaped(storable(each))}"' for each in texts) + "}"
    joined = _BETWEEN.join(texts)  # type: ignore[arg-type]
    if not texts or joined.count(_BETWEEN) >= len(texts) or _NUL in joined or _MARK in joined:
        return "{" + ",".join(f'"{_escaped(storable(each))}"' for each in texts if each is not None) + "}"
    return '{"' + _escaped(joined).replace(_BETWEEN, '","') + '"}'


def number_array(numbers: Sequence[float]) -> str:
    """A column of numbers in PostgreSQL's spelling of an array. Costs little where all are the same."""
    if numbers and numbers.count(numbers[0]) == len(numbers):
        return "{" + ",".join([repr(numbers[0])] * len(numbers)) + "}"
    return "{" + ",".join(map(repr, numbers)) + "}"


def all_original(row: Iterable[object]) -> tuple[object, ...]:
    """A row of values with its texts as they were stored."""
    return tuple(original(each) if isinstance(each, str) else each for each in row)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
