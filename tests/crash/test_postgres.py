"""A bank on PostgreSQL with concurrent transfers: the total is right in every state that a reader sees, whatever is killed.

Real processes: eight writing connections, two relays of which one stands by, a polling reader, and a server that may be killed.
"""

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
from tests.crash import postgres_bank as bank
from tests.crash.processes import ENVIRONMENT, ROOT, wait_until

from syncline.testing.postgres import Databases, PostgresServer

CONNECTIONS = 8
PAUSE_S = 0.01
"""Of each writing connection between two transfers, where the test is to be short: relays that start get their share of time."""
CAPTURES = [("triggers", "polling"), ("wal", "triggers"), ("polling", "wal")]


@dataclass
class Branch:
    """One bank and the processes at work on it."""

    folder: Path
    ledger: str
    read: str
    processes: list["subprocess.Popen[str]"] = field(default_factory=list)

    def start(self, *command: str, name: str) -> "subprocess.Popen[str]":
        log = (self.folder / f"{name}-{len(self.processes)}.log").open("w")
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=ENVIRONMENT, cwd=ROOT
        )
        log.close()
        self.processes.append(process)
        return process

    def play(self, *arguments: str) -> "subprocess.Popen[str]":
        return self.start(sys.executable, bank.__file__, *arguments, name=arguments[0])

    def run(self) -> "subprocess.Popen[str]":
        log = self.folder / f"run-{len(self.processes)}.out"
        with log.open("w") as out:
            process = subprocess.Popen(self._syncline("run"), stdout=out, stderr=out, text=True, env=ENVIRONMENT)
        self.processes.append(process)
        return process

    def command(self, *arguments: str) -> str:
        done = subprocess.run(self._syncline(*arguments), capture_output=True, text=True, env=ENVIRONMENT, timeout=90)
        assert done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def end(self, process: "subprocess.Popen[str]") -> str:
        """Closes a player's input and returns what it printed; it must end well."""
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0, "\n".join(path.read_text()[-2000:] for path in self.folder.glob("*.log"))
        return out

    def is_live(self) -> bool:
        try:
            with psycopg.connect(self.read) as connection:
                return bank.look(connection) is not None
        except (psycopg.OperationalError, psycopg.errors.UndefinedTable):
            return False

    def _syncline(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "syncline", *arguments, "--config", str(self.folder / "syncline.toml")]


@contextmanager
def opened(folder: Path, databases: Databases, captures: tuple[str, str]) -> Iterator[Branch]:
    ledger, people, read = (databases.create(name) for name in ("ledger", "people", "read"))
    bank.make(folder, ledger, people, read, captures)
    branch = Branch(folder, ledger, read)
    try:
        yield branch
    finally:
        for process in branch.processes:
            process.kill()
            process.communicate()


def follow(branch: Branch, seed: int, rounds: int, server: PostgresServer | None, pause_s: float = 0.0) -> None:
    """Transfers, relays and a reader, while in each round a relay, some connections or once the server are killed."""
    rng = random.Random(seed)
    relays = [branch.run(), branch.run()]
    wait_until(branch.is_live, "every view is live")
    writer = branch.play("write", branch.ledger, str(CONNECTIONS), str(seed), str(pause_s))
    reader = branch.play("read", branch.read)
    kills, cuts = 0, 0
    for number in range(rounds):
        before = vector(branch.read)
        if server is not None and number == rounds // 2:
            server.kill()
            server.start()
        elif rng.random() < 0.5:
            victim = rng.randrange(2)
            os.kill(relays[victim].pid, signal.SIGKILL)
            relays[victim].wait()
            relays[victim] = branch.run()
            kills += 1
        else:
            cuts += cut_connections(branch.ledger) + cut_connections(branch.read)
        wait_until(lambda was=before: reader.poll() is not None or vector(branch.read) != was, "the relay goes on")
        assert reader.poll() is None, "the reader saw a state that should not be"
    committed = int(branch.end(writer))
    token = branch.command("token", "ledger").strip()
    branch.command("read", "branch_total", "--at-least", token, "--timeout-s", "60")
    seen = json.loads(branch.end(reader))
    assert shown(branch.read, "bank.account_card") == shown(branch.ledger, "account")
    branch.command("verify")
    print(f"seed {seed}: {committed} transfers, {seen}, {kills} relays killed, {cuts} connections cut")
    assert seen["vectors"] >= rounds, f"too few states were seen to prove anything: {seen}"


def vector(url: str) -> object:
    """Which states the read store shows now."""
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT array_agg((service, n) ORDER BY service)::text FROM syncline.feed").fetchone()


def cut_connections(url: str) -> int:
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        found = connection.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE application_name LIKE 'syncline%' AND datname = current_database() AND random() < 0.4"
        ).fetchone()
    return found[0] if found else 0


def shown(url: str, table: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(f"SELECT account_id, branch, cents FROM {table} ORDER BY 1").fetchall()  # type: ignore[arg-type]


# Each capture once; the third pair is among those that the server is killed under.
@pytest.mark.parametrize("captures", CAPTURES[:2], ids="-".join)
def test_the_total_is_right_in_every_state_while_relays_and_connections_are_killed(
    tmp_path: Path, postgres: Databases, captures: tuple[str, str]
) -> None:
    with opened(tmp_path, postgres, captures) as branch:
        follow(branch, 1, 4, None, PAUSE_S)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("captures", CAPTURES, ids="-".join)
def test_nothing_is_lost_when_the_server_is_killed_under_load(tmp_path: Path, captures: tuple[str, str], seed: int) -> None:
    server = PostgresServer(is_durable=True)
    try:
        with opened(tmp_path, Databases(server.url), captures) as branch:
            follow(branch, seed, 60, server)
    finally:
        server.stop()
