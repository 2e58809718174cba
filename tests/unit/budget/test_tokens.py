"""Tokens by script: estimates near what byte-pair vocabularies count, never above what a text can have at most."""

from __future__ import annotations

import pytest

from routellm_batch.budget.pricing import TEMPLATE_BOUND_TOKENS
from routellm_batch.budget.tokens import SCRIPTS, chat_tokens, english_chars

MEASURED = [
    ("All human beings are born free and equal in dignity and rights.", 13, 13),
    ("人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。", 49, 33),
    ("人間は、理性と良心とを授けられており、互いに同胞の精神をもって行動しなければならない。", 43, 35),
    ("모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.", 37, 21),
    ("Все люди рождаются свободными и равными в своем достоинстве и правах.", 32, 18),
    ("Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα.", 74, 31),
    ("يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق.", 38, 19),
    ("כל בני אדם נולדו בני חורין ושווים בערכם ובזכויותיהם.", 52, 21),
    ("सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।", 84, 25),
    ("มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ", 65, 30),
    ("Všichni lidé rodí se svobodní a sobě rovní co do důstojnosti a práv.", 30, 25),
    ("12, 7.5, 1024, 3.14, 2023-05-17, 18:45, 99.9, 1,250,000, 42, 86400", 47, 47),
    ("😀😂🎉🔥👍🚀✅🍕🌍🤖💡📈🐶", 32, 20),
]
"""Text, and about how many tokens an older and a newer public vocabulary make of it."""


@pytest.mark.parametrize(("text", "older", "newer"), MEASURED)
def test_estimates_lie_between_vocabularies(text: str, older: int, newer: int) -> None:
    """An estimate is at most a third off the range that two generations of vocabularies span."""
    assert newer / 1.34 <= english_chars(text) / 4 <= older * 1.34


@pytest.mark.parametrize(
    "text", ["", "a", "Is 17 prime? Say why.", "x" * 4001, 'def f(x):\n    return {"a": x}\n']
)
def test_english_and_code_count_a_quarter_of_a_token_a_character(text: str) -> None:
    """What is written in ASCII is planned as it always was; so are the numbers in prose."""
    assert (len(text), -(-len(text) // 4) + 7) == (english_chars(text), chat_tokens(text, 1))


@pytest.mark.parametrize("block", SCRIPTS)
def test_no_estimate_exceeds_the_worst_case(block: tuple[int, int, int]) -> None:
    """No character counts more tokens than it has UTF-8 bytes, which are what a call's worst case counts."""
    first, last, _ = block
    for point in (first, (first + last) // 2, last):
        text = chr(point) * 1000
        assert chat_tokens(text, 2) <= len(text.encode()) + 3 * TEMPLATE_BOUND_TOKENS


def test_scripts_are_counted_side_by_side() -> None:
    """A text in two scripts has the tokens of both parts; a script that no block names counts as a rare one."""
    assert english_chars("你好") + english_chars("abcd") == english_chars("你好abcd")
    assert (8, 8, 4) == (
        english_chars("\u13a0"),
        english_chars("\U000e0041"),
        english_chars("\ud800"[:0] + "好"),
    )
