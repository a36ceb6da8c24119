"""What operators do: rebuild, verify, repair; and what is held back, tried again or left out. Each is logged with who did it."""

import asyncio
import logging
from dataclasses import asdict

from starlette.requests import Request
from starlette.responses import Response

from syncline.codec import from_json
from syncline.errors import NotFound
from syncline.parked_streams import HeldStream
from syncline.serve.answers import body_of, json_response, refuse_other_media
from syncline.serve.caller import OPERATE
from syncline.serve.operations import KINDS, Busy
from syncline.serve.problems import Refused
from syncline.serve.route import Asked, Route
from syncline.stores.protocols import Reader

audit = logging.getLogger("syncline.audit")


async def _start(asked: Asked) -> Response:
    """Begins a rebuild or a verification; answers as soon as it runs."""
    body = await object_of(asked, {"kind", "view", "repair"})
    kind, view, repair = body.get("kind"), body.get("view"), body.get("repair", False)
    if kind not in KINDS:
        raise Refused(400, "bad-value", f"'kind' is {str(kind)[:40]!r}, expected one of {', '.join(KINDS)}")
    if not isinstance(repair, bool) or (view is not None and not isinstance(view, str)) or (kind == "rebuild" and view is None):
        raise Refused(
            400, "bad-value", 'write {"kind": "rebuild", "view": "order_board"}, or a verify with "repair": true or false'
        )
    if view is not None:
        asked.serving.model_of(view)
    try:
        operation = asked.serving.operations.start(str(kind), view, repair=repair, asked_by=asked.caller.name)
    except Busy as error:
        raise Refused(409, "conflict", str(error)) from error
    audit.warning("%s began a %s of %s%s", asked.caller.name, kind, view or "everything", ", with repair" if repair else "")
    return json_response(asdict(operation), 202, {"Location": f"/operations/{operation.id}"})


async def _operations(asked: Asked) -> Response:
    """All operations that are remembered, the newest first."""
    return json_response({"operations": [asdict(each) for each in asked.serving.operations.all()]})


async def _operation(asked: Asked) -> Response:
    """One operation, with how far it is."""
    id_ = asked.request.path_params["id"]
    found = asked.serving.operations.find(id_)
    if found is None:
        raise NotFound(f"there is no operation '{id_[:40]}' any more, or there never was")
    return json_response(asdict(found))


async def _dead_letters(asked: Asked) -> Response:
    """Streams that are held back, and pieces of views that are set aside."""
    held = await asyncio.to_thread(asked.serving.app.dead_letters)
    aside: list[dict[str, object]] = []
    for model in asked.serving.app.config.read_models:
        found = await asked.serving.reads_of(model).run(_set_aside)
        aside += [{"read_model": model.name, **each} for each in found]
    return json_response({"dead_letters": [_shown(each) for each in held], "set_aside": aside})


async def _retry(asked: Asked) -> Response:
    """Has a stream tried again with the `rows` of today."""
    return await _release(asked, skip=False)


async def _drop(asked: Asked) -> Response:
    """Leaves out, for good, the event that a stream is held back by; it must be the one that is named."""
    return await _release(asked, skip=True)


async def _release(asked: Asked, *, skip: bool) -> Response:
    body = await object_of(asked, {"service", "stream", "position"})
    app, service, stream, position = asked.serving.app, body.get("service"), body.get("stream"), body.get("position")
    if not isinstance(service, str) or not isinstance(stream, str) or (skip and not isinstance(position, int)):
        raise Refused(400, "bad-value", 'write {"service": …, "stream": …, "position": …}, as GET /dead-letters tells them')
    held = [each for each in await asyncio.to_thread(app.dead_letters, service) if each.letter.stream == stream]
    if not held:
        raise NotFound(f"stream '{stream[:80]}' of service '{service}' is not held back (any more)")
    if position is not None and any(each.letter.position != position for each in held):
        raise Refused(409, "conflict", f"the stream is held back from position {held[0].letter.position} by now; look again")
    done = "dropped an event of" if skip else "retried"
    audit.warning("%s %s stream %r of %r", asked.caller.name, done, stream[:200], service)
    outcomes = await asyncio.to_thread(app.drop if skip else app.retry, held)
    return json_response({"outcomes": [asdict(each) for each in outcomes]})


def _shown(held: HeldStream) -> dict[str, object]:
    letter = held.letter
    return {
        "read_model": held.read_model,
        "service": letter.service,
        "stream": letter.stream,
        "position": letter.position,
        "event": letter.event,
        "error": letter.error,
        "since": letter.since,
        "rows": len(letter.keys),
    }


def _set_aside(reader: Reader) -> list[dict[str, object]]:
    with reader.snapshot():
        return [{"view": each.view, "key": list(each.key), "error": each.error, "since": each.since} for each in reader.parked()]


async def object_of(asked: Asked, known: set[str]) -> dict[str, object]:
    """The JSON object that is sent. Raises Refused for anything else."""
    request: Request = asked.request
    refuse_other_media(request)
    try:
        body = from_json(await body_of(request, asked.serving.config.limits) or b"null")
    except (ValueError, RecursionError) as error:
        raise Refused(400, "bad-request", f"the body is not JSON: {error}") from error
    if not isinstance(body, dict) or not set(body) <= known:
        raise Refused(400, "bad-request", f"the body is no JSON object with some of {', '.join(sorted(known))}")
    return body


ROUTES = (
    Route("GET", "/operations", OPERATE, _operations),
    Route("POST", "/operations", OPERATE, _start),
    Route("GET", "/operations/{id}", OPERATE, _operation),
    Route("GET", "/dead-letters", OPERATE, _dead_letters),
    Route("POST", "/dead-letters/retry", OPERATE, _retry),
    Route("POST", "/dead-letters/drop", OPERATE, _drop),
)
