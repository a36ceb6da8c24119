"""The dashboard's files: what is brought along is unchanged and licensed, and the page asks nobody else for anything."""

import hashlib
import re
import tomllib

from tests.serve.conftest import Shop

from syncline.serve.static_files import FOLDER

VENDOR = FOLDER / "vendor"
MOST_BYTES = 200_000


def test_what_is_brought_along_is_as_its_package_has_it_and_has_its_licence() -> None:
    libraries = tomllib.loads((VENDOR / "VENDORED.toml").read_text("utf-8"))["library"]
    told = {name: digest for library in libraries for name, digest in library["sha256"].items()}
    code = {path.name for path in VENDOR.iterdir() if path.suffix in (".js", ".mjs", ".css")}
    assert {name: hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() for name in code} == told
    assert all((VENDOR / library["text"]).is_file() for library in libraries)


def test_the_page_names_no_other_host() -> None:
    for path in FOLDER.rglob("*"):
        if path.is_file() and path.parent != VENDOR:
            hosts = set(re.findall(r"https?://[\w.]+", path.read_text("utf-8")))
            assert hosts <= {"http://www.w3.org"}, path


def test_no_part_of_it_puts_text_into_the_page_as_markup() -> None:
    own = [path for path in FOLDER.rglob("*.js") if path.parent != VENDOR]
    assert len(own) > 8
    for path in own:
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|dangerouslySetInnerHTML|document\.write|\beval\(", path.read_text("utf-8")
        ), path


def test_all_that_the_page_asks_for_is_there_and_small(shop: Shop) -> None:
    page = shop.http.get("/", headers={"Accept-Encoding": "gzip"})
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    waiting = re.findall(r'(?:src|href)="(dashboard/[^"]+)"', page.text) + re.findall(r'"\./(dashboard/[^"]+)"', page.text)
    seen: dict[str, int] = {}
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        answer = shop.http.get(f"/{name}", headers={"Accept-Encoding": "gzip"})
        assert answer.status_code == 200, name
        seen[name] = int(answer.headers["Content-Length"])
        folder = name.rpartition("/")[0]
        waiting += [_joined(folder, each) for each in re.findall(r'from "(\.[^"]+)"', answer.text)]
    assert {"dashboard/app.js", "dashboard/pages/system.js", "dashboard/vendor/dagre.esm.js"} <= set(seen)
    assert sum(seen.values()) < MOST_BYTES, seen


def test_a_file_that_is_held_already_is_not_sent_again(shop: Shop) -> None:
    etag = shop.http.get("/dashboard/app.js").headers["ETag"]
    assert shop.http.get("/dashboard/app.js", headers={"If-None-Match": etag}).status_code == 304


def _joined(folder: str, name: str) -> str:
    parts = folder.split("/")
    for part in name.split("/"):
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)
