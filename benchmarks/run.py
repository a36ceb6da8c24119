#!/usr/bin/env python3
"""The benchmarks: `python benchmarks/run.py [NAME ...] [--postgres] [--json] [--quick]`; `./do bench` calls it.

Without a name: all. Each figure is printed with its yardstick from the same run. --postgres: on a throw-away PostgreSQL server
with fsync on, or on the one that SYNCLINE_PG_DSN names. --quick only shows that every program works: its figures mean nothing.
"""

import argparse
import importlib
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Sequence

from figures import Table, say
from grounds import open_ground
from shop import Ground

ON_EITHER = (
    "maintain",
    "first_build",
    "growth",
    "latency",
    "capture_cost",
    "commands",
    "rebuild",
    "http_reads",
    "live",
    "dashboard",
)
ON_SQLITE = ("idle", "memory", "event_log", "visible", "http_commands", "checkout")
NAMES = ON_EITHER + ON_SQLITE


def main() -> int:
    parser = argparse.ArgumentParser(prog="run.py", description="Measures what Syncline costs, beside hand-written SQL.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(NAMES)} (default all)")
    parser.add_argument("--postgres", action="store_true", help="on PostgreSQL instead of SQLite")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--quick", action="store_true", help="small and short: shows that all works; the figures mean nothing")
    parser.add_argument("--list", action="store_true", help="say what each measures")
    options = parser.parse_args()
    known = ON_EITHER if options.postgres else NAMES
    if unknown := [name for name in options.names if name not in known]:
        where = " on PostgreSQL" if options.postgres else ""
        parser.error(f"there is no benchmark {', '.join(map(repr, unknown))}{where}; there are: {', '.join(known)}")
    if options.list:
        for name in options.names or known:
            print(str(importlib.import_module(name).__doc__).strip().partition("\n")[0])
        return 0
    # Ended by a signal, it still stops the server and the programs that it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with open_ground(is_postgres=options.postgres) as ground:
        return _run(ground, options.names or known, as_json=options.json, quick=options.quick)


def _run(ground: Ground, names: Sequence[str], *, as_json: bool, quick: bool) -> int:
    found: dict[str, list[Table]] = {}
    if not as_json:
        print(" · ".join(f"{key} {value}" for key, value in _machine(ground).items()) + "\n")
    for name in names:
        began = time.monotonic()
        measure = importlib.import_module(name).measure
        found[name] = measure(ground, quick=quick) if name in ON_EITHER else measure(quick=quick)
        say("")
        if not as_json:
            for table in found[name]:
                print(f"{table.as_text()}\n")
            print(f"({name}: {time.monotonic() - began:.0f} s, load {os.getloadavg()[0]:.1f})\n", flush=True)
    if as_json:
        tables = {name: [table.as_json() for table in tables] for name, tables in found.items()}
        print(json.dumps({"machine": _machine(ground), "quick": quick, "figures": tables}, indent=2, ensure_ascii=False))
    return 0


def _machine(ground: Ground) -> dict[str, object]:
    return {
        "Python": platform.python_version(),
        ground.name: ground.version,
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
    }


if __name__ == "__main__":
    sys.exit(main())
