"""The outcome router: two logistic heads say how likely each model is to answer well, the score weighs them.

    p_strong = σ(w_s · x + b_s)      p_weak = σ(w_w · x + b_w)      x = [embedding, standardised surface features]
    score    = (α · p_strong − p_weak + 1) / (1 + α)

α = 1 asks where the strong model gains most, α = 0 where the weak one fails; training chooses it on rows held out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from routellm_batch.embedders import get_embedder
from routellm_batch.errors import CheckpointError
from routellm_batch.protocols import Embedder
from routellm_batch.routers.features import surface_features
from routellm_batch.routers.heads import Heads
from routellm_batch.routers.outcome_weights import load_heads
from routellm_batch.routers.settings import RouterSettings
from routellm_batch.types import PromptBatch

DEFAULT_CHECKPOINT = "builtin:outcome-v1"


@dataclass(frozen=True, eq=False)
class OutcomeRouter:
    """A ``Router`` of two logistic heads."""

    heads: Heads
    """Their weights."""
    embedder: Embedder
    """What they read texts with."""

    name = "outcome"

    @classmethod
    def from_settings(cls, settings: RouterSettings) -> Self:
        """Load its weights.

        Raises:
            CheckpointError: they are absent, damaged, not finite, or made for another embedder.
            ConfigError: there is no such embedder, or an option is given.

        """
        settings.refuse_options(cls.name)
        embedder = get_embedder(settings.embedder)
        return cls(load_heads(settings.checkpoint or DEFAULT_CHECKPOINT, embedder), embedder)

    def score(self, batch: PromptBatch) -> NDArray[np.float32]:
        """Return float32 [B] in [0, 1].

        Raises:
            CheckpointError: a score is not a number.

        """
        scores = self.heads.score(describe(self.embedder, batch.texts))
        if not np.isfinite(scores).all():
            raise CheckpointError(
                "router 'outcome' gave a score that is not a number; its weights are unusable"
            )
        return scores.astype(np.float32)


def describe(embedder: Embedder, texts: Sequence[str]) -> NDArray[np.float64]:
    """Return what the heads read, float64 [B, D + F]: embeddings, then raw surface features."""
    return np.hstack([embedder.embed(texts).astype(np.float64), surface_features(texts)])
