"""What happened: the story of an id across the services, and the changes of one row of a view."""

import asyncio
import json

from starlette.responses import Response

from syncline.read.meaning import meant_by
from syncline.serve.answers import json_response
from syncline.serve.caller import OPERATE, READ
from syncline.serve.problems import Refused
from syncline.serve.route import Asked, Route
from syncline.serve.views import key_values, wanted_of
from syncline.stores.paging import Condition
from syncline.stores.protocols import Reader
from syncline.telling import Told

MOST_ID_LENGTH = 400
MOST_CHANGES = 200


async def _story(asked: Asked) -> Response:
    """The events of all services that belong to a stream, a key, a command or a correlation, oldest first."""
    id_ = asked.request.path_params["id"]
    if not id_ or len(id_) > MOST_ID_LENGTH or "\0" in id_:
        raise Refused(400, "bad-value", f"the id is empty, or longer than {MOST_ID_LENGTH} characters, or holds a NUL")
    story = await asyncio.to_thread(asked.serving.app.story, id_)
    return json_response(
        {
            "id": id_,
            "entries": [_entry(each) for each in story.told],
            "unreadable": list(story.unreadable),
            "is_cut_short": story.is_cut_short,
        }
    )


def _entry(told: Told) -> dict[str, object]:
    event = told.event
    return {
        "at": event.at,
        "service": told.service,
        "kind": "event",
        "type": event.name,
        "stream": event.stream,
        "version": event.version,
        "position": event.position,
        "data": json.loads(event.data),
        "command_id": event.command_id,
        "correlation_id": event.metadata.get("correlation_id"),
        "causation_id": event.metadata.get("causation_id"),
        "caller": event.metadata.get("caller"),
    }


async def _history(asked: Asked) -> Response:
    """The changes of one row that the view's change feed still holds, newest first; only of a row that the caller may see.

    A change feed tells no times: `at` is when it was first seen to be there, while somebody looks at the status.
    """
    request, serving = asked.request, asked.serving
    name = request.path_params["view"]
    model = serving.model_of(name)
    written = request.query_params.get("key")
    if written is None:
        raise Refused(400, "bad-request", "write ?key=KEY, as in the path of the row")
    key = key_values(written)
    mine = serving.filter_of(name, asked.caller)

    def ask(reader: Reader) -> list[dict[str, object]] | None:
        with reader.limited(serving.config.limits.query_s), reader.snapshot():
            view = reader.views().get(name)
            definition = view.live if view is not None else None
            if definition is None or len(definition.view.key) != len(key):
                return None
            columns = {column.name: column for column in definition.own_plan.columns}
            parts = zip((columns[column] for column in definition.view.key), key, strict=True)
            where = [Condition(column.name, meant_by(column, value, as_base64=True)) for column, value in parts]
            found = reader.changes_of(name, where, MOST_CHANGES)
            of_view = f"{model.name}/{name}"
            return [{"seq": seq, "op": op, "at": serving.observed.seen_at(of_view, seq)} for seq, op in found]

    if mine:  # a row that is not the caller's is as if it were not there
        row = await serving.reads_of(model).read(wanted_of(asked, name, key))
        if not row.rows:
            return json_response({"changes": []})
    changes = await serving.reads_of(model).run(ask)
    return json_response({"changes": changes or []})


ROUTES = (
    Route("GET", "/story/{id:rest}", OPERATE, _story),
    Route("GET", "/views/{view}/history", READ, _history),
)
