#!/usr/bin/env python3
"""The benchmarks: `python benchmarks/run.py [NAME ...] [--json] [--quick]`; `./do bench` calls it. Without a name: all.

Each figure is printed with its yardstick from the same run. --quick only shows that every program works: its figures mean
nothing.
"""

import argparse
import importlib
import json
import os
import platform
import sqlite3
import sys
import time

from figures import Table, say

OF_READING = ("maintain", "first_build", "growth", "latency", "capture_cost", "idle", "memory")
OF_WRITING = ("commands", "event_log", "rebuild", "visible")
NAMES = (*OF_READING, *OF_WRITING)


def main() -> int:
    parser = argparse.ArgumentParser(prog="run.py", description="Measures what Syncline costs, beside hand-written SQL.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(NAMES)} (default all)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--quick", action="store_true", help="small and short: shows that all works; the figures mean nothing")
    parser.add_argument("--list", action="store_true", help="say what each measures")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in NAMES]:
        parser.error(f"there is no benchmark {', '.join(map(repr, unknown))}; there are: {', '.join(NAMES)}")
    if options.list:
        for name in options.names or NAMES:
            print(str(importlib.import_module(name).__doc__).strip().partition("\n")[0])
        return 0
    return _run(options.names or NAMES, as_json=options.json, quick=options.quick)


def _run(names: list[str] | tuple[str, ...], *, as_json: bool, quick: bool) -> int:
    found: dict[str, list[Table]] = {}
    if not as_json:
        print(" · ".join(f"{key} {value}" for key, value in _machine().items()) + "\n")
    for name in names:
        began = time.monotonic()
        found[name] = importlib.import_module(name).measure(quick=quick)
        say("")
        if not as_json:
            for table in found[name]:
                print(f"{table.as_text()}\n")
            print(f"({name}: {time.monotonic() - began:.0f} s, load {os.getloadavg()[0]:.1f})\n", flush=True)
    if as_json:
        tables = {name: [table.as_json() for table in tables] for name, tables in found.items()}
        print(json.dumps({"machine": _machine(), "quick": quick, "figures": tables}, indent=2, ensure_ascii=False))
    return 0


def _machine() -> dict[str, object]:
    return {
        "Python": platform.python_version(),
        "SQLite": sqlite3.sqlite_version,
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
    }


if __name__ == "__main__":
    sys.exit(main())
