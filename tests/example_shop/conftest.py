"""The shop of the example over fresh databases."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from shop.app import build
from shop.customers import register
from shop.seed import CUSTOMERS, seed

from syncline.testing import InMemory, in_memory


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[InMemory]:
    """Seeded; nothing follows but by `settle`."""
    register(tmp_path / "customers.db", CUSTOMERS)
    with in_memory(build(tmp_path), databases={"customers": tmp_path / "customers.db"}) as shop:
        seed(shop.app, tmp_path)
        yield shop
