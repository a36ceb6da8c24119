"""Plays the year's changes into one service's database: `python replay.py --folder F --service operations --days 3`.

Ordinary SQL in many small transactions, as the service itself would write it; knows nothing of Syncline. The same seed
on the same database plays the same changes. Ends when the days are over, at a limit, or at Ctrl-C between transactions.
"""

import argparse
import json
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from random import Random

import data
from changes import IN_POSTGRES, SCRIPTS, Script, Transaction
from databases import Connection, DatabaseMissing, Refused, database_of
from services import SERVICES

REPORT_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Limits:
    """When a replay ends. Zero changes per second is as fast as the database takes them; None is no limit."""

    days: int = 3
    changes_per_s: float = 0.0
    seconds: float | None = None
    changes: int | None = None


@dataclass(slots=True)
class Totals:
    """What was written so far."""

    changes: int = 0
    transactions: int = 0
    rolled_back: int = 0
    began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began


def replay(
    database: str, script: Script, limits: Limits, seed: int, stop: threading.Event, say: Callable[[Totals], None]
) -> Totals:
    """Plays `script` until it ends, a limit is reached or `stop` is set; never stops within a transaction."""
    with closing(Connection(database, IN_POSTGRES)) as connection:
        transactions = script(connection, limits.days, Random(seed))
        opening = list(islice(transactions, 1))
        # The clock starts here: until its first transaction, a script reads the data.
        totals, said = Totals(), 0.0
        for transaction in chain(opening, transactions):
            _write(connection, transaction, totals)
            if totals.seconds - said >= REPORT_EVERY_S:
                said = totals.seconds
                say(totals)
            if _is_over(totals, limits) or stop.wait(_pause_s(totals, limits)):
                break
    return totals


def _write(connection: Connection, transaction: Transaction, totals: Totals) -> None:
    """One transaction, all or nothing: a CHECK that refuses one statement takes the others back as well."""
    changed = 0
    try:
        connection.begin()
        for statement in transaction.statements:
            changed += connection.execute(statement.sql, statement.values).rowcount
        connection.execute("COMMIT" if transaction.is_kept else "ROLLBACK")
    except Refused:
        connection.execute("ROLLBACK")
        totals.rolled_back += 1
        return
    if transaction.is_kept:
        totals.changes += changed
        totals.transactions += 1
    else:
        totals.rolled_back += 1


def _is_over(totals: Totals, limits: Limits) -> bool:
    over_time = limits.seconds is not None and totals.seconds >= limits.seconds
    return over_time or (limits.changes is not None and totals.changes >= limits.changes)


def _pause_s(totals: Totals, limits: Limits) -> float:
    """How long to wait so that the changes keep to their rate, and not beyond the end."""
    if not limits.changes_per_s:
        return 0.0
    pause_s = totals.changes / limits.changes_per_s - totals.seconds
    if limits.seconds is not None:
        pause_s = min(pause_s, limits.seconds - totals.seconds)
    return max(pause_s, 0.0)


def _print_json(totals: Totals) -> None:
    body = {"changes": totals.changes, "transactions": totals.transactions, "rolled_back": totals.rolled_back}
    print(json.dumps(body | {"seconds": round(totals.seconds, 2)}), flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Play the year's changes into one service's database.")
    parser.add_argument("--folder", type=Path, required=True, help="where syncline.toml is")
    parser.add_argument("--service", choices=SERVICES, required=True)
    parser.add_argument("--days", type=int, default=3, help="days to play (default 3)")
    parser.add_argument("--rate", type=float, default=0.0, help="changes per second (default as fast as it goes)")
    parser.add_argument("--seconds", type=float, help="end after so many seconds")
    parser.add_argument("--changes", type=int, help="end after so many changes")
    parser.add_argument("--seed", type=int, default=1, help="another seed plays other accidents (default 1)")
    parser.add_argument("--json", action="store_true", help="print totals as JSON, every half second and at the end")
    return parser.parse_args()


def main() -> int:
    """Plays what the command line says, and prints one line of totals."""
    options = _options()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    limits = Limits(options.days, options.rate, options.seconds, options.changes)
    try:
        say = _print_json if options.json else lambda _: None
        database = database_of(options.folder, options.service)
        totals = replay(database, SCRIPTS[options.service], limits, options.seed, stop, say)
    except (data.DataMissing, DatabaseMissing) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.json:
        _print_json(totals)
    else:
        print(
            f"{options.service}: {totals.changes:,} changes in {totals.transactions:,} transactions, "
            f"{totals.rolled_back} rolled back, {totals.seconds:.1f} s"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
