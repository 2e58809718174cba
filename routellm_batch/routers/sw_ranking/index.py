"""The index of ``sw_ranking``: battles, ready to be weighted by their similarity to a batch of prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routellm_batch.core.arrays import Floats, Ints
from routellm_batch.routers.blocks import padded_blocks
from routellm_batch.routers.sw_ranking.bradley_terry import cells, solve

BLOCK = 128
"""Prompts in one matrix product."""
PIECE = 8192
"""Rows of the index that are converted to float32 at once."""
LEAST = 0.01
"""Where the greatest cosine is below this, all battles count the same: dividing by less would amplify rounding errors."""


@dataclass(frozen=True, slots=True, eq=False)
class BattleIndex:
    """P prompts of N battles between models in T tiers."""

    vectors: NDArray[np.floating[Any]]
    """[P, D], unit length; float16 ones may be a mapped file."""
    counts: NDArray[np.float32]
    """[P, C], what the battles of a prompt add to each cell that occurs."""
    cells: Ints
    """[C], positions of those cells in the flat [T + 1, T + 1] matrix of "i beat j"."""
    tiers: int
    """T, the number of tiers."""

    def ratings(self, embeddings: NDArray[np.float32]) -> Floats:
        """Return θ of every tier, float64 [B, T], for embeddings [B, D], computed on the CPU; see ``Rated``."""
        theta = np.empty((len(embeddings), self.tiers))
        size = self.tiers + 1
        for rows, block in padded_blocks(embeddings, BLOCK):
            beaten = np.zeros((BLOCK, size * size))
            beaten[:, self.cells] = self._weights(block) @ self.counts  # [B, P] × [P, C]
            theta[rows] = solve(beaten[: len(theta[rows])].reshape(-1, size, size))
        return theta

    def _weights(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return 10^(cos / max cos), float32 [B, P]; the paper's factor of ten in front does not change the fit."""
        weights = np.empty((len(block), len(self.vectors)), dtype=np.float32)
        for start in range(0, len(self.vectors), PIECE):
            piece = self.vectors[start : start + PIECE].astype(np.float32, copy=False)
            np.matmul(block, piece.T, out=weights[:, start : start + PIECE])
        most = weights.max(axis=1, keepdims=True)
        scale = np.where(most > LEAST, np.log(10) / np.maximum(most, LEAST), 0).astype(np.float32)
        weights *= scale
        return np.exp(weights, out=weights)


def make_index(
    vectors: NDArray[np.floating[Any]],
    prompt: Ints,
    tier: tuple[Ints, Ints],
    support: Floats,
    tiers: int,
    *,
    compat: bool,
) -> BattleIndex:
    """Return the index of N battles.

    Args:
        vectors: float32 or float16 [P, D], unit length, of P distinct prompts.
        prompt: int64 [N], row of ``vectors`` of each battle.
        tier: tiers of model_a and of model_b, int64 [N] each.
        support: for model_a, float64 [N] in [0, 1].
        tiers: T, the number of tiers.
        compat: fit battles within a tier as RouteLLM's code does; see ``bradley_terry.cells``.

    """
    added = cells(tier[0], tier[1], support, tiers, compat=compat)
    used = np.unique(np.concatenate([where[weight > 0] for where, weight in added]))
    counts = np.zeros((len(vectors), len(used)), dtype=np.float32)
    for where, weight in added:
        kept = weight > 0
        np.add.at(counts, (prompt[kept], np.searchsorted(used, where[kept])), weight[kept])
    return BattleIndex(vectors, counts, used, tiers)
