"""Read models that follow event logs: at every position mirrors hold what the log's operations make one by one.

The histories, the batches, the crashes and the changes of what is followed are drawn at random; steps are a few rows long.
"""

import random
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st
from tests.projection.logs import Log, MakeLog, SQLiteLog
from tests.projection.stores import PostgresStore, SQLiteStore, Store
from tests.projection.world import VIEWS, Model, Service, random_event, small_steps, views_of

from syncline.messages import Key, Relation, Row
from syncline.move.feed import key_of
from syncline.stores.event_feed import EventFeed

EXAMPLES = 40
POSTGRES_EXAMPLES = 10


def in_file(folder: Path) -> Store:
    return SQLiteStore(folder / "read.db")


class Story:
    """What may happen to a service and to the read model that follows it, in any order."""

    def __init__(self, log: Log, place: Store, rng: random.Random, *, may_fail: bool = False) -> None:
        self.rng, self.may_fail = rng, may_fail
        self.service = Service(log)
        self.model = Model(place, [self.service.followed], views_of("shop", "owners"))
        self.backups: list[Any] = []
        self.is_rewritten = self.is_mended_ever = False
        self.asked: EventFeed | None = None

    @property
    def dropped(self) -> frozenset[int]:
        return self.model.store.dropped("shop")

    def tell(self, steps: int, *, may_restore: bool = False) -> None:
        happenings: list[tuple[int, Callable[[], None]]] = [
            (6, self.append),
            (8, self.step),
            (2, self.settle),
            (1, self.crash),
            (1, self.stumble),
            (1, self.define),
            (1, self.replay),
            (1, self.damage),
            *([(1, self.mend), (1, self.release)] if self.may_fail else []),
            *([(1, self.back_up), (2, self.restore)] if may_restore else []),
        ]
        weights = [weight for weight, _ in happenings]
        for _ in range(steps):
            happens = self.rng.choices(happenings, weights)[0][1]
            note(happens.__name__)
            happens()
        self.settle()

    def append(self) -> None:
        events = [random_event(self.rng, may_fail=self.may_fail) for _ in range(self.rng.randrange(1, 5))]
        self.service.append(*events, stream=self.rng.choice("abc"))

    def step(self) -> None:
        for _ in range(self.rng.randrange(1, 6)):
            self.model.relay.step()
            self.check_cut()

    def settle(self) -> None:
        self.model.settle()
        while self.is_rewritten and (self.asked is not self.model.feed() or self.model.feed().is_replaying):
            if self.asked is not self.model.feed():
                self.ask()
            self.model.relay.step()
            self.model.settle()
        self.model.step_until(lambda: not self.model.feed().is_replaying, "the replay")
        self.model.settle()
        self.is_rewritten = False
        self.model.assert_right(self.service)

    def ask(self) -> None:
        """A feed that was opened anew knows nothing of what the one before was asked."""
        self.asked = self.model.feed()
        self.asked.replay(list(self.model.store.relations.values()))

    def stumble(self) -> None:
        self.model.stumble()

    def back_up(self) -> None:
        if self.service.log.is_there():
            self.backups.append(self.service.log.copy())

    def restore(self) -> None:
        """The log is one of before, and often goes on otherwise than it did."""
        if self.backups:
            backup = self.rng.choice(self.backups)
            if self.rng.random() < 0.5:
                self.service.log.restore(backup)
            else:
                self.model.close()
                self.service.log.replace(backup)
                self.model.open()
            for _ in range(self.rng.randrange(3)):
                self.append()

    def crash(self) -> None:
        self.model.crash()

    def define(self) -> None:
        """Other views, so that relations and columns come and go."""
        names = self.rng.sample(sorted(VIEWS), self.rng.randrange(1, len(VIEWS) + 1))
        self.model.views = views_of("shop", *sorted(names))
        self.crash()

    def replay(self) -> None:
        """The service's function gives other rows from now on, for old events too."""
        feed = self.model.relay.following["shop"].feed
        if feed is None:
            return
        self.settle()
        self.service.rules.factor = self.rng.choice((1, 2, 3))
        self.is_rewritten = True
        self.ask()

    def damage(self) -> None:
        """Somebody writes into a mirror; the keys are marked, as `verify --repair` does."""
        self.settle()
        relation = self.rng.choice(sorted(self.model.store.relations.values(), key=lambda each: each.table))
        rows = self.model.store.held(relation, None, None)
        if rows:
            row = self.rng.choice(rows)
            key = tuple(row[index] for index in relation.key_indexes)
            where = " AND ".join(f"{name} = ?" for name in relation.key)
            others = [name for name in relation.column_names if name not in relation.key]
            values = ", ".join(f"{name} = '-7'" for name in others)  # what no event makes
            self.model.place.run(f"UPDATE {self.model.place.mirror(relation)} SET {values} WHERE {where}", key)
            marked: EventFeed | None = None
            while self.model.feed() is not marked:  # one that is opened anew knows nothing of what was marked
                marked = self.model.feed()
                self.model.relay.mark(relation, [key])
                self.model.settle()
            self.settle()

    def mend(self) -> None:
        """The service's function understands more than before, or less."""
        self.service.rules.is_mended = not self.service.rules.is_mended
        self.is_mended_ever = True

    def release(self) -> None:
        """A person has some streams tried again, or the events dropped that they are held back by."""
        self.settle()
        feed, before = self.model.feed(), self.model.held_back(self.service)
        tried = {stream: self.rng.random() < 0.5 for stream in sorted(before) if self.rng.random() < 0.7}
        for stream, skip in tried.items():
            self.model.relay.release("shop", stream, skip=skip)
        for _ in range(self.rng.randrange(4)):
            self.rng.choice((self.append, self.model.relay.step))()
        self.settle()
        after = self.model.held_back(self.service)
        if self.model.feed() is not feed:
            return  # one that was opened anew knows nothing of it
        for stream, skip in tried.items():
            if skip or self.service.rules.is_mended:
                assert after.get(stream) != before[stream], "it is held back by the same event as before"
            else:
                assert after.get(stream, before[stream] + 1) <= before[stream], "it went on over an event that fails"

    def check_cut(self) -> None:
        """Whatever was applied last, live mirrors are those of one position, where an append ended."""
        store = self.model.store
        at = store.checkpoint("shop")
        if at is None or self.is_rewritten or not self.service.is_of_this_history(at):
            return
        assert at.n in self.service.ends(), f"a batch ended within an append: {at.n}"
        right = self.model.right(self.service)
        waiting = {key for letter in store.dead_letters("shop") for key in letter.keys}
        for table, relation in store.relations.items():
            if store.definitions.states[table] == "live":
                found = [
                    self.untouched(relation, rows, waiting)
                    for rows in (self.model.held("shop", relation.table), right.as_rows(relation))
                ]
                assert found[0] == found[1], (table, at.n)

    def untouched(self, relation: Relation, rows: list[Row], waiting: set[tuple[str, Key]]) -> list[Row]:
        """Rows that do not depend on a stream that is held back: those that do are marked, and mended by and by."""
        key = key_of(relation)
        return [row for row in rows if (relation.name, key(row)) not in waiting]


