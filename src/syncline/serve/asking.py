"""From a query string to what is read of a view, and from a page's last row to the cursor that goes on after it.

`column=value` is equality; `column.OPERATOR=value` the rest. `sort`, `limit`, `after` are options: a column of that name is asked
for with an operator. A cursor holds where a page ended and for which question, and nothing that its holder has not seen.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request

from syncline.http_config import Limits
from syncline.messages import Row, Scalar
from syncline.serve.problems import Refused
from syncline.stores.paging import Condition
from syncline.stores.protocols import dump_key, load_key

DEFAULT_LIMIT = 50
MOST_CONDITIONS = 50
MOST_VALUES = 500
OPTIONS = ("sort", "limit", "after")
OPERATORS = {"eq": "in", "ne": "not in", "gt": ">", "gte": ">=", "lt": "<", "lte": "<=", "in": "in", "null": "in"}
"""What may stand after a column's name, and the condition that it means."""


@dataclass(frozen=True, slots=True)
class Question:
    """Which rows of a view are wanted, in which order, from where on."""

    conditions: tuple[Condition, ...]
    sort: tuple[str, ...]
    limit: int
    after: tuple[Scalar, ...] | None
    digest: str

    def cursor(self, row: Row, places: Sequence[int]) -> str:
        """Where a page with this last row ended; `places` are those of the sorted columns."""
        body = json.dumps([self.digest, dump_key(tuple(row[place] for place in places))], separators=(",", ":"))
        return base64.urlsafe_b64encode(body.encode()).decode().rstrip("=")


def question_of(request: Request, view: str, limits: Limits) -> Question:
    """What a query string asks of a view. Raises Refused for what cannot be understood; columns are not known here."""
    conditions: list[Condition] = []
    options: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in OPTIONS:
            if name in options:
                raise Refused(400, "bad-request", f"'{name}' is given twice")
            options[name] = value
        else:
            conditions.append(_condition(name, value))
    if len(conditions) > MOST_CONDITIONS:
        raise Refused(400, "bad-request", f"there are {len(conditions)} conditions, at most {MOST_CONDITIONS} can be combined")
    sort = tuple(column for column in options.get("sort", "").split(",") if column)
    if len(sort) > 20 or any(column.strip("-") == "" for column in sort):
        raise Refused(400, "bad-value", "'sort' is no list of columns; write sort=-placed_at,order_id (a dash: downwards)")
    asked = json.dumps([view, sort, [(each.column, each.operator, list(each.values)) for each in conditions]])
    digest = hashlib.blake2b(asked.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
    after = _after(options["after"], digest) if "after" in options else None
    return Question(tuple(conditions), sort, _limit(options.get("limit"), limits.page_rows), after, digest)


def _condition(name: str, value: str) -> Condition:
    column, dot, operator = name.rpartition(".")
    if not dot:
        column, operator = name, "eq"
    if operator not in OPERATORS or not column:
        known = ", ".join(OPERATORS)
        raise Refused(400, "bad-request", f"'{name[:60]}' has the unknown operator '.{operator[:20]}'; there are: {known}")
    if operator == "null":
        if value not in ("true", "false"):
            raise Refused(400, "bad-value", f"'{name[:60]}' is {value[:40]!r}, expected true or false")
        return Condition(column, [None], "in" if value == "true" else "not in")
    values = value.split(",") if operator == "in" else [value]
    if len(values) > MOST_VALUES:
        raise Refused(400, "bad-value", f"'{name[:60]}' has {len(values)} values, at most {MOST_VALUES} can be given")
    for each in values:
        if "\0" in each or not _is_text(each):
            raise Refused(400, "bad-value", f"'{name[:60]}' holds a character that no text of a database has")
    return Condition(column, values, OPERATORS[operator])


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _limit(text: str | None, most: int) -> int:
    if text is None:
        return min(DEFAULT_LIMIT, most)
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= most or len(text) > 9:
        raise Refused(400, "bad-value", f"'limit' is {text[:20]!r}, expected a number of rows from 1 to {most}")
    return int(text)


def _after(text: str, digest: str) -> tuple[Scalar, ...]:
    try:
        body = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
        of_question, values = body
        found = load_key(values)
        is_whole = isinstance(found, tuple) and all(
            value is None or isinstance(value, int | float | str | bytes) for value in found
        )
    except (binascii.Error, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        is_whole = False
    if not is_whole or found is None:
        raise Refused(400, "bad-cursor", "'after' is no cursor; give what `next` of the page before was")
    if of_question != digest:
        raise Refused(400, "bad-cursor", "'after' is of another view, sort or filter; begin at the first page")
    return tuple(found)
