"""What a pilot tells of one job's plan: how to rank its rows, what shares of them bring, and how sure their cost is. Pure.

The pilot's rows stand for the job's: each has a position among them, and is ranked by the same function as the job's
rows, read at positions instead of scores, and learned without the row's own label. Intervals are for the rows that the job
has beside the pilot's: those are what is not known yet, and the fewer they are the more they scatter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routellm_batch.budget.costs.expected_costs import (
    AnswerCost,
    Ends,
    billed_costs,
    expected_costs,
    mean_costs,
    plain,
    table_sizes,
)
from routellm_batch.budget.costs.expected_lengths import Lengths, Table
from routellm_batch.budget.quality.calibration import GRID, Calibration
from routellm_batch.budget.quality.calibration_maps import FOLDS, fit_map, positions
from routellm_batch.budget.quality.prediction import (
    Quality,
    RecoverChoice,
    predict,
    predict_random,
    recover_share,
    stretch,
)
from routellm_batch.budget.selection.ranking import BY_SCORE, Order, Ranker
from routellm_batch.core.arrays import Floats
from routellm_batch.core.metrics import Ranking, resample
from routellm_batch.core.types import ROUTES, STRONG, WEAK, Route

KNOTS = 256
"""Scores of the job at which its tables are read."""
REPLICATES = 200
Z80 = 1.2816
"""From the middle to P10 or P90, in standard errors."""
PROOF = 0.75
"""Part of the resamples in which ranking by dollars has to be the better way."""
TELLING = 0.95
"""Part of the resamples in which the scores have to be better than chance before dollars are ranked by."""
SIZE_PRIOR_ROWS = 20.0
"""By as many rows a slope of the gain on the size is held back."""
FALLBACK_RATE = 1e6


@dataclass(frozen=True, slots=True, eq=False)
class Foresight:
    """A pilot, seen from one job."""

    calibration: Calibration
    lengths: Lengths | None
    ends: Mapping[Route, Ends]
    ranker: Ranker
    """Of the job's rows, by their scores."""
    order: Floats
    """[N], what the pilot's rows are ranked by: the same, learned without the row itself."""
    rest: int | None = None
    """Rows to come; None: without end."""

    def quality(self, shares: Sequence[float]) -> list[Quality]:
        """Return the predicted quality at some strong shares."""
        return predict(self.calibration, shares, order=self.order, rest=self.rest)

    def random(self, shares: Sequence[float]) -> list[Quality]:
        """Return the same where as many rows are sent to the strong model at random."""
        return predict_random(self.calibration, shares, rest=self.rest)

    def recover(self, target: float, confidence: float) -> RecoverChoice:
        """Return the least strong share that holds a target."""
        return recover_share(self.calibration, target, confidence, order=self.order, rest=self.rest)

    def cost_band(self, shares: Sequence[float]) -> list[tuple[float, float]] | None:
        """Return P10 and P90 of a plan's cost over its expected cost, at some strong shares; None without lengths.

        How far one row's bill lies from what is expected of it is learned from all of the pilot's rows: a few answers are
        many times as long as the rest, and most shares of a pilot hold none of them. The band holds both what the plan
        says and what the pilot paid at that share, which differ where lengths follow no such model.
        """
        if self.lengths is None:
            return None
        size, where = np.array(self.lengths.estimated), _where(self.calibration)
        weight = np.array(self.calibration.weight)
        model = expected_costs(self.lengths, self.lengths.fit(where, weight), self.ends, GRID, GRID)
        told = {route: model[route].nano(size, where).astype(np.float64) for route in ROUTES}
        billed, square = billed_costs(self.lengths, self.ends), {}
        for route, cost in told.items():
            scatter = (weight @ (billed[route] - cost) ** 2) / max(float(weight @ cost**2), 1e-9)
            square[route] = scatter * cost**2
        ranking, at = Ranking(self.order), np.array(shares)
        paid, expected, noise = (mean_costs(ranking, one, weight, at) for one in (billed, told, square))
        expected = np.maximum(expected, 1e-9)
        own = paid / expected
        off = (
            Z80
            * stretch(self.calibration, self.rest)
            * np.sqrt(noise / self.calibration.rows_heard)
            / expected
        )
        ends = np.maximum(np.minimum(own, 1) - off, 0), np.maximum(own, 1) + off
        return list(zip(*map(np.ndarray.tolist, ends), strict=True))


def foresee(
    calibration: Calibration,
    lengths: Lengths | None,
    ends: Mapping[Route, Ends],
    order: Order,
    scores: NDArray[np.floating],
    *,
    rows: int | None = None,
    prove: bool = False,
) -> Foresight:
    """See a pilot from one job.

    Args:
        calibration: of the pilot.
        lengths: of the pilot; None without token counts, and then rows are ranked by score.
        ends: route → price and limit.
        order: what rows are to be ranked by.
        scores: the job's, or many of them drawn at random.
        rows: of the job, the pilot's among them; without end where left out.
        prove: rank by gain per dollar only if the pilot's own rows show that it pays.

    """
    knots, where = _knots(scores)
    rest = None if rows is None else _to_come(rows, len(calibration))
    if lengths is None:
        return Foresight(calibration, None, ends, BY_SCORE, np.array(calibration.scores), rest)
    slopes = lengths.fit(_where(calibration), np.array(calibration.weight))
    costs = expected_costs(lengths, slopes, ends, knots, where)
    by_score = Foresight(calibration, lengths, ends, Ranker(costs=costs), np.array(calibration.scores), rest)
    if order == "score":
        return by_score
    sizes, middle = np.array(lengths.estimated), _where(calibration)
    own = expected_costs(lengths, slopes, ends, GRID, GRID)
    gains, more = _gains(calibration, lengths, np.ones(len(calibration), dtype=np.bool_))
    rate = _rate(np.interp(middle, GRID, gains) + more.read(sizes), own, sizes, middle)
    values = _held_out_values(calibration, lengths, rate, own)
    if prove and not _dollars_pay(calibration, lengths, ends, values):
        return by_score
    gain = Table(plain(knots), plain(np.interp(where, GRID, gains)))
    ranker = Ranker("gain_per_dollar", gain, more, rate, costs)
    return Foresight(calibration, lengths, ends, ranker, values, rest)


