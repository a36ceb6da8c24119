"""Three services under load whose every state can be told afterwards, their views, and a reader that checks each state it sees.

Each service's database has a table `step(id, n)`, and every transaction of its writer raises `n` by one. What a transaction does
is decided by (seed, service, n) and the state before it, so an oracle that repeats them in memory has the state of any service at
any step. The oracle attaches one database for each service: a view's text runs there as it was written, and nothing of it goes
through the code under test. Money, pieces and points only ever move, so their sums tell a torn transaction without any oracle.

    python bank.py write FOLDER SERVICE SEED PAUSE_S    plays transactions until its standard input ends
    python bank.py read FOLDER SEED                     reads as fast as it can until its standard input ends; prints a summary
"""

import json
import os
import random
import re
import sqlite3
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SERVICES = ("ledger", "shop", "people")
JOURNALS = {"ledger": "wal", "shop": "delete", "people": "wal"}
CAPTURES = {"ledger": "triggers", "shop": "triggers", "people": "polling"}
OTHER_CAPTURES = {"ledger": "polling", "shop": "polling", "people": "triggers"}

SCHEMAS = {
    "ledger": """
        CREATE TABLE ledger.account (account_id INTEGER PRIMARY KEY, branch TEXT NOT NULL, owner INTEGER, cents INTEGER NOT NULL);
        CREATE TABLE ledger.transfer (
            transfer_id INTEGER PRIMARY KEY, payer INTEGER NOT NULL, payee INTEGER NOT NULL, cents INTEGER NOT NULL, sku TEXT);
        CREATE TABLE ledger.archive (
            archive_id INTEGER PRIMARY KEY, bucket INTEGER NOT NULL, customer INTEGER, cents INTEGER NOT NULL);
        CREATE TABLE ledger.step (id INTEGER PRIMARY KEY, n INTEGER NOT NULL);
    """,
    "shop": """
        CREATE TABLE shop.product (sku TEXT PRIMARY KEY NOT NULL, title TEXT NOT NULL, price INTEGER NOT NULL);
        CREATE TABLE shop.shelf (shelf TEXT NOT NULL, sku TEXT NOT NULL, pieces INTEGER NOT NULL, PRIMARY KEY (shelf, sku));
        CREATE TABLE shop.step (id INTEGER PRIMARY KEY, n INTEGER NOT NULL);
    """,
    "people": """
        CREATE TABLE people.customer (customer_id INTEGER PRIMARY KEY, name TEXT NOT NULL, city TEXT, points INTEGER NOT NULL);
        CREATE TABLE people.step (id INTEGER PRIMARY KEY, n INTEGER NOT NULL);
    """,
}
TABLES = {
    "ledger": ("account", "transfer", "archive", "step"),
    "shop": ("product", "shelf", "step"),
    "people": ("customer", "step"),
}

VIEWS = {
    "account_card": """-- key: account_id
SELECT a.account_id, a.branch, a.cents, c.name, c.city, count(t.transfer_id) AS transfers, sum(t.cents) AS paid
  FROM ledger.account a
  LEFT JOIN people.customer c ON c.customer_id = a.owner
  LEFT JOIN ledger.transfer t ON t.payer = a.account_id
 GROUP BY a.account_id, a.branch, a.cents, c.name, c.city
""",
    "city_wealth": """-- key: city
SELECT city, count(*) AS accounts, sum(cents) AS cents, sum(transfers) AS transfers FROM account_card GROUP BY city
""",
    "branch_total": """-- key: branch
SELECT branch, count(*) AS accounts, sum(cents) AS cents, min(cents) AS least, max(cents) AS most
  FROM ledger.account GROUP BY branch
""",
    "unsold": """-- key: sku
SELECT p.sku, p.title, p.price FROM shop.product p WHERE NOT EXISTS (SELECT 1 FROM ledger.transfer t WHERE t.sku = p.sku)
""",
    "shelf_stock": """-- key: shelf
SELECT s.shelf, sum(s.pieces) AS pieces, sum(s.pieces * p.price) AS worth
  FROM shop.shelf s JOIN shop.product p ON p.sku = s.sku GROUP BY s.shelf
""",
    "richest": """-- key: account_id
SELECT account_id, branch, cents, place
  FROM (SELECT account_id, branch, cents, row_number() OVER (PARTITION BY branch ORDER BY cents DESC, account_id) AS place
          FROM ledger.account) AS placed WHERE place <= 3
""",
    "loyalty": """-- key: city
SELECT city, sum(points) AS points FROM people.customer GROUP BY city
""",
    "archived": """-- key: archive_id
SELECT a.archive_id, a.bucket, a.cents, c.city
  FROM ledger.archive a LEFT JOIN people.customer c ON c.customer_id = a.customer
""",
    "clock": """-- key: id
SELECT l.id, l.n AS ledger, s.n AS shop, p.n AS people
  FROM ledger.step l JOIN shop.step s ON s.id = l.id JOIN people.step p ON p.id = l.id
""",
}

