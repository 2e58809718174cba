"""The similarity-weighted ranking on a GPU: the formulas of ``index.py`` and ``bradley_terry.py``, in torch."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from routellm_batch.core.arrays import Floats
from routellm_batch.routers.sw_ranking.bradley_terry import BOUND, LARGEST_STEP, LN10, RIDGE, STEPS, TOLERANCE
from routellm_batch.routers.sw_ranking.index import LEAST, BattleIndex

BLOCK = 1024
"""Prompts in one matrix product; the last block is filled up with zeros, as in ``blocks.py``."""


class DeviceIndex:
    """A ``Rated`` whose battles are in a device's memory.

    Args:
        index: the battles.
        device: where to keep them and compute.

    """

    def __init__(self, index: BattleIndex, device: torch.device) -> None:
        self._tiers, self._device = index.tiers, device
        self._vectors = torch.tensor(index.vectors, device=device).float()  # [P, D]
        self._counts = torch.tensor(index.counts, device=device)  # [P, C]
        self._cells = torch.tensor(index.cells, device=device)

    def ratings(self, embeddings: NDArray[np.float32]) -> Floats:
        """Return θ of every tier, float64 [B, T], for embeddings [B, D], computed on the device; see ``Rated``."""
        size = self._tiers + 1
        ratings = np.empty((len(embeddings), self._tiers))
        with torch.inference_mode():
            for start in range(0, len(embeddings), BLOCK):
                rows = torch.tensor(embeddings[start : start + BLOCK], device=self._device)
                block = torch.nn.functional.pad(rows, (0, 0, 0, BLOCK - len(rows)))
                beaten = torch.zeros(BLOCK, size * size, device=self._device, dtype=torch.float64)
                beaten[:, self._cells] = (self._weights(block) @ self._counts).double()
                theta = solve(beaten[: len(rows)].reshape(-1, size, size))
                ratings[start : start + BLOCK] = theta.cpu().numpy()
        return ratings

    def _weights(self, block: torch.Tensor) -> torch.Tensor:
        weights = block @ self._vectors.T  # [B, P]
        most = weights.amax(dim=1, keepdim=True)
        scale = torch.where(most > LEAST, math.log(10) / most.clamp(min=LEAST), 0.0)
        return weights.mul_(scale).exp_()


def solve(beaten: torch.Tensor) -> torch.Tensor:
    """Return θ, float64 [B, T], as ``bradley_terry.solve`` does, of weights [B, T + 1, T + 1] on the device."""
    count, players = len(beaten), beaten.shape[1] - 1
    whole = beaten.sum(dim=(1, 2), keepdim=True).clamp(min=1e-300)
    won = beaten / whole
    both = won + won.transpose(1, 2)
    free = ~(both[:, -1, :-1] > 0).any(dim=1)
    theta = beaten.new_zeros(count, players)
    going = torch.ones(count, 1, dtype=torch.bool, device=beaten.device)
    for _ in range(STEPS):
        full = torch.nn.functional.pad(theta, (0, 1))
        p = torch.sigmoid(LN10 * (full[:, :, None] - full[:, None, :]))
        gradient = LN10 * (both * p - won).sum(dim=2)[:, :-1]
        curve = LN10**2 * both * p * (1 - p)
        hessian = -curve[:, :-1, :-1] + torch.diag_embed(curve.sum(dim=2)[:, :-1] + RIDGE)
        hessian = hessian + free[:, None, None] / players
        step = torch.linalg.solve(hessian, gradient)
        longest = step.abs().amax(dim=1, keepdim=True).clamp(min=1e-300)
        step = step * (LARGEST_STEP / longest).clamp(max=1)
        active = going
        going = active & (gradient.abs().amax(dim=1, keepdim=True) >= TOLERANCE)
        theta = torch.where(going, (theta - step).clamp(-BOUND, BOUND), theta)
        if not going.any():
            break
    return theta
