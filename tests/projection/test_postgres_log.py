"""What is particular to following a log on PostgreSQL: outboxes of others' transactions, dumps, rights, a server that dies."""

import os
import random
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from tests.projection.logs import MakeLog, PostgresLog
from tests.projection.stores import SQLiteStore
from tests.projection.world import Did, Model, Service, small_steps, views_of

from syncline.errors import StoreError, SynclineError
from syncline.stores.outbox import OutboxEvent, outbox_for
from syncline.stores.postgres.history import open_history
from syncline.stores.postgres.log_tables import SQL
from syncline.testing.postgres import Databases, PostgresServer, find_binaries


@pytest.fixture
def shop(tmp_path: Path, postgres_log: MakeLog) -> Service:
    found = Service(postgres_log(tmp_path, "shop"))
    found.log.open().close()
    return found


@pytest.fixture
def model(tmp_path: Path, shop: Service) -> Iterator[Model]:
    found = Model(SQLiteStore(tmp_path / "read.db"), [shop.followed], views_of("shop"))
    with small_steps():
        yield found
    found.close()


def item(number: int, **values: Any) -> Did:
    return Did([("upsert", "item", {"id": "a", "part": number, **values})])


def record(connection: psycopg.Connection[Any], service: Service, *events: Did, stream: str = "one") -> None:
    """In the transaction that is open on the connection."""
    stored = [service.stored(event) for event in events]
    outbox_for(connection).append(
        [OutboxEvent(stream, each.name, each.shape, each.data, random.getrandbits(63), time.time()) for each in stored]
    )


@contextmanager
def connections(shop: Service, count: int) -> Iterator[list[psycopg.Connection[Any]]]:
    found = [psycopg.connect(shop.log.database) for _ in range(count)]
    try:
        yield found
    finally:
        for each in found:
            each.close()


def parts(model: Model) -> list[int]:
    return [row[1] for row in model.held("shop", "item")]


# -- the outbox --------------------------------------------------------------------------------------------------------


def test_who_began_to_record_first_and_commits_last_comes_last_and_is_not_missed(shop: Service, model: Model) -> None:
    with connections(shop, 2) as (first, second):
        record(first, shop, item(1))
        record(second, shop, item(2))
        second.commit()
        model.settle()
        assert parts(model) == [2]
        record(first, shop, item(3))
        first.commit()
        model.settle()
    assert parts(model) == [1, 2, 3]
    assert [position for position, _, _ in shop.events()] == [1, 2, 3]
    assert shop.ends() == {0, 1, 3}, "what a transaction recorded is one append"
    model.assert_right(shop)


def test_what_is_recorded_and_rolled_back_leaves_no_gap(shop: Service, model: Model) -> None:
    with connections(shop, 2) as (first, second):
        record(first, shop, item(1))
        record(second, shop, item(2))
        first.rollback()
        second.commit()
    shop.append(item(3))
    model.settle()
    assert parts(model) == [2, 3]
    assert [position for position, _, _ in shop.events()] == [1, 2]


def test_a_token_covers_what_was_recorded_and_committed_before_it_was_asked_for(shop: Service, model: Model) -> None:
    model.settle()
    with connections(shop, 2) as (first, second):
        record(first, shop, item(1))
        record(second, shop, item(2))
        second.commit()
        covered = shop.followed.head()
        assert covered is not None and covered.n == 1
        first.commit()
        head = shop.followed.head()
    assert head is not None and head.n == 2 and head.reaches(covered)
    model.settle()
    assert model.store.checkpoint("shop") == head
    assert parts(model) == [1, 2]


def test_a_log_that_somebody_appends_to_for_long_is_followed_meanwhile(shop: Service, model: Model) -> None:
    shop.append(item(1))
    model.settle()
    shop.append(item(2))
    with connections(shop, 2) as (appending, recording):
        appending.execute(SQL["lock"])
        record(recording, shop, item(3))
        recording.commit()
        model.step_until(lambda: parts(model) == [1, 2], "what is in the log already")
        began = time.monotonic()
        model.relay.step()
        assert time.monotonic() - began < 2.0, "a round waited for whoever is appending"
        assert model.failures() == []
        appending.rollback()
        model.settle()
    assert parts(model) == [1, 2, 3]