ACCOUNTS, PRODUCTS, CUSTOMERS, SHELVES = 40, 30, 50, 6
BALANCES = {
    ("branch_total", "cents"): ACCOUNTS * 1000,
    ("city_wealth", "cents"): ACCOUNTS * 1000,
    ("account_card", "cents"): ACCOUNTS * 1000,
    ("shelf_stock", "pieces"): PRODUCTS * SHELVES * 10,
    ("loyalty", "points"): CUSTOMERS * 100,
}
"""Sums that hold in every state of their service."""

KEPT_STEPS = 60
LOOK_S = 0.001
"""How long the reader rests when there is nothing new: without, it would take a core from those that it looks at."""
BIG_VIEW = 2_000
FINGERPRINT = (
    "SELECT count(*), count(DISTINCT archive_id), sum(cents), sum((archive_id * 31 + bucket * 7 + cents) % 10007),"
    " sum(archive_id * ifnull(length(city), 0)) FROM archived"
)


# -- the services ------------------------------------------------------------------------------------------------------


def set_up(db: sqlite3.Connection, service: str, archive: int) -> None:
    """The tables of an attached service and its rows at step 0."""
    for statement in SCHEMAS[service].split(";"):
        db.execute(statement)
    rng = random.Random(service)
    if service == "ledger":
        db.executemany(
            "INSERT INTO ledger.account VALUES (?, ?, ?, 1000)",
            [(n, _branch(rng), rng.randint(1, CUSTOMERS + 10)) for n in range(1, ACCOUNTS + 1)],
        )
        db.executemany(
            "INSERT INTO ledger.archive VALUES (?, ?, ?, 100)",
            [(n, n % 50, rng.randint(1, 5000)) for n in range(1, archive + 1)],
        )
    elif service == "shop":
        db.executemany("INSERT INTO shop.product VALUES (?, ?, ?)", [(_sku(n), f"thing {n}", n) for n in range(PRODUCTS)])
        shelves = [(f"shelf {s}", _sku(n), 10) for s in range(SHELVES) for n in range(PRODUCTS)]
        db.executemany("INSERT INTO shop.shelf VALUES (?, ?, ?)", shelves)
    else:
        db.executemany(
            "INSERT INTO people.customer VALUES (?, ?, ?, 100)", [(n, f"name {n}", _city(rng)) for n in range(1, CUSTOMERS + 1)]
        )
    db.execute(f"INSERT INTO {service}.step VALUES (1, 0)")


def advance(db: sqlite3.Connection, service: str, seed: int) -> int:
    """One transaction of the service's writer; returns the step it leads to. Begins and commits nothing."""
    n = int(db.execute(f"UPDATE {service}.step SET n = n + 1 WHERE id = 1 RETURNING n").fetchall()[0][0])
    _CHANGES[service](db, random.Random(f"{seed} {service} {n}"), n)
    return n


def _ledger(db: sqlite3.Connection, rng: random.Random, n: int) -> None:
    ids = [number for (number,) in db.execute("SELECT account_id FROM ledger.account ORDER BY 1")]
    for k in range(rng.randint(1, 4)):
        payer, payee = rng.sample(ids, 2)
        cents, sku = rng.randint(1, 200), rng.choice([None, _sku(rng.randrange(PRODUCTS + 5))])
        _move(db, "ledger.account", "account_id", "cents", payer, payee, cents)
        db.execute("INSERT INTO ledger.transfer VALUES (?, ?, ?, ?, ?)", (n * 10 + k, payer, payee, cents, sku))
    db.execute("DELETE FROM ledger.transfer WHERE transfer_id < ?", ((n - KEPT_STEPS) * 10,))
    if rng.random() < 0.2 and len(ids) > ACCOUNTS // 2:
        closed, heir = rng.sample(ids, 2)
        (left,) = db.execute("SELECT cents FROM ledger.account WHERE account_id = ?", (closed,)).fetchone()
        db.execute("UPDATE ledger.account SET cents = cents + ? WHERE account_id = ?", (left, heir))
        db.execute("DELETE FROM ledger.account WHERE account_id = ?", (closed,))
        ids.remove(closed)
    if rng.random() < 0.2 and len(ids) < ACCOUNTS * 2:
        db.execute("INSERT INTO ledger.account VALUES (?, ?, ?, 0)", (1000 + n, _branch(rng), rng.randint(1, CUSTOMERS + 10)))
        _move(db, "ledger.account", "account_id", "cents", rng.choice(ids), 1000 + n, 50)
    if rng.random() < 0.1:
        db.execute("UPDATE ledger.account SET branch = ?, owner = NULL WHERE account_id = ?", (_branch(rng), rng.choice(ids)))
    (archive,) = db.execute("SELECT max(archive_id) FROM ledger.archive").fetchone()
    if archive and archive > 1:
        _move(db, "ledger.archive", "archive_id", "cents", *rng.sample(range(1, archive + 1), 2), rng.randint(1, 9))
        db.execute("UPDATE ledger.archive SET bucket = ? WHERE archive_id = ?", (n % 50, rng.randint(1, archive)))


