"""The yardstick: what a good engineer would write by hand to keep just this one view, with the same promises.

The same: keys of changed rows logged by triggers; marks and current rows read in one snapshot of the source; mirrors, view,
change feed and checkpoint changed in one transaction a batch; only rows that differ are written, to mirrors and view; marks
deleted at the source after a sync of the read store, every 0.25 s. Left out, since one view alone can do without: incarnations
and nonces (a restored source goes unnoticed), fencing of a second relay, what `status` shows, several consumers of one log,
parking of what cannot be computed, serving while loading.

With `with_difference=False` every affected row of the view is written anew, and no change feed is kept.
"""

import sqlite3
import sys
import time
from pathlib import Path

import shop

SYNC_INTERVAL_S = 0.25
PROBE_INTERVAL_S = 0.004
CHECKPOINT_PAGES = 20_000

_READ_STORE = """
    CREATE TABLE customers (customer_id INTEGER PRIMARY KEY, name TEXT);
    CREATE TABLE orders (order_id INTEGER PRIMARY KEY, customer_id INTEGER, status TEXT);
    CREATE TABLE order_lines (
      order_id INTEGER, line INTEGER, quantity INTEGER, price_cents INTEGER, PRIMARY KEY (order_id, line)
    ) WITHOUT ROWID;
    CREATE TABLE reservations (order_id INTEGER PRIMARY KEY, status TEXT);
    CREATE TABLE payments (order_id INTEGER PRIMARY KEY, status TEXT);
    CREATE TABLE order_summary (
      order_id INTEGER PRIMARY KEY, customer TEXT, status TEXT, total_cents INTEGER, lines INTEGER, reservation TEXT, payment TEXT
    );
    CREATE TABLE order_summary_changes (seq INTEGER PRIMARY KEY, op TEXT NOT NULL, order_id INTEGER);
    CREATE TABLE checkpoint (service TEXT PRIMARY KEY, n INTEGER NOT NULL, read_at REAL NOT NULL) WITHOUT ROWID;
    CREATE TEMP TABLE affected (order_id INTEGER PRIMARY KEY);
"""

_COLUMNS = {
    "customers": ("customer_id", "name"),
    "orders": ("order_id", "customer_id", "status"),
    "order_lines": ("order_id", "line", "quantity", "price_cents"),
    "reservations": ("order_id", "status"),
    "payments": ("order_id", "status"),
}
_KEYS = {table: ("order_id", "line") if table == "order_lines" else columns[:1] for table, columns in _COLUMNS.items()}

_QUERY = """
    SELECT o.order_id, c.name, o.status, sum(l.quantity * l.price_cents), count(l.line), r.status, p.status
      FROM {start} orders o {on}
      LEFT JOIN customers c ON c.customer_id = o.customer_id
      LEFT JOIN order_lines l ON l.order_id = o.order_id
      LEFT JOIN reservations r ON r.order_id = o.order_id
      LEFT JOIN payments p ON p.order_id = o.order_id
     GROUP BY {key}
"""
_EVERY_ROW = _QUERY.format(start="", on="", key="o.order_id")
_AFFECTED_ROWS = _QUERY.format(start="temp.affected a CROSS JOIN", on="ON o.order_id = a.order_id", key="a.order_id")

_REST = ("customer", "status", "total_cents", "lines", "reservation", "payment")
_SET = ", ".join(f"{name} = excluded.{name}" for name in _REST)
_DIFFERS = " OR ".join(f"{name} IS NOT excluded.{name}" for name in _REST)

_BUILD = f"INSERT INTO order_summary {_EVERY_ROW}"
_WRITE = f"INSERT INTO order_summary {_AFFECTED_ROWS} ON CONFLICT (order_id) DO UPDATE SET {_SET}"
_WRITE_DIFFERENCE = f"{_WRITE} WHERE {_DIFFERS} RETURNING order_id"
_GONE = """
    DELETE FROM order_summary
     WHERE order_id IN (SELECT order_id FROM temp.affected WHERE order_id NOT IN (SELECT order_id FROM orders))
 RETURNING order_id
"""
_RECORD = "INSERT INTO order_summary_changes (op, order_id) VALUES ('{op}', ?)"
_FORGET_AFFECTED = "DELETE FROM temp.affected"

_AFFECTED_BY = {
    "customers": "INSERT OR IGNORE INTO temp.affected SELECT order_id FROM orders WHERE customer_id = ?",
    "orders": "INSERT OR IGNORE INTO temp.affected VALUES (?)",
    "order_lines": "INSERT OR IGNORE INTO temp.affected SELECT ?1 WHERE ?2 IS NOT NULL",
    "reservations": "INSERT OR IGNORE INTO temp.affected VALUES (?)",
    "payments": "INSERT OR IGNORE INTO temp.affected VALUES (?)",
}


