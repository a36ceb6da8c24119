"""Where the time of a block goes, statement by statement: a tool for whoever makes the engine faster.

Connections opened inside `timed_connections` add up the time that SQLite spends in each statement, the fetching of rows
included; what is left of the whole is Python's. Timing costs about half a microsecond a call.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

times: dict[str, list[float]] = {}
"""By statement: how often it ran, and for how many seconds in all."""


class _Cursor(sqlite3.Cursor):
    _sql = ""

    def execute(self, sql: str, *values: Any) -> "_Cursor":
        self._sql = sql
        return self._timed(super().execute, sql, *values, count=1)

    def executemany(self, sql: str, *values: Any) -> "_Cursor":
        self._sql = sql
        return self._timed(super().executemany, sql, *values, count=1)

    def __next__(self) -> Any:
        return self._timed(super().__next__)

    def fetchone(self) -> Any:
        return self._timed(super().fetchone)

    def fetchmany(self, *size: Any) -> Any:
        return self._timed(super().fetchmany, *size)

    def fetchall(self) -> Any:
        return self._timed(super().fetchall)

    def _timed(self, act: Callable[..., Any], *arguments: Any, count: int = 0) -> Any:
        began = time.perf_counter()
        try:
            return act(*arguments)
        finally:
            found = times.setdefault(self._sql, [0, 0.0])
            found[0] += count
            found[1] += time.perf_counter() - began


class _Connection(sqlite3.Connection):
    def execute(self, sql: str, *values: Any) -> _Cursor:
        return self.cursor(_Cursor).execute(sql, *values)

    def executemany(self, sql: str, *values: Any) -> _Cursor:
        return self.cursor(_Cursor).executemany(sql, *values)


@contextmanager
def timed_connections() -> Iterator[None]:
    """Every connection opened inside is timed."""
    connect: Any = sqlite3.connect
    sqlite3.connect = lambda *a, **k: connect(*a, **{**k, "factory": _Connection})
    try:
        yield
    finally:
        sqlite3.connect = connect


def report(whole_s: float, batches: int, *, width: int = 150) -> str:
    """A line a statement: microseconds a batch, share of the whole, runs a batch."""
    lines = [f"{whole_s / batches * 1e6:10.1f} µs a batch"]
    in_sql = sum(spent for _, spent in times.values())
    lines.append(f"{(whole_s - in_sql) / batches * 1e6:10.1f} µs  {(whole_s - in_sql) / whole_s:5.1%}        outside SQLite")
    for sql, (count, spent) in sorted(times.items(), key=lambda item: -item[1][1]):
        if spent / whole_s > 0.002:
            text = " ".join(sql.split())[:width]
            lines.append(f"{spent / batches * 1e6:10.1f} µs  {spent / whole_s:5.1%}  {count / batches:5.2f}x  {text}")
    return "\n".join(lines)