def tell(
    rng: random.Random,
    *,
    may_fail: bool,
    may_restore: bool,
    new_log: MakeLog = SQLiteLog,
    new_store: Callable[[Path], Store] = in_file,
) -> None:
    """One story from beginning to end, everything being right whenever it can be told."""
    with TemporaryDirectory() as name, small_steps():
        folder = Path(name)
        story = Story(new_log(folder, "shop"), new_store(folder), rng, may_fail=may_fail)
        try:
            story.tell(rng.randrange(5, 40), may_restore=may_restore)
            if not story.is_mended_ever:
                failing = {s: at for at, s, event in reversed(story.service.events()) if event.fails and at not in story.dropped}
                assert story.model.held_back(story.service) == failing
        finally:
            story.model.close()


@settings(max_examples=EXAMPLES, deadline=None)
@given(rng=st.randoms(use_true_random=False))
def test_mirrors_are_what_the_events_make_at_every_position_whatever_happens_in_between(rng: random.Random) -> None:
    tell(rng, may_fail=False, may_restore=False)


@settings(max_examples=EXAMPLES, deadline=None)
@given(rng=st.randoms(use_true_random=False))
def test_the_same_holds_while_streams_are_held_back_tried_again_and_dropped(rng: random.Random) -> None:
    tell(rng, may_fail=True, may_restore=False)


@settings(max_examples=EXAMPLES, deadline=None)
@given(rng=st.randoms(use_true_random=False), may_fail=st.booleans())
def test_a_log_that_is_put_back_is_followed_as_it_is_then(rng: random.Random, may_fail: bool) -> None:
    tell(rng, may_fail=may_fail, may_restore=True)


@settings(max_examples=POSTGRES_EXAMPLES, deadline=None)
@given(rng=st.randoms(use_true_random=False), may_fail=st.booleans(), may_restore=st.booleans())
def test_all_this_holds_of_a_log_on_postgresql(
    postgres_log: MakeLog, rng: random.Random, may_fail: bool, may_restore: bool
) -> None:
    tell(rng, may_fail=may_fail, may_restore=may_restore, new_log=postgres_log)


@settings(max_examples=POSTGRES_EXAMPLES, deadline=None)
@given(rng=st.randoms(use_true_random=False), may_fail=st.booleans(), may_restore=st.booleans())
def test_all_this_holds_where_log_and_read_store_are_on_postgresql(
    postgres_log: MakeLog, postgres_read: str, rng: random.Random, may_fail: bool, may_restore: bool
) -> None:
    tell(
        rng,
        may_fail=may_fail,
        may_restore=may_restore,
        new_log=postgres_log,
        new_store=lambda _: PostgresStore(postgres_read),
    )


@pytest.mark.parametrize("seed", [100492, 200322, 200590])
def test_stories_end_well_that_once_did_not(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.projection.test_following.note", lambda _: None)
    tell(random.Random(seed), may_fail=True, may_restore=False)


@pytest.mark.long
@pytest.mark.timeout(3600)
@settings(max_examples=3_000, deadline=None)
@given(rng=st.randoms(use_true_random=False), may_fail=st.booleans(), may_restore=st.booleans())
def test_many_long_stories_end_well(rng: random.Random, may_fail: bool, may_restore: bool) -> None:
    tell(rng, may_fail=may_fail, may_restore=may_restore)


@pytest.mark.long
@pytest.mark.timeout(3600)
@settings(max_examples=600, deadline=None)
@given(rng=st.randoms(use_true_random=False), may_fail=st.booleans(), may_restore=st.booleans(), is_read_there=st.booleans())
def test_many_long_stories_end_well_on_postgresql(
    postgres_log: MakeLog, postgres_read: str, rng: random.Random, may_fail: bool, may_restore: bool, is_read_there: bool
) -> None:
    new_store: Callable[[Path], Store] = (lambda _: PostgresStore(postgres_read)) if is_read_there else in_file
    tell(rng, may_fail=may_fail, may_restore=may_restore, new_log=postgres_log, new_store=new_store)
