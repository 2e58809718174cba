"""Logistic regression with soft targets and a penalty for each coefficient, by Newton's method."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from routellm_batch.routers.heads import sigmoid

STEPS = 50
TOLERANCE = 1e-8


def fit_logistic(
    X: NDArray[np.float64],
    target: NDArray[np.float64],
    weight: NDArray[np.float64],
    penalty: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the coefficients b, float64 [C], that minimise Σ w·CE(target, σ(Xb)) + ½ Σ penalty·b².

    Args:
        X: float64 [N, C].
        target: float64 [N] in [0, 1].
        weight: float64 [N], positive.
        penalty: float64 [C], positive, so that there is one minimum and it is finite.

    """
    b = np.zeros(X.shape[1])
    loss = _loss(X, target, weight, penalty, b)
    for _ in range(STEPS):
        p = sigmoid(X @ b)
        gradient = X.T @ (weight * (p - target)) + penalty * b
        hessian = (X * (weight * p * (1 - p))[:, None]).T @ X + np.diag(penalty)
        step = np.linalg.solve(hessian, gradient)
        size = 1.0
        while (reached := _loss(X, target, weight, penalty, b - size * step)) > loss and size > TOLERANCE:
            size /= 2  # Newton overshoots where the curve is flat.
        b, gained, loss = b - size * step, loss - reached, reached
        if gained <= TOLERANCE * max(1.0, abs(loss)):
            break
    return b


def _loss(
    X: NDArray[np.float64],
    target: NDArray[np.float64],
    weight: NDArray[np.float64],
    penalty: NDArray[np.float64],
    b: NDArray[np.float64],
) -> float:
    z = X @ b
    # Cross-entropy with log-odds z is log(1 + exp(z)) − target·z.
    return float(weight @ (np.logaddexp(0, z) - target * z) + 0.5 * penalty @ (b * b))
