"""Errors as answers: problem details (RFC 9457). The only place that knows which status an error has.

What a database said is for whoever runs the service, and goes to the log: a caller is told that it cannot be used now.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.responses import Response

from syncline.codec import to_json
from syncline.errors import (
    CommandReused,
    Conflict,
    DeadToken,
    ImpossibleValue,
    InvalidCommand,
    InvalidDefinition,
    InvalidQueryValues,
    InvalidToken,
    NotFound,
    NotReady,
    Rejected,
    StaleRead,
    StoreError,
    SynclineError,
    TookTooLong,
    UnknownColumn,
)

MEDIA_TYPE = "application/problem+json"
RETRY_S = 1

log = logging.getLogger("syncline.serve")


@dataclass(frozen=True, slots=True)
class Problem:
    """What went wrong with a request: `name` says which kind of problem it is, `detail` what was found, expected, and to do."""

    status: int
    name: str
    detail: str
    members: Mapping[str, object] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


class Refused(Exception):
    """A request that is refused before anything of the program is asked."""

    def __init__(
        self, status: int, name: str, detail: str, *, headers: Mapping[str, str] | None = None, **members: object
    ) -> None:
        super().__init__(detail)
        self.problem = Problem(status, name, detail, members, headers or {})


TITLES: Mapping[str, str] = {
    "bad-cursor": "The cursor cannot be used",
    "bad-request": "The request cannot be understood",
    "bad-token": "The consistency token cannot be understood",
    "bad-value": "A value does not fit",
    "command-reused": "The command id was used before",
    "conflict": "Others wrote first",
    "cross-site": "Another site asks",
    "dead-token": "The token's history is gone",
    "internal": "The service failed",
    "invalid-command": "The command is not valid",
    "method-not-allowed": "The method is not offered here",
    "misdirected": "The request is for another host",
    "not-allowed": "The caller may not do this",
    "not-authenticated": "The caller is not known",
    "not-found": "There is no such thing",
    "not-ready": "It cannot be read yet",
    "rejected": "The command was rejected",
    "stale-read": "It is not as new as asked",
    "too-large": "The request is too large",
    "too-many": "Too many requests",
    "too-slow": "The request took too long to arrive",
    "took-too-long": "It took too long",
    "unavailable": "A database cannot be used now",
    "unknown-column": "There is no such column",
    "unsupported-media-type": "The body is not JSON",
}
"""What each kind of problem is called."""

_STATUS: tuple[tuple[type[SynclineError], int, str], ...] = (
    (Rejected, 422, "rejected"),
    (InvalidCommand, 422, "invalid-command"),
    (InvalidQueryValues, 400, "bad-value"),
    (Conflict, 409, "conflict"),
    (CommandReused, 409, "command-reused"),
    (InvalidToken, 400, "bad-token"),
    (DeadToken, 410, "dead-token"),
    (UnknownColumn, 400, "unknown-column"),
    (ImpossibleValue, 400, "bad-value"),
    (NotFound, 404, "not-found"),
    (NotReady, 503, "not-ready"),
    (StaleRead, 503, "stale-read"),
    (TookTooLong, 503, "took-too-long"),
    (StoreError, 503, "unavailable"),
)


def problem_of(error: Exception) -> Problem:
    """The problem that a caller is told of an error. What was not foreseen is logged, and told without its text."""
    if isinstance(error, Refused):
        return error.problem
    status, name = next(((code, name) for kind, code, name in _STATUS if isinstance(error, kind)), (500, "internal"))
    if name in ("internal", "unavailable") or isinstance(error, InvalidDefinition):
        log.error("a request failed: %s", error, exc_info=error if name == "internal" else None)
        detail = "a database that this needs cannot be used now; ask again later" if status == 503 else "see the service's log"
        return Problem(status, name, detail, headers=_headers(status))
    return Problem(status, name, str(error), _members(error), _headers(status))


def answer_problem(problem: Problem) -> Response:
    """The answer that tells a problem."""
    body = {
        "type": f"/problems/{problem.name}",
        "title": TITLES[problem.name],
        "status": problem.status,
        "detail": problem.detail,
        **problem.members,
    }
    return Response(to_json(body), problem.status, dict(problem.headers), MEDIA_TYPE)


def _headers(status: int) -> Mapping[str, str]:
    return {"Retry-After": str(RETRY_S)} if status == 503 else {}


def _members(error: Exception) -> Mapping[str, object]:
    if isinstance(error, InvalidCommand | InvalidQueryValues):
        return {"errors": [{"place": place, "message": message} for place, message in error.faults]}
    if isinstance(error, Conflict):
        return {"stream": error.stream, "expected": error.expected, "found": error.found}
    if isinstance(error, StaleRead):
        return {"service": error.service, "reached": error.reached, "wanted": error.wanted}
    return {}