class HandwrittenRelay:
    """Keeps `order_summary` in `folder`/hand.db. `step` is one round, as `syncline.move.relay.Relay.step` is."""

    def __init__(self, folder: Path, *, with_difference: bool = True) -> None:
        self._with_difference = with_difference
        self.connection = _open_read_store(folder / "hand.db")
        self._sources = {service: _Source(folder / f"{service}.db", tables) for service, tables in shop.SERVICES.items()}
        self._synced_at = time.monotonic()

    def load(self) -> int:
        """The first copy of every mirror. Returns how many rows."""
        rows = 0
        for service, tables in shop.SERVICES.items():
            source = self._sources[service]
            self.connection.execute("BEGIN IMMEDIATE")
            self.connection.execute("INSERT INTO checkpoint VALUES (?, ?, ?)", (service, source.head(), time.time()))
            for table in tables:
                marks = ", ".join("?" * len(_COLUMNS[table]))
                cursor = self.connection.executemany(f"INSERT INTO {table} VALUES ({marks})", source.every_row(table))
                rows += cursor.rowcount
            self.connection.execute("COMMIT")
        return rows

    def build(self) -> None:
        """The first build of the view, and the index that a customer's change needs."""
        self.connection.execute("BEGIN IMMEDIATE")
        self.connection.execute("CREATE INDEX orders_by_customer ON orders (customer_id)")
        self.connection.execute(_BUILD)
        self.connection.execute("COMMIT")

    def step(self) -> bool:
        """One round over the three sources; every 0.25 s a sync, and applied marks are deleted."""
        worked = False
        for service, source in self._sources.items():
            if source.changed():
                self._apply(service, source)
                worked = True
        now = time.monotonic()
        if now - self._synced_at >= SYNC_INTERVAL_S:
            self._synced_at = now
            self._forget()
        return worked

    def close(self) -> None:
        for source in self._sources.values():
            source.connection.close()
        self.connection.close()

    def _apply(self, service: str, source: "_Source") -> None:
        run, run_many = self.connection.execute, self.connection.executemany
        up_to, changes = source.read()
        run("BEGIN IMMEDIATE")
        for table, rows, gone in changes:
            keys = [row[: len(_KEYS[table])] for row in rows] + gone
            if rows:
                run_many(_UPSERT[table], rows)
            if gone:
                run_many(_DELETE[table], gone)
            run_many(_AFFECTED_BY[table], keys)
        self._maintain()
        run("UPDATE checkpoint SET n = ?, read_at = ? WHERE service = ?", (up_to, time.time(), service))
        run("COMMIT")

    def _maintain(self) -> None:
        """The affected rows of the view anew, from the mirrors as they are now."""
        run, run_many = self.connection.execute, self.connection.executemany
        if self._with_difference:
            run_many(_RECORD.format(op="upsert"), run(_WRITE_DIFFERENCE).fetchall())
            run_many(_RECORD.format(op="delete"), run(_GONE).fetchall())
        else:
            run(_WRITE)
            run(_GONE).fetchall()
        run(_FORGET_AFFECTED)

    def _forget(self) -> None:
        self.connection.execute("PRAGMA synchronous = FULL")
        self.connection.execute("UPDATE checkpoint SET n = n")
        self.connection.execute("PRAGMA synchronous = NORMAL")
        for source in self._sources.values():
            source.forget()


