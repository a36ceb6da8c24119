"""Peers to measure against, each in an environment of its own made from a lock file, so that the project depends on none."""

import subprocess
import sys
import venv
from pathlib import Path

FOLDER = Path(__file__).parent
PEERS = FOLDER.parent / ".peers"


def peer_python(name: str) -> str:
    """The Python of the peer's environment, which is made on first use; needs the package index then."""
    home, lock = PEERS / name, FOLDER / f"peer_{name}.lock"
    python, stamp = home / "bin" / "python", home / "made-from"
    if not stamp.exists() or stamp.read_text() != lock.read_text():
        venv.create(home, clear=True, with_pip=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
        subprocess.run([*install, "-r", str(lock)], check=True, stdout=sys.stderr)
        stamp.write_text(lock.read_text())
    return str(python)


def run_peer(name: str, *arguments: str) -> float:
    """The one figure that the peer's program prints."""
    command = [peer_python(name), str(FOLDER / f"peer_{name}.py"), *arguments]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
