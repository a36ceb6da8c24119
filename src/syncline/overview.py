"""What `status` shows of a read model: its feeds with their lag and age, its views with their progress."""

import time
from collections.abc import Iterable, Mapping

from syncline.composing import Writing
from syncline.config import ReadModelConfig
from syncline.errors import StoreError
from syncline.messages import DeadLetter, Position
from syncline.move.freshness import FeedStatus, ViewStatus, WritingStatus, staleness
from syncline.read.snapshot import services_of, why_not_ready
from syncline.services import FollowedService
from syncline.stores.protocols import FeedRow, MirrorRow, Reader, ViewRow
from syncline.stores.roles import log_role
from syncline.write.event_service import EventService


def model_status(
    model: ReadModelConfig,
    reader: Reader,
    services: Mapping[str, FollowedService],
    heads: Mapping[str, Position],
    *,
    is_running: bool,
    with_counts: bool = True,
) -> tuple[list[FeedStatus], list[ViewStatus]]:
    """The state of a read model in one snapshot. `heads` are the newest positions of the services that tell them."""
    with reader.snapshot():
        feeds, mirrors, views = reader.feeds(), reader.mirrors(), reader.views()
        parked = [each.view for each in reader.parked()]
        letters = reader.held_streams()
        counts = {name: reader.count(name) for name, view in views.items() if with_counts and view.live is not None}
    vector = {feed.service: feed.checkpoint for feed in feeds}
    now = time.time()
    of_feeds = [_feed(model.name, feed, mirrors, letters, heads.get(feed.service), now, is_running=is_running) for feed in feeds]
    of_views: list[ViewStatus] = []
    for name, view in sorted(views.items()):
        definition = view.live or view.next
        depends_on = services_of(definition, views, mirrors) if definition is not None else frozenset()
        aside = sum(1 for each in parked if each == name or each.startswith(f"{name}__"))
        error = view.error or (f"set aside: {aside} of its pieces; `syncline read {name}` names them" if aside else None)
        of_views.append(
            ViewStatus(
                model.name,
                name,
                _view_state(view, mirrors),
                counts.get(name),
                view.generation or 0,
                _activity(view, mirrors, feeds),
                error,
                staleness(vector, depends_on, now) if view.live is not None else None,
            )
        )
    for unknown in sorted({view.name for view in model.views} - set(views)):
        why = "it waits for a service that could not be looked at yet"
        of_views.append(ViewStatus(model.name, unknown, "waiting", None, 0, why, None, None))
    return of_feeds, of_views


def unstarted_status(
    model: ReadModelConfig, services: Mapping[str, FollowedService]
) -> tuple[list[FeedStatus], list[ViewStatus]]:
    """What can be said of a read model whose store was never made."""
    feeds = [
        FeedStatus(model.name, name, services[name].capture, "not started", None, None, None, None, True, "", None, {})
        for name in model.services
    ]
    views = [ViewStatus(model.name, view.name, "not started", None, 0, "", None, None) for view in model.views]
    return feeds, views


def writing_status(writing: Iterable[Writing]) -> list[WritingStatus]:
    """What is known of the services that commands are sent to."""
    found: list[WritingStatus] = []
    for each in writing:
        name, is_log = each.definition.name, isinstance(each.definition, EventService)
        kind = "events" if is_log else "tables"
        try:
            handled = log_role(each.config.database).handled_commands(each.config.database, is_log=is_log)
        except StoreError as error:
            found.append(WritingStatus(name, kind, error=str(error)))
            continue
        if handled is None:
            found.append(WritingStatus(name, kind))
        else:
            found.append(WritingStatus(name, kind, handled.commands, handled.events, handled.newest_at))
    return found


def _feed(
    model: str,
    feed: FeedRow,
    mirrors: list[MirrorRow],
    letters: list[DeadLetter],
    head: Position | None,
    now: float,
    *,
    is_running: bool,
) -> FeedStatus:
    at = feed.checkpoint.position
    lag = head.n - at.n if head is not None and at is not None and head.incarnation == at.incarnation else None
    loading = {
        mirror.relation.name: f"{mirror.rows:,} rows"
        for mirror in mirrors
        if mirror.relation.service == feed.service and mirror.state in ("loading", "filling")
    }
    since = [letter.since for letter in letters if letter.service == feed.service]
    return FeedStatus(
        model,
        feed.service,
        feed.capture,
        feed.state if is_running or feed.state == "failed" else "stopped",
        at.incarnation if at is not None else None,
        at.n if at is not None else None,
        lag,
        staleness({feed.service: feed.checkpoint}, [feed.service], now),
        feed.checkpoint.is_exact,
        feed.activity if is_running else "",
        feed.error,
        loading,
        len(since),
        min(since, default=None),
    )


def _view_state(view: ViewRow, mirrors: list[MirrorRow]) -> str:
    if view.error:
        return "failed"
    if view.next is None:
        return "live"
    if view.live is not None:
        return "live"
    return "building" if view.built is not None else "waiting"


def _activity(view: ViewRow, mirrors: list[MirrorRow], feeds: list[FeedRow]) -> str:
    if view.next is None:
        return ""
    return ("building anew: " if view.live is not None else "") + why_not_ready(view, mirrors, feeds)
