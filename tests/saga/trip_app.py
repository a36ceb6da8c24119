"""The trips as `--app` names them, in the folder that TRIPS names."""

import os
from pathlib import Path

from tests.saga.trip import build

from syncline import SQLite

app = build(lambda name: SQLite(str(Path(os.environ["TRIPS"]) / f"{name}.db")))
