"""Sagas, for operators: which there are, what happened to one, and what becomes of one that is parked."""

import asyncio
import logging
from dataclasses import asdict

from starlette.responses import Response

from syncline.sagas import STATUSES
from syncline.serve.answers import json_response
from syncline.serve.caller import OPERATE
from syncline.serve.mending import object_of
from syncline.serve.problems import Refused
from syncline.serve.route import Asked, Route

MOST_LISTED = 1_000
LISTED = 100

audit = logging.getLogger("syncline.audit")


async def _sagas(asked: Asked) -> Response:
    """The sagas that changed last, of one status or of any."""
    query = asked.request.query_params
    status, limit = query.get("status"), query.get("limit", str(LISTED))
    if status is not None and status not in STATUSES:
        raise Refused(400, "bad-value", f"'status' is {status[:40]!r}, expected one of {', '.join(STATUSES)}")
    if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit[:9]) <= MOST_LISTED:
        raise Refused(400, "bad-value", f"'limit' is {limit[:20]!r}, expected a number from 1 to {MOST_LISTED}")
    sagas = asked.serving.app.sagas
    found = await asyncio.to_thread(lambda: sagas.listed(status=status, saga=query.get("saga"), limit=int(limit)))
    return json_response({"sagas": [asdict(each) for each in found]})


async def _saga(asked: Asked) -> Response:
    """One saga, and what happened to it."""
    names = asked.request.path_params
    begun, steps = await asyncio.to_thread(asked.serving.app.sagas.history, names["saga"], names["key"])
    return json_response({"saga": asdict(begun), "history": [asdict(each) for each in steps]})


async def _retry(asked: Asked) -> Response:
    """Asks for a parked saga to go on."""
    return await _ask(asked, "retried")


async def _give_up(asked: Asked) -> Response:
    """Asks for a saga to end as it is."""
    return await _ask(asked, "gave up")


async def _ask(asked: Asked, done: str) -> Response:
    body, sagas = await object_of(asked, {"saga", "key"}), asked.serving.app.sagas
    saga, key = body.get("saga"), body.get("key")
    if not isinstance(saga, str) or not isinstance(key, str):
        raise Refused(400, "bad-value", 'write {"saga": …, "key": …}, as GET /sagas tells them')
    await asyncio.to_thread(sagas.retry if done == "retried" else sagas.give_up, saga, key)
    audit.warning("%s %s saga %r of %r", asked.caller.name, done, saga, key[:200])
    return json_response({"saga": saga, "key": key}, 202)


ROUTES = (
    Route("GET", "/sagas", OPERATE, _sagas),
    Route("POST", "/sagas/retry", OPERATE, _retry),
    Route("POST", "/sagas/give-up", OPERATE, _give_up),
    Route("GET", "/sagas/{saga}/{key:rest}", OPERATE, _saga),
)
