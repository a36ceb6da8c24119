"""Messages of pgoutput as PostgreSQL 18 sent them, what they are decoded to, and what they come to for each key."""

import math
from collections.abc import Sequence

import pytest

from syncline.messages import Column, Key, Relation, Row
from syncline.stores.postgres.net import Net, Shape, fold
from syncline.stores.postgres.pgoutput import (
    UNCHANGED,
    Begin,
    Commit,
    Deleted,
    Described,
    Inserted,
    Truncated,
    Updated,
    decode,
)
from syncline.stores.postgres.sight import Contained

ITEM, WHOLE = 0x4001, 0x4009
DESCRIBED_ITEM = (
    "52000040017075626c6963006974656d006400070169640000000017ffffffff006e616d650000000019ffffffff00707269636500000006a4000a0006"
    "00736f6c640000000010ffffffff0077656967687400000002bdffffffff007261770000000011ffffffff007365656e00000004a0ffffffff"
)
INSERTED_ONE = (
    "49000040014e00077400000001317400000004706c756d7400000004312e35307400000001747400000004302e323574000000065c783030666674"
    "00000018323032362d30312d30322030333a30343a30352e352b3030"
)
INSERTED_TWO = "49000040014e000774000000022d326e6e74000000016674000000034e614e74000000025c786e"
UPDATED_ONE = (
    "55000040014e00077400000001317400000004706c756d7400000004322e30307400000001747400000004302e323574000000065c783030666674"
    "00000018323032362d30312d30322030333a30343a30352e352b3030"
)
UPDATED_KEY = "55000040014b000774000000022d326e6e6e6e6e6e4e00077400000001336e6e74000000016674000000034e614e74000000025c786e"
UPDATED_BUT_NOT_THE_NAME = "55000040014e0007740000000139757400000004372e30306e6e6e6e"
DELETED_ONE = "44000040014b00077400000001316e6e6e6e6e6e"
DESCRIBED_WHOLE = "52000040097075626c69630077686f6c65006600020169640000000017ffffffff016e6f74650000000019ffffffff"
INSERTED_WHOLE = "49000040094e0002740000000131740000000161"
UPDATED_WHOLE = "55000040094f00027400000001317400000001614e0002740000000131740000000162"
DELETED_WHOLE = "44000040094f0002740000000131740000000162"
TRUNCATED = "5400000002000000400100004009"

ONE = (1, "plum", "1.50", True, 0.25, b"\x00\xff", "2026-01-02 03:04:05.5+00")
item = Relation("shop", "item", tuple(Column(name) for name in ("id", "name", "price", "sold", "weight", "raw", "seen")), ("id",))
whole = Relation("shop", "whole", (Column("id"), Column("note")), ("id",))


def net_of(*messages: str, relation: Relation = item) -> Net:
    nets: dict[str, Net] = {}
    described = [DESCRIBED_ITEM, DESCRIBED_WHOLE]
    found = [message for text in (*described, *messages) if (message := decode(bytes.fromhex(text))) is not None]
    fold(found, {}, nets, lambda each: Shape.of(item if each.name == "item" else whole, each))
    return nets[relation.table]


def come_to(*messages: str, relation: Relation = item, held: Sequence[Row] = ()) -> tuple[list[Row], list[Key]]:
    net = net_of(*messages, relation=relation)
    known = {(row[0],): row for row in held}
    assert net.complete({key: known[key] for key in net.incomplete()}) == []
    chunk = net.chunk()
    return chunk.rows, chunk.deleted


def test_a_transaction_tells_where_it_ends_and_when_it_was_committed() -> None:
    begun = decode(bytes.fromhex("420000000001afca9800030411943eb9bd000002f5"))
    ended = decode(bytes.fromhex("43000000000001afca680000000001afca9800030411943eb9bd"))
    assert isinstance(begun, Begin) and isinstance(ended, Commit)
    assert (begun.xid, ended.end) == (0x2F5, 0x1AFCA98)
    assert begun.at == ended.at and 1_700_000_000 < begun.at < 2_000_000_000


def test_a_table_is_described_with_its_types_and_what_tells_an_old_row() -> None:
    described = decode(bytes.fromhex(DESCRIBED_ITEM))
    assert isinstance(described, Described)
    assert (described.table, described.schema, described.name) == (ITEM, "public", "item")
    assert described.columns[:3] == (("id", 23), ("name", 25), ("price", 1700))
    assert (described.identity, described.is_whole) == ({"id"}, False)
    full = decode(bytes.fromhex(DESCRIBED_WHOLE))
    assert isinstance(full, Described) and full.is_whole


def test_values_travel_as_connections_give_them() -> None:
    assert come_to(INSERTED_ONE) == ([ONE], [])
    (row,), _ = come_to(INSERTED_TWO)
    assert row[:4] == (-2, None, None, False) and row[5:] == (b"", None)
    assert isinstance(row[4], float) and math.isnan(row[4])


