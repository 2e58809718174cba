"""The checkpoint of a blend: arrays and a manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields as fields_of
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routellm_batch.embedders import get_embedder
from routellm_batch.errors import CheckpointError
from routellm_batch.protocols import Embedder
from routellm_batch.routers.blend import MEMBERS, TABLE, Blend, BlendRouter, Trees
from routellm_batch.routers.checkpoint import Tensors, described, save_checkpoint, take
from routellm_batch.routers.features import FEATURES
from routellm_batch.routers.forest import Forest
from routellm_batch.routers.outcome import OutcomeRouter
from routellm_batch.routers.outcome_weights import take_heads, take_lean

KIND = "blend"
"""How the manifest of a checkpoint of the ``outcome`` router says that it is this."""
FOREST = {"root": None, "column": None, "threshold": None, "left": None, "right": None, "value": None}


def load_blend(location: str, fields: Mapping[str, Any], tensors: Tensors, embedder: Embedder) -> BlendRouter:
    """Return the router of a checkpoint that was read.

    Raises:
        CheckpointError: a part is missing or of another shape, or made with other features or another static embedder.

    """
    static = get_embedder("static")
    if fields.get("columns") != list(TABLE) or fields.get("members") != list(MEMBERS):
        raise CheckpointError(
            f"{location}: was fitted on other columns or members; run the pilot's fit again"
        )
    if fields.get("static") != described(static):
        raise CheckpointError(
            f"{location}: was fitted with another static embedder; run the pilot's fit again"
        )
    blend = Blend(
        *(_floats(tensors, f"blend.{n}", (len(MEMBERS),), location) for n in ("weight", "mean", "deviation"))
    )
    if not (blend.deviation > 0).all():
        raise CheckpointError(f"{location}: a deviation is not positive")
    prior = heads = None
    if known := fields.get("prior"):
        size = (static.width + len(FEATURES), len(FEATURES))
        shipped = take_heads(location, known, tensors, size, "prior.")
        prior = OutcomeRouter(shipped, static, take_lean(location, known))
    if known := fields.get("heads"):
        size = (embedder.width + len(TABLE), len(TABLE))
        heads = take_heads(location, known, tensors, size, "heads.")
    trees = _trees(location, fields, tensors, static.width) if "depth" in fields else None
    return BlendRouter(blend, heads, trees, prior, embedder, static)


def save_blend(out: str, router: BlendRouter, *, name: str, trained: Mapping[str, Any], card: str) -> None:
    """Write a checkpoint to a new folder (path or URI), its manifest last.

    Raises:
        ConfigError: a checkpoint is there already.

    """
    tensors: dict[str, NDArray[Any]] = {
        f"blend.{part}": getattr(router.blend, part) for part in ("weight", "mean", "deviation")
    }
    fields: dict[str, Any] = {
        "kind": KIND,
        "columns": list(TABLE),
        "members": list(MEMBERS),
        "static": described(router.static),
    }
    known = {"heads": router.heads, "prior": None if router.prior is None else router.prior.heads}
    for part, heads in known.items():
        if heads is not None:
            fields[part] = {"alpha": heads.alpha}
            tensors |= {f"{part}.{n}": getattr(heads, n) for n in ("weight", "bias", "mean", "scale")}
    if router.prior is not None and router.prior.lean is not None:
        fields["prior"]["lean"] = router.prior.lean.fields()
    if router.trees is not None:
        fields["depth"] = router.trees.forest.depth
        tensors |= {"trees.centre": router.trees.centre, "trees.basis": router.trees.basis}
        tensors |= {f"forest.{n}": getattr(router.trees.forest, n) for n in FOREST}
    fields["trained"] = dict(trained)
    save_checkpoint(out, tensors, router.embedder, router="outcome", name=name, card=card, fields=fields)


def _trees(location: str, fields: Mapping[str, Any], tensors: Tensors, width: int) -> Trees:
    centre = _floats(tensors, "trees.centre", (width,), location)
    basis = _floats(tensors, "trees.basis", (width, None), location)
    column = take(tensors, "forest.column", (None,), location)
    shapes = {**dict.fromkeys(FOREST, column.shape), "root": (None,)}
    found = {n: take(tensors, f"forest.{n}", shape, location) for n, shape in shapes.items()}
    depth = fields["depth"]
    nodes, columns = len(column), basis.shape[1] + len(TABLE)
    inside = (
        all(((found[n] >= 0) & (found[n] < nodes)).all() for n in ("root", "left", "right"))
        and ((column >= 0) & (column < columns)).all()
    )
    if not (isinstance(depth, int) and depth >= 0 and len(found["root"]) and inside):
        raise CheckpointError(f"{location}: its forest leads nowhere")
    forest = Forest(**{f.name: found[f.name] for f in fields_of(Forest) if f.name != "depth"}, depth=depth)
    return Trees(centre, basis, forest)


def _floats(tensors: Tensors, name: str, shape: tuple[int | None, ...], location: str) -> NDArray[np.float64]:
    return take(tensors, name, shape, location).astype(np.float64)
