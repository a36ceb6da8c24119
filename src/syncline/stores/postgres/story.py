"""What an event log in a PostgreSQL database holds of a story: events of streams, of commands, and those that belong together."""

import json
from collections.abc import Iterable
from contextlib import closing
from typing import Any

from syncline.stores.postgres.connection import connect, load, translated
from syncline.stores.postgres.texts import all_original, storable, text_array
from syncline.stores.roles import StoryEvent

_SQL = load("story.sql")


def story_events(database: str, ids: Iterable[str], *, newest: int, limit: int) -> list[StoryEvent]:
    """Events whose stream, command, correlation or cause is one of these; correlations are looked for in the `newest` events."""
    values = {"ids": text_array([storable(each) for each in ids]), "newest": newest, "limit": limit}
    with closing(connect(database)) as connection, translated(database):
        if not connection.execute(_SQL["select_tables"]).fetchall()[0][0]:
            return []
        found = [row for name in ("select_of_streams", "select_of_commands", "select_correlated")
                 for row in connection.execute(_SQL[name], values)]  # fmt: skip
    return [_event(*all_original(row)) for row in found]


def _event(*row: Any) -> StoryEvent:
    position, stream, version, name, data, at, command_id, metadata = row
    return StoryEvent(position, stream, version, name, data, at, command_id, json.loads(metadata) if metadata else {})