def test_the_last_row_of_a_key_counts() -> None:
    assert come_to(INSERTED_ONE, UPDATED_ONE) == ([(1, "plum", "2.00", *ONE[3:])], [])
    assert come_to(INSERTED_ONE, UPDATED_ONE, DELETED_ONE) == ([], [(1,)])
    assert come_to(DELETED_ONE, INSERTED_ONE) == ([ONE], [])


def test_a_changed_key_leaves_the_old_one() -> None:
    rows, gone = come_to(INSERTED_TWO, UPDATED_KEY)
    assert [row[0] for row in rows] == [3] and gone == [(-2,)]


def test_a_value_stored_apart_that_stays_is_taken_from_what_is_held() -> None:
    net = net_of(UPDATED_BUT_NOT_THE_NAME)
    assert net.incomplete() == [(9,)]
    held = (9, "x" * 3000, None, None, None, None, None)
    assert come_to(UPDATED_BUT_NOT_THE_NAME, held=[held]) == ([(9, "x" * 3000, "7.00", None, None, None, None)], [])
    assert net.complete({}) == [(9,)]
    assert net.chunk().rows == []


def test_a_value_stored_apart_that_stays_is_taken_from_what_was_written_before() -> None:
    inserted = INSERTED_TWO.replace("74000000022d326e", "7400000001397400000001" + "79")
    assert come_to(inserted, UPDATED_BUT_NOT_THE_NAME)[0][0][1] == "y"


def test_a_row_held_under_another_key_is_found_again() -> None:
    moved = UPDATED_KEY.replace("74000000022d32", "740000000139").replace("7400000001336e", "74000000013375")
    message = decode(bytes.fromhex(moved))
    assert isinstance(message, Updated) and message.row[1] is UNCHANGED
    held = (9, "x", None, None, None, None, None)
    rows, gone = come_to(moved, held=[held])
    assert [row[:2] for row in rows] == [(3, "x")] and gone == [(9,)]


def test_an_identity_of_all_columns_tells_old_rows_whole() -> None:
    assert come_to(INSERTED_WHOLE, UPDATED_WHOLE, relation=whole) == ([(1, "b")], [])
    assert come_to(DELETED_WHOLE, relation=whole) == ([], [(1,)])
    kept = UPDATED_WHOLE[: -len("740000000162")] + "75"
    assert come_to(kept, relation=whole) == ([(1, "a")], [])


def test_a_truncated_table_keeps_what_comes_after() -> None:
    message = decode(bytes.fromhex(TRUNCATED))
    assert message == Truncated((ITEM, WHOLE))
    net = net_of(INSERTED_TWO, TRUNCATED, INSERTED_ONE)
    assert net.is_truncated and net.chunk().rows == [ONE]


def test_a_change_that_tells_too_little_leaves_its_relation_unknown() -> None:
    """A column that is followed was not there, or a partition's identity is not the key."""
    more = Relation("shop", "item", (*item.columns, Column("later")), ("id",))
    nets: dict[str, Net] = {}
    messages = [decode(bytes.fromhex(text)) for text in (DESCRIBED_ITEM, INSERTED_ONE)]
    fold([message for message in messages if message is not None], {}, nets, lambda each: Shape.of(more, each))
    assert nets["item"].is_unknown
    by_note = Relation("shop", "item", item.columns, ("name",))
    described = messages[0]
    assert isinstance(described, Described) and not Shape.of(by_note, described).tells
    without_key = decode(bytes.fromhex(DELETED_ONE.replace("740000000131", "6e")))
    assert isinstance(without_key, Deleted)
    unknown: dict[str, Net] = {}
    fold([described, without_key], {}, unknown, lambda each: Shape.of(item, each))
    assert unknown["item"].is_unknown


def test_what_was_read_replaces_what_messages_said_of_those_keys() -> None:
    net = net_of(INSERTED_ONE, INSERTED_TWO)
    net.put({(1,): None, (5,): (5, *ONE[1:])})
    chunk = net.chunk()
    assert sorted(row[0] for row in chunk.rows) == [-2, 5]  # type: ignore[type-var]
    assert chunk.deleted == [(1,)]


def test_messages_about_nothing_are_left_out_and_unknown_ones_refused() -> None:
    assert decode(b"Y\x00\x00\x40\x01public\x00mood\x00") is None
    assert isinstance(decode(bytes.fromhex(INSERTED_WHOLE)), Inserted)
    with pytest.raises(ValueError, match="kind b'Z'"):
        decode(b"Z")


@pytest.mark.parametrize("turn", [0, 1 << 32, 5 << 32])
def test_a_snapshot_contains_what_was_over_whatever_turn_the_counter_is_in(turn: int) -> None:
    contained = Contained(turn + 10, frozenset({turn + 7, turn - 3}))
    assert 9 in contained and 8 in contained
    assert 7 not in contained and 10 not in contained and 500 not in contained
    if turn:
        assert (1 << 32) - 2 in contained
        assert (1 << 32) - 3 not in contained