def test_what_many_transactions_record_at_once_is_followed_each_whole_and_in_one_order(shop: Service, model: Model) -> None:
    rng = random.Random(5)

    def write(number: int) -> None:
        with psycopg.connect(shop.log.database) as connection:
            for each in range(15):
                key = number * 100 + each
                record(connection, shop, item(2 * key), item(2 * key + 1), stream=f"s{number}")
                connection.rollback() if each % 5 == 4 else connection.commit()

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        if rng.random() < 0.3:
            shop.append(item(1_000_000 + rng.randrange(100)), stream="direct")
        model.relay.step()
        at = model.store.checkpoint("shop")
        assert at is None or at.n in shop.ends(), "a batch ended within a transaction"
    model.settle()
    kept = {number * 100 + each for number in range(4) for each in range(15) if each % 5 != 4}
    assert {part for part in parts(model) if part < 1_000_000} == {2 * key + more for key in kept for more in (0, 1)}
    assert [position for position, _, _ in shop.events()] == [*range(1, len(shop.events()) + 1)]
    model.assert_right(shop)


def test_texts_that_postgresql_cannot_hold_are_followed_as_they_are(shop: Service, model: Model) -> None:
    stream = "nul \0 and \x1a"
    shop.append(Did([("upsert", "owner", {"id": 1, "name": "\x1a0 is no nul"})]), stream=stream)
    shop.append(Did([], fails=True), stream=stream)
    model.settle()
    assert model.held("shop", "owner") == [(1, "\x1a0 is no nul", None)]
    assert model.held_back(shop) == {stream: 2}


# -- another history ---------------------------------------------------------------------------------------------------


def test_a_log_restored_from_a_dump_is_followed_as_it_is_then(shop: Service, model: Model, tmp_path: Path) -> None:
    for number in range(8):
        shop.append(item(number, amount=1))
    dump = tmp_path / "log.dump"
    run_tool("pg_dump", "--format=custom", "--schema=syncline", f"--file={dump}", shop.log.database)
    for number in range(6):
        shop.append(item(number, amount=2))
    model.settle()
    before = model.store.checkpoint("shop")
    run_tool("pg_restore", "--clean", f"--dbname={shop.log.database}", str(dump))
    for number in range(7):
        shop.append(item(number + 4, amount=3))
    model.settle()
    after = model.store.checkpoint("shop")
    assert before is not None and after is not None and after.incarnation != before.incarnation
    assert {row[1]: row[3] for row in model.held("shop", "item")} == {
        **dict.fromkeys(range(4), 1),
        **dict.fromkeys(range(4, 11), 3),
    }
    model.assert_right(shop)


def test_a_log_that_somebody_says_was_restored_is_compared_and_older_tokens_do_not_hold(shop: Service, model: Model) -> None:
    shop.append(item(1, amount=5))
    model.settle()
    before = shop.followed.head()
    assert shop.followed.renew() == shop.incarnation()
    model.settle()
    after = model.store.checkpoint("shop")
    assert before is not None and after is not None and after.n == before.n and not after.reaches(before)
    model.assert_right(shop)


def run_tool(name: str, *arguments: str) -> None:
    tool = find_binaries().bin / name
    subprocess.run([str(tool if tool.exists() else name), *arguments], check=True, env={**os.environ, "LC_ALL": "C.UTF-8"})


# -- rights ------------------------------------------------------------------------------------------------------------


