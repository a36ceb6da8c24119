"""A row that a view cannot be computed for parks its own partition key, with the error; everything else goes on exactly."""

import json
import random
import sqlite3
from collections.abc import Callable

import pytest
from tests.maintenance.mirror_world import Rows, World, define, number, one_of, table, typed, view_of

from syncline.errors import UnsupportedQuery
from syncline.messages import Chunk, Scalar
from syncline.stores.parked import parked_keys

BIG = 2**62
TABLES = [
    table(
        "pay.entry",
        [
            ("id INTEGER", number(1, 9)),
            ("account TEXT", one_of("a", "b", "c", None, "d")),
            ("amount INTEGER", one_of(BIG, BIG, -BIG, 1, 2, None)),
            ("body TEXT", one_of('{"kind": "x"}', '{"kind": "y"}', "{", "[]", None)),
        ],
        ["id"],
    )
]
SUMS = "-- key: account\nSELECT account, sum(amount) AS total, count(*) AS n FROM pay.entry GROUP BY account"
OVER_SUMS = "-- key: n\nSELECT n, count(total) AS accounts FROM sums GROUP BY n"
COUNTS = "-- key: account\nSELECT account, count(*) AS n FROM pay.entry GROUP BY account"
KINDS = (
    "-- key: kind\nSELECT d.kind, count(*) AS n FROM (SELECT id, CAST(json_extract(body, '$.kind') AS TEXT) AS kind FROM pay.entry) AS d "
    "GROUP BY d.kind"
)
WHOLE = "-- key:\n-- recompute: whole\nSELECT sum(amount) AS total FROM pay.entry"

Model = dict[tuple[Scalar, ...], tuple[Scalar, ...]]


class Poisoned(World):
    """A world whose views fail for some keys. The model: each key by itself, and what it was when it last could be computed."""

    def __post_init__(self) -> None:
        self.models: dict[str, Model] = {"sums": {}, "whole": {}, "kinds__1": {}}
        self.failing: dict[str, set[tuple[Scalar, ...]]] = {name: set() for name in self.models}
        super().__post_init__()

    def forget(self) -> None:
        """A table that is built anew has no rows of keys that fail."""
        self.models = {name: {} for name in self.models}
        self.follow()

    def follow(self) -> None:
        accounts = {(row[0],) for row in self.oracle.execute("SELECT DISTINCT account FROM pay.entry")}
        self._follow("sums", accounts, f"{SUMS.partition(chr(10))[2].partition('GROUP')[0]} WHERE account IS ? GROUP BY account")
        ids = {(row[0],) for row in self.oracle.execute("SELECT id FROM pay.entry")}
        kind = "SELECT id, CAST(json_extract(body, '$.kind') AS TEXT) FROM pay.entry WHERE id = ?"
        self._follow("kinds__1", ids, kind)
        self._follow("whole", {()}, "SELECT sum(amount) FROM pay.entry")

    def _follow(self, name: str, keys: set[tuple[Scalar, ...]], sql: str) -> None:
        model, failing = self.models[name], self.failing[name]
        failing.clear()
        for key in [*keys, *(key for key in list(model) if key not in keys)]:
            try:
                rows = self.oracle.execute(sql, key).fetchall()
            except sqlite3.Error:
                failing.add(key)
                continue
            model.pop(key, None)
            if rows:
                model[key] = rows[0]

    def check(self, before: object) -> None:
        if "sums" not in self.store.definitions.live:
            return
        assert self._rows("SELECT account, total, n FROM sums") == typed(self.models["sums"].values())
        assert self._rows("SELECT id, kind FROM kinds__1") == typed(self.models["kinds__1"].values())
        assert self._rows("SELECT total FROM whole") == typed(self.models["whole"].values())
        counts = "SELECT account, count(*) FROM pay.entry GROUP BY account"
        assert self._rows("SELECT account, n FROM counts") == typed(self.oracle.execute(counts))
        assert self._rows("SELECT n, accounts FROM over_sums") == self._rows("SELECT n, count(total) FROM sums GROUP BY n")
        assert self._rows("SELECT kind, n FROM kinds") == self._rows("SELECT kind, count(*) FROM kinds__1 GROUP BY kind")
        live = {"sums", "kinds__1", "whole", "counts", "over_sums", "kinds"}
        parked = {(key.view, tuple(json.loads(key.key))) for key in parked_keys(self.store._run) if key.view in live}
        assert parked == {(name, key) for name, keys in self.failing.items() for key in keys}

    def _rows(self, sql: str) -> Rows:
        return typed(self.connection.execute(sql))


def poisoned(rng: random.Random) -> Poisoned:
    texts = {"sums": SUMS, "over_sums": OVER_SUMS, "counts": COUNTS, "kinds": KINDS, "whole": WHOLE}
    world = Poisoned(rng, TABLES, define([view_of(name, text) for name, text in texts.items()], TABLES))
    world.build_all()
    world.forget()
    world.check(None)
    return world


