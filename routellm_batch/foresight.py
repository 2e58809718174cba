"""What a pilot tells of one job's plan: how to rank its rows, what shares of them bring, and how sure their cost is. Pure.

The pilot's rows stand for the job's: each has a position among them, and is ranked by the same function as the job's
rows, read at positions instead of scores. Intervals are for the whole job, in which the pilot's rows are: that these
are known already would make them a little narrower, and is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routellm_batch.calibration import GRID, Calibration
from routellm_batch.calibration_maps import positions
from routellm_batch.lengths_model import Lengths, Slopes
from routellm_batch.metrics import Ranking
from routellm_batch.prediction import Quality, RecoverChoice, predict, predict_random, recover_share
from routellm_batch.pricing import Price
from routellm_batch.ranking import BY_SCORE, AnswerCost, Order, Ranker, Table
from routellm_batch.types import ROUTES, Route

Floats = NDArray[np.float64]

KNOTS = 256
"""Scores of the job at which its tables are read."""
SIZES = 48
"""Sizes of a prompt at which the length tables are read."""
REPLICATES = 200
COST_BAND = (0.1, 0.9)
FALLBACK_RATE = 1e6


@dataclass(frozen=True, slots=True)
class Ends:
    """What an endpoint charges, and the most that it is asked for."""

    price: Price
    most: int | None
    """Output tokens; None without a limit."""


@dataclass(frozen=True, slots=True, eq=False)
class Foresight:
    """A pilot, seen from one job."""

    calibration: Calibration
    lengths: Lengths | None
    ends: Mapping[Route, Ends]
    ranker: Ranker
    """Of the job's rows, by their scores."""
    order: Floats
    """[N], what the pilot's rows are ranked by: the same, by their positions."""

    def quality(self, shares: Sequence[float]) -> list[Quality]:
        """Return the predicted quality at some strong shares."""
        return predict(self.calibration, shares, order=self.order)

    def random(self, shares: Sequence[float]) -> list[Quality]:
        """Return the same where as many rows are sent to the strong model at random."""
        return predict_random(self.calibration, shares)

    def recover(self, target: float, confidence: float) -> RecoverChoice:
        """Return the least strong share that holds a target."""
        return recover_share(self.calibration, target, confidence, order=self.order)

    def cost_band(self, shares: Sequence[float]) -> list[tuple[float, float]] | None:
        """Return P10 and P90 of a plan's cost over its expected cost, at some strong shares; None without lengths.

        The length models are fitted anew to resampled rows, and each is asked for the cost of every share.
        """
        if self.lengths is None:
            return None
        weight, where = np.array(self.calibration.weight), _where(self.calibration)
        random, rows = np.random.default_rng(self.calibration.seed), len(weight)
        ranking = Ranking(self.order)
        told = self._totals(self.lengths.fit(where, weight), shares, ranking)
        drawn: list[Floats] = []
        for _ in range(REPLICATES):
            count = np.bincount(random.integers(0, rows, rows), minlength=rows)
            drawn.append(self._totals(self.lengths.fit(where, weight * count), shares, ranking))
        lo, hi = np.quantile(np.array(drawn) / np.maximum(told, 1e-9), COST_BAND, axis=0)
        return [(min(1.0, float(one)), max(1.0, float(other))) for one, other in zip(lo, hi, strict=True)]

    def _totals(self, slopes: Mapping[Route, Slopes], shares: Sequence[float], ranking: Ranking) -> Floats:
        """Return the cost of the pilot's rows at some strong shares, [S]."""
        weight = np.array(self.calibration.weight)
        costs = _costs(self.lengths, slopes, self.ends, GRID, GRID) if self.lengths else {}
        size, where = np.array(self.lengths.estimated if self.lengths else ()), _where(self.calibration)
        strong, weak = (costs[route].nano(size, where).astype(np.float64) for route in ROUTES)
        above, more = ranking.curve(strong - weak, weight)
        found: Floats = float(weight @ weak) + np.interp(np.array(shares) * above[-1], above, more)
        return found