def _shop(db: sqlite3.Connection, rng: random.Random, n: int) -> None:
    for _ in range(rng.randint(1, 3)):
        sku, (source, target) = _sku(rng.randrange(PRODUCTS)), rng.sample(range(SHELVES), 2)
        pieces = rng.randint(1, 3)
        for shelf, change in ((source, -pieces), (target, pieces)):
            db.execute("UPDATE shop.shelf SET pieces = pieces + ? WHERE shelf = ? AND sku = ?", (change, f"shelf {shelf}", sku))
    db.execute("UPDATE shop.product SET price = ? WHERE sku = ?", (rng.randint(1, 99), _sku(rng.randrange(PRODUCTS))))
    if rng.random() < 0.3:
        one, other = (_sku(number) for number in rng.sample(range(PRODUCTS), 2))
        shelf = f"shelf {rng.randrange(SHELVES)}"
        for old, new in ((one, "*"), (other, one), ("*", other)):
            db.execute("UPDATE shop.shelf SET sku = ? WHERE shelf = ? AND sku = ?", (new, shelf, old))
    if rng.random() < 0.3:
        extra = _sku(PRODUCTS + rng.randrange(5))
        if not db.execute("DELETE FROM shop.product WHERE sku = ?", (extra,)).rowcount:
            db.execute("INSERT INTO shop.product VALUES (?, ?, 1)", (extra, f"thing made at {n}"))


def _people(db: sqlite3.Connection, rng: random.Random, n: int) -> None:
    ids = [number for (number,) in db.execute("SELECT customer_id FROM people.customer ORDER BY 1")]
    for _ in range(rng.randint(1, 3)):
        _move(db, "people.customer", "customer_id", "points", *rng.sample(ids, 2), rng.randint(1, 20))
    if rng.random() < 0.3:
        db.execute("UPDATE people.customer SET city = ? WHERE customer_id = ?", (_city(rng), rng.choice(ids)))
    if rng.random() < 0.1:
        gone, heir = rng.sample(ids, 2)
        (left,) = db.execute("SELECT points FROM people.customer WHERE customer_id = ?", (gone,)).fetchone()
        db.execute("DELETE FROM people.customer WHERE customer_id = ?", (gone,))
        db.execute("UPDATE people.customer SET points = points + ? WHERE customer_id = ?", (left, heir))
        free = min(set(range(1, CUSTOMERS + 10)) - set(ids))
        db.execute("INSERT INTO people.customer VALUES (?, ?, ?, 0)", (free, f"came at {n}", _city(rng)))


_CHANGES: Mapping[str, Callable[[sqlite3.Connection, random.Random, int], None]] = {
    "ledger": _ledger,
    "shop": _shop,
    "people": _people,
}


def _move(db: sqlite3.Connection, table: str, key: str, column: str, source: int, target: int, amount: int) -> None:
    db.execute(f"UPDATE {table} SET {column} = {column} - ? WHERE {key} = ?", (amount, source))
    db.execute(f"UPDATE {table} SET {column} = {column} + ? WHERE {key} = ?", (amount, target))


def _branch(rng: random.Random) -> str:
    return rng.choice(["north", "south", "east", "west", "centre"])


def _city(rng: random.Random) -> str | None:
    return rng.choice([None, "Oslo", "Rome", "Lima", "Kyiv", "Pune", "Cork"])


def _sku(number: int) -> str:
    return f"sku-{number:03}"


