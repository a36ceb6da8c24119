"""The section [http]: where it listens, who may ask, which rows each sees; every fault with its line."""

from pathlib import Path

import pytest

from syncline.config import load_config
from syncline.errors import InvalidDefinition
from syncline.http_config import HttpConfig, Limits

REST = """
[service.orders]
database = "sqlite:///orders.db"
capture  = "triggers"
tables   = ["orders"]

[read_model.shop]
database = "sqlite:///read.db"
views    = "views/*.sql"
"""


def loaded(folder: Path, section: str) -> HttpConfig | None:
    (folder / "views").mkdir(exist_ok=True)
    (folder / "views" / "order_board.sql").write_text("-- key: order_id\nSELECT order_id, customer FROM orders.orders")
    (folder / "syncline.toml").write_text(section + REST)
    return load_config(folder / "syncline.toml").http


def faults(folder: Path, section: str) -> list[str]:
    with pytest.raises(InvalidDefinition) as raised:
        loaded(folder, section)
    return [str(fault).replace(f"{folder}/", "") for fault in raised.value.faults]


def test_without_the_section_there_is_no_service(tmp_path: Path) -> None:
    assert loaded(tmp_path, "") is None


def test_an_empty_section_listens_on_this_machine_alone(tmp_path: Path) -> None:
    assert loaded(tmp_path, "[http]") == HttpConfig("127.0.0.1", 8765, line=1)


def test_all_that_can_be_said_is_read(tmp_path: Path) -> None:
    section = """[http]
listen = "[::]:80"
tokens = "tokens.toml"
hosts  = ["Orders.example.com"]
access_log = true
[http.filter.order_board]
customer = "name"
[http.limits]
page_rows = 10
query_s = 0.5
"""
    assert loaded(tmp_path, section) == HttpConfig(
        "::",
        80,
        ("orders.example.com",),
        str(tmp_path / "tokens.toml"),
        {"order_board": {"customer": "name"}},
        Limits(page_rows=10, query_s=0.5),
        access_log=True,
        line=1,
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "192.0.2.7"])
def test_others_are_not_let_in_without_tokens(tmp_path: Path, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    section = f'[http]\nlisten = "{host}:80"\n'
    assert faults(tmp_path, section) == [
        f"syncline.toml:2: '{host.strip('[]')}' can be reached from other machines, and without tokens everyone there may do "
        'everything: name a file of tokens (tokens = "tokens.toml"), or listen on 127.0.0.1'
    ]
    monkeypatch.setenv("SYNCLINE_HTTP_TOKENS", "[[token]]")
    assert loaded(tmp_path, section) is not None


def test_every_fault_is_told_with_its_line(tmp_path: Path) -> None:
    section = """[http]
listen = 8765
token = "x"
hosts = "a"
access_log = "yes"
[http.filter.order_bord]
customer = 1
[http.limits]
page_rows = 1.5
wait_s = -1
pages = 3
"""
    assert faults(tmp_path, section) == [
        "syncline.toml:2: 'listen' is 8765; write for example listen = \"127.0.0.1:8765\"",
        "syncline.toml:3: unknown key 'token'; did you mean 'tokens'?",
        "syncline.toml:4: 'hosts' is no list of names; write hosts = [\"orders.example.com\"]",
        "syncline.toml:5: 'access_log' is 'yes'; write access_log = true, or leave it out",
        "syncline.toml:6: [http.filter.order_bord]: there is no view 'order_bord'; did you mean 'order_board'?",
        '''syncline.toml:6: [http.filter.order_bord]: write column = "claim", for example customer_id = "customer_id"''',
        "syncline.toml:9: 'page_rows' is 1.5; write a number above 0, such as page_rows = 1000",
        "syncline.toml:10: 'wait_s' is -1; write a number above 0, such as wait_s = 2.5",
        "syncline.toml:11: unknown limit 'pages'; did you mean 'page_rows'?",
    ]
