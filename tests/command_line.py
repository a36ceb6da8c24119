"""The command line without a process of its own: the same program, in the test's process. Starting a Python for it takes longer
than most commands do; that `syncline` is a program that starts, stops and is killed, the tests of `syncline run` and of the
pages show."""

from collections.abc import Mapping
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner

from syncline.cli import main


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err


def syncline(folder: Path, *words: str, environment: Mapping[str, str] | None = None) -> Said:
    """What a command says in a folder. A mistake of the program is raised."""
    with chdir(folder):
        found = CliRunner().invoke(main, words, env=environment, catch_exceptions=False)
    return Said(found.exit_code, found.stdout, found.stderr)
