"""RouteLLM's matrix factorisation: a prompt's and a model's vector predict how well the model answers the prompt.

    δ(M, q) = w2 · (v_M / |v_M| ⊙ W1 q)         s = σ(δ(strong, q) − δ(weak, q))

Source: arXiv 2406.18665, §4.2, and RouteLLM's ``routers/matrix_factorization/model.py``; without the paper's bias, as the
published weights have none. For a fixed pair of models the score is that of one vector, s = σ(a · q) with
a = W1ᵀ (w2 ⊙ (v̂_strong − v̂_weak)), so scoring a shard is one matrix-vector product.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from routellm_batch.core.arrays import Floats
from routellm_batch.core.errors import CheckpointError, ConfigError
from routellm_batch.core.protocols import Embedder
from routellm_batch.core.types import PromptBatch
from routellm_batch.routers.checkpoint import MANIFEST, Folder, Tensors, load_tensors, published_tensors, take
from routellm_batch.routers.embedders import get_embedder
from routellm_batch.routers.heads import sigmoid
from routellm_batch.routers.mf.model_ids import MODEL_IDS
from routellm_batch.routers.settings import RouterSettings, refuse_unknown_model

DEFAULT_CHECKPOINT = "builtin:mf-v1"
PUBLISHED_PAIR = ("gpt-4-1106-preview", "mixtral-8x7b-instruct-v0.1")
"""The strong and the weak model that the published checkpoints were made for."""
MODELS, PROJECTION, CLASSIFIER = "P.weight", "text_proj.0.weight", "classifier.0.weight"
"""Tensors of a checkpoint: P [M, H], W1 [H, D] and w2 [1, H], with H the width of a model's vector."""


class MfOptions(BaseModel):
    """Which two models of the checkpoint are compared; None is the pair that it was made for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    strong_model: str | None = None
    """A model of the checkpoint."""
    weak_model: str | None = None
    """A model of the checkpoint."""


@dataclass(frozen=True, eq=False)
class MfRouter:
    """A ``Router`` of one vector."""

    direction: Floats
    """a, [D]."""
    embedder: Embedder
    """Embeds the texts."""

    name = "mf"

    @classmethod
    def from_settings(cls, settings: RouterSettings) -> Self:
        """Return the router of a checkpoint, RouteLLM's or one that ``train`` made, folded for the pair.

        Raises:
            CheckpointError: absent, damaged, not finite, a tensor missing or of a wrong shape, or another embedder's.
            ConfigError: a model that the checkpoint does not know, the same model twice, or an unknown option.

        """
        options = settings.read_options(MfOptions, cls.name)
        location = settings.checkpoint or DEFAULT_CHECKPOINT
        embedder = get_embedder(settings.embedder)
        if Folder(location).holds(MANIFEST):
            fields, tensors = load_tensors(location, cls.name, embedder)
            names, pair = fields.get("models", ()), fields.get("pair", ())
        else:
            tensors = published_tensors(location, cls.name)
            names, pair = MODEL_IDS, PUBLISHED_PAIR
        if not (isinstance(names, list | tuple) and len(pair) == 2 and set(pair) <= set(names)):
            raise CheckpointError(f"{location}: {MANIFEST} does not name its models and their pair")
        strong, weak = options.strong_model or pair[0], options.weak_model or pair[1]
        refuse_unknown_model(strong, names, option="strong_model")
        refuse_unknown_model(weak, names, option="weak_model")
        if strong == weak:
            raise ConfigError(
                "router.options", f"strong_model and weak_model are both {strong!r}; name two models"
            )
        rows = (names.index(strong), names.index(weak))
        return cls(_fold(tensors, location, rows, len(names), embedder), embedder)

    def score(self, batch: PromptBatch) -> NDArray[np.float32]:
        """Return σ(a · q), float32 [B] in [0, 1]; higher = the strong model is needed more.

        Raises:
            CheckpointError: a score is not a number.

        """
        # einsum adds each row up by itself, in one order; a matrix product's order depends on the batch.
        logits = np.einsum("bd,d->b", self.embedder.embed(batch.texts).astype(np.float64), self.direction)
        if not np.isfinite(logits).all():
            raise CheckpointError("router 'mf' gave a score that is not a number; its embedder is unusable")
        return sigmoid(logits).astype(np.float32)


def fold(
    models: Floats,
    projection: Floats,
    classifier: Floats,
    pair: tuple[int, int],
) -> Floats:
    """Return a = W1ᵀ (w2 ⊙ (v̂_strong − v̂_weak)), float64 [D].

    Args:
        models: P, float64 [M, H].
        projection: W1, float64 [H, D].
        classifier: w2, float64 [1, H].
        pair: rows of the strong and of the weak model.

    """
    strong, weak = (models[row] / max(float(np.linalg.norm(models[row])), 1e-12) for row in pair)
    direction: Floats = projection.T @ (classifier[0] * (strong - weak))
    return direction


def _fold(tensors: Tensors, location: str, pair: tuple[int, int], models: int, embedder: Embedder) -> Floats:
    P = take(tensors, MODELS, (models, None), location).astype(np.float64)
    W1 = take(tensors, PROJECTION, (P.shape[1], None), location).astype(np.float64)
    w2 = take(tensors, CLASSIFIER, (1, P.shape[1]), location).astype(np.float64)
    if W1.shape[1] != embedder.width:
        raise CheckpointError(
            f"{location}: reads embeddings {W1.shape[1]} wide, and embedder {embedder.name!r} makes them "
            f"{embedder.width} wide; RouteLLM's own were trained on text-embedding-3-small (1536): "
            "router.embedder: {name: remote, model: text-embedding-3-small, …}"
        )
    return fold(P, W1, w2, pair)
