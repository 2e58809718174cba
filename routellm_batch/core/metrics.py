"""What a ranking of prompts is worth: PGR, APGR and CPT, as RouteLLM defines them, for any number of resamples at once.

A router gives each of N prompts a score; sending the share c with the highest scores to the strong model reaches some
mean quality q(c) between ``weak`` (c = 0) and ``strong`` (c = 1).

    PGR(c)  = (q(c) − weak) / (strong − weak)            performance gap recovered
    APGR    = ∫ PGR(c) dc over c in [0, 1]               its average; .5 for random, in expectation
    CPT(x)  = the least c with PGR(c) ≥ x                call-performance threshold

Source: Ong et al., RouteLLM, arXiv 2406.18665, §3.2. Figures named ``deciles`` follow its code (lm-sys/RouteLLM
@0b64fda, ``routellm/evals/evaluate.py``): eleven thresholds, the edges of the deciles of the scores themselves. The
others take every share. Where strong is not better than weak there is no gap to recover, and all are NaN.

Shapes: N rows, U distinct scores, R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from routellm_batch.core.arrays import Floats

REPLICATES = 1000
"""Resamples that an interval is read from."""
INTERVAL_95, INTERVAL_90 = (2.5, 97.5), (5.0, 95.0)
"""Percentiles of a 95 % and of a 90 % interval."""
_TENTHS = np.linspace(0, 1, 11)
EDGES = np.where(np.arange(11) - 10 * _TENTHS, np.nextafter(_TENTHS, 1), _TENTHS)
"""Quantiles of the deciles' edges, as ``pandas.qcut`` has them: the last bit can decide on which side a score is."""
SLACK = 1e-9
"""A level that is missed by no more of the gap counts as reached: sums of decimals such as 0.1 are not exact."""
CHUNK = 1 << 19
"""Counts in one chunk of resamples: few enough to stay in a processor's cache, enough for numpy to be quick."""


class Ranking:
    """N scores, sorted once, so that each figure of any gains and weights takes a few passes over them.

    Args:
        scores: [N], any finite numbers; rows with higher ones go to the strong model first.

    """

    def __init__(self, scores: NDArray[np.floating]) -> None:
        self._order = np.argsort(-scores.astype(np.float64), kind="stable")  # best first
        ranked = scores[self._order].astype(np.float64)
        new = np.concatenate([[True], ranked[1:] != ranked[:-1]])
        self._starts = np.flatnonzero(new)  # [U], where each distinct score begins
        self._values = ranked[self._starts]  # [U], descending

    def curve(self, gain: Floats, count: Floats | None = None) -> tuple[Floats, Floats]:
        """Return (rows sent strong, gain recovered) after each distinct score, both [U + 1], from none to all.

        Rows of equal score are taken together; between two points the expectation over their order is a straight line.

        Args:
            gain: [N], strong − weak of each row.
            count: [N], how often each row counts; once where it is left out.

        """
        curves = self._one(gain, count)
        return curves.rows[0], curves.gained[0]

    def curves(self, gain: Floats, counts: Floats) -> Curves:
        """Return the curve of each resample.

        Args:
            gain: [N], strong − weak of each row.
            counts: [R, N], how often each row is in each resample.

        """
        ranked = counts[:, self._order]  # [R, N]
        return Curves(self._running(ranked), self._running(ranked * gain[self._order]), self._values)

    def _running(self, ranked: Floats) -> Floats:
        """Return sums over the rows up to each distinct score, [R, N] → [R, U + 1]."""
        sums = np.zeros((len(ranked), len(self._starts) + 1))
        tied = len(self._starts) < ranked.shape[1]
        parts = np.add.reduceat(ranked, self._starts, axis=1) if tied else ranked
        np.cumsum(parts, axis=1, out=sums[:, 1:])
        return sums

    def apgr_full(self, gain: Floats, count: Floats | None = None) -> float:
        """Return APGR over every share, by trapezoids; ``gain`` [N] and ``count`` [N] as in ``curve``."""
        return float(self._one(gain, count).apgr_full()[0])

    def apgr_deciles(self, gain: Floats, count: Floats | None = None) -> float:
        """Return APGR as upstream: at the decile edges of the scores (tied edges dropped), by trapezoids."""
        return float(self._one(gain, count).apgr_deciles()[0])

    def cpt(self, gain: Floats, level: float) -> float:
        """Return CPT(level): the least percentage of rows sent strong that recovers ``level`` (0.5, 0.8 …) of the gap."""
        return float(self._one(gain, None).cpt(level)[0])

    def _one(self, gain: Floats, count: Floats | None) -> Curves:
        return self.curves(gain, np.ones((1, len(gain))) if count is None else count[None, :])


