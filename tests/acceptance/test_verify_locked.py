"""A table that somebody locks for long keeps `verify` from its answer, and `verify` says which table, who, and what to do."""

from pathlib import Path

import psycopg
import pytest
from tests.acceptance.test_open_transactions import follower_of, write

from syncline.errors import Unavailable
from syncline.testing.postgres import Databases


@pytest.mark.parametrize("capture", ["triggers", "wal", "polling"])
@pytest.mark.parametrize("is_partitioned", [False, True], ids=["table", "partition"])
def test_verify_names_the_table_and_the_process_that_locks_it(
    tmp_path: Path, postgres: Databases, monkeypatch: pytest.MonkeyPatch, capture: str, is_partitioned: bool
) -> None:
    app, source = follower_of(tmp_path, postgres, capture)
    locked = "order"
    with psycopg.connect(source) as owner:
        if is_partitioned:
            locked = "orders_a"
            owner.execute('DROP TABLE "order"')
            owner.execute('CREATE TABLE "order" (order_id text PRIMARY KEY, cents integer) PARTITION BY LIST (order_id)')
            owner.execute('CREATE TABLE orders_a PARTITION OF "order" DEFAULT')
        write(owner, capture, 1)
    app.sync()
    assert app.verify().differences == ()
    with psycopg.connect(source) as owner:
        monkeypatch.setattr("syncline.stores.postgres.look.LOCK_WAIT_MS", 200)
        owner.execute(f'LOCK TABLE "{locked}" IN ACCESS EXCLUSIVE MODE')
        pid = owner.info.backend_pid
        with pytest.raises(Unavailable) as found:
            app.verify()
        assert f"table public.order is locked by process {pid} for " in str(found.value)
        assert str(found.value).endswith(f"or end it there: SELECT pg_terminate_backend({pid})")
        owner.rollback()
    assert app.verify().differences == ()
