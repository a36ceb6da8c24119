"""Pages as they lie in a folder: the page itself, its modules, and the libraries that it brings along. And the dashboard's.

Everyone may have them: they hold no data. A page's policy lets it run what is served here, and ask nobody else for anything.
"""

import base64
import gzip
import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from syncline.errors import NotFound
from syncline.serve.route import Asked, Route

FOLDER = Path(__file__).parent / "dashboard"

PAGE = "index.html"
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


class PageFiles:
    """The files of a folder whose page is `index.html`, read once: what is changed later is not seen."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def answer(self, request: Request, name: str = PAGE) -> Response:
        """A file by its path below the folder, packed where the client takes it so. Raises NotFound for what is none of them."""
        found = self._files.get(name)
        if found is None:
            raise NotFound("there is no such file here")
        headers = {
            "ETag": found.etag,
            "Cache-Control": "no-cache",
            "Vary": "Accept-Encoding",
            "Content-Security-Policy": self._policy,
        }
        if request.headers.get("if-none-match") == found.etag:
            return Response(status_code=304, headers=headers)
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(found.packed, headers={**headers, "Content-Encoding": "gzip"}, media_type=found.media_type)
        return Response(found.body, headers=headers, media_type=found.media_type)

    @cached_property
    def _files(self) -> dict[str, _File]:
        """All files by their path below the folder. A path that is none of these leads nowhere."""
        found: dict[str, _File] = {}
        for path in self._folder.rglob("*"):
            if path.suffix in _TYPES:
                body = path.read_bytes()
                etag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
                packed = gzip.compress(body, 9, mtime=0)
                found[path.relative_to(self._folder).as_posix()] = _File(_TYPES[path.suffix], body, packed, etag)
        return found

    @cached_property
    def _policy(self) -> str:
        """What the page may do. Its one inline script says where its libraries are, and is allowed by its digest."""
        (inline,) = re.findall(rb'<script type="importmap">(.*?)</script>', self._files[PAGE].body, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inline).digest()).decode()
        return (
            f"default-src 'none'; script-src 'self' 'sha256-{digest}'; style-src 'self'; img-src 'self' data:; "
            "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )


_DASHBOARD = PageFiles(FOLDER)


async def _page(asked: Asked) -> Response:
    """The dashboard itself."""
    return _DASHBOARD.answer(asked.request)


async def _file(asked: Asked) -> Response:
    """A file that the dashboard asks for."""
    return _DASHBOARD.answer(asked.request, asked.request.path_params["name"])


async def _docs(asked: Asked) -> Response:
    """Where an explorer is looked for: it is a page of the dashboard."""
    return Response(status_code=307, headers={"Location": f"{asked.request.scope.get('root_path', '')}/#/api"})


ROUTES = (
    Route("GET", "/", None, _page),
    Route("GET", "/docs", None, _docs),
    Route("GET", "/dashboard/{name:rest}", None, _file),
)
