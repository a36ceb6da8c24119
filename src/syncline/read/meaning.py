"""What a column holds where somebody says that it has a value: a text that was typed, or came in an address, may mean others."""

import base64
import binascii
import re

from syncline.errors import ImpossibleValue
from syncline.messages import Column
from syncline.read.maintain.schema import affinity
from syncline.rows import stored_value

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_TO_STANDARD = str.maketrans("-_", "+/")


def meant_by(column: Column, value: object, *, as_base64: bool) -> list[object]:
    """What a column holds where it has this value, the likeliest last. Raises ImpossibleValue.

    In a column without a type, a text that a person typed may be a number too; where texts are base64, it may be bytes.
    """
    try:
        value = stored_value(value)
    except ValueError as error:
        raise ImpossibleValue(f"no row has {value!r} in '{column.name}': {error}") from None
    if not isinstance(value, str):
        return [value]
    if as_base64 and column.declared_type == "bytea":
        data = _from_base64(value)
        if data is None:
            raise ImpossibleValue(f"'{column.name}' holds bytes, which are written in base64; {value[:40]!r} is not")
        return [data]
    found: list[object] = [value]
    if affinity(column.declared_type) == "BLOB":
        if _NUMBER.fullmatch(value):
            found.append(float(value) if re.search(r"[.eE]", value) else int(value))
        if as_base64 and (data := _from_base64(value)) is not None:
            found.insert(len(found) if column.declared_type else 1, data)
    return found


def _from_base64(text: str) -> bytes | None:
    """The bytes that a text is the base64 of, in either alphabet of RFC 4648."""
    try:
        return base64.b64decode(text.translate(_TO_STANDARD), validate=True)
    except (binascii.Error, ValueError):
        return None
