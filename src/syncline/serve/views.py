"""Views over HTTP: what there is, the row with a key, and pages of rows."""

import time
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response

from syncline.codec import to_json
from syncline.config import ReadModelConfig
from syncline.errors import NotFound
from syncline.move.freshness import staleness
from syncline.read.definition import Definition
from syncline.read.reader import Wanted
from syncline.read.snapshot import Snapshot, services_of
from syncline.serve.answers import DEFAULT_WAIT_S, at_least, freshness_headers, json_response, seconds, tagged
from syncline.serve.asking import question_of
from syncline.serve.caller import READ
from syncline.serve.route import Asked, Route
from syncline.serve.shapes import as_objects, schema_of
from syncline.stores.protocols import Reader
from syncline.stores.roles import dialect_of

HOW_NEW = (b"at-least", b"max-staleness", b"wait")
"""The headers that ask for more than an answer of any age; most requests have none."""


async def _views(asked: Asked) -> Response:
    """All views: their columns and keys, what they read, whether they can be read, how old they may be."""
    return json_response({"views": await described_views(asked)})


async def described_views(asked: Asked) -> list[dict[str, object]]:
    """What is told of every view."""
    serving = asked.serving
    found: list[dict[str, object]] = []
    for model in serving.app.config.read_models:
        found += await serving.reads_of(model).run(_describing(asked, model))
    return found


async def _page(asked: Asked) -> Response:
    """A page of a view's rows."""
    request, serving = asked.request, asked.serving
    name = request.path_params["view"]
    model = serving.model_of(name)
    question = question_of(request, name, serving.config.limits)
    wanted = replace(
        wanted_of(asked, name),
        conditions=question.conditions,
        order_by=question.sort,
        limit=question.limit + 1,
        after=question.after,
    )
    result = await serving.reads_of(model).read_slowly(wanted, serving.config.limits.query_s)
    places = [result.columns.index(sort.column) for sort in result.order]
    rows = as_objects(result.columns, result.types, result.rows[: question.limit], dialect_of(model.database))
    is_more = len(result.rows) > question.limit
    body = {
        "rows": rows,
        "next": question.cursor(result.rows[question.limit - 1], places) if is_more else None,
        "held_back": [list(key) for key in result.marked],
        "notes": list(result.notes),
    }
    return tagged(request, to_json(body), freshness_headers(result.token, result.staleness_s, exact=result.exact))


async def _one_row(asked: Asked) -> Response:
    """The row of a view with a key."""
    request, serving = asked.request, asked.serving
    name = request.path_params["view"]
    model = serving.model_of(name)
    key = key_of(request, name)
    result = await serving.reads_of(model).read(wanted_of(asked, name, key))
    headers = freshness_headers(result.token, result.staleness_s, exact=result.exact)
    if not result.rows:
        raise NotFound(f"view '{name}' has no row with key {', '.join(map(repr, key))}")
    (row,) = as_objects(result.columns, result.types, result.rows[:1], dialect_of(model.database))
    return tagged(request, to_json(row), headers)


def wanted_of(asked: Asked, view: str, key: list[str] | None = None) -> Wanted:
    """The read that a request's headers ask for; of a filtered view the caller's own rows alone."""
    request, limits = asked.request, asked.serving.config.limits
    where = asked.serving.filter_of(view, asked.caller)
    if not any(name in HOW_NEW for name, _ in request.scope["headers"]):
        timeout_s = min(DEFAULT_WAIT_S, limits.wait_s)
        return Wanted(view, key, where, timeout_s=timeout_s, as_base64=True, is_discreet=bool(where))
    wait_s = seconds(request, "wait", limits.wait_s)
    return Wanted(
        view,
        key,
        where=where,
        at_least=at_least(request),
        timeout_s=min(DEFAULT_WAIT_S, limits.wait_s) if wait_s is None else wait_s,
        max_staleness_s=seconds(request, "max-staleness"),
        as_base64=True,
        is_discreet=bool(where),
    )


def _describing(asked: Asked, model: ReadModelConfig) -> Callable[[Reader], list[dict[str, object]]]:
    """Describes the views of a read model from one snapshot."""
    dialect, filters = dialect_of(model.database), asked.serving.config.filters

    def describe(reader: Reader) -> list[dict[str, object]]:
        with reader.snapshot():
            snapshot = Snapshot(reader)
            vector = {feed.service: feed.checkpoint for feed in snapshot.feeds}
            found: list[dict[str, object]] = []
            for view in model.views:
                stored = snapshot.views.get(view.name)
                definition = stored.live if stored is not None else None
                services = services_of(definition, snapshot.views, snapshot.mirrors) if definition is not None else frozenset()
                found.append(
                    {
                        "name": view.name,
                        "read_model": model.name,
                        "about": view.description,
                        "key": list(view.key),
                        "columns": _columns(definition, dialect) if definition is not None else [],
                        "state": "live" if definition is not None else "waiting",
                        "staleness_s": staleness(vector, services, time.time()) if definition is not None else None,
                        "reads": sorted(services),
                        "filtered_by": dict(filters.get(view.name, {})),
                    }
                )
            return found

    return describe


def _columns(definition: Definition, dialect: str) -> list[dict[str, object]]:
    """A view's visible columns, with their types and the JSON Schema of their values."""
    by_name = {column.name: column for column in definition.own_plan.columns}
    return [
        {"name": name, "type": by_name[name].declared_type, "schema": schema_of(by_name[name], dialect)}
        for name in definition.own_plan.visible
    ]


def key_of(request: Request, view: str) -> list[str]:
    """The parts of the key in the path, each percent-encoded, with commas between them."""
    path = request.scope.get("raw_path", b"").partition(b"?")[0].decode("latin-1")
    written = path.rpartition(f"/views/{view}/")[2] if path else request.path_params["key"]
    return key_values(written)


def key_values(written: str) -> list[str]:
    """The parts of a key that is written with commas between them; a comma within one is percent-encoded."""
    return [unquote(part) for part in written.split(",")]


ROUTES = (
    Route("GET", "/views", READ, _views),
    Route("GET", "/views/{view}", READ, _page),
    Route("GET", "/views/{view}/{key:rest}", READ, _one_row),
)
