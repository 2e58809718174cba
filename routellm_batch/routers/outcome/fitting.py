"""Fit the two heads of the outcome router, and choose their penalties and α on rows that they were not fitted on.

While training, each task has an intercept of its own: tasks are graded in different ways, and what a job needs is the
order of its own prompts. At the end the intercepts are averaged into one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from routellm_batch.core.arrays import Floats
from routellm_batch.routers.features import FEATURES
from routellm_batch.routers.heads import Heads, combine, spread, standardise
from routellm_batch.routers.outcome.logistic import fit_logistic
from routellm_batch.routers.training.held_out import Mask, quality, rounds
from routellm_batch.routers.training.rows import TrainingRows


@dataclass(frozen=True, slots=True)
class Penalties:
    """Strength of the Gaussian priors on the coefficients, in units of rows."""

    embedding: float
    """On the coefficients of unit-length embeddings."""
    features: float
    """On the coefficients of standardised surface features."""


EMBEDDING_PENALTIES = (1.0, 3.0, 10.0, 30.0)
FEATURE_PENALTIES = (30.0, 300.0)
ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)
FALLBACK, FALLBACK_ALPHA = Penalties(3.0, 300.0), 1.0
"""Taken where the rows held out have no gain to recover."""
INTERCEPT_PENALTY = 0.01


@dataclass(frozen=True, slots=True)
class Choice:
    """The hyper-parameters that were chosen, and what they were chosen from."""

    penalties: Penalties
    """The penalties."""
    alpha: float
    """α of the score."""
    quality: float
    """Part of the gain recovered, averaged over all shares, on the rows that chose it; NaN: there was none to recover."""
    candidates: int
    """How many were compared."""
    rows: int
    """How many rows chose it."""


def fit_heads(rows: TrainingRows, design: Floats, used: Mask, penalties: Penalties, alpha: float) -> Heads:
    """Return both heads, each a penalised logistic regression of one model's scores.

    Args:
        rows: all N rows.
        design: float64 [N, D + F], the design matrix: embeddings and raw surface features.
        used: bool [N], the rows to fit on.
        penalties: their strength.
        alpha: α of the score.

    """
    width = design.shape[1] - len(FEATURES)
    mean, scale = spread(design[used, width:])
    tasks, task = np.unique(np.array(rows.task)[used], return_inverse=True)
    intercepts = np.eye(len(tasks))[task]  # [N, tasks]
    X = np.hstack([standardise(design[used], mean, scale), intercepts])
    strengths = (penalties.embedding, penalties.features, INTERCEPT_PENALTY)
    penalty = np.repeat(strengths, (width, len(FEATURES), len(tasks)))
    weight = rows.weight[used]
    share = weight @ intercepts / weight.sum()  # [tasks]
    coefficients = [fit_logistic(X, target[used], weight, penalty) for target in (rows.strong, rows.weak)]
    columns = width + len(FEATURES)
    return Heads(
        weight=np.array([b[:columns] for b in coefficients]),
        bias=np.array([float(b[columns:] @ share) for b in coefficients]),
        mean=mean,
        scale=scale,
        alpha=alpha,
    )


def choose(rows: TrainingRows, design: Floats, *, seed: int) -> Choice:
    """Return the penalties and α with the best mean quality over ``held_out.rounds``; of equals, the stronger penalties.

    Args:
        rows: all N rows.
        design: float64 [N, D + F], the design matrix.
        seed: of the folds, where no row is marked as held out.

    """
    grid = [Penalties(e, f) for e, f in product(EMBEDDING_PENALTIES[::-1], FEATURE_PENALTIES[::-1])]
    ways = list(rounds(rows, seed))
    best = Choice(FALLBACK, FALLBACK_ALPHA, math.nan, len(grid) * len(ALPHAS), int(ways[0].tested.sum()))
    for penalties in grid:
        predicted = [_predict(rows, design, way.splits, penalties) for way in ways]
        for alpha in ALPHAS:
            scores = [combine(p, alpha) for p in predicted]
            mean = float(np.mean([quality(rows, s, way) for s, way in zip(scores, ways, strict=True)]))
            if mean > best.quality or (math.isnan(best.quality) and math.isfinite(mean)):
                best = replace(best, penalties=penalties, alpha=alpha, quality=mean)
    return best


def _predict(
    rows: TrainingRows, design: Floats, splits: Sequence[tuple[Mask, Mask]], penalties: Penalties
) -> Floats:
    """Return p_strong and p_weak, float64 [N, 2], of the rows that the splits test; zeros for the others."""
    probabilities = np.zeros((len(rows), 2))
    for fit_on, test_on in splits:
        heads = fit_heads(rows, design, fit_on, penalties, alpha=0)
        probabilities[test_on] = heads.probabilities(design[test_on])
    return probabilities