def foresee(
    calibration: Calibration,
    lengths: Lengths | None,
    ends: Mapping[Route, Ends],
    order: Order,
    scores: NDArray[np.floating],
) -> Foresight:
    """See a pilot from one job.

    Args:
        calibration: of the pilot.
        lengths: of the pilot; None without token counts, and then rows are ranked by score.
        ends: route → price and limit.
        order: what rows are to be ranked by.
        scores: the job's, or many of them drawn at random.

    """
    knots, where = _knots(scores)
    if lengths is None:
        return Foresight(calibration, None, ends, BY_SCORE, np.array(calibration.scores))
    slopes = lengths.fit(_where(calibration), np.array(calibration.weight))
    costs = _costs(lengths, slopes, ends, knots, where)
    if order == "score":
        ranker = Ranker(costs=costs)
        return Foresight(calibration, lengths, ends, ranker, np.array(calibration.scores))
    sizes, middle = np.array(lengths.estimated), _where(calibration)
    own = _costs(lengths, slopes, ends, GRID, GRID)
    more = _by_size(calibration, lengths)
    rate = _rate(calibration.gain_at(middle) + more.read(sizes), own, sizes, middle)
    gain = Table(tuple(knots.tolist()), tuple(calibration.gain_at(where).tolist()))
    pilot = Ranker(order, Table(tuple(GRID.tolist()), calibration.gains), more, rate, own)
    values = pilot.values(middle, sizes).astype(np.float64)
    return Foresight(calibration, lengths, ends, Ranker(order, gain, more, rate, costs), values)


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


def _costs(
    lengths: Lengths, slopes: Mapping[Route, Slopes], ends: Mapping[Route, Ends], at: Floats, where: Floats
) -> dict[Route, AnswerCost]:
    """Return what calls are expected to cost, tabled by size, and by score at ``at``, whose positions are ``where``."""
    sizes, least = _sizes(lengths), min(lengths.estimated)
    by_size = lengths.design(sizes, np.full(len(sizes), 0.5))[:, 1]
    by_position = lengths.design(np.full(len(where), least), where)[:, 2]
    found: dict[Route, AnswerCost] = {}
    for route in ROUTES:
        one, end = slopes[route], ends[route]
        tokens = np.exp(one.level + one.by_size * by_size)
        factor = np.exp(one.by_position * by_position)
        found[route] = AnswerCost(
            end.price.input_nano,
            end.price.output_nano,
            one.input_ratio,
            Table(tuple(sizes.astype(float).tolist()), tuple(tokens.tolist())),
            Table(tuple(at.tolist()), tuple(factor.tolist())),
            end.most,
        )
    return found


def _sizes(lengths: Lengths) -> NDArray[np.int64]:
    """Return sizes, evenly by their logarithms, from the pilot's least to its most."""
    least, most = min(lengths.estimated), max(lengths.estimated)
    return np.unique(np.geomspace(least + 1, most + 1, SIZES).round().astype(np.int64) - 1)


def _by_size(calibration: Calibration, lengths: Lengths) -> Table:
    """Return what a row's size adds to the gain that its score lets expect.

    Where larger prompts gain more than their score says, to rank by gain over cost would hold their price against them
    and not count what it buys. One slope on the log size, of which only what exceeds its own noise counts (James and
    Stein's shrinkage).
    """
    weight, where = np.array(calibration.weight), _where(calibration)
    size = lengths.design(np.array(lengths.estimated), where)[:, 1]
    left = calibration.gain_rows - calibration.gain_at(where)
    left = left - np.average(left, weights=weight)
    size = size - np.average(size, weights=weight)
    spread = float(weight @ size**2)
    slope = float(weight @ (size * left)) / spread if spread > 0 else 0.0
    noise = float(weight**2 @ (size * (left - slope * size)) ** 2) / spread**2 if spread > 0 else 0.0
    slope *= max(0.0, 1 - noise / slope**2) if slope else 0.0
    sizes = _sizes(lengths)
    added = slope * lengths.design(sizes, np.full(len(sizes), 0.5))[:, 1]
    return Table(tuple(sizes.astype(float).tolist()), tuple(added.tolist()))


def _rate(gain: Floats, costs: Mapping[Route, AnswerCost], sizes: NDArray[np.int64], where: Floats) -> float:
    """Return the median price of a unit of gain: the key of such a row is one half."""
    extra = costs["strong"].nano(sizes, where) - costs["weak"].nano(sizes, where)
    paid = (gain > 0) & (extra > 0)
    return float(np.median(extra[paid] / gain[paid])) if paid.any() else FALLBACK_RATE
