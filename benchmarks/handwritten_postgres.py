"""The yardstick on PostgreSQL: what a good engineer would write by hand to keep just this one view, with the same promises.

The same: keys of changed rows logged by statement-level triggers with transition tables; marks and current rows read in one
snapshot, which also says which marks are known already, so that none is missed whatever order transactions commit in; mirrors,
view, change feed and checkpoint changed in one transaction a batch; only rows that differ are written, to mirrors and view; marks
deleted at the source after a commit of the read store that waited for the disk, every 0.25 s. Every statement takes the whole
batch, as arrays. Left out, since one view alone can do without: incarnations and nonces (a restored source goes unnoticed),
fencing of a second relay, what `status` shows, several consumers of one log, parking of what cannot be computed, serving while
loading, TRUNCATE and partitions.

With `with_difference=False` every affected row of the view is written anew, and no change feed is kept.
"""

import sys
import time
from collections.abc import Mapping
from typing import Any, TypeAlias

import psycopg
import shop
from psycopg.rows import scalar_row

SYNC_INTERVAL_S = 0.25
PROBE_INTERVAL_S = 0.004
KEPT_PLANS = {"options": "-c enable_hashjoin=off -c enable_mergejoin=off -c plan_cache_mode=force_generic_plan"}
"""A batch is small beside the tables: keys are looked up in indexes, whatever the planner thinks of arrays it cannot see."""

Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]

_READ_STORE = """
    CREATE TABLE customers (customer_id integer PRIMARY KEY, name text) WITH (fillfactor = 85);
    CREATE TABLE orders (order_id integer PRIMARY KEY, customer_id integer, status text) WITH (fillfactor = 85);
    CREATE TABLE order_lines (
      order_id integer, line integer, quantity integer, price_cents integer, PRIMARY KEY (order_id, line)
    ) WITH (fillfactor = 85);
    CREATE TABLE reservations (order_id integer PRIMARY KEY, status text) WITH (fillfactor = 85);
    CREATE TABLE payments (order_id integer PRIMARY KEY, status text) WITH (fillfactor = 85);
    CREATE TABLE order_summary (
      order_id integer PRIMARY KEY, customer text, status text, total_cents bigint, lines bigint, reservation text, payment text
    ) WITH (fillfactor = 85);
    CREATE TABLE order_summary_changes (
      seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, op text NOT NULL, order_id integer
    );
    CREATE TABLE checkpoint (service text PRIMARY KEY, snapshot text NOT NULL, read_at timestamptz NOT NULL);
"""

_COLUMNS = {
    "customers": {"customer_id": "integer", "name": "text"},
    "orders": {"order_id": "integer", "customer_id": "integer", "status": "text"},
    "order_lines": {"order_id": "integer", "line": "integer", "quantity": "integer", "price_cents": "integer"},
    "reservations": {"order_id": "integer", "status": "text"},
    "payments": {"order_id": "integer", "status": "text"},
}
_KEYS = {table: tuple(columns)[: 2 if table == "order_lines" else 1] for table, columns in _COLUMNS.items()}

_JOINED = """
    SELECT o.order_id, c.name, o.status, l.total_cents, l.lines, r.status, p.status
      FROM {orders} o
      LEFT JOIN customers c ON c.customer_id = o.customer_id
      {lines}
      LEFT JOIN reservations r ON r.order_id = o.order_id
      LEFT JOIN payments p ON p.order_id = o.order_id
"""
_SUMMED = "SELECT {key} sum(quantity * price_cents) AS total_cents, count(line) AS lines FROM order_lines {where}"
_EVERY_ROW = _JOINED.format(
    orders="orders",
    lines=f"LEFT JOIN ({_SUMMED.format(key='order_id,', where='GROUP BY order_id')}) l ON l.order_id = o.order_id",
).replace("l.lines", "coalesce(l.lines, 0)")
_AFFECTED_ROWS = _JOINED.format(
    orders="unnest(%(keys)s::integer[]) AS a (order_id) JOIN orders",
    lines=f"LEFT JOIN LATERAL ({_SUMMED.format(key='', where='WHERE order_id = a.order_id')}) l ON true",
).replace("orders o", "orders o ON o.order_id = a.order_id")

_REST = ("customer", "status", "total_cents", "lines", "reservation", "payment")
_SET = ", ".join(f"{name} = excluded.{name}" for name in _REST)
_BUILD = f"INSERT INTO order_summary {_EVERY_ROW}"
_WRITE = f"INSERT INTO order_summary AS old {_AFFECTED_ROWS} ON CONFLICT (order_id) DO UPDATE SET {_SET}"
_WRITE_DIFFERENCE = f"""
    WITH written AS (
      {_WRITE} WHERE ({", ".join(f"old.{name}" for name in _REST)})
        IS DISTINCT FROM ({", ".join(f"excluded.{name}" for name in _REST)}) RETURNING order_id
    ) INSERT INTO order_summary_changes (op, order_id) SELECT 'upsert', order_id FROM written
"""
_DELETE = """
    DELETE FROM order_summary WHERE order_id = ANY (%(keys)s)
       AND NOT EXISTS (SELECT FROM orders o WHERE o.order_id = order_summary.order_id)
"""
_DELETE_GONE = f"""
    WITH gone AS ({_DELETE} RETURNING order_id)
    INSERT INTO order_summary_changes (op, order_id) SELECT 'delete', order_id FROM gone
"""
_ORDERS_OF = "SELECT order_id FROM orders WHERE customer_id = ANY (%s)"

