"""The checkpoint of the outcome router."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from routellm_batch.errors import CheckpointError
from routellm_batch.protocols import Embedder
from routellm_batch.routers.checkpoint import load_tensors, save_checkpoint, take
from routellm_batch.routers.features import FEATURES
from routellm_batch.routers.heads import Heads


def load_heads(location: str, embedder: Embedder) -> Heads:
    """Read and check a checkpoint.

    Args:
        location: ``builtin:NAME``, or the path or URI of its folder.
        embedder: what texts will be read with; it must be the one the heads were trained on.

    Raises:
        CheckpointError: absent, damaged, of another format, not finite, or made for another embedder.

    """
    fields, tensors = load_tensors(location, "outcome", embedder)
    if fields.get("features") != list(FEATURES):
        raise CheckpointError(f"{location}: was trained on other surface features; train it again")
    columns, count = embedder.width + len(FEATURES), len(FEATURES)
    shapes = {"weight": (2, columns), "bias": (2,), "mean": (count,), "scale": (count,)}
    found = {n: take(tensors, n, shape, location).astype(np.float64) for n, shape in shapes.items()}
    try:
        heads = Heads(**found, alpha=float(fields["alpha"]))
    except (KeyError, TypeError, ValueError):
        raise CheckpointError(f"{location}: its manifest holds no number alpha") from None
    if not (math.isfinite(heads.alpha) and heads.alpha >= 0 and (heads.scale > 0).all()):
        raise CheckpointError(f"{location}: α is not finite, or α or a scale is negative")
    return heads


def save_heads(
    out: str, heads: Heads, embedder: Embedder, *, name: str, trained: Mapping[str, Any], card: str
) -> None:
    """Write a checkpoint to a new folder (path or URI), its manifest last.

    Raises:
        ConfigError: a checkpoint is there already.

    """
    tensors = {n: getattr(heads, n).astype(np.float32) for n in ("weight", "bias", "mean", "scale")}
    fields = {"alpha": heads.alpha, "features": list(FEATURES), "trained": dict(trained)}
    save_checkpoint(out, tensors, embedder, router="outcome", name=name, card=card, fields=fields)
