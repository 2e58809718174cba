"""The knn router: similarity-weighted mean gain of the k most similar labelled prompts.

    w_i  = max(0, cos(q, i) − cos(q, the k+1st))                over the k nearest i
    gain = (Σ w_i · g_i + c · g0) / (Σ w_i + c)                 score = (gain + 1) / 2

g is strong − weak in [−1, 1] and g0 its mean: a prompt that is unlike all others gets the mean. Nearest neighbours are the
strong simple baseline of arXiv 2505.12601; the weights and the prior are this project's own. A weight falls to zero at the
edge of the neighbourhood, so that the rounding of a similarity never makes a score jump.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from routellm_batch.core.arrays import Floats
from routellm_batch.core.errors import CheckpointError
from routellm_batch.core.protocols import Embedder
from routellm_batch.core.types import PromptBatch
from routellm_batch.routers.blocks import padded_blocks
from routellm_batch.routers.checkpoint import load_tensors, take
from routellm_batch.routers.embedders import get_embedder
from routellm_batch.routers.settings import RouterSettings

DEFAULT_CHECKPOINT = "builtin:knn-v1"
BLOCK = 256
"""Prompts in one matrix product."""


class KnnOptions(BaseModel):
    """Settings that override those of the index."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    k: int | None = Field(default=None, ge=1)
    """Number of neighbours; None is the number that the trainer chose."""


@dataclass(frozen=True, slots=True, eq=False)
class Index:
    """N labelled prompts, as embeddings and gains."""

    vectors: NDArray[np.float32]
    """[N, D], unit length."""
    gain: NDArray[np.float32]
    """[N], strong − weak, in [−1, 1]."""
    k: int
    """Number of neighbours that count."""
    prior: float
    """c, weight of the mean gain; positive."""

    def score(self, embeddings: NDArray[np.float32]) -> Floats:
        """Return (gain + 1) / 2, float64 [B] in [0, 1], for embeddings [B, D]."""
        scores = np.empty(len(embeddings))
        for rows, block in padded_blocks(embeddings, BLOCK):
            scores[rows] = self._block(block)[: len(scores[rows])]
        return scores

    def _block(self, block: NDArray[np.float32]) -> Floats:
        similar = block @ self.vectors.T  # [B, N]
        mean = float(self.gain.mean(dtype=np.float64)) if len(self.gain) else 0.0
        k = min(self.k, len(self.gain) - 1)
        if k < 1:
            return np.full(len(block), (mean + 1) / 2)
        nearest = np.argpartition(similar, -(k + 1), axis=1)[
            :, -(k + 1) :
        ]  # The edge is the least similar of them.
        values = np.take_along_axis(similar, nearest, axis=1).astype(np.float64)
        weight = values - values.min(axis=1, keepdims=True)
        total = (weight * self.gain[nearest]).sum(axis=1) + self.prior * mean
        scores: Floats = (total / (weight.sum(axis=1) + self.prior) + 1) / 2
        return scores


@dataclass(frozen=True, eq=False)
class KnnRouter:
    """A ``Router`` of nearest neighbours."""

    index: Index
    """The labelled prompts."""
    embedder: Embedder
    """Embeds the texts."""

    name = "knn"

    @classmethod
    def from_settings(cls, settings: RouterSettings) -> Self:
        """Return the router of an index, ``builtin:knn-v1`` where no checkpoint is named.

        Raises:
            CheckpointError: absent, damaged, not finite, or made with another embedder.
            ConfigError: an unknown embedder or option.

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
        """Return float32 [B] in [0, 1]; higher = the strong model is needed more.

        Raises:
            CheckpointError: a score is not a number.

        """
        scores = self.index.score(self.embedder.embed(batch.texts))
        if not np.isfinite(scores).all():
            raise CheckpointError("router 'knn' gave a score that is not a number; its embedder is unusable")
        return np.clip(scores, 0, 1).astype(np.float32)
