"""A view is built beside the rows that are shown and switched in one step: readers see the old rows until then, then the new.

The reader compares every state with the query of the view *as it is live in that state*, so that rows of another definition, a
part of the rows or none at all would not pass. See `tests/crash/bank.py`.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.crash import bank
from tests.crash.processes import Bank, Run, wait_until

ARCHIVE_ROWS = 20_000
PAUSE_S = 0.01
SEED = 21


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Bank]:
    """Services under load, and a reader that checks every state."""
    with Bank(tmp_path, SEED, archive=ARCHIVE_ROWS, pause_s=PAUSE_S) as made:
        made.start_writers()
        made.start_reader()
        yield made


def live_run(made: Bank) -> Run:
    run = made.run()
    wait_until(lambda: made.is_live() or run.process.poll() is not None, "every view is live")
    run.assert_runs()
    return run


def settle(made: Bank, run: Run) -> dict[str, object]:
    """All that was written is followed and exact; returns what the reader saw meanwhile."""
    made.wait_for(made.stop_writers())
    made.command("verify")
    seen = made.stop_reader()
    made.assert_exact()
    run.stop()
    return seen


def generations_until(made: Bank, views: tuple[str, ...], is_over: Callable[[], bool]) -> list[tuple[int, ...]]:
    """The generations that these views have together, in one snapshot each, in the order they are seen."""
    sql = f"SELECT {', '.join(f'max(live_generation) FILTER (WHERE name = {name!r})' for name in views)} FROM syncline_view"
    found: list[tuple[int, ...]] = []
    with closing(sqlite3.connect(f"{made.store.as_uri()}?mode=ro", uri=True, timeout=20)) as db:

        def look() -> bool:
            is_last = is_over()
            (row,) = db.execute(sql).fetchall()
            if row not in found[-1:]:
                found.append(row)
            return is_last

        wait_until(look, "the switch")
    return found


def change(made: Bank, view: str, old: str, new: str) -> None:
    assert old in bank.VIEWS[view]
    (made.folder / "views" / f"{view}.sql").write_text(bank.VIEWS[view].replace(old, new))


def test_a_rebuild_shows_the_old_rows_kept_up_to_date_until_the_new_ones_are_complete(made: Bank) -> None:
    run = live_run(made)
    before = made.generation("archived")
    for number in range(1, 4):
        made.command("rebuild", "archived")
        assert made.generation("archived") > before, number
        before = made.generation("archived")
    seen = settle(made, run)
    assert isinstance(seen["generations"], dict)
    assert len(seen["generations"]["archived"]) <= 4
    assert len(seen["generations"]["loyalty"]) == 1, "a view that has nothing to do with it was rebuilt"
    assert int(str(seen["beside"])) > 0, f"nobody looked while it was built: {seen}"


def test_a_rebuild_switches_the_views_that_read_the_view_with_it(made: Bank) -> None:
    run = live_run(made)
    for _ in range(5):
        before = made.generation("account_card")
        asked = made.ask("rebuild", "account_card")
        pairs = generations_until(made, ("account_card", "city_wealth"), lambda asked=asked: asked.poll() is not None)
        assert asked.returncode == 0
        assert pairs[0] == (before, before)
        assert len(pairs) <= 2
        assert all(card == wealth for card, wealth in pairs), pairs
        assert made.generation("account_card") > before
    settle(made, run)


def test_a_rebuild_of_a_view_leaves_what_it_reads_as_it_is(made: Bank) -> None:
    run = live_run(made)
    parent, child = made.generation("account_card"), made.generation("city_wealth")
    made.command("rebuild", "city_wealth")
    assert made.generation("account_card") == parent
    assert made.generation("city_wealth") > child
    settle(made, run)


def test_rebuilds_asked_for_at_the_same_time_all_come_to_an_end(made: Bank) -> None:
    run = live_run(made)
    asked = [made.ask("rebuild", view) for view in ("archived", "account_card", "archived", "city_wealth", "richest")]
    for process in asked:
        assert process.wait(60) == 0
    settle(made, run)


def test_a_rebuild_without_a_relay_is_done_by_the_command_itself(made: Bank) -> None:
    live_run(made).stop()
    before = made.generation("archived")
    made.command("rebuild", "archived")
    assert made.generation("archived") > before
    settle(made, live_run(made))


def test_a_changed_view_file_is_built_beside_what_is_shown(made: Bank) -> None:
    live_run(made).stop()
    before = made.generation("archived")
    change(made, "archived", "c.city", "c.city, a.cents * 2 AS twice")
    run = made.run()
    wait_until(lambda: made.phase() == "rebuild" or run.process.poll() is not None, "the changed view is being built")
    assert made.query("SELECT count(*) FROM archived") == [(ARCHIVE_ROWS,)], "the old rows are gone before the new ones are there"
    wait_until(lambda: made.is_live() or run.process.poll() is not None, "the changed view is live")
    run.assert_runs()
    assert made.generation("archived") > before
    assert made.query("SELECT count(*) FROM archived WHERE twice = 2 * cents") == [(ARCHIVE_ROWS,)]
    seen = settle(made, run)
    assert int(str(seen["beside"])) > 0, f"nobody looked while it was built: {seen}"


def test_a_changed_view_that_needs_a_new_column_fills_it_while_the_old_rows_are_shown(made: Bank) -> None:
    live_run(made).stop()
    assert "payee" not in columns(made, "ledger__transfer")
    change(made, "account_card", "sum(t.cents) AS paid", "sum(t.cents) AS paid, max(t.payee) AS payee")
    change(made, "city_wealth", "count(*) AS accounts", "count(*) AS accounts, max(payee) AS payee")
    run = made.run()
    pairs = generations_until(
        made,
        ("account_card", "city_wealth"),
        lambda: run.process.poll() is not None or (made.is_live() and "payee" in columns(made, "city_wealth")),
    )
    run.assert_runs()
    assert len(pairs) <= 2
    assert all(card == wealth for card, wealth in pairs), pairs
    assert "payee" in columns(made, "ledger__transfer")
    settle(made, run)


def test_a_view_file_added_or_removed_leaves_the_others_alone(made: Bank) -> None:
    live_run(made).stop()
    before = made.generation("archived")
    (made.folder / "views" / "loyalty.sql").unlink()
    (made.folder / "views" / "payees.sql").write_text(
        "-- key: payee\nSELECT payee, count(*) AS times FROM ledger.transfer GROUP BY payee\n"
    )
    run = made.run()
    wait_until(lambda: (made.is_live() and made.generation("payees")) or run.process.poll() is not None, "the new view is live")
    run.assert_runs()
    assert made.generation("archived") == before
    assert columns(made, "loyalty") == []
    settle(made, run)


def columns(made: Bank, table: str) -> list[str]:
    return [name for (name,) in made.query(f"SELECT name FROM pragma_table_info('{table}')")]
