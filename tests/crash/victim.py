"""Runs Syncline again and again in processes that die before their n-th SQL statement, as kill -9 would end them.

    python victim.py

reads lines of JSON, each `{"folder", "verb", "arguments", "at"}`, forks a process for each, and answers with its exit status
(negative: the signal) and how many statements it began. Every connection counts, also those to the services' databases; `at` 0
lets it live.
"""

import json
import os
import signal
import sqlite3
import sys
from pathlib import Path
from typing import Any

from syncline.app import App
from syncline.config import load_config


class Doomed:
    """Counts the statements of all connections that this process opens, and ends it before one of them."""

    def __init__(self, at: int, counted: int) -> None:
        self.at, self.n = at, 0
        self._behind_commits: list[int] = []
        self._counted = counted
        self._connect = sqlite3.connect

    def connect(self, *arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = self._connect(*arguments, **options)
        if arguments[0] != ":memory:":
            connection.set_trace_callback(self.begin)
        return connection

    def begin(self, statement: str) -> None:
        self.n += 1
        if statement == "COMMIT":
            self._behind_commits.append(self.n + 1)
        if self.n == self.at:
            self.tell()
            os.kill(os.getpid(), signal.SIGKILL)

    def tell(self) -> None:
        os.write(self._counted, json.dumps({"statements": self.n, "behind_commits": self._behind_commits}).encode())


def do(folder: Path, verb: str, arguments: list[str], doomed: Doomed) -> None:
    sqlite3.connect = doomed.connect  # type: ignore[assignment]
    app = App(load_config(folder / "syncline.toml"))
    getattr(app, verb)(*arguments)
    doomed.tell()


def main() -> None:
    for line in sys.stdin:
        job = json.loads(line)
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                do(Path(job["folder"]), job["verb"], job["arguments"], Doomed(job["at"], write_end))
                status = 0
            finally:
                os._exit(status)
        os.close(write_end)
        _, status = os.waitpid(child, 0)
        counted = json.loads(os.read(read_end, 65_536) or "{}")
        os.close(read_end)
        print(json.dumps({"status": os.waitstatus_to_exitcode(status), **counted}), flush=True)


if __name__ == "__main__":
    main()
