"""Fitting the outcome router, and choosing its hyper-parameters on rows that it was not fitted on.

Each file has its own intercept while training: files are graded in different ways, and what a job needs is the order
within it. At the end they are averaged into one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from routellm_batch.metrics import Ranking
from routellm_batch.routers.features import FEATURES
from routellm_batch.routers.heads import Heads, combine, standardise
from routellm_batch.training.logistic import fit_logistic
from routellm_batch.training.rows import TrainingRows

EMBEDDING_PENALTIES = (0.3, 1.0, 3.0, 10.0)
FEATURE_PENALTIES = (30.0, 300.0)
ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)
INTERCEPT_PENALTY = 0.01
FOLDS = 5

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Penalties:
    """Strength of the Gaussian priors, in units of rows."""

    embedding: float
    """On the coefficients of unit-length embeddings."""
    features: float
    """On the coefficients of standardised surface features."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen, and what it was chosen from."""

    penalties: Penalties
    """The penalties."""
    alpha: float
    """α of the score."""
    apgr: float
    """Full-curve APGR on the rows that chose it."""
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
    files = np.unique(rows.file[used])
    own = (rows.file[used, None] == files).astype(np.float64)  # [N, files]
    X = np.hstack([standardise(described[used], mean, scale), own])
    strengths = (penalties.embedding, penalties.features, INTERCEPT_PENALTY)
    penalty = np.repeat(strengths, (width, len(FEATURES), len(files)))
    weight = rows.weight[used]
    share = weight @ own / weight.sum()  # [files]
    fitted = [fit_logistic(X, target[used], weight, penalty) for target in (rows.strong, rows.weak)]
    columns = width + len(FEATURES)
    return Heads(
        weight=np.array([b[:columns] for b in fitted]),
        bias=np.array([float(b[columns:] @ share) for b in fitted]),
        mean=mean,
        scale=scale,
        alpha=alpha,
    )


def choose(rows: TrainingRows, described: Floats, *, seed: int, by_category: bool = False) -> Choice:
    """Choose penalties and α by the full-curve APGR on rows held out; ties go to the stronger penalty.

    The rows held out are those marked so, or five folds of distinct prompts where none are. ``by_category`` scores the
    marked rows a second time with their category left out of training, so that what carries over to a new kind of
    prompt counts as much as what fits the known ones.

    Args:
        rows: all rows.
        described: [N, D + F].
        seed: of the folds.
        by_category: leave categories out, too.

    """
    rounds = list(_rounds(rows, seed, by_category=by_category))
    best: Choice | None = None
    grid = [Penalties(e, f) for e, f in product(sorted(EMBEDDING_PENALTIES)[::-1], sorted(FEATURE_PENALTIES)[::-1])]
    for penalties in grid:
        predicted = [_predict(rows, described, splits, penalties) for splits in rounds]
        for alpha in ALPHAS:
            found = [_quality(rows, combine(p, alpha), tested) for p, tested in predicted]
            apgr = float(np.mean(found))
            if best is None or apgr > best.apgr:
                tested_rows = int(predicted[0][1].sum())
                best = Choice(penalties, alpha, apgr, len(grid) * len(ALPHAS), tested_rows)
    if best is None or not np.isfinite(best.apgr):
        # Nothing to recover on any row held out: fall back on the middle of the grid.
        return Choice(Penalties(1.0, 30.0), 0.5, float("nan"), 0, 0)
    return best


Splits = Sequence[tuple[Mask, Mask]]
"""Pairs of (fitted on, tested on); the tested rows of all pairs are ranked together."""


def _rounds(rows: TrainingRows, seed: int, *, by_category: bool) -> Iterator[Splits]:
    if not rows.held_out.any():
        yield _folds(rows, seed)
        return
    yield [(~rows.held_out, rows.held_out)]
    if by_category:
        kinds = np.array([f"{file} {name}" for file, name in zip(rows.file, rows.category, strict=True)])
        tested = sorted(set(kinds[rows.held_out]))
        yield [(~rows.held_out & (kinds != kind), rows.held_out & (kinds == kind)) for kind in tested]


def _folds(rows: TrainingRows, seed: int) -> Splits:
    """Five folds; rows of one prompt fall into one fold."""
    _, prompt = np.unique(np.array(rows.prompts, dtype=object), return_inverse=True)
    fold = np.random.default_rng(seed).permutation(int(prompt.max()) + 1)[prompt] % FOLDS
    return [(fold != number, fold == number) for number in range(FOLDS)]


def _predict(rows: TrainingRows, described: Floats, splits: Splits, penalties: Penalties) -> tuple[Floats, Mask]:
    """Return p_strong and p_weak of the tested rows, in the order of the data, and which those are."""
    found = np.zeros((len(rows), 2))
    tested = np.zeros(len(rows), dtype=np.bool_)
    for fitted_on, tested_on in splits:
        if fitted_on.any() and tested_on.any():
            heads = fit_heads(rows, described, fitted_on, penalties, alpha=0)
            found[tested_on] = heads.probabilities(described[tested_on])
            tested |= tested_on
    return found[tested], tested


def _quality(rows: TrainingRows, scores: Floats, tested: Mask) -> float:
    """Full-curve APGR on the tested rows of each file, weighted by their number and weight; .5 where there is no gap."""
    gain, file, weight = (rows.strong - rows.weak)[tested], rows.file[tested], rows.weight[tested]
    total = 0.0
    for number in np.unique(file):
        mine = file == number
        apgr = Ranking(scores[mine]).apgr_full(gain[mine])
        total += float(weight[mine].sum()) * (apgr if np.isfinite(apgr) else 0.5)
    return total / float(weight.sum())
