"""How a column's values are written as JSON, and the JSON Schema of that: the one place where both are decided.

| value | JSON |
|---|---|
| whole number, floating point, boolean, NULL | number, boolean, null |
| text, and what PostgreSQL prints of numeric, dates and times, uuid, arrays, ranges, …  | string, exactly as stored |
| json, jsonb | the value itself |
| bytes | string in base64 (RFC 4648 §4) |
| NaN, infinities of floating point | null |
"""

import base64
from collections.abc import Callable, Mapping, Sequence

from syncline.codec import raw_json
from syncline.messages import Column, Row
from syncline.read.maintain.schema import affinity

Write = Callable[[object], object]

_OF_POSTGRES: Mapping[str, Mapping[str, object]] = {
    "smallint": {"type": "integer", "minimum": -(2**15), "maximum": 2**15 - 1},
    "integer": {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1},
    "bigint": {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
    "real": {"type": "number"},
    "double precision": {"type": "number"},
    "boolean": {"type": "boolean"},
    "date": {"type": "string", "format": "date"},
    "uuid": {"type": "string", "format": "uuid"},
    "bytea": {"type": "string", "contentEncoding": "base64"},
}
_ANY = ["string", "number", "null"]
_OF_AFFINITY: Mapping[str, Sequence[str]] = {
    "INTEGER": ["integer", "number", "string", "null"],
    "REAL": ["number", "string", "null"],
    "NUMERIC": ["number", "string", "null"],
    "TEXT": ["string", "null"],
    "BLOB": _ANY,
}


def schema_of(column: Column, dialect: str) -> Mapping[str, object]:
    """The JSON Schema of a column's values. SQLite does not hold a column to its type, so the schema does not either."""
    if dialect != "postgres":
        return {"type": list(_OF_AFFINITY[affinity(column.declared_type)])}
    kind = column.declared_type.partition("(")[0].strip()
    if kind in ("json", "jsonb"):
        return {}
    found = dict(_OF_POSTGRES.get(kind, {"type": "string"}))
    if not column.not_null:
        found["type"] = [found["type"], "null"]
    return found


def as_objects(columns: Sequence[str], types: Sequence[str], rows: Sequence[Row], dialect: str) -> list[dict[str, object]]:
    """Rows as values that `to_json` writes as JSON objects."""
    if not any(_is_json(each, dialect) for each in types):  # of all else `to_json` makes what the table says
        return [dict(zip(columns, row, strict=True)) for row in rows]
    write = writers(types, dialect)
    return [{name: each(value) for name, each, value in zip(columns, write, row, strict=True)} for row in rows]


def writers(types: Sequence[str], dialect: str) -> list[Write]:
    """For each column of these types, what makes of a stored value one that JSON can hold."""
    return [_raw if _is_json(each, dialect) else _plain for each in types]


def _is_json(type_: str, dialect: str) -> bool:
    return dialect == "postgres" and type_ in ("json", "jsonb")


def _plain(value: object) -> object:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _raw(value: object) -> object:
    return raw_json(value) if isinstance(value, str) else value