@dataclass(frozen=True, slots=True, eq=False)
class Curves:
    """Gain recovered by the rows sent strong, for R resamples of one ranking."""

    rows: Floats
    """[R, U + 1], rows sent strong after each distinct score, from none to all."""
    gained: Floats
    """[R, U + 1], the sum of these rows' gains."""
    values: Floats
    """[U], the distinct scores, descending."""

    def _where_gap(self, figures: Floats) -> Floats:
        """Return figures, [R] or [R, K], with NaN for the resamples that have no gap to recover."""
        gap = self.gained[:, -1] > 0
        kept: Floats = np.where(gap if figures.ndim == 1 else gap[:, None], figures, np.nan)
        return kept

    def apgr_full(self) -> Floats:
        """Return APGR over every share, [R]."""
        return self._average(self.rows, self.gained)

    def apgr_deciles(self) -> Floats:
        """Return APGR as upstream, at the decile edges of the scores, [R]."""
        return self._average(*self._decile_points())

    def _average(self, rows: Floats, gained: Floats) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            area = np.trapezoid(gained, rows, axis=1) / (self.rows[:, -1] * self.gained[:, -1])
        return self._where_gap(area)

    def _decile_points(self) -> tuple[Floats, Floats]:
        """Return (rows, gained) at upstream's thresholds, [R, 11] each, from none to all.

        Strong is score >= edge, and > for the highest edge. Tied edges count once; a single edge gives none and all.
        """
        edges = self._edges()  # [R, 11], ascending
        taken = len(self.values) - np.searchsorted(self.values[::-1], edges, side="left")
        at = np.where(edges == edges[:, -1:], 0, taken)
        at[:, 0] = taken[:, 0]
        at = at[:, ::-1]
        return np.take_along_axis(self.rows, at, axis=1), np.take_along_axis(self.gained, at, axis=1)

    def _edges(self) -> Floats:
        """Return the edges of the deciles, [R, 11], ascending, interpolated between neighbours as pandas does."""
        total = self.rows[:, -1:]  # [R, 1]
        position = (total - 1) * EDGES  # [R, 11]
        before = self.rows[:, :-1]  # [R, U], rows above each distinct score
        low = self.values[_each_search(before, total - np.floor(position)) - 1]
        high = self.values[_each_search(before, total - np.ceil(position)) - 1]
        part = position - np.floor(position)
        edges: Floats = np.where(part < 0.5, low + (high - low) * part, high - (high - low) * (1 - part))
        return edges

    def cpt(self, level: float | Floats) -> Floats:
        """Return CPT(level) in percent, [R]: the fewest whole rows that recover ``level`` (one, or [R]) of the gap.

        It is NaN too where no share recovers the level, as may be for one above 1.
        """
        wanted = (level - SLACK) * self.gained[:, -1]  # [R]
        reached = self.gained >= wanted[:, None]
        point = np.argmax(reached, axis=1)
        each, before = np.arange(len(point)), np.maximum(point - 1, 0)
        rows, gained = self.rows[each, before], self.gained[each, before]
        with np.errstate(divide="ignore", invalid="ignore"):
            per_row = (self.gained[each, point] - gained) / (self.rows[each, point] - rows)
            share = 100 * (rows + np.ceil((wanted - gained) / per_row)) / self.rows[:, -1]
        share = np.where(point == 0, 0.0, share)
        return self._where_gap(np.where(reached.any(axis=1), share, np.nan))

    def cpt_deciles(self, level: float) -> Floats:
        """Return CPT(level) in percent as upstream, [R]: ``np.interp`` between the decile points, even if they fall."""
        rows, gained = self._decile_points()
        shares = [np.interp(level * g[-1], g, 100 * r / r[-1]) for r, g in zip(rows, gained, strict=True)]
        return self._where_gap(np.array(shares))

    def pgr_at(self, shares: Floats) -> Floats:
        """Return PGR at strong shares [K], [R, K]: the gain recovered as a part of the gap."""
        with np.errstate(divide="ignore", invalid="ignore"):
            recovered = self._sum_at(shares) / self.gained[:, -1:]
        return self._where_gap(recovered)

    def mean_at(self, shares: Floats) -> Floats:
        """Return the gain recovered at strong shares [K] as a mean over all rows, [R, K]."""
        mean: Floats = self._sum_at(shares) / self.rows[:, -1:]
        return mean

    def _sum_at(self, shares: Floats) -> Floats:
        pairs = zip(self.rows, self.gained, strict=True)
        return np.stack([np.interp(shares * r[-1], r, g) for r, g in pairs])