# -- a folder with all of it -------------------------------------------------------------------------------------------


def make(folder: Path, archive: int, captures: Mapping[str, str] = CAPTURES) -> None:
    """Databases, `syncline.toml` and view files."""
    for service in SERVICES:
        with opened_service(folder, service) as db:
            db.execute(f"PRAGMA {service}.journal_mode = {JOURNALS[service]}")
            db.execute("BEGIN")
            set_up(db, service, archive)
            db.execute("COMMIT")
    (folder / "views").mkdir()
    for name, text in VIEWS.items():
        (folder / "views" / f"{name}.sql").write_text(text)
    toml = [
        f'[service.{service}]\ndatabase = "sqlite:///{service}.db"\ncapture = "{captures[service]}"\ntables = "*"\n'
        + ("every_s = 0.05\n" if captures[service] == "polling" else "")
        for service in SERVICES
    ]
    toml.append('[read_model.bank]\ndatabase = "sqlite:///read.db"\nviews = "views/*.sql"\n')
    (folder / "syncline.toml").write_text("\n".join(toml))


@contextmanager
def opened_service(folder: Path, service: str) -> Iterator[sqlite3.Connection]:
    """The service's database as its owner opens it, attached under the service's name. Transactions are the caller's."""
    with closing(sqlite3.connect(":memory:", isolation_level=None, timeout=60)) as db:
        db.execute(f"ATTACH DATABASE ? AS {service}", (str(folder / f"{service}.db"),))
        db.execute(f"PRAGMA {service}.synchronous = NORMAL")
        yield db


def archive_size(folder: Path) -> int:
    with opened_service(folder, "ledger") as db:
        return int(db.execute("SELECT count(*) FROM ledger.archive").fetchone()[0])


def steps_now(folder: Path) -> dict[str, int]:
    """How far each writer has come."""
    found: dict[str, int] = {}
    for service in SERVICES:
        with opened_service(folder, service) as db:
            found[service] = db.execute(f"SELECT n FROM {service}.step").fetchone()[0]
    return found


# -- the oracle --------------------------------------------------------------------------------------------------------


class Oracle:
    """The three services in memory, brought forward step by step by the same transactions that the writers play."""

    def __init__(self, seed: int, archive: int) -> None:
        self.seed, self.archive = seed, archive
        self.db = sqlite3.connect(":memory:", isolation_level=None)
        self.steps = dict.fromkeys(SERVICES, 0)
        self._texts: dict[str, str] = {}
        for service in SERVICES:
            self.db.execute(f"ATTACH DATABASE ':memory:' AS {service}")
            set_up(self.db, service, archive)

    def advance_to(self, steps: Mapping[str, int]) -> None:
        for service, n in steps.items():
            assert n >= self.steps[service], f"{service} went back from step {self.steps[service]} to {n}"
            self.db.execute("BEGIN")
            while self.steps[service] < n:
                self.steps[service] = advance(self.db, service, self.seed)
            self.db.execute("COMMIT")

    def expect(self, texts: Mapping[str, str]) -> None:
        """The SELECT of each view that is to be evaluated from now on."""
        if texts == self._texts:
            return
        for name in self._texts:
            self.db.execute(f"DROP VIEW IF EXISTS temp.{name}")
        for name, text in texts.items():
            self.db.execute(f"CREATE TEMP VIEW {name} AS {text}")
        self._texts = dict(texts)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self.db.execute(sql).fetchall()

    def columns(self, view: str) -> list[str]:
        return [column[0] for column in self.db.execute(f"SELECT * FROM {view} LIMIT 0").description]


# -- the reader --------------------------------------------------------------------------------------------------------


class Torn(Exception):
    """A state that should not be visible to anyone."""


@dataclass
class Seen:
    """What a reader has seen so far. `beside` counts the vectors seen while something was built beside rows that are shown."""

    looks: int = 0
    states: int = 0
    vectors: int = 0
    beside: int = 0
    unready: int = 0
    stores: int = 0
    incarnations: dict[str, list[str]] = field(default_factory=dict)
    generations: dict[str, list[int]] = field(default_factory=dict)