class _Source:
    """One service's database: its log of marks, and the rows that they name."""

    def __init__(self, path: Path, tables: tuple[str, ...]) -> None:
        self.connection = sqlite3.connect(path, timeout=5, isolation_level=None, cached_statements=256)
        self.connection.execute("PRAGMA wal_autocheckpoint = 0")
        self.connection.execute("PRAGMA synchronous = NORMAL")
        self._numbers = dict(enumerate(tables, 1))
        self._seen, self._applied, self._forgotten = -1, 0, 0
        self.connection.execute("BEGIN IMMEDIATE")
        self.connection.execute("CREATE TABLE hand_log (seq INTEGER PRIMARY KEY, tbl INTEGER, k1, k2)")
        for number, table in self._numbers.items():
            for statement in _triggers(table, number):
                self.connection.execute(statement)
        self.connection.execute("COMMIT")

    def head(self) -> int:
        return int(self.connection.execute("SELECT ifnull(max(seq), 0) FROM hand_log").fetchone()[0])

    def every_row(self, table: str) -> sqlite3.Cursor:
        columns = ", ".join(_COLUMNS[table])
        return self.connection.execute(f"SELECT {columns} FROM {table} ORDER BY {', '.join(_KEYS[table])}")

    def changed(self) -> bool:
        version = self.connection.execute("PRAGMA data_version").fetchone()[0]
        is_new, self._seen = version != self._seen, version
        return bool(is_new)

    def read(self) -> tuple[int, list[tuple[str, list[tuple[object, ...]], list[tuple[object, ...]]]]]:
        """All marks and the current rows of their keys, from one snapshot."""
        run = self.connection.execute
        run("BEGIN")
        up_to = self.head()
        bounds = (self._applied, up_to)
        changes: list[tuple[str, list[tuple[object, ...]], list[tuple[object, ...]]]] = []
        for (number,) in run("SELECT DISTINCT tbl FROM hand_log WHERE seq > ? AND seq <= ?", bounds).fetchall():
            table = self._numbers[number]
            width = len(_KEYS[table])
            found = run(_SELECT_MARKED[table].format(number=number), bounds).fetchall()
            rows = [row[width:] for row in found if row[width] is not None]
            changes.append((table, rows, [row[:width] for row in found if row[width] is None]))
        run("COMMIT")
        self._applied = up_to
        return up_to, changes

    def forget(self) -> None:
        """Deletes applied marks but the highest one, so that numbers rise."""
        if self._applied > self._forgotten:
            self.connection.execute("DELETE FROM hand_log WHERE seq < ?", (self._applied,))
            self._forgotten = self._applied


def _open_read_store(path: Path) -> sqlite3.Connection:
    """With the pragmas that Syncline opens its read store with."""
    connection = sqlite3.connect(path, isolation_level=None, cached_statements=256)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    connection.execute("PRAGMA cache_size = -65536")
    connection.executescript(_READ_STORE)
    return connection


def _upsert(table: str) -> str:
    """Writes a mirror's row if it differs."""
    columns, key = _COLUMNS[table], _KEYS[table]
    rest = [name for name in columns if name not in key]
    changed = " OR ".join(f"{name} IS NOT excluded.{name}" for name in rest)
    return (
        f"INSERT INTO {table} VALUES ({', '.join('?' * len(columns))}) ON CONFLICT ({', '.join(key)}) "
        f"DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in rest)} WHERE {changed}"
    )


def _select_marked(table: str) -> str:
    """Each marked key once, then the row that it names."""
    key = _KEYS[table]
    marks = ", ".join(f"k{position}" for position in range(1, len(key) + 1))
    same = " AND ".join(f"t.{name} = m.k{position}" for position, name in enumerate(key, 1))
    return (
        f"SELECT m.*, {', '.join(f't.{name}' for name in _COLUMNS[table])} FROM (SELECT DISTINCT {marks} FROM hand_log "
        f"WHERE seq > ? AND seq <= ? AND tbl = {{number}}) m LEFT JOIN {table} t ON {same}"
    )


def _triggers(table: str, number: int) -> list[str]:
    """Log the key of every changed row; of a changed key, both."""
    columns = ", ".join(f"k{position}" for position in range(1, len(_KEYS[table]) + 1))

    def mark(row: str) -> str:
        values = ", ".join(f"{row}.{name}" for name in _KEYS[table])
        return f"INSERT INTO hand_log (tbl, {columns}) VALUES ({number}, {values});"

    rekeyed = " OR ".join(f"OLD.{name} IS NOT NEW.{name}" for name in _KEYS[table])
    return [
        f"CREATE TRIGGER hand_{table}_insert AFTER INSERT ON {table} BEGIN {mark('NEW')} END",
        f"CREATE TRIGGER hand_{table}_update AFTER UPDATE ON {table} BEGIN {mark('NEW')} END",
        f"CREATE TRIGGER hand_{table}_rekey AFTER UPDATE ON {table} WHEN {rekeyed} BEGIN {mark('OLD')} END",
        f"CREATE TRIGGER hand_{table}_delete AFTER DELETE ON {table} BEGIN {mark('OLD')} END",
    ]


_UPSERT = {table: _upsert(table) for table in _COLUMNS}
_DELETE = {table: f"DELETE FROM {table} WHERE {' AND '.join(f'{name} = ?' for name in key)}" for table, key in _KEYS.items()}
_SELECT_MARKED = {table: _select_marked(table) for table in _COLUMNS}


def main() -> None:
    """Follows the shop in the folder that the command line names, until ended by a signal."""
    relay = HandwrittenRelay(Path(sys.argv[1]))
    relay.load()
    relay.build()
    print("ready", flush=True)
    while True:
        if not relay.step():
            time.sleep(PROBE_INTERVAL_S)


if __name__ == "__main__":
    main()
