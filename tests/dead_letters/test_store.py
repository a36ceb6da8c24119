"""What a read store keeps of streams that are held back, in the transaction of the batch that says so."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from tests.maintenance.mirror_world import Table, number, one_of, table, view_of

from syncline.errors import NotReady
from syncline.messages import Batch, Chunk, DeadLetter, Key, Position, Row, Token
from syncline.read.definition import Definition, define_views
from syncline.read.maintain.schema import catalog_of
from syncline.read.reader import ReadResult, Wanted, read_view
from syncline.stores.protocols import ReadStore
from syncline.stores.roles import dialect_of, read_role
from syncline.stores.sqlite.read import SQLiteReadStore
from syncline.stores.translation import adapted
from syncline.testing.postgres import Databases

HEADER = table("orders.header", [("id INTEGER NOT NULL", number(1, 9)), ("customer TEXT", one_of("a"))], ["id"])
LINE = table(
    "orders.line",
    [("id INTEGER NOT NULL", number(1, 9)), ("sku TEXT NOT NULL", one_of("a")), ("quantity INTEGER", number(1, 9))],
    ["id", "sku"],
)
STOCK = table("stock.item", [("sku TEXT NOT NULL", one_of("a")), ("shelf TEXT", one_of("a"))], ["sku"])
TABLES = [HEADER, LINE, STOCK]
VIEWS = {
    "board": "-- key: id\nSELECT h.id, h.customer, CAST(sum(l.quantity) AS bigint) AS pieces FROM orders.header h "
    "LEFT JOIN orders.line l ON l.id = h.id GROUP BY h.id, h.customer",
    "shelves": "-- key: id, sku\nSELECT l.id, l.sku, i.shelf FROM orders.line l JOIN stock.item i ON i.sku = l.sku",
    "boards": "-- key: id\nSELECT id, pieces + 0 AS p FROM board",
    "by_customer": "-- key: customer\nSELECT customer, count(*) AS n FROM orders.header GROUP BY customer",
    "all_lines": "-- key:\n-- recompute: whole\nSELECT count(*) AS n FROM orders.line",
    "items": "-- key: sku\nSELECT sku, shelf FROM stock.item",
}
ORDER_2 = frozenset({("orders.header", (2,)), ("orders.line", (2, "x"))})


class Orders:
    """A read store in a file, or in a database of PostgreSQL, fed by hand."""

    def __init__(self, database: str) -> None:
        self.database, self.role = database, read_role(database)
        self.relations = [adapted(each.relation, dialect_of(database)) for each in TABLES]
        self.at = {"orders": 1, "stock": 1}
        self.store = self.open()
        self.define(VIEWS)
        for service in self.at:
            self.store.start(service, Position("i", 1), 0.0)
        self.store.load("stock__item", [("x", "left"), ("y", "right")], done=True)
        self.store.load("orders__header", [(1, "ann"), (2, "ann"), (3, "bob")], done=True)
        self.store.load("orders__line", [(1, "x", 1), (2, "x", 2), (2, "y", 3), (3, "y", 4)], done=True)
        for service in self.at:
            self.batch(service, live=self.store.loaded(service))
        self.build()

    def open(self) -> ReadStore:
        return self.role.open_store(self.database, "shop")

    def define(self, views: dict[str, str]) -> None:
        self.store.define({"orders": "events", "stock": "triggers"}, self.compile(views), self.relations)

    def compile(self, views: dict[str, str]) -> list[Definition]:
        texts = [view_of(name, text) for name, text in views.items()]
        made, refused = define_views(texts, catalog_of(self.relations, dialect_of(self.database)))
        assert not refused, refused
        return made

    def build(self) -> None:
        while self.store.build(1.0):
            pass

    def batch(
        self,
        service: str,
        *changes: tuple[Table, Sequence[Row], Sequence[Key]],
        parked: Sequence[DeadLetter] = (),
        released: Sequence[str] = (),
        live: Sequence[str] = (),
        incarnation: str = "i",
    ) -> None:
        chunks = [Chunk(each.relation, list(rows), list(gone)) for each, rows, gone in changes]
        before = self.store.checkpoint(service)
        assert before is not None
        after = Position(incarnation, before.n + 1)
        self.store.apply(Batch(service, before, chunks, after, 1.0, parked=list(parked), released=list(released)), live)

    def park(self, position: int = 7, keys: frozenset[tuple[str, Key]] = ORDER_2, since: float = 5.0) -> None:
        self.batch("orders", parked=[DeadLetter("orders", "order-2", position, "Shipped", "KeyError: 'x'", since, keys)])

    def read(self, view: str, key: Sequence[object] | None = None, at_least: Token | None = None) -> ReadResult:
        with closing(self.role.open_reader(self.database)) as reader:
            return read_view(reader, Wanted(view, key, at_least=at_least), is_followed=lambda: True)


NEW, OLD = Token({"orders": Position("i", 2)}), Token({"orders": Position("i", 1)})


@pytest.fixture(params=["sqlite", "postgres"])
def orders(request: pytest.FixtureRequest, tmp_path: Path, postgres: Databases) -> Iterator[Orders]:
    found = Orders(str(tmp_path / "read.db") if request.param == "sqlite" else postgres.create("read"))
    yield found
    found.store.close()


@pytest.fixture
def in_file(tmp_path: Path) -> Iterator[Orders]:
    """One in a file, for faults of files."""
    found = Orders(str(tmp_path / "read.db"))
    yield found
    found.store.close()


def test_a_stream_held_back_is_kept_with_its_event_error_time_and_rows(orders: Orders) -> None:
    orders.park()
    (letter,) = orders.store.dead_letters("orders")
    assert letter == DeadLetter("orders", "order-2", 7, "Shipped", "KeyError: 'x'", 5.0, ORDER_2)
    assert orders.store.dead_letters("stock") == []
    orders.store.close()
    orders.store = orders.open()
    assert orders.store.dead_letters("orders") == [letter]


def test_a_stream_held_back_with_more_rows_keeps_those_it_had_and_since_when(orders: Orders) -> None:
    orders.park()
    orders.park(keys=frozenset({("orders.line", (2, "z"))}), since=9.0)
    (letter,) = orders.store.dead_letters("orders")
    assert (letter.since, letter.keys) == (5.0, ORDER_2 | {("orders.line", (2, "z"))})
    orders.park(position=8, since=9.0)
    assert [(each.position, each.since) for each in orders.store.dead_letters("orders")] == [(8, 9.0)]


def test_rows_that_depend_on_a_stream_are_marked_in_every_view_and_others_are_not(orders: Orders) -> None:
    orders.park()
    assert orders.read("board").marked == ((2,),)
    assert orders.read("boards").marked == ((2,),)
    assert orders.read("shelves").marked == ((2, "x"),)
    assert orders.read("by_customer").marked == (("ann",),)
    assert orders.read("all_lines").marked == ((),)
    assert orders.read("items").marked == ()
    assert orders.read("board", [1]).marked == ()
    assert orders.read("board").columns == ("id", "customer", "pieces")
    assert orders.read("board").rows == [(1, "ann", 1), (2, "ann", 5), (3, "bob", 4)]


def test_marks_move_with_the_rows_of_other_services_and_streams(orders: Orders) -> None:
    orders.park(keys=frozenset({("orders.header", (2,))}))
    assert orders.read("by_customer").marked == (("ann",),)
    orders.batch("orders", (HEADER, [(2, "bob")], []))
    assert orders.read("by_customer").marked == (("bob",),)
    orders.batch(
        "orders", parked=[DeadLetter("orders", "order-3", 9, "Shipped", "no", 5.0, frozenset({("orders.line", (3, "x"))}))]
    )
    assert orders.read("shelves").marked == ()
    orders.batch("orders", (LINE, [(3, "x", 1)], []))
    assert orders.read("shelves").marked == ((3, "x"),)
    orders.batch("stock", (STOCK, [], [("x",)]))
    assert orders.read("shelves").marked == ()


def test_a_released_stream_leaves_nothing_marked(orders: Orders) -> None:
    orders.park()
    orders.batch("orders", released=["order-2"])
    assert orders.store.dead_letters("orders") == []
    result = orders.read("board")
    assert (result.marked, result.notes) == ((), ())
    assert orders.read("board", [2], NEW).rows == [(2, "ann", 5)]
    with closing(orders.role.open_reader(orders.database)) as reader:
        assert reader.marked("board", [(2,)]) == ([False], False)


def test_a_note_names_stream_position_event_and_error(orders: Orders) -> None:
    orders.park()
    (note,) = orders.read("board").notes
    assert "stream 'order-2' of service 'orders' from position 7 on (Shipped: KeyError: 'x')" in note
    assert "1 row of this answer depends on it: (2,)" in note
    assert "no row of this answer" in orders.read("board", [1]).notes[0]
    assert orders.read("items").notes == ()


def test_a_token_that_includes_the_event_is_refused_in_every_view_of_the_service_whatever_is_known_of_its_rows(
    orders: Orders,
) -> None:
    orders.park(position=2, keys=frozenset())
    for view in ("board", "boards", "shelves", "by_customer", "all_lines"):
        with pytest.raises(NotReady, match=r"includes what waits in stream 'order-2'.*KeyError.*dead-letters retry"):
            orders.read(view, at_least=NEW)
        assert orders.read(view).rows
    with pytest.raises(NotReady, match="may change any row"):
        orders.read("board", [1], NEW)
    with pytest.raises(NotReady, match="may change any row"):
        orders.read("board", [4], NEW)
    assert orders.read("items", ["x"], Token({"stock": Position("i", 2)})).rows == [("x", "left")]


def test_an_older_token_is_served_but_for_rows_that_are_marked(orders: Orders) -> None:
    orders.park(position=2)
    assert orders.read("board", [1], OLD).rows == [(1, "ann", 1)]
    assert orders.read("board", [4], OLD).rows == []
    assert orders.read("by_customer", ["bob"], OLD).rows == [("bob", 1)]
    with pytest.raises(NotReady, match=r"row \(2,\) depends on stream 'order-2'"):
        orders.read("board", [2], OLD)
    assert orders.read("board", [2]).rows == [(2, "ann", 5)]


def test_a_view_in_which_any_row_may_depend_on_the_stream_says_so(orders: Orders) -> None:
    orders.park(position=2, keys=frozenset())
    assert "may belong to any row" in orders.read("by_customer", ["bob"]).notes[0]


def test_a_view_of_one_piece_is_marked_whole_whatever_the_stream_would_add(orders: Orders) -> None:
    orders.park(position=2, keys=frozenset())
    assert orders.read("all_lines").marked == ((),)


def test_a_view_that_is_built_anew_is_marked_from_its_first_read_on(orders: Orders) -> None:
    orders.park()
    orders.store.rebuild("board")
    orders.build()
    assert orders.read("board").marked == orders.read("boards").marked == ((2,),)
    wider = VIEWS["board"].replace("SELECT h.id,", "SELECT h.id + 0 AS twin, h.id,")
    orders.define({**VIEWS, "board": wider})
    orders.build()
    assert orders.read("board").columns[0] == "twin"
    assert orders.read("board").marked == ((2,),)


def test_a_batch_that_fails_leaves_letters_and_marks_as_they_were(in_file: Orders) -> None:
    assert isinstance(in_file.store, SQLiteReadStore)
    in_file.park()
    broken = Chunk(HEADER.relation, [(1, "ann", "one too many")])
    before = in_file.store.checkpoint("orders")
    assert before is not None
    batch = Batch("orders", before, [broken], Position("i", 9), 1.0, released=["order-2"])
    with pytest.raises(Exception, match="bindings"):
        in_file.store.apply(batch)
    batch.chunks = []
    in_file.store._connection.execute(
        "CREATE TEMP TRIGGER full BEFORE UPDATE ON syncline_feed BEGIN SELECT RAISE(ABORT, 'full'); END"
    )
    with pytest.raises(Exception, match="full"):
        in_file.store.apply(batch)
    in_file.store._connection.execute("DROP TRIGGER full")
    assert [letter.stream for letter in in_file.store.dead_letters("orders")] == ["order-2"]
    assert in_file.read("board").marked == ((2,),)
    in_file.batch("orders", (HEADER, [(2, "bob")], []))
    assert in_file.read("by_customer").marked == (("bob",),)


def test_a_dropped_event_is_remembered_by_the_batch_that_goes_on_after_it(orders: Orders) -> None:
    orders.park(position=7)
    orders.store.releasing("orders", "order-2", skip=True)
    assert orders.store.dropped("orders") == frozenset()
    orders.batch("orders", released=["order-2"])
    assert orders.store.dropped("orders") == {7}


def test_a_stream_that_fails_at_a_later_event_after_a_drop_has_dropped_the_first_only(orders: Orders) -> None:
    orders.park(position=7)
    orders.store.releasing("orders", "order-2", skip=True)
    orders.park(position=9)
    assert orders.store.dropped("orders") == {7}
    orders.batch("orders", released=["order-2"])
    assert orders.store.dropped("orders") == {7}


def test_an_event_is_not_dropped_by_a_batch_that_only_holds_more_back_behind_it(orders: Orders) -> None:
    orders.park(position=7)
    orders.store.releasing("orders", "order-2", skip=True)
    orders.park(position=7, keys=frozenset({("orders.line", (2, "z"))}))
    assert orders.store.dropped("orders") == frozenset()
    orders.batch("orders", released=["order-2"])
    assert orders.store.dropped("orders") == {7}


def test_a_stream_tried_again_without_dropping_remembers_nothing(orders: Orders) -> None:
    orders.park(position=7)
    orders.store.releasing("orders", "order-2", skip=True)
    orders.store.releasing("orders", "order-2", skip=False)
    orders.batch("orders", released=["order-2"])
    assert orders.store.dropped("orders") == frozenset()


def test_another_history_of_the_log_brings_its_own_letters(orders: Orders) -> None:
    orders.park(position=7)
    orders.store.releasing("orders", "order-2", skip=True)
    orders.batch("orders", released=["order-2"])
    orders.park(position=8)
    orders.batch("orders", incarnation="restored")
    assert orders.store.dead_letters("orders") == []
    assert orders.store.dropped("orders") == frozenset()
    assert orders.read("board").marked == ()


def test_a_service_that_is_no_longer_configured_leaves_nothing_behind(orders: Orders) -> None:
    orders.park()
    orders.store.define({"stock": "triggers"}, orders.compile({"items": VIEWS["items"]}), orders.relations[2:])
    orders.build()
    with closing(orders.role.open_reader(orders.database)) as reader:
        assert reader.dead_letters() == []


def test_a_store_of_a_version_without_dead_letters_is_read_as_it_is_and_gets_the_tables_when_followed(in_file: Orders) -> None:
    in_file.store.close()
    with closing(sqlite3.connect(in_file.database)) as connection:
        for name in ("dead_letter", "dropped", "marked"):
            connection.execute(f"DROP TABLE syncline_{name}")
    assert in_file.read("board").marked == ()
    in_file.store = in_file.open()
    in_file.define(VIEWS)
    in_file.park()
    assert in_file.read("board").marked == ((2,),)