def test_a_follower_that_lacks_a_right_is_told_the_grant_and_needs_no_more(
    shop: Service, postgres: Databases, tmp_path: Path
) -> None:
    role = f"follower_{random.getrandbits(40):x}"
    postgres.run(f"CREATE ROLE {role} LOGIN")
    url = urlsplit(shop.log.database)
    as_role = urlunsplit(url._replace(netloc=f"{role}@{url.hostname}:{url.port}"))
    try:
        with pytest.raises(StoreError, match="lacks rights to follow the event log") as refused:
            open_history(as_role)
        assert granted(shop, str(refused.value)) == {
            "GRANT USAGE ON SCHEMA syncline",
            "GRANT SELECT ON syncline.event",
            "GRANT SELECT ON syncline.event_log",
            "GRANT SELECT ON syncline.outbox",
        }
        follow_as(as_role, shop, tmp_path)
    finally:
        shop.log.run(f"DROP OWNED BY {role}")
        postgres.run(f"DROP ROLE {role}")


def granted(shop: Service, refused: str) -> set[str]:
    """What the error says is missing, which is given."""
    grants = refused.partition("let its owner run: ")[2]
    shop.log.run(grants)
    return {grant.rpartition(" TO ")[0] for grant in grants.split("; ")}


def follow_as(database: str, shop: Service, folder: Path) -> None:
    """What is appended; then, with rights to write, what is recorded, and a history that is another one."""
    shop.append(item(1))
    theirs = Service(PostgresLog(database))
    model = Model(SQLiteStore(folder / "theirs.db"), [theirs.followed], views_of("shop"))
    with small_steps():
        model.settle()
        assert parts(model) == [1]
        with connections(shop, 1) as (recording,):
            record(recording, shop, item(2))
            recording.commit()
        model.step_until(lambda: bool(model.failures()), "the missing right is told")
        (told,) = model.failures()
        assert granted(shop, str(told)) == {
            "GRANT INSERT ON syncline.event",
            "GRANT UPDATE ON syncline.event_log",
            "GRANT DELETE ON syncline.outbox",
        }
        model.settle()
        assert parts(model) == [1, 2]
        assert theirs.followed.renew() is not None
        model.settle()
    model.assert_right(shop)
    model.close()


# -- a server that dies --------------------------------------------------------------------------------------------------


def test_nothing_is_lost_when_the_server_is_killed_while_its_log_is_followed(tmp_path: Path) -> None:
    server = PostgresServer(is_durable=True)
    try:
        shop = Service(PostgresLog(server.url))
        shop.log.open().close()
        model = Model(SQLiteStore(tmp_path / "read.db"), [shop.followed], views_of("shop"))
        writing = Writing(shop)
        try:
            for _ in range(2):
                goal = len(writing.kept) + 60
                model.step_until(lambda goal=goal: len(writing.kept) > goal, "something is written")  # type: ignore[misc]
                server.kill()
                model.step_until(lambda: bool(model.failures()), "it is noticed")
                server.start()
            goal = len(writing.kept) + 20
            model.step_until(lambda: len(writing.kept) > goal, "it goes on")
        finally:
            writing.stop()
        model.settle()
        shown = set(parts(model))
        assert writing.kept <= shown <= writing.tried
        assert [position for position, _, _ in shop.events()] == [*range(1, len(shop.events()) + 1)]
        model.assert_right(shop)
        model.close()
    finally:
        server.stop()


class Writing:
    """A thread that appends and records by turns; `kept` is what was committed for certain."""

    def __init__(self, shop: Service) -> None:
        self.kept: set[int] = set()
        self.tried: set[int] = set()
        self._shop, self._is_over = shop, threading.Event()
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    def stop(self) -> None:
        self._is_over.set()
        self._thread.join()

    def _write(self) -> None:
        number = 0
        while not self._is_over.is_set():
            try:
                with closing(psycopg.connect(self._shop.log.database)) as connection:
                    while not self._is_over.is_set():
                        number += 1
                        self.tried.add(number)
                        if number % 8 == 0:
                            self._shop.append(item(number))
                        else:
                            record(connection, self._shop, item(number))
                            connection.commit()
                        self.kept.add(number)
            except (psycopg.Error, SynclineError):
                self._is_over.wait(0.01)
