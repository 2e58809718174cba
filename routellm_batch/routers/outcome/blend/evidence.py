"""How much to trust each member of a pilot's blend: candidates compete on bootstrap samples of the pilot.

Scores of the members that learn are those of models which did not see the row. A candidate's part in the blend is the
part of the samples in which it recovers most: of candidates that the pilot can't tell apart each gets its share, and one
that the pilot clearly prefers gets all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routellm_batch.core.arrays import Floats
from routellm_batch.core.metrics import INTERVAL_90, Ranking, interval, resample
from routellm_batch.routers.outcome.blend.router import MEMBERS, Blend

SAMPLES = 200
BASELINES = ("length", "prior")
FITTED: Mapping[str, float] = {"heads": 0.5, "forest": 1, "knn": 0.5}
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
"""Weights of standardised members."""
TRUSTED = 0.1
"""Where candidates with a fitted member win a smaller part of the samples than this, the fitted ones are left out."""


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What the pilot says of its members."""

    blend: Blend
    """The weights that follow."""
    chosen: str
    """``fitted``, or a baseline's name."""
    quality: Mapping[str, float]
    """Part of the gain recovered over all shares (APGR) by the blend and by each baseline, on rows not seen."""
    interval: tuple[float, float]
    """90 % interval of the blend's."""
    shares: Mapping[str, float]
    """Part of the samples won by candidates with a fitted member, and by those without."""


def weigh(raw: Floats, gain: Floats, weight: Floats, available: Sequence[str], *, seed: int) -> Evidence:
    """Weigh the members.

    Args:
        raw: [N, M], the members' numbers for rows that they did not see.
        gain: [N], strong − weak; its weighted mean is positive.
        weight: [N], of each row.
        available: the members that there are.
        seed: of the samples.

    """
    mean, deviation = standards(raw)
    z = (raw - mean) / deviation
    usable = [c for c in CANDIDATES if set(c) <= set(available)]
    vectors = np.array([[c.get(name, 0.0) for name in MEMBERS] for c in usable])  # [C, M]
    columns = z @ vectors.T
    spread = columns.std(axis=0)
    vectors /= np.where(spread > 0, spread, 1)[:, None]  # Equal say for equal shares.
    won = _wins([Ranking(column) for column in columns.T], gain, weight, seed)
    own = np.array([bool(set(c) & set(FITTED)) for c in usable])
    fitted = float(won[own].sum())
    best = usable[int(np.argmax(np.where(own, -1, won)))]
    chosen = "fitted" if fitted >= TRUSTED else " and ".join(best)
    # Without the fitted members, the baselines share what they won.
    weights = (won if chosen == "fitted" else np.where(own, 0, won)) @ vectors
    blend = Blend(weights, mean, deviation)
    ranked = {"blend": Ranking(blend.combine(raw))}
    ranked |= {name: Ranking(raw[:, MEMBERS.index(name)]) for name in BASELINES if name in available}
    return Evidence(
        blend=blend,
        chosen=chosen,
        quality={name: ranking.apgr_full(gain, weight) for name, ranking in ranked.items()},
        interval=_interval(ranked["blend"], gain, weight, seed),
        shares={"fitted": fitted, "baselines": 1 - fitted},
    )


def levelled(scores: Floats, fold: NDArray[np.int64]) -> Floats:
    """Return out-of-fold scores [M, N] moved so that every fold has the mean of all.

    A model's level works against the labels held out from it: the better those are, the worse is what it saw. Pooled as
    they are, scores would rank the folds upside down, and foretell less than the router brings.
    """
    found, mean = scores.copy(), scores.mean(axis=1, keepdims=True)
    for number in np.unique(fold):
        here = fold == number
        found[:, here] += mean - scores[:, here].mean(axis=1, keepdims=True)
    return found


def best_of(scores: Sequence[Floats], gain: Floats, weight: Floats, *, seed: int) -> int:
    """Return which of some scores [N] recovers most in most samples."""
    return int(np.argmax(_wins([Ranking(one) for one in scores], gain, weight, seed)))


def standards(raw: Floats) -> tuple[Floats, Floats]:
    """Return mean and deviation of each member's numbers; 1 for one that never varies."""
    deviation = raw.std(axis=0)
    return raw.mean(axis=0), np.where(deviation > 1e-12, deviation, 1.0)


def _samples(size: int, weight: Floats, seed: int) -> Sequence[Floats]:
    return [weight * count for count in resample(size, seed=seed, replicates=SAMPLES)]


def _wins(rankings: Sequence[Ranking], gain: Floats, weight: Floats, seed: int) -> Floats:
    """Return the part of the samples in which each recovers most; [C], sum 1."""
    won = np.zeros(len(rankings))
    for count in _samples(len(gain), weight, seed):
        found = [_recovered(ranking, gain, count) for ranking in rankings]
        won[int(np.argmax(found))] += 1
    parts: Floats = won / won.sum()
    return parts


def _recovered(ranking: Ranking, gain: Floats, count: Floats) -> float:
    """Gain over all shares; unlike APGR it is there in a sample without a gap too."""
    rows, gained = ranking.curve(gain, count)
    return float(np.trapezoid(gained, rows))


def _interval(ranking: Ranking, gain: Floats, weight: Floats, seed: int) -> tuple[float, float]:
    found = [ranking.apgr_full(gain, count) for count in _samples(len(gain), weight, seed)]
    return interval(np.array(found), INTERVAL_90)
