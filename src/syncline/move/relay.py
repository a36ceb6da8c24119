"""The relay: the one loop that reads a batch from a feed, applies it and moves the checkpoint in one transaction.

Theory of operation. One thread serves every feed of one read store in turns of a few milliseconds each, so that no feed, first
copy or build makes another wait. A turn of a feed is: read and apply one batch, or copy one chunk of a mirror that is loading. A
mirror goes live with the first batch that was *read* after its last chunk was copied. What was applied is acknowledged to the
sources from time to time, after one sync of the read store for all of them: a crash before that repeats some keys, which
changes nothing. Whatever a source does, the others go on: its subscription fails, and is tried again after a pause.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from syncline.errors import Fenced, InvalidDefinition, SourceChanged, StoreError, Unavailable
from syncline.messages import Batch, DeadLetter, Key, Progress, Relation
from syncline.move.feed import HoldsBack, Replays
from syncline.move.followed import Following, Service, held_back_lines, pause_s
from syncline.move.subscription import Event, Subscription
from syncline.stores.protocols import ReadStore

SCAN_BUDGET_S = 0.004
BUILD_BUDGET_S = 0.02
BUILD_PAUSE_S = 1.0
ACKNOWLEDGE_INTERVAL_S, ACKNOWLEDGE_EMPTY_S = 0.25, 5.0
"""How often all that was applied is brought to disk and acknowledged, and how often where none of it changed any rows."""
HEARTBEAT_INTERVAL_S = 1.0
TRIM_INTERVAL_S = 30.0


class Define(Protocol):
    """Compiles the views against the relations there are now, and defines them in the store. Raises InvalidDefinition."""

    def __call__(self, store: ReadStore, relations: Mapping[str, Sequence[Relation]]) -> None: ...


class Relay:
    """Follows the services of one read store. One thread owns it and the store."""

    def __init__(
        self,
        store: ReadStore,
        services: Sequence[Service],
        define: Define,
        *,
        on_event: Callable[[str], None] = lambda line: None,
        on_progress: Callable[[Progress], None] = lambda progress: None,
    ) -> None:
        self.store = store
        self.following = {service.name: Following(service) for service in services}
        self._define_views = define
        self._on_event, self._on_progress = on_event, on_progress
        self._is_defined = False
        self._built: dict[str, tuple[int, int]] = {}
        self.build_error: StoreError | None = None
        self._build_at = self._last_acknowledged = 0.0
        self._last_sync = self._last_heartbeat = self._last_trim = time.monotonic()

    def run(self, stop: threading.Event, *, wake: threading.Event, between: Callable[[], bool] = lambda: False) -> None:
        """Follows until `stop` is set, which is noticed within milliseconds and between two batches.

        `wake` is set by who wrote to a source in this process, so that it is looked at now and not at the next probe. `between`
        is called once a round, for requests of other processes; it says whether it did anything. Raises Fenced when another
        relay took over.
        """
        try:
            while not stop.is_set():
                is_woken = wake.is_set()
                wake.clear()
                if not (self.step(may_wait=not is_woken) | between()):
                    wake.wait(pause_s(self.following.values()))
        finally:
            self.close()

    def step(self, *, may_wait: bool = False) -> bool:
        """One round over all feeds and builds. Says whether there was anything to do.

        `may_wait`: a feed where nothing changes need not be asked in every round.
        """
        now = time.monotonic()
        if not self._is_defined:
            self._define()
        worked = False
        for following in self.following.values():
            worked |= self._turn(following, now, may_wait)
        if self.store.is_building() and now >= self._build_at:
            worked |= self._build()
        self._keep_house(now)
        return worked

    def close(self) -> None:
        """Acknowledges what was applied, and closes every feed."""
        try:
            self._acknowledge()
            self._note_seen()
        except Fenced:
            pass  # the relay that took over follows from the same checkpoint, and acknowledges it
        finally:
            for following in self.following.values():
                following.close()

    def forget_all(self) -> None:
        """Lets every source forget all that was applied; an owner who is writing is not waited for."""
        self._acknowledge()
        for following in self.following.values():
            while following.is_forgetting:
                self._forget(following)

    def is_settled(self) -> bool:
        """Whether nothing is left to load, build or apply, as far as the last round saw; a failed service is not waited for."""
        states = {each.subscription.state for each in self.following.values()}
        is_quiet = states <= {"live", "failed"} and self._is_defined
        return is_quiet and ("failed" in states or self.build_error is not None or not self.store.is_building())

    def mark(self, relation: Relation, keys: Sequence[Key]) -> None:
        """Makes the next batch of the relation's service bring these keys, whatever they were. Raises Unavailable."""
        following = self.following[relation.service]
        if following.feed is None:
            raise Unavailable(f"service '{relation.service}' is not being followed now: {following.subscription.error}")
        following.feed.mark(relation, keys)
        following.is_drained = False

    def release(self, service: str, stream: str, *, skip: bool) -> None:
        """Makes the next batch of a service try a stream that is held back. Raises Unavailable where that is not followed now."""
        following = self.following[service]
        if not isinstance(following.feed, HoldsBack):
            raise Unavailable(
                f"service '{service}' is not being followed now: {following.subscription.error or following.subscription.state}"
            )
        self.store.releasing(service, stream, skip=skip)
        following.feed.release(stream, skip=skip)
        following.is_drained = False

    # -- definitions ---------------------------------------------------------------------------------------------------

    def _define(self) -> None:
        """Describes every service that can be reached and defines the views. An unreachable one is tried again later."""
        relations: dict[str, Sequence[Relation]] = {}
        for following in self.following.values():
            try:
                following.described = following.service.describe()
            except StoreError as error:
                following.described = None
                self._fail(following, error)
            else:
                relations[following.service.name] = following.described
        self._define_views(self.store, relations)
        for following in self.following.values():
            if following.feed is not None:
                following.close()
                following.subscription = Subscription()
            following.shown = ("", "", None)
            self._show(following, "")
        self._is_defined = True

    def _start(self, following: Following) -> None:
        """Opens a feed and follows; describes the services anew if that failed before."""
        if following.described is None:
            following.service.describe()
            self._define()
            if following.described is None:
                return
        if following.feed is None:
            following.feed = following.service.open_feed(self.store)
        name = following.service.name
        mine = [relation for relation in self.store.relations.values() if relation.service == name]
        following.feed.follow(mine)
        following.applied = self.store.checkpoint(name)
        if following.applied is None:
            following.applied = following.feed.start()
            self.store.start(name, following.applied, time.time())
        following.is_drained = False
        self._note(following, "followed")

    # -- one feed ------------------------------------------------------------------------------------------------------

    def _turn(self, following: Following, now: float, may_wait: bool) -> bool:
        subscription = following.subscription
        if subscription.state == "failed":
            if now < subscription.retry_at:
                return False
            following.subscription = subscription.after("retried")
        try:
            if following.subscription.state == "starting":
                self._start(following)
                return True
            return self._follow(following, may_wait and following.may_wait(now))
        except Fenced:
            raise
        except (StoreError, InvalidDefinition) as error:
            if self.store.is_cut:
                raise Unavailable(f"the connection to the read store was cut: {error}") from error
            following.close()
            if isinstance(error, SourceChanged | InvalidDefinition):
                following.described = None
            self._fail(following, error)
            return False

    def _follow(self, following: Following, is_asked_later: bool) -> bool:
        feed, name = following.feed, following.service.name
        assert feed is not None and following.applied is not None
        # What is live stays whole until the views are defined anew, which begins again at "starting".
        is_whole = following.subscription.state == "live"
        loading = [] if is_whole else self.store.loading(name)
        if loading and following.subscription.state != "loading":
            self._note(following, "loading")
        loaded = [] if loading or is_whole else self.store.loaded(name)
        worked = False
        if not is_asked_later:
            following.ask(feed)
        if not following.is_drained and (feed.is_incremental or not loading):
            batch = feed.read(following.applied)
            worked = True
            if batch is not None:
                self._apply(following, batch, loaded)
        if loading:
            self._load(following, *loading[0])
            return True
        if following.subscription.state == "loading" and not self.store.loaded(name):
            self._note(following, "loaded")
        if not worked and following.subscription.state != "loading":
            self._note(following, "drained")
        self._show(following, feed.activity)
        if worked:
            self._tell_replay(following)
        return worked

    def _apply(self, following: Following, batch: Batch, loaded: Sequence[str]) -> None:
        name, before = following.service.name, following.applied
        assert before is not None
        held = {letter.stream: letter for letter in self.store.dead_letters(name)}
        if loaded or batch.chunks or batch.parked or batch.released or batch.after != before:
            self.store.apply(batch, loaded)
        assert batch.after is not None
        if batch.after.incarnation != before.incarnation and before.n:
            histories = f"{before.incarnation} at {before.n}, now {batch.after.incarnation} at {batch.after.n}"
            compared = "what is held was compared with the source, and what differed was brought up to date"
            self._say(f"{name}: its history is another one (it was {histories}): {compared}")
        following.applied = batch.after
        if batch.chunks:
            following.changed_at, following.has_changed = time.monotonic(), True
        self._note(following, "applied")
        self._tell_held_back(name, held)
        if loaded:
            self._say(f"{name}: first copy complete ({', '.join(table.partition('__')[2] for table in loaded)})")

    def _tell_held_back(self, service: str, before: Mapping[str, DeadLetter]) -> None:
        """Says which streams of a service are held back since the batch, and which are no longer."""
        now = {letter.stream: letter for letter in self.store.dead_letters(service)}
        for line in held_back_lines(before, now):
            self._say(f"{service}: {line}")

    def _load(self, following: Following, table: str, after: Key | None) -> None:
        assert following.feed is not None
        relation = self.store.relations[table]
        rows, done = following.feed.scan(relation, after, SCAN_BUDGET_S)
        self._show(following, following.feed.activity)
        self._tell_replay(following)
        if not rows and not done:
            return  # what is to be copied is still being made
        if table not in following.totals:
            following.totals[table] = following.feed.total(relation)
        self.store.load(table, rows, done=done)
        copied = self.store.copied(table)
        total = following.totals[table]
        total = max(copied, total) if total is not None else None
        self._on_progress(Progress(f"loading {relation.name}", copied, copied if done else total, "rows"))
        if done:
            following.totals.pop(table)
            if not self.store.loading(following.service.name):
                following.feed.mark(relation, ())
                following.is_drained = False

    def _tell_replay(self, following: Following) -> None:
        feed = following.feed
        found = feed.replayed if isinstance(feed, Replays) else None
        if found is None and following.replaying:
            found = (following.replaying, following.replaying)
        following.replaying = found[1] if found is not None and found[0] < found[1] else 0
        if found is not None:
            self._on_progress(Progress(f"replaying {following.service.name}", *found, "events"))

    def _build(self) -> bool:
        """Builds for some milliseconds. A fault of the store leaves the feeds following; it is tried again later."""
        try:
            worked = self.store.build(BUILD_BUDGET_S)
        except Fenced:
            raise
        except StoreError as error:
            if self.store.is_cut:
                raise
            if str(error) != str(self.build_error):
                self._say(f"a view cannot be built now: {error}")
            self.build_error, self._build_at = error, time.monotonic() + BUILD_PAUSE_S
            return False
        self.build_error = None
        for table, done, total in self.store.building():
            if self._built.get(table) != (done, total):
                self._built[table] = (done, total)
                self._on_progress(Progress(f"building {table}", done, total, "keys"))
        return worked

    # -- state ---------------------------------------------------------------------------------------------------------

    def _note(self, following: Following, event: Event) -> None:
        before = following.subscription.state
        following.subscription = following.subscription.after(event)
        state = following.subscription.state
        if state != before:
            self._show(following, following.feed.activity if following.feed is not None else "")
            if event != "followed" or not self.store.loading(following.service.name):  # a copy is told next
                self._say(f"{following.service.name}: {state}")

    def _fail(self, following: Following, error: Exception) -> None:
        if following.subscription.error != str(error):
            self._say(f"{following.service.name}: failed: {error}")
        following.subscription = following.subscription.after_failure(str(error), time.monotonic())
        self._show(following, "")

    def _show(self, following: Following, activity: str) -> None:
        subscription = following.subscription
        complaint = following.feed.complaint if following.feed is not None else ""
        shown = (subscription.state, activity, subscription.error or complaint or None)
        if complaint and subscription.error is None and complaint != following.shown[2]:
            self._say(f"{following.service.name}: {complaint}")
        if shown != following.shown:
            following.shown = shown
            try:
                self.store.set_feed_state(following.service.name, *shown)
            except StoreError as error:
                self._say(f"the state of {following.service.name} could not be stored: {error}")

    def _say(self, line: str) -> None:
        self._on_event(line)

    # -- durability ----------------------------------------------------------------------------------------------------

    def _keep_house(self, now: float) -> None:
        for line in self.store.take_remarks():
            self._say(line)
        if now - self._last_sync >= ACKNOWLEDGE_INTERVAL_S:
            self._last_sync = now
            self._acknowledge(is_empty_due=now - self._last_acknowledged >= ACKNOWLEDGE_EMPTY_S)
        else:
            for following in self.following.values():
                if following.is_forgetting:
                    self._forget(following)
        if now - self._last_heartbeat >= HEARTBEAT_INTERVAL_S:
            self._last_heartbeat = now
            self._note_seen()
        if now - self._last_trim >= TRIM_INTERVAL_S:
            self._last_trim = now
            self._try(self.store.trim_changes)

    def _note_seen(self) -> None:
        """What was found drained is as new as when it was asked; a polled service only as its last sweep."""
        drained = [
            name
            for name, following in self.following.items()
            if following.subscription.state == "live"
            and following.is_drained
            and following.feed
            and following.feed.is_incremental
        ]
        if drained:
            age = time.monotonic() - min(self.following[name].asked_at for name in drained)
            self._try(lambda: self.store.seen(drained, time.time() - age))

    def _acknowledge(self, *, is_empty_due: bool = True) -> None:
        behind = [f for f in self.following.values() if f.feed is not None and f.applied != f.acknowledged]
        if not (behind and is_empty_due or any(f.has_changed for f in behind)) or not self._try(self.store.sync):
            return
        self._last_acknowledged = time.monotonic()
        for following in behind:
            self._forget(following)

    def _forget(self, following: Following) -> None:
        """Lets a source forget what is applied; where its owner is writing, another time."""
        if following.feed is None or following.applied is None:
            return
        position = following.applied if not following.is_forgetting else following.acknowledged or following.applied
        try:
            following.is_forgetting = following.feed.acknowledge(position)
        except Unavailable:
            following.is_forgetting = False
        except StoreError as error:
            following.close()
            self._fail(following, error)
        else:
            following.acknowledged = position
            following.has_changed = following.has_changed and position != following.applied

    def _try(self, act: Callable[[], None]) -> bool:
        """What can wait for a full disk to be emptied is told and tried again."""
        try:
            act()
        except Fenced:
            raise
        except StoreError as error:
            self._say(str(error))
            return False
        return True
