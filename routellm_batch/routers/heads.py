"""Two logistic heads and the arithmetic on them: the weights of the outcome router, and ``sigmoid``, which others use."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from routellm_batch.core.arrays import Floats

CLIP = 3.0
"""Standardised features are clipped to this many standard deviations, so that an odd prompt gets no extreme score."""
LEAST_SPREAD = 1e-6
"""A column with a smaller standard deviation counts as constant."""


@dataclass(frozen=True, slots=True, eq=False)
class Heads:
    """Two logistic heads on D embedding columns and F surface features."""

    weight: Floats
    """[2, D + F]; row 0 is the strong model, row 1 the weak one."""
    bias: Floats
    """[2], log-odds."""
    mean: Floats
    """[F], subtracted from the features."""
    scale: Floats
    """[F], positive; the features are then divided by it."""
    alpha: float
    """Weight of p_strong in the score; ≥ 0."""

    def probabilities(self, design: Floats) -> Floats:
        """Return p_strong and p_weak, float64 [B, 2] in [0, 1], for a design matrix [B, D + F]."""
        z = standardise(design, self.mean, self.scale) @ self.weight.T + self.bias  # [B, 2]
        return sigmoid(z)

    def score(self, design: Floats) -> Floats:
        """Return (α · p_strong − p_weak + 1) / (1 + α), float64 [B] in [0, 1], for a design matrix [B, D + F]."""
        return combine(self.probabilities(design), self.alpha)


@dataclass(frozen=True, slots=True)
class Lean:
    """How far scores lean towards long questions: length needs no training, so no training set can overfit it."""

    weight: float
    """Weight of the standardised log length of the question, beside a standardised score of weight 1."""
    mean: float
    """Mean of the heads' scores on training prompts."""
    deviation: float
    """Standard deviation of the same; positive."""

    def apply(self, scores: Floats, length: Floats) -> Floats:
        """Return σ((score − mean) / deviation + weight · length), float64 [B] in [0, 1].

        Args:
            scores: float64 [B], of the heads.
            length: float64 [B], standardised log lengths.

        """
        return sigmoid((scores - self.mean) / self.deviation + self.weight * length)

    def fields(self) -> dict[str, float]:
        """Return the three numbers as a manifest holds them."""
        return asdict(self)

    @classmethod
    def of(cls, fields: Mapping[str, Any] | None) -> Self | None:
        """Return the ``Lean`` of a manifest's fields; None for None.

        Raises:
            KeyError: a number is missing.
            TypeError: ``fields`` is no mapping of numbers.
            ValueError: a number is not finite, or the deviation is not positive.

        """
        if fields is None:
            return None
        lean = cls(*(float(fields[name]) for name in ("weight", "mean", "deviation")))
        if not all(map(math.isfinite, (lean.weight, lean.mean))) or not 0 < lean.deviation < math.inf:
            raise ValueError
        return lean


def combine(probabilities: Floats, alpha: float) -> Floats:
    """Return the scores (α · p_strong − p_weak + 1) / (1 + α), float64 [B] in [0, 1].

    Args:
        probabilities: float64 [B, 2], p_strong and p_weak.
        alpha: α, ≥ 0.

    """
    return (alpha * probabilities[:, 0] - probabilities[:, 1] + 1) / (1 + alpha)


def spread(columns: Floats) -> tuple[Floats, Floats]:
    """Return mean and standard deviation of each column of [N, F], float64 [F] each; 1 for a constant column."""
    scale = columns.std(axis=0)
    return columns.mean(axis=0), np.where(scale > LEAST_SPREAD, scale, 1.0)


def standardise(design: Floats, mean: Floats, scale: Floats) -> Floats:
    """Return a design matrix [B, D + F] with its last F columns standardised and clipped.

    Args:
        design: float64 [B, D + F].
        mean: float64 [F].
        scale: float64 [F], positive.

    """
    width = design.shape[1] - len(mean)
    features = np.clip((design[:, width:] - mean) / scale, -CLIP, CLIP)
    return np.hstack([design[:, :width], features])


def sigmoid(z: Floats) -> Floats:
    """Return 1 / (1 + exp(−z)), float64 of the same shape, without overflow: it is (1 + tanh(z / 2)) / 2."""
    return 0.5 * (1 + np.tanh(0.5 * z))
