"""The feed of an event log, step by step: what a batch holds, what goes on during a replay, and what if the log is not well."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.projection.logs import MakeLog, SQLiteLog
from tests.projection.stores import SQLiteStore
from tests.projection.world import TIMEOUT_S, Did, Model, Rules, Service, small_steps, views_of

from syncline.errors import StoreError
from syncline.messages import Progress
from syncline.move import followed
from syncline.stores import event_feed, replay
from syncline.stores.event_feed import EventFeed
from syncline.stores.roles import Look
from syncline.stores.sqlite.reader import SQLiteReader


@pytest.fixture
def shop(tmp_path: Path, new_log: MakeLog) -> Service:
    return Service(new_log(tmp_path, "shop"))


@pytest.fixture
def model(tmp_path: Path, shop: Service) -> Iterator[Model]:
    found = Model(SQLiteStore(tmp_path / "read.db"), [shop.followed], views_of("shop"))
    with small_steps():
        yield found
    found.close()


def item(number: int, **values: Any) -> Did:
    return Did([("upsert", "item", {"id": "a", "part": number, **values})])


def amounts(model: Model) -> dict[int, int]:
    return {row[1]: row[3] for row in model.held("shop", "item")}


def other_views(model: Model, *names: str) -> None:
    model.views = views_of("shop", *names)
    model.crash()


def test_an_append_that_is_larger_than_a_batch_is_one_batch(shop: Service, model: Model) -> None:
    model.settle()
    shop.append(*[item(number) for number in range(20)])
    shop.append(item(20))
    model.step_until(lambda: amounts(model), "something is applied")
    at = model.store.checkpoint("shop")
    assert at is not None and at.n == 20
    assert len(amounts(model)) == 20


def test_a_batch_is_bounded_by_its_number_of_events(shop: Service, model: Model) -> None:
    model.settle()
    for number in range(20):
        shop.append(item(number))
    seen: list[int] = []

    def is_over() -> bool:
        at = model.store.checkpoint("shop")
        assert at is not None
        seen.extend([at.n] if at.n not in seen else [])
        return at.n == 20

    model.step_until(is_over, "all is applied")
    assert seen == [0, 3, 6, 9, 12, 15, 18, 20]


def test_a_batch_is_bounded_in_time_and_holds_whole_appends(shop: Service, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    model.settle()
    monkeypatch.setattr(event_feed, "BATCH_EVENTS", 1_000)
    monkeypatch.setattr(event_feed, "BATCH_BUDGET_S", 0.0)
    for number in range(0, 20, 4):
        shop.append(item(number), item(number + 1))
        shop.append(item(number + 2), item(number + 3))
    seen: list[int] = []

    def is_over() -> bool:
        at = model.store.checkpoint("shop")
        assert at is not None
        seen.extend([at.n] if at.n not in seen else [])
        model.assert_right(shop)
        return at.n == 20

    model.step_until(is_over, "all is applied")
    assert seen == [*range(0, 22, 2)]


def test_a_log_that_is_replaced_while_a_batch_is_cut_is_not_taken_for_the_one_that_was_read(
    shop: Service, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        shop.append(item(number, amount=1))
    other = shop.log.copy()
    model.settle()
    monkeypatch.setattr(event_feed, "BATCH_EVENTS", 1_000)
    monkeypatch.setattr(event_feed, "BATCH_BUDGET_S", 0.0)
    for number in range(3, 9):
        shop.append(item(number, amount=1))
    rows, is_replaced = shop.published.rows, False

    def replacing(event: Did) -> Any:
        nonlocal is_replaced
        if not is_replaced:
            is_replaced = True
            shop.log.restore(other)
            for number in range(3, 9):
                shop.append(item(number, amount=2))
        return rows(event)

    monkeypatch.setattr(shop.rules, "rows", lambda event: replacing(event) if not is_replaced else Rules.rows(shop.rules, event))
    model.step_until(lambda: is_replaced and model.relay.is_settled() and amounts(model).get(8) == 2, "it is followed")
    model.settle()
    assert set(amounts(model).items()) == {(number, 1 if number < 3 else 2) for number in range(9)}
    at = model.store.checkpoint("shop")
    assert at is not None and shop.is_of_this_history(at)


def test_a_step_of_a_replay_is_bounded_in_time(shop: Service, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(30):
        shop.append(item(number, amount=number))
    monkeypatch.setattr(replay, "SLICE_EVENTS", 1_000)
    monkeypatch.setattr(replay, "SLICE_S", 0.0)
    monkeypatch.setattr(replay, "LAST_STEP_S", 0.0)
    seen = set[int]()

    def is_live() -> bool:
        feed = model.relay.following["shop"].feed
        found = feed.replayed if isinstance(feed, EventFeed) else None
        seen.update([found[0]] if found is not None else [])
        return model.relay.is_settled()

    model.step_until(is_live, "the first copy")
    assert len(seen) > 20
    model.assert_right(shop)


@pytest.mark.parametrize("ahead_s", [3600.0, 0.0])
def test_a_batch_is_never_younger_than_is_known_whatever_the_writers_clock_says(
    shop: Service, model: Model, monkeypatch: pytest.MonkeyPatch, ahead_s: float
) -> None:
    model.settle()
    before = read_at(model)
    stored_at = time.time() - 1.0 + ahead_s
    for number in range(6):
        shop.append(item(number), at=stored_at)
    model.step_until(lambda: (at := model.store.checkpoint("shop")) is not None and at.n == 3, "the first of two batches")
    assert read_at(model) == (before if ahead_s else stored_at)
    model.settle()
    assert before < read_at(model) <= time.time()


def read_at(model: Model) -> float:
    return float(model.place.run("SELECT read_at FROM syncline_feed")[0][0])


def test_what_is_live_is_of_one_position_though_the_log_grows_faster_than_it_is_read(
    shop: Service, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "SLICE_EVENTS", 100)  # copying is quick enough to overtake
    monkeypatch.setattr(event_feed, "SCAN_ROWS", 100)
    other_views(model, "owners")
    for number in range(12):
        shop.append(item(number, amount=number))
    model.settle()
    other_views(model, "owners", "totals")
    number = 12
    for _ in range(30):
        for _ in range(4):
            shop.append(item(number, amount=number))
            number += 1
        model.relay.step()
        if model.store.definitions.states.get("shop__item") == "live":
            at = model.store.checkpoint("shop")
            assert at is not None
            assert len(model.held("shop", "item")) == at.n
            assert at.n < number, "the log did not grow faster"
            return
    pytest.fail(f"it never went live: {model.lines}")


def test_mirrors_go_on_and_the_rows_of_before_are_shown_until_a_rebuild_is_complete(shop: Service, model: Model) -> None:
    for number in range(40):
        shop.append(item(number, amount=1))
    model.settle()
    shop.rules.factor = 5
    model.feed().replay([model.relation("shop", "item")])
    followed = 0
    while model.feed().is_replaying:
        before = amounts(model)
        shop.append(item(0, amount=100 + followed))
        model.relay.step()
        after = amounts(model)
        if model.feed().is_replaying and after != before:
            followed += 1
            assert set(after.values()) - {after[0]} == {1}, "old rows changed before all were made anew"
    assert followed > 5, "nothing was applied during the replay"
    model.settle()
    model.assert_right(shop)
    assert set(amounts(model).values()) - {amounts(model)[0]} == {5}


def test_status_says_how_far_a_replay_came(shop: Service, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_feed, "SHOWN_S", 0.0)
    for number in range(30):
        shop.append(item(number))
    seen: list[str] = []

    def is_live() -> bool:
        ((shown,),) = model.place.run("SELECT activity FROM syncline_feed") or [("",)]
        seen.append(shown)
        return model.relay.is_settled()

    model.step_until(is_live, "the first copy")
    assert "replaying: 10 of 30 events" in seen
    assert seen[-1] == ""


def test_a_log_that_is_put_back_again_while_it_is_compared_is_compared_with_what_it_is_then(shop: Service, model: Model) -> None:
    shop.append(item(1, amount=1))
    first = shop.log.copy()
    for number in range(2, 20):
        shop.append(item(number, amount=number))
    model.settle()
    shop.log.restore(first)
    for number in range(2, 18):
        shop.append(item(number, amount=-number))
    renewed = shop.log.copy()
    model.step_until(lambda: model.feed()._redo is not None, "the comparison begins")
    model.relay.step()
    assert amounts(model)[17] == 17, "it is not in the midst of it"
    shop.log.restore(renewed if shop.incarnation() == shop.log.incarnation_of(renewed) else first)
    for number in range(2, 5):
        shop.append(item(number, amount=1000 * number))
    model.settle()
    model.assert_right(shop)
    assert amounts(model)[2] == 2000


def test_events_that_were_removed_from_the_log_are_missed_and_told(shop: Service, model: Model) -> None:
    model.settle()
    for number in range(5):
        shop.append(item(number))
    shop.log.run("DELETE FROM {}event WHERE position = 2")
    model.step_until(lambda: model.relay.following["shop"].subscription.state == "failed", "it fails")
    assert "does not hold every event" in str(model.relay.following["shop"].subscription.error)
    assert amounts(model) == {}


def test_a_log_of_a_newer_format_is_left_alone_and_told(shop: Service, model: Model) -> None:
    shop.append(item(1))
    shop.log.run("UPDATE {}event_log SET format = 99")
    model.step_until(lambda: model.relay.following["shop"].subscription.state == "failed", "it fails")
    assert "format 99" in str(model.relay.following["shop"].subscription.error)


def test_a_log_of_a_newer_format_is_not_compared_with(shop: Service, model: Model) -> None:
    shop.append(item(1))
    model.settle()
    shop.log.run("UPDATE {}event_log SET format = 99")
    with pytest.raises(StoreError, match="format 99"):
        open_look(model, shop)


def open_look(model: Model, shop: Service) -> Look:
    with closing(SQLiteReader(model.place.database)) as reader:
        return shop.followed.open_look(reader, lambda: None, lambda: 0)


def test_a_log_that_was_emptied_is_not_taken_for_a_new_one_until_somebody_says_so(shop: Service, model: Model) -> None:
    shop.append(item(1, amount=5))
    model.settle()
    model.crash()
    shop.log.empty()
    model.step_until(lambda: bool(model.failures()), "it is told")
    assert "it was followed up to position 1" in str(model.failures()[0])
    assert amounts(model) == {1: 5}
    assert shop.followed.renew() == shop.incarnation()
    model.settle()
    assert amounts(model) == {}
    assert any("its history is another one" in line for line in model.lines)


def test_a_log_whose_file_was_removed_is_not_made_anew(tmp_path: Path) -> None:
    log = SQLiteLog(tmp_path, "shop")
    shop = Service(log)
    shop.append(item(1, amount=5))
    model = Model(SQLiteStore(tmp_path / "read.db"), [shop.followed], views_of("shop"))
    with small_steps():
        model.settle()
        model.crash()
        log.remove()
        model.step_until(lambda: bool(model.failures()), "it is told")
    assert "there is no database" in str(model.failures()[0])
    assert amounts(model) == {1: 5}
    assert not log.is_there()
    model.close()


def test_nothing_that_the_feed_does_keeps_a_writer_waiting(tmp_path: Path) -> None:
    log = SQLiteLog(tmp_path, "shop")
    shop = Service(log)
    for number in range(40):
        shop.append(item(number))
    model = Model(SQLiteStore(tmp_path / "read.db"), [shop.followed], views_of("shop"))
    with small_steps(), closing(sqlite3.connect(log.path, timeout=0)) as writer:
        for number in range(200):
            model.relay.step()
            writer.execute("BEGIN IMMEDIATE")
            writer.execute("UPDATE syncline_event_log SET commands = ?", (number,))
            writer.commit()
    assert model.feed()._history._reach.connection.execute("PRAGMA wal_autocheckpoint").fetchone() == (0,)
    model.close()


def test_a_feed_that_is_asked_seldom_is_asked_at_once_when_somebody_says_that_he_wrote(
    shop: Service, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("QUIET_S", 0.0), ("ASKED_AFTER_S", 3600.0), ("ASKING_SHARE", 1e-12)):
        monkeypatch.setattr(followed, name, value)
    model.settle()
    shop.append(item(1))
    for _ in range(10):
        model.relay.step(may_wait=True)
    assert amounts(model) == {}, "it was asked all the same"
    stop, wake = threading.Event(), threading.Event()
    deadline = time.monotonic() + TIMEOUT_S

    def is_over() -> bool:
        if amounts(model) or time.monotonic() > deadline:
            stop.set()
        return False

    wake.set()
    model.relay.run(stop, wake=wake, between=is_over)
    assert list(amounts(model)) == [1]


def test_an_event_that_changes_no_row_that_is_followed_moves_the_position(shop: Service, model: Model) -> None:
    other_views(model, "owners")
    model.settle()
    shop.append(item(1))
    model.settle()
    at = model.store.checkpoint("shop")
    assert at is not None and at.n == 1


def test_rows_that_are_not_copied_yet_are_not_missed(shop: Service, model: Model) -> None:
    for number in range(30):
        shop.append(item(number, amount=number))
    model.step_until(lambda: model.relay.following["shop"].subscription.state == "loading", "it loads")
    shop.append(Did([("patch", "item", {"id": "a", "part": 29, "amount": 7})]))
    model.settle()
    model.assert_right(shop)
    assert amounts(model)[29] == 7
    assert model.feed().complaint == ""
    shop.append(Did([("patch", "item", {"id": "b", "part": 1, "amount": 7}), ("delete", "item", {"id": "b", "part": 2})]))
    model.settle()
    assert "shop.item: 2 Patch or Delete named rows that were not there, the last of them ('b', 2)" in model.feed().complaint


def test_columns_that_come_while_a_mirror_is_copied_are_copied_into_their_places(shop: Service, model: Model) -> None:
    other_views(model, "totals")
    for number in range(20):
        shop.append(item(number, name=f"name {number}", amount=number, price=0.5))
    model.step_until(lambda: model.store.definitions.row_counts.get("shop__item", 0) > 4, "some rows are copied")
    other_views(model, "totals", "items")
    model.settle()
    model.assert_right(shop)
    assert model.held("shop", "item")[0] == ("a", 0, "name 0", 0, 0.5)


def test_columns_that_are_not_wanted_any_more_need_not_be_filled(shop: Service, model: Model) -> None:
    for number in range(20):
        shop.append(item(number, name=f"name {number}", amount=number))
    other_views(model, "totals")
    model.settle()
    other_views(model, "totals", "items")
    model.step_until(lambda: model.store.definitions.states["shop__item"] == "filling", "columns are being filled")
    other_views(model, "totals")
    model.settle()
    model.assert_right(shop)


def test_a_first_copy_and_a_rebuild_tell_how_far_they_are(shop: Service, model: Model) -> None:
    told: list[Progress] = []
    model.relay._on_progress = told.append
    for number in range(20):
        shop.append(item(number))
    model.settle()
    copied = [(each.done, each.total) for each in told if each.what == "replaying shop"]
    assert copied[0] == (2, 20) and copied[-1] == (20, 20) and copied.count((20, 20)) == 1
    told.clear()
    model.feed().replay([model.relation("shop", "item")])
    model.step_until(lambda: not model.feed().is_replaying, "the replay")
    again = [(each.done, each.total) for each in told if each.what == "replaying shop"]
    assert again[0] == (2, 20) and again[-1] == (20, 20) and again.count((20, 20)) == 1
