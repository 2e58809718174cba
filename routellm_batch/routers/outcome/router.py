"""The outcome router: two logistic heads say how likely each model is to answer well, the score weighs them.

    p_strong = σ(w_s · x + b_s)      p_weak = σ(w_w · x + b_w)      x = [embedding, standardised surface features]
    score    = (α · p_strong − p_weak + 1) / (1 + α)

α = 1 asks where the strong model gains most, α = 0 where the weak one fails; training chooses it on rows held out. Weights
that must carry over to tasks they never saw may *lean*: the standardised score, plus the standardised log length of the
question (without its answer options) times a constant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routellm_batch.core.errors import CheckpointError
from routellm_batch.core.protocols import Embedder
from routellm_batch.core.types import PromptBatch
from routellm_batch.routers.features import FEATURES, surface_features
from routellm_batch.routers.heads import CLIP, Heads, Lean

_STEM = FEATURES.index("log_stem_chars")


@dataclass(frozen=True, eq=False)
class OutcomeRouter:
    """A ``Router`` of two logistic heads."""

    heads: Heads
    """Their weights."""
    embedder: Embedder
    """What they read texts with."""
    lean: Lean | None = None
    """How the scores lean towards long questions; None: they don't."""

    name = "outcome"

    def score(self, batch: PromptBatch) -> NDArray[np.float32]:
        """Return float32 [B] in [0, 1].

        Raises:
            CheckpointError: a score is not a number.

        """
        scores = self.judge(describe(self.embedder, batch.texts))
        if not np.isfinite(scores).all():
            raise CheckpointError(
                "router 'outcome' gave a score that is not a number; its weights are unusable"
            )
        return scores.astype(np.float32)

    def judge(self, described: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return float64 [B] in [0, 1], of rows [B, D + F] as ``describe`` gives them."""
        scores = self.heads.score(described)
        if self.lean is None:
            return scores
        stem = described[:, self.embedder.width + _STEM]
        length = np.clip((stem - self.heads.mean[_STEM]) / self.heads.scale[_STEM], -CLIP, CLIP)
        return self.lean.apply(scores, length)


def describe(embedder: Embedder, texts: Sequence[str]) -> NDArray[np.float64]:
    """Return what the heads read, float64 [B, D + F]: embeddings, then raw surface features."""
    return np.hstack([embedder.embed(texts).astype(np.float64), surface_features(texts)])
