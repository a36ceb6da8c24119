"""What is PostgreSQL's own about its event log: rights, databases that take no writes, many writers, histories that change."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from tests.crash.processes import wait_until
from tests.write.ledger import Deposit, assert_is_serial, ledger

from syncline import App, Conflict, Receipt
from syncline.errors import StoreError, Unavailable
from syncline.events import Append, AppendCondition, Appended, NewEvent, Query, QueryItem
from syncline.places import PostgreSQL
from syncline.stores.appending import Found, decide_upon
from syncline.stores.postgres.events import PostgresEventLog
from syncline.stores.postgres.handled import handled_commands
from syncline.stores.postgres.log_role import prepare_outbox
from syncline.stores.postgres.table_commands import PostgresTables
from syncline.stores.postgres.texts import number_array, original, storable, text_array
from syncline.stores.service_tables import TableSetup
from syncline.testing.postgres import Databases


@pytest.fixture
def url(postgres: Databases) -> str:
    return postgres.create("log")


@pytest.fixture
def role(postgres: Databases, url: str) -> Iterator[str]:
    """The URL of the database as a role that may only connect."""
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("CREATE ROLE syncline_weak LOGIN PASSWORD 'right'")
    parts = urlsplit(url)
    yield urlunsplit(parts._replace(netloc=f"syncline_weak:right@{parts.hostname}:{parts.port}"))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP OWNED BY syncline_weak; DROP ROLE syncline_weak")


def run(url: str, sql: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql)


def is_waiting(url: str, log: PostgresEventLog) -> bool:
    """Whether the log's connection waits for the right to give out positions."""
    asked = "SELECT wait_event = 'advisory' FROM pg_stat_activity WHERE pid = %s"
    with psycopg.connect(url) as connection:
        return connection.execute(asked, (log._connection.info.backend_pid,)).fetchone() == (True,)


def one(stream: str = "s", name: str = "E", **more: object) -> Append:
    return Append(stream, (NewEvent(name, "{}"),), **more)  # type: ignore[arg-type]


def open_log(url: str) -> None:
    PostgresEventLog(url).close()


def open_tables(url: str) -> None:
    PostgresTables(url, TableSetup("own", "CREATE TABLE t (k int PRIMARY KEY)", ("t",), "polling")).close()


# -- rights --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("act", [open_log, prepare_outbox, open_tables])
def test_a_role_that_may_not_make_the_schema_is_told_the_grant_that_mends_it(
    url: str, role: str, act: Callable[[str], None]
) -> None:
    with pytest.raises(StoreError, match=r'GRANT CREATE ON DATABASE "log_\w+" TO "syncline_weak"') as raised:
        act(role)
    assert "right" not in str(raised.value).replace("the right", ""), "the password is not shown"
    run(url, str(raised.value).rpartition("run: ")[2])
    run(url, "GRANT CREATE ON SCHEMA public TO syncline_weak")
    act(role)


def test_a_role_that_lacks_rights_on_the_log_is_told_each_of_them_and_with_them_it_works(url: str, role: str) -> None:
    open_log(url)
    with pytest.raises(StoreError, match='GRANT USAGE, CREATE ON SCHEMA syncline TO "syncline_weak"'):
        PostgresEventLog(role)
    run(url, "GRANT USAGE ON SCHEMA syncline TO syncline_weak")
    with pytest.raises(StoreError) as raised:
        PostgresEventLog(role)
    run(url, "GRANT SELECT ON syncline.event_log TO syncline_weak")
    with pytest.raises(StoreError, match=r'GRANT INSERT, SELECT ON syncline\.command TO "syncline_weak"; GRANT') as raised:
        PostgresEventLog(role)
    run(url, str(raised.value).rpartition("run: ")[2])
    with closing(PostgresEventLog(role)) as log:
        assert log.append([one(command_id="c")]) == [Appended(1, 1)]


def test_a_wrong_password_is_told_without_showing_it(url: str, role: str) -> None:
    with pytest.raises(StoreError) as raised:
        PostgresEventLog(role.replace(":right@", ":wrong@").replace("syncline_weak", "nobody_of_that_name"))
    assert "wrong" not in str(raised.value)


