"""What a pilot predicts of one job: how to rank its rows, what shares of them bring, and how sure their cost is. Pure.

The pilot's rows stand for the job's: each has a position among them, and is ranked by the same function as the job's
rows, read at positions instead of scores, and learned without the row's own label. Intervals are for the rows that the job
has beside the pilot's: these are not known yet, and the fewer they are the more their mean scatters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routellm_batch.budget.costs.expected_costs import AnswerCost, billed_costs, expected_costs, mean_costs
from routellm_batch.budget.costs.expected_lengths import Lengths
from routellm_batch.budget.costs.tables import Table
from routellm_batch.budget.pricing import CallPrice
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
"""Resamples in which the two orders are compared."""
Z80 = 1.2816
"""From the middle to P10 or P90, in standard errors."""
PROOF = 0.75
"""Part of the resamples in which ranking by dollars has to be the better way."""
TELLING = 0.95
"""Part of the resamples in which the scores have to be better than chance before dollars are ranked by."""
SIZE_PRIOR_ROWS = 20.0
"""Strength of the prior on the slope of the gain by size, in rows."""
FALLBACK_RATE = 1e6
"""Nano-dollars for a unit of gain, where no row of the pilot both gains and costs more."""


@dataclass(frozen=True, slots=True, eq=False)
class PilotPredictor:
    """What a pilot predicts of one job."""

    calibration: Calibration
    """The pilot's N labelled rows, and its map from position to gain."""
    lengths: Lengths | None
    """Token counts of the same rows; None where labels came without answers."""
    prices: Mapping[Route, CallPrice]
    """Route → what a call is priced by."""
    ranker: Ranker
    """How the job's rows are ordered, by their scores."""
    order: Floats
    """[N], values that the pilot's rows are ranked by: those of ``ranker``, learned without the row itself."""
    rest: int | None = None
    """Rows of the job beside the pilot's; None for any number of them."""

    def quality(self, shares: Sequence[float]) -> list[Quality]:
        """Return the predicted quality at some strong shares, each in [0, 1]."""
        return predict(self.calibration, shares, order=self.order, rest=self.rest)

    def random(self, shares: Sequence[float]) -> list[Quality]:
        """Return the predicted quality where these shares of the rows are sent to the strong model at random."""
        return predict_random(self.calibration, shares, rest=self.rest)

    def recover(self, target: float, confidence: float) -> RecoverChoice:
        """Return the least strong share that keeps ``target`` of the gap with probability ``confidence``."""
        return recover_share(self.calibration, target, confidence, order=self.order, rest=self.rest)

    def cost_interval(self, shares: Sequence[float]) -> list[tuple[float, float]] | None:
        """Return P10 and P90 of a plan's cost over its expected cost, at some strong shares; None without lengths.

        How far one row's bill lies from its expected cost is learned from all of the pilot's rows: a few answers are
        many times as long as the rest, and most shares of a pilot hold none of them. The interval holds both what the
        plan says and what the pilot paid at that share, which differ where lengths don't follow the model.
        """
        if self.lengths is None:
            return None
        size, where = np.array(self.lengths.estimated), _where(self.calibration)
        weight = np.array(self.calibration.weight)
        model = expected_costs(self.lengths, self.lengths.fit(where, weight), self.prices, GRID, GRID)
        predicted = {route: model[route].nano(size, where).astype(np.float64) for route in ROUTES}
        billed, square = billed_costs(self.lengths, self.prices), {}
        for route, cost in predicted.items():
            scatter = (weight @ (billed[route] - cost) ** 2) / max(float(weight @ cost**2), 1e-9)
            square[route] = scatter * cost**2
        ranking, at = Ranking(self.order), np.array(shares)
        paid, expected, noise = (mean_costs(ranking, one, weight, at) for one in (billed, predicted, square))
        expected = np.maximum(expected, 1e-9)
        own = paid / expected
        off = (
            Z80
            * stretch(self.calibration, self.rest)
            * np.sqrt(noise / self.calibration.effective_rows)
            / expected
        )
        bounds = np.maximum(np.minimum(own, 1) - off, 0), np.maximum(own, 1) + off
        return list(zip(*map(np.ndarray.tolist, bounds), strict=True))


