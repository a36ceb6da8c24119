"""`syncline send` and `--app`: real processes, from a command on the command line to a row that is read with its token."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

APP = '''
from dataclasses import dataclass

from syncline import App, EventService, Rejected, Relation, SQLite, TableService, Upsert, View


@dataclass(frozen=True)
class Line:
    sku: str
    quantity: int


@dataclass(frozen=True)
class PlaceOrder:
    order_id: str
    customer: str
    lines: list[Line]


@dataclass(frozen=True)
class OrderPlaced:
    order_id: str
    customer: str
    lines: list[Line]


@dataclass(frozen=True)
class Header:
    order_id: str
    customer: str
    pieces: int


@dataclass(frozen=True)
class AddCustomer:
    name: str
    city: str


def decide(is_placed, command):
    if not command.lines:
        raise Rejected("an order needs at least one line")
    if command.customer == "crash":
        raise ZeroDivisionError("by mistake")
    if not is_placed:
        yield OrderPlaced(command.order_id, command.customer, command.lines)


def rows(event):
    pieces = sum(line.quantity for line in event.lines)
    yield Upsert("header", order_id=event.order_id, customer=event.customer, pieces=pieces)


def add_customer(tx, command: AddCustomer):
    tx.execute("INSERT INTO customer VALUES (:name, :city)", command)


orders = EventService(
    "orders",
    key="order_id",
    commands=PlaceOrder,
    events=OrderPlaced,
    initial=False,
    decide=decide,
    evolve=lambda state, event: True,
    relations={"header": Relation(Header, key="order_id")},
    rows=rows,
)
customers = TableService(
    "customers",
    schema="CREATE TABLE customer (name TEXT PRIMARY KEY, city TEXT NOT NULL)",
    handles={AddCustomer: add_customer},
    publishes=["customer"],
)
board = View(
    "board",
    key="order_id",
    query="""
        SELECT h.order_id, h.customer, h.pieces, c.city
          FROM orders.header h
          LEFT JOIN customers.customer c ON c.name = h.customer
    """,
)
app = App(orders.on(SQLite("orders.db")), customers.on(SQLite("customers.db")), board.on(SQLite("read.db")))
not_an_app = 5
'''
ORDER = '{"order_id": "o-1", "customer": "Ada", "lines": [{"sku": "tea", "quantity": 2}]}'


class Shop:
    """A folder with an App in a module, and the command line in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "shop_app.py").write_text(APP)

    def __call__(self, *words: str, app: str = "shop_app:app", text: str | None = None) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "syncline", "--app", app, *words]
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run(
            command, cwd=self.folder, input=text, env=environment, capture_output=True, text=True, timeout=60, check=False
        )


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_what_is_sent_is_read_with_its_token(shop: Shop) -> None:
    placed = shop("send", "PlaceOrder", ORDER)
    assert placed.returncode == 0, placed.stderr
    assert "orders-o-1 is at version 1: OrderPlaced" in placed.stderr
    added = shop("send", "AddCustomer", "-", text='{"name": "Ada", "city": "London"}')
    assert added.returncode == 0, added.stderr
    assert shop("sync", "--once").returncode == 0
    for token in (placed.stdout.strip(), added.stdout.strip()):
        read = shop("read", "board", "o-1", "--at-least", token, "--json")
        assert json.loads(read.stdout)["rows"] == [{"order_id": "o-1", "customer": "Ada", "pieces": 2, "city": "London"}]


def test_a_command_sent_again_with_its_id_prints_the_same_and_does_nothing(shop: Shop) -> None:
    first = shop("send", "PlaceOrder", ORDER, "--id", "c-1", "--json")
    again = shop("send", "PlaceOrder", ORDER, "--id", "c-1", "--json")
    assert json.loads(first.stdout) == json.loads(again.stdout)
    assert json.loads(first.stdout)["events"] == [{"name": "OrderPlaced", "data": json.loads(ORDER)}]
    other = shop("send", "PlaceOrder", ORDER.replace("Ada", "Bob"), "--id", "c-1")
    assert other.returncode == 1
    assert "'c-1' was used before for PlaceOrder with another payload" in other.stderr


