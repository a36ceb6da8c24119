"""Read models that follow event logs: at every position mirrors hold what the log's operations make one by one.

The histories, the batches, the crashes and the changes of what is followed are drawn at random; steps are a few rows long.
"""

import random
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, note, settings
from hypothesis import strategies as st
from tests.projection.world import VIEWS, Model, Service, folded, random_event, small_steps, views_of

EXAMPLES = 60


class Story:
    """What may happen to a service and to the read model that follows it, in any order."""

    def __init__(self, folder: Path, rng: random.Random, *, may_fail: bool = False) -> None:
        self.rng, self.may_fail = rng, may_fail
        self.service = Service(folder)
        self.model = Model(folder / "read.db", [self.service.followed], views_of("shop", "owners"))
        self.backups: list[Path] = []
        self.is_rewritten = False

    def tell(self, steps: int, *, may_restore: bool = False) -> None:
        happenings: list[tuple[int, Callable[[], None]]] = [
            (6, self.append),
            (8, self.step),
            (2, self.settle),
            (1, self.crash),
            (1, self.define),
            (1, self.replay),
            (1, self.damage),
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
        self.model.step_until(lambda: not self.model.feed().is_replaying, "the replay")
        self.model.settle()
        self.is_rewritten = False
        self.model.assert_right(self.service)

    def back_up(self) -> None:
        if self.service.path.exists():
            self.backups.append(self.service.copy())

    def restore(self) -> None:
        """The log is one of before, and often goes on otherwise than it did."""
        if self.backups:
            backup = self.rng.choice(self.backups)
            if self.rng.random() < 0.5:
                self.service.restore(backup)
            else:
                self.model.close()
                self.service.replace(backup)
                self.model.open()
            for _ in range(self.rng.randrange(3)):
                self.append()

    def crash(self) -> None:
        """What was asked of the relay that is gone is asked again of the next."""
        self.model.crash()
        if self.is_rewritten:
            self.model.settle()
            self.model.feed().replay(list(self.model.store.relations.values()))

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
        self.model.feed().replay(list(self.model.store.relations.values()))

    def damage(self) -> None:
        """Somebody writes into a mirror; the keys are marked, as `verify --repair` does."""
        self.settle()
        relation = self.rng.choice(sorted(self.model.store.relations.values(), key=lambda each: each.table))
        rows = self.model.store.held(relation, None, None)
        if rows:
            row = self.rng.choice(rows)
            key = tuple(row[index] for index in relation.key_indexes)
            where = " AND ".join(f"{name} = ?" for name in relation.key)
            self.model.store._connection.execute(f"DELETE FROM shop__{relation.table} WHERE {where}", key)
            self.model.relay.mark(relation, [key])
            self.settle()

    def check_cut(self) -> None:
        """Whatever was applied last, live mirrors are those of one position, where an append ended."""
        store = self.model.store
        at = store.checkpoint("shop")
        if at is None or self.is_rewritten or not self.service.is_of_this_history(at):
            return
        assert at.n in self.service.ends(), f"a batch ended within an append: {at.n}"
        right = folded(self.service, up_to=at.n)
        for table, relation in store.relations.items():
            if store.definitions.states[table] == "live":
                assert self.model.held("shop", relation.table) == right.as_rows(relation), (table, at.n)


@settings(max_examples=EXAMPLES, deadline=None)
@given(rng=st.randoms(use_true_random=False))
def test_mirrors_are_what_the_events_make_at_every_position_whatever_happens_in_between(rng: random.Random) -> None:
    with TemporaryDirectory() as folder, small_steps():
        story = Story(Path(folder), rng)
        try:
            story.tell(rng.randrange(5, 40))
        finally:
            story.model.close()


@settings(max_examples=EXAMPLES, deadline=None)
@given(rng=st.randoms(use_true_random=False))
def test_the_same_holds_while_streams_are_held_back(rng: random.Random) -> None:
    with TemporaryDirectory() as folder, small_steps():
        story = Story(Path(folder), rng, may_fail=True)
        try:
            story.tell(rng.randrange(5, 40))
            positions = {letter.stream: letter.position for letter in story.model.store.dead_letters("shop")}
            failing = {stream: position for position, stream, event in reversed(story.service.events()) if event.fails}
            assert positions == failing
        finally:
            story.model.close()


@settings(max_examples=EXAMPLES, deadline=None)
@given(rng=st.randoms(use_true_random=False), may_fail=st.booleans())
def test_a_log_that_is_put_back_is_followed_as_it_is_then(rng: random.Random, may_fail: bool) -> None:
    with TemporaryDirectory() as folder, small_steps():
        story = Story(Path(folder), rng, may_fail=may_fail)
        try:
            story.tell(rng.randrange(5, 40), may_restore=True)
        finally:
            story.model.close()
