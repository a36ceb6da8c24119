"""The card processor moves money once for an order, however it is asked, and answers as each card does."""

import pytest
from shop.cards import (
    ANSWERS_LATE,
    ANSWERS_TWICE,
    DECLINED,
    GOOD,
    NEVER_ANSWERS,
    AnswerLate,
    ChargeCard,
    RefundCard,
    SwitchProcessor,
)
from tests.example_shop.shop_at import Shop

REFUND = RefundCard("o-1")


def charge(card: str) -> ChargeCard:
    return ChargeCard("o-1", 3230, card)


def moved(shop: Shop) -> list[int]:
    return [cents for (cents,) in shop.rows("cards", "SELECT cents FROM movement ORDER BY movement_id")]


@pytest.mark.parametrize(
    ("card", "money", "answers"),
    [
        (GOOD, [3230], ["CardCharged"]),
        (DECLINED, [], ["CardDeclined"]),
        (ANSWERS_TWICE, [3230], ["CardCharged", "CardCharged"]),
        (ANSWERS_LATE, [3230], []),
        (NEVER_ANSWERS, [3230], []),
    ],
)
def test_a_card_behaves_as_its_name_says_however_often_it_is_asked(
    shop: Shop, card: str, money: list[int], answers: list[str]
) -> None:
    for _ in range(3):
        shop.send(charge(card))
    assert moved(shop) == money and shop.told("cards") == answers


def test_a_late_answer_is_told_once_and_a_lost_one_never(shop: Shop) -> None:
    shop.send(charge(ANSWERS_LATE))
    shop.send(ChargeCard("o-2", 1, NEVER_ANSWERS))
    for _ in range(2):
        shop.send(AnswerLate())
    assert shop.rows("cards", "SELECT stream, name FROM syncline_event") == [("cards_told-o-1", "CardCharged")]


@pytest.mark.parametrize("card", [GOOD, ANSWERS_TWICE, ANSWERS_LATE, NEVER_ANSWERS])
def test_what_was_charged_goes_back_once(shop: Shop, card: str) -> None:
    shop.send(charge(card))
    for _ in range(2):
        shop.send(REFUND)
    shop.send(charge(card))
    assert moved(shop) == [3230, -3230]
    assert shop.told("cards")[-1] == "CardRefunded" and shop.told("cards").count("CardRefunded") == 1


@pytest.mark.parametrize("card", [GOOD, DECLINED, NEVER_ANSWERS])
def test_a_refund_that_comes_before_the_charge_prevents_it(shop: Shop, card: str) -> None:
    shop.send(REFUND)
    shop.send(charge(card))
    assert moved(shop) == [] and shop.told("cards") == []


def test_while_it_is_paused_charges_wait_and_may_be_cancelled(shop: Shop) -> None:
    shop.send(SwitchProcessor("paused"))
    shop.send(charge(GOOD))
    shop.send(ChargeCard("o-2", 100, NEVER_ANSWERS))
    shop.send(RefundCard("o-2"))
    assert moved(shop) == [] and shop.told("cards") == []
    shop.send(SwitchProcessor("charging"))
    assert moved(shop) == [3230] and shop.told("cards") == ["CardCharged"]


def test_while_it_declines_every_card_is_declined(shop: Shop) -> None:
    shop.send(SwitchProcessor("declining"))
    shop.send(charge(GOOD))
    assert moved(shop) == [] and shop.told("cards") == ["CardDeclined"]
