"""memory: the most memory that `syncline run` holds while it loads all flights of the example and builds its views.

The four services of examples/flights with the whole year (336,776 flights), followed from nothing until every view is live.
Counted is the peak of the resident memory of the process (VmHWM), and, as the yardstick, that of `syncline check` on the same
project: what the program needs before it holds any row.
"""

import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from figures import Table, say
from running import peak_mb, syncline_run, wait_until_live

SERVICES = Path(__file__).resolve().parent.parent / "examples" / "flights" / "services.py"
_CHECK = """
import sys
from pathlib import Path
from syncline.cli import main
sys.argv = ["syncline", "check", "--config", sys.argv[1]]
try:
    main()
except SystemExit:
    pass
(line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
print(int(line.split()[1]) * 1024 / 1e6)
"""


def measure(*, quick: bool) -> list[Table]:
    days = 10 if quick else 365
    with TemporaryDirectory(prefix="syncline-bench-", ignore_cleanup_errors=True) as root:
        folder = Path(root) / "flights"
        say(f"making the databases of {days} days of flights")
        made = subprocess.run(
            [sys.executable, str(SERVICES), str(folder), "--days", str(days), "--played", str(days)],
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            raise SystemExit(f"the flights cannot be made: {made.stderr.strip()}")
        checked = subprocess.run(
            [sys.executable, "-c", _CHECK, str(folder / "syncline.toml")], capture_output=True, text=True, check=True
        )
        say("following them from nothing")
        began = time.monotonic()
        with syncline_run(folder, is_live=False) as pid:
            time.sleep(0.5)
            wait_until_live(folder, pid)
            took = time.monotonic() - began
            peak = peak_mb(pid)
    return [
        Table(
            f"Peak memory of `syncline run` from nothing until all views are live, {days} days of flights",
            ("", "MB", "seconds"),
            [("syncline run", peak, took), ("syncline check", float(checked.stdout.splitlines()[-1]), None)],
            "at most 200 MB for all 336,776 flights",
            (made.stdout.strip().partition(" in ")[0] + ".",),
        )
    ]
