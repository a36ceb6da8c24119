"""Views over HTTP: what there is, the row with a key, and pages of rows."""

from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response

from syncline.codec import to_json
from syncline.errors import NotFound
from syncline.read.reader import ReadResult, Wanted
from syncline.serve.answers import DEFAULT_WAIT_S, at_least, freshness_headers, seconds, tagged
from syncline.serve.caller import READ
from syncline.serve.route import Asked, Route
from syncline.serve.shapes import writers
from syncline.stores.roles import dialect_of


async def _one_row(asked: Asked) -> Response:
    """The row of a view with a key."""
    request, serving = asked.request, asked.serving
    name = request.path_params["view"]
    model = serving.model_of(name)
    key = key_of(request, name)
    result = await serving.reads_of(model).read(wanted(asked, name, key))
    headers = freshness_headers(result.token, result.staleness_s, exact=result.exact)
    if not result.rows:
        raise NotFound(f"view '{name}' has no row with key {', '.join(map(repr, key))}")
    return tagged(request, to_json(as_objects(result, dialect_of(model.database))[0]), headers)


def wanted(asked: Asked, view: str, key: list[str]) -> Wanted:
    """The read of one row that a request asks for; of a filtered view the caller's own rows alone."""
    request, limits = asked.request, asked.serving.config.limits
    wait_s = seconds(request, "wait", limits.wait_s)
    return Wanted(
        view,
        key,
        asked.serving.filter_of(view, asked.caller),
        at_least(request),
        min(DEFAULT_WAIT_S, limits.wait_s) if wait_s is None else wait_s,
        seconds(request, "max-staleness"),
    )


def key_of(request: Request, view: str) -> list[str]:
    """The parts of the key in the path, each percent-encoded, with commas between them."""
    path = request.scope.get("raw_path", b"").partition(b"?")[0].decode("latin-1")
    written = path.rpartition(f"/views/{view}/")[2] if path else request.path_params["key"]
    return [unquote(part) for part in written.split(",")]


def as_objects(result: ReadResult, dialect: str) -> list[dict[str, object]]:
    """Rows as JSON objects."""
    write = writers(result.types, dialect)
    return [{name: each(value) for name, each, value in zip(result.columns, write, row, strict=True)} for row in result.rows]


ROUTES = (Route("GET", "/views/{view}/{key:path}", READ, _one_row),)
