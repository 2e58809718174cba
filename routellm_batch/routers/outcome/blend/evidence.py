"""Weigh the members of a pilot's blend: candidates compete on bootstrap samples of the pilot.

Scores of the members that learn come from models that did not see the row. A candidate's weight in the blend is the share
of the samples in which it recovers the most gain: candidates that the pilot can't tell apart share the blend, and one that
the pilot clearly prefers gets all of it. (Bagging of the choice, as Breiman, 1996, bags predictors.)
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from routellm_batch.core.arrays import Floats, Ints
from routellm_batch.core.metrics import INTERVAL_90, Ranking, interval, resample
from routellm_batch.routers.outcome.blend.router import MEMBERS, Blend

SAMPLES = 200
"""Bootstrap samples."""
BASELINES = ("length", "prior")
"""Members that need no labels."""
FITTED: Mapping[str, float] = {"heads": 0.5, "forest": 1, "knn": 0.5}
"""Member that learns → its weight in each candidate that uses it."""
CANDIDATES: tuple[Mapping[str, float], ...] = (
    FITTED,
    {**FITTED, "length": 0.5},
    {**FITTED, "prior": 0.5},
    {**FITTED, "length": 0.5, "prior": 0.5},
    {**FITTED, "length": 1, "prior": 1},
    {"length": 1},
    {"prior": 1},
    {"length": 1, "prior": 1},
)
"""The candidates: weights of standardised members."""
TRUSTED = 0.1
"""The fitted members are left out where candidates with them win a smaller share of the samples than this."""


@dataclass(frozen=True, slots=True)
class Contest:
    """The members of a blend, and the candidates that compete on a pilot."""

    members: Sequence[str]
    """Names of the members, in the order of their columns."""
    candidates: Sequence[Mapping[str, float]]
    """Weights of standardised members, as name → weight."""
    fitted: Collection[str]
    """Members that learn from the pilot."""
    baselines: Sequence[str]
    """Members that need none of its labels."""

    def without(self, name: str) -> Contest:
        """Return the contest in which a member takes no part; its column stays."""
        candidates = [candidate for candidate in self.candidates if name not in candidate]
        return replace(
            self, candidates=candidates, baselines=[other for other in self.baselines if other != name]
        )


PROMPTS = Contest(MEMBERS, CANDIDATES, FITTED, BASELINES)
"""The contest of the router that looks at prompts alone."""


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """The weights of the members, and the figures behind them."""

    blend: Blend
    """The members' weights and constants."""
    chosen: str
    """``fitted``, or a baseline's name."""
    quality: Mapping[str, float]
    """Part of the gain recovered over all shares (APGR) by the blend and by each baseline, on rows not seen."""
    interval: tuple[float, float]
    """90 % interval of the blend's."""
    shares: Mapping[str, float]
    """``fitted`` and ``baselines`` → share of the samples won by candidates with a fitted member, and without."""


def weigh(raw: Floats, gain: Floats, weight: Floats, contest: Contest, *, seed: int) -> Evidence:
    """Return the weights of the members.

    Args:
        raw: float64 [N, M], the members' numbers for rows that they did not see.
        gain: float64 [N], strong − weak; its weighted mean is positive.
        weight: float64 [N], of each row.
        contest: the members and candidates.
        seed: of the samples.

    """
    mean, deviation = standards(raw)
    z = (raw - mean) / deviation
    vectors = np.array([[c.get(name, 0.0) for name in contest.members] for c in contest.candidates])  # [C, M]
    columns = z @ vectors.T
    spread = columns.std(axis=0)
    vectors /= np.where(spread > 0, spread, 1)[:, None]  # Candidates with equal shares then count equally.
    won = _wins([Ranking(column) for column in columns.T], gain, weight, seed)
    own = np.array([not set(c).isdisjoint(contest.fitted) for c in contest.candidates])
    fitted = float(won[own].sum())
    best = contest.candidates[int(np.argmax(np.where(own, -1, won)))]
    chosen = "fitted" if fitted >= TRUSTED else " and ".join(best)
    # Without the fitted members, the baselines share what they won.
    weights = (won if chosen == "fitted" else np.where(own, 0, won)) @ vectors
    blend = Blend(weights, mean, deviation)
    ranked = {"blend": Ranking(blend.combine(raw))}
    ranked |= {name: Ranking(raw[:, contest.members.index(name)]) for name in contest.baselines}
    return Evidence(
        blend=blend,
        chosen=chosen,
        quality={name: ranking.apgr_full(gain, weight) for name, ranking in ranked.items()},
        interval=_interval(ranked["blend"], gain, weight, seed),
        shares={"fitted": fitted, "baselines": 1 - fitted},
    )


def levelled(scores: Floats, fold: Ints) -> Floats:
    """Return out-of-fold scores, float64 [M, N], shifted so that every fold has the mean of all rows.

    The level of a fold's scores moves against its labels: the better the rows that were held out, the worse the rows that
    the model saw. Pooled without this shift, the scores would rank whole folds in reverse, and the prediction would be below
    what the router achieves.

    Args:
        scores: float64 [M, N], of M models.
        fold: int64 [N], fold of each row.

    """
    level, mean = scores.copy(), scores.mean(axis=1, keepdims=True)
    for number in np.unique(fold):
        members = fold == number
        level[:, members] += mean - scores[:, members].mean(axis=1, keepdims=True)
    return level


def best_of(scores: Sequence[Floats], gain: Floats, weight: Floats, *, seed: int) -> int:
    """Return the index of the scores that recover most in most bootstrap samples.

    Args:
        scores: candidates, float64 [N] each.
        gain: float64 [N], strong − weak.
        weight: float64 [N], of each row.
        seed: of the samples.

    """
    return int(np.argmax(_wins([Ranking(one) for one in scores], gain, weight, seed)))


def standards(raw: Floats) -> tuple[Floats, Floats]:
    """Return mean and standard deviation of each column of [N, M], float64 [M] each; 1 for a constant column."""
    deviation = raw.std(axis=0)
    return raw.mean(axis=0), np.where(deviation > 1e-12, deviation, 1.0)


def _samples(size: int, weight: Floats, seed: int) -> Sequence[Floats]:
    return [weight * count for count in resample(size, seed=seed, replicates=SAMPLES)]


def _wins(rankings: Sequence[Ranking], gain: Floats, weight: Floats, seed: int) -> Floats:
    """Return the share of the samples in which each of C rankings recovers most, float64 [C], sum 1."""
    won = np.zeros(len(rankings))
    for count in _samples(len(gain), weight, seed):
        recovered = [_recovered(ranking, gain, count) for ranking in rankings]
        won[int(np.argmax(recovered))] += 1
    shares: Floats = won / won.sum()
    return shares


def _recovered(ranking: Ranking, gain: Floats, count: Floats) -> float:
    """Return the area under the gain curve; unlike APGR it is defined for a sample without any gain, too."""
    rows, gained = ranking.curve(gain, count)
    return float(np.trapezoid(gained, rows))


def _interval(ranking: Ranking, gain: Floats, weight: Floats, seed: int) -> tuple[float, float]:
    """Return the 90 % bootstrap interval of a ranking's APGR."""
    apgrs = [ranking.apgr_full(gain, count) for count in _samples(len(gain), weight, seed)]
    return interval(np.array(apgrs), INTERVAL_90)
