"""The battles of ``sw_ranking``, ready to be weighed for a batch of prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routellm_batch.routers.sw_ranking.bradley_terry import cells, solve

BLOCK = 128
"""Prompts at once; the last block is filled up with zeros, as a product's rounding depends on its shape."""
PIECE = 8192
"""Rows of the index that are widened to float32 at once."""
LEAST = 0.01
"""Where no battle is more alike than this, all count the same: a ratio to less would be one of rounding errors."""


@dataclass(frozen=True, slots=True, eq=False)
class BattleIndex:
    """P prompts of N battles between models in T tiers."""

    vectors: NDArray[np.floating[Any]]
    """[P, D], unit length; float16 ones may be a mapped file."""
    counts: NDArray[np.float32]
    """[P, C], what a prompt's battles add to each cell that occurs."""
    cells: NDArray[np.int64]
    """[C], places of those cells in the flat [T + 1, T + 1] matrix of "i beat j"."""
    tiers: int
    """T."""

    def ratings(self, embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return what ``Rated`` says, on the processor."""
        found = np.empty((len(embeddings), self.tiers))
        size = self.tiers + 1
        for start in range(0, len(embeddings), BLOCK):
            rows = embeddings[start : start + BLOCK]
            block = np.zeros((BLOCK, self.vectors.shape[1]), dtype=np.float32)
            block[: len(rows)] = rows
            beaten = np.zeros((BLOCK, size * size))
            beaten[:, self.cells] = self._weights(block) @ self.counts  # [B, P] × [P, C]
            found[start : start + BLOCK] = solve(beaten[: len(rows)].reshape(-1, size, size))
        return found

    def _weights(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return 10^(cos / max cos), float32 [B, P]; that the paper has ten times as much changes no fit."""
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
    prompt: NDArray[np.int64],
    tier: tuple[NDArray[np.int64], NDArray[np.int64]],
    support: NDArray[np.float64],
    tiers: int,
    *,
    compat: bool,
) -> BattleIndex:
    """Return the index of N battles.

    Args:
        vectors: [P, D].
        prompt: [N], rows of ``vectors``.
        tier: tiers of model_a and of model_b, [N] each.
        support: for model_a, [N].
        tiers: T.
        compat: how battles within a tier are fitted.

    """
    added = cells(tier[0], tier[1], support, tiers, compat=compat)
    used = np.unique(np.concatenate([where[weight > 0] for where, weight in added]))
    counts = np.zeros((len(vectors), len(used)), dtype=np.float32)
    for where, weight in added:
        kept = weight > 0
        np.add.at(counts, (prompt[kept], np.searchsorted(used, where[kept])), weight[kept])
    return BattleIndex(vectors, counts, used, tiers)
