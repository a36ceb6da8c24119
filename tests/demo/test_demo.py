"""`syncline demo` as it is used: real processes, from a checkout and from a wheel."""

import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.crash.processes import is_over

ROOT = Path(__file__).resolve().parents[2]
ORDERS = 100
TIMEOUT_S = 100


def demo(*args: str, python_path: Path = ROOT / "src") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "syncline", "demo", *args],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        env={**os.environ, "PYTHONPATH": str(python_path)},
        check=False,
    )


def report_of(*args: str) -> dict[str, Any]:
    done = demo("--headless", "--orders", str(ORDERS), "--json", *args)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


@contextmanager
def opened(folder: Path, *args: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """The demo with its pages, and what it says of where it is."""
    with (folder / "errors.txt").open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "syncline", "demo", "--no-browser", "--json", *args],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, "TMPDIR": str(folder)},
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, (folder / "errors.txt").read_text()
            yield process, json.loads(line)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


def stopped(process: subprocess.Popen[str], number: signal.Signals = signal.SIGINT) -> int | None:
    process.send_signal(number)
    is_over(process, 30)
    return process.returncode


# ---- headless ----


def test_a_load_of_orders_ends_as_its_cards_say_and_everything_reconciles() -> None:
    report = report_of()
    assert report["faults"] == []
    counts = report["counts"]
    assert counts["orders"] == ORDERS
    assert counts["cancelled"] >= 10 + 5 + 2  # declined, out of stock, never answered; on a busy machine more are too late
    assert report["states"] == {"confirmed": counts["confirmed"], "cancelled": counts["cancelled"]}
    assert counts["charged cents"] - counts["refunded cents"] == counts["confirmed cents"] > 0
    assert report["rows_compared"] > 5 * ORDERS
    assert 0 < report["latency_ms"]["p50"] <= report["latency_ms"]["p99"]


def test_each_service_is_followed_as_the_command_line_says() -> None:
    assert report_of("--follow", "inventory=polling", "--follow", "customers=triggers")["faults"] == []


def test_a_folder_is_kept_and_gone_on_with_and_what_is_wrong_in_it_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "shop"
    assert report_of("--folder", str(folder))["counts"]["orders"] == ORDERS
    assert report_of("--folder", str(folder))["counts"]["orders"] == 2 * ORDERS
    with closing(sqlite3.connect(folder / "inventory.db", timeout=30)) as inventory, inventory:
        inventory.execute("UPDATE stock SET reserved = reserved + 1 WHERE sku = 'tea-assam'")
    done = demo("--headless", "--orders", "1", "--folder", str(folder))
    assert done.returncode == 1
    assert "1 products have another quantity reserved than orders hold: tea-assam" in done.stdout
    assert "exactly right" not in done.stdout


def test_figures_are_told_in_words_and_progress_on_stderr() -> None:
    done = demo("--headless", "--orders", "20", "--rate", "50")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^20 orders in [\d.]+ s \(\d+/s\): .*confirmed", done.stdout)
    assert done.stdout.endswith("stock, money, orders and views are exactly right; no saga is open\n")
    assert "orders: done, 20 orders" in done.stderr
    assert "Traceback" not in done.stderr


# ---- with pages ----


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_is_stopped_cleanly_while_pages_are_open_and_nothing_is_left(tmp_path: Path, number: signal.Signals) -> None:
    with opened(tmp_path, "--rate", "20") as (process, said):
        assert Path(said["folder"]).parent == tmp_path
        assert httpx.get(said["dashboard"]).status_code == 200
        with httpx.stream("GET", f"{said['dashboard']}views/order_details/changes", timeout=30) as stream:
            next(line for line in stream.iter_lines() if "upsert" in line)
            assert stopped(process, number) == 0
    errors = (tmp_path / "errors.txt").read_text()
    assert re.search(r"^stopped; orders: \d+ open, \d+ confirmed, \d+ cancelled$", errors, re.MULTILINE), errors
    assert "Traceback" not in errors
    assert [path.name for path in tmp_path.iterdir()] == ["errors.txt"]


