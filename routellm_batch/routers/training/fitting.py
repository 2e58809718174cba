"""Fitting the outcome router, and choosing its hyper-parameters on rows that it was not fitted on.

Each task has its own intercept while training: tasks are graded in different ways, and what a job needs is the order
of its own prompts. At the end they are averaged into one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from routellm_batch.core.arrays import Floats
from routellm_batch.core.metrics import Ranking
from routellm_batch.routers.features import FEATURES
from routellm_batch.routers.heads import Heads, combine, standardise
from routellm_batch.routers.training.logistic import fit_logistic
from routellm_batch.routers.training.rows import TrainingRows


@dataclass(frozen=True, slots=True)
class Penalties:
    """Strength of the Gaussian priors, in units of rows."""

    embedding: float
    """On the coefficients of unit-length embeddings."""
    features: float
    """On the coefficients of standardised surface features."""


EMBEDDING_PENALTIES = (1.0, 3.0, 10.0, 30.0)
FEATURE_PENALTIES = (30.0, 300.0)
ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)
FALLBACK, FALLBACK_ALPHA = Penalties(3.0, 300.0), 1.0
"""Where the rows held out have nothing to recover."""
INTERCEPT_PENALTY = 0.01
FOLDS = 5

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen, and what it was chosen from."""

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


def fit_heads(rows: TrainingRows, described: Floats, used: Mask, penalties: Penalties, alpha: float) -> Heads:
    """Fit both heads on some rows.

    Args:
        rows: all rows.
        described: [N, D + F], embeddings and raw surface features of all rows.
        used: [N], the rows to fit on.
        penalties: their strength.
        alpha: α of the score.

    """
    width = described.shape[1] - len(FEATURES)
    features = described[used, width:]
    mean, scale = features.mean(axis=0), features.std(axis=0)
    scale = np.where(scale > 1e-6, scale, 1.0)  # A feature that never varies says nothing; don't blow it up.
    tasks, task = np.unique(np.array(rows.task)[used], return_inverse=True)
    own = np.eye(len(tasks))[task]  # [N, tasks]
    X = np.hstack([standardise(described[used], mean, scale), own])
    strengths = (penalties.embedding, penalties.features, INTERCEPT_PENALTY)
    penalty = np.repeat(strengths, (width, len(FEATURES), len(tasks)))
    weight = rows.weight[used]
    share = weight @ own / weight.sum()  # [tasks]
    fitted = [fit_logistic(X, target[used], weight, penalty) for target in (rows.strong, rows.weak)]
    columns = width + len(FEATURES)
    return Heads(
        weight=np.array([b[:columns] for b in fitted]),
        bias=np.array([float(b[columns:] @ share) for b in fitted]),
        mean=mean,
        scale=scale,
        alpha=alpha,
    )


def choose(rows: TrainingRows, described: Floats, *, seed: int) -> Choice:
    """Choose penalties and α by the gain recovered on rows held out; of equals, the one with stronger penalties.

    The rows held out are those marked so, or five folds of distinct prompts where none are. Where there are several
    tasks, marked rows are scored a second time with their task left out of training, and each task is ranked by itself:
    what carries over to a new kind of prompt counts as much as what fits the known ones.

    Args:
        rows: all rows.
        described: [N, D + F].
        seed: of the folds.

    """
    grid = [Penalties(e, f) for e, f in product(EMBEDDING_PENALTIES[::-1], FEATURE_PENALTIES[::-1])]
    ways = list(rounds(rows, seed))
    best = Choice(FALLBACK, FALLBACK_ALPHA, math.nan, len(grid) * len(ALPHAS), int(ways[0].tested.sum()))
    for penalties in grid:
        predicted = [_predict(rows, described, a_round.splits, penalties) for a_round in ways]
        for alpha in ALPHAS:
            scores = [combine(p, alpha) for p in predicted]
            found = float(np.mean([quality(rows, s, r) for s, r in zip(scores, ways, strict=True)]))
            if found > best.quality or (math.isnan(best.quality) and math.isfinite(found)):
                best = replace(best, penalties=penalties, alpha=alpha, quality=found)
    return best


@dataclass(frozen=True, slots=True, eq=False)
class Round:
    """One way of scoring rows held out."""

    splits: Sequence[tuple[Mask, Mask]]
    """Pairs of (fitted on, tested on)."""
    ranked: NDArray[np.int64]
    """[N], rows of one number are ranked together."""

    @property
    def tested(self) -> Mask:
        """[N], the rows that any split tests."""
        either: Mask = np.logical_or.reduce([tested for _, tested in self.splits])
        return either


def rounds(rows: TrainingRows, seed: int) -> Iterator[Round]:
    """Yield the ways of scoring rows held out, as ``choose`` has them."""
    if not rows.held_out.any():
        yield Round(_folds(rows, seed), rows.file)
        return
    yield Round([(~rows.held_out, rows.held_out)], rows.file)
    names, task = np.unique(np.array(rows.task), return_inverse=True)
    if len(names) > 1:
        tested = np.unique(task[rows.held_out])
        yield Round([(~rows.held_out & (task != t), rows.held_out & (task == t)) for t in tested], task)


def _folds(rows: TrainingRows, seed: int) -> list[tuple[Mask, Mask]]:
    """Five folds; rows of one prompt fall into one fold."""
    _, prompt = np.unique(np.array(rows.prompts, dtype=object), return_inverse=True)
    fold = np.random.default_rng(seed).permutation(int(prompt.max()) + 1)[prompt] % FOLDS
    return [(fold != number, fold == number) for number in range(FOLDS)]


def _predict(
    rows: TrainingRows, described: Floats, splits: Sequence[tuple[Mask, Mask]], penalties: Penalties
) -> Floats:
    """Return p_strong and p_weak, [N, 2], of the rows that the splits test."""
    found = np.zeros((len(rows), 2))
    for fitted_on, tested_on in splits:
        heads = fit_heads(rows, described, fitted_on, penalties, alpha=0)
        found[tested_on] = heads.probabilities(described[tested_on])
    return found


def quality(rows: TrainingRows, scores: Floats, a_round: Round) -> float:
    """Gain recovered over all shares, as a part of all there is to gain: APGR with groups weighted by their gain."""
    gain, tested = rows.strong - rows.weak, a_round.tested
    recovered = total = 0.0
    for group in np.unique(a_round.ranked[tested]):
        mine = tested & (a_round.ranked == group)
        count, gained = Ranking(scores[mine]).curve(gain[mine] * rows.weight[mine])
        recovered += float(np.trapezoid(gained, count) / count[-1])
        total += float(gained[-1])
    return recovered / total if total > 0 else math.nan
