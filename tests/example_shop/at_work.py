"""One process of a shop, to be killed: `python -m tests.example_shop.at_work FOLDER run` follows and runs the sagas until it is
killed; `… FOLDER buy ORDERS RATE` places those of the first ORDERS orders that are not placed yet, and ends when these are over.
"""

import sqlite3
import sys
import threading
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from shop.app import build
from shop.buyers import buy

NOW = datetime(2026, 5, 31, tzinfo=UTC)
DEADLINE_S = 6.0


def placed(folder: Path) -> int:
    """How many orders there are. They are placed in their order, so that it is the number of the next as well."""
    with closing(sqlite3.connect(folder / "orders.db", timeout=30)) as connection:
        sql = "SELECT COUNT(*) FROM syncline_event WHERE name = 'OrderPlaced'"
        return int(connection.execute(sql).fetchone()[0])


def main() -> None:
    folder, verb, *options = sys.argv[1:]
    with build(Path(folder), deadline_s=DEADLINE_S) as app:
        if verb == "run":
            app.run(threading.Event())
        else:
            orders, rate = options
            buy(app, Path(folder), orders=int(orders), rate=float(rate), first=placed(Path(folder)), now=NOW)


if __name__ == "__main__":
    main()
