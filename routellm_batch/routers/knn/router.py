"""The knn router: similarity-weighted mean gain of the k most similar labelled prompts.

    w_i  = max(0, cos(q, i) − cos(q, the k+1st))                over the k nearest i
    gain = (Σ w_i · g_i + c · g0) / (Σ w_i + c)                 score = (gain + 1) / 2

g is strong − weak in [−1, 1] and g0 its mean: a prompt that is like no other gets the mean. Neighbours are the strong
simple baseline of arXiv 2505.12601. A weight falls to nothing at the edge of the neighbourhood, so that no rounding of
a similarity moves a score by a jump.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from routellm_batch.core.errors import CheckpointError
from routellm_batch.core.protocols import Embedder
from routellm_batch.core.types import PromptBatch
from routellm_batch.routers.checkpoint import load_tensors, take
from routellm_batch.routers.embedders import get_embedder
from routellm_batch.routers.settings import RouterSettings

DEFAULT_CHECKPOINT = "builtin:knn-v1"
BLOCK = 256
"""Prompts in one matrix product; the last block is filled up with zeros, as a product's rounding depends on its shape."""


class KnnOptions(BaseModel):
    """What may differ from how the index was made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    k: int | None = Field(default=None, ge=1)
    """Neighbours; None is what the trainer chose."""


@dataclass(frozen=True, slots=True, eq=False)
class Index:
    """N labelled prompts."""

    vectors: NDArray[np.float32]
    """[N, D], unit length."""
    gain: NDArray[np.float32]
    """[N], strong − weak, in [−1, 1]."""
    k: int
    """Neighbours that count."""
    prior: float
    """c, weight of the mean gain; positive."""

    def score(self, embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return (gain + 1) / 2, float64 [B] in [0, 1], of embeddings [B, D]."""
        found = np.empty(len(embeddings))
        for start in range(0, len(embeddings), BLOCK):
            rows = embeddings[start : start + BLOCK]
            block = np.zeros((BLOCK, self.vectors.shape[1]), dtype=np.float32)
            block[: len(rows)] = rows
            found[start : start + BLOCK] = self._block(block)[: len(rows)]
        return found

    def _block(self, block: NDArray[np.float32]) -> NDArray[np.float64]:
        similar = block @ self.vectors.T  # [B, N]
        mean = float(self.gain.mean(dtype=np.float64)) if len(self.gain) else 0.0
        k = min(self.k, len(self.gain) - 1)
        if k < 1:
            return np.full(len(block), (mean + 1) / 2)
        nearest = np.argpartition(similar, -(k + 1), axis=1)[:, -(k + 1) :]  # The edge is the least of them.
        values = np.take_along_axis(similar, nearest, axis=1).astype(np.float64)
        weight = values - values.min(axis=1, keepdims=True)
        total = (weight * self.gain[nearest]).sum(axis=1) + self.prior * mean
        scores: NDArray[np.float64] = (total / (weight.sum(axis=1) + self.prior) + 1) / 2
        return scores


@dataclass(frozen=True, eq=False)
class KnnRouter:
    """A ``Router`` that asks its neighbours."""

    index: Index
    """The labelled prompts."""
    embedder: Embedder
    """What texts are read with."""

    name = "knn"

    @classmethod
    def from_settings(cls, settings: RouterSettings) -> Self:
        """Load an index.

        Raises:
            CheckpointError: absent, damaged, not finite, or made with another embedder.
            ConfigError: there is no such embedder, or an unknown option.

        """
        options = settings.read_options(KnnOptions, cls.name)
        location = settings.checkpoint or DEFAULT_CHECKPOINT
        embedder = get_embedder(settings.embedder)
        fields, tensors = load_tensors(location, cls.name, embedder)
        vectors = take(tensors, "vectors", (None, embedder.width), location).astype(np.float32)
        gain = take(tensors, "gain", (len(vectors),), location).astype(np.float32)
        k, prior = fields.get("k"), fields.get("prior")
        if not (isinstance(k, int) and k > 0 and isinstance(prior, int | float) and prior > 0 and len(gain)):
            raise CheckpointError(
                f"{location}: its manifest holds no positive k and prior, or it has no rows"
            )
        return cls(Index(vectors, gain, options.k or k, float(prior)), embedder)

    def score(self, batch: PromptBatch) -> NDArray[np.float32]:
        """Return float32 [B] in [0, 1].

        Raises:
            CheckpointError: a score is not a number.

        """
        scores = self.index.score(self.embedder.embed(batch.texts))
        if not np.isfinite(scores).all():
            raise CheckpointError("router 'knn' gave a score that is not a number; its embedder is unusable")
        return np.clip(scores, 0, 1).astype(np.float32)
