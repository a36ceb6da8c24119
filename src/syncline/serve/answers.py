"""What an answer carries besides its rows: how new it is, how old it may be, its tag; and the headers that ask for that."""

import asyncio
import hashlib
import math
from collections.abc import Mapping, Sequence

from starlette.requests import Request
from starlette.responses import Response

from syncline.codec import to_json
from syncline.http_config import Limits
from syncline.messages import Token, parse_token
from syncline.serve.problems import Refused

DEFAULT_WAIT_S = 5.0
JSON = "application/json"


def json_response(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Plain values as an answer."""
    return Response(to_json(body), status, headers, JSON)


def freshness_headers(token: Token, staleness_s: float | None, *, exact: bool) -> dict[str, str]:
    """`Consistency-Token`, `Staleness` where it is known, and `Exact` where the rows may be inexact."""
    headers = {"consistency-token": str(token)}
    if staleness_s is not None:
        headers["staleness"] = f"{staleness_s:.3f}"
    if not exact:
        headers["exact"] = "false"
    return headers


def tagged(request: Request, body: bytes, headers: dict[str, str]) -> Response:
    """An answer with its entity tag; 304 where the caller holds these very bytes already (RFC 9110 §13.1.2)."""
    etag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    headers["etag"] = etag
    held = request.headers.get("if-none-match")
    if held is not None and (held.strip() == "*" or etag in [each.strip().removeprefix("W/") for each in held.split(",")]):
        return Response(status_code=304, headers=headers)
    return _Row(body, headers)


class _Row(Response):
    """What is answered most: JSON with headers that are spelt in lower case, and need no further thought."""

    def __init__(self, body: bytes, headers: Mapping[str, str]) -> None:
        self.body, self.status_code, self.background = body, 200, None
        self.raw_headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        self.raw_headers += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]


def at_least(request: Request) -> Token | None:
    """The token of the header `At-Least`. Raises InvalidToken."""
    text = request.headers.get("at-least")
    return None if text is None else parse_token(text)


def seconds(request: Request, header: str, most: float = math.inf) -> float | None:
    """The seconds in a header, at most `most`. Raises Refused for what is no number of seconds."""
    text = request.headers.get(header)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise Refused(400, "bad-value", f"the header {header} is {text[:40]!r}, expected a number of seconds such as 2.5")
    return min(value, most)


def refuse_other_media(request: Request) -> None:
    """A form of another site can post nothing that says it is JSON."""
    found = request.headers.get("content-type", "")
    if found.partition(";")[0].strip().lower() != "application/json":
        shown = f"Content-Type is {found[:60]!r}" if found else "Content-Type is missing"
        raise Refused(415, "unsupported-media-type", f"{shown}; send the body as application/json")


async def body_of(request: Request, limits: Limits) -> bytes:
    """What is sent with a request. Raises Refused for more, or for taking longer, than is allowed."""
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(limits.body_s):
            async for part in request.stream():
                size += len(part)
                if size > limits.body_bytes:
                    raise Refused(413, "too-large", f"the body is larger than {limits.body_bytes:,} bytes; send less")
                parts.append(part)
    except TimeoutError:
        raise Refused(408, "too-slow", f"the body was not there within {limits.body_s:g} s; send it faster") from None
    return b"".join(parts)


def exact_conditions(request: Request, options: Sequence[str]) -> tuple[list[tuple[str, object]], dict[str, str]]:
    """Columns with the value that each must have, from the query string (`column=value`, or `column.eq=value`); and the options.

    Raises Refused for an operator that is not equality, and for what is given twice.
    """
    conditions: dict[str, object] = {}
    given: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        column = name.removesuffix(".eq")
        if name in given or column in conditions:
            raise Refused(400, "bad-request", f"'{name[:60]}' is given twice")
        if name in options:
            given[name] = value
        elif "." in column:
            raise Refused(400, "bad-request", f"'{name[:60]}': a stream takes equality alone; write column=value")
        else:
            conditions[column] = value
    return list(conditions.items()), given
