"""What the service offers, as an OpenAPI 3.1 document: generated from the views' real columns, the commands' types and the
queries' parameters, so that it cannot tell anything else than what is there.
"""

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from starlette.responses import Response

from syncline.sagas import STATUSES
from syncline.serve.answers import json_response
from syncline.serve.asking import OPERATORS
from syncline.serve.caller import READ
from syncline.serve.problems import TITLES
from syncline.serve.route import Asked, Route
from syncline.serve.views import described_views

Schema = dict[str, Any]

COMPONENTS = "#/components/schemas"
_ANY_TEXT: Schema = {"type": "string"}
_SECONDS: Schema = {"type": "number", "minimum": 0}
_PARAMETER_TYPES: Mapping[str, Schema] = {
    "integer": {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
    "number": {"type": "number"},
    "text": {"type": "string"},
    "boolean": {"type": "boolean"},
    "date": {"type": "string", "format": "date"},
    "timestamp": {"type": "string", "format": "date-time"},
    "uuid": {"type": "string", "format": "uuid"},
}
_PROBLEM: Schema = {
    "type": "object",
    "description": "A problem (RFC 9457).",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "enum": [f"/problems/{name}" for name in sorted(TITLES)]},
        "title": _ANY_TEXT,
        "status": {"type": "integer"},
        "detail": _ANY_TEXT,
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["place", "message"],
                "properties": {"place": _ANY_TEXT, "message": _ANY_TEXT},
            },
        },
    },
}
_RECEIPT: Schema = {
    "type": "object",
    "required": ["command_id", "token", "stream", "version", "events"],
    "properties": {
        "command_id": _ANY_TEXT,
        "token": _ANY_TEXT,
        "stream": _ANY_TEXT,
        "version": {"type": "integer"},
        "events": {
            "type": "array",
            "items": {"type": "object", "required": ["type", "data"], "properties": {"type": _ANY_TEXT, "data": {}}},
        },
    },
}
_FRESH_HEADERS = {
    "Consistency-Token": {
        "description": "The vector that the answer was made at; a later read may ask for it.",
        "schema": _ANY_TEXT,
    },
    "Staleness": {
        "description": "How old, in seconds, the answer may be at most; absent where nobody can tell.",
        "schema": _SECONDS,
    },
    "ETag": {"schema": _ANY_TEXT},
}
_FRESHNESS = [{"$ref": f"#/components/parameters/{name}"} for name in ("AtLeast", "MaxStaleness", "Wait", "IfNoneMatch")]
_READ_PROBLEMS = ("400", "401", "403", "410", "429", "503")


async def _document(asked: Asked) -> Response:
    """The OpenAPI document."""
    return json_response(await document(asked))