def test_a_default_port_that_is_taken_is_passed_over_and_a_named_one_is_an_error(tmp_path: Path) -> None:
    with closing(socket.socket()) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        done = demo("--port", port, "--no-browser")
        assert done.returncode == 1
        assert f"127.0.0.1:{port} is taken by another program" in done.stderr
    with opened(tmp_path, "--rate", "0") as (_, one), opened(tmp_path, "--rate", "0") as (_, other_one):
        assert one["shop"] != other_one["shop"]
        assert httpx.get(other_one["shop"]).status_code == 200


def test_the_number_of_orders_that_others_place_may_be_bounded(tmp_path: Path) -> None:
    with opened(tmp_path, "--rate", "100", "--orders", "7") as (_, said):
        with httpx.stream("GET", f"{said['dashboard']}views/order_details/changes?snapshot=true", timeout=30) as stream:
            placed: set[str] = set()
            for line in stream.iter_lines():
                placed |= set(re.findall(r'"key":\{"order_id":"([^"]+)"', line))
                if len(placed) == 7:
                    break
        state = httpx.get(f"{said['shop']}demo/state").json()
        assert sum(state["orders"].values()) == 7


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--follow", "orders=triggers"), "orders: only these can be followed otherwise: inventory, customers"),
        (("--follow", "inventory=wal"), "'inventory=wal'; write SERVICE=WAY, where WAY is one of: triggers, polling"),
        (("--follow", "inventory"), "write SERVICE=WAY"),
        (("--headless", "--port", "1"), "--headless has no pages"),
        (("--orders", "0"), "--orders"),
        (("--rate", "-1"), "--rate"),
        (("--rate", "nan"), "--rate"),
        (("--headless", "--rate", "0"), "--rate"),
        (("--port", "70000"), "--port"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_use_is_refused_before_anything_is_made(tmp_path: Path, args: tuple[str, ...], message: str) -> None:
    done = demo(*args, "--folder", str(tmp_path / "shop"))
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("shop/*.db"))


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = demo("--headless", "--folder", str(tmp_path / "file" / "below"))
    assert done.returncode == 2
    assert "cannot be made: Not a directory" in done.stderr


def test_a_database_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "orders.db").write_text("This is not a database, however long it is. " * 100)
    done = demo("--headless", "--folder", str(tmp_path))
    assert done.returncode == 1
    assert re.search(r"^error: .*orders\.db.* is not a database", done.stderr, re.MULTILINE), done.stderr
    assert "Traceback" not in done.stderr


def test_a_second_demo_in_a_folder_goes_on_when_the_first_has_ended(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    shop = ("--folder", str(tmp_path / "shop"), "--rate", "20")
    with opened(tmp_path / "one", *shop) as (first, _), opened(tmp_path / "two", *shop) as (_, said):
        assert stopped(first) == 0
        with httpx.stream("GET", f"{said['dashboard']}views/order_details/changes", timeout=60) as stream:
            assert next(line for line in stream.iter_lines() if '"status":"confirmed"' in line)


# ---- from a wheel ----


def test_a_wheel_holds_the_shop_and_runs_it_without_a_checkout(tmp_path: Path) -> None:
    build = [sys.executable, "-c", "import setuptools.build_meta as b, sys; b.build_wheel(sys.argv[1])", str(tmp_path)]
    source = tmp_path / "source"
    for folder in ("src", "examples/shop"):
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "*.db*"))
    for file in ("pyproject.toml", "setup.py", "MANIFEST.in", "LICENSE"):
        shutil.copy(ROOT / file, source)
    built = subprocess.run(build, cwd=source, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    done = demo("--headless", "--orders", "10", python_path=installed)
    assert done.returncode == 0, done.stderr
    place = subprocess.run(
        [sys.executable, "-c", "from syncline.cli.demo import _example; print(_example().__file__)"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(installed)},
        check=True,
    )
    assert Path(place.stdout.strip()) == installed / "syncline" / "examples" / "shop" / "demo.py"
    assert (installed / "syncline" / "examples" / "shop" / "storefront" / "page" / "index.html").is_file()
