"""The dashboard's files, as they lie in the package: a page, its modules, and the libraries that it brings along.

Everyone may have them: they hold no data. The page's policy lets it run what is served here, and ask nobody else for anything.
"""

import base64
import gzip
import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from starlette.responses import Response

from syncline.errors import NotFound
from syncline.serve.route import Asked, Route

FOLDER = Path(__file__).parent / "dashboard"

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class _File:
    """A file with what is sent of it, and its tag."""

    media_type: str
    body: bytes
    packed: bytes
    etag: str


async def _page(asked: Asked) -> Response:
    """The page itself."""
    return _answer(asked, "index.html")


async def _file(asked: Asked) -> Response:
    """A file that the page asks for."""
    return _answer(asked, asked.request.path_params["name"])


def _answer(asked: Asked, name: str) -> Response:
    found = _files().get(name)
    if found is None:
        raise NotFound("the dashboard has no such file")
    headers = {"ETag": found.etag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding", "Content-Security-Policy": _policy()}
    if asked.request.headers.get("if-none-match") == found.etag:
        return Response(status_code=304, headers=headers)
    if "gzip" in asked.request.headers.get("accept-encoding", ""):
        return Response(found.packed, headers={**headers, "Content-Encoding": "gzip"}, media_type=found.media_type)
    return Response(found.body, headers=headers, media_type=found.media_type)


@cache
def _files() -> dict[str, _File]:
    """All files by their path below the folder; read once. A path that is none of these leads nowhere."""
    found: dict[str, _File] = {}
    for path in FOLDER.rglob("*"):
        if path.suffix in _TYPES:
            body = path.read_bytes()
            etag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
            found[path.relative_to(FOLDER).as_posix()] = _File(_TYPES[path.suffix], body, gzip.compress(body, 9, mtime=0), etag)
    return found


@cache
def _policy() -> str:
    """What the page may do. Its one inline script says where its libraries are, and is allowed by its digest."""
    (inline,) = re.findall(rb'<script type="importmap">(.*?)</script>', _files()["index.html"].body, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(inline).digest()).decode()
    return (
        f"default-src 'none'; script-src 'self' 'sha256-{digest}'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


async def _docs(asked: Asked) -> Response:
    """Where an explorer is looked for: it is a page of the dashboard."""
    return Response(status_code=307, headers={"Location": f"{asked.request.scope.get('root_path', '')}/#/api"})


ROUTES = (
    Route("GET", "/", None, _page),
    Route("GET", "/docs", None, _docs),
    Route("GET", "/dashboard/{name:rest}", None, _file),
)
