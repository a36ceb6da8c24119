"""What a monitoring system asks: requests and their times, by path; how far and how old each feed and view is.

No name of a caller, no value and no text of a request is among it.
"""

import asyncio

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.responses import Response

from syncline.app import App
from syncline.serve.caller import OPERATE
from syncline.serve.route import Asked, Route

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
NOWHERE = "(no such path)"


class Metrics:
    """The counts of one service, in a registry of their own."""

    def __init__(self, app: App) -> None:
        self._app = app
        self.registry = CollectorRegistry()
        self._requests = Counter("syncline_http_requests", "Requests answered", ("path", "status"), registry=self.registry)
        self._seconds = Histogram(
            "syncline_http_request_seconds", "Time until an answer began", ("path",), registry=self.registry, buckets=BUCKETS_S
        )
        self._counts: dict[tuple[str, int], tuple[Counter, Histogram]] = {}
        self._streams = Gauge("syncline_http_streams", "Event streams that are open", registry=self.registry)
        self._feed_staleness = self._feed("staleness_seconds", "How old what is applied may be at most")
        self._feed_lag = self._feed("lag", "How far behind its service a feed is, in positions")
        self._feed_failed = self._feed("failed", "1 where a feed has failed")
        self._held_back = self._feed("held_back_streams", "Streams that are held back")
        of_views = ("read_model", "view")
        self._view_staleness = Gauge(
            "syncline_view_staleness_seconds", "How old rows may be at most", of_views, registry=self.registry
        )
        self._view_live = Gauge("syncline_view_live", "1 where a view can be read", of_views, registry=self.registry)

        self._sagas = Gauge("syncline_sagas", "Sagas, by status", ("saga", "status"), registry=self.registry)
        self._to_send = Gauge(
            "syncline_saga_commands_to_send", "Commands that wait to be sent", ("saga",), registry=self.registry
        )

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Counts an answer. `path` is a route's, with its names in braces."""
        counts = self._counts.get((path, status))
        if counts is None:
            counts = self._counts[path, status] = (self._requests.labels(path, status), self._seconds.labels(path))
        counts[0].inc()
        counts[1].observe(seconds)

    def shown(self, streams: int) -> bytes:
        """All of it, as Prometheus reads it. Asks the read stores."""
        self._streams.set(streams)
        status = self._app.status(with_counts=False)
        for feed in status.feeds:
            place = (feed.read_model, feed.service)
            self._feed_staleness.labels(*place).set(_or_nan(feed.staleness_s))
            self._feed_lag.labels(*place).set(_or_nan(feed.lag))
            self._feed_failed.labels(*place).set(feed.state == "failed")
            self._held_back.labels(*place).set(feed.held_back)
        for view in status.views:
            self._view_staleness.labels(view.read_model, view.view).set(_or_nan(view.staleness_s))
            self._view_live.labels(view.read_model, view.view).set(view.state == "live")
        for saga in status.sagas:
            for name, count in (("open", saga.open), ("parked", saga.parked), ("ended", saga.ended), ("given up", saga.given_up)):
                self._sagas.labels(saga.saga, name).set(count)
            self._to_send.labels(saga.saga).set(saga.waiting)
        return generate_latest(self.registry)

    def _feed(self, name: str, about: str) -> Gauge:
        return Gauge(f"syncline_feed_{name}", about, ("read_model", "service"), registry=self.registry)


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value


async def _metrics(asked: Asked) -> Response:
    """The metrics."""
    serving = asked.serving
    body = await asyncio.to_thread(serving.metrics.shown, serving.open_streams)
    return Response(body, headers={"Content-Type": CONTENT_TYPE})


ROUTES = (Route("GET", "/metrics", OPERATE, _metrics),)
