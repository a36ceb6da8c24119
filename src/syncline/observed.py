"""How things are, and were lately: staleness, lag and throughput. Looks are kept in memory: those of a quarter of an hour where
there is one each second, and one each minute for a day. Nothing of it is stored, and what is asked of the stores is small.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace

from syncline.app import App
from syncline.errors import StoreError
from syncline.move.freshness import FeedStatus, Status, ViewStatus
from syncline.stores.roles import read_role

STEP_S = 1.0
FINE_KEPT = 900
MINUTE_KEPT = 1_440
COARSE_EVERY = 60
LATELY = 5
"""How many looks before the newest count for a rate."""


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen at one moment, with the rates of lately in its status. Feeds are named MODEL/SERVICE, views MODEL/VIEW.

    `positions` and `changes` are how far each feed and each view's change feed had come; rates are what they rose by.
    """

    at: float
    status: Status
    positions: Mapping[str, int] = field(default_factory=dict)
    changes: Mapping[str, int] = field(default_factory=dict)


class Observed:
    """Looks when it is told to, or, once started, each second until `close`. `newest` is the last look; None before the first."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._fine: deque[Look] = deque(maxlen=FINE_KEPT)
        self._coarse: deque[Look] = deque(maxlen=MINUTE_KEPT)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    @property
    def newest(self) -> Look | None:
        return self._fine[-1] if self._fine else None

    def start(self) -> None:
        """Begins to look, unless it has begun. The first look is there when this returns."""
        with self._lock:
            if self._thread is None and not self._stop.is_set():
                self.look()
                self._thread = threading.Thread(target=self._run, name="observed", daemon=True)
                self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def samples(self, minutes: float) -> dict[str, object]:
        """The looks of the last minutes as columns: times, and for each feed and view its staleness, lag and rate."""
        is_fine = minutes * 60 <= FINE_KEPT * STEP_S
        since = time.time() - minutes * 60
        looks = [look for look in list(self._fine if is_fine else self._coarse) if look.at >= since]
        return {
            "step_s": STEP_S if is_fine else STEP_S * COARSE_EVERY,
            "at": [round(look.at, 3) for look in looks],
            "feeds": {
                name: {
                    "staleness_s": [_feed(look, name, lambda feed: feed.staleness_s) for look in looks],
                    "lag": [_feed(look, name, lambda feed: feed.lag) for look in looks],
                    "rate": _rates(looks, lambda look, name=name: look.positions.get(name)),  # type: ignore[misc]
                }
                for name in dict.fromkeys(_feed_name(feed) for look in looks for feed in look.status.feeds)
            },
            "views": {
                name: {
                    "staleness_s": [_view(look, name) for look in looks],
                    "rate": _rates(looks, lambda look, name=name: look.changes.get(name)),  # type: ignore[misc]
                }
                for name in dict.fromkeys(_view_name(view) for look in looks for view in look.status.views)
            },
        }

    def seen_at(self, view: str, number: int) -> float | None:
        """When a change of a view (MODEL/VIEW), by its number in the view's change feed, was first seen to be there.

        None for one that was there at the first look that is kept, and so came at any time before.
        """
        before: int | None = None
        for look in list(self._fine):
            newest = look.changes.get(view)
            if newest is not None and newest >= number:
                return look.at if before is not None and before < number else None
            before = newest
        return None

    def _run(self) -> None:
        count = 0
        while not self._stop.wait(STEP_S):
            self.look()
            count += 1
            if count % COARSE_EVERY == 1:
                self._coarse.append(self._fine[-1])

    def look(self, *, with_counts: bool = False) -> Status:
        """Looks now. Counting rows takes longer the more there are."""
        try:
            status = self._app.status(with_counts=with_counts)
        except StoreError as error:
            status = Status((), (), f"unknown: {error}")
        changes: dict[str, int] = {}
        for model in self._app.config.read_models:
            try:
                with closing(read_role(model.database).open_reader(model.database)) as reader, reader.snapshot():
                    for name, view in reader.views().items():
                        if view.live is not None:
                            changes[f"{model.name}/{name}"] = reader.changes(name, (), 2**62, 1).newest
            except StoreError:
                continue  # a store that cannot be read now has no newest change to tell; its status says why
        positions = {_feed_name(feed): feed.position for feed in status.feeds if feed.position is not None}
        look = Look(time.time(), status, positions, changes)
        rates = _lately([*list(self._fine)[-LATELY:], look])
        status = replace(
            status,
            feeds=tuple(replace(feed, rate=rates.get(_feed_name(feed))) for feed in status.feeds),
            views=tuple(replace(view, rate=rates.get(_view_name(view))) for view in status.views),
        )
        self._fine.append(replace(look, status=status))
        return status


def _feed_name(feed: FeedStatus) -> str:
    return f"{feed.read_model}/{feed.service}"


def _view_name(view: ViewStatus) -> str:
    return f"{view.read_model}/{view.view}"


def _feed(look: Look, name: str, value: Callable[..., float | None]) -> float | None:
    return next((value(feed) for feed in look.status.feeds if _feed_name(feed) == name), None)


def _view(look: Look, name: str) -> float | None:
    return next((view.staleness_s for view in look.status.views if _view_name(view) == name), None)


def _rates(looks: Sequence[Look], of: Callable[[Look], int | None]) -> list[float | None]:
    """What rose in a second, from each look to the next; None for the first, and where a count began anew."""
    found: list[float | None] = [None] * min(1, len(looks))
    for before, after in zip(looks, looks[1:], strict=False):
        one, other = of(before), of(after)
        is_known = one is not None and other is not None and other >= one
        found.append(round((other - one) / max(after.at - before.at, 1e-3), 1) if is_known else None)  # type: ignore[operator]
    return found


def _lately(looks: Sequence[Look]) -> dict[str, float | None]:
    """What each feed and view changed by in a second, in the mean of these looks."""
    names = dict.fromkeys(name for look in looks for name in (*look.positions, *look.changes))
    return {
        name: _mean(_rates(looks, lambda look, name=name: look.positions.get(name, look.changes.get(name))))  # type: ignore[misc]
        for name in names
    }


def _mean(rates: Sequence[float | None]) -> float | None:
    known = [rate for rate in rates if rate is not None]
    return round(sum(known) / len(known), 1) if known else None
