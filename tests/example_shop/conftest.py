from collections.abc import Iterator

import pytest
from tests.example_shop.shop_at import Shop, shop_in_memory


@pytest.fixture
def shop() -> Iterator[Shop]:
    with shop_in_memory() as shop:
        yield shop
