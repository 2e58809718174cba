"""The order of a cascade's rows where nothing was learned."""

from __future__ import annotations

import numpy as np
from numpy.testing import assert_allclose

from routellm_batch.budget.selection.escalation import UNUSABLE, ranks, tiers

NONE = np.nan


def test_unusable_rows_come_first_then_those_whose_others_differ() -> None:
    """A row without another answer is as the mean of those that have one."""
    usable = np.array([True, True, False, True, False])
    actual = tiers(usable, np.array([0.0, 1.0, NONE, NONE, 0.5]))
    assert_allclose([0, 1, UNUSABLE, 0.5, UNUSABLE], actual)


def test_the_tier_of_rows_without_another_answer_may_be_given() -> None:
    """A run follows the mean of its pilot."""
    assert_allclose([0.2], tiers(np.array([True]), np.array([NONE]), 0.2))


def test_no_other_answer_at_all_leaves_one_tier() -> None:
    """Then the prompt's score alone orders the usable rows."""
    assert_allclose([0, 0], tiers(np.array([True, True]), np.array([NONE, NONE])))


def test_within_a_tier_the_score_decides() -> None:
    """Ranks grow with tier, then score, and are equal where both are."""
    actual = ranks(np.array([0.0, 1.0, 0.0, 1.0, 1.0]), np.array([0.9, 0.1, 0.2, 0.3, 0.1]))
    assert_allclose(np.array([1, 2, 0, 3, 2]) / 3, actual)


def test_no_rows_have_no_ranks() -> None:
    """An empty run is ordered too."""
    assert len(ranks(np.empty(0), np.empty(0))) == 0
