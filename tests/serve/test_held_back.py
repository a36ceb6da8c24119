"""While a stream is held back: named queries say so and refuse tokens, as views do; who sees some rows alone hears no more."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.dead_letters import shop as failing
from tests.serve.conftest import Shop, followed, served

from syncline import App, NamedQuery, NotReady, Receipt, SQLite
from syncline.http_config import HttpConfig

ANN, BOB = {"Authorization": "Bearer a-long-token-of-ann"}, {"Authorization": "Bearer a-long-token-of-bob"}
TOKENS = """
[[token]]
name = "ann"
secret = "a-long-token-of-ann"
roles = ["read"]
claims = { customer = "ann" }

[[token]]
name = "bob"
secret = "a-long-token-of-bob"
roles = ["read"]
claims = { customer = "bob" }
"""


@pytest.fixture
def held(tmp_path: Path) -> Iterator[tuple[Shop, Receipt, Receipt]]:
    """Ann's order waits for its shipment; and what bob wrote before and after that."""
    failing.make(tmp_path)
    app = failing.build(tmp_path)
    carriers = NamedQuery("carriers", "SELECT order_id, carrier FROM board")
    app = App(*app.parts, carriers.on(SQLite(str(tmp_path / "read.db"))))
    app.send(failing.PlaceOrder(1, "ann", {"tea": 1}))
    before = app.send(failing.PlaceOrder(2, "bob", {"tea": 1}))
    after = app.send(failing.ShipOrder(1, failing.POISON))
    (tmp_path / "tokens.toml").write_text(TOKENS)
    config = HttpConfig(tokens=str(tmp_path / "tokens.toml"), filters={"board": {"customer": "customer"}})
    with followed(app), served(app, config) as shop:
        yield shop, before, after


def test_a_query_over_what_is_held_back_says_so_and_is_refused_to_tokens(held: tuple[Shop, Receipt, Receipt]) -> None:
    shop, before, after = held
    (note,) = shop.app.query("carriers").notes
    assert note.startswith("held back: stream 'orders-1' of service 'orders' from position 3 on")
    assert note.endswith("rows of this answer may depend on it")
    with pytest.raises(NotReady, match="the token includes what waits in stream 'orders-1'"):
        shop.app.query("carriers", at_least=after, timeout_s=0)
    with pytest.raises(NotReady, match="rows of the answer may depend on stream 'orders-1'"):
        shop.app.query("carriers", at_least=before, timeout_s=0)


@pytest.mark.parametrize("path", ["/views/board", "/views/board/2", "/queries/carriers"])
def test_who_sees_some_rows_alone_is_told_nothing_of_other_streams(held: tuple[Shop, Receipt, Receipt], path: str) -> None:
    shop, _, after = held
    plain = shop.http.get(path, headers=BOB)
    assert plain.status_code == 200
    refused = shop.http.get(path, headers={**BOB, "At-Least": str(after.token), "Wait": "0"})
    assert (refused.status_code, refused.json()["type"]) == (503, "/problems/not-ready")
    assert "1 stream of service 'orders'" in refused.text
    for told in (plain.text, refused.text):
        assert "orders-1" not in told
        assert "poison" not in told


def test_its_own_rows_that_wait_are_told(held: tuple[Shop, Receipt, Receipt]) -> None:
    shop, _, _ = held
    answer = shop.http.get("/views/board", headers=ANN).json()
    assert answer["held_back"] == [[1]]
    assert answer["notes"] == ["held back: 1 stream of service 'orders'; 1 row of this answer depends on it: (1,)"]
