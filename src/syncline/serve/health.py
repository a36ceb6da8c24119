"""Whether the service can answer, and whether its views can be read; and who asks."""

from starlette.responses import Response

from syncline.errors import StoreError
from syncline.serve.answers import json_response
from syncline.serve.route import Asked, Route
from syncline.stores.protocols import Reader


async def _healthz(_: Asked) -> Response:
    """Answered by the process itself: nothing else is asked."""
    return json_response({"status": "ok"})


async def _readyz(asked: Asked) -> Response:
    """Ready when every view of every read model has rows to show."""
    waiting: list[str] = []
    for model in asked.serving.app.config.read_models:
        try:
            live = await asked.serving.reads_of(model).run(_readable)
        except StoreError:
            live = []
        waiting += [view.name for view in model.views if view.name not in live]
    return json_response({"status": "waiting" if waiting else "ready", "waiting": waiting}, 503 if waiting else 200)


def _readable(reader: Reader) -> list[str]:
    with reader.snapshot():
        return [name for name, view in reader.views().items() if view.live is not None]


async def _whoami(asked: Asked) -> Response:
    caller = asked.caller
    return json_response({"name": caller.name, "roles": sorted(caller.roles), "claims": sorted(caller.claims)})


ROUTES = (
    Route("GET", "/healthz", None, _healthz),
    Route("GET", "/readyz", None, _readyz),
    Route("GET", "/whoami", "", _whoami),
)
