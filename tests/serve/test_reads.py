"""Reads of one store by many at once: none keeps another waiting, and a store that fails or is put away is opened again."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.shop.orders import PlaceOrder, orders

from syncline import App, PostgreSQL, SQLite, View
from syncline.errors import ImpossibleValue, NotFound, StaleRead, StoreError, SynclineError, TookTooLong, Unavailable
from syncline.messages import Token
from syncline.read.reader import ReadResult, Wanted
from syncline.serve.problems import Refused
from syncline.serve.reading import Reads
from syncline.testing.postgres import Databases

NUMBERS = View("lines", ("order_id", "sku"), "SELECT l.order_id, l.sku, l.quantity FROM orders.line l")
CUSTOMERS = View("customers", "customer", "SELECT h.customer, COUNT(*) AS orders FROM orders.header h GROUP BY h.customer")
QUANTITIES = View("quantities", "quantity", "SELECT l.quantity, COUNT(*) AS lines FROM orders.line l GROUP BY l.quantity")
GIVE_UP_S = 15.0

Ask = Callable[[Reads], Coroutine[Any, Any, None]]


@pytest.fixture(params=["sqlite", "postgres"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[App]:
    """Orders, and three views of them on either store; ten orders of one customer are there."""
    if request.param == "sqlite":
        store: SQLite | PostgreSQL = SQLite(str(tmp_path / "read.db"))
    else:
        databases: Databases = request.getfixturevalue("postgres")
        store = PostgreSQL(databases.create("read"))
    with App(
        orders.on(SQLite(str(tmp_path / "orders.db"))), *(view.on(store) for view in (NUMBERS, CUSTOMERS, QUANTITIES))
    ) as app:
        for number in range(10):
            app.send(PlaceOrder(f"o-{number}", "Ada", {"tea": number + 1}))
        app.sync()
        yield app


def read_all(app: App, ask: Ask, *, most_waiting: int = 1_000) -> None:
    """Runs `ask` with the reads of the application's one store, and closes them."""
    reads = Reads(app.config.read_models[0].database, most_waiting=most_waiting)
    try:
        asyncio.run(ask(reads))
    finally:
        reads.close()


def customer(at_least: Token | None = None, timeout_s: float = GIVE_UP_S) -> Wanted:
    return Wanted("customers", ["Ada"], at_least=at_least, timeout_s=timeout_s)


