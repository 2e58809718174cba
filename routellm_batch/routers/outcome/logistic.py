"""Logistic regression with soft targets and a penalty for each coefficient, by Newton's method.

Ridge-penalised maximum likelihood (le Cessie & van Houwelingen, 1992), with step halving. It is written out here because
scikit-learn's takes neither soft targets nor a penalty for each coefficient directly.
"""

from __future__ import annotations

import numpy as np

from routellm_batch.core.arrays import Floats
from routellm_batch.routers.heads import sigmoid

STEPS = 50
"""Newton steps at most."""
TOLERANCE = 1e-8
"""The fit ends when a step lowers the loss by no more than this part of it."""


def fit_logistic(X: Floats, target: Floats, weight: Floats, penalty: Floats) -> Floats:
    """Return the coefficients b, float64 [C], that minimise Σ w·CE(target, σ(Xb)) + ½ Σ penalty·b².

    Args:
        X: float64 [N, C], the design matrix.
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
        while (new_loss := _loss(X, target, weight, penalty, b - size * step)) > loss and size > TOLERANCE:
            size /= 2  # Newton overshoots where the curve is flat.
        b, decrease, loss = b - size * step, loss - new_loss, new_loss
        if decrease <= TOLERANCE * max(1.0, abs(loss)):
            break
    return b


def _loss(X: Floats, target: Floats, weight: Floats, penalty: Floats, b: Floats) -> float:
    z = X @ b
    # Cross-entropy with log-odds z is log(1 + exp(z)) − target·z.
    return float(weight @ (np.logaddexp(0, z) - target * z) + 0.5 * penalty @ (b * b))
