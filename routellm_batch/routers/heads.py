"""The weights of the outcome router, and the arithmetic on them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

CLIP = 3.0
"""Standardised features are cut at so many deviations: an odd prompt is not let run away."""


@dataclass(frozen=True, slots=True, eq=False)
class Heads:
    """Two logistic heads on D embedding columns and F surface features."""

    weight: NDArray[np.float64]
    """[2, D + F]; row 0 is the strong model, row 1 the weak one."""
    bias: NDArray[np.float64]
    """[2], log-odds."""
    mean: NDArray[np.float64]
    """[F], subtracted from the features."""
    scale: NDArray[np.float64]
    """[F], by which they are divided then."""
    alpha: float
    """Weight of p_strong in the score; ≥ 0."""

    def probabilities(self, described: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return p_strong and p_weak, float64 [B, 2], of rows [B, D + F]."""
        z = standardise(described, self.mean, self.scale) @ self.weight.T + self.bias  # [B, 2]
        return sigmoid(z)

    def score(self, described: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (α · p_strong − p_weak + 1) / (1 + α), float64 [B] in [0, 1], of rows [B, D + F]."""
        return combine(self.probabilities(described), self.alpha)


@dataclass(frozen=True, slots=True)
class Lean:
    """How far scores lean towards long questions, a signal that no training set can overfit."""

    weight: float
    """Of the standardised log length of the question, beside a standardised score of weight 1."""
    mean: float
    """Of the heads' scores on training prompts."""
    deviation: float
    """Of the same; positive."""

    def apply(self, scores: NDArray[np.float64], length: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return scores [B] in [0, 1], of the heads' scores [B] and standardised log lengths [B]."""
        return sigmoid((scores - self.mean) / self.deviation + self.weight * length)

    def fields(self) -> dict[str, float]:
        """Return it as plain data."""
        return asdict(self)

    @classmethod
    def of(cls, fields: Mapping[str, Any] | None) -> Self | None:
        """Return what ``fields`` gave; None for None.

        Raises:
            KeyError, TypeError, ValueError: it is no such data.

        """
        if fields is None:
            return None
        found = cls(*(float(fields[name]) for name in ("weight", "mean", "deviation")))
        if not all(map(math.isfinite, (found.weight, found.mean))) or not 0 < found.deviation < math.inf:
            raise ValueError
        return found


def combine(probabilities: NDArray[np.float64], alpha: float) -> NDArray[np.float64]:
    """Return the scores, float64 [B] in [0, 1], of p_strong and p_weak [B, 2]."""
    return (alpha * probabilities[:, 0] - probabilities[:, 1] + 1) / (1 + alpha)


def standardise(
    described: NDArray[np.float64], mean: NDArray[np.float64], scale: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return rows [B, D + F] with their last F columns standardised and clipped."""
    width = described.shape[1] - len(mean)
    features = np.clip((described[:, width:] - mean) / scale, -CLIP, CLIP)
    return np.hstack([described[:, :width], features])


def sigmoid(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 / (1 + exp(−z)), without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * z))