async def until(found: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + GIVE_UP_S
    while not await found():
        assert time.monotonic() < deadline, "it did not come about in time"
        await asyncio.sleep(0.01)


async def failing(reading: Awaitable[ReadResult]) -> Exception:
    try:
        found = await reading
    except (SynclineError, Refused) as error:
        return error
    raise AssertionError(f"it was answered: {found}")


def test_many_read_at_once_and_each_gets_its_own_row(app: App) -> None:
    async def ask(reads: Reads) -> None:
        for _ in range(3):
            found = await asyncio.gather(*(reads.read(Wanted("lines", [f"o-{n}", "tea"])) for n in range(10) for _ in range(20)))
            assert [each.rows for each in found] == [[(f"o-{n}", "tea", n + 1)] for n in range(10) for _ in range(20)]

    read_all(app, ask)


def test_a_read_that_waits_keeps_no_other_waiting_and_is_answered_when_its_token_is_reached(app: App) -> None:
    token = app.send(PlaceOrder("o-10", "Ada", {"tea": 1})).token

    async def ask(reads: Reads) -> None:
        waiting = [asyncio.create_task(reads.read(customer(token))) for _ in range(50)]
        for _ in range(5):
            assert (await reads.read(customer())).rows == [("Ada", 10)]
        assert not any(each.done() for each in waiting)
        await asyncio.to_thread(app.sync)
        assert {found.rows[0] for found in await asyncio.gather(*waiting)} == {("Ada", 11)}

    read_all(app, ask)


def test_a_token_that_is_not_reached_in_time_is_refused(app: App) -> None:
    token = app.send(PlaceOrder("o-10", "Ada", {"tea": 1})).token

    async def ask(reads: Reads) -> None:
        began = time.monotonic()
        assert isinstance(await failing(reads.read(customer(token, timeout_s=0.05))), StaleRead)
        assert isinstance(await failing(reads.read(customer(token, timeout_s=0))), StaleRead)
        assert time.monotonic() - began < GIVE_UP_S / 2

    read_all(app, ask)


def test_a_read_that_cannot_be_answered_spoils_none_that_is_asked_beside_it(app: App) -> None:
    async def ask(reads: Reads) -> None:
        for _ in range(3):
            found = await asyncio.gather(
                *(reads.read(Wanted("quantities", [str(n + 1) if n % 3 else "many"])) for n in range(10)),
                *(reads.read(Wanted("quantities", ["1"], where=[("no_such", 1)])) for _ in range(2)),
                reads.read(Wanted("quantities", ["1", "2"])),
                return_exceptions=True,
            )
            for n, each in enumerate(found[:10]):
                if n % 3:
                    assert isinstance(each, ReadResult), each
                    assert each.rows == [(n + 1, 1)]
                else:  # SQLite holds no column to its type: there is just no such row
                    assert isinstance(each, ImpossibleValue) or (isinstance(each, ReadResult) and not each.rows), each
            assert all(isinstance(each, NotFound) for each in found[10:])

    read_all(app, ask)


def test_rows_and_token_are_of_one_state_while_the_relay_commits(app: App) -> None:
    first = app.token("orders").positions["orders"].n

    stop = threading.Event()
    relay = threading.Thread(target=app.run, args=(stop,))

    async def ask(reads: Reads) -> None:
        seen: set[int] = set()
        for number in range(60):
            token = app.send(PlaceOrder(f"n-{number}", "Ada", {"tea": 1})).token
            for found in await asyncio.gather(*(reads.read(customer()) for _ in range(4)), reads.read(customer(token))):
                count = found.rows[0][1]
                assert isinstance(count, int)
                assert found.token.positions["orders"].n - first == count - 10
                seen.add(count)
        assert len(seen) > 10

    relay.start()
    try:
        read_all(app, ask)
    finally:
        stop.set()
        relay.join()


def test_more_than_may_wait_are_refused_and_the_place_of_one_who_left_is_free_again(app: App) -> None:
    token = app.send(PlaceOrder("o-10", "Ada", {"tea": 1})).token

    async def ask(reads: Reads) -> None:
        waiting = [asyncio.create_task(reads.read(customer(token))) for _ in range(3)]
        await asyncio.sleep(0)
        refused = await failing(reads.read(customer(token)))
        assert isinstance(refused, Refused) and refused.problem.status == 503
        for each in waiting:
            each.cancel()
        await asyncio.wait(waiting)
        assert isinstance(await failing(reads.read(customer(token, timeout_s=0.01))), StaleRead)

    read_all(app, ask, most_waiting=3)


def test_reads_that_wait_are_refused_when_the_service_stops(app: App) -> None:
    token = app.send(PlaceOrder("o-10", "Ada", {"tea": 1})).token

    async def ask(reads: Reads) -> None:
        waiting = [asyncio.create_task(reads.read(customer(token))) for _ in range(5)]
        await reads.read(customer())
        await asyncio.to_thread(reads.close)
        for each in waiting:
            assert isinstance(await failing(each), Unavailable)
        assert isinstance(await failing(reads.read(customer())), Unavailable)

    read_all(app, ask)


@pytest.mark.parametrize("app", ["postgres"], indirect=True)
def test_connections_that_the_server_cut_are_opened_again_and_nobody_notices(app: App) -> None:
    url = app.config.read_models[0].database

    async def ask(reads: Reads) -> None:
        async def slowly() -> ReadResult:
            return await reads.read_slowly(Wanted("customers"), 5.0)

        for _ in range(3):
            assert (await reads.read(customer())).rows == (await slowly()).rows == [("Ada", 10)]
            with psycopg.connect(url, autocommit=True) as other:
                other.execute(
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
                )

    read_all(app, ask)


@pytest.mark.parametrize("app", ["postgres"], indirect=True)
def test_a_list_is_ended_at_its_time_limit_on_a_server_too(app: App) -> None:
    url = app.config.read_models[0].database

    async def ask(reads: Reads) -> None:
        with psycopg.connect(url) as other:
            tables = "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE tablename LIKE 'customers%'"
            for (table,) in other.execute(tables).fetchall():
                other.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            began = time.monotonic()
            error = await failing(reads.read_slowly(Wanted("customers"), 0.2))
            assert isinstance(error, TookTooLong) and error.timeout_s == 0.2
            assert 0.2 <= time.monotonic() - began < GIVE_UP_S
        assert (await reads.read_slowly(Wanted("customers"), 5.0)).rows == [("Ada", 10)]

    read_all(app, ask)


@pytest.mark.parametrize("app", ["sqlite"], indirect=True)
def test_a_store_that_is_gone_is_unavailable_and_answers_again_when_it_is_back(app: App, tmp_path: Path) -> None:
    async def ask(reads: Reads) -> None:
        async def is_answered() -> bool:
            try:
                return (await reads.read(customer())).rows == [("Ada", 10)]
            except StoreError:
                return False

        async def is_refused() -> bool:
            return not await is_answered()

        await until(is_answered)
        store, away = tmp_path / "read.db", tmp_path / "away.db"
        store.rename(away)
        await until(is_refused)
        assert isinstance(await failing(reads.read_slowly(Wanted("customers"), 5.0)), Unavailable)
        away.rename(store)
        await until(is_answered)

    read_all(app, ask)


@pytest.mark.parametrize("app", ["sqlite"], indirect=True)
def test_a_store_that_was_made_anew_in_its_place_is_the_one_that_answers(app: App, tmp_path: Path) -> None:
    async def ask(reads: Reads) -> None:
        async def rows() -> list[Any]:
            at_once, slowly = await reads.read(customer()), await reads.read_slowly(Wanted("customers"), 5.0)
            return [at_once.rows, slowly.rows]

        async def is_anew() -> bool:
            return await rows() == [[("Ada", 11)], [("Ada", 11)]]

        assert await rows() == [[("Ada", 10)], [("Ada", 10)]]
        for file in tmp_path.glob("read.db*"):
            file.unlink()
        app.send(PlaceOrder("o-10", "Ada", {"tea": 1}))
        app.sync()
        await until(is_anew)

    read_all(app, ask)
