"""A bank on PostgreSQL: accounts with concurrent transfers, their customers in another database, a read store in a third.

Money only ever moves, so that its sum tells a torn transaction in any state; and every view is compared with its own query on the
mirrors of the same snapshot. Run as a program it plays transfers, or reads, until its standard input ends:

    python postgres_bank.py write URL CONNECTIONS SEED     prints how many transfers were committed
    python postgres_bank.py read URL                       prints how many states were seen, or the first that is wrong
"""

import json
import random
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

ACCOUNTS, CUSTOMERS, CENTS = 200, 60, 1_000
TOTAL = ACCOUNTS * CENTS

LEDGER = f"""
CREATE TABLE account (account_id bigint PRIMARY KEY, branch text NOT NULL, owner int, cents numeric(12, 2) NOT NULL);
CREATE TABLE transfer (transfer_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, payer bigint NOT NULL, payee bigint NOT NULL,
                       cents numeric(12, 2) NOT NULL, at timestamptz NOT NULL DEFAULT now());
INSERT INTO account SELECT n, 'branch ' || n % 7, 1 + n % {CUSTOMERS + 5}, {CENTS} FROM generate_series(1, {ACCOUNTS}) AS n;
"""
PEOPLE = f"""
CREATE TABLE customer (customer_id int PRIMARY KEY, name text NOT NULL, city text);
INSERT INTO customer
SELECT n, 'name ' || n, CASE WHEN n % 5 > 0 THEN 'city ' || n % 5 END FROM generate_series(1, {CUSTOMERS}) AS n;
"""
VIEWS = {
    "account_card": """-- key: account_id
SELECT a.account_id, a.branch, a.cents, c.name, c.city, count(t.transfer_id) AS transfers, sum(t.cents) AS paid
  FROM ledger.account a
  LEFT JOIN people.customer c ON c.customer_id = a.owner
  LEFT JOIN ledger.transfer t ON t.payer = a.account_id
 GROUP BY a.account_id, a.branch, a.cents, c.name, c.city
""",
    "branch_total": """-- key: branch
SELECT branch, count(*) AS accounts, sum(cents) AS cents FROM ledger.account GROUP BY branch
""",
    "city_wealth": """-- key: city
SELECT city, count(*) AS accounts, sum(cents) AS cents FROM account_card GROUP BY city
""",
    "richest": """-- key: account_id
SELECT account_id, branch, cents, place
  FROM (SELECT account_id, branch, cents, row_number() OVER (PARTITION BY branch ORDER BY cents DESC, account_id) AS place
          FROM ledger.account) AS placed WHERE place <= 3
""",
}
BALANCED = ("account_card", "branch_total", "city_wealth")


def make(folder: Path, ledger: str, people: str, read: str, captures: tuple[str, str]) -> None:
    """The services' tables and rows, `syncline.toml` and the view files."""
    for url, text in ((ledger, LEDGER), (people, PEOPLE)):
        with psycopg.connect(url) as connection:
            connection.execute(text)
    (folder / "views").mkdir()
    for name, text in VIEWS.items():
        (folder / "views" / f"{name}.sql").write_text(text)
    parts = [
        f'[service.{name}]\ndatabase = "{url}"\ncapture = "{capture}"\ntables = "*"\n'
        + "every_s = 0.05\n" * (capture == "polling")
        for name, url, capture in (("ledger", ledger, captures[0]), ("people", people, captures[1]))
    ]
    parts.append(f'[read_model.bank]\ndatabase = "{read}"\nviews = "views/*.sql"\n')
    (folder / "syncline.toml").write_text("\n".join(parts))


# -- the writers -------------------------------------------------------------------------------------------------------


def write(url: str, connections: int, seed: int, pause_s: float, stop: threading.Event) -> int:
    """Transfers from so many connections at once, until `stop`; who loses the connection opens another. How many committed.

    `pause_s`: of each connection between two of them.
    """
    done = [0] * connections

    def play(number: int) -> None:
        rng = random.Random(f"{seed} {number}")
        while not stop.is_set():
            try:
                with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
                    while not stop.is_set():
                        with connection.transaction():
                            transfer(connection, rng)
                        done[number] += 1
                        stop.wait(pause_s)
            except psycopg.errors.DeadlockDetected:
                continue
            except psycopg.OperationalError:
                stop.wait(0.02)

    threads = [threading.Thread(target=play, args=(number,)) for number in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done)


