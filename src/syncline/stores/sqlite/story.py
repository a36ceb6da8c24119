"""What an event log in an SQLite file holds of a story: events of streams, of commands, and those that belong together."""

import json
import os
from collections.abc import Iterable
from contextlib import closing
from typing import Any

from syncline.stores.roles import StoryEvent
from syncline.stores.sqlite.source import OPEN_TIMEOUT_S, open_source, source_errors
from syncline.stores.statements import load_statements

_SQL = load_statements("syncline.stores.sqlite", "story.sql")


def story_events(path: str, ids: Iterable[str], *, newest: int, limit: int) -> list[StoryEvent]:
    """Events whose stream, command, correlation or cause is one of these; correlations are looked for in the `newest` events."""
    if not os.path.exists(path):
        return []
    values = {"ids": json.dumps(list(ids)), "newest": newest, "limit": limit}
    with closing(open_source(path, read_only=True, timeout_s=OPEN_TIMEOUT_S)) as connection, source_errors(path):
        if len(connection.execute(_SQL["select_tables"]).fetchall()) < 2:
            return []
        found = [row for name in ("select_of_streams", "select_of_commands", "select_correlated")
                 for row in connection.execute(_SQL[name], values)]  # fmt: skip
    return [_event(*row) for row in found]


def _event(*row: Any) -> StoryEvent:
    position, stream, version, name, data, at, command_id, metadata = row
    return StoryEvent(position, stream, version, name, data, at, command_id, json.loads(metadata) if metadata else {})