def _to_come(rows: int, known: int) -> int:
    """Return how many rows of a job are to come beside the pilot's.

    As many as the pilot has at the least: where it is most of the job, its own grades, known already, leave less open
    than the few others do.
    """
    return max(rows - known, known)


def _where(calibration: Calibration) -> Floats:
    return positions(np.array(calibration.scores), np.array(calibration.weight))


def _knots(scores: NDArray[np.floating]) -> tuple[Floats, Floats]:
    """Return some distinct scores, rising, and the position of each among all."""
    ranked = np.sort(np.asarray(scores, dtype=np.float32)).astype(np.float64)
    at = np.unique(np.linspace(0, len(ranked) - 1, KNOTS + 1).round().astype(np.int64))
    knots = np.unique(ranked[at])
    below, beside = (np.searchsorted(ranked, knots, side=side) for side in ("left", "right"))
    where: Floats = (below + beside) / (2 * len(ranked))
    return knots, where


def _gains(calibration: Calibration, lengths: Lengths, used: NDArray[np.bool_]) -> tuple[Floats, Table]:
    """Return the expected gain at each of ``GRID``, and what a row's size adds to it, from some of the pilot's rows.

    Where larger prompts gain more than their score says, to rank by gain over cost would hold their price against them
    and not count what it buys. One slope on the log size, beside the score's own part, held back by a few rows.
    """
    weight, where = np.array(calibration.weight)[used], _where(calibration)[used]
    gain = calibration.gain_rows[used]
    gains = fit_map(calibration.kind, where, gain, weight, GRID)
    size = lengths.design(np.array(lengths.estimated)[used], where)[:, 1]
    scored, root = np.column_stack([np.ones(len(where)), where]), np.sqrt(weight)
    usual = np.linalg.lstsq(scored * root[:, None], size * root, rcond=None)[
        0
    ]  # size as a line in the position
    size = size - scored @ usual
    left = gain - np.interp(where, GRID, gains)
    slope = float(weight @ (size * left)) / (float(weight @ size**2) + SIZE_PRIOR_ROWS)
    sizes = table_sizes(lengths)
    added = slope * lengths.design(sizes, np.full(len(sizes), 0.5))[:, 1]
    return gains - slope * (usual[0] + usual[1] * GRID), Table(plain(sizes), plain(added))


def _held_out_values(
    calibration: Calibration, lengths: Lengths, rate: float, costs: Mapping[Route, AnswerCost]
) -> Floats:
    """Return what the pilot's rows are ranked by, [N]: each by gains that were learned without its own.

    Folds differ in level, so a row's place in its own fold is what counts.
    """
    where, sizes = _where(calibration), np.array(lengths.estimated)
    fold = np.random.default_rng(calibration.seed).permutation(len(where)) % FOLDS
    found = np.zeros(len(where))
    for number in range(FOLDS):
        held = fold == number
        gains, more = _gains(calibration, lengths, ~held)
        ranker = Ranker("gain_per_dollar", Table(plain(GRID), plain(gains)), more, rate, costs)
        values = ranker.values(where[held], sizes[held]).astype(np.float64)
        found[held] = positions(values, np.array(calibration.weight)[held])
    return found


def _dollars_pay(
    calibration: Calibration, lengths: Lengths, ends: Mapping[Route, Ends], order: Floats
) -> bool:
    """Say whether the pilot's own rows, graded and billed, say that dollars are better spent in this order than by score.

    It has to recover more for its dollars in three of four resamples. And the scores have to be better than chance in
    nineteen of twenty: where a pilot happens not to show what they are worth, gains look level, and to rank by gain over
    cost would mean to rank by cost alone.
    """
    billed = billed_costs(lengths, ends)
    extra, gain = np.maximum(billed[STRONG] - billed[WEAK], 0.0), calibration.gain_rows
    dollars, scores = Ranking(order), Ranking(np.array(calibration.scores))
    weight, even = np.array(calibration.weight), np.ones(len(order))
    better = telling = 0
    for count in resample(len(order), seed=calibration.seed, replicates=REPLICATES):
        mass = count * weight
        better += _area(dollars, gain, extra, mass) > _area(scores, gain, extra, mass)
        telling += _area(scores, gain, even, mass) > float(mass @ gain) * float(mass.sum()) / 2
    return better >= PROOF * REPLICATES and telling >= TELLING * REPLICATES


def _area(ranking: Ranking, gain: Floats, extra: Floats, mass: Floats) -> float:
    """Return the gain recovered, summed over the dollars spent on the way from all weak to all strong."""
    (_, gained), (_, paid) = ranking.curve(gain, mass), ranking.curve(extra, mass)
    return float(np.trapezoid(gained, paid))


def _rate(gain: Floats, costs: Mapping[Route, AnswerCost], sizes: NDArray[np.int64], where: Floats) -> float:
    """Return the median price of a unit of gain: the key of such a row is one half."""
    extra = costs[STRONG].nano(sizes, where) - costs[WEAK].nano(sizes, where)
    paid = (gain > 0) & (extra > 0)
    return float(np.median(extra[paid] / gain[paid])) if paid.any() else FALLBACK_RATE
