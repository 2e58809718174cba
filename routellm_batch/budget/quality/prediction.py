"""Predicted quality of a plan, with intervals, and the cheapest plan that keeps a promised part of the gain. Pure.

Intervals come from a bootstrap over the pilot's rows, each resample ranked anew: one resample gives the quality at
every share, so strong, weak and routed quality are paired. A job's own rows are a sample too: their mean scatters about
the truth, so deviations are stretched by √(1 + pilot rows / rows to come).

A target is held by testing shares one after another from all strong downwards, each by its own lower bound, and
stopping at the first that fails (fixed-sequence testing). The share chosen is wrong only if the first share that misses
the target in truth was let through, and that has a probability of at most 1 − confidence, however many are tried.

Resampling can't show a row that the pilot happened not to have. So every bound counts one row more than was seen, lost or
won, as Clopper and Pearson's does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from routellm_batch.budget.quality.calibration import Calibration, shares_checked
from routellm_batch.core.arrays import Floats
from routellm_batch.core.metrics import Ranking, resample

REPLICATES = 1000
"""Resamples that intervals are read from."""
WIDER = 1.1
"""Factor on deviations: resampling ranks by the one router that there is, and other labels would have given another.
Chosen on pilots of MMLU-Pro and llmrouter rows."""
STEPS = 400
"""Steps between the shares at which a target is tried: a quarter of a percent each."""
SLACK = 1e-9
"""A bound that is missed by no more counts as reached: sums of decimals are not exact."""


@dataclass(frozen=True, slots=True)
class Quality:
    """What a strong share should bring, with its interval."""

    share: float
    """Strong share of the rows."""
    mean: float
    """Mean grade of the job, in the grader's unit."""
    lo: float
    """Lower bound of the mean."""
    hi: float
    """Upper bound of the mean."""
    pgr: float | None
    """Part of the gap between weak and strong that is recovered; None where there is no gap."""
    pgr_lo: float | None
    """Its lower bound; None where not even the sign of the gap is certain enough."""
    pgr_hi: float | None
    """Its upper bound; None as for the lower one."""


@dataclass(frozen=True, slots=True)
class RecoverChoice:
    """The least strong share that holds a target, or why there is none."""

    target: float
    """PGR that was asked for."""
    confidence: float
    """Probability with which the target is to be held."""
    share: float | None
    """Strong share; None where no share holds the target."""
    pgr: float | None
    """Predicted PGR at that share, or at all strong where none holds."""
    bound: float | None
    """Its lower bound; None where it is not certain that there is any gap."""
    gap_lo: float
    """Lower bound of the gap, at the same confidence."""
    best: float
    """The greatest target that any share can hold; 0 where none."""
    lost: float | None = None
    """Share of the rows, sent weak, where strong was right and weak wrong; None where grades are not 0 or 1."""
    lost_hi: float | None = None
    """Upper bound of ``lost`` by Clopper and Pearson."""


@dataclass(frozen=True, slots=True, eq=False)
class _Curves:
    """Figures of S shares: of the pilot itself, and of R resamples of it."""

    mean: Floats
    """[S], quality by the pilot."""
    pgr: Floats
    """[S], PGR by the pilot; NaN without a gap."""
    means: Floats
    """[R, S], quality by its resamples."""
    pgrs: Floats
    """[R, S], PGR by its resamples; −inf where one has no gap."""
    gap: float
    """Mean gain of the pilot."""
    gaps: Floats
    """[R], mean gains of its resamples."""
    stretch: float
    """Factor on deviations."""

    def lower(self, at: Floats, draws: Floats, level: float) -> Floats:
        """Return lower bounds [S] of figures [S] by their resamples [R, S]; each holds with probability ``level``."""
        return self._stretched(at, np.quantile(draws, 1 - level, axis=0, method="lower"))

    def upper(self, at: Floats, draws: Floats, level: float) -> Floats:
        """Return upper bounds [S], as ``lower`` does."""
        return self._stretched(at, np.quantile(draws, level, axis=0, method="higher"))

    def _stretched(self, at: Floats, quantile: Floats) -> Floats:
        bounds: Floats = at + self.stretch * (quantile - at)
        return bounds


def predict(
    calibration: Calibration,
    shares: Sequence[float],
    *,
    confidence: float = 0.9,
    order: Floats | None = None,
    rest: int | None = None,
) -> list[Quality]:
    """Return the predicted quality at some strong shares.

    Args:
        calibration: of the pilot.
        shares: each in [0, 1].
        confidence: of the two-sided intervals.
        order: [N], values that the pilot's rows are ranked by; their scores where left out.
        rest: rows that are still to be answered; any number where left out.

    Raises:
        ValueError: a share is not in [0, 1].

    """
    ranked = np.array(calibration.scores) if order is None else order
    curves = _curves(calibration, ranked, shares_checked(shares), rest)
    level, row, part = (1 + confidence) / 2, _one_row(calibration), _one_part(calibration, shares)
    columns = [
        curves.mean,
        curves.lower(curves.mean, curves.means, level) - row,
        curves.upper(curves.mean, curves.means, level) + row,
        curves.pgr,
        curves.lower(curves.pgr, curves.pgrs, level) - part,
        curves.upper(curves.pgr, np.where(np.isfinite(curves.pgrs), curves.pgrs, np.inf), level) + part,
    ]
    return [
        Quality(float(share), *map(float, row[:3]), *map(_known, row[3:]))
        for share, row in zip(shares, np.transpose(columns), strict=True)
    ]


