"""Where the time goes, statement by statement: `python benchmarks/statement_times.py [--orders N] [--postgres]`, for engineers.

Loads and builds the shop, then makes batches of 1,000 and of 1, as `first_build` and `maintain` do, by Syncline and by hand, and
adds up the time that each statement takes, the fetching of rows included; what is left of the whole is Python's. The timing
itself costs half a microsecond a call: rates are those of the other programs.
"""

import argparse
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any, Self

import psycopg
from grounds import open_ground
from race import Side, opened_sides
from shop import BY_HAND, SYNCLINE, Writer

BATCHES = {1_000: 100, 1: 5_000}
LEAST_SHARE = 0.002
WIDTH = 170

times: dict[str, list[float]] = {}
"""By statement: how often it ran, and for how many seconds in all."""


class _Timed:
    """Goes before a driver's cursor."""

    _sql = ""

    def execute(self, sql: Any, *values: Any, **options: Any) -> Self:
        self._sql = str(sql)
        self._timed(super().execute, sql, *values, runs=1, **options)
        return self

    def executemany(self, sql: Any, *values: Any, **options: Any) -> Self:
        self._sql = str(sql)
        self._timed(super().executemany, sql, *values, runs=1, **options)
        return self

    def __next__(self) -> Any:
        return self._timed(super().__next__)

    def fetchone(self) -> Any:
        return self._timed(super().fetchone)

    def fetchmany(self, *size: Any) -> Any:
        return self._timed(super().fetchmany, *size)

    def fetchall(self) -> Any:
        return self._timed(super().fetchall)

    def _timed(self, act: Callable[..., Any], *arguments: Any, runs: int = 0, **options: Any) -> Any:
        began = time.perf_counter()
        try:
            return act(*arguments, **options)
        finally:
            found = times.setdefault(self._sql, [0, 0.0])
            found[0] += runs
            found[1] += time.perf_counter() - began


class _Cursor(_Timed, sqlite3.Cursor):
    pass


class _PostgresCursor(_Timed, psycopg.Cursor[Any]):
    pass


class _Connection(sqlite3.Connection):
    def execute(self, sql: str, *values: Any) -> _Cursor:
        return self.cursor(_Cursor).execute(sql, *values)

    def executemany(self, sql: str, *values: Any) -> _Cursor:
        return self.cursor(_Cursor).executemany(sql, *values)


def main() -> None:
    parser = argparse.ArgumentParser(description="Says where the time goes, statement by statement.")
    parser.add_argument("--orders", type=int, default=200_000)
    parser.add_argument("--postgres", action="store_true")
    options = parser.parse_args()
    orders = options.orders
    with ExitStack() as stack:
        ground = stack.enter_context(open_ground(is_postgres=options.postgres))
        began = time.perf_counter()
        with _timed_connections():
            sides = stack.enter_context(opened_sides(ground, orders, SYNCLINE, BY_HAND))
        print(f"==== making, loading and building, both sides\n{_report(time.perf_counter() - began, 1)}\n")
        for rows, batches in BATCHES.items():
            for side in sides:
                spent = _maintain(side, rows, batches)
                print(f"==== {side.name}, {orders:,} orders, batches of {rows:,}: {rows * batches / spent:,.0f} changes/s")
                print(f"{_report(spent, batches)}\n")


@contextmanager
def _timed_connections() -> Iterator[None]:
    """Connections opened inside are timed."""
    lite: Any = sqlite3.connect
    postgres: Any = psycopg.connect
    sqlite3.connect = lambda *a, **k: lite(*a, **{**k, "factory": _Connection})
    psycopg.connect = lambda *a, **k: postgres(*a, **{"cursor_factory": _PostgresCursor, **k})
    try:
        yield
    finally:
        sqlite3.connect, psycopg.connect = lite, postgres


def _maintain(side: Side, rows: int, batches: int) -> float:
    """Seconds that so many rounds took; `times` holds their statements, not the writer's."""
    times.clear()
    spent = 0.0
    with closing(Writer(side.shop, seed=rows)) as writer:
        for _ in range(batches):
            writer.change(rows)
            began = time.perf_counter()
            side.step()
            spent += time.perf_counter() - began
    return spent


def _report(whole_s: float, batches: int) -> str:
    """A line a statement: microseconds a batch, share of the whole, runs a batch."""
    python_s = whole_s - sum(spent for _, spent in times.values())
    lines = [
        f"{whole_s / batches * 1e6:12,.1f} µs a batch",
        f"{python_s / batches * 1e6:12,.1f} µs {python_s / whole_s:6.1%}  in Python",
    ]
    for sql, (runs, spent) in sorted(times.items(), key=lambda item: -item[1][1]):
        if spent / whole_s > LEAST_SHARE:
            text = " ".join(sql.split())[:WIDTH]
            lines.append(f"{spent / batches * 1e6:12,.1f} µs {spent / whole_s:6.1%} {runs / batches:7.2f} x  {text}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