class Reader:
    """Looks at the read store again and again by plain SQL, each time in one snapshot, and compares all of it with the oracle."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.path = folder / "read.db"
        self.seen = Seen()
        self.oracle = Oracle(seed, archive_size(folder))
        self._db: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._consumer = ""
        self._version = -1
        self._expected: dict[str, Counter[str]] = {}
        self._positions: dict[str, tuple[str, int, int]] = {}

    def close(self) -> None:
        if self._db is not None:
            self._db.close()
        self._db = None

    def look(self) -> bool:
        """Checks one state; false when there is none yet, or none newer than the last one. Raises Torn."""
        self.seen.looks += 1
        db = self._open()
        if db is None:
            return False
        version = db.execute("PRAGMA data_version").fetchone()[0]
        if version == self._version:
            return False
        db.execute("BEGIN")
        try:
            if not _one(db, "SELECT count(*) FROM sqlite_master WHERE name = 'syncline_view'"):
                return False
            self.seen.states += self._check(db)
        except sqlite3.OperationalError as error:
            raise Torn(f"a state cannot be read: {error}") from error
        finally:
            db.execute("ROLLBACK")
        self._version = version
        return True

    def _open(self) -> sqlite3.Connection | None:
        """Read-only, since the relay alone may checkpoint. A store that was deleted and made anew is opened anew."""
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            return None
        if self._file != (found.st_dev, found.st_ino) or self._db is None:
            self.close()
            try:
                self._db = sqlite3.connect(f"{self.path.as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=20)
            except sqlite3.OperationalError:
                return None
            self._file, self._version = (found.st_dev, found.st_ino), -1
            self.seen.stores += 1
        return self._db

    def _check(self, db: sqlite3.Connection) -> int:
        live = db.execute("SELECT name, live, live_generation FROM syncline_view WHERE live IS NOT NULL ORDER BY name").fetchall()
        (consumer,) = db.execute("SELECT consumer FROM syncline_meta").fetchone()
        if consumer != self._consumer:
            self._consumer = consumer
            self._positions.clear()
            self.seen.generations.clear()
        feeds = db.execute("SELECT service, incarnation, n, proof FROM syncline_feed WHERE incarnation IS NOT NULL").fetchall()
        mirrors = dict(db.execute("SELECT id, state FROM syncline_relation"))
        followed = [service for service in SERVICES if mirrors.get(f"{service}__step") in ("live", "filling")]
        steps = {service: _one(db, f"SELECT n FROM {service}__step") for service in followed}
        self._check_positions(feeds, steps)
        # Of a service that was locked when the relay began, views are left out for now, and with `clock` the steps of all.
        if not live or not _one(db, "SELECT count(*) FROM syncline_view WHERE name = 'clock'"):
            self.seen.unready += 1
            return 0
        for name, _, generation in live:
            known = self.seen.generations.setdefault(name, [])
            if known and generation < known[-1]:
                raise Torn(f"the generation of {name} went back from {known[-1]} to {generation}")
            if not known or generation > known[-1]:
                known.append(generation)
        texts = {name: json.loads(definition)["view"]["sql"] for name, definition, _ in live}
        for name in texts:
            if early := services_of(name, texts) - set(steps):
                raise Torn(f"{name} is shown while {sorted(early)} is not followed: {mirrors}")
        is_new = self._expect({**self.oracle.steps, **steps}, texts)
        self.seen.vectors += is_new
        if is_new and _one(db, "SELECT count(*) FROM syncline_view WHERE live IS NOT NULL AND next IS NOT NULL"):
            self.seen.beside += 1
        for name in texts:
            self._check_view(db, name, steps)
        for (name, column), total in BALANCES.items():
            if name in texts and (found := _one(db, f"SELECT sum({column}) FROM {name}")) != total:
                raise Torn(f"{name}: the sum of {column} is {found}, it must be {total}, at {steps}")
        return 1

    def _expect(self, steps: Mapping[str, int], texts: Mapping[str, str]) -> bool:
        """Evaluates the views at these steps; says whether these are others than before."""
        is_new = steps != self.oracle.steps
        if is_new or not self._expected or texts.keys() != self._expected.keys() or texts != self.oracle._texts:
            try:
                self.oracle.advance_to(steps)
            except AssertionError as error:
                raise Torn(str(error)) from error
            self.oracle.expect(texts)
            self._expected = {name: Counter(map(repr, self.oracle.rows(self._query(name)))) for name in texts}
        return is_new

    def _query(self, name: str) -> str:
        if name == "archived" and self.oracle.archive > BIG_VIEW:
            return FINGERPRINT
        return f"SELECT {', '.join(self.oracle.columns(name))} FROM {name}"

    def _check_view(self, db: sqlite3.Connection, name: str, steps: Mapping[str, int]) -> None:
        found = Counter(map(repr, db.execute(self._query(name))))
        if found != self._expected[name]:
            missing, extra = list(self._expected[name] - found)[:5], list(found - self._expected[name])[:5]
            raise Torn(f"{name} at {dict(steps)}: missing {missing}, extra {extra}")

    def _check_positions(self, feeds: list[tuple[str, str, int, int]], steps: Mapping[str, int]) -> None:
        """A position stands for one state: it moves with it, and only forward within one incarnation."""
        for service, incarnation, n, _ in feeds:
            if service not in steps:
                continue
            known = self.seen.incarnations.setdefault(service, [])
            if incarnation not in known:
                known.append(incarnation)
            before = self._positions.get(service)
            if before is not None and before[0] == incarnation:
                if n < before[1] or steps[service] < before[2]:
                    raise Torn(f"{service} went back from {before} to {(incarnation, n, steps[service])}")
                if n == before[1] and steps[service] != before[2]:
                    raise Torn(f"{service} shows step {steps[service]} at the position that showed {before[2]}: {before}")
            self._positions[service] = (incarnation, n, steps[service])


def all_differences(folder: Path, seed: int) -> list[str]:
    """How the read store at rest differs from the services at their last steps: in mirrors, and against the oracle in views."""
    steps = steps_now(folder)
    oracle = Oracle(seed, archive_size(folder))
    oracle.advance_to(steps)
    found: list[str] = []
    with closing(sqlite3.connect(f"{(folder / 'read.db').as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=20)) as db:
        db.execute("BEGIN")
        live = db.execute("SELECT name, live FROM syncline_view WHERE live IS NOT NULL").fetchall()
        oracle.expect({name: json.loads(definition)["view"]["sql"] for name, definition in live})
        queries = [(name, name) for name, _ in live]
        queries += [(f"{service}__{table}", f"{service}.{table}") for service in SERVICES for table in TABLES[service]]
        for stored, wanted in queries:
            held = {row[1] for row in db.execute(f"PRAGMA table_info({stored})")}
            columns = ", ".join(name for name in oracle.columns(wanted) if name in held)
            one = Counter(map(repr, oracle.rows(f"SELECT {columns} FROM {wanted}")))
            other = Counter(map(repr, db.execute(f"SELECT {columns} FROM {stored}")))
            if one != other:
                found.append(f"{stored}: missing {list(one - other)[:5]}, extra {list(other - one)[:5]}")
    for service in SERVICES:
        with opened_service(folder, service) as db:
            for table in TABLES[service]:
                sql = f"SELECT * FROM {service}.{table}"
                if sorted(db.execute(sql)) != sorted(oracle.rows(sql)):
                    found.append(f"the oracle is wrong about {service}.{table}")
    return found


def services_of(view: str, texts: Mapping[str, str]) -> set[str]:
    """The services that a view reads, directly or through other views."""
    words = set(re.findall(r"\w+", texts[view]))
    inner = (services_of(other, texts) for other in words & set(texts) - {view})
    return (words & set(SERVICES)).union(*inner)


def _one(db: sqlite3.Connection, sql: str) -> Any:
    row = db.execute(sql).fetchone()
    return row[0] if row else None


# -- programs ----------------------------------------------------------------------------------------------------------


def write(folder: Path, service: str, seed: int, pause_s: float, stop: threading.Event) -> dict[str, Any]:
    pace = random.Random()
    with opened_service(folder, service) as db:
        n = 0
        while not stop.wait(pace.random() * 2 * pause_s):
            db.execute("BEGIN IMMEDIATE")
            n = advance(db, service, seed)
            db.execute("COMMIT")
    return {"service": service, "step": n}


def read(folder: Path, seed: int, stop: threading.Event) -> dict[str, Any]:
    with closing(Reader(folder, seed)) as reader:
        print(json.dumps({"ready": True}), flush=True)
        try:
            is_last = False
            while not is_last:
                is_last = stop.is_set()
                if not reader.look():
                    stop.wait(LOOK_S)
        except Torn as torn:
            return {"torn": str(torn), **vars(reader.seen)}
    return vars(reader.seen)


def main(arguments: list[str]) -> int:
    stop = threading.Event()

    def until_input_ends() -> None:
        sys.stdin.read()
        stop.set()

    threading.Thread(target=until_input_ends, daemon=True).start()
    if arguments[0] == "write":
        summary = write(Path(arguments[1]), arguments[2], int(arguments[3]), float(arguments[4]), stop)
    else:
        summary = read(Path(arguments[1]), int(arguments[2]), stop)
    print(json.dumps(summary), flush=True)
    return 1 if "torn" in summary else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
