"""What each further sum buys, from all weak to all strong: more strong rows and more quality, with an interval. Pure.

A step's start and its end are read off the same resample of the pilot, so what they share cancels out and the interval is
that of the step alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from routellm_batch.budget.frontier import FrontierPoint
from routellm_batch.budget.quality.forecast import PilotPredictor
from routellm_batch.budget.quality.prediction import REPLICATES, stretch
from routellm_batch.core.arrays import Floats
from routellm_batch.core.metrics import Ranking, resample

STEPS = 10
"""Steps from all weak to all strong, about."""


@dataclass(frozen=True, slots=True)
class Step:
    """One further sum of money."""

    start_nano: int
    """Expected cost of the run before it."""
    end_nano: int
    """Expected cost of the run with it."""
    start_share: float
    """Strong share before it."""
    end_share: float
    """Strong share with it."""
    gain: float
    """What it adds to the mean grade."""
    lo: float
    """Lower bound of the gain."""
    hi: float
    """Upper bound of the gain."""

    @property
    def measurable(self) -> bool:
        """Whether it is certain that it adds anything."""
        return self.lo > 0


def step_nano(span: int) -> int:
    """Return the round sum, 1, 2 or 5 times a power of ten, nearest to a tenth of what lies between the ends.

    Args:
        span: nano-dollars between all weak and all strong; positive.

    """
    wanted = max(1.0, span / STEPS)
    power: int = 10 ** math.floor(math.log10(wanted))
    offered = [digit * power for digit in (1, 2, 5, 10)]
    return min(offered, key=lambda nano: abs(math.log(nano / wanted)))


def steps_ahead(
    pilot: PilotPredictor, frontier: Sequence[FrontierPoint], *, confidence: float = 0.9
) -> list[Step]:
    """Return the steps from all weak to all strong; none where both cost the same.

    Args:
        pilot: what the plan was made with.
        frontier: cost by share, from all weak to all strong; not empty.
        confidence: of the two-sided intervals.

    """
    costs = [point.planned_nano for point in frontier]
    if costs[-1] <= costs[0]:
        return []
    sums = [*range(costs[0], costs[-1], step_nano(costs[-1] - costs[0])), costs[-1]]
    shares = np.interp(sums, costs, [point.share for point in frontier])
    gains, draws = _gained(pilot, shares)
    level = (1 - confidence) / 2
    wider = stretch(pilot.calibration, pilot.rest)
    lo = gains + wider * (np.quantile(draws, level, axis=0, method="lower") - gains)
    hi = gains + wider * (np.quantile(draws, 1 - level, axis=0, method="higher") - gains)
    columns = zip(sums, sums[1:], shares, shares[1:], gains, lo, hi, strict=False)
    return [Step(int(one), int(other), *map(float, rest)) for one, other, *rest in columns]


def _gained(pilot: PilotPredictor, shares: Floats) -> tuple[Floats, Floats]:
    """Return the gain between neighbouring shares: of the pilot [S − 1], and of its resamples [R, S − 1]."""
    calibration, ranking = pilot.calibration, Ranking(pilot.order)
    gain, weight = calibration.gain_rows, np.array(calibration.weight)
    rows = len(weight)
    steps: list[Floats] = []
    for times in (np.ones(rows), *resample(rows, seed=calibration.seed, replicates=REPLICATES)):
        above, gained = ranking.curve(gain, times * weight)
        steps.append(np.diff(np.interp(shares * above[-1], above, gained)) / above[-1])
    return steps[0], np.array(steps[1:])
