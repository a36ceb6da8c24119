"""Who may ask, and what each sees: tokens, roles, row filters; and every way around them that could be thought of."""

import hashlib
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.serve.conftest import Shop, followed, served, shop_in
from tests.serve.test_live import following
from tests.shop.orders import CancelOrder, PlaceOrder

from syncline import InvalidDefinition, NamedQuery, SQLite
from syncline.serve import Caller, HttpConfig
from syncline.serve.auth import load_tokens

ADA, BOB, CLERK, BOSS = (
    "ada's token, long enough",
    "bob's token, long enough",
    "the clerk's token, 1234",
    "the boss's token, 12345",
)
GONE = "a token of yesterday, 12345"


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def tokens_file(folder: Path) -> Path:
    yesterday = (datetime.now(UTC) - timedelta(days=1)).isoformat(timespec="seconds")
    entries = [
        ("ada", ADA, '["read"]', 'claims = { customer = "Ada" }'),
        ("bob", BOB, '["read"]', 'claims = { customer = "Bob" }'),
        ("clerk", CLERK, '["read", "write"]', ""),
        ("boss", BOSS, '["read", "write", "operate"]', 'claims = { customer = "Boss" }'),
        ("gone", GONE, '["read"]', f"expires = {yesterday}"),
    ]
    text = "\n".join(f'[[token]]\nname = "{n}"\nsha256 = "{digest(t)}"\nroles = {r}\n{more}' for n, t, r, more in entries)
    (folder / "tokens.toml").write_text(text)
    return folder / "tokens.toml"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("callers")
    config = HttpConfig(tokens=str(tokens_file(folder)), filters={"order_summary": {"customer": "customer"}})
    everything = NamedQuery("everything", "-- unfiltered: yes\nSELECT order_id FROM order_summary")
    sly = NamedQuery(
        "sly", "SELECT b.order_id FROM (SELECT 1) a LEFT JOIN order_summary b ON true WHERE true OR b.customer = 'Ada'"
    )
    store = SQLite(str(folder / "read.db"))
    with followed(shop_in(folder, everything.on(store), sly.on(store))) as app, served(app, config) as found:
        for number in range(6):
            receipt = app.send(PlaceOrder(f"o-{number}", "Ada" if number % 2 else "Bob", {"tea": 1}))
        app.read("order_summary", "o-5", at_least=receipt)
        yield found


def by(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        by("wrong"),
        by(GONE),
        by(ADA + "x"),
        by(ADA[:-1]),
        by(digest(ADA)),
        {"Authorization": f"Basic {ADA}"},
        {"Authorization": "Bearer"},
    ],
)
def test_who_is_not_known_is_told_nothing(shop: Shop, headers: dict[str, str]) -> None:
    for path in (
        "/views",
        "/views/order_summary",
        "/views/order_summary/o-1",
        "/views/order_summary/changes",
        "/queries/sly",
        "/whoami",
    ):
        answer = shop.http.get(path, headers=headers)
        assert (answer.status_code, answer.json()["type"]) == (401, "/problems/not-authenticated"), path
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert all(secret not in answer.text for secret in (ADA, GONE, digest(ADA)))


def test_each_role_opens_what_it_is_for(shop: Shop) -> None:
    order = {"order_id": "r-1", "customer": "Ada", "lines": {"tea": 1}}
    assert shop.http.post("/commands/PlaceOrder", json=order, headers=by(ADA)).status_code == 403
    assert shop.http.post("/commands/PlaceOrder", json=order, headers=by(CLERK)).status_code == 200
    assert shop.http.get("/queries/everything", headers=by(ADA)).status_code == 403
    assert len(shop.http.get("/queries/everything", headers=by(BOSS)).json()["rows"]) >= 6
    assert shop.http.get("/whoami", headers=by(ADA)).json() == {"name": "ada", "roles": ["read"], "claims": ["customer"]}


def test_health_is_told_to_everyone(shop: Shop) -> None:
    assert shop.http.get("/healthz").json() == {"status": "ok"}
    assert shop.http.get("/readyz").json()["status"] == "ready"


def test_a_caller_without_the_claim_is_refused_by_name(shop: Shop) -> None:
    for path in ("/views/order_summary", "/views/order_summary/o-1", "/views/order_summary/changes", "/queries/sly"):
        answer = shop.http.get(path, headers=by(CLERK))
        assert (answer.status_code, answer.json()["type"]) == (403, "/problems/not-allowed"), path


def test_a_caller_sees_its_own_rows_by_whatever_way(shop: Shop) -> None:
    http = shop.http
    assert http.get("/views/order_summary/o-1", headers=by(ADA)).status_code == 200
    for way in (
        "/views/order_summary/o-2",
        "/views/order_summary/O-2",
        "/views/order_summary/o-2?customer=Bob",
        "/views/order_summary/%6f-2",
    ):
        assert http.get(way, headers=by(ADA)).status_code == 404, way
    for query in (
        "",
        "customer=Bob",
        "customer.in=Ada,Bob",
        "customer.ne=Ada",
        "sort=-customer",
        "customer.gte=",
        "limit=1",
        "order_id=o-2",
    ):
        cursor: str | None = ""
        while cursor is not None:
            after = f"&after={cursor}" if cursor else ""
            page = http.get(f"/views/order_summary?{query}{after}", headers=by(ADA))
            assert page.status_code == 200, page.text
            assert {row["customer"] for row in page.json()["rows"]} <= {"Ada"}, query
            cursor = page.json()["next"]
    by_query = {row["order_id"] for row in http.get("/queries/sly", headers=by(ADA)).json()["rows"]}
    assert {"o-1", "o-3", "o-5"} <= by_query
    assert not {"o-0", "o-2", "o-4"} & by_query