def test_every_fault_of_a_payload_is_named_and_nothing_is_stored(shop: Shop) -> None:
    wrong = '{"order_id": 5, "custmer": "Ada", "lines": [{"sku": "tea", "quantity": "two"}, {"quantity": 1}]}'
    sent = shop("send", "PlaceOrder", wrong)
    assert sent.returncode == 2
    for fault in (
        "$.order_id: ",
        "$.customer: it is missing",
        "$.custmer: PlaceOrder has no field",
        "$.lines[0].quantity: ",
        "$.lines[1].sku: ",
    ):
        assert fault in sent.stderr, fault
    assert json.loads(shop("status", "--json").stdout)["writing"][0]["commands"] in (None, 0)


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (("PlaceOrder", ORDER.replace('[{"sku": "tea", "quantity": 2}]', "[]")), 1, "an order needs at least one line"),
        (("placeorder", ORDER), 1, "did you mean 'PlaceOrder'?"),
        (("Nothing", "{}"), 1, "commands are: PlaceOrder, AddCustomer"),
        (("PlaceOrder", "{"), 2, "it is not JSON"),
        (("PlaceOrder", "[]"), 2, "Expected `object`, got `array`"),
        (("PlaceOrder", ORDER.replace("o-1", "")), 2, "$.order_id: it is empty"),
        (("PlaceOrder", ORDER, "--expected-version", "3"), 1, "is at version 0, not 3"),
        (("PlaceOrder", ORDER, "--metadata", "who"), 2, "expected KEY=TEXT"),
        (("PlaceOrder", ORDER, "--metadata", "command_id=c-1"), 2, "it has an argument of its own"),
        (("PlaceOrder", ORDER, "--id", ""), 2, "it is empty; leave it out"),
        (("PlaceOrder", " "), 2, "it is empty; expected a JSON object"),
        (("PlaceOrder", "[" * 100_000), 2, "it is not JSON"),
    ],
)
def test_what_cannot_be_done_is_said_in_words(shop: Shop, words: tuple[str, ...], status: int, told: str) -> None:
    sent = shop("send", *words)
    assert (sent.returncode, told in sent.stderr) == (status, True), sent.stderr
    assert "Traceback" not in sent.stderr


def test_faults_of_a_payload_are_data_too(shop: Shop) -> None:
    sent = shop("send", "PlaceOrder", '{"order_id": 5, "customer": "Ada", "lines": []}', "--json")
    error = json.loads(sent.stdout)["error"]
    assert (error["type"], error["command"]) == ("InvalidCommand", "PlaceOrder")
    assert error["faults"] == [{"place": "$.order_id", "message": "Expected `str`, got `int`"}]


def test_a_mistake_in_decide_is_shown_where_it_is(shop: Shop) -> None:
    sent = shop("send", "PlaceOrder", ORDER.replace("Ada", "crash"))
    assert sent.returncode == 1
    assert "ZeroDivisionError: by mistake" in sent.stderr
    assert "raised while service 'orders' decided PlaceOrder" in sent.stderr


@pytest.mark.parametrize(
    ("app", "told"),
    [
        ("nowhere:app", "module 'nowhere' cannot be imported"),
        ("shop_app", "expected MODULE:NAME"),
        ("shop_app:shop", "its Apps are: app"),
        ("shop_app:not_an_app", "its Apps are: app"),
    ],
)
def test_an_app_that_is_not_there_is_said_in_words(shop: Shop, app: str, told: str) -> None:
    asked = shop("status", app=app)
    assert (asked.returncode, told in asked.stderr) == (2, True), asked.stderr


def test_check_status_and_verify_work_on_an_app(shop: Shop) -> None:
    assert shop("send", "PlaceOrder", ORDER).returncode == 0
    assert shop("sync", "--once").returncode == 0
    assert "2 services, 1 read model, 1 view" in shop("check").stdout
    now = json.loads(shop("status", "--json").stdout)
    told = {each["service"]: (each["kind"], each["commands"], each["events"]) for each in now["writing"]}
    assert told == {"orders": ("events", 1, 1), "customers": ("tables", 0, None)}
    assert "no difference" in shop("verify").stdout