def predict_random(
    calibration: Calibration, shares: Sequence[float], *, rest: int | None = None
) -> list[Quality]:
    """Return the predicted quality where these shares of the rows are sent to the strong model at random.

    Args:
        calibration: of the pilot.
        shares: each in [0, 1].
        rest: as in ``predict``.

    Raises:
        ValueError: a share is not in [0, 1].

    """
    tied = np.zeros(len(calibration))  # Of tied rows a share is taken in expectation.
    return predict(calibration, shares, order=tied, rest=rest)


def stretch(calibration: Calibration, rest: int | None) -> float:
    """Return the factor by which intervals widen for a finite number of remaining rows; 1 for any number of them."""
    return math.sqrt(1 + (calibration.effective_rows / rest if rest else 0))


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _curves(calibration: Calibration, order: Floats, shares: Floats, rest: int | None) -> _Curves:
    """Resample the pilot's rows, and read every resample off at the shares."""
    gain, weight, weak = calibration.gain_rows, np.array(calibration.weight), np.array(calibration.weak)
    ranking, rows = Ranking(order), len(gain)
    means, recovered, gaps = [], [], []
    for count in (np.ones(rows), *resample(rows, seed=calibration.seed, replicates=REPLICATES)):
        mass = count * weight
        above, gained = ranking.curve(gain, mass)
        got = np.interp(shares * above[-1], above, gained)
        means.append(float(mass @ weak) / above[-1] + got / above[-1])
        gaps.append(gained[-1] / above[-1])
        recovered.append(got / gained[-1] if gained[-1] > 0 else np.full(len(shares), -np.inf))
    pgr = recovered[0] if gaps[0] > 0 else np.full(len(shares), np.nan)
    return _Curves(
        mean=means[0],
        pgr=pgr,
        means=np.array(means[1:]),
        pgrs=np.array(recovered[1:]),
        gap=gaps[0],
        gaps=np.array(gaps[1:]),
        stretch=WIDER * stretch(calibration, rest),
    )


def recover_share(
    calibration: Calibration,
    target: float,
    confidence: float,
    *,
    order: Floats | None = None,
    rest: int | None = None,
) -> RecoverChoice:
    """Choose the least strong share that keeps ``target`` of the gap with probability ``confidence``.

    Args:
        calibration: of the pilot.
        target: PGR to be held, in (0, 1].
        confidence: of the one-sided bounds.
        order: as in ``predict``.
        rest: as in ``predict``.

    """
    ranked = np.array(calibration.scores) if order is None else order
    shares = np.linspace(1, 0, STEPS + 1)  # Tried from all strong downwards.
    curves = _curves(calibration, ranked, shares, rest)
    gap_lo = float(curves.lower(np.array(curves.gap), curves.gaps, confidence))
    bounds = curves.lower(curves.pgr, curves.pgrs, confidence) - _one_part(calibration, shares)
    sound = np.isfinite(bounds) & (gap_lo > 0)
    held = sound & (bounds >= target - SLACK)
    best = float(bounds[sound].max()) if sound.any() else 0.0
    at = (len(held) if held.all() else int(np.argmin(held))) - 1  # The last one before the first that fails.
    if at < 0:
        pgr, bound = _known(float(curves.pgr[0])), _known(float(bounds[0]))
        return RecoverChoice(target, confidence, None, pgr, bound, gap_lo, max(0.0, best))
    share = float(shares[at])
    lost, lost_hi = _lost(calibration, ranked, share, confidence)
    pgr, bound = float(curves.pgr[at]), float(bounds[at])
    return RecoverChoice(target, confidence, share, pgr, bound, gap_lo, best, lost, lost_hi)


def _one_row(calibration: Calibration) -> float:
    """Return what one row on which the strong model wins adds to the mean grade of the pilot."""
    gain = calibration.gain_rows
    return float(gain[gain > 0].mean() / calibration.effective_rows) if (gain > 0).any() else 0.0


def _one_part(calibration: Calibration, shares: Sequence[float] | Floats) -> Floats:
    """Return ``_one_row`` as a part of the gap, [S]; 0 where no row or every row is strong, as PGR is certain there."""
    inside = (np.asarray(shares) > 0) & (np.asarray(shares) < 1)
    part = _one_row(calibration) / calibration.gap if calibration.gap > 0 else 0.0
    return inside.astype(np.float64) * part


def _lost(
    calibration: Calibration, order: Floats, share: float, confidence: float
) -> tuple[float | None, float | None]:
    """Return the rate of rows that lose by being sent weak, and its upper bound; None for other grades than 0 and 1."""
    grades = np.array([calibration.strong, calibration.weak])
    if not np.isin(grades, (0, 1)).all():
        return None, None
    weight = np.array(calibration.weight)
    place = np.argsort(-order, kind="stable")
    above = np.cumsum(weight[place]) - weight[place] / 2
    weak = np.zeros(len(order), dtype=bool)
    weak[place] = above > share * weight.sum()
    rate = float(weight @ (weak & (calibration.gain_rows > 0)) / weight.sum())
    rows = math.floor(calibration.effective_rows)
    return rate, clopper_pearson(math.ceil(rate * rows - SLACK), rows, confidence)


def clopper_pearson(hits: int, rows: int, confidence: float) -> float:
    """Return the one-sided upper bound of a rate of which ``hits`` of ``rows`` were seen; it holds with ``confidence``.

    It is exact: Clopper and Pearson, The use of confidence or fiducial limits, Biometrika 26 (1934).
    """
    from scipy.special import betaincinv

    return 1.0 if hits >= rows else float(betaincinv(hits + 1, rows - hits, confidence))