def build_predictor(
    calibration: Calibration,
    lengths: Lengths | None,
    prices: Mapping[Route, CallPrice],
    order: Order,
    scores: NDArray[np.floating],
    *,
    rows: int | None = None,
    prove: bool = False,
) -> PilotPredictor:
    """Return what a pilot predicts of one job.

    Args:
        calibration: of the pilot.
        lengths: of the pilot; None without token counts, and then rows are ranked by score.
        prices: route → what a call is priced by.
        order: what rows are to be ranked by.
        scores: the job's, or many of them drawn at random.
        rows: of the job, the pilot's among them; any number where left out.
        prove: rank by gain per dollar only if the pilot's own rows show that it pays.

    """
    knots, where = _knots(scores)
    rest = None if rows is None else _to_come(rows, len(calibration))
    if lengths is None:
        return PilotPredictor(calibration, None, prices, BY_SCORE, np.array(calibration.scores), rest)
    slopes = lengths.fit(_where(calibration), np.array(calibration.weight))
    costs = expected_costs(lengths, slopes, prices, knots, where)
    by_score = PilotPredictor(
        calibration, lengths, prices, Ranker(costs=costs), np.array(calibration.scores), rest
    )
    if order == "score":
        return by_score
    sizes, middle = np.array(lengths.estimated), _where(calibration)
    own = expected_costs(lengths, slopes, prices, GRID, GRID)
    gains, more = _gains(calibration, lengths, np.ones(len(calibration), dtype=np.bool_))
    rate = _rate(np.interp(middle, GRID, gains) + more.read(sizes), own, sizes, middle)
    values = _held_out_values(calibration, lengths, rate, own)
    if prove and not _dollars_pay(calibration, lengths, prices, values):
        return by_score
    gain = Table.of(knots, np.interp(where, GRID, gains))
    ranker = Ranker("gain_per_dollar", gain, more, rate, costs)
    return PilotPredictor(calibration, lengths, prices, ranker, values, rest)


def _to_come(rows: int, known: int) -> int:
    """Return how many rows of a job are to come beside the pilot's ``known`` ones.

    It is at least ``known``: where the pilot is most of the job, its own grades, known already, leave less open
    than the few other rows do.
    """
    return max(rows - known, known)


def _where(calibration: Calibration) -> Floats:
    """Return the positions [N] of the pilot's rows."""
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

    Where larger prompts gain more than their score says, ranking by gain over cost would hold their price against them
    and not count what it buys. So one slope on the log size is fitted beside the score's part, with a prior of a few rows.
    """
    weight, where = np.array(calibration.weight)[used], _where(calibration)[used]
    gain = calibration.gain_rows[used]
    gains = fit_map(calibration.kind, where, gain, weight, GRID)
    size = lengths.sizes_design(np.array(lengths.estimated)[used])
    scored, root = np.column_stack([np.ones(len(where)), where]), np.sqrt(weight)
    # The size as a line in the position: only what is beside it counts.
    usual = np.linalg.lstsq(scored * root[:, None], size * root, rcond=None)[0]
    size = size - scored @ usual
    left = gain - np.interp(where, GRID, gains)
    slope = float(weight @ (size * left)) / (float(weight @ size**2) + SIZE_PRIOR_ROWS)
    sizes = lengths.table_sizes
    added = slope * lengths.sizes_design(sizes)
    return gains - slope * (usual[0] + usual[1] * GRID), Table.of(sizes, added)


def _held_out_values(
    calibration: Calibration, lengths: Lengths, rate: float, costs: Mapping[Route, AnswerCost]
) -> Floats:
    """Return what the pilot's rows are ranked by, [N]: each by gains that were learned without its own.

    Folds differ in level, so a row's place in its own fold is what counts.
    """
    where, sizes = _where(calibration), np.array(lengths.estimated)
    fold = np.random.default_rng(calibration.seed).permutation(len(where)) % FOLDS
    places = np.zeros(len(where))
    for number in range(FOLDS):
        held = fold == number
        gains, more = _gains(calibration, lengths, ~held)
        ranker = Ranker("gain_per_dollar", Table.of(GRID, gains), more, rate, costs)
        values = ranker.values(where[held], sizes[held]).astype(np.float64)
        places[held] = positions(values, np.array(calibration.weight)[held])
    return places


def _dollars_pay(
    calibration: Calibration, lengths: Lengths, prices: Mapping[Route, CallPrice], order: Floats
) -> bool:
    """Whether the pilot's own rows, graded and billed, show that dollars are better spent in this order than by score.

    The order has to recover more for its dollars in three of four resamples. And the scores have to be better than chance
    in nineteen of twenty: where a pilot happens not to show what they are worth, gains look level, and ranking by gain
    over cost would mean ranking by cost alone.
    """
    billed = billed_costs(lengths, prices)
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
    """Return the median price of a unit of gain, in nano-dollars: a row at that price has the key of one half."""
    extra = costs[STRONG].nano(sizes, where) - costs[WEAK].nano(sizes, where)
    paid = (gain > 0) & (extra > 0)
    return float(np.median(extra[paid] / gain[paid])) if paid.any() else FALLBACK_RATE
