"""A file system that is full: what cannot be stored is told, nothing of it is there, and when there is room it goes on."""

import subprocess
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
from tests.write.ledger import Deposit, assert_is_serial, ledger, recorded

from syncline import App, Receipt, SQLite
from syncline.errors import Unavailable


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("this system has no mount")
    if made.returncode:
        pytest.skip("making a small file system needs more rights")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(folder: Path, room: int) -> Path:
    """Takes all that is left but some bytes."""
    filler = folder / "filler"
    size = 0
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                size += file.write(b"x" * 4096)
        except OSError:
            file.truncate(max(size - room, 0))
    return filler


@pytest.mark.parametrize("room", [0, 8_192, 65_536])
def test_commands_that_find_no_room_are_told_and_leave_nothing_and_later_ones_are_stored(disk: Path, room: int) -> None:
    path = str(disk / "events.db")
    with App(ledger.on(SQLite(path))) as app:
        app.send(Deposit("a", 1), command_id="before")
        filler = fill(disk, room)
        sent = {f"c-{number}": Deposit(f"a{number % 7}", number % 9 + 1) for number in range(2_000)}
        futures: dict[str, Future[Receipt]] = {}
        for command_id, command in sent.items():
            futures[command_id] = app.submit(command, command_id=command_id)
            if len(futures) % 40 == 0:
                futures[command_id].exception()
        failed = {command_id for command_id, future in futures.items() if future.exception() is not None}
        assert failed
        assert all(isinstance(futures[command_id].exception(), Unavailable) for command_id in failed)
        assert "nothing was stored, send again" in str(futures[min(failed)].exception())
        stored = {each.metadata["command_id"] for each in recorded(path)}
        assert stored == {"before", *sent} - failed
        filler.unlink()
        for command_id in sorted(failed)[:10]:
            assert app.send(sent[command_id], command_id=command_id).events
    assert_is_serial(ledger, recorded(path), {**sent, "before": Deposit("a", 1)})