_LOG = """
    CREATE TABLE hand_log (tx xid8 NOT NULL DEFAULT pg_current_xact_id(), tbl smallint NOT NULL, k1 integer, k2 integer);
    ALTER TABLE hand_log SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);
"""
_UNKNOWN = "NOT pg_visible_in_snapshot(tx, %(known)s::pg_snapshot)"


class HandwrittenRelay:
    """Keeps `order_summary` in the database `store`. `step` is one round, as `syncline.move.relay.Relay.step` is."""

    def __init__(self, store: str, sources: Mapping[str, str], *, with_difference: bool = True) -> None:
        self._with_difference = with_difference
        self.connection: Connection = psycopg.connect(store, autocommit=True, **KEPT_PLANS)
        self.connection.execute("SET synchronous_commit = off")
        self.connection.execute(_READ_STORE)
        self._sources = {service: _Source(sources[service], tables) for service, tables in shop.SERVICES.items()}
        self._synced_at = time.monotonic()

    def load(self) -> int:
        """The first copy of every mirror. Returns how many rows."""
        rows = 0
        for service, source in self._sources.items():
            with self.connection.transaction(), self.connection.cursor() as cursor, source.snapshot():
                cursor.execute("INSERT INTO checkpoint VALUES (%s, %s, now())", (service, source.known))
                for table in shop.SERVICES[service]:
                    with cursor.copy(f"COPY {table} FROM STDIN") as into, source.every_row(table) as out:
                        for block in out:
                            into.write(block)
                    rows += cursor.rowcount
        return rows

    def build(self) -> None:
        """The first build of the view, and the index that a customer's change needs."""
        with self.connection.transaction():
            self.connection.execute("CREATE INDEX orders_by_customer ON orders (customer_id)")
            self.connection.execute("SET LOCAL enable_hashjoin = on")
            self.connection.execute(_BUILD)
        self.connection.execute("ANALYZE")

    def step(self) -> bool:
        """One round over the three sources; every 0.25 s a commit that waits for the disk, and applied marks are deleted."""
        worked = False
        for service, source in self._sources.items():
            if changes := source.read():
                self._apply(service, source.known, changes)
                worked = True
        now = time.monotonic()
        if now - self._synced_at >= SYNC_INTERVAL_S:
            self._synced_at = now
            self._forget()
        return worked

    def close(self) -> None:
        shop.close_all([self.connection, *(source.connection for source in self._sources.values())])

    def _apply(self, service: str, known: str, changes: dict[str, list[tuple[Any, ...]]]) -> None:
        with self.connection.transaction():
            affected: set[int] = set()
            for table, found in changes.items():
                width = len(_KEYS[table])
                rows = [row[width:] for row in found if row[width] is not None]
                gone = [row[:width] for row in found if row[width] is None]
                if rows:
                    self._execute(_UPSERT[table], list(map(list, zip(*rows, strict=True))))
                if gone:
                    self._execute(_DELETE_ROWS[table], list(map(list, zip(*gone, strict=True))))
                keys = [row[0] for row in found]
                if table == "customers":
                    affected.update(key for (key,) in self._execute(_ORDERS_OF, [keys]))
                else:
                    affected.update(keys)
            keys = {"keys": list(affected)}
            self._execute(_WRITE_DIFFERENCE if self._with_difference else _WRITE, keys)
            self._execute(_DELETE_GONE if self._with_difference else _DELETE, keys)
            self._execute("UPDATE checkpoint SET snapshot = %s, read_at = now() WHERE service = %s", [known, service])

    def _execute(self, statement: str, parameters: Any) -> psycopg.Cursor[tuple[Any, ...]]:
        return self.connection.execute(statement, parameters, prepare=True)

    def _forget(self) -> None:
        if any(source.is_ahead for source in self._sources.values()):
            self.connection.execute("SET synchronous_commit = on")
            self.connection.execute("UPDATE checkpoint SET snapshot = snapshot")
            self.connection.execute("SET synchronous_commit = off")
            for source in self._sources.values():
                source.forget()


