"""Outcome checkpoints on storage: ``model.safetensors``, ``router.json`` (names, α, sha256) and a model card."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from routellm_batch.errors import CheckpointError, ConfigError
from routellm_batch.protocols import Embedder
from routellm_batch.routers.features import FEATURES
from routellm_batch.routers.heads import Heads
from routellm_batch.storage.store import FsStore
from routellm_batch.weights import read_checked, sha256, shipped

MANIFEST, WEIGHTS, CARD = "router.json", "model.safetensors", "README.md"
BUILTIN = "builtin:"
FORMAT = 1


def load_heads(location: str, embedder: Embedder) -> Heads:
    """Read and check a checkpoint.

    Args:
        location: ``builtin:NAME``, or the path or URI of its folder.
        embedder: what texts will be read with; it must be the one the heads were trained on.

    Raises:
        CheckpointError: absent, damaged, of another format, not finite, or made for another embedder.

    """
    if location.startswith(BUILTIN):
        folder = shipped(location.removeprefix(BUILTIN))
        fields, files = read_checked(location, MANIFEST, lambda name: (folder / name).read_bytes())
    else:
        fields, files = read_checked(location, MANIFEST, FsStore(location).read)
    _check_fields(location, fields, embedder)
    try:
        tensors = {name: tensor.astype(np.float64) for name, tensor in load(files[WEIGHTS]).items()}
        heads = Heads(
            weight=tensors["weight"],
            bias=tensors["bias"],
            mean=tensors["mean"],
            scale=tensors["scale"],
            alpha=float(fields["alpha"]),
        )
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{location}: not the weights of an outcome router ({error})") from None
    _check_heads(location, heads, embedder)
    return heads


def _check_fields(location: str, fields: Mapping[str, Any], embedder: Embedder) -> None:
    kind = (fields.get("format"), fields.get("router"))
    if kind != (FORMAT, "outcome"):
        raise CheckpointError(
            f"{location}: is format {kind[0]} of router {kind[1]!r}, not {FORMAT} of 'outcome'"
        )
    if fields.get("features") != list(FEATURES):
        raise CheckpointError(f"{location}: was trained on other surface features; train it again")
    ours = {"name": embedder.name, "fingerprint": embedder.fingerprint, "width": embedder.width}
    theirs = fields.get("embedder")
    if theirs != ours:
        raise CheckpointError(
            f"{location}: was trained with embedder {theirs}, and the configured one is {ours}"
        )


def _check_heads(location: str, heads: Heads, embedder: Embedder) -> None:
    columns = embedder.width + len(FEATURES)
    wanted = ((2, columns), (2,), (len(FEATURES),), (len(FEATURES),))
    tensors = (heads.weight, heads.bias, heads.mean, heads.scale)
    if tuple(tensor.shape for tensor in tensors) != wanted:
        raise CheckpointError(f"{location}: a tensor has not the shape for {columns} columns")
    finite = all(bool(np.isfinite(tensor).all()) for tensor in tensors) and math.isfinite(heads.alpha)
    if not finite or heads.alpha < 0 or not (heads.scale > 0).all():
        raise CheckpointError(f"{location}: a weight is not finite, or α or a scale is negative")


def save_heads(
    out: str, heads: Heads, embedder: Embedder, *, name: str, trained: Mapping[str, Any], card: str
) -> None:
    """Write a checkpoint to a new folder (path or URI), its manifest last.

    Raises:
        ConfigError: a checkpoint is there already.

    """
    store = FsStore(out)
    tensors = {n: np.ascontiguousarray(getattr(heads, n)) for n in ("weight", "bias", "mean", "scale")}
    weights = save({n: tensor.astype(np.float32) for n, tensor in tensors.items()})
    fields = {
        "format": FORMAT,
        "router": "outcome",
        "name": name,
        "embedder": {"name": embedder.name, "fingerprint": embedder.fingerprint, "width": embedder.width},
        "alpha": heads.alpha,
        "features": list(FEATURES),
        "trained": dict(trained),
        "files": {WEIGHTS: sha256(weights)},
    }
    manifest = json.dumps(fields, indent=2, ensure_ascii=False) + "\n"
    for path, data in {WEIGHTS: weights, CARD: card.encode(), MANIFEST: manifest.encode()}.items():
        if not store.create(path, data):
            raise ConfigError("out", f"{store.uri(path)} is there already; name a new folder")
