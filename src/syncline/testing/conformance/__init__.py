"""What every event log must do: tests for pytest, one behaviour each, over any log that keeps the protocol `EventLog`.

In a test module of a store, beside the line `from syncline.testing.conformance import *`, a fixture says what is tested:

    @pytest.fixture
    def subject(tmp_path: Path) -> Subject:
        return Subject(partial(SQLiteEventLog, str(tmp_path / "events.db")))

Tests marked `requires("…")` are skipped where the subject does not offer that; the marker is to be registered in the
configuration of pytest, and `long` as well: the same races and crashes, many times.
"""

# ruff: noqa: E402, F403
import pytest

pytest.register_assert_rewrite(
    *(f"{__name__}.{name}" for name in ("appending", "conditions", "reading", "racing", "lasting", "contenders"))
)

from syncline.testing.conformance.appending import *
from syncline.testing.conformance.conditions import *
from syncline.testing.conformance.lasting import *
from syncline.testing.conformance.racing import *
from syncline.testing.conformance.reading import *
from syncline.testing.conformance.subject import Subject, log, offers_what_is_required, open_log

__all__ = ["Subject", "log", "offers_what_is_required", "open_log"]
__all__ += [name for name in dir() if name.startswith("test_")]