class _Source:
    """One service's database: its log of marks, and the rows that they name."""

    def __init__(self, url: str, tables: tuple[str, ...]) -> None:
        self.connection: Connection = psycopg.connect(url, autocommit=True, **KEPT_PLANS)
        self._numbers = dict(enumerate(tables, 1))
        self.known, self.is_ahead = "1:1:", False
        with self.connection.transaction():
            self.connection.execute(_LOG)
            for number, table in self._numbers.items():
                for statement in _triggers(table, number):
                    self.connection.execute(statement)

    def snapshot(self) -> Any:
        """One state of the database until the context ends; `known` is that state."""
        return _Snapshot(self)

    def every_row(self, table: str) -> Any:
        columns = ", ".join(_COLUMNS[table])
        return self.connection.cursor().copy(f"COPY (SELECT {columns} FROM {table} ORDER BY {', '.join(_KEYS[table])}) TO STDOUT")

    def read(self) -> dict[str, list[tuple[Any, ...]]]:
        """By table all marks not known yet with the current rows of their keys, from one snapshot; which is known then."""
        known = {"known": self.known}
        if self.connection.execute(f"SELECT FROM hand_log WHERE {_UNKNOWN} LIMIT 1", known, prepare=True).fetchone() is None:
            return {}
        with self.snapshot():
            run = self.connection.cursor(row_factory=scalar_row).execute
            numbers = run(f"SELECT DISTINCT tbl FROM hand_log WHERE {_UNKNOWN}", known, prepare=True).fetchall()
            self.is_ahead = True
            return {
                self._numbers[number]: self.connection.execute(
                    _SELECT_MARKED[self._numbers[number]].format(number=number), known, prepare=True
                ).fetchall()
                for number in numbers
            }

    def forget(self) -> None:
        """Deletes the marks that are known."""
        if self.is_ahead:
            self.connection.execute(f"DELETE FROM hand_log WHERE NOT ({_UNKNOWN})", {"known": self.known}, prepare=True)
            self.is_ahead = False


class _Snapshot:
    def __init__(self, source: _Source) -> None:
        self._source = source

    def __enter__(self) -> None:
        self._source.connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        found = self._source.connection.execute("SELECT pg_current_snapshot()::text").fetchone()
        assert found is not None
        self._source.known = found[0]

    def __exit__(self, *_: object) -> None:
        self._source.connection.execute("COMMIT")


def _upsert(table: str) -> str:
    """Writes a mirror's rows where they differ."""
    columns, key = _COLUMNS[table], _KEYS[table]
    rest = [name for name in columns if name not in key]
    arrays = ", ".join(f"%s::{type_}[]" for type_ in columns.values())
    return (
        f"INSERT INTO {table} AS old SELECT * FROM unnest({arrays}) ON CONFLICT ({', '.join(key)}) "
        f"DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in rest)} "
        f"WHERE ({', '.join(f'old.{name}' for name in rest)}) IS DISTINCT FROM ({', '.join(f'excluded.{name}' for name in rest)})"
    )


def _delete(table: str) -> str:
    key = _KEYS[table]
    arrays = ", ".join("%s::integer[]" for _ in key)
    same = " AND ".join(f"t.{name} = gone.{name}" for name in key)
    return f"DELETE FROM {table} t USING unnest({arrays}) AS gone ({', '.join(key)}) WHERE {same}"


def _select_marked(table: str) -> str:
    """Each marked key once, then the row that it names."""
    key = _KEYS[table]
    marks = ", ".join(f"k{position}" for position in range(1, len(key) + 1))
    same = " AND ".join(f"t.{name} = m.k{position}" for position, name in enumerate(key, 1))
    return (
        f"SELECT m.*, {', '.join(f't.{name}' for name in _COLUMNS[table])} FROM (SELECT DISTINCT {marks} FROM hand_log "
        f"WHERE tbl = {{number}} AND {_UNKNOWN}) m LEFT JOIN {table} t ON {same}"
    )


def _triggers(table: str, number: int) -> list[str]:
    """Log the key of every changed row; of a changed key, both: all that a statement changed, with one INSERT."""
    key = _KEYS[table]
    columns = ", ".join(f"k{position}" for position in range(1, len(key) + 1))
    names = ", ".join(key)
    log = f"INSERT INTO hand_log (tbl, {columns}) SELECT {number}, {names} FROM"
    changed = {
        "insert": ("REFERENCING NEW TABLE AS now", f"{log} now;"),
        "update": (
            "REFERENCING OLD TABLE AS was NEW TABLE AS now",
            f"{log} now; {log} was WHERE ({names}) NOT IN (SELECT {names} FROM now);",
        ),
        "delete": ("REFERENCING OLD TABLE AS was", f"{log} was;"),
    }
    found: list[str] = []
    for event, (tables, body) in changed.items():
        function = f"hand_{table}_{event}"
        found.append(
            f"CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} RETURN NULL; END $$;"
            f"CREATE TRIGGER {function} AFTER {event} ON {table} {tables} FOR EACH STATEMENT EXECUTE FUNCTION {function}()"
        )
    return found


_UPSERT = {table: _upsert(table) for table in _COLUMNS}
_DELETE_ROWS = {table: _delete(table) for table in _COLUMNS}
_SELECT_MARKED = {table: _select_marked(table) for table in _COLUMNS}


def main() -> None:
    """Follows the shop whose databases the command line names: the read store, then the services in their order."""
    store, *urls = sys.argv[1:]
    relay = HandwrittenRelay(store, dict(zip(shop.SERVICES, urls, strict=True)))
    relay.load()
    relay.build()
    print("ready", flush=True)
    while True:
        if not relay.step():
            time.sleep(PROBE_INTERVAL_S)


if __name__ == "__main__":
    main()