def _each_search(ascending: Floats, wanted: Floats) -> NDArray[np.int64]:
    """Return ``np.searchsorted`` of each row's numbers [R, K] in that row [R, U]."""
    places = [np.searchsorted(a, w, side="left") for a, w in zip(ascending, wanted, strict=True)]
    return np.stack(places).astype(np.int64)


def pgr(quality: float, strong: float, weak: float) -> float:
    """Return the performance gap recovered by a mean quality; NaN where strong is not better than weak."""
    return (quality - weak) / (strong - weak) if strong > weak else math.nan


def resample(rows: int, *, seed: int, replicates: int = REPLICATES) -> Iterator[Floats]:
    """Yield bootstrap resamples of N rows, as counts [N] each; one seed gives the same resamples whatever is measured."""
    random = np.random.default_rng(seed)
    for _ in range(replicates):
        yield np.bincount(random.integers(0, rows, rows), minlength=rows).astype(np.float64)


def resamples(rows: int, *, seed: int, replicates: int = REPLICATES) -> Iterator[Floats]:
    """Yield what ``resample`` yields, in chunks [R, N]."""
    drawn = resample(rows, seed=seed, replicates=replicates)
    size = max(1, CHUNK // max(1, rows))
    while chunk := list(islice(drawn, size)):
        yield np.array(chunk)


def interval(draws: Floats, percentiles: tuple[float, float] = INTERVAL_95) -> tuple[float, float]:
    """Return the interval (lo, hi) of a figure by its resamples [R], between two percentiles; NaN where none has a gap."""
    known = draws[np.isfinite(draws)]
    if not len(known):
        return math.nan, math.nan
    lo, hi = np.percentile(known, percentiles)
    return float(lo), float(hi)


def apgr_interval(
    rankings: Sequence[Ranking], gain: Floats, *, seed: int, replicates: int = REPLICATES
) -> tuple[float, float]:
    """Return the 95 % interval of ``apgr_deciles`` by a bootstrap over questions.

    Args:
        rankings: one router's, or several draws of a random one, whose mean is then resampled.
        gain: [N], strong − weak of each row.
        seed: of the resampling; the same seed resamples the same rows, whatever the router.
        replicates: number of resamples.

    Returns:
        (lo, hi); NaN where no resample has a gap to recover.

    """
    draws = [
        np.mean([ranking.curves(gain, counts).apgr_deciles() for ranking in rankings], axis=0)
        for counts in resamples(len(gain), seed=seed, replicates=replicates)
    ]
    return interval(np.concatenate(draws))


def two_sided_p(differences: Floats) -> float:
    """Return the two-sided p of "no difference" by resamples [R] of a difference; NaN where none is finite.

    It is twice the part of them beyond 0, and 0 itself counts on both sides. One is added to both counts, so that R
    resamples never claim less than 2 / (R + 1).
    """
    known = differences[np.isfinite(differences)]
    if not len(known):
        return math.nan
    below, above = int((known <= 0).sum()), int((known >= 0).sum())
    return min(1.0, 2 * (1 + min(below, above)) / (1 + len(known)))