def after_apply(world: Poisoned) -> Callable[[str, list[Chunk]], None]:
    """Lets the model follow each batch before the views are compared with it."""
    apply = world.apply

    def follow_and_apply(service: str, chunks: list[Chunk]) -> None:
        world.follow()
        apply(service, chunks)

    return follow_and_apply


@pytest.mark.parametrize("seed", range(15))
def test_everything_but_the_poisoned_keys_stays_exact(seed: int) -> None:
    rng = random.Random(seed)
    world = poisoned(rng)
    world.apply = after_apply(world)  # type: ignore[method-assign]
    for _ in range(30):
        world.batch()
        if rng.random() < 0.1:
            for name in ("sums", "kinds", "whole"):
                world.store.rebuild(name)
            world.batch()
            while rng.random() < 0.8:
                world.build_a_step()
            # A build that is not complete may hold rows that were computed before a key became poisonous.
            quiet = world.build_all
            quiet()
            world.models = {name: dict(world.models[name]) for name in world.models}
            _take_over_what_the_build_kept(world)
            world.check(None)
    world.close()


def _take_over_what_the_build_kept(world: Poisoned) -> None:
    """Keys that fail now may have rows in the new table from a step of the build at which they did not."""
    stored = {
        "sums": world.connection.execute("SELECT account, total, n FROM sums").fetchall(),
        "kinds__1": world.connection.execute("SELECT id, kind FROM kinds__1").fetchall(),
        "whole": [(None, row[0]) for row in world.connection.execute("SELECT total FROM whole")],
    }
    for name, failing in world.failing.items():
        held = {(row[0],) if name != "whole" else (): row if name != "whole" else row[1:] for row in stored[name]}
        for key in failing:
            world.models[name].pop(key, None)
            if key in held:
                world.models[name][key] = held[key]


def test_a_parked_key_names_the_error_and_since_when_and_leaves_when_it_can_be_computed() -> None:
    world = _quiet_world()
    _put(world, (1, "a", BIG, None), (2, "b", 5, None))
    _put(world, (3, "a", BIG, None))
    (parked,) = [key for key in parked_keys(world.store._run) if key.view == "sums"]
    assert (parked.key, parked.error) == ('["a"]', "integer overflow")
    assert parked.since > 0
    assert world.connection.execute("SELECT total FROM sums ORDER BY account").fetchall() == [(BIG,), (5,)]
    _put(world, (3, "a", BIG + 1, None))
    assert [key.since for key in parked_keys(world.store._run) if key.view == "sums"] == [parked.since]
    _put(world, (3, "a", 1, None))
    assert [key for key in parked_keys(world.store._run) if key.view == "sums"] == []
    assert world.connection.execute("SELECT total FROM sums ORDER BY account").fetchall() == [(BIG + 1,), (5,)]


def test_a_parked_key_whose_rows_are_deleted_is_forgotten() -> None:
    world = _quiet_world()
    _put(world, (1, None, BIG, None), (2, None, BIG, None))
    assert [key.key for key in parked_keys(world.store._run) if key.view == "sums"] == ["[null]"]
    world.apply("pay", [Chunk(TABLES[0].relation, [], [(1,), (2,)])])
    assert parked_keys(world.store._run) == []


def test_a_view_that_is_dropped_takes_its_parked_keys_along() -> None:
    world = _quiet_world()
    _put(world, (1, "a", BIG, None), (2, "a", BIG, None))
    world.definitions = define([view_of("counts", COUNTS)], TABLES)
    world.define()
    assert parked_keys(world.store._run) == []


def test_what_is_not_the_fault_of_the_data_is_raised() -> None:
    world = _quiet_world()
    world.connection.execute("DROP TABLE pay__entry")
    with pytest.raises(Exception, match="no such table"):
        world.store.repair_view("sums", [("a",)])
    assert parked_keys(world.store._run) == []


def test_a_key_by_an_expression_that_may_fail_is_refused_with_a_rewrite_that_works() -> None:
    text = "-- key: kind\nSELECT CAST(json_extract(body, '$.kind') AS TEXT) AS kind, count(*) AS n FROM pay.entry GROUP BY 1"
    with pytest.raises(UnsupportedQuery, match="inner SELECT"):
        define([view_of("failing", text)], TABLES)
    define([view_of("kinds", KINDS)], TABLES)


def _quiet_world() -> Poisoned:
    world = poisoned(random.Random(1))
    world.check = lambda before: None  # type: ignore[method-assign]
    ids = world.connection.execute("SELECT id FROM pay__entry").fetchall()
    world.apply("pay", [Chunk(TABLES[0].relation, [], ids)])
    return world


def _put(world: Poisoned, *rows: tuple[Scalar, ...]) -> None:
    world.apply("pay", [Chunk(TABLES[0].relation, list(rows))])
