"""What a ranking of prompts is worth: PGR, APGR and CPT, as RouteLLM defines them, with bootstrap intervals.

A router gives each of N prompts a score; sending the share c with the highest scores to the strong model reaches some
mean quality q(c) between ``weak`` (c = 0) and ``strong`` (c = 1).

    PGR(c)  = (q(c) − weak) / (strong − weak)            performance gap recovered
    APGR    = ∫ PGR(c) dc over c in [0, 1]               its average; .5 for random, in expectation
    CPT(x)  = the least c with PGR(c) ≥ x                call-performance threshold

Source: Ong et al., RouteLLM, arXiv 2406.18665, §3.2. ``apgr_deciles`` follows its code (lm-sys/RouteLLM @0b64fda,
``routellm/evals/evaluate.py``): eleven thresholds, the edges of the deciles of the scores themselves. ``apgr_full``
takes every share. Where strong is not better than weak there is no gap to recover, and all are NaN.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

REPLICATES = 1000
EDGES = np.linspace(0, 1, 11)
SLACK = 1e-9
"""A level counts as reached within so much of the gap: sums of decimals such as 0.1 are not exact."""


class Ranking:
    """N scores, sorted once; then each figure of any gains and weights is a few passes over them.

    Args:
        scores: [N], any finite numbers; higher = to the strong model first.

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
            count: [N], how often each row is there; once where it is left out.

        """
        count = np.ones(len(gain)) if count is None else count
        rows = np.add.reduceat(count[self._order], self._starts)
        gains = np.add.reduceat((count * gain)[self._order], self._starts)
        return np.concatenate([[0], np.cumsum(rows)]), np.concatenate([[0], np.cumsum(gains)])

    def apgr_full(self, gain: Floats, count: Floats | None = None) -> float:
        """APGR over every share, by trapezoids."""
        rows, gained = self.curve(gain, count)
        if not gained[-1] > 0:
            return math.nan
        return float(np.trapezoid(gained, rows) / (rows[-1] * gained[-1]))

    def apgr_deciles(self, gain: Floats, count: Floats | None = None) -> float:
        """APGR as upstream: at the decile edges of the scores (tied edges dropped), by trapezoids."""
        rows, gained = self.curve(gain, count)
        if not gained[-1] > 0:
            return math.nan
        edges = np.unique(self._quantiles(rows))
        # Strong is score >= edge, and > for the last one: 100 % … 0 %. One edge alone gives both ends.
        taken = len(self._values) - np.searchsorted(self._values[::-1], edges, side="left")  # ascending edge
        at = np.concatenate([[0], taken[-2::-1] if len(edges) > 1 else taken]).astype(np.int64)
        return float(np.trapezoid(gained[at], rows[at]) / (rows[-1] * gained[-1]))

    def _quantiles(self, rows: Floats) -> Floats:
        """Edges of the deciles, ascending, interpolated between neighbours as numpy and pandas do."""
        total = rows[-1]
        position = (total - 1) * EDGES
        ends = total - rows[:-1]  # Rows with a score of at most each distinct one: descending, as the values.
        ascending, values = ends[::-1], self._values[::-1]
        low = values[np.searchsorted(ascending, np.floor(position), side="right")]
        high = values[np.searchsorted(ascending, np.ceil(position), side="right")]
        part = position - np.floor(position)
        edges: Floats = np.where(part < 0.5, low + (high - low) * part, high - (high - low) * (1 - part))
        return edges

    def cpt(self, gain: Floats, level: float) -> float:
        """CPT(level): the least percentage of rows sent strong that recovers ``level`` (0.5, 0.8 …) of the gap."""
        rows, gained = self.curve(gain)
        if not gained[-1] > 0:
            return math.nan
        wanted = (level - SLACK) * gained[-1]
        point = int(np.argmax(gained >= wanted))
        if point == 0:
            return 0.0
        per_row = (gained[point] - gained[point - 1]) / (rows[point] - rows[point - 1])
        more = math.ceil((wanted - gained[point - 1]) / per_row)
        return float(100 * (rows[point - 1] + more) / rows[-1])


def pgr(quality: float, strong: float, weak: float) -> float:
    """Performance gap recovered by a mean quality; NaN where strong is not better than weak."""
    return (quality - weak) / (strong - weak) if strong > weak else math.nan


def apgr_interval(
    rankings: Sequence[Ranking], gain: Floats, *, seed: int, replicates: int = REPLICATES
) -> tuple[float, float]:
    """95 % interval of ``apgr_deciles`` by a bootstrap over questions, percentiles 2.5 and 97.5.

    Args:
        rankings: one router's, or several draws of a random one, whose mean is then resampled.
        gain: [N], strong − weak of each row.
        seed: of the resampling; the same seed resamples the same rows, whatever the router.
        replicates: how many resamples.

    Returns:
        (lo, hi); NaN where no resample has a gap to recover.

    """
    random = np.random.default_rng(seed)
    found: list[float] = []
    for _ in range(replicates):
        count = np.bincount(random.integers(0, len(gain), len(gain)), minlength=len(gain)).astype(np.float64)
        found.append(float(np.mean([ranking.apgr_deciles(gain, count) for ranking in rankings])))
    known = np.array(found)[np.isfinite(found)]
    if not len(known):
        return math.nan, math.nan
    lo, hi = np.percentile(known, [2.5, 97.5])
    return float(lo), float(hi)