async def document(asked: Asked) -> Schema:
    """All that can be asked of this service."""
    serving = asked.serving
    types, shared = serving.app.command_types(COMPONENTS)
    paths: Schema = {}
    for view in await described_views(asked):
        if view["state"] == "live":
            paths |= _view_paths(view)
    for query in (query for model in serving.app.config.read_models for query in model.queries):
        paths[f"/queries/{query.name}"] = {"get": _query(query)}
    for command in types:
        paths[f"/commands/{command.name}"] = {"post": _command(command.name, command.service, command.schema)}
    found: Schema = {
        "openapi": "3.1.0",
        "info": {
            "title": "Syncline",
            "version": _version(),
            "description": "Views joined over several services, kept exact, with a stated freshness; and commands.",
        },
        "servers": [{"url": asked.request.scope.get("root_path", "") or "/"}],
        "paths": {**paths, **_fixed_paths()},
        "components": {
            "schemas": {**shared, "Problem": _PROBLEM, "Receipt": _RECEIPT},
            "parameters": _parameters(),
        },
    }
    if serving.has_callers:
        found["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        found["security"] = [{"token": []}]
    return found


def _view_paths(view: Mapping[str, Any]) -> Schema:
    row: Schema = {
        "type": "object",
        "required": [column["name"] for column in view["columns"]],
        "properties": {column["name"]: {**column["schema"], "title": column["type"]} for column in view["columns"]},
        "additionalProperties": False,
    }
    about = view["about"] or f"The view {view['name']}."
    page: Schema = {
        "type": "object",
        "required": ["rows", "next", "held_back", "notes"],
        "properties": {
            "rows": {"type": "array", "items": row},
            "next": {"type": ["string", "null"], "description": "The cursor of the page that follows."},
            "held_back": {"type": "array", "items": {"type": "array"}},
            "notes": {"type": "array", "items": _ANY_TEXT},
        },
    }
    name, tag = view["name"], [f"view {view['name']}"]
    columns = [
        _query_parameter(column["name"], _ANY_TEXT, f"Rows with this value; also {', '.join(f'.{each}' for each in OPERATORS)}.")
        for column in view["columns"]
        if column["name"] not in ("sort", "limit", "after")
    ]
    paging = [
        _query_parameter("sort", _ANY_TEXT, "Columns, with commas between them; a dash before one: downwards."),
        _query_parameter("limit", {"type": "integer", "minimum": 1}, "How many rows a page has."),
        _query_parameter("after", _ANY_TEXT, "The cursor of this page: what `next` was."),
    ]
    paths: Schema = {
        f"/views/{name}": {
            "get": {
                "summary": f"A page of {name}",
                "description": about,
                "tags": tag,
                "operationId": f"list_{name}",
                "parameters": [*columns, *paging, *_FRESHNESS],
                "responses": {"200": _json("A page.", page, _FRESH_HEADERS), "304": _NOT_MODIFIED, **_problems(*_READ_PROBLEMS)},
            }
        },
        f"/views/{name}/changes": {
            "get": {
                "summary": f"Changes of {name} as they happen",
                "tags": tag,
                "operationId": f"follow_{name}",
                "parameters": [
                    _query_parameter("snapshot", {"type": "string", "enum": ["true", "false"]}, "Rows as they are now, first."),
                    {"name": "Last-Event-ID", "in": "header", "schema": _ANY_TEXT},
                ],
                "responses": {
                    "200": {"description": "Events.", "content": {"text/event-stream": {}}},
                    **_problems(*_READ_PROBLEMS),
                },
            }
        },
    }
    if view["key"]:
        key = ",".join(view["key"])
        paths[f"/views/{name}/{{key}}"] = {
            "get": {
                "summary": f"The row of {name} with a key",
                "description": f"{about}\n\nThe key is {key}, each part percent-encoded.",
                "tags": tag,
                "operationId": f"read_{name}",
                "parameters": [
                    {"name": "key", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}},
                    *_FRESHNESS,
                ],
                "responses": {
                    "200": _json("The row.", row, _FRESH_HEADERS),
                    "304": _NOT_MODIFIED,
                    **_problems("404", *_READ_PROBLEMS),
                },
            }
        }
    return paths


def _query(query: Any) -> Schema:
    answer: Schema = {
        "type": "object",
        "required": ["columns", "rows", "is_cut_short", "notes"],
        "properties": {
            "columns": {"type": "array", "items": {"type": "object"}},
            "rows": {"type": "array", "items": {"type": "object"}},
            "is_cut_short": {"type": "boolean"},
            "notes": {"type": "array", "items": _ANY_TEXT},
        },
    }
    parameters = [
        {
            **_query_parameter(each.name, dict(_PARAMETER_TYPES[each.type]), f"{each.type}, {_need(each)}."),
            "required": not each.is_optional and each.default is None,
        }
        for each in query.parameters
    ]
    return {
        "summary": query.description.partition("\n")[0] or query.name,
        "description": query.description or f"The query {query.name}.",
        "tags": ["queries"],
        "operationId": f"ask_{query.name}",
        "parameters": [*parameters, *_FRESHNESS],
        "responses": {"200": _json("What it gives.", answer, _FRESH_HEADERS), "304": _NOT_MODIFIED, **_problems(*_READ_PROBLEMS)},
    }


def _need(parameter: Any) -> str:
    if parameter.is_optional:
        return "NULL when it is left out"
    return f"{parameter.default!r} when it is left out" if parameter.default is not None else "must be given"


def _command(name: str, service: str, schema: Mapping[str, Any]) -> Schema:
    headers = [
        {"name": header, "in": "header", "schema": each, "description": about}
        for header, each, about in (
            ("Idempotency-Key", _ANY_TEXT, "The command's id: sent again with it, the first receipt is given again."),
            ("Expected-Version", {"type": "integer", "minimum": 0}, "The version at which its stream must be."),
            ("Correlation-Id", _ANY_TEXT, "What it belongs to."),
            ("Causation-Id", _ANY_TEXT, "What caused it."),
        )
    ]
    return {
        "summary": f"{name}, to {service}",
        "tags": [f"commands of {service}"],
        "operationId": f"send_{name}",
        "parameters": headers,
        "requestBody": {"required": True, "content": {"application/json": {"schema": dict(schema)}}},
        "responses": {
            "200": _json("Everything that it did is on disk.", {"$ref": f"{COMPONENTS}/Receipt"}),
            **_problems("400", "401", "403", "408", "409", "413", "415", "422", "429", "503"),
        },
    }


