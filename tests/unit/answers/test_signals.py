"""Signals of answers as columns."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from routellm_batch.answers.agreement import AnswerReader
from routellm_batch.answers.signals import LOOK, Signals, find_signals
from routellm_batch.config.answers import NumericAnswer

READER = AnswerReader(NumericAnswer(kind="numeric"))


def signals() -> Signals:
    """Return the signals of four answers, each with two others."""
    answers = ["5", "no idea", "-2.5", None]
    others = [["5", "6"], ["5", "5"], [None, None], ["1", None]]
    return find_signals(["?"] * 4, answers, others, READER)


def test_disagreement_is_known_where_answers_can_be_compared() -> None:
    """Half of the others differ from the first answer; the rest can't be read or have no other."""
    found = signals()
    assert_array_equal([True, False, True, False], found.usable)
    assert_array_equal([0.5, np.nan, np.nan, np.nan], found.disagreement)
    assert_array_equal([[0, 1], [1, 1], [np.nan, np.nan], [1, np.nan]], found.differs)
    assert_array_equal([[1], [0], [np.nan], [np.nan]], found.others_differ)


@pytest.mark.parametrize(
    ("column", "expected"),
    [("is_fraction", [0, 0, 1, 0]), ("is_negative", [0, 0, 1, 0]), ("log_size", [3, 0, 2, 0])],
)
def test_the_number_that_an_answer_gives(column: str, expected: list[float]) -> None:
    """A fraction and a minus are marked, and a number is as large as it has binary digits."""
    assert_array_equal(expected, signals().look[:, LOOK.index(column)])


def test_rows_are_taken_together() -> None:
    """Some rows of all columns."""
    assert_array_equal([True, False], signals().take(np.array([2, 3])).usable)


def test_without_other_answers_there_are_no_columns_of_them() -> None:
    """No check and no sample: the answer's look is all there is."""
    found = find_signals(["?"], ["5"], [[]], READER)
    assert found.differs.shape == (1, 0)
    assert np.isnan(found.disagreement).all()
