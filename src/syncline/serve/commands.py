"""Commands over HTTP: which there are, and sending one. A client that leaves does not undo what it sent."""

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from syncline.codec import to_json
from syncline.messages import Receipt
from syncline.serve.answers import body_of, json_response, refuse_other_media
from syncline.serve.caller import WRITE
from syncline.serve.problems import Refused
from syncline.serve.route import Asked, Route

MOST_ID_LENGTH = 200


async def _commands(asked: Asked) -> Response:
    """The commands that can be sent, with the JSON Schema of each."""
    types, shared = asked.serving.app.command_types()
    found = [{"name": each.name, "service": each.service, "schema": each.schema} for each in types]
    return json_response({"commands": found, "$defs": shared})


async def _send(asked: Asked) -> Response:
    """Sends a command, and answers when everything that it did is on disk."""
    request, app = asked.request, asked.serving.app
    refuse_other_media(request)
    command = app.command(request.path_params["name"], await body_of(request, asked.serving.config.limits))
    future = app.submit(
        command,
        command_id=_id(request, "idempotency-key"),
        expected_version=_version(request),
        correlation_id=_id(request, "correlation-id"),
        causation_id=_id(request, "causation-id"),
        metadata={"caller": asked.caller.name} if asked.serving.has_callers else None,
    )
    receipt = await asyncio.shield(asyncio.wrap_future(future))
    return Response(to_json(_shown(receipt)), 200, {"Consistency-Token": str(receipt.token)}, "application/json")


def _shown(receipt: Receipt) -> dict[str, object]:
    return {
        "command_id": receipt.command_id,
        "token": str(receipt.token),
        "stream": receipt.stream,
        "version": receipt.version,
        "events": [{"type": type(event).__name__, "data": event} for event in receipt.events],
    }


def _id(request: Request, header: str) -> str | None:
    """An id that the caller gives. A structured field's quotes (RFC 8941) are not part of it."""
    text = request.headers.get(header)
    if text is None:
        return None
    text = text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text
    if not text or len(text) > MOST_ID_LENGTH or not text.isprintable():
        raise Refused(
            400, "bad-value", f"the header {header} is empty, longer than {MOST_ID_LENGTH} characters, or not printable"
        )
    return text


def _version(request: Request) -> int | None:
    text = request.headers.get("expected-version")
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise Refused(400, "bad-value", f"the header Expected-Version is {text[:40]!r}, expected a version such as 3")
    return int(text)


ROUTES = (Route("GET", "/commands", WRITE, _commands), Route("POST", "/commands/{name}", WRITE, _send))