@pytest.mark.parametrize("act", [open_log, open_tables])
def test_a_database_that_takes_no_writes_is_told_and_worth_another_try(url: str, act: Callable[[str], None]) -> None:
    with closing(PostgresEventLog(url)) as log:
        run(url, f"ALTER DATABASE {urlsplit(url).path[1:]} SET default_transaction_read_only = on")
        log._connection.execute("SET default_transaction_read_only = on")
        with pytest.raises(Unavailable, match="takes no writes"):
            log.append([one()])
        assert log.head().n == 0
    if act is open_tables:
        with pytest.raises(Unavailable, match="takes no writes"):
            act(url)


# -- durability, locks and histories -------------------------------------------------------------------------------------


def test_commits_wait_for_the_disk_whatever_the_database_says_and_what_is_stricter_stays(url: str) -> None:
    name = urlsplit(url).path[1:]
    for said, found in (("off", "on"), ("remote_apply", "remote_apply"), ("on", "on")):
        run(url, f"ALTER DATABASE {name} SET synchronous_commit = {said}")
        with closing(PostgresEventLog(url)) as log:
            assert log._connection.execute("SHOW synchronous_commit").fetchone() == (found,)


def test_a_writer_that_stands_still_holds_others_up_for_a_bounded_time(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"lock_timeout": "50ms", "enable_seqscan": "off"}
    monkeypatch.setattr("syncline.stores.postgres.log_tables._SETTINGS_OF_LOG", settings)
    with closing(PostgresEventLog(url)) as log, closing(PostgresEventLog(url)) as other:
        with other._locked():
            other._place()
            with pytest.raises(Unavailable, match="lock timeout"):
                log.append([one()])
        assert log.append([one()]) == [Appended(1, 1)]
        assert other._connection.execute("SHOW idle_in_transaction_session_timeout").fetchone() != ("30s",)
    monkeypatch.undo()
    with closing(PostgresEventLog(url)) as log:
        assert log._connection.execute("SHOW idle_in_transaction_session_timeout").fetchone() == ("30s",)


def test_what_another_stores_while_an_append_waits_is_seen_whatever_isolation_the_database_has(url: str) -> None:
    run(url, f"ALTER DATABASE {urlsplit(url).path[1:]} SET default_transaction_isolation = 'repeatable read'")
    with closing(PostgresEventLog(url)) as log, closing(PostgresEventLog(url)) as other, ThreadPoolExecutor() as threads:
        with other._locked():
            group = decide_upon([one("b", condition=AppendCondition(0))], other._place(), Found(versions={"b": 0}))
            other._run("store", **other._values(group))
            append = threads.submit(log.append, [one("a", condition=AppendCondition(0), decided_at=0)])
            wait_until(lambda: is_waiting(url, log), "the append waits for the log's lock")
        assert append.result() == [Appended(1, 2)]


def test_an_append_whose_connection_is_ended_while_it_waits_stores_nothing(url: str) -> None:
    with closing(PostgresEventLog(url)) as log, closing(PostgresEventLog(url)) as other, ThreadPoolExecutor() as threads:
        with other._locked():
            other._place()
            append = threads.submit(log.append, [one("a", condition=AppendCondition(0), decided_at=0)])
            wait_until(lambda: is_waiting(url, log), "the append waits for the log's lock")
            run(url, f"SELECT pg_terminate_backend({log._connection.info.backend_pid})")
            with pytest.raises(Unavailable, match="terminat"):
                append.result(timeout=30)
        assert other.append([one()]) == [Appended(1, 1)]


def test_a_lost_connection_stores_nothing_and_its_lock_is_free(url: str) -> None:
    with closing(PostgresEventLog(url)) as log, closing(PostgresEventLog(url)) as other:
        with pytest.raises(Unavailable), log._errors(), log._locked():
            run(url, f"SELECT pg_terminate_backend({log._connection.info.backend_pid})")
            log._place()
        assert other.append([one()]) == [Appended(1, 1)]


def test_a_backup_that_was_put_back_is_noticed_before_anything_is_stored(url: str) -> None:
    with closing(PostgresEventLog(url)) as log:
        log.append([one(name="A")])
        run(url, "UPDATE syncline.event SET id = id + 1")
        with pytest.raises(Unavailable, match="has another history than it had"):
            log.append([one(name="B")])
    with closing(PostgresEventLog(url)) as log:
        assert [each.name for each in log.read()] == ["A"]


def test_a_history_that_was_given_another_name_is_told_with_the_next_append(url: str) -> None:
    with closing(PostgresEventLog(url)) as log:
        log.append([one("a", condition=AppendCondition(0), decided_at=0)])
        run(url, "UPDATE syncline.event_log SET incarnation = 'another'")
        assert log.append([one("b", condition=AppendCondition(0), decided_at=1)]) == [Appended(1, 2)]
        assert log.incarnation == "another"