def _fixed_paths() -> Schema:
    any_object: Schema = {"type": "object"}
    read = _problems("400", "401", "403", "429", "503")

    def get(summary: str, id_: str, *parameters: Schema, more: tuple[str, ...] = (), tag: str = "operators") -> Schema:
        return {
            "get": {
                "summary": summary,
                "tags": [tag],
                "operationId": id_,
                "parameters": list(parameters),
                "responses": {"200": _json(summary, any_object), **read, **_problems(*more)},
            }
        }

    def post(summary: str, id_: str, body: Schema, status: str) -> Schema:
        return {
            "post": {
                "summary": summary,
                "tags": ["operators"],
                "operationId": id_,
                "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
                "responses": {status: _json(summary, any_object), **read, **_problems("404", "408", "409", "413", "415")},
            }
        }

    id_in_path = _in_path("id")
    stream: Schema = {
        "type": "object",
        "required": ["service", "stream"],
        "properties": {"service": _ANY_TEXT, "stream": _ANY_TEXT, "position": {"type": "integer"}},
        "additionalProperties": False,
    }
    saga: Schema = {
        "type": "object",
        "required": ["saga", "key"],
        "properties": {"saga": _ANY_TEXT, "key": _ANY_TEXT},
        "additionalProperties": False,
    }
    statuses: Schema = {"type": "string", "enum": list(STATUSES)}
    operation: Schema = {
        "type": "object",
        "required": ["kind"],
        "properties": {
            "kind": {"type": "string", "enum": ["verify"]},
            "view": {"type": ["string", "null"]},
            "repair": {"type": "boolean"},
        },
        "additionalProperties": False,
    }
    operations = get("Long work that was asked for", "list_operations")
    return {
        "/views": get("All views", "list_views", tag="what there is"),
        "/queries": get("All queries", "list_queries", tag="what there is"),
        "/commands": get("All commands", "list_commands", tag="what there is"),
        "/status": get("How everything is", "status"),
        "/status/samples": get(
            "How everything was lately",
            "samples",
            _query_parameter("minutes", {"type": "integer", "minimum": 1, "maximum": 1440}, "Of how many minutes."),
        ),
        "/story/{id}": get("What happened to an id, across services", "story", id_in_path),
        "/dead-letters": get("What is held back", "dead_letters"),
        "/dead-letters/retry": post("Tries a stream again", "retry", stream, "200"),
        "/dead-letters/drop": post("Leaves out the event that a stream is held back by", "drop", stream, "200"),
        "/sagas": get(
            "The sagas that changed last",
            "list_sagas",
            _query_parameter("status", statuses, "Only of this status."),
            _query_parameter("limit", {"type": "integer", "minimum": 1, "maximum": 1000}, "At most so many."),
        ),
        "/sagas/{saga}/{key}": get("What happened to a saga", "saga", _in_path("saga"), _in_path("key"), more=("404",)),
        "/sagas/retry": post("Asks for a parked saga to go on", "retry_saga", saga, "202"),
        "/sagas/give-up": post("Asks for a saga to end as it is", "give_up_saga", saga, "202"),
        "/operations": {**operations, **post("Begins a verification, or a rebuild", "begin", operation, "202")},
        "/operations/{id}": get("One operation", "operation", id_in_path, more=("404",)),
        "/healthz": get("Whether the process answers", "healthz", tag="the service"),
        "/whoami": get("Who asks", "whoami", tag="the service"),
    }


def _query_parameter(name: str, schema: Schema, about: str) -> Schema:
    return {"name": name, "in": "query", "schema": schema, "description": about}


def _in_path(name: str) -> Schema:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _json(about: str, schema: Schema, headers: Mapping[str, Any] | None = None) -> Schema:
    return {
        "description": about,
        "content": {"application/json": {"schema": schema}},
        **({"headers": dict(headers)} if headers else {}),
    }


_NOT_MODIFIED: Schema = {"description": "The caller holds these very bytes already."}


def _problems(*statuses: str) -> Schema:
    content = {"application/problem+json": {"schema": {"$ref": f"{COMPONENTS}/Problem"}}}
    return {status: {"description": "A problem.", "content": content} for status in statuses}


def _parameters() -> Schema:
    return {
        "AtLeast": {
            "name": "At-Least",
            "in": "header",
            "schema": _ANY_TEXT,
            "description": "A token: the answer is at least as new.",
        },
        "MaxStaleness": {
            "name": "Max-Staleness",
            "in": "header",
            "schema": _SECONDS,
            "description": "How many seconds old at most.",
        },
        "Wait": {"name": "Wait", "in": "header", "schema": _SECONDS, "description": "How many seconds to wait for that at most."},
        "IfNoneMatch": {"name": "If-None-Match", "in": "header", "schema": _ANY_TEXT},
    }


def _version() -> str:
    try:
        return version("syncline")
    except PackageNotFoundError:
        return "0"


ROUTES = (Route("GET", "/openapi.json", READ, _document),)
