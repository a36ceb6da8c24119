"""Named queries over HTTP: which there are, and asking one."""

from starlette.responses import Response

from syncline.codec import to_json
from syncline.read.maintain.asked import Asked as AskedQuery
from syncline.read.named_query import CLAIM_PREFIX, query_values
from syncline.read.reader import QueryAnswer, WantedQuery
from syncline.serve.answers import DEFAULT_WAIT_S, at_least, freshness_headers, json_response, seconds, tagged
from syncline.serve.caller import OPERATE, READ
from syncline.serve.problems import Refused
from syncline.serve.route import Asked, Route
from syncline.serve.serving import claim_of
from syncline.serve.shapes import as_objects
from syncline.stores.roles import dialect_of


async def _queries(asked: Asked) -> Response:
    """The queries that can be asked, with their parameters."""
    found: list[dict[str, object]] = []
    for model in asked.serving.app.config.read_models:
        for query in model.queries:
            parameters = [
                {"name": each.name, "type": each.type, "optional": each.is_optional, "default": each.default}
                for each in query.parameters
            ]
            found.append(
                {
                    "name": query.name,
                    "read_model": model.name,
                    "about": query.description,
                    "parameters": parameters,
                    "limit": query.limit,
                    "role": OPERATE if query.unfiltered else READ,
                }
            )
    return json_response({"queries": found})


async def _ask(asked: Asked) -> Response:
    """What a named query gives for the values in the query string."""
    request, serving = asked.request, asked.serving
    name = request.path_params["name"]
    model, query = serving.asked(name)
    if query.query.unfiltered and OPERATE not in asked.caller.roles:
        raise Refused(403, "not-allowed", f"query '{name}' sees rows of all callers, and takes the role '{OPERATE}'")
    given: dict[str, str] = {}
    for parameter, value in request.query_params.multi_items():
        if parameter in given:
            raise Refused(400, "bad-request", f"'{parameter[:60]}' is given twice")
        given[parameter] = value
    values: dict[str, object] = dict(query_values(query.query, given))
    values |= {f"{CLAIM_PREFIX}{claim}": claim_of(asked.caller, claim, name) for claim in query.claims}
    reads = serving.reads_of(model)
    answer = await reads.ask_slowly(_wanted(asked, query, values))
    body = {**_shown(answer, dialect_of(model.database)), "notes": list(answer.notes)}
    return tagged(request, to_json(body), freshness_headers(answer.token, answer.staleness_s, exact=answer.exact))


def _wanted(asked: Asked, query: AskedQuery, values: dict[str, object]) -> WantedQuery:
    request, limits = asked.request, asked.serving.config.limits
    wait_s = seconds(request, "wait", limits.wait_s)
    return WantedQuery(
        query,
        values,
        at_least(request),
        min(DEFAULT_WAIT_S, limits.wait_s) if wait_s is None else wait_s,
        seconds(request, "max-staleness"),
        min(query.query.timeout_s or limits.query_s, limits.query_s),
        is_discreet=bool(query.claims),
    )


def _shown(answer: QueryAnswer, dialect: str) -> dict[str, object]:
    columns = [{"name": name, "type": type_} for name, type_ in zip(answer.columns, answer.types, strict=True)]
    rows = as_objects(answer.columns, answer.types, answer.rows, dialect)
    return {"columns": columns, "rows": rows, "is_cut_short": answer.is_cut_short}


ROUTES = (Route("GET", "/queries", READ, _queries), Route("GET", "/queries/{name}", READ, _ask))
