"""capture_cost: what capture by triggers adds to a service's own writes.

The same transactions on copies of the payments database: without triggers, with the triggers that Syncline installs, with a bare
log of keys (what the hand-written relay needs, nothing else) as the yardstick, and on PostgreSQL with the same log written by
row-level triggers, which is what most would write first. One UPDATE of 1,000 rows spread over all 200,000 is the figure asked
for; 1,000 neighbouring rows on a few pages are the worst case, since they cost the owner least; and one row a transaction. An
SQLite owner checkpoints its own write-ahead log, as SQLite does by default; that is included. Not included: the relay, which does
not run meanwhile (its reading does not hold up a writer; its deletion of marks is one short transaction every 0.25 s).
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from statistics import median
from typing import Any

import followed
from figures import Cell, Table, say
from shop import Ground, Shop

ROWS = 1_000
WITHOUT, CAPTURED, BARE, BY_ROW = "no triggers", "Syncline", "bare key log", "row-level"
ASKED = {
    "SQLite": "at most 25 % added to a bulk update of 1,000 rows (changes spread over all orders)",
    "PostgreSQL": "at most 30 % added to a bulk update of 1,000 rows (changes spread over all orders)",
}
_CHANGE = "UPDATE payments SET status = CASE status WHEN 'open' THEN 'paid' ELSE 'open' END WHERE"

Write = Callable[[Any, random.Random, int], None]


def measure(ground: Ground, *, quick: bool) -> list[Table]:
    orders, rounds = (5_000, 10) if quick else (200_000, 400)
    with _shops(ground, orders) as shops:
        return [_table(ground, shops, rounds, level) for level in ground.owner_levels]


@contextmanager
def _shops(ground: Ground, orders: int) -> Iterator[dict[str, Shop]]:
    with ground.shop(orders) as original, ExitStack() as stack:
        names = [WITHOUT, CAPTURED, BARE, *([BY_ROW] if ground.name == "PostgreSQL" else [])]
        shops = {name: stack.enter_context(original.copy()) for name in names}
        followed.write_project(shops[CAPTURED])
        with followed.opened_relay(shops[CAPTURED].folder) as relay:
            followed.catch_up(relay)
        shops[BARE].by_hand().close()
        if BY_ROW in shops:
            _log_by_row(shops[BY_ROW])
        yield shops


def _log_by_row(shop: Shop) -> None:
    with closing(shop.open_owner("payments")) as owner:
        owner.execute(
            "CREATE TABLE row_log (tx xid8 NOT NULL DEFAULT pg_current_xact_id(), tbl smallint NOT NULL, k1 integer);"
            "CREATE FUNCTION row_log() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "INSERT INTO row_log (tbl, k1) VALUES (1, NEW.order_id); RETURN NULL; END $$;"
            "CREATE TRIGGER row_log AFTER UPDATE ON payments FOR EACH ROW EXECUTE FUNCTION row_log()"
        )


def _table(ground: Ground, shops: dict[str, Shop], rounds: int, level: str) -> Table:
    orders = shops[WITHOUT].orders
    rows: list[tuple[Cell, ...]] = []
    for what, write in _WRITES[ground.name].items():
        say(f"{level}: {what}")
        costs = _costs(shops, rounds, level, write)
        rows.append((what, *costs.values(), *(100 * (costs[name] / costs[WITHOUT] - 1) for name in shops if name != WITHOUT)))
    return Table(
        f"Trigger capture: what a transaction of the writer costs, {ground.name}, {level}",
        ("µs a transaction", *shops, *(f"% by {name}" for name in shops if name != WITHOUT)),
        rows,
        ASKED[ground.name],
        (f"Medians of {rounds} transactions each, by turns; {orders:,} payments. The percentages are what is added.",),
    )


def _costs(shops: dict[str, Shop], rounds: int, level: str, write: Write) -> dict[str, float]:
    spent: dict[str, list[float]] = {name: [] for name in shops}
    with ExitStack() as stack:
        owners = {name: stack.enter_context(closing(shop.open_owner("payments", level))) for name, shop in shops.items()}
        draws = {name: random.Random(1) for name in shops}
        for number in range(rounds + rounds // 10 + 1):
            for name, owner in owners.items():
                began = time.perf_counter()
                owner.execute("BEGIN")
                write(owner, draws[name], shops[name].orders)
                owner.execute("COMMIT")
                if number > rounds // 10:
                    spent[name].append(1e6 * (time.perf_counter() - began))
    return {name: median(values) for name, values in spent.items()}


def _neighbours(marks: str) -> Write:
    def write(owner: Any, draw: random.Random, orders: int) -> None:
        first = draw.randint(1, orders - ROWS + 1)
        owner.execute(f"{_CHANGE} order_id BETWEEN {marks} AND {marks}", (first, first + ROWS - 1))

    return write


def _scattered(condition: str, encode: Callable[[Sequence[int]], Any]) -> Write:
    def write(owner: Any, draw: random.Random, orders: int) -> None:
        owner.execute(f"{_CHANGE} {condition}", (encode(draw.sample(range(1, orders + 1), ROWS)),))

    return write


def _single(marks: str) -> Write:
    def write(owner: Any, draw: random.Random, orders: int) -> None:
        owner.execute(f"{_CHANGE} order_id = {marks}", (draw.randint(1, orders),))

    return write


def _writes(mark: str, condition: str, encode: Callable[[Sequence[int]], Any]) -> dict[str, Write]:
    return {
        "UPDATE of 1,000 rows, spread over all": _scattered(condition, encode),
        "UPDATE of 1,000 neighbouring rows": _neighbours(mark),
        "UPDATE of one row": _single(mark),
    }


_WRITES = {
    "SQLite": _writes("?", "order_id IN (SELECT value FROM json_each(?))", str),
    "PostgreSQL": _writes("%s", "order_id = ANY (%s)", list),
}
