"""The OpenAPI document tells what is there, and the service keeps to it: driven by a property-based HTTP tester."""

import os
from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance
from tests.serve.conftest import Shop, followed, served, shop_in
from tests.shop.orders import PlaceOrder

from syncline.serve import HttpConfig, Limits

EXAMPLES = int(os.environ.get("SYNCLINE_HTTP_EXAMPLES", "12"))
LIMITS = Limits(wait_s=0.05, query_s=1.0)
"""Nobody is as new as `Max-Staleness: 0` asks: such a read waits as long as it may, and `Wait: 64` must not make that longer."""
ANSWERED_S = 5.0


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with followed(shop_in(tmp_path_factory.mktemp("shop"))) as app, served(app, HttpConfig(limits=LIMITS)) as found:
        yield found


def serves(ctx: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case) -> None:
    """The service does not fail, and answers within its limits whatever is asked; that it is not as new as asked is an answer."""
    assert response.status_code < 500 or response.json()["type"] == "/problems/stale-read", response.text
    assert response.elapsed < ANSWERED_S, f"answered after {response.elapsed:.1f} s"


CHECKS = [serves, status_code_conformance, response_schema_conformance]


def test_the_document_tells_the_columns_commands_and_parameters_that_there_are(shop: Shop) -> None:
    document = shop.http.get("/openapi.json").json()
    row = document["paths"]["/views/order_summary/{key}"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert list(row["properties"]) == ["order_id", "customer", "status", "total_cents", "payment"]
    assert document["components"]["schemas"]["PlaceOrder"]["required"] == ["order_id", "customer", "lines"]
    names = [each.get("name") for each in document["paths"]["/queries/large_orders"]["get"]["parameters"]]
    assert names[:2] == ["above_cents", "customer"]


@pytest.mark.parametrize("path", ["/views/order_summary/nobody", "/views/order_summary", "/queries/large_orders"])
def test_a_read_ends_within_the_longest_wait_however_long_it_would_wait(shop: Shop, path: str) -> None:
    answer = shop.http.get(path, headers={"Max-Staleness": "0", "Wait": "64"})
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/stale-read")
    assert answer.elapsed.total_seconds() < ANSWERED_S


def drive(shop: Shop, examples: int) -> int:
    for number in range(3):
        shop.app.send(PlaceOrder(f"driven-{number}", "Ada", {"tea": 1}))
    document = shop.http.get("/openapi.json").json()
    document["paths"] = {path: each for path, each in document["paths"].items() if not path.endswith("/changes")}
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=shop.url)
    count = 0
    for operation in schema.get_all_operations():
        strategy = operation.ok().as_strategy()

        @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(case=strategy)
        def each(case: schemathesis.Case) -> None:
            nonlocal count
            count += 1
            case.call_and_validate(checks=CHECKS)

        each()
    return count


def test_no_request_makes_it_fail_and_every_answer_keeps_to_its_schema(shop: Shop) -> None:
    assert drive(shop, EXAMPLES) > 100


@pytest.mark.long
def test_no_request_of_many_makes_it_fail(shop: Shop) -> None:
    assert drive(shop, 500) > 1000
