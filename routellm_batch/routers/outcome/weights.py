"""The checkpoint of two heads: loading and saving their weights and how they lean."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from routellm_batch.core.errors import CheckpointError
from routellm_batch.core.protocols import Embedder
from routellm_batch.routers.checkpoint import Tensors, save_checkpoint, take
from routellm_batch.routers.features import FEATURES
from routellm_batch.routers.heads import Heads, Lean
from routellm_batch.routers.outcome.router import OutcomeRouter

BLEND = "blend"
"""Value of ``kind`` in the manifest of a router that a pilot fitted; the manifest of two heads has no ``kind``."""


def load_heads(
    location: str, fields: Mapping[str, Any], tensors: Tensors, embedder: Embedder
) -> OutcomeRouter:
    """Return the router of a checkpoint of two heads.

    Args:
        location: of the checkpoint, for errors.
        fields: its manifest.
        tensors: its tensors.
        embedder: embeds the texts.

    Raises:
        CheckpointError: a part is missing or of another shape, or it was trained on other surface features.

    """
    if fields.get("features") != list(FEATURES):
        raise CheckpointError(f"{location}: was trained on other surface features; train it again")
    heads = take_heads(location, fields, tensors, (embedder.width + len(FEATURES), len(FEATURES)))
    return OutcomeRouter(heads, embedder, take_lean(location, fields))


def take_heads(
    location: str, fields: Mapping[str, Any], tensors: Tensors, size: tuple[int, int], prefix: str = ""
) -> Heads:
    """Return the heads of a checkpoint.

    Args:
        location: of the checkpoint, for errors.
        fields: hold α.
        tensors: hold the arrays.
        size: D + F, the columns of the design matrix, and F, the number of columns that are standardised.
        prefix: of the tensors' names.

    Raises:
        CheckpointError: a part is missing, of another shape, or out of its range.

    """
    columns, count = size
    shapes = {"weight": (2, columns), "bias": (2,), "mean": (count,), "scale": (count,)}
    arrays = {n: take(tensors, prefix + n, shape, location).astype(np.float64) for n, shape in shapes.items()}
    try:
        heads = Heads(**arrays, alpha=float(fields["alpha"]))
    except (KeyError, TypeError, ValueError):
        raise CheckpointError(f"{location}: its manifest holds no number alpha") from None
    if not (math.isfinite(heads.alpha) and heads.alpha >= 0 and (heads.scale > 0).all()):
        raise CheckpointError(f"{location}: α is negative or not finite, or a scale is not positive")
    return heads


def take_lean(location: str, fields: Mapping[str, Any]) -> Lean | None:
    """Return how the scores of a checkpoint lean; None where its manifest has no ``lean``.

    Args:
        location: of the checkpoint, for errors.
        fields: its manifest.

    Raises:
        CheckpointError: the entry ``lean`` is invalid.

    """
    try:
        return Lean.of(fields.get("lean"))
    except (KeyError, TypeError, ValueError):
        raise CheckpointError(f"{location}: the entry lean of its manifest is invalid") from None


def save_heads(out: str, router: OutcomeRouter, *, name: str, trained: Mapping[str, Any], card: str) -> None:
    """Write a checkpoint of two heads to a new folder, its manifest last.

    Args:
        out: path or URI of the folder.
        router: the heads, their embedder and how they lean.
        name: the checkpoint's own name.
        trained: plain data of the training, for the manifest.
        card: the model card, Markdown.

    Raises:
        ConfigError: a checkpoint is there already.

    """
    tensors = {n: getattr(router.heads, n).astype(np.float32) for n in ("weight", "bias", "mean", "scale")}
    fields: dict[str, Any] = {
        "alpha": router.heads.alpha,
        "features": list(FEATURES),
        "trained": dict(trained),
    }
    if router.lean is not None:
        fields["lean"] = router.lean.fields()
    save_checkpoint(out, tensors, router.embedder, router=router.name, name=name, card=card, fields=fields)
