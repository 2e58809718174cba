"""The checkpoint of the outcome router: two heads, and how they lean."""

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


def load_heads(
    location: str, fields: Mapping[str, Any], tensors: Tensors, embedder: Embedder
) -> OutcomeRouter:
    """Return the router of a checkpoint that was read.

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
        location: of the checkpoint, for the error.
        fields: hold α.
        tensors: hold the rest.
        size: how many columns they read, and how many of these are standardised.
        prefix: of the tensors' names.

    Raises:
        CheckpointError: a part is missing, of another shape, or makes no sense.

    """
    columns, count = size
    shapes = {"weight": (2, columns), "bias": (2,), "mean": (count,), "scale": (count,)}
    found = {n: take(tensors, prefix + n, shape, location).astype(np.float64) for n, shape in shapes.items()}
    try:
        heads = Heads(**found, alpha=float(fields["alpha"]))
    except (KeyError, TypeError, ValueError):
        raise CheckpointError(f"{location}: its manifest holds no number alpha") from None
    if not (math.isfinite(heads.alpha) and heads.alpha >= 0 and (heads.scale > 0).all()):
        raise CheckpointError(f"{location}: α is not finite, or α or a scale is negative")
    return heads


def take_lean(location: str, fields: Mapping[str, Any]) -> Lean | None:
    """Return how the scores of a checkpoint lean.

    Raises:
        CheckpointError: what its manifest says of it makes no sense.

    """
    try:
        return Lean.of(fields.get("lean"))
    except (KeyError, TypeError, ValueError):
        raise CheckpointError(f"{location}: its manifest says nothing usable of lean") from None


def save_heads(out: str, router: OutcomeRouter, *, name: str, trained: Mapping[str, Any], card: str) -> None:
    """Write a checkpoint to a new folder (path or URI), its manifest last.

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
    save_checkpoint(out, tensors, router.embedder, router="outcome", name=name, card=card, fields=fields)
