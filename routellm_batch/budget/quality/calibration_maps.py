"""Monotone maps from a row's position among the scores to its expected gain. Pure.

Two kinds: *isotonic* (any rising shape, in steps) and *platt* (one sigmoid, for which a few dozen labels suffice).
Which of them predicts held-out gains better is measured by folds within the labels.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from routellm_batch.core.arrays import Floats

Kind = Literal["isotonic", "platt", "constant"]

FOLDS = 5
"""Parts that labels are split into, each held out once."""
ROUNDS = 4
"""Times that labels are split into folds, each time in another way."""
ISOTONIC_ROWS = 100
"""Fewer labels are too few for a free shape."""
PLATT_PRIOR = (0.01, 0.1)
"""Strength of the Gaussian priors on the sigmoid's level and slope, in rows."""
NEWTON_STEPS = 50


def isotonic(values: Floats, weight: Floats) -> Floats:
    """Return the rising sequence [N] with the least weighted squared distance to ``values`` [N], in their order.

    Pools adjacent violators (Barlow et al., Statistical Inference under Order Restrictions, 1972). Kept here beside
    scikit-learn's ``IsotonicRegression``, which a test compares it with: a plan's table of gains is made of these bits,
    and another version of a library must not move a row from one route to the other when a run is resumed.
    """
    sums, weights, sizes = list[float](), list[float](), list[int]()
    for value, mass in zip(values.tolist(), weight.tolist(), strict=True):
        total, heavy, size = value * mass, mass, 1
        while sums and sums[-1] * heavy >= total * weights[-1]:
            total, heavy, size = total + sums.pop(), heavy + weights.pop(), size + sizes.pop()
        sums.append(total)
        weights.append(heavy)
        sizes.append(size)
    means = [total / heavy for total, heavy in zip(sums, weights, strict=True)]
    return np.repeat(means, sizes)


def positions(scores: Floats, weight: Floats) -> Floats:
    """Return the position [N] of each score [N] among all, 0 (lowest) to 1.

    It is the part of the weight [N] that lies below the score, and half of the weight that has the same score.
    """
    _, at = np.unique(scores, return_inverse=True)
    mass = np.bincount(at, weights=weight)
    middle = np.cumsum(mass) - mass / 2
    placed: Floats = (middle / mass.sum())[at]
    return placed


def fit_map(kind: Kind, where: Floats, gain: Floats, weight: Floats, grid: Floats) -> Floats:
    """Return the expected gain at positions ``grid`` [G], as fitted to labelled rows.

    Args:
        kind: of the map.
        where: [N], positions of the labelled rows.
        gain: [N], strong − weak.
        weight: [N], each positive.
        grid: [G], rising.

    """
    if kind == "constant":
        return np.full(len(grid), np.average(gain, weights=weight))
    if kind == "platt":
        return _platt(where, gain, weight, grid)
    spots, at = np.unique(where, return_inverse=True)
    mass = np.asarray(np.bincount(at, weights=weight), dtype=np.float64)
    means = np.asarray(np.bincount(at, weights=weight * gain), dtype=np.float64) / mass
    return np.interp(grid, spots, isotonic(means, mass))


def _platt(where: Floats, gain: Floats, weight: Floats, grid: Floats) -> Floats:
    """Fit one sigmoid between the least and the greatest gain that the grades allow."""
    top = float(np.abs(gain).max())
    if top == 0:
        return np.zeros(len(grid))
    target = (gain / top + 1) / 2  # [N] in [0, 1]
    level, slope = _newton(where - 0.5, target, weight)
    if slope < 0:  # No map falls: a ranking that runs backwards is no ranking.
        return np.full(len(grid), np.average(gain, weights=weight))
    gains: Floats = top * np.tanh((level + slope * (grid - 0.5)) / 2)
    return gains


def _newton(x: Floats, target: Floats, weight: Floats) -> tuple[float, float]:
    """Return level and slope of a logistic regression on one column, with targets in [0, 1].

    By hand for the same reason as ``isotonic``, and as scikit-learn's takes no fractional targets.
    """
    X = np.column_stack([np.ones(len(x)), x])
    prior, beta = np.array(PLATT_PRIOR), np.zeros(2)
    for _ in range(NEWTON_STEPS):
        p = 0.5 * (1 + np.tanh(X @ beta / 2))
        curvature = (X * (weight * p * (1 - p))[:, None]).T @ X + np.diag(prior)
        step = np.clip(np.linalg.solve(curvature, X.T @ (weight * (target - p)) - prior * beta), -2, 2)
        beta = beta + step
        if float(np.abs(step).max()) < 1e-9:
            break
    return float(beta[0]), float(beta[1])


def choose_kind(where: Floats, gain: Floats, weight: Floats, *, seed: int) -> Kind:
    """Return the kind with the lesser squared error on held-out labels; platt where labels are few or the kinds tie.

    Args:
        where: [N], positions of the labelled rows.
        gain: [N], strong − weak.
        weight: [N], each positive.
        seed: of the folds.

    """
    if float(np.ptp(where)) == 0:
        return "constant"
    if len(where) < ISOTONIC_ROWS:
        return "platt"
    random = np.random.default_rng(seed)
    error: dict[Kind, float] = {"platt": 0.0, "isotonic": 0.0}
    for _ in range(ROUNDS):
        fold = random.permutation(len(where)) % FOLDS
        for number in range(FOLDS):
            kept, out = fold != number, fold == number
            order = np.argsort(where[out])
            for kind in error:
                predicted = fit_map(kind, where[kept], gain[kept], weight[kept], where[out][order])
                error[kind] += float(weight[out][order] @ (predicted - gain[out][order]) ** 2)
    return "isotonic" if error["isotonic"] < error["platt"] else "platt"
