"""Peers to measure against, each in an environment of its own made from a lock file, so that the project depends on none."""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

FOLDER = Path(__file__).parent
PEERS = FOLDER.parent / ".peers"
NEEDS = {"deltaflow": (3, 12)}
"""The Python that a peer needs, where that is a newer one than the project does."""
NEWEST = 14


class NoPython(Exception):
    """There is no Python here that is new enough for a peer."""


def peer_program(name: str, program: str) -> str:
    """A program of the peer's environment, which is made on first use; needs the package index then. May raise NoPython."""
    home, lock = PEERS / name, FOLDER / f"peer_{name}.lock"
    python, stamp = home / "bin" / "python", home / "made-from"
    if not stamp.exists() or stamp.read_text() != lock.read_text():
        _make(home, NEEDS.get(name, (3, 11)))
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
        subprocess.run([*install, "-r", str(lock)], check=True, stdout=sys.stderr)
        stamp.write_text(lock.read_text())
    return str(home / "bin" / program)


def run_peer(name: str, *arguments: str) -> float:
    """The one figure that the peer's program prints."""
    command = [peer_program(name, "python"), str(FOLDER / f"peer_{name}.py"), *arguments]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def _make(home: Path, least: tuple[int, int]) -> None:
    if sys.version_info >= least:
        venv.create(home, clear=True, with_pip=True)
        return
    for minor in range(least[1], NEWEST + 1):
        program = shutil.which(f"python3.{minor}")
        if program is not None:
            # The variable lets pyenv choose a version that it has but does not use of itself; others do not know it.
            made = subprocess.run(
                [program, "-m", "venv", "--clear", str(home)],
                env={**os.environ, "PYENV_VERSION": f"3.{minor}"},
                stderr=subprocess.DEVNULL,
                check=False,
            )
            if made.returncode == 0:
                return
    raise NoPython(f"it needs Python {'.'.join(map(str, least))} or newer, and there is none here: the figure cannot be compared")
