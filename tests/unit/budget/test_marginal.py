"""What each further sum buys."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from routellm_batch.budget.frontier import FrontierPoint
from routellm_batch.budget.marginal import step_nano, steps_ahead
from routellm_batch.budget.pricing import NANO
from routellm_batch.budget.quality.calibration import fit_calibration
from routellm_batch.budget.quality.forecast import PilotPredictor, build_predictor

ROWS = 400
FRONTIER = [FrontierPoint(n / 49, None, 2 * NANO + n * 2 * NANO) for n in range(50)]


@cache
def seen() -> PilotPredictor:
    """Return a pilot whose strong model is better on the upper half of the scores, and on no other row."""
    scores = (np.arange(ROWS) + 0.5) / ROWS
    gain = np.where(scores > 0.5, np.arange(ROWS) % 2, 0)
    calibration = fit_calibration(scores, gain.astype(float), np.zeros(ROWS), seed=0)
    return build_predictor(calibration, None, {}, "score", scores)


@pytest.mark.parametrize(
    ("span_usd", "expected_usd"),
    [
        (100, 10),
        (95, 10),
        (60, 5),
        (1, 0.1),
        (0.976, 0.1),
        (0.03, 0.002),
        (1_130_000, 100_000),
        (7, 0.5),
        (20, 2),
    ],
)
def test_steps_are_round_sums_that_fit_the_run(span_usd: float, expected_usd: float) -> None:
    """Ten dollars for a run of a hundred, cents for a run of a dollar."""
    assert step_nano(round(span_usd * NANO)) == round(expected_usd * NANO)


def test_the_smallest_span_has_a_step() -> None:
    """A span of a nano-dollar is one step."""
    assert step_nano(1) == 1


def test_steps_lead_from_all_weak_to_all_strong() -> None:
    """Steps follow one another, the last as short as is left, and all together bring the whole gain."""
    steps = steps_ahead(seen(), FRONTIER)
    assert [step.start_nano for step in steps] == [2 * NANO + n * 10 * NANO for n in range(10)]
    assert [step.end_nano for step in steps[:-1]] == [step.start_nano for step in steps[1:]]
    assert (steps[-1].end_nano, steps[0].start_share, steps[-1].end_share) == (100 * NANO, 0, 1)
    assert sum(step.gain for step in steps) == pytest.approx(0.25)


def test_only_steps_that_bring_something_are_measurable() -> None:
    """Where the strong model is better, a step brings a half for each of its rows; elsewhere it brings nothing."""
    steps = steps_ahead(seen(), FRONTIER)
    assert [step.measurable for step in steps[:4]] == [True] * 4
    assert [step.measurable for step in steps[6:]] == [False] * 4
    assert steps[1].gain == pytest.approx((steps[1].end_share - steps[1].start_share) / 2, abs=2 / ROWS)


def test_intervals_are_of_the_step_alone() -> None:
    """A step's interval is narrower than that of the quality at its ends, which scatters with all rows."""
    step = steps_ahead(seen(), FRONTIER)[2]
    quality = seen().quality([step.end_share])[0]
    assert step.lo < step.gain < step.hi
    assert step.hi - step.lo < quality.hi - quality.lo


def test_no_steps_where_both_models_cost_the_same() -> None:
    """Where no sum lies between all weak and all strong, there is nothing to buy."""
    assert steps_ahead(seen(), [FrontierPoint(0, None, 5), FrontierPoint(1, None, 5)]) == []
