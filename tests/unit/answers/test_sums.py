"""The sums that an answer writes down: which are found, and which do not hold."""

from __future__ import annotations

import pytest

from routellm_batch.answers.sums import Sums, find_sums


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3 * 4 + 2 = 14", Sums(1, 0)),
        ("3 + 4 * 2 = 14", Sums(1, 1)),
        ("3*4=13", Sums(1, 1)),
        ("She pays $5 x $3 = $15.", Sums(1, 0)),
        ("3x4=13", Sums(1, 1)),
        (r"6 \times 7 = 42 and 42 \div 6 = 8", Sums(2, 1)),
        ("100/3 = 33.33", Sums(1, 0)),
        ("100/3 = 30", Sums(1, 1)),
        ("2 + 3 = 4 + 1", Sums(1, 0)),
        ("5 + 5 = 10 = 2 * 5", Sums(2, 0)),
        ("1,000 * 2 = $2,000.", Sums(1, 0)),
        ("12 − 5 = 7", Sums(1, 0)),
        ("-3 + 5 = 2", Sums(1, 0)),
        ("1/0 = 5", Sums(0, 0)),
        ("x = 3", Sums(0, 0)),
        ("3 = 3", Sums(0, 0)),
        ("5 - -3 = 8", Sums(0, 0)),
        ("(3+2)*4=20", Sums(0, 0)),
        ("50% * 4 = 2", Sums(0, 0)),
        ("2^3 = 8", Sums(0, 0)),
        ("solve 3x + 4 = 10", Sums(0, 0)),
        ("5 apples + 3 = 8", Sums(0, 0)),
        ("", Sums(0, 0)),
    ],
)
def test_sums(text: str, expected: Sums) -> None:
    """A sum is a calculation between numbers and what it is said to be; half an expression is none."""
    assert expected == find_sums(text)


def test_a_number_of_many_digits_is_no_part_of_a_sum() -> None:
    """Nobody works out a number of a thousand digits."""
    assert find_sums("1" * 1000 + " + 1 = 2") == Sums(0, 0)