def transfer(connection: "psycopg.Connection[Any]", rng: random.Random) -> None:
    """One transaction's changes: money moves between two accounts, or from one that is closed, renamed or opened."""
    run = connection.execute
    ids = sorted(
        int(number) for (number,) in run("SELECT account_id FROM account ORDER BY random() LIMIT 2").fetchall()
    )  # in order, so that two transfers seldom wait for each other in a circle
    if len(ids) < 2:
        return
    run("SELECT 1 FROM account WHERE account_id = ANY (%s) ORDER BY account_id FOR UPDATE", (ids,))
    payer, payee = rng.sample(ids, 2)
    what = rng.random()
    if what < 0.75:
        cents = rng.randint(1, 50)
        moved = run("UPDATE account SET cents = cents - %s WHERE account_id = %s", (cents, payer)).rowcount
        there = run("UPDATE account SET cents = cents + %s WHERE account_id = %s", (cents, payee)).rowcount
        if moved + there < 2:
            raise psycopg.Rollback
        run("INSERT INTO transfer (payer, payee, cents) VALUES (%s, %s, %s)", (payer, payee, cents))
    elif what < 0.80:
        run(
            "WITH gone AS (DELETE FROM account WHERE account_id = %s RETURNING *) "
            "INSERT INTO account SELECT (random() * 1e9)::int + 1000, branch, owner, cents FROM gone",
            (payer,),
        )
    elif what < 0.85:
        run("UPDATE account SET account_id = (random() * 1e9)::int + 1000 WHERE account_id = %s", (payer,))
    elif what < 0.90:
        run("UPDATE account SET branch = 'branch ' || (random() * 6)::int, owner = NULL WHERE account_id = %s", (payer,))
    elif what < 0.95:
        run("DELETE FROM transfer WHERE transfer_id <= (SELECT max(transfer_id) - 300 FROM transfer)")
    else:
        run("UPDATE account SET cents = cents - 1 WHERE account_id = %s", (payer,))
        if rng.random() < 0.5:
            raise psycopg.Rollback
        run("UPDATE account SET cents = cents + 1 WHERE account_id = %s", (payer,))


# -- the reader --------------------------------------------------------------------------------------------------------


class Torn(Exception):
    """A state that should not be visible to anyone."""


def read(url: str, stop: threading.Event) -> dict[str, int]:
    """Checks one snapshot after another until `stop`. Raises Torn for the first that is not as it must be."""
    seen = {"states": 0, "vectors": 0, "cuts": 0}
    last: Any = None
    while not stop.is_set():
        try:
            with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
                connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
                while not stop.is_set():
                    with connection.transaction():
                        vector = look(connection)
                    seen["states"] += vector is not None
                    seen["vectors"] += vector is not None and vector != last
                    last = vector
        except (psycopg.OperationalError, psycopg.errors.UndefinedTable):
            seen["cuts"] += 1
            stop.wait(0.02)
    return seen


def look(connection: "psycopg.Connection[Any]") -> Any:
    """The vector of a state that is as it must be; None where not every view is there yet."""
    run = connection.execute
    live = run("SELECT count(*) FROM syncline.view WHERE live IS NOT NULL").fetchone()
    if live is None or live[0] < len(VIEWS):
        return None
    for name in BALANCED:
        found = run(sql.SQL("SELECT sum(cents) FROM bank.{}").format(sql.Identifier(name))).fetchone()
        if found is None or found[0] != TOTAL:
            raise Torn(f"{name} holds {found}, not {TOTAL}")
    for name, text in VIEWS.items():
        query = re.sub(r"\baccount_card\b", "bank.account_card", text) if name != "account_card" else text
        for one, other in ((f"bank.{name}", f"({query})"), (f"({query})", f"bank.{name}")):
            sides = f"SELECT * FROM {one} AS a EXCEPT ALL SELECT * FROM {other} AS b LIMIT 3"
            if rows := run(sides).fetchall():  # type: ignore[arg-type]
                raise Torn(f"only in {one}: {rows}")
    return run("SELECT array_agg((service, incarnation, n) ORDER BY service)::text FROM syncline.feed").fetchone()


def _until_input_ends(work: Callable[[threading.Event], Any]) -> Any:
    stop = threading.Event()
    found: list[Any] = []
    failures: list[BaseException] = []

    def do() -> None:
        try:
            found.append(work(stop))
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=do)
    thread.start()
    sys.stdin.read()
    stop.set()
    thread.join()
    if failures:
        raise failures[0]
    return found[0]


if __name__ == "__main__":
    verb, url, *rest = sys.argv[1:]
    if verb == "write":
        print(json.dumps(_until_input_ends(lambda stop: write(url, int(rest[0]), int(rest[1]), float(rest[2]), stop))))
    else:
        print(json.dumps(_until_input_ends(lambda stop: read(url, stop))))
