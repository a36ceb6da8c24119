"""With the index over types that a service which decides over a query asks for, conditions mean the same."""

from functools import partial
from pathlib import Path

import pytest

from syncline.stores.sqlite.events import SQLiteEventLog
from syncline.testing.conformance import Subject, log, offers_what_is_required, open_log
from syncline.testing.conformance.conditions import *  # noqa: F403

__all__ = ["log", "offers_what_is_required", "open_log"]


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    return Subject(partial(SQLiteEventLog, str(tmp_path / "events.db"), by_type=True))