def test_what_is_looked_for_costs_the_same_before_and_after_the_log_has_grown(url: str) -> None:
    def look(log: PostgresEventLog, number: int) -> None:
        log.append([one(f"s-{number}", condition=AppendCondition(0), command_id=f"c-{number}", decided_at=0)])
        log.append([one("q", condition=AppendCondition(none_match=Query((QueryItem(tags=("none",)),))))])
        log.read_streams({f"s-{number}": 0})
        log.read(log.head().n - 1, limit=1)

    with closing(PostgresEventLog(url)) as log:
        look(log, 0)
        run(url, "ANALYZE syncline.event, syncline.tag, syncline.command")
        for number in range(1, 10):  # plans are made now, for tables of one page
            look(log, number)
        log.append([one(f"t-{number}", command_id=f"t-{number}") for number in range(3_000)])
        before = _rows_read_in_vain(log)
        for number in range(10, 30):
            look(log, number)
        assert _rows_read_in_vain(log) == before


def _rows_read_in_vain(log: PostgresEventLog) -> int:
    """How many rows this connection's scans of whole tables have read, but for the one that every log has."""
    log._connection.execute("SELECT pg_stat_force_next_flush()")
    asked = "SELECT sum(seq_tup_read)::bigint FROM pg_stat_user_tables WHERE schemaname = 'syncline' AND relname <> 'event_log'"
    return int((log._connection.execute(asked).fetchone() or (0,))[0])


def test_how_many_commands_were_handled_is_told(url: str) -> None:
    assert handled_commands(url, is_log=True) is None
    with closing(PostgresEventLog(url)) as log:
        log.append([one(command_id="a"), one(command_id="b", at=5.0), Append("s", (), command_id="c")])
    found = handled_commands(url, is_log=True)
    assert found is not None and (found.commands, found.events, found.newest_at) == (3, 2, 5.0)


# -- texts ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "texts",
    [
        [], [""], ["a", "b"], ["NULL", None, "null"],
        ['"', "\\", '\\"', "{", "}", ",", "a,b", " "], ["\x00", "\x1a", "\x1a0", "\x00\x1a1"],
        ["\x1f", "a\x1fb", "\x1f\x1f"], ["line\nbreak", "ünï", "\U0001f600", "'%s", "\x1f\x00"], [None],
    ],
)  # fmt: skip
def test_any_texts_go_through_an_array_and_come_back(url: str, texts: list[str | None]) -> None:
    with psycopg.connect(url) as connection:
        (found,) = connection.execute("SELECT %s::text[]", [text_array(texts)]).fetchone() or ()
    assert [original(each) for each in found] == texts
    assert len({storable(each) for each in texts if each is not None}) == len([each for each in texts if each is not None])


@pytest.mark.parametrize("numbers", [[], [7], [1, -2.5, 1e300, 0.1], [0.1, 0.1, 0.1], [0.1, 0.1, 0.2]])
def test_numbers_go_through_an_array_and_come_back(url: str, numbers: list[float]) -> None:
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT %s::double precision[]", [number_array(numbers)]).fetchone() == (numbers,)


# -- a thousand at once --------------------------------------------------------------------------------------------------


def test_a_thousand_appenders_at_once_each_take_effect_exactly_once(url: str) -> None:
    """In 8 Apps, so over 8 connections; every command is sent twice with its id, by two threads, through two Apps."""
    apps = [App(ledger.on(PostgreSQL(url))) for _ in range(8)]
    begin = threading.Barrier(1_000)
    receipts: list[Receipt | None] = [None] * 1_000

    def send(number: int) -> None:
        app, command = apps[number % 8], Deposit(f"a-{number // 2 % 50}", number // 2)
        begin.wait()
        while receipts[number] is None:
            try:
                receipts[number] = app.send(command, command_id=f"c-{number // 2}")
            except (Conflict, Unavailable):  # others were first, again and again; its id makes it safe to send again
                continue

    threads = [threading.Thread(target=send, args=(number,)) for number in range(1_000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    for app in apps:
        app.close()
    assert all(receipts[number] == receipts[number ^ 1] for number in range(1_000))
    with closing(PostgresEventLog(url)) as log:
        events = log.read(limit=-1)
    assert_is_serial(ledger, events, {f"c-{number}": Deposit(f"a-{number % 50}", number) for number in range(500)})
    assert len({each.metadata["command_id"] for each in events}) == 500