def test_a_cursor_of_another_caller_gives_its_holder_s_rows(shop: Shop) -> None:
    cursor = shop.http.get("/views/order_summary?limit=1", headers=by(BOB)).json()["next"]
    page = shop.http.get(f"/views/order_summary?limit=1&after={cursor}", headers=by(ADA)).json()
    assert {row["customer"] for row in page["rows"]} <= {"Ada"}


def test_a_stream_tells_a_caller_of_its_own_rows_alone(shop: Shop) -> None:
    app = shop.app
    for number, query in enumerate(("", "?customer=Bob", "?order_id=their-2")):
        mine, theirs = f"mine-{number}", f"their-{number}"
        app.read("order_summary", mine, at_least=app.send(PlaceOrder(mine, "Ada", {"tea": 1})))
        with following(shop, query, **by(ADA)) as told:
            app.send(PlaceOrder(theirs, "Bob", {"tea": 1}))
            app.send(CancelOrder(theirs, "no"))
            app.read("order_summary", mine, at_least=app.send(CancelOrder(mine, "no")))
            if not query:
                told.until(lambda: told.copy[mine]["status"] == "cancelled")  # type: ignore[index]  # noqa: B023
            assert "Bob" not in json.dumps(told.events)
            assert theirs not in json.dumps(told.events)


def test_a_place_in_a_stream_gives_no_change_of_another_s_row(shop: Shop) -> None:
    with following(shop, **by(BOB)) as told:
        place = told.events[-1][0]
    receipt = shop.app.send(PlaceOrder("p-1", "Bob", {"tea": 1}))
    shop.app.read("order_summary", "p-1", at_least=receipt)
    with following(shop, **by(ADA), **{"Last-Event-ID": f"{place.partition('.')[0]}.1"}) as told:
        told.until(lambda: "o-1" in told.copy)
        assert "Bob" not in json.dumps(told.events)


def test_a_token_may_be_told_by_a_function_such_as_one_that_reads_jwts(shop: Shop) -> None:
    def authenticate(token: str) -> Caller | None:
        return Caller("from elsewhere", frozenset({"read"}), {"customer": "Ada"}) if token == "jwt" else None

    with served(shop.app, authenticate=authenticate) as other:
        assert other.http.get("/whoami", headers=by("jwt")).json()["name"] == "from elsewhere"
        assert other.http.get("/whoami", headers=by("other")).status_code == 401


def test_a_token_that_expires_is_refused_from_then_on(tmp_path: Path) -> None:
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat(timespec="seconds")
    (tmp_path / "t.toml").write_text(f'[[token]]\nname = "a"\nsecret = "{ADA}"\nroles = ["read"]\nexpires = {soon}')
    (token,) = load_tokens(str(tmp_path / "t.toml"))
    assert token.expires_at is not None
    assert 3500 < token.expires_at - time.time() < 3700


def test_faults_of_the_file_of_tokens_show_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHORT", "sesame")
    (tmp_path / "t.toml").write_text(
        '[[token]]\nname = "a"\nsecret = "sesame"\nroles = ["read"]\n'
        '[[token]]\nname = "b"\nsha256 = "sesame"\nroles = ["reads"]\n'
        '[[token]]\nsecret = "${SHORT}"\nsha256 = "x"\nroles = []\n'
        '[[token]]\nname = "d"\nsecret = "${NOT_SET}"\nroles = ["read"]\nexpires = "sesame"\nclaim = 3\n'
        '[[token]]\nname = "e"\nsecret = "${SHORT}"\nroles = ["read"]\nclaims = { a = [] }\n'
    )
    with pytest.raises(InvalidDefinition) as raised:
        load_tokens(str(tmp_path / "t.toml"))
    text = str(raised.value)
    assert "sesame" not in text
    parts = ("token 'a': the token is shorter", "64 lower-case", "of read, write, operate", "without a name")
    for part in (*parts, "${NOT_SET} is not set", "'expires' is no date", "unknown key 'claim'", "claims = {"):
        assert part in text, part


@pytest.mark.parametrize("claim", [None, ["Ada"], {"is": "Ada"}, 2**70, "\udcff", "A\0"])
def test_a_claim_that_no_row_can_have_shows_none(shop: Shop, claim: object) -> None:
    """Above all None, which is what `claims.get(…)` gives: rows without a value are nobody's own."""

    def authenticate(token: str) -> Caller | None:
        return Caller("odd", frozenset({"read"}), {"customer": claim})

    config = HttpConfig(filters={"order_summary": {"customer": "customer"}})
    with served(shop.app, config, authenticate=authenticate) as other:
        for path in ("", "/o-1", "/changes", "/history?key=o-1"):
            answer = other.http.get(f"/views/order_summary{path}", headers=by("any"))
            assert (answer.status_code, answer.json()["type"]) == (403, "/problems/not-allowed"), path
        assert other.http.get("/queries/sly", headers=by("any")).status_code == 403
