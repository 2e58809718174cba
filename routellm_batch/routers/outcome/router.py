"""The outcome router: two logistic heads predict whether each model answers well, and the score weighs the two.

    p_strong = σ(w_s · x + b_s)      p_weak = σ(w_w · x + b_w)      x = [embedding, standardised surface features]
    score    = (α · p_strong − p_weak + 1) / (1 + α)

α = 1 asks where the strong model gains most, α = 0 where the weak one fails; training chooses it on rows held out. The score
is this project's own; to predict each model's quality apart is the idea of CARROT (arXiv 2502.03261).

Weights that must carry over to tasks that they never saw may *lean*: to the standardised score they add the standardised
log length of the question (without its answer options) times a constant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routellm_batch.core.arrays import Floats
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
    """Embeds the texts."""
    lean: Lean | None = None
    """How the scores lean towards long questions; None: they don't."""

    name = "outcome"

    def score(self, batch: PromptBatch) -> NDArray[np.float32]:
        """Return float32 [B] in [0, 1]; higher = the strong model is needed more.

        Raises:
            CheckpointError: a score is not a number.

        """
        scores = self.score_design(design_matrix(self.embedder, batch.texts))
        if not np.isfinite(scores).all():
            raise CheckpointError(
                "router 'outcome' gave a score that is not a number; its weights are unusable"
            )
        return scores.astype(np.float32)

    def score_design(self, design: Floats) -> Floats:
        """Return scores, float64 [B] in [0, 1], for a design matrix [B, D + F] as ``design_matrix`` makes it."""
        scores = self.heads.score(design)
        if self.lean is None:
            return scores
        stem = design[:, self.embedder.width + _STEM]
        length = np.clip((stem - self.heads.mean[_STEM]) / self.heads.scale[_STEM], -CLIP, CLIP)
        return self.lean.apply(scores, length)


def design_matrix(embedder: Embedder, texts: Sequence[str]) -> Floats:
    """Return the design matrix of B texts, float64 [B, D + F]: embeddings, then raw surface features."""
    return np.hstack([embedder.embed(texts).astype(np.float64), surface_features(texts)])
